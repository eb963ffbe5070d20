//! A bucket on loopback that answers as S3 does, well or badly, and keeps what was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use fleet_proto::v1::FileStore;
use tokio::net::TcpListener;

pub const BUCKET: &str = "chat-files-1";
pub const REGION: &str = "eu-central-1";

/// How it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    #[default]
    Good,
    /// 403 to this method.
    Denied(&'static str),
    NoBucket,
    /// Of another region.
    Elsewhere,
    /// Reads are not what was written.
    Forgetful,
    /// 503, so many times, and then good.
    Busy(u32),
    /// Never.
    Silent,
}

/// One request, as the store saw it.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub headers: HeaderMap,
}

#[derive(Default)]
struct Inner {
    mood: Mood,
    objects: BTreeMap<String, Bytes>,
    /// What came with each of them.
    heads: BTreeMap<String, HeaderMap>,
    asked: Vec<Asked>,
}

#[derive(Clone)]
pub struct Bucket {
    pub endpoint: String,
    inner: Arc<Mutex<Inner>>,
    _task: Arc<Task>,
}

struct Task(tokio::task::JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Bucket {
    pub async fn start() -> Self {
        let inner = Arc::new(Mutex::new(Inner::default()));
        let app = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&inner));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move {
            axum::serve(listener, app).await.unwrap();
        });
        Self {
            endpoint,
            inner,
            _task: Arc::new(Task(task)),
        }
    }

    pub fn wanted(&self, prefix: &str) -> FileStore {
        FileStore {
            bucket: BUCKET.to_owned(),
            region: REGION.to_owned(),
            prefix: prefix.to_owned(),
            endpoint: self.endpoint.clone(),
            ..FileStore::default()
        }
    }

    pub fn becomes(&self, mood: Mood) {
        self.inner.lock().unwrap().mood = mood;
    }

    pub fn keys(&self) -> Vec<String> {
        self.inner.lock().unwrap().objects.keys().cloned().collect()
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.inner.lock().unwrap().asked.clone()
    }
}

fn refused(status: u16, code: &str, more: &str) -> Response {
    let document = format!(
        "<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>said by the test</Message>{more}</Error>"
    );
    (StatusCode::from_u16(status).unwrap(), document).into_response()
}

async fn answer(
    State(inner): State<Arc<Mutex<Inner>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mood = {
        let mut inner = inner.lock().unwrap();
        inner.asked.push(Asked {
            method: method.to_string(),
            path: uri.path().to_owned(),
            headers: headers.clone(),
        });
        let mood = inner.mood;
        if let Mood::Busy(left) = mood {
            inner.mood = left.checked_sub(1).map_or(Mood::Good, Mood::Busy);
        }
        mood
    };
    if mood == Mood::Silent {
        std::future::pending::<()>().await;
    }
    let signed = headers.get("authorization").is_some_and(|value| {
        let value = value.to_str().unwrap_or_default();
        value.starts_with("AWS4-HMAC-SHA256 Credential=")
            && value.contains(&format!("/{REGION}/s3/aws4_request"))
            && value.contains("x-amz-content-sha256")
    });
    if !signed {
        return refused(403, "SignatureDoesNotMatch", "");
    }
    let mut inner = inner.lock().unwrap();
    let key = uri.path().to_owned();
    match mood {
        Mood::Denied(which) if which == method.as_str() => refused(403, "AccessDenied", ""),
        Mood::NoBucket => refused(404, "NoSuchBucket", ""),
        Mood::Elsewhere => refused(
            400,
            "AuthorizationHeaderMalformed",
            "<Region>us-west-2</Region>",
        ),
        Mood::Busy(left) if left > 0 => refused(503, "SlowDown", ""),
        Mood::Forgetful if method == Method::GET => "other bytes".into_response(),
        _ if method == Method::PUT => {
            let signed = headers["x-amz-content-sha256"].to_str().unwrap_or_default();
            if signed != crate::releases::sha256(&body) {
                return refused(400, "XAmzContentSHA256Mismatch", "");
            }
            inner.objects.insert(key.clone(), body);
            inner.heads.insert(key, headers);
            StatusCode::OK.into_response()
        }
        _ if method == Method::HEAD && key.matches('/').count() > 1 && key.len() > BUCKET.len() + 2 => {
            let Some(content) = inner.objects.get(&key) else {
                return StatusCode::NOT_FOUND.into_response();
            };
            let mut answer = Response::new(axum::body::Body::empty());
            let length = content.len().to_string().parse().unwrap();
            answer.headers_mut().insert("content-length", length);
            for name in ["x-amz-checksum-sha256", "x-amz-meta-modified-ms"] {
                if let Some(value) = inner.heads[&key].get(name) {
                    answer.headers_mut().insert(name, value.clone());
                }
            }
            answer
        }
        // How servers look whether the bucket is there.
        _ if method == Method::HEAD => StatusCode::OK.into_response(),
        _ if uri.query().is_some_and(|query| query.contains("list-type=2")) => {
            "<ListBucketResult><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>"
                .into_response()
        }
        _ if method == Method::GET => match inner.objects.get(&key) {
            Some(content) => content.clone().into_response(),
            None => refused(404, "NoSuchKey", ""),
        },
        _ if method == Method::DELETE => {
            inner.objects.remove(&key);
            StatusCode::NO_CONTENT.into_response()
        }
        _ => refused(405, "MethodNotAllowed", ""),
    }
}

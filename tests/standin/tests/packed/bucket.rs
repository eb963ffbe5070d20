//! A bucket as small as possible, and the role's credentials beside it: what the server asks of S3.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};
use standin::scratch_postgres::loopback;
use tokio::task::JoinHandle;

pub const BUCKET: &str = "files";
const SECRET_PATH: &str = "/credentials/secret-path";

/// The bucket's content, and what it was asked.
#[derive(Debug, Default)]
pub struct Held {
    pub objects: BTreeMap<String, Bytes>,
    parts: BTreeMap<String, BTreeMap<u32, Bytes>>,
    /// Method and path with query, in order.
    pub asked: Vec<String>,
    /// Every request is refused.
    pub closed: bool,
}

/// A server on a loopback address of its own.
pub struct Bucket {
    pub address: SocketAddr,
    held: Arc<Mutex<Held>>,
    serving: JoinHandle<()>,
}

impl Drop for Bucket {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Bucket {
    pub async fn start() -> Self {
        let held = Arc::new(Mutex::new(Held::default()));
        let router = Router::new().fallback(answer).with_state(Arc::clone(&held));
        let listener = tokio::net::TcpListener::bind((loopback(), 0))
            .await
            .unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            axum::serve(listener, router).await.unwrap();
        });
        Self {
            address,
            held,
            serving,
        }
    }

    pub fn held<T>(&self, look: impl FnOnce(&mut Held) -> T) -> T {
        look(&mut self.held.lock().unwrap())
    }

    /// What the server is told; the role's credentials are at the bucket's own address.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let endpoint = self.address.to_string();
        let credentials = format!("http://{endpoint}{SECRET_PATH}");
        vec![
            ("MM_FILESETTINGS_DRIVERNAME", "amazons3".to_owned()),
            ("MM_FILESETTINGS_AMAZONS3BUCKET", BUCKET.to_owned()),
            ("MM_FILESETTINGS_AMAZONS3REGION", "eu-central-1".to_owned()),
            ("MM_FILESETTINGS_AMAZONS3PATHPREFIX", "chat".to_owned()),
            ("MM_FILESETTINGS_AMAZONS3ENDPOINT", endpoint),
            ("MM_FILESETTINGS_AMAZONS3SSL", "false".to_owned()),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", credentials),
        ]
    }
}

async fn answer(State(held): State<Arc<Mutex<Held>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 64 << 20).await.unwrap();
    let path = parts.uri.path().to_owned();
    if path == SECRET_PATH {
        let credentials = serde_json::json!({
            "AccessKeyId": "ASIAEXAMPLE", "SecretAccessKey": "role-key", "Token": "role-token",
            "Expiration": "2099-01-01T00:00:00Z",
        });
        return credentials.to_string().into_response();
    }
    let header = |name: &str| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let authorization = header("authorization").unwrap_or_default();
    let signed = authorization.starts_with("AWS4-HMAC-SHA256 Credential=ASIAEXAMPLE/")
        && authorization.contains("/eu-central-1/s3/aws4_request")
        && header("x-amz-security-token") == Some("role-token")
        && header("x-amz-content-sha256") == Some(&hex::encode(Sha256::digest(&body)));
    let mut held = held.lock().unwrap();
    held.asked.push(format!("{} {}", parts.method, parts.uri));
    if !signed || held.closed {
        return error(StatusCode::FORBIDDEN, "AccessDenied");
    }
    let Some(key) = path.strip_prefix(&format!("/{BUCKET}/")) else {
        return error(StatusCode::NOT_FOUND, "NoSuchBucket");
    };
    let query: BTreeMap<String, String> = parts
        .uri
        .query()
        .map(|query| {
            url::form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect()
        })
        .unwrap_or_default();
    held.object(&parts.method, key, &query, body)
}

impl Held {
    fn object(
        &mut self,
        method: &Method,
        key: &str,
        query: &BTreeMap<String, String>,
        body: Bytes,
    ) -> Response {
        let upload = query.get("uploadId").cloned();
        match (method.as_str(), upload) {
            ("GET", None) if query.contains_key("list-type") => self.list(&query["prefix"]),
            ("GET", None) => match self.objects.get(key) {
                Some(bytes) => bytes.clone().into_response(),
                None => error(StatusCode::NOT_FOUND, "NoSuchKey"),
            },
            ("POST", None) => {
                let id = format!("upload-{}", self.parts.len());
                self.parts.insert(id.clone(), BTreeMap::new());
                format!("<R><UploadId>{id}</UploadId></R>").into_response()
            }
            ("PUT", Some(upload)) => {
                let number = query["partNumber"].parse().unwrap();
                self.parts.get_mut(&upload).unwrap().insert(number, body);
                [("etag", format!("\"{number}\""))].into_response()
            }
            ("POST", Some(upload)) => {
                let parts = self.parts.remove(&upload).unwrap();
                let whole: Vec<u8> = parts.into_values().flatten().collect();
                self.objects.insert(key.to_owned(), whole.into());
                "<R><Key>x</Key></R>".into_response()
            }
            ("DELETE", None) => {
                self.objects.remove(key);
                StatusCode::NO_CONTENT.into_response()
            }
            _ => error(StatusCode::NOT_IMPLEMENTED, "NotImplemented"),
        }
    }

    fn list(&self, prefix: &str) -> Response {
        let keys = self
            .objects
            .keys()
            .filter(|key| {
                key.strip_prefix(prefix)
                    .is_some_and(|rest| !rest.contains('/'))
            })
            .map(|key| format!("<Contents><Key>{key}</Key></Contents>"));
        format!("<R>{}</R>", keys.collect::<String>()).into_response()
    }
}

fn error(status: StatusCode, code: &str) -> Response {
    (status, format!("<Error><Code>{code}</Code></Error>")).into_response()
}

//! Objects below a store's prefix, for a copy of a node's files: many keys, large bodies, hours of work.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_credential_types::Credentials;
use aws_sigv4::http_request::SignableBody;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{CONTENT_LENGTH, HeaderMap};
use reqwest::{Body, Client, Response};
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::io::ReaderStream;

use super::{FileStoreError, LIMIT, Patience, Place, Refusal, Verb, body, client, request};
use crate::coded::{certificate_error, chain};
use crate::imds::Imds;
use crate::moving::{Bucket, Local, Object};
use crate::wanted::FileStore;

/// The role's credentials are good for hours, and asked for again well before.
const FRESH: Duration = Duration::from_secs(300);
/// The slowest line that is waited for, in bytes per second.
const SLOWEST: u64 = 256 * 1024;
/// S3's own SHA-256 of a whole object, base64.
const CHECKSUM: &str = "x-amz-checksum-sha256";
/// When the file was changed last, milliseconds since 1970: tells our copies from everything else.
const MODIFIED: &str = "x-amz-meta-modified-ms";

/// Whose credentials sign.
pub enum Keys {
    /// The store's own.
    Own(Credentials),
    /// The node's role's, asked for as they get old.
    Role(Arc<Imds>),
}

/// The store.
pub struct Objects<'a> {
    store: &'a FileStore,
    keys: Keys,
    newest: Mutex<Option<(Instant, Credentials)>>,
    http: Client,
    patience: Patience,
}

/// What goes with a request.
struct Content<'a> {
    headers: Vec<(&'static str, String)>,
    file: Option<&'a Local>,
    timeout: Duration,
}

impl<'a> Objects<'a> {
    /// `roots`: as for the probe.
    pub fn new(
        store: &'a FileStore,
        keys: Keys,
        roots: Option<&Path>,
        patience: Patience,
    ) -> Result<Self, FileStoreError> {
        Ok(Self {
            store,
            keys,
            newest: Mutex::new(None),
            http: client(store, roots, patience)?,
            patience,
        })
    }

    /// Names bucket and prefix, and nothing else.
    pub fn destination(&self) -> String {
        format!("{}{}", self.store.url, self.store.prefix)
    }

    async fn credentials(&self) -> Result<Credentials, FileStoreError> {
        let imds = match &self.keys {
            Keys::Own(keys) => return Ok(keys.clone()),
            Keys::Role(imds) => imds,
        };
        let mut newest = self.newest.lock().await;
        if let Some((since, known)) = &*newest
            && since.elapsed() < FRESH
        {
            return Ok(known.clone());
        }
        let found = imds.credentials().await;
        let found = found
            .map_err(|source| FileStoreError::Credentials(self.store.bucket.clone(), source))?;
        *newest = Some((Instant::now(), found.clone()));
        Ok(found)
    }

    fn place(&self, verb: Verb, key: &str) -> Result<(Place, reqwest::Url), FileStoreError> {
        let key = format!("{}{key}", self.store.prefix);
        let url = request::address(self.store, &key)?;
        let place = Place {
            verb,
            key,
            bucket: self.store.bucket.clone(),
            host: request::host(&url),
            region: self.store.region.clone(),
        };
        Ok((place, url))
    }

    /// Tries again what may pass. `None`: there is no such object, or none that may be seen.
    async fn send(
        &self,
        verb: Verb,
        key: &str,
        content: Content<'_>,
    ) -> Result<Option<Response>, FileStoreError> {
        let mut pause = self.patience.pause;
        for _ in 1..self.patience.attempts {
            match self.once(verb, key, &content).await {
                Err(error) if error.passing() => {
                    log::warn!("{}: trying again in {pause:.1?}", chain(&error));
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                done => return done,
            }
        }
        self.once(verb, key, &content).await
    }

    async fn once(
        &self,
        verb: Verb,
        key: &str,
        content: &Content<'_>,
    ) -> Result<Option<Response>, FileStoreError> {
        let (place, url) = self.place(verb, key)?;
        let sign = |reason| FileStoreError::Sign(Box::new(place.clone()), reason);
        let digest = content.file.map(|file| hex::encode(file.sha256));
        let mut headers = content.headers.clone();
        if let Some(owner) = &self.store.owner {
            headers.push(("x-amz-expected-bucket-owner", owner.clone()));
        }
        let signed = request::signed(request::Outline {
            method: verb.method().as_str(),
            url: &url,
            region: &self.store.region,
            headers: &headers,
            body: digest.map_or(SignableBody::Bytes(b""), SignableBody::Precomputed),
            time: crate::clock::now(),
            credentials: &self.credentials().await?,
        })
        .map_err(sign)?;
        let mut request = self
            .http
            .request(verb.method(), url)
            .timeout(content.timeout);
        for (name, value) in signed {
            request = request.header(name, value);
        }
        if let Some(file) = content.file {
            let Ok(open) = tokio::fs::File::open(&file.path).await else {
                return Ok(None);
            };
            let bytes = ReaderStream::new(open.take(file.stamp.size));
            // Without it the body would go in chunks, which S3 does not take.
            request = request
                .header(CONTENT_LENGTH, file.stamp.size)
                .body(Body::wrap_stream(bytes));
        }
        let unanswered = |source| unanswered(place.clone(), content.timeout, source);
        let answer = request.send().await.map_err(unanswered)?;
        let status = answer.status();
        // Who may list only below the prefix is told of a missing object that he may not see it.
        let absent = status.as_u16() == 404 || (status.as_u16() == 403 && verb == Verb::Head);
        if status.is_success() {
            return Ok(Some(answer));
        }
        let region = answer.headers().get("x-amz-bucket-region");
        let region = region
            .and_then(|value| value.to_str().ok())
            .map(ToOwned::to_owned);
        let document = body(answer, LIMIT).await.map_err(unanswered)?;
        let refusal = Refusal::read(status, region, &document);
        if absent && matches!(refusal.code.as_str(), "" | "NoSuchKey") {
            return Ok(None);
        }
        Err(FileStoreError::Refused(Box::new(place), refusal))
    }

    fn plain(&self) -> Content<'static> {
        Content {
            headers: Vec::new(),
            file: None,
            timeout: self.patience.timeout,
        }
    }
}

#[async_trait]
impl Bucket for Objects<'_> {
    async fn look(&self, key: &str) -> Result<Option<Object>, FileStoreError> {
        let content = Content {
            headers: vec![("x-amz-checksum-mode", "ENABLED".to_owned())],
            ..self.plain()
        };
        let answer = self.send(Verb::Head, key, content).await?;
        Ok(answer.map(|answer| object(answer.headers())))
    }

    async fn digest(&self, key: &str) -> Result<[u8; 32], FileStoreError> {
        let content = Content {
            timeout: Duration::from_secs(3600),
            ..self.plain()
        };
        let timeout = content.timeout;
        let (place, _) = self.place(Verb::Get, key)?;
        let mut hash = Sha256::new();
        if let Some(mut answer) = self.send(Verb::Get, key, content).await? {
            let broken = |source| unanswered(place.clone(), timeout, source);
            while let Some(chunk) = answer.chunk().await.map_err(broken)? {
                hash.update(&chunk);
            }
        }
        Ok(hash.finalize().into())
    }

    async fn put(&self, file: &Local) -> Result<Option<()>, FileStoreError> {
        let content = Content {
            headers: vec![
                (CHECKSUM, STANDARD.encode(file.sha256)),
                (MODIFIED, file.modified_ms().to_string()),
            ],
            file: Some(file),
            timeout: self.patience.timeout + Duration::from_secs(file.stamp.size / SLOWEST),
        };
        let sent = self.send(Verb::Put, &file.key, content).await;
        // What is not any more what was hashed is no failure of the bucket's.
        if file.is_changed() {
            return Ok(None);
        }
        Ok(sent?.map(drop))
    }

    async fn delete(&self, key: &str) -> Result<(), FileStoreError> {
        self.send(Verb::Delete, key, self.plain()).await.map(drop)
    }
}

/// What the headers of an object say.
fn object(headers: &HeaderMap) -> Object {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let number = |name: &str| text(name).and_then(|text| text.parse().ok());
    // Of an object in parts it is a checksum of checksums, with their number behind it.
    let sha256 = text(CHECKSUM)
        .and_then(|text| STANDARD.decode(text).ok())
        .and_then(|bytes| bytes.try_into().ok());
    Object {
        size: text(CONTENT_LENGTH.as_str())
            .and_then(|text| text.parse().ok())
            .unwrap_or(0),
        sha256,
        modified_ms: number(MODIFIED),
    }
}

fn unanswered(place: Place, timeout: Duration, source: reqwest::Error) -> FileStoreError {
    let (place, source) = (Box::new(place), source.without_url());
    if source.is_timeout() {
        FileStoreError::Timeout(place, timeout.as_secs())
    } else if certificate_error(&source).is_some() {
        FileStoreError::Untrusted(place, source)
    } else {
        FileStoreError::Unreachable(place, source)
    }
}

//! Is the bucket of users' files there for this node? The server's full ping only lists it, so the node
//! itself writes a small object, reads it back and deletes it, before anybody calls the server verified.
//!
//! ```text
//!   PUT <prefix>.verified/<instance> --> GET, the same bytes? --> DELETE
//! ```
//!
//! The key is the instance's own, so nodes do not meet, and what a node that died left behind is written
//! over by its next probe. In a versioned bucket the deletion is a marker that its life-cycle removes.

mod error;
mod objects;
mod refusal;
mod request;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::SignableBody;
use fleet_proto::id::InstanceId;
use reqwest::{Certificate, Client, Response, Url, redirect};

pub use error::{FileStoreError, Place, Verb};
pub use objects::{Keys, Objects};
pub use refusal::{Kind, Refusal};

use crate::coded::{certificate_error, chain};
use crate::disk::at;
use crate::steps::{Step, reached};
use crate::wanted::FileStore;

/// The folder of all nodes' probes, below the prefix.
const FOLDER: &str = ".verified/";
/// S3's error documents have some hundred bytes.
const LIMIT: usize = 64 * 1024;

/// How long to wait for S3, and how often to ask again what may pass.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For one request, from the connection to the last byte.
    pub timeout: Duration,
    /// Probes, the first one included.
    pub attempts: u32,
    /// After the first; it doubles.
    pub pause: Duration,
}

impl Default for Patience {
    /// Three attempts, as AWS's own clients make.
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            attempts: 3,
            pause: Duration::from_secs(1),
        }
    }
}

impl Patience {
    /// One attempt: something else waits meanwhile.
    pub fn once() -> Self {
        Self {
            attempts: 1,
            ..Self::default()
        }
    }
}

/// One store, one node's key in it.
pub struct Probe<'a> {
    store: &'a FileStore,
    key: String,
    url: Url,
    instance: &'a InstanceId,
    credentials: Credentials,
    http: Client,
    patience: Patience,
}

impl<'a> Probe<'a> {
    /// `roots`: a PEM file of roots to trust besides the system's. The client is made for one probe:
    /// the system's roots take memory.
    pub fn new(
        store: &'a FileStore,
        instance: &'a InstanceId,
        credentials: Credentials,
        roots: Option<&Path>,
        patience: Patience,
    ) -> Result<Self, FileStoreError> {
        let key = format!("{}{FOLDER}{instance}", store.prefix);
        Ok(Self {
            store,
            url: request::address(store, &key)?,
            key,
            instance,
            credentials,
            http: client(store, roots, patience)?,
            patience,
        })
    }

    /// Writes, reads and deletes; tries again what may pass.
    pub async fn check(&self) -> Result<(), FileStoreError> {
        let mut pause = self.patience.pause;
        for _ in 1..self.patience.attempts {
            match self.once().await {
                Err(error) if error.passing() => {
                    log::warn!("{}: trying again in {pause:.1?}", chain(&error));
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                done => return done,
            }
        }
        self.once().await
    }

    async fn once(&self) -> Result<(), FileStoreError> {
        // Another text each time: an object from before proves nothing.
        let written = format!("{} {}\n", self.instance, uuid::Uuid::new_v4());
        self.send(Verb::Put, written.clone().into_bytes()).await?;
        reached(Step::FileStored);
        let read = self.read(written.as_bytes()).await;
        // Also what could not be read is not left behind.
        let deleted = self.send(Verb::Delete, Vec::new()).await;
        read?;
        deleted.map(|_| ())
    }

    async fn read(&self, written: &[u8]) -> Result<(), FileStoreError> {
        let answer = self.send(Verb::Get, Vec::new()).await?;
        let found = body(answer, written.len() + 1)
            .await
            .map_err(|source| self.unanswered(Verb::Get, source))?;
        if found == written {
            Ok(())
        } else {
            Err(FileStoreError::Different(Box::new(self.place(Verb::Get))))
        }
    }

    /// One signed request; an answer other than 2xx is the error that S3 names.
    async fn send(&self, verb: Verb, content: Vec<u8>) -> Result<Response, FileStoreError> {
        let headers = request::signed(request::Outline {
            method: verb.method().as_str(),
            url: &self.url,
            region: &self.store.region,
            headers: &self.headers(),
            body: SignableBody::Bytes(&content),
            time: crate::clock::now(),
            credentials: &self.credentials,
        })
        .map_err(|reason| FileStoreError::Sign(Box::new(self.place(verb)), reason))?;
        let mut request = self.http.request(verb.method(), self.url.clone());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if verb == Verb::Put {
            request = request.body(content);
        }
        let unanswered = |source| self.unanswered(verb, source);
        let answer = request.send().await.map_err(unanswered)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let region = answer
            .headers()
            .get("x-amz-bucket-region")
            .and_then(|value| value.to_str().ok())
            .map(ToOwned::to_owned);
        let document = body(answer, LIMIT).await.map_err(unanswered)?;
        let refusal = Refusal::read(status, region, &document);
        Err(FileStoreError::Refused(Box::new(self.place(verb)), refusal))
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        let owner = self.store.owner.clone();
        let owner = owner.map(|owner| ("x-amz-expected-bucket-owner", owner));
        owner.into_iter().collect()
    }

    fn place(&self, verb: Verb) -> Place {
        Place {
            verb,
            key: self.key.clone(),
            bucket: self.store.bucket.clone(),
            host: request::host(&self.url),
            region: self.store.region.clone(),
        }
    }

    fn unanswered(&self, verb: Verb, source: reqwest::Error) -> FileStoreError {
        let place = Box::new(self.place(verb));
        let source = source.without_url();
        if source.is_timeout() {
            FileStoreError::Timeout(place, self.patience.timeout.as_secs())
        } else if certificate_error(&source).is_some() {
            FileStoreError::Untrusted(place, source)
        } else {
            FileStoreError::Unreachable(place, source)
        }
    }
}

/// Redirects are answers here: S3 names the right region with them. Proxies are the environment's, as
/// for downloads.
fn client(
    store: &FileStore,
    roots: Option<&Path>,
    patience: Patience,
) -> Result<Client, FileStoreError> {
    let failed = |source| FileStoreError::Client(store.bucket.clone(), source);
    let mut client = Client::builder()
        .redirect(redirect::Policy::none())
        .http1_only()
        .timeout(patience.timeout)
        .user_agent(concat!("mattermost-agent/", env!("CARGO_PKG_VERSION")));
    if store.url.scheme() == "http" {
        // No certificate is looked at, and a store without TLS is not behind a proxy.
        client = client.tls_certs_only([]).no_proxy();
    } else if let Some(path) = roots {
        let pem = std::fs::read(path)
            .map_err(at("read", path))
            .map_err(FileStoreError::Roots)?;
        let roots = Certificate::from_pem_bundle(&pem).map_err(failed)?;
        client = client.tls_certs_merge(roots);
    }
    client.build().map_err(failed)
}

/// At most so many bytes; the rest is not asked for.
async fn body(mut answer: Response, limit: usize) -> Result<Vec<u8>, reqwest::Error> {
    let mut bytes = Vec::new();
    while bytes.len() < limit {
        let Some(chunk) = answer.chunk().await? else {
            break;
        };
        bytes.extend_from_slice(&chunk[..chunk.len().min(limit - bytes.len())]);
    }
    Ok(bytes)
}

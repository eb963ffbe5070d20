//! Calls of the Mattermost API, and how they fail.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::endpoint::{Endpoint, Socket};
use crate::form::Form;

/// The header in which every answer of a server names its version, build and settings.
const VERSION: &str = "x-version-id";

/// The longest error text kept.
const TEXT_LIMIT: usize = 300;

/// Why a run cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The URL cannot be used.
    #[error("`{0}` is not a server's URL: {1}")]
    Url(String, String),
    /// The authorities cannot be read.
    #[error("cannot read the certificate authorities `{path}`")]
    Authorities {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The TLS set-up is refused.
    #[error("the TLS set-up is not usable")]
    Tls(#[source] rustls::Error),
    /// The HTTP client is refused.
    #[error("the HTTP client cannot be set up")]
    Client(#[source] reqwest::Error),
    /// A call of the set-up failed.
    #[error("cannot set up {what}: {error}")]
    Setup {
        /// Users, team, channel.
        what: &'static str,
        /// The call's error.
        #[source]
        error: ApiError,
    },
    /// The server has users, and ours is not an administrator.
    #[error(
        "`{0}` is not an administrator of this server, and the server already has users: name one of its administrators with `--admin`, the password in `LOAD_ADMIN_PASSWORD`"
    )]
    NotAdmin(String),
    /// Not every chat client could connect.
    #[error("{connected} of {wanted} chat clients connected within {limit:?}; last error: {last}")]
    Clients {
        /// So many did.
        connected: usize,
        /// So many should.
        wanted: usize,
        /// The time they had.
        limit: Duration,
        /// The last error of one that did not.
        last: String,
    },
    /// A number makes no sense.
    #[error("{0}")]
    Options(&'static str),
}

/// A request that was not completed.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{method} {path}: {}{text}", .status.map(|status| format!("{status} ")).unwrap_or_default())]
pub struct ApiError {
    /// `GET`, `POST` or `PUT`.
    pub method: &'static str,
    /// The path, with its query.
    pub path: String,
    /// The answer's status; none when there was no answer.
    pub status: Option<u16>,
    /// The header `X-Version-Id`; none when something before the server answered, or nobody.
    pub version: Option<String>,
    /// The answer's text or the connection's error.
    pub text: String,
}

impl ApiError {
    /// No answer arrived: whether the request was carried out is not known.
    pub fn is_unanswered(&self) -> bool {
        self.status.is_none()
    }

    /// No answer, or one that a load balancer gives while no server can: worth another try.
    pub fn is_passing(&self) -> bool {
        matches!(self.status, None | Some(502..=504))
    }

    /// An answer that is a success and lacks what it should have.
    pub(crate) fn incomplete(method: &'static str, path: &str, text: &str) -> Self {
        Self {
            method,
            path: path.to_owned(),
            status: Some(200),
            version: None,
            text: text.to_owned(),
        }
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) body: Value,
    /// The header `Token`, after a login.
    pub(crate) token: Option<String>,
}

/// A file as it arrived: its bytes are not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Downloaded {
    pub(crate) size: u64,
    pub(crate) sha256: [u8; 32],
    /// The header `X-Version-Id`.
    pub(crate) version: Option<String>,
}

/// A user's way to the server.
#[derive(Clone)]
pub(crate) struct Api {
    endpoint: Endpoint,
    http: reqwest::Client,
    token: String,
}

impl Api {
    /// Without a session.
    pub(crate) fn new(endpoint: Endpoint, timeout: Duration) -> Result<Self, LoadError> {
        Ok(Self {
            http: endpoint.http(timeout)?,
            endpoint,
            token: String::new(),
        })
    }

    /// The same user, each request on a connection of its own, so that a load balancer spreads them
    /// over all nodes. Redirects are not followed: an error page is no answer.
    pub(crate) fn spread(&self, timeout: Duration) -> Result<Self, LoadError> {
        Ok(Self {
            http: self.endpoint.spread(timeout)?,
            ..self.clone()
        })
    }

    /// Whoever has the address, without a session.
    pub(crate) fn anonymous(&self) -> Self {
        Self {
            token: String::new(),
            ..self.clone()
        }
    }

    /// The path that reaches a link of the server through this address; none when it is no URL.
    pub(crate) fn path_of(&self, link: &str) -> Option<String> {
        self.endpoint.path_of(link)
    }

    /// The same user at another address: sessions lie in the database.
    pub(crate) fn at(&self, endpoint: Endpoint, timeout: Duration) -> Result<Self, LoadError> {
        Ok(Self {
            token: self.token.clone(),
            ..Self::new(endpoint, timeout)?
        })
    }

    /// Logs in; from then on every call carries the session. Answers the user.
    pub(crate) async fn login(&mut self, name: &str, password: &str) -> Result<Value, ApiError> {
        let body = serde_json::json!({ "login_id": name, "password": password });
        let path = "/api/v4/users/login";
        let answer = self.call(&Method::POST, path, Some(&body)).await?;
        let Some(token) = answer.token else {
            let text = "the answer has no header `Token`";
            return Err(ApiError::incomplete("POST", path, text));
        };
        self.token = token;
        Ok(answer.body)
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, ApiError> {
        self.call(&Method::GET, path, None)
            .await
            .map(|answer| answer.body)
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, ApiError> {
        self.call(&Method::POST, path, Some(body))
            .await
            .map(|answer| answer.body)
    }

    pub(crate) async fn websocket(&self) -> Result<Socket, String> {
        self.endpoint.websocket(&self.token).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Result<Value, ApiError> {
        self.call(&Method::PUT, path, Some(body))
            .await
            .map(|answer| answer.body)
    }

    /// Sends a form with a file.
    pub(crate) async fn upload(&self, path: &str, form: &Form) -> Result<Value, ApiError> {
        let request = self
            .request(&Method::POST, path)
            .header(reqwest::header::CONTENT_TYPE, form.content_type())
            .body(form.body());
        let response = checked(&Method::POST, path, request).await?;
        let whole = response.bytes().await;
        let bytes = whole.map_err(|error| unanswered(&Method::POST, path, &error))?;
        Ok(serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// Reads a file to its end. A body that ends early is no answer.
    pub(crate) async fn download(&self, path: &str) -> Result<Downloaded, ApiError> {
        let request = self.request(&Method::GET, path);
        let mut response = checked(&Method::GET, path, request).await?;
        let version = version(&response);
        let (mut size, mut hash) = (0, Sha256::new());
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| unanswered(&Method::GET, path, &error))?
        {
            size += chunk.len() as u64;
            hash.update(&chunk);
        }
        Ok(Downloaded {
            size,
            sha256: hash.finalize().into(),
            version,
        })
    }

    /// One request, whatever comes of it; anything but 2xx is an error. A page that is not JSON
    /// answers `null`.
    pub(crate) async fn call(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, ApiError> {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = checked(method, path, request).await?;
        let token = header(&response, "token");
        let whole = response.bytes().await;
        let bytes = whole.map_err(|error| unanswered(method, path, &error))?;
        Ok(Answer {
            body: serde_json::from_slice(&bytes).unwrap_or_default(),
            token,
        })
    }

    fn request(&self, method: &Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method.clone(), self.endpoint.url(path));
        if self.token.is_empty() {
            request
        } else {
            request.bearer_auth(&self.token)
        }
    }
}

/// The answer of a request, when it is 2xx.
async fn checked(
    method: &Method,
    path: &str,
    request: RequestBuilder,
) -> Result<Response, ApiError> {
    let lost = |error: reqwest::Error| unanswered(method, path, &error);
    let response = request.send().await.map_err(lost)?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let version = version(&response);
    let bytes = response.bytes().await.map_err(lost)?;
    let text: String = String::from_utf8_lossy(&bytes)
        .chars()
        .take(TEXT_LIMIT)
        .collect();
    Err(ApiError {
        status: Some(status.as_u16()),
        version,
        text,
        ..failed(method, path)
    })
}

fn unanswered(method: &Method, path: &str, error: &reqwest::Error) -> ApiError {
    ApiError {
        text: chain(error),
        ..failed(method, path)
    }
}

fn failed(method: &Method, path: &str) -> ApiError {
    ApiError {
        method: match *method {
            Method::GET => "GET",
            Method::PUT => "PUT",
            _ => "POST",
        },
        path: path.to_owned(),
        status: None,
        version: None,
        text: String::new(),
    }
}

fn header(response: &Response, name: &str) -> Option<String> {
    let value = response.headers().get(name)?;
    value.to_str().ok().map(str::to_owned)
}

fn version(response: &Response) -> Option<String> {
    header(response, VERSION)
}

/// A call with the time it took.
pub(crate) async fn timed<T>(call: impl Future<Output = T>) -> (T, Duration) {
    let begun = Instant::now();
    let result = call.await;
    (result, begun.elapsed())
}

fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

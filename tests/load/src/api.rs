//! Calls of the Mattermost API, and how they fail.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;

use crate::endpoint::{Endpoint, Socket};

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
    /// `GET` or `POST`.
    pub method: &'static str,
    /// The path, with its query.
    pub path: String,
    /// The answer's status; none when there was no answer.
    pub status: Option<u16>,
    /// The answer's text or the connection's error.
    pub text: String,
}

impl ApiError {
    /// No answer arrived: whether the request was carried out is not known.
    pub fn is_unanswered(&self) -> bool {
        self.status.is_none()
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) body: Value,
    /// The header `Token`, after a login.
    pub(crate) token: Option<String>,
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
            return Err(ApiError {
                method: "POST",
                path: path.to_owned(),
                status: Some(200),
                text: "the answer has no header `Token`".to_owned(),
            });
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

    /// One request, whatever comes of it; anything but 2xx is an error. A page that is not JSON
    /// answers `null`.
    pub(crate) async fn call(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, ApiError> {
        let name = if *method == Method::GET {
            "GET"
        } else {
            "POST"
        };
        let failed = |status: Option<u16>, text: String| ApiError {
            method: name,
            path: path.to_owned(),
            status,
            text,
        };
        let mut request = self.http.request(method.clone(), self.endpoint.url(path));
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let unanswered = |error: reqwest::Error| failed(None, chain(&error));
        let response = request.send().await.map_err(unanswered)?;
        let status = response.status();
        let token = response
            .headers()
            .get("token")
            .and_then(|token| token.to_str().ok())
            .map(str::to_owned);
        let bytes = response.bytes().await.map_err(unanswered)?;
        if !status.is_success() {
            let text: String = String::from_utf8_lossy(&bytes)
                .chars()
                .take(TEXT_LIMIT)
                .collect();
            return Err(failed(Some(status.as_u16()), text));
        }
        Ok(Answer {
            body: serde_json::from_slice(&bytes).unwrap_or_default(),
            token,
        })
    }
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

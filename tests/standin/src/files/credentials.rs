//! Whom the server is for S3: the keys of its settings, or its role, asked for the way minio-go asks.
//!
//! ```text
//!   AWS_CONTAINER_CREDENTIALS_RELATIVE_URI ── http://169.254.170.2<uri>
//!   AWS_CONTAINER_CREDENTIALS_FULL_URI ────── that address, which must be a loopback one
//!   neither ───────────────────────────────── http://169.254.169.254, with a token of version 2
//! ```

use std::time::Duration;

use reqwest::{Client, Method};
use serde::Deserialize;
use tokio::sync::Mutex;
use url::Url;

use super::FileError;
use crate::clock;
use crate::settings::Salt;

const METADATA: &str = "http://169.254.169.254";
const CONTAINER: &str = "http://169.254.170.2";
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
/// How long a token is asked for, in seconds: six hours.
const TOKEN_SECONDS: &str = "21600";
/// Credentials are renewed so long before they end, in milliseconds.
const WINDOW_MS: i64 = 10_000;
/// How long the role's address may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What a request is signed with.
#[derive(Clone)]
pub(super) struct Credentials {
    pub(super) id: String,
    pub(super) key: String,
    pub(super) token: Option<String>,
    /// Milliseconds since the epoch; none for keys that do not end.
    expires: Option<i64>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Where credentials come from, and the last ones.
#[derive(Debug)]
pub(super) struct Provider {
    keys: Option<(String, Salt)>,
    held: Mutex<Option<Credentials>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    code: Option<String>,
    access_key_id: String,
    secret_access_key: String,
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    expiration: Option<jiff::Timestamp>,
}

impl Provider {
    pub(super) fn new(keys: Option<(String, Salt)>) -> Self {
        Self {
            keys,
            held: Mutex::default(),
        }
    }

    /// Credentials that are valid now.
    pub(super) async fn get(&self, client: &Client) -> Result<Credentials, FileError> {
        if let Some((id, key)) = &self.keys {
            return Ok(Credentials {
                id: id.clone(),
                key: key.expose().to_owned(),
                token: None,
                expires: None,
            });
        }
        let mut held = self.held.lock().await;
        if let Some(credentials) = held.as_ref()
            && credentials
                .expires
                .is_none_or(|end| clock::now_ms() + WINDOW_MS < end)
        {
            return Ok(credentials.clone());
        }
        let fresh = role(client).await?;
        *held = Some(fresh.clone());
        Ok(fresh)
    }

    /// After a refusal: the next request asks for the role's credentials again.
    pub(super) async fn forget(&self) {
        *self.held.lock().await = None;
    }
}

async fn role(client: &Client) -> Result<Credentials, FileError> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let token = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    if let Some(path) = variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
        return container(client, &format!("{CONTAINER}{path}"), token).await;
    }
    if let Some(address) = variable("AWS_CONTAINER_CREDENTIALS_FULL_URI") {
        require_loopback(&address)?;
        return container(client, &address, token).await;
    }
    instance(client, METADATA).await
}

fn require_loopback(address: &str) -> Result<(), FileError> {
    let refused = || {
        FileError::Credentials(
            "`AWS_CONTAINER_CREDENTIALS_FULL_URI` is not a loopback address".to_owned(),
        )
    };
    let url = Url::parse(address).map_err(|_| refused())?;
    match url.host() {
        Some(url::Host::Ipv4(address)) if address.is_loopback() => Ok(()),
        Some(url::Host::Ipv6(address)) if address.is_loopback() => Ok(()),
        Some(url::Host::Domain("localhost")) => Ok(()),
        _ => Err(refused()),
    }
}

async fn container(
    client: &Client,
    address: &str,
    token: Option<String>,
) -> Result<Credentials, FileError> {
    let mut request = client.get(address).timeout(TIMEOUT);
    if let Some(token) = token {
        request = request.header("authorization", token);
    }
    read(request, "the container's address").await
}

/// The instance's role. Without a token it is asked all the same, as of old.
async fn instance(client: &Client, base: &str) -> Result<Credentials, FileError> {
    let what = "the metadata service";
    let token = client
        .request(Method::PUT, format!("{base}/latest/api/token"))
        .header("x-aws-ec2-metadata-token-ttl-seconds", TOKEN_SECONDS)
        .timeout(TIMEOUT)
        .send()
        .await
        .and_then(reqwest::Response::error_for_status);
    let token = match token {
        Ok(answer) => answer.text().await.ok(),
        Err(_) => None,
    };
    let ask = |path: String| {
        let request = client.get(path).timeout(TIMEOUT);
        match &token {
            Some(token) => request.header("x-aws-ec2-metadata-token", token),
            None => request,
        }
    };
    let roles = ask(format!("{base}{ROLES}"))
        .send()
        .await
        .and_then(reqwest::Response::error_for_status)
        .map_err(|error| unavailable(what, &error))?
        .text()
        .await
        .map_err(|error| unavailable(what, &error))?;
    let Some(role) = roles.lines().map(str::trim).find(|role| !role.is_empty()) else {
        return Err(FileError::Credentials(
            "no role is attached to this instance".to_owned(),
        ));
    };
    read(ask(format!("{base}{ROLES}{role}")), what).await
}

async fn read(
    request: reqwest::RequestBuilder,
    what: &'static str,
) -> Result<Credentials, FileError> {
    let bytes = request
        .send()
        .await
        .and_then(reqwest::Response::error_for_status)
        .map_err(|error| unavailable(what, &error))?
        .bytes()
        .await
        .map_err(|error| unavailable(what, &error))?;
    let answer: Answer = serde_json::from_slice(&bytes)
        .map_err(|_| FileError::Credentials(format!("{what} answers with something else")))?;
    if let Some(code) = answer.code.filter(|code| code != "Success") {
        return Err(FileError::Credentials(format!("{what} says `{code}`")));
    }
    Ok(Credentials {
        id: answer.access_key_id,
        key: answer.secret_access_key,
        token: answer.token,
        expires: answer.expiration.map(jiff::Timestamp::as_millisecond),
    })
}

/// Without the address: it may hold a secret.
fn unavailable(what: &str, error: &reqwest::Error) -> FileError {
    let why = match error.status() {
        Some(status) => status.to_string(),
        None if error.is_timeout() => "no answer in time".to_owned(),
        None => "no answer".to_owned(),
    };
    FileError::Credentials(format!("{what}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_are_asked() {
        for good in [
            "http://127.0.0.1:80/x",
            "http://127.9.9.9/x",
            "http://[::1]/",
            "http://localhost/x",
        ] {
            assert!(require_loopback(good).is_ok(), "{good}");
        }
        for bad in ["http://10.0.0.1/x", "http://example.com/", "nothing", ""] {
            let error = require_loopback(bad).unwrap_err().to_string();
            assert!(error.contains("FULL_URI"), "{bad}: {error}");
        }
    }

    #[tokio::test]
    async fn the_instance_s_role_is_asked_with_a_token() {
        use axum::http::HeaderMap;
        use axum::routing::{get, put};

        let with_token = |headers: &HeaderMap, answer: &str| {
            let known = headers
                .get("x-aws-ec2-metadata-token")
                .is_some_and(|token| token == "t");
            if known {
                answer.to_owned()
            } else {
                String::new()
            }
        };
        let role = r#"{"Code":"Success","AccessKeyId":"A","SecretAccessKey":"S","Token":"T","Expiration":"2099-01-01T00:00:00Z"}"#;
        let router = axum::Router::new()
            .route("/latest/api/token", put(async || "t"))
            .route(
                ROLES,
                get(async move |headers: HeaderMap| with_token(&headers, "chat\n")),
            )
            .route(
                &format!("{ROLES}chat"),
                get(async move |headers: HeaderMap| with_token(&headers, role)),
            );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await });
        let client = Client::builder().no_proxy().build().unwrap();
        let credentials = instance(&client, &base).await.unwrap();
        assert_eq!(
            (credentials.id.as_str(), credentials.token.as_deref()),
            ("A", Some("T"))
        );
        assert!(credentials.expires.unwrap() > clock::now_ms());
        assert!(
            !format!("{credentials:?}").contains("\"S\""),
            "no key is shown"
        );
        serving.abort();
        let refused = instance(&client, "http://127.0.0.1:1").await.unwrap_err();
        assert!(refused.to_string().contains("no answer"), "{refused}");
    }
}

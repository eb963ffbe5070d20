//! The instance metadata service, version 2: the only AWS endpoint an agent speaks to by itself.

use std::net::Ipv4Addr;
use std::time::Duration;

use aws_credential_types::Credentials;
use fleet_proto::id::InstanceId;
use reqwest::{Client, Method, StatusCode};
use serde::Deserialize;
use tokio::sync::Mutex;

/// The link-local address of the service.
const ENDPOINT: &str = "http://169.254.169.254";
/// Six hours, the longest that the service grants.
const TOKEN_TTL_SECONDS: &str = "21600";
/// The service answers from the host in milliseconds.
const TIMEOUT: Duration = Duration::from_secs(5);
/// User data is at most 16 KB, everything else less.
const LIMIT: usize = 64 * 1024;

/// Why the metadata service did not answer a question.
#[derive(Debug, thiserror::Error)]
pub enum ImdsError {
    /// The endpoint in the environment is no URL, or the client cannot be built.
    #[error("the instance metadata client cannot be set up")]
    Client(#[source] reqwest::Error),
    /// No answer.
    #[error("the instance metadata service does not answer `{path}`")]
    Unreachable {
        /// What was asked.
        path: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// An answer other than 200.
    #[error("the instance metadata service answered `{path}` with {status}")]
    Status {
        /// What was asked.
        path: String,
        /// The HTTP status.
        status: StatusCode,
    },
    /// An answer that cannot be what was asked for.
    #[error("the instance metadata service's answer to `{path}` is unusable: {reason}")]
    Unusable {
        /// What was asked.
        path: String,
        /// What is wrong with it; never the content.
        reason: String,
    },
}

/// A client that keeps its session token.
#[derive(Debug)]
pub struct Imds {
    http: Client,
    endpoint: String,
    token: Mutex<Option<String>>,
}

/// The credentials document of the instance role.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RoleCredentials {
    code: Option<String>,
    access_key_id: String,
    secret_access_key: String,
    token: String,
}

impl Imds {
    /// At `AWS_EC2_METADATA_SERVICE_ENDPOINT`, else at the link-local address. Never by a proxy.
    pub fn from_environment() -> Result<Self, ImdsError> {
        let endpoint = std::env::var("AWS_EC2_METADATA_SERVICE_ENDPOINT")
            .ok()
            .filter(|text| !text.is_empty())
            .unwrap_or_else(|| ENDPOINT.to_owned());
        Self::new(&endpoint)
    }

    /// At an endpoint such as `http://169.254.169.254`.
    pub fn new(endpoint: &str) -> Result<Self, ImdsError> {
        let http = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            // Plain HTTP: without reading the host's roots, which takes time and memory.
            .tls_certs_only([])
            .timeout(TIMEOUT)
            .build()
            .map_err(ImdsError::Client)?;
        Ok(Self {
            http,
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: Mutex::new(None),
        })
    }

    async fn new_token(&self) -> Result<String, ImdsError> {
        let path = "/latest/api/token";
        let answer = self
            .http
            .request(Method::PUT, format!("{}{path}", self.endpoint))
            .header("x-aws-ec2-metadata-token-ttl-seconds", TOKEN_TTL_SECONDS)
            .send()
            .await
            .map_err(|source| ImdsError::Unreachable {
                path: path.to_owned(),
                source,
            })?;
        read(path, answer).await?.ok_or_else(|| ImdsError::Status {
            path: path.to_owned(),
            status: StatusCode::NOT_FOUND,
        })
    }

    /// The text at a path below `/latest`; `None` where there is none (404).
    pub async fn get(&self, path: &str) -> Result<Option<String>, ImdsError> {
        let mut token = self.token.lock().await;
        let mut fresh = false;
        loop {
            let value = if let Some(value) = &*token {
                value.clone()
            } else {
                fresh = true;
                token.insert(self.new_token().await?).clone()
            };
            let answer = self
                .http
                .get(format!("{}/latest/{path}", self.endpoint))
                .header("x-aws-ec2-metadata-token", value)
                .send()
                .await
                .map_err(|source| ImdsError::Unreachable {
                    path: path.to_owned(),
                    source,
                })?;
            // The token expired, or the instance was stopped and started.
            if answer.status() == StatusCode::UNAUTHORIZED && !fresh {
                *token = None;
                continue;
            }
            return read(path, answer).await;
        }
    }

    async fn need(&self, path: &str) -> Result<String, ImdsError> {
        self.get(path).await?.ok_or_else(|| ImdsError::Status {
            path: path.to_owned(),
            status: StatusCode::NOT_FOUND,
        })
    }

    /// This instance.
    pub async fn instance_id(&self) -> Result<InstanceId, ImdsError> {
        let path = "meta-data/instance-id";
        self.need(path)
            .await?
            .trim()
            .parse()
            .map_err(
                |error: fleet_proto::id::NotAnInstanceId| ImdsError::Unusable {
                    path: path.to_owned(),
                    reason: error.to_string(),
                },
            )
    }

    /// Its private address.
    pub async fn local_ipv4(&self) -> Result<Ipv4Addr, ImdsError> {
        let path = "meta-data/local-ipv4";
        self.need(path)
            .await?
            .trim()
            .parse()
            .map_err(|_| ImdsError::Unusable {
                path: path.to_owned(),
                reason: "not an IPv4 address".to_owned(),
            })
    }

    /// Its region, for example `eu-central-1`.
    pub async fn region(&self) -> Result<String, ImdsError> {
        let path = "meta-data/placement/region";
        let region = self.need(path).await?.trim().to_owned();
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if region.is_empty() || !region.bytes().all(plain) {
            return Err(ImdsError::Unusable {
                path: path.to_owned(),
                reason: "not a region name".to_owned(),
            });
        }
        Ok(region)
    }

    /// The user data, as it stands in the launch template.
    pub async fn user_data(&self) -> Result<String, ImdsError> {
        self.need("user-data").await
    }

    /// `InService`, `Terminated`, …; `None` outside a group.
    pub async fn target_lifecycle_state(&self) -> Result<Option<String>, ImdsError> {
        let state = self
            .get("meta-data/autoscaling/target-lifecycle-state")
            .await?;
        Ok(state.map(|text| text.trim().to_owned()))
    }

    /// The instance role's current credentials.
    pub async fn credentials(&self) -> Result<Credentials, ImdsError> {
        let folder = "meta-data/iam/security-credentials/";
        let listing = self.need(folder).await?;
        let role = listing.lines().next().unwrap_or_default().trim();
        if role.is_empty() {
            return Err(ImdsError::Unusable {
                path: folder.to_owned(),
                reason: "the instance has no role".to_owned(),
            });
        }
        let path = format!("{folder}{role}");
        let text = self.need(&path).await?;
        // serde's error could quote the document: only its position is told.
        let document: RoleCredentials =
            serde_json::from_str(&text).map_err(|error| ImdsError::Unusable {
                path: path.clone(),
                reason: format!("not a credentials document (line {})", error.line()),
            })?;
        if document
            .code
            .as_deref()
            .is_some_and(|code| code != "Success")
        {
            return Err(ImdsError::Unusable {
                path,
                reason: "the role cannot be assumed".to_owned(),
            });
        }
        Ok(Credentials::new(
            document.access_key_id,
            document.secret_access_key,
            Some(document.token),
            None,
            "imds",
        ))
    }
}

async fn read(path: &str, mut answer: reqwest::Response) -> Result<Option<String>, ImdsError> {
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Ok(None),
        status => {
            return Err(ImdsError::Status {
                path: path.to_owned(),
                status,
            });
        }
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = answer
        .chunk()
        .await
        .map_err(|source| ImdsError::Unreachable {
            path: path.to_owned(),
            source,
        })?
    {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > LIMIT {
            return Err(ImdsError::Unusable {
                path: path.to_owned(),
                reason: format!("longer than {LIMIT} bytes"),
            });
        }
    }
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|_| ImdsError::Unusable {
            path: path.to_owned(),
            reason: "not UTF-8".to_owned(),
        })
}

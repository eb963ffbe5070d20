//! Does the server serve? The full ping, which goes through database and file store, the header that
//! proves which version answers, and what the server says of its licence.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use fleet_proto::v1::ServerLicence;
use reqwest::header::LOCATION;
use reqwest::{Client, Response};
use serde::Deserialize;

use crate::wanted::SitePath;

/// Mattermost's HTTP port.
pub const PORT: u16 = 8065;
/// The full ping writes and deletes a database row and a file; a healthy server needs milliseconds.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The answer is one small JSON object.
const LIMIT: usize = 64 * 1024;
const HEALTHY: &str = "OK";

/// What one full ping found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ping {
    /// `OK`, `UNHEALTHY`, or empty when nothing answered.
    pub database: String,
    /// As above.
    pub filestore: String,
    /// `X-Version-Id`, for example `11.10.0.1234.abcdef.false`; empty without.
    pub version_id: String,
    /// Status 200 and both `OK`.
    pub healthy: bool,
    /// Why not, one line; empty when healthy.
    pub reason: String,
}

impl Ping {
    /// The server says that it is this version.
    pub fn is_version(&self, version: &str) -> bool {
        self.version_id
            .strip_prefix(version)
            .is_some_and(|rest| rest.starts_with('.'))
    }

    /// `X-Version-Id` without build, hash and licence: `11.10.0`.
    pub fn version(&self) -> String {
        self.version_id
            .splitn(4, '.')
            .take(3)
            .collect::<Vec<_>>()
            .join(".")
    }

    /// The server answers, and says that its file store is not well.
    pub fn filestore_unhealthy(&self) -> bool {
        !self.filestore.is_empty() && self.filestore != HEALTHY
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    status: String,
    #[serde(default)]
    database_status: String,
    #[serde(default)]
    filestore_status: String,
}

/// All values are texts. Who and until when is left out without an administrator's session.
#[derive(Deserialize)]
struct LicenceAnswer {
    #[serde(rename = "IsLicensed", default)]
    licensed: String,
    #[serde(rename = "Cluster", default)]
    cluster: String,
}

/// Why the server did not say anything of its licence.
#[derive(Debug, thiserror::Error)]
pub enum LicenceError {
    /// No answer.
    #[error("the connection failed")]
    Connection(#[source] reqwest::Error),
    /// Another answer.
    #[error("it answered {0} without a licence document")]
    Answer(reqwest::StatusCode),
}

/// Asks one server.
#[derive(Clone, Debug)]
pub struct Pinger {
    http: Client,
    server: String,
}

impl Pinger {
    /// Of the server on this node.
    pub fn new(address: Ipv4Addr) -> Result<Self, reqwest::Error> {
        let http = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            // Plain HTTP: without reading the host's roots, which takes time and memory.
            .tls_certs_only([])
            .timeout(TIMEOUT)
            // A kept connection would count as a client and hide a server that no longer accepts.
            .pool_max_idle_per_host(0)
            .build()?;
        let server = SocketAddrV4::new(address, PORT);
        Ok(Self {
            http,
            server: format!("http://{server}"),
        })
    }

    /// One full ping below the site's path. Never an error: a server that does not answer is an unhealthy
    /// one.
    pub async fn ping(&self, path: &SitePath) -> Ping {
        match self.ask(path).await {
            Ok(ping) => ping,
            Err(error) => Ping {
                reason: if error.is_timeout() {
                    format!("no answer within {} s", TIMEOUT.as_secs())
                } else if error.is_connect() {
                    "connection refused".to_owned()
                } else {
                    "the connection broke".to_owned()
                },
                ..Ping::default()
            },
        }
    }

    /// What clients are told of the licence, which needs no login.
    pub async fn licence(&self, path: &SitePath) -> Result<ServerLicence, LicenceError> {
        let (server, path) = (&self.server, path.as_str());
        let url = format!("{server}{path}/api/v4/license/client?format=old");
        let answer = self.http.get(url).send().await;
        let answer = answer.map_err(LicenceError::Connection)?;
        let status = answer.status();
        let body = bounded(answer).await.map_err(LicenceError::Connection)?;
        match serde_json::from_slice::<LicenceAnswer>(&body) {
            Ok(said) if status.is_success() && !said.licensed.is_empty() => Ok(ServerLicence {
                licensed: said.licensed == "true",
                cluster: said.cluster == "true",
            }),
            _ => Err(LicenceError::Answer(status)),
        }
    }

    async fn ask(&self, path: &SitePath) -> Result<Ping, reqwest::Error> {
        let (server, path) = (&self.server, path.as_str());
        let url = format!("{server}{path}/api/v4/system/ping?get_server_status=true");
        let answer = self.http.get(url).send().await?;
        let status = answer.status();
        let elsewhere = answer.headers().get(LOCATION).cloned();
        let version_id = answer
            .headers()
            .get("x-version-id")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .chars()
            .take(200)
            .collect();
        let body = bounded(answer).await?;
        if let Some(elsewhere) = elsewhere.filter(|_| status.is_redirection()) {
            return Ok(Ping {
                version_id,
                reason: format!(
                    "answered {status} to {elsewhere:?}: its site URL has another path than `{path}`"
                ),
                ..Ping::default()
            });
        }
        let Ok(said) = serde_json::from_slice::<Answer>(&body) else {
            return Ok(Ping {
                version_id,
                reason: format!("answered {status} without a status document"),
                ..Ping::default()
            });
        };
        let healthy = status.is_success()
            && said.database_status == HEALTHY
            && said.filestore_status == HEALTHY;
        let reason = if healthy {
            String::new()
        } else {
            format!(
                "answered {status}: status {:?}, database {:?}, file store {:?}",
                said.status, said.database_status, said.filestore_status
            )
        };
        Ok(Ping {
            database: said.database_status,
            filestore: said.filestore_status,
            version_id,
            healthy,
            reason,
        })
    }
}

async fn bounded(mut answer: Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > LIMIT {
            break;
        }
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_a_prefix_of_whole_parts() {
        let ping = Ping {
            version_id: "11.1.0.1234.abc.false".into(),
            ..Ping::default()
        };
        for (version, expected) in [
            ("11.1.0", true),
            ("11.1", true),
            ("11.1.0.1", false),
            ("1", false),
            ("11.10.0", false),
        ] {
            assert_eq!(ping.is_version(version), expected, "{version}");
        }
        assert_eq!(ping.version(), "11.1.0");
    }
}

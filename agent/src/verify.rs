//! Does the server serve? The full ping, which goes through database and file store, and the header
//! that proves which version answers.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use reqwest::Client;
use serde::Deserialize;

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
    /// The first parts of `X-Version-Id`, for example `11.10.0.1234.abcdef.false`; empty without.
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

/// Pings one server.
#[derive(Clone, Debug)]
pub struct Pinger {
    http: Client,
    url: String,
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
            url: format!("http://{server}/api/v4/system/ping?get_server_status=true"),
        })
    }

    /// One full ping. Never an error: a server that does not answer is an unhealthy one.
    pub async fn ping(&self) -> Ping {
        match self.ask().await {
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

    async fn ask(&self) -> Result<Ping, reqwest::Error> {
        let mut answer = self.http.get(&self.url).send().await?;
        let status = answer.status();
        let version_id = answer
            .headers()
            .get("x-version-id")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .chars()
            .take(200)
            .collect();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() > LIMIT {
                break;
            }
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

//! Who this instance is and whom it serves: read once at start from the metadata service.

use std::net::Ipv4Addr;
use std::time::Duration;

use fleet_proto::backoff::Backoff;
use fleet_proto::id::InstanceId;
use fleet_proto::tls::Pin;
use serde::Deserialize;

use crate::coded::chain;
use crate::imds::{Imds, ImdsError};

/// The one form of user data that this agent reads.
const USER_DATA_VERSION: u32 = 1;

/// The instance, as the metadata service names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// Its private address: Mattermost listens here.
    pub address: Ipv4Addr,
    /// Its region: the STS endpoint and the signature's scope.
    pub region: String,
}

/// What the launch template says. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserData {
    version: u32,
    /// The stack's name.
    pub stack: String,
    /// `host:port` of each orchestrator.
    pub orchestrators: Vec<String>,
    /// SHA-256 of the orchestrators' CA certificate.
    pub ca_sha256: Pin,
}

/// Why user data cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UserDataError {
    /// Not JSON of the right shape.
    #[error("user data is not the JSON object that the launch template should hold")]
    Json(#[source] serde_json::Error),
    /// Of another version of the template.
    #[error("user data has version {0}; this agent reads version {USER_DATA_VERSION}")]
    Version(u32),
    /// The stack's name could not be part of a server name.
    #[error("user data: stack `{0}` is not a name of letters, digits and hyphens")]
    Stack(String),
    /// Nobody to speak to.
    #[error("user data: `orchestrators` is empty; at least one `host:port` is needed")]
    NoOrchestrator,
    /// An address is malformed.
    #[error("user data: orchestrator `{0}` is not of the form `host:port`")]
    Address(String),
}

impl UserData {
    /// Parses and checks.
    pub fn parse(text: &str) -> Result<Self, UserDataError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        // The version first: a newer form may have fields that this one refuses.
        let versioned: Versioned = serde_json::from_str(text).map_err(UserDataError::Json)?;
        if versioned.version != USER_DATA_VERSION {
            return Err(UserDataError::Version(versioned.version));
        }
        let data: Self = serde_json::from_str(text).map_err(UserDataError::Json)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if data.stack.is_empty() || data.stack.len() > 63 || !data.stack.bytes().all(plain) {
            return Err(UserDataError::Stack(data.stack));
        }
        if data.orchestrators.is_empty() {
            return Err(UserDataError::NoOrchestrator);
        }
        for address in &data.orchestrators {
            let good = address
                .rsplit_once(':')
                .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
            if !good {
                return Err(UserDataError::Address(address.clone()));
            }
        }
        Ok(data)
    }
}

#[derive(Debug, thiserror::Error)]
enum BootError {
    #[error(transparent)]
    Imds(#[from] ImdsError),
    #[error(transparent)]
    UserData(#[from] UserDataError),
}

async fn observe(imds: &Imds) -> Result<(Instance, UserData), BootError> {
    let instance = Instance {
        id: imds.instance_id().await?,
        address: imds.local_ipv4().await?,
        region: imds.region().await?,
    };
    let user_data = UserData::parse(&imds.user_data().await?)?;
    Ok((instance, user_data))
}

/// Asks until there is a usable answer: an instance without one can do nothing else.
pub async fn boot(imds: &Imds) -> (Instance, UserData) {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    loop {
        match observe(imds).await {
            Ok(known) => return known,
            Err(error) => {
                let wait = backoff.next_wait();
                log::warn!(
                    "cannot read what this instance is, again in {wait:.1?}: {}",
                    chain(&error)
                );
                tokio::time::sleep(wait).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_data_is_read_or_refused_with_the_reason() {
        let pin = "ab".repeat(32);
        let with = |stack: &str, orchestrators: &str, version: u32| {
            format!(
                r#"{{"version":{version},"stack":"{stack}","orchestrators":{orchestrators},"ca_sha256":"{pin}"}}"#
            )
        };
        let good = UserData::parse(&with(
            "chat",
            r#"["10.0.0.5:7443","o.example.org:7443"]"#,
            1,
        ));
        assert_eq!(good.unwrap().orchestrators.len(), 2);
        let cases = [
            (String::new(), "not the JSON object"),
            ("[]".to_owned(), "not the JSON object"),
            (with("chat", r#"["a:1"]"#, 2), "version 2"),
            (with("ch at", r#"["a:1"]"#, 1), "`ch at`"),
            (with("chat", "[]", 1), "`orchestrators` is empty"),
            (with("chat", r#"["a"]"#, 1), "`a` is not of the form"),
            (with("chat", r#"["a:99999"]"#, 1), "`a:99999`"),
            (
                with("chat", r#"["a:1"]"#, 1).replace("abab", "xyxy"),
                "not the JSON object",
            ),
            (
                with("chat", r#"["a:1"]"#, 1).replace("\"stack\"", "\"password\":\"x\",\"stack\""),
                "not the JSON object",
            ),
        ];
        for (text, expected) in cases {
            let error = UserData::parse(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}

//! Requests as an attacker makes them: honest in everything but what a case changes, and signed with
//! a real signature over what it then says.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use fleet_proto::v1;
use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use sha2::{Digest, Sha256};

use super::region::{Machine, REGION};

const BODY: &[u8] = b"Action=GetCallerIdentity&Version=2011-06-15";

/// What is signed, by whom, for which scope.
#[derive(Clone, Debug)]
pub struct Signing {
    pub credentials: Credentials,
    pub region: String,
    pub service: String,
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// By a clock that is so many seconds ahead.
    pub ahead: i64,
}

impl Default for Signing {
    fn default() -> Self {
        Self {
            credentials: Credentials::new("AKIANOBODY", "none", None, None, "nobody"),
            region: REGION.to_owned(),
            service: "sts".to_owned(),
            method: "POST".to_owned(),
            url: String::new(),
            headers: Vec::new(),
            body: BODY.to_vec(),
            ahead: 0,
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "signatures carry the time of day, and the lab verifies it"
)]
fn now(ahead: i64) -> SystemTime {
    let by = Duration::from_secs(ahead.unsigned_abs());
    if ahead < 0 {
        SystemTime::now() - by
    } else {
        SystemTime::now() + by
    }
}

impl Signing {
    pub fn sign(self) -> v1::SignedRequest {
        let identity = self.credentials.into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(&self.service)
            .time(now(self.ahead))
            .settings(SigningSettings::default())
            .build()
            .unwrap()
            .into();
        let request = SignableRequest::new(
            &self.method,
            self.url.as_str(),
            self.headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
            SignableBody::Bytes(&self.body),
        )
        .unwrap();
        let (instructions, _) = sign(request, &parameters).unwrap().into_parts();
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .chain(instructions.headers())
            .map(|(name, value)| header(name, value))
            .collect();
        v1::SignedRequest {
            method: self.method,
            url: self.url,
            headers,
            body: self.body,
        }
    }

    /// Signs another value under this name, or the header at all.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.unset(name);
        self.headers.push((name.to_owned(), value.into()));
    }

    /// Leaves a header out of the request.
    pub fn unset(&mut self, name: &str) {
        self.headers.retain(|(known, _)| known != name);
    }
}

pub fn header(name: &str, value: &str) -> v1::Header {
    v1::Header {
        name: name.to_owned(),
        value: value.to_owned(),
    }
}

/// One attempt to enrol, before it is signed.
pub struct Attempt {
    pub signing: Signing,
    pub key: KeyPair,
    pub csr: Vec<u8>,
}

impl Attempt {
    /// As the agent of this machine would make it.
    pub fn honest(machine: &Machine, key: KeyPair, nonce: &[u8]) -> Self {
        let host = format!("sts.{REGION}.amazonaws.com");
        let headers = [
            ("host", host.clone()),
            (
                "content-type",
                "application/x-www-form-urlencoded".to_owned(),
            ),
            ("x-fleet-nonce", hex::encode(nonce)),
            ("x-fleet-key-sha256", key_sha256(&key)),
        ];
        Self {
            signing: Signing {
                credentials: machine.credentials.clone(),
                url: format!("https://{host}/"),
                headers: headers
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect(),
                ..Signing::default()
            },
            csr: csr(&key, &CertificateParams::default()),
            key,
        }
    }

    pub fn answer(self) -> v1::EnrollAnswer {
        v1::EnrollAnswer {
            identity: Some(self.signing.sign()),
            csr: self.csr,
            agent_version: "corpus".to_owned(),
        }
    }
}

pub fn csr(key: &KeyPair, params: &CertificateParams) -> Vec<u8> {
    params.serialize_request(key).unwrap().der().to_vec()
}

pub fn key_sha256(key: &KeyPair) -> String {
    hex::encode(Sha256::digest(key.subject_public_key_info()))
}

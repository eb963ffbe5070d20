//! From nothing to a certificate: the node proves with its instance role who it is, and binds the
//! proof to the orchestrator's nonce and to its own key.
//!
//! ```text
//!   orchestrator -- nonce -------------------------------------------> node
//!   node -- GetCallerIdentity, signed over nonce and key; CSR -------> orchestrator -> STS
//!   orchestrator -- certificate -------------------------------------> node
//! ```
//!
//! The node never sends the request to STS itself; whoever intercepts it can neither use it for
//! another key nor for another nonce, and it grants nothing but the caller's identity.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use fleet_proto::v1::enroll_step::Step;
use fleet_proto::v1::enrolment_client::EnrolmentClient;
use fleet_proto::v1::{Certificate, EnrollAnswer, EnrollStep, Header, SignedRequest};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::boot::Instance;
use crate::identity::{Identity, IdentityError};
use crate::imds::{Imds, ImdsError};

const BODY: &str = "Action=GetCallerIdentity&Version=2011-06-15";
const NONCE_BYTES: usize = 32;
/// The orchestrator asks STS, EC2 and Auto Scaling in between; each may be slow once.
const DEADLINE: Duration = Duration::from_secs(30);

/// Why enrolment did not end with a certificate.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The orchestrator refused or the call broke.
    #[error("the orchestrator refused: {}", .0.message())]
    Refused(#[source] Box<tonic::Status>),
    /// A step came that does not belong here.
    #[error("the orchestrator broke the enrolment protocol: expected {expected}")]
    Protocol {
        /// What should have come.
        expected: &'static str,
    },
    /// The nonce has the wrong size.
    #[error("the orchestrator's nonce has {0} bytes instead of {NONCE_BYTES}")]
    Nonce(usize),
    /// No credentials to sign with.
    #[error("no instance role credentials to sign with")]
    Credentials(#[from] ImdsError),
    /// The request cannot be signed.
    #[error("the identity request cannot be signed: {0}")]
    Sign(String),
    /// Key or CSR.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// No certificate in time.
    #[error("no certificate within {DEADLINE:?}")]
    Deadline,
}

impl From<tonic::Status> for EnrolError {
    fn from(status: tonic::Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

/// One attempt, over a channel whose peer was verified against the pin.
pub async fn enrol(
    channel: Channel,
    identity: &Identity,
    instance: &Instance,
    imds: &Imds,
) -> Result<Certificate, EnrolError> {
    tokio::time::timeout(DEADLINE, dialogue(channel, identity, instance, imds))
        .await
        .map_err(|_| EnrolError::Deadline)?
}

async fn dialogue(
    channel: Channel,
    identity: &Identity,
    instance: &Instance,
    imds: &Imds,
) -> Result<Certificate, EnrolError> {
    let (answers, outbound) = tokio::sync::mpsc::channel(1);
    let mut steps = EnrolmentClient::new(channel)
        .enroll(ReceiverStream::new(outbound))
        .await?
        .into_inner();
    let Step::Challenge(challenge) = next(&mut steps, "a challenge").await? else {
        return Err(EnrolError::Protocol {
            expected: "a challenge",
        });
    };
    if challenge.nonce.len() != NONCE_BYTES {
        return Err(EnrolError::Nonce(challenge.nonce.len()));
    }
    let credentials = imds.credentials().await?;
    let answer = EnrollAnswer {
        identity: Some(signed_identity(
            &instance.region,
            credentials,
            &challenge.nonce,
            &identity.key_sha256(),
        )?),
        csr: identity.csr()?,
        agent_version: crate::VERSION.to_owned(),
    };
    // The stream ended: the refusal is what the next step says.
    let _ = answers.send(answer).await;
    match next(&mut steps, "a certificate").await? {
        Step::Certificate(certificate) => Ok(certificate),
        Step::Challenge(_) => Err(EnrolError::Protocol {
            expected: "a certificate",
        }),
    }
}

async fn next(
    steps: &mut Streaming<EnrollStep>,
    expected: &'static str,
) -> Result<Step, EnrolError> {
    steps
        .message()
        .await?
        .and_then(|step| step.step)
        .ok_or(EnrolError::Protocol { expected })
}

/// `GetCallerIdentity` at the region's STS endpoint, signed but not sent.
pub fn signed_identity(
    region: &str,
    credentials: Credentials,
    nonce: &[u8],
    key_sha256: &str,
) -> Result<SignedRequest, EnrolError> {
    let host = format!("sts.{region}.amazonaws.com");
    let url = format!("https://{host}/");
    let nonce = hex::encode(nonce);
    let plain = [
        ("host", host.as_str()),
        ("content-type", "application/x-www-form-urlencoded"),
        ("x-fleet-nonce", nonce.as_str()),
        ("x-fleet-key-sha256", key_sha256),
    ];
    let refused = |error: &dyn std::fmt::Display| EnrolError::Sign(error.to_string());
    let identity = credentials.into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("sts")
        .time(crate::clock::now())
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| refused(&error))?
        .into();
    let request = SignableRequest::new(
        "POST",
        url.as_str(),
        plain.iter().copied(),
        SignableBody::Bytes(BODY.as_bytes()),
    )
    .map_err(|error| refused(&error))?;
    let (instructions, _) = sign(request, &params)
        .map_err(|error| refused(&error))?
        .into_parts();
    let headers = plain
        .into_iter()
        .chain(instructions.headers())
        .map(|(name, value)| Header {
            name: name.to_owned(),
            value: value.to_owned(),
        })
        .collect();
    Ok(SignedRequest {
        method: "POST".to_owned(),
        url,
        headers,
        body: BODY.as_bytes().to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonce_key_and_token_are_signed() {
        let credentials = Credentials::new("AKID", "secret", Some("token".into()), None, "test");
        let request = signed_identity("eu-central-1", credentials, &[7; 32], "beef").unwrap();
        let header = |name: &str| {
            let mut found = request.headers.iter().filter(|one| one.name == name);
            let value = found.next().unwrap_or_else(|| panic!("{name} is missing"));
            assert!(found.next().is_none(), "{name} is there twice");
            value.value.clone()
        };
        assert_eq!(request.url, "https://sts.eu-central-1.amazonaws.com/");
        assert_eq!(header("host"), "sts.eu-central-1.amazonaws.com");
        assert_eq!(header("x-fleet-nonce"), "07".repeat(32));
        assert_eq!(header("x-fleet-key-sha256"), "beef");
        assert_eq!(header("x-amz-security-token"), "token");
        let authorization = header("authorization");
        assert!(
            authorization.contains(
                "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-fleet-key-sha256;x-fleet-nonce"
            ),
            "{authorization}"
        );
        assert!(authorization.contains("/eu-central-1/sts/aws4_request"));
    }
}

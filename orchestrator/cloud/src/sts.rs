//! STS: who we are, and who a node is that signed a `GetCallerIdentity` request for us to send.

use std::time::Duration;

use quick_xml::Reader;
use quick_xml::events::Event;
use reqwest::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use url::Url;

use crate::calls::Service;
use crate::connect::Cloud;
use crate::error::{Called, Failure, ReadError};

/// STS's answer is half a kilobyte; more than this is not STS's.
const ANSWER_LIMIT: usize = 16 * 1024;
const CONNECT: Duration = Duration::from_secs(3);
const ANSWER: Duration = Duration::from_secs(10);
/// A connection that was not used for longer may have been closed by STS.
const IDLE: Duration = Duration::from_secs(15);

/// Whom STS saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerIdentity {
    /// The account, twelve digits.
    pub account: String,
    /// `arn:aws:sts::<account>:assumed-role/<role>/<session>`; of a node the session is its instance id.
    pub arn: String,
    /// `AROA…:<session>`.
    pub user_id: String,
}

/// A request that a node signed and did not send. The caller has checked that its URL is the one of a
/// regional STS endpoint and that the signature covers what binds it to us.
#[derive(Clone, Debug)]
pub struct SignedRequest {
    /// `POST` or `GET`.
    pub method: String,
    /// `https://sts.<region>.amazonaws.com/…`.
    pub url: String,
    /// As signed, `Authorization` and `X-Amz-Date` among them.
    pub headers: Vec<(String, String)>,
    /// `Action=GetCallerIdentity&Version=2011-06-15`.
    pub body: Vec<u8>,
}

/// Why a signed request named nobody.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The request is none that could be sent: the node's fault.
    #[error("the signed request cannot be sent: its {part} is not valid")]
    BadRequest {
        /// Which part of it.
        part: &'static str,
    },
    /// STS does not accept the signature: the node's fault.
    #[error("STS refused the signed request with HTTP {status}: {code}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// STS's error code.
        code: String,
    },
    /// STS gave no usable answer: nobody's fault, worth another try.
    #[error("STS gave no usable answer: {reason}")]
    NoAnswer {
        /// What happened.
        reason: String,
        /// The transport's error.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl Cloud {
    /// Who we are to AWS.
    pub async fn caller_identity(&self) -> Result<CallerIdentity, ReadError> {
        const CALL: &str = "sts:GetCallerIdentity";
        let answer = self
            .look()
            .sts
            .get_caller_identity()
            .send()
            .await
            .called(CALL)?;
        let part = |value: Option<&str>, name: &str| {
            value
                .map(str::to_owned)
                .ok_or_else(|| Failure::incomplete(CALL, name))
        };
        Ok(CallerIdentity {
            account: part(answer.account(), "Account")?,
            arn: part(answer.arn(), "Arn")?,
            user_id: part(answer.user_id(), "UserId")?,
        })
    }

    /// Sends a node's signed request to STS, as it was signed, and says whom STS saw. The connection
    /// goes to `AWS_ENDPOINT_URL_STS` or `AWS_ENDPOINT_URL` when one is set, with the signed `Host`.
    pub async fn forward_identity(
        &self,
        request: &SignedRequest,
    ) -> Result<CallerIdentity, IdentityError> {
        let signed: Url = request.url.parse().map_err(|_| bad("URL"))?;
        let host = signed.host_str().ok_or_else(|| bad("URL"))?;
        let mut target = signed.clone();
        if let Some(endpoint) = self.sts_endpoint() {
            target =
                Url::parse(endpoint).map_err(|error| no_answer("the endpoint is no URL", error))?;
            target.set_path(signed.path());
            target.set_query(signed.query());
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            let name: HeaderName = name.parse().map_err(|_| bad("header name"))?;
            let value: HeaderValue = value.parse().map_err(|_| bad("header value"))?;
            // The length is the body's, whatever the node says.
            if name != "content-length" {
                headers.append(name, value);
            }
        }
        let authority = signed
            .port()
            .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        headers.insert(HOST, authority.parse().map_err(|_| bad("URL"))?);
        let method = request.method.parse().map_err(|_| bad("method"))?;
        self.counted().count(Service::Sts, "GetCallerIdentity");
        let mut answer = self
            .forwarder(client)?
            .request(method, target)
            .headers(headers)
            .body(request.body.clone())
            .send()
            .await
            .map_err(|error| no_answer("the connection failed", error))?;
        let status = answer.status().as_u16();
        let mut text = Vec::new();
        while let Some(chunk) = answer
            .chunk()
            .await
            .map_err(|error| no_answer("the connection broke", error))?
        {
            text.extend_from_slice(&chunk);
            if text.len() > ANSWER_LIMIT {
                return Err(unusable("it is longer than any answer of STS"));
            }
        }
        judge(status, &text)
    }
}

/// HTTP/1.1, because the signed `Host` must be sent as it is; no redirect, no proxy of the node's choosing.
fn client() -> Result<reqwest::Client, IdentityError> {
    reqwest::Client::builder()
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .timeout(ANSWER)
        .pool_idle_timeout(IDLE)
        .build()
        .map_err(|error| no_answer("no HTTP client", error))
}

fn judge(status: u16, text: &[u8]) -> Result<CallerIdentity, IdentityError> {
    let text = std::str::from_utf8(text).map_err(|_| unusable("it is not UTF-8"))?;
    if status == 200 {
        let part =
            |name: &str| element(text, name).ok_or_else(|| unusable(&format!("it has no {name}")));
        return Ok(CallerIdentity {
            account: part("Account")?,
            arn: part("Arn")?,
            user_id: part("UserId")?,
        });
    }
    let code = element(text, "Code").unwrap_or_else(|| "no code".to_owned());
    if (400..500).contains(&status) && status != 429 && code != "Throttling" {
        return Err(IdentityError::Refused { status, code });
    }
    Err(unusable(&format!("HTTP {status}: {code}")))
}

/// The text of the first element of that name.
fn element(xml: &str, name: &str) -> Option<String> {
    let mut reader = Reader::from_str(xml);
    let mut inside = false;
    let mut text = String::new();
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) => inside = start.local_name().as_ref() == name,
            Event::Text(part) if inside => text.push_str(&part.xml10_content()),
            Event::End(_) if inside => return Some(text.trim().to_owned()),
            Event::Eof => return None,
            _ => {}
        }
    }
}

fn bad(part: &'static str) -> IdentityError {
    IdentityError::BadRequest { part }
}

fn no_answer(reason: &str, error: impl std::error::Error + Send + Sync + 'static) -> IdentityError {
    IdentityError::NoAnswer {
        reason: reason.to_owned(),
        source: Some(Box::new(error)),
    }
}

fn unusable(reason: &str) -> IdentityError {
    IdentityError::NoAnswer {
        reason: reason.to_owned(),
        source: None,
    }
}

#[cfg(test)]
mod tests {
    use super::{IdentityError, judge};

    const ANSWER: &str = r#"<?xml version="1.0"?>
<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <GetCallerIdentityResult>
    <Arn>arn:aws:sts::123456789012:assumed-role/mattermost-node/i-0123</Arn>
    <UserId>AROAEXAMPLE:i-0123</UserId>
    <Account>123456789012</Account>
  </GetCallerIdentityResult>
  <ResponseMetadata><RequestId>1</RequestId></ResponseMetadata>
</GetCallerIdentityResponse>"#;

    #[test]
    fn the_answer_names_the_node() {
        let caller = judge(200, ANSWER.as_bytes()).expect("an identity");
        assert_eq!(caller.account, "123456789012");
        assert_eq!(caller.user_id, "AROAEXAMPLE:i-0123");
        assert!(caller.arn.ends_with("/i-0123"));
    }

    #[test]
    fn a_refusal_is_the_node_s_and_a_failure_is_nobody_s() {
        let error =
            "<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code></Error></ErrorResponse>";
        assert!(matches!(
            judge(403, error.as_bytes()),
            Err(IdentityError::Refused { status: 403, code }) if code == "SignatureDoesNotMatch"
        ));
        for (status, text) in [
            (500, ""),
            (503, "<a/>"),
            (429, ""),
            (200, "<a/>"),
            (302, ""),
        ] {
            assert!(
                matches!(
                    judge(status, text.as_bytes()),
                    Err(IdentityError::NoAnswer { .. })
                ),
                "{status}"
            );
        }
    }
}

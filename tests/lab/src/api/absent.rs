//! Refusals of requests that are for no service of the lab: one that it does not have, or none that
//! could be told. A client reads errors only in the protocol that it speaks, so the request's own form
//! decides the answer's:
//!
//! | the request has | protocol | the error is |
//! |---|---|---|
//! | `smithy-protocol: rpc-v2-cbor` | smithy-rpc-v2-cbor | `__type`, `message` in CBOR |
//! | `X-Amz-Target` | awsJson1.0 or 1.1, by its content type | `__type`, `message` |
//! | a form | awsQuery, or EC2's dialect of it | `<ErrorResponse>`; `<Response><Errors>` |
//! | a scope of [`REST_XML`] | restXml | `<ErrorResponse>` |
//! | anything else | restJson1 | `x-amzn-ErrorType`, `message` |

use http::header::CONTENT_TYPE;
use http::request::Parts;

use super::server::{Answer, fault_of, in_the_words_of, render_error, request_id_header, response};
use super::{ApiError, Protocol, Service, Xml};

/// Scopes of services that speak restXml. S3, the other one, has its own wire.
const REST_XML: [&str; 3] = ["cloudfront", "route53", "s3-outposts"];

/// The service in the signature's scope, whether the lab has it or not; none without a signature.
pub(super) fn claimed_scope(parts: &Parts) -> Option<&str> {
    let header = parts.headers.get("authorization")?.to_str().ok()?;
    let (_, credential) = header.split_once("Credential=")?;
    credential.split('/').nth(3)
}

/// The refusal of a service that the lab does not have, when the signature names one. Its signature is
/// not looked at: nothing comes of the request either way.
pub(super) fn refusal(parts: &Parts, body: &[u8], request_id: &str) -> Option<Answer> {
    let scope = claimed_scope(parts)?;
    if Service::from_scope(scope).is_some() {
        return None;
    }
    log::error!("the lab has no service `{scope}`");
    let message = format!("The lab has no service {scope}.");
    let error = match form(parts, scope) {
        // What awsQuery calls an action that is not there, all others call an operation.
        Form::Query => ApiError::new("InvalidAction", message),
        Form::Json(_) => ApiError::new("UnknownOperationException", message),
        Form::RestXml | Form::RestJson | Form::Cbor => {
            ApiError::new("UnknownOperationException", message).status(404)
        }
    };
    Some(render(parts, body, &error, request_id))
}

/// An error in the form that the request speaks.
pub(super) fn render(parts: &Parts, body: &[u8], error: &ApiError, request_id: &str) -> Answer {
    let scope = claimed_scope(parts).unwrap_or_default();
    let mut headers = request_id_header(request_id);
    match form(parts, scope) {
        // Whoever posts a form and names no service is taken for a client of EC2.
        Form::Query if scope.is_empty() => {
            render_error(Service::Ec2, Protocol::Ec2Query, error, request_id)
        }
        Form::Query => {
            let version = form_urlencoded::parse(body).find(|(key, _)| key == "Version");
            let version = version.map(|(_, version)| version).unwrap_or_default();
            let namespace = format!("http://{scope}.amazonaws.com/doc/{version}/");
            let text = error_response(&namespace, error, request_id);
            response(error.status, "text/xml", headers, text)
        }
        Form::RestXml => {
            let namespace = format!("https://{scope}.amazonaws.com/doc/");
            let text = error_response(&namespace, error, request_id);
            response(error.status, "text/xml", headers, text)
        }
        Form::Json(version) => {
            let kind = format!("application/x-amz-json-{version}");
            let error = in_the_words_of(Protocol::Json, error.clone());
            let text = serde_json::json!({ "__type": error.code, "message": error.message });
            response(error.status, &kind, headers, text.to_string().into_bytes())
        }
        Form::RestJson => {
            if let Ok(code) = error.code.parse() {
                headers.insert("x-amzn-errortype", code);
            }
            let text = serde_json::json!({ "message": error.message }).to_string();
            response(error.status, "application/json", headers, text.into_bytes())
        }
        Form::Cbor => render_error(Service::CloudWatch, Protocol::Cbor, error, request_id),
    }
}

/// How a request speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// awsQuery, and EC2's.
    Query,
    /// awsJson, with its version.
    Json(&'static str),
    RestXml,
    RestJson,
    Cbor,
}

fn form(parts: &Parts, scope: &str) -> Form {
    let header = |name: &str| {
        let value = parts.headers.get(name);
        value.and_then(|value| value.to_str().ok())
    };
    let kind = header(CONTENT_TYPE.as_str()).unwrap_or_default();
    if header("smithy-protocol") == Some("rpc-v2-cbor") {
        Form::Cbor
    } else if header("x-amz-target").is_some() {
        Form::Json(if kind.ends_with("json-1.0") {
            "1.0"
        } else {
            "1.1"
        })
    } else if REST_XML.contains(&scope) {
        Form::RestXml
    } else if scope.is_empty() || kind.starts_with("application/x-www-form-urlencoded") {
        Form::Query
    } else {
        Form::RestJson
    }
}

fn error_response(namespace: &str, error: &ApiError, request_id: &str) -> Vec<u8> {
    let details = Xml::new()
        .text("Type", fault_of(error))
        .text("Code", &error.code)
        .text("Message", &error.message);
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ErrorResponse xmlns=\"{namespace}\"><Error>{}</Error><RequestId>{request_id}</RequestId></ErrorResponse>",
        details.render()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn parts(headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    fn signed<'a>(scope: &'a str, more: &'a [(&'a str, &'a str)]) -> Parts {
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=AK/20260101/us-east-1/{scope}/aws4_request, SignedHeaders=host, Signature=0"
        );
        let mut headers = vec![("authorization", authorization.as_str())];
        headers.extend_from_slice(more);
        parts(&headers)
    }

    const FORM: (&str, &str) = (
        "content-type",
        "application/x-www-form-urlencoded; charset=utf-8",
    );

    #[test]
    fn a_service_that_is_there_is_not_refused() {
        assert!(refusal(&signed("ec2", &[FORM]), b"", "r").is_none());
        assert!(refusal(&parts(&[FORM]), b"", "r").is_none());
    }

    #[test]
    fn the_request_decides_the_form() {
        let target = ("x-amz-target", "AmazonSQS.ListQueues");
        let json = |kind| [target, ("content-type", kind)];
        for (scope, headers, form_wanted, status) in [
            ("sns", vec![FORM], Form::Query, 400),
            (
                "sqs",
                json("application/x-amz-json-1.0").to_vec(),
                Form::Json("1.0"),
                400,
            ),
            (
                "logs",
                json("application/x-amz-json-1.1").to_vec(),
                Form::Json("1.1"),
                400,
            ),
            ("lambda", vec![], Form::RestJson, 404),
            ("route53", vec![], Form::RestXml, 404),
            (
                "route53domains",
                vec![("smithy-protocol", "rpc-v2-cbor")],
                Form::Cbor,
                404,
            ),
        ] {
            let parts = signed(scope, &headers);
            assert_eq!(form(&parts, scope), form_wanted, "{scope}");
            let answer = refusal(&parts, b"Action=X&Version=2010-03-31", "r").expect(scope);
            assert_eq!(answer.status(), status, "{scope}");
        }
    }

    #[test]
    fn who_names_no_service_is_answered_as_the_form_says() {
        let json = parts(&[("x-amz-target", "A.B")]);
        assert_eq!(form(&json, ""), Form::Json("1.1"));
        assert_eq!(form(&parts(&[FORM]), ""), Form::Query);
    }
}

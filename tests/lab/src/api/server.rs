//! The HTTP endpoint: one port for all services and regions.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::Value;
use tokio::net::TcpListener;

use super::cbor::cbor_to_json;
use super::{ApiError, Call, Params, Protocol, Reply, Service, absent, sigv4};
use crate::Lab;
use crate::throttle::Asked;

/// Larger bodies are refused; the largest real one (user data in a template) is 16 KiB, base64.
const MAX_BODY: usize = 4 << 20;

pub(super) type Answer = Response<Full<Bytes>>;

/// Serves until the lab shuts down.
pub async fn serve(lab: Arc<Lab>, listener: TcpListener) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = lab.shutdown.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else { continue };
        let _ = stream.set_nodelay(true);
        let lab = Arc::clone(&lab);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let lab = Arc::clone(&lab);
                async move { answer(&lab, request).await.ok_or(Cut) }
            });
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection_with_upgrades(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// The connection is cut on purpose: a lost answer.
#[derive(Debug)]
struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("connection cut by a fault")
    }
}

impl std::error::Error for Cut {}

async fn answer(lab: &Arc<Lab>, request: Request<Incoming>) -> Option<Response<s3s::Body>> {
    if crate::s3::is_addressed(&request) {
        return crate::s3::answer(lab, request).await;
    }
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    let answer = if path == "/lab" || path.starts_with("/lab/") {
        Some(crate::control::answer(lab, &parts, body).await)
    } else {
        call(lab, &parts, body).await
    };
    answer.map(|answer| answer.map(s3s::Body::http_body))
}

async fn call(lab: &Arc<Lab>, parts: &Parts, body: Incoming) -> Option<Answer> {
    let request_id = lab.ids.uuid();
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
        let error = ApiError::new("RequestEntityTooLarge", "The body is too large").status(413);
        return Some(absent::render(parts, &[], &error, &request_id));
    };
    let body = body.to_bytes();
    if let Some(refusal) = absent::refusal(parts, &body, &request_id) {
        return Some(refusal);
    }
    let signed = match sigv4::verify(&lab.iam, parts, &body, lab.clock.now()) {
        Ok(signed) => signed,
        Err(error) => {
            let Some(service) = absent::claimed_scope(parts).and_then(Service::from_scope) else {
                return Some(absent::render(parts, &body, &error, &request_id));
            };
            let error = in_the_words_of(service.protocol(), error);
            let protocol = spoken(service, parts);
            return Some(render_error(service, protocol, &error, &request_id));
        }
    };
    let service = signed.service;
    let protocol = spoken(service, parts);
    let (action, params) = match parse(protocol, parts, &body) {
        Ok(parsed) => parsed,
        Err(error) => return Some(render_error(service, protocol, &error, &request_id)),
    };
    let asked = Asked {
        region: &signed.region,
        service: service.scope(),
        action: &action,
        caller: &signed.caller.arn,
    };
    if let Err(error) = lab.admit(asked) {
        return Some(render_error(service, protocol, &error, &request_id));
    }
    let verdict = lab.faults.take(service.scope(), &action);
    if !verdict.delay.is_zero() {
        tokio::time::sleep(verdict.delay).await;
    }
    if let Some(error) = verdict.refuse {
        return Some(render_error(service, protocol, &error, &request_id));
    }
    let call = Call {
        service,
        action,
        region: signed.region,
        caller: signed.caller,
        params,
        request_id,
    };
    log::debug!(
        "{} {} {} {}",
        call.region,
        service.scope(),
        call.action,
        call.caller.arn
    );
    let result = if lab.has_region(&call.region) {
        crate::dispatch(lab, &call).await
    } else {
        Err(ApiError::new(
            "SignatureDoesNotMatch",
            format!("the lab has no region `{}`", call.region),
        )
        .status(403))
    };
    if verdict.lose_answer {
        return None;
    }
    Some(match result {
        Ok(reply) => render(&call, protocol, reply),
        Err(error) => {
            if error.code == "InvalidAction" || error.code == "UnknownParameter" {
                log::error!("{} {}: {error}", service.scope(), call.action);
            } else {
                log::debug!("{} {}: {error}", service.scope(), call.action);
            }
            let error = in_the_words_of(service.protocol(), error);
            render_error(service, protocol, &error, &call.request_id)
        }
    })
}

/// The services that speak JSON have names of their own for an action that is not there and for a
/// signature that is refused, all with status 400.
pub(super) fn in_the_words_of(protocol: Protocol, error: ApiError) -> ApiError {
    if protocol != Protocol::Json {
        return error;
    }
    let code = match error.code.as_str() {
        "InvalidAction" => "UnknownOperationException",
        "InvalidClientTokenId" => "UnrecognizedClientException",
        "SignatureDoesNotMatch" | "RequestExpired" => "InvalidSignatureException",
        "IncompleteSignature" => "IncompleteSignatureException",
        "MissingAuthenticationToken" => "MissingAuthenticationTokenException",
        _ => return error,
    };
    ApiError::new(code, error.message).status(400)
}

/// The protocol of a request. CloudWatch speaks two: CBOR with the Rust SDK, JSON with botocore.
fn spoken(service: Service, parts: &Parts) -> Protocol {
    match service.protocol() {
        Protocol::Cbor if parts.headers.contains_key("x-amz-target") => Protocol::Json,
        protocol => protocol,
    }
}

fn parse(protocol: Protocol, parts: &Parts, body: &[u8]) -> Result<(String, Params), ApiError> {
    let malformed = |what: String| ApiError::new("SerializationException", what);
    match protocol {
        Protocol::Ec2Query | Protocol::Query => {
            let mut fields: Vec<(String, String)> =
                form_urlencoded::parse(body).into_owned().collect();
            fields.extend(
                form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
                    .into_owned(),
            );
            let action = fields
                .iter()
                .find(|(key, _)| key == "Action")
                .map(|(_, value)| value.clone())
                .ok_or_else(|| {
                    ApiError::new(
                        "MissingAction",
                        "The request must contain the parameter Action",
                    )
                })?;
            Ok((
                action,
                Params::from_form(fields, protocol == Protocol::Query),
            ))
        }
        Protocol::Json => {
            let target = parts
                .headers
                .get("x-amz-target")
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default();
            let action = target.rsplit('.').next().unwrap_or_default().to_owned();
            let value = if body.is_empty() {
                Value::Object(serde_json::Map::new())
            } else {
                serde_json::from_slice(body).map_err(|error| malformed(error.to_string()))?
            };
            Ok((action, Params::from_value(value)))
        }
        Protocol::Cbor => {
            let action = parts
                .uri
                .path()
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .to_owned();
            let value = if body.is_empty() {
                ciborium::Value::Map(Vec::new())
            } else {
                ciborium::from_reader(body).map_err(|error| malformed(error.to_string()))?
            };
            Ok((action, Params::from_value(cbor_to_json(value))))
        }
    }
}

/// An answer with this body.
pub(super) fn response(
    status: u16,
    content_type: &str,
    headers: HeaderMap,
    body: Vec<u8>,
) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    *response.headers_mut() = headers;
    if let Ok(value) = content_type.parse() {
        response.headers_mut().insert(CONTENT_TYPE, value);
    }
    response
}

/// The headers that every answer has.
pub(super) fn request_id_header(request_id: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Ok(value) = request_id.parse() {
        headers.insert("x-amzn-requestid", value);
    }
    headers
}

fn render(call: &Call, protocol: Protocol, reply: Reply) -> Answer {
    let headers = request_id_header(&call.request_id);
    let (action, namespace, id) = (&call.action, call.service.namespace(), &call.request_id);
    match reply {
        Reply::Xml(xml) => {
            let (before, after) = match call.service.protocol() {
                Protocol::Ec2Query => (format!("<requestId>{id}</requestId>"), String::new()),
                _ => (
                    format!("<{action}Result>"),
                    format!(
                        "</{action}Result><ResponseMetadata><RequestId>{id}</RequestId></ResponseMetadata>"
                    ),
                ),
            };
            // An answer may have hundreds of kilobytes: its text is copied once.
            let body = [
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<",
                action,
                "Response xmlns=\"",
                namespace,
                "\">",
                &before,
                xml.render(),
                &after,
                "</",
                action,
                "Response>",
            ]
            .concat();
            response(200, "text/xml;charset=UTF-8", headers, body.into_bytes())
        }
        Reply::Json(value) => json_response(call.service, 200, headers, &value),
        Reply::Cbor(value) if protocol == Protocol::Json => {
            json_response(call.service, 200, headers, &cbor_to_json(value))
        }
        Reply::Cbor(value) => cbor_response(200, headers, &value),
    }
}

fn json_response(service: Service, status: u16, headers: HeaderMap, value: &Value) -> Answer {
    // CloudWatch's JSON is awsJson1.0, that of the others 1.1.
    let content_type = match service {
        Service::CloudWatch => "application/x-amz-json-1.0",
        _ => "application/x-amz-json-1.1",
    };
    let body = value.to_string().into_bytes();
    response(status, content_type, headers, body)
}

fn cbor_response(status: u16, mut headers: HeaderMap, value: &ciborium::Value) -> Answer {
    let mut body = Vec::new();
    ciborium::into_writer(value, &mut body).expect("writing to memory cannot fail");
    headers.insert(
        "smithy-protocol",
        http::HeaderValue::from_static("rpc-v2-cbor"),
    );
    response(status, "application/cbor", headers, body)
}

/// Whose fault an error is, in awsQuery's words.
pub(super) fn fault_of(error: &ApiError) -> &'static str {
    if error.status >= 500 {
        "Receiver"
    } else {
        "Sender"
    }
}

/// An error of a service, in a protocol.
pub(super) fn render_error(
    service: Service,
    protocol: Protocol,
    error: &ApiError,
    request_id: &str,
) -> Answer {
    let mut headers = request_id_header(request_id);
    if service.protocol() == Protocol::Cbor {
        // A service that once spoke awsQuery tells its old error codes to clients that ask for them.
        if let Ok(value) = format!("{};{}", error.code, fault_of(error)).parse() {
            headers.insert("x-amzn-query-error", value);
        }
    }
    let xml = super::Xml::new()
        .text("Code", &error.code)
        .text("Message", &error.message);
    match protocol {
        Protocol::Ec2Query => {
            let body = format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error>{}</Error></Errors><RequestID>{request_id}</RequestID></Response>",
                xml.render()
            );
            response(
                error.status,
                "text/xml;charset=UTF-8",
                headers,
                body.into_bytes(),
            )
        }
        Protocol::Query => {
            let fault = fault_of(error);
            let body = format!(
                "<ErrorResponse xmlns=\"{}\"><Error><Type>{fault}</Type>{}</Error><RequestId>{request_id}</RequestId></ErrorResponse>",
                service.namespace(),
                xml.render()
            );
            response(error.status, "text/xml", headers, body.into_bytes())
        }
        Protocol::Json => {
            let body = serde_json::json!({ "__type": error.code, "message": error.message });
            json_response(service, error.status, headers, &body)
        }
        Protocol::Cbor => {
            let body = ciborium::Value::Map(vec![
                ("__type".into(), error.code.as_str().into()),
                ("message".into(), error.message.as_str().into()),
            ]);
            cbor_response(error.status, headers, &body)
        }
    }
}

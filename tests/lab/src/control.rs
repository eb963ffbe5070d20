//! The control endpoint, `/lab/…` on the API port: what a person or a test asks of the lab itself.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::Lab;

/// Answers a control request. Bodies and answers are JSON; an error is `{"error": "…"}` with 400 or 404.
///
/// | request | does |
/// |---|---|
/// | `GET /lab` | endpoint, regions, speed, CA path |
/// | `POST /lab/speed {"speed": 60}` | changes the clock |
/// | `POST /lab/faults {…}` / `DELETE /lab/faults` | adds a [`crate::fault::Fault`]; clears all |
/// | `GET /lab/calls` / `DELETE /lab/calls` | calls by caller, service and action, and the token buckets; forgets the counts |
/// | `GET /lab/iam` | what each statement of each role's policies allowed so far |
/// | `/lab/ec2/…`, `/lab/rds/…`, … | the services' own, see their `control` functions |
pub async fn answer(lab: &Arc<Lab>, parts: &Parts, body: Incoming) -> Response<Full<Bytes>> {
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return reply(Err(format!("the body did not arrive: {error}"))),
    };
    let value: Value = if body.is_empty() {
        Value::Null
    } else {
        match serde_json::from_slice(&body) {
            Ok(value) => value,
            Err(error) => return reply(Err(format!("the body is not JSON: {error}"))),
        }
    };
    let path: Vec<&str> = parts
        .uri
        .path()
        .trim_matches('/')
        .split('/')
        .skip(1)
        .collect();
    reply(route(lab, &parts.method, &path, value).await)
}

async fn route(
    lab: &Arc<Lab>,
    method: &Method,
    path: &[&str],
    body: Value,
) -> Result<Value, String> {
    match (method.as_str(), path) {
        ("GET", []) => Ok(json!({
            "regions": lab.config.regions.iter().map(|region| &region.name).collect::<Vec<_>>(),
            "speed": lab.clock.speed(),
            "ca": lab.ca.path(),
        })),
        ("POST", ["speed"]) => {
            let speed = body["speed"]
                .as_f64()
                .ok_or("`speed` must be a number above 0")?;
            lab.clock.set_speed(speed);
            Ok(json!({ "speed": lab.clock.speed() }))
        }
        ("POST", ["faults"]) => {
            lab.faults
                .add(serde_json::from_value(body).map_err(|error| error.to_string())?);
            Ok(json!({}))
        }
        ("DELETE", ["faults"]) => {
            lab.faults.clear();
            Ok(json!({}))
        }
        ("GET", ["calls"]) => Ok(lab.throttle.counts()),
        ("DELETE", ["calls"]) => {
            lab.throttle.clear();
            Ok(json!({}))
        }
        ("GET", ["iam"]) => Ok(lab.directory.usage()),
        (_, ["ec2", rest @ ..]) => crate::ec2::control(lab, method, rest, body).await,
        (_, ["cloudwatch", rest @ ..]) => crate::cloudwatch::control(lab, method, rest, body).await,
        (_, ["rds", rest @ ..]) => crate::rds::control(lab, method, rest, body).await,
        (_, ["elbv2", rest @ ..]) => crate::elbv2::control(lab, method, rest, body).await,
        (_, ["s3", rest @ ..]) => crate::s3::control(lab, method, rest, &body),
        (_, ["acm", rest @ ..]) => crate::acm::control(lab, method, rest, body).await,
        _ => Err(format!("there is no `{method} /lab/{}`", path.join("/"))),
    }
}

fn reply(result: Result<Value, String>) -> Response<Full<Bytes>> {
    let (status, value) = match result {
        Ok(value) => (StatusCode::OK, value),
        Err(error) => (StatusCode::BAD_REQUEST, json!({ "error": error })),
    };
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    response
}

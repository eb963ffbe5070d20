//! Answers by the load balancer itself.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION, SERVER};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};

/// What travels to a client.
pub(super) type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// A whole body.
pub(super) fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// An answer with the load balancer's `Server` header.
pub(super) fn own(status: u16, content_type: Option<&str>, text: String) -> Response<Body> {
    let length = text.len();
    let mut response = Response::new(full(text));
    *response.status_mut() =
        StatusCode::from_u16(status).expect("statuses are checked when an action is taken");
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static("awselb/2.0"));
    headers.insert(CONTENT_LENGTH, length.into());
    if let Some(value) = content_type.and_then(|it| HeaderValue::from_str(it).ok()) {
        headers.insert(CONTENT_TYPE, value);
    }
    response
}

/// An error page.
pub(super) fn error(status: u16) -> Response<Body> {
    let reason = StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Error");
    let text = format!(
        "<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n<center><h1>{status} {reason}</h1></center>\r\n</body>\r\n</html>\r\n"
    );
    own(status, Some("text/html"), text)
}

/// A redirection.
pub(super) fn redirect(status: u16, location: &str) -> Response<Body> {
    let mut response = error(status);
    match HeaderValue::from_str(location) {
        Ok(value) => {
            response.headers_mut().insert(LOCATION, value);
            response
        }
        Err(_) => error(400),
    }
}

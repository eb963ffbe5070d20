//! Whom the console answers. It has no login, so a page of somebody else's that a browser on this host shows
//! must not read it under a name of its own that leads here (DNS rebinding).

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Nothing is loaded or run, nothing frames it; the page's one style sheet stands in it.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The names beside addresses and `localhost` under which people and Prometheus come.
pub type Names = Arc<[String]>;

/// Answers who asks for an address, `localhost` or one of the names, and tells browsers what the page may do.
pub async fn guard(State(names): State<Names>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST);
    let mut response = if host.is_none_or(|host| is_ours(host, &names)) {
        next.run(request).await
    } else {
        (
            StatusCode::MISDIRECTED_REQUEST,
            "the console answers to addresses, `localhost` and the names of `serve --console-name`\n",
        )
            .into_response()
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A name leads wherever its owner says; an address does not.
fn is_ours(host: &HeaderValue, names: &[String]) -> bool {
    let Ok(authority) = host
        .to_str()
        .unwrap_or_default()
        .parse::<http::uri::Authority>()
    else {
        return false;
    };
    let host = authority.host();
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    bare.unwrap_or(host).parse::<IpAddr>().is_ok()
        || host.eq_ignore_ascii_case("localhost")
        || names.iter().any(|name| name.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    async fn asked(host: Option<&str>) -> Response {
        let names: Names = Arc::from(["control-1.example".to_owned()]);
        let router = Router::new()
            .route("/", get(|| async { "page" }))
            .layer(axum::middleware::from_fn_with_state(names, guard));
        let mut request = http::Request::get("/");
        if let Some(host) = host {
            request = request.header(header::HOST, host);
        }
        router
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_name_of_somebody_elses_reads_nothing() {
        for host in [
            "127.0.0.1:7480",
            "127.0.0.1",
            "[::1]:7480",
            "10.0.0.7:7480",
            "localhost:7480",
            "LocalHost",
            "Control-1.example:7480",
        ] {
            assert_eq!(asked(Some(host)).await.status(), StatusCode::OK, "{host}");
        }
        assert_eq!(asked(None).await.status(), StatusCode::OK, "no browser");
        for host in [
            "evil.example:7480",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "evil.example@127.0.0.1x",
            "",
            "a b",
        ] {
            let status = asked(Some(host)).await.status();
            assert_eq!(status, StatusCode::MISDIRECTED_REQUEST, "{host}");
        }
    }

    #[tokio::test]
    async fn every_answer_says_what_a_browser_may_do_with_it() {
        for host in ["127.0.0.1", "evil.example"] {
            let answer = asked(Some(host)).await;
            assert_eq!(answer.headers()["content-security-policy"], POLICY);
            assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        }
    }
}

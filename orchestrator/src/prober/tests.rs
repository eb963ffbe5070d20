//! Against a server of this process, in plain HTTP and in TLS.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use jiff::SignedDuration;
use plan::observed::ProbePart;
use plan::{GreenProbe, ProbePlace};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::ask::{Asker, first_file};
use super::*;

const TOKEN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// What of the server is broken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Broken {
    Nothing,
    Ping,
    Store,
    Version,
    WebSocket,
    Page,
    File,
}

fn pong(broken: Broken) -> Response {
    let store = if broken == Broken::Store {
        "UNHEALTHY"
    } else {
        "OK"
    };
    let body = format!(r#"{{"status":"OK","database_status":"OK","filestore_status":"{store}"}}"#);
    match broken {
        Broken::Ping => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Broken::Version => body.into_response(),
        _ => ([("x-version-id", "11.10.0.1.abc.false")], body).into_response(),
    }
}

/// Below `/chat`; refuses what has neither the site's name nor, where one is asked for, the token.
fn router(broken: Broken, token: Option<&'static str>) -> Router {
    let gate = move |headers: &HeaderMap| {
        let host = headers.get(header::HOST).and_then(|it| it.to_str().ok());
        let sent = headers.get("x-mattermost-probe");
        let sent = sent.and_then(|it| it.to_str().ok());
        host.is_some_and(|host| host.starts_with("chat.example")) && sent == token
    };
    let page = if broken == Broken::Page {
        "<html>nothing</html>"
    } else {
        "<script src=\"/other.js\"></script><script src='/chat/static/main.1.js?x'></script>"
    };
    let websocket = move |headers: HeaderMap| async move {
        if broken == Broken::WebSocket || headers.get(header::SEC_WEBSOCKET_KEY).is_none() {
            return StatusCode::BAD_REQUEST.into_response();
        }
        let answer = [
            (header::CONNECTION, "upgrade"),
            (header::UPGRADE, "websocket"),
        ];
        (StatusCode::SWITCHING_PROTOCOLS, answer).into_response()
    };
    let file = move || async move {
        if broken == Broken::File {
            StatusCode::NOT_FOUND
        } else {
            StatusCode::OK
        }
    };
    Router::new()
        .route(
            "/chat/api/v4/system/ping",
            get(move || async move { pong(broken) }),
        )
        .route("/chat/api/v4/websocket", get(websocket))
        .route("/chat/", get(move || async move { Html(page) }))
        .route("/chat/static/main.1.js", get(file))
        .layer(axum::middleware::from_fn(
            move |request: Request, next: axum::middleware::Next| async move {
                if gate(request.headers()) {
                    next.run(request).await
                } else {
                    StatusCode::SERVICE_UNAVAILABLE.into_response()
                }
            },
        ))
}

async fn plain(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// With a certificate for this name; answers with the authority to be trusted, which is itself.
async fn secured(router: Router, name: &str) -> (SocketAddr, String) {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("protocols")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a server's certificate");
    let acceptor = TlsAcceptor::from(std::sync::Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, router) = (acceptor.clone(), router.clone());
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    let service = TowerToHyperService::new(router);
                    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let io = TokioIo::new(stream);
                    drop(server.serve_connection_with_upgrades(io, service).await);
                }
            });
        }
    });
    (address, made.cert.pem())
}

fn place(address: SocketAddr, tls: bool) -> ProbePlace {
    ProbePlace {
        name: address.ip().to_string(),
        port: address.port(),
        tls,
        host: "chat.example".to_owned(),
        path: "/chat".to_owned(),
    }
}

fn part(outcome: &ProbeOutcome) -> Option<ProbePart> {
    match outcome {
        ProbeOutcome::Failed { what, .. } => Some(*what),
        _ => None,
    }
}

#[tokio::test]
async fn each_part_is_missed_by_its_name() {
    for (broken, expected) in [
        (Broken::Nothing, None),
        (Broken::Ping, Some(ProbePart::Ping)),
        (Broken::Store, Some(ProbePart::Ping)),
        (Broken::Version, Some(ProbePart::Version)),
        (Broken::WebSocket, Some(ProbePart::WebSocket)),
        (Broken::Page, Some(ProbePart::Asset)),
        (Broken::File, Some(ProbePart::Asset)),
    ] {
        let address = plain(router(broken, None)).await;
        let answer = Asker::new("").ask(&place(address, false), None).await;
        assert_eq!(part(&answer.outcome), expected, "{:?}", answer.outcome);
        if expected.is_none() {
            let version = "11.10.0.1.abc.false".to_owned();
            assert_eq!(answer.outcome, ProbeOutcome::Passed { version });
            assert_eq!(answer.requests, 4);
        }
    }
}

#[tokio::test]
async fn the_header_goes_with_every_request_for_green_alone() {
    let address = plain(router(Broken::Nothing, Some(TOKEN))).await;
    let place = place(address, false);
    let mut asker = Asker::new("");
    let green = asker.ask(&place, Some(TOKEN)).await.outcome;
    assert!(matches!(green, ProbeOutcome::Passed { .. }), "{green:?}");
    let users = asker.ask(&place, None).await.outcome;
    assert_eq!(part(&users), Some(ProbePart::Ping));
    assert!(
        !users.is_uncounted_failure(),
        "the load balancer counts a 503"
    );
}

#[tokio::test]
async fn a_certificate_for_another_name_or_of_nobody_is_seen() {
    let (address, pem) = secured(router(Broken::Nothing, None), "chat.example").await;
    let passed = Asker::new(&pem).ask(&place(address, true), None).await;
    assert!(
        matches!(passed.outcome, ProbeOutcome::Passed { .. }),
        "{:?}",
        passed.outcome
    );
    let unknown = Asker::new("").ask(&place(address, true), None).await;
    assert_eq!(part(&unknown.outcome), Some(ProbePart::Certificate));
    let (other, pem) = secured(router(Broken::Nothing, None), "other.example").await;
    let wrong = Asker::new(&pem).ask(&place(other, true), None).await;
    assert_eq!(
        part(&wrong.outcome),
        Some(ProbePart::Certificate),
        "{:?}",
        wrong.outcome
    );
    assert!(wrong.outcome.is_uncounted_failure());
}

#[tokio::test]
async fn no_connection_is_no_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let answer = Asker::new("").ask(&place(address, false), None).await;
    assert!(
        matches!(answer.outcome, ProbeOutcome::Unreachable { .. }),
        "{:?}",
        answer.outcome
    );
    assert_eq!(answer.requests, 0);
}

#[test]
fn the_first_file_below_the_path_is_taken() {
    let page = r#"<link href="/static/"><script src="/static/a.js?v=1"></script>"#;
    assert_eq!(
        first_file(page, "/static/"),
        Some("/static/a.js".to_owned())
    );
    assert_eq!(first_file(page, "/chat/static/"), None);
}

fn passed() -> Answer {
    Answer {
        outcome: ProbeOutcome::Passed {
            version: "11.10.0".to_owned(),
        },
        requests: 4,
    }
}

fn failing() -> Answer {
    Answer {
        outcome: ProbeOutcome::Failed {
            what: ProbePart::Certificate,
            text: "it has expired".to_owned(),
            status: None,
        },
        requests: 1,
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second)
}

#[test]
fn answers_are_counted_by_kind_and_by_rule() {
    let prober = Prober::default();
    let one = Some("arn:rule/1".to_owned());
    prober.note(Side::Green, one.clone(), passed(), at(1));
    prober.note(Side::Green, one.clone(), passed(), at(2));
    let seen = prober.seen(None).green.expect("an answer");
    assert_eq!((seen.in_a_row, seen.since, seen.at), (2, at(1), at(2)));
    prober.note(Side::Green, one, failing(), at(3));
    let seen = prober.seen(None).green.expect("an answer");
    assert_eq!((seen.in_a_row, seen.since), (1, at(3)));
    // Another rule: what was answered by the former one counts no more.
    prober.note(Side::Green, Some("arn:rule/2".to_owned()), failing(), at(4));
    assert_eq!(prober.seen(None).green.expect("an answer").in_a_row, 1);
    assert_eq!(prober.seen(None).users, None);
}

#[test]
fn a_window_has_what_was_answered_in_it() {
    let prober = Prober::default();
    for (second, answer) in [(1, passed()), (2, failing()), (3, passed()), (9, failing())] {
        prober.note(Side::Users, None, answer, at(second));
    }
    let unreachable = Answer {
        outcome: ProbeOutcome::Unreachable {
            text: "no connection".to_owned(),
        },
        requests: 0,
    };
    prober.note(Side::Users, None, unreachable, at(4));
    let traffic = Traffic {
        since: at(2),
        until: at(9),
        groups: std::collections::BTreeMap::new(),
        balancer_errors: 0,
    };
    let window = prober.seen(Some(&traffic)).window.expect("a window");
    assert_eq!((window.asked, window.requests), (2, 5));
    assert_eq!((window.failed, window.unreachable), (1, 1));
    assert_eq!(window.last.as_deref(), Some("no connection"));
}

#[test]
fn green_is_asked_by_the_order_s_token_only() {
    let order = ProbeOrder {
        place: place("127.0.0.1:80".parse().expect("an address"), false),
        green: Some(GreenProbe {
            token: TOKEN.to_owned(),
            rule: "arn:rule/1".to_owned(),
        }),
        users: None,
    };
    assert!(Task::of(Side::Users, Some(&order)).is_none());
    let task = Task::of(Side::Green, Some(&order)).expect("a task");
    assert_eq!(task.token.as_deref(), Some(TOKEN));
    assert!(Task::of(Side::Green, None).is_none());
}

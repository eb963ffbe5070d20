//! Routes, and the accept loop that can be ended without manners.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post, put};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rand::RngExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::failure::Failure;
use super::node::Node;
use super::{
    channels, config, files, licence, plugins, posts, system, teams, users, web, websocket,
};
use crate::ids;
use crate::release::Behaviour;

const PING: &str = "/api/v4/system/ping";

/// Every route, with `X-Version-Id` on each answer.
pub(super) fn router(node: Arc<Node>) -> Router {
    let api = Router::new()
        .route("/system/ping", get(system::ping))
        .route("/system/schema/version", get(system::schema_version))
        .route("/cluster/status", get(system::cluster_status))
        .route("/license/client", get(licence::client))
        .route("/config", get(config::get).put(config::put))
        .route("/config/patch", put(config::patch))
        .route("/config/reload", post(config::reload))
        .route("/config/environment", get(config::environment))
        .route("/config/client", get(config::client))
        .route("/files", post(files::upload))
        .route("/files/{id}", get(files::get))
        .route("/files/{id}/info", get(files::info))
        .route("/files/{id}/link", get(files::link))
        .route("/plugins", get(plugins::list).post(plugins::upload))
        .route("/plugins/statuses", get(plugins::statuses))
        .route("/plugins/webapp", get(plugins::web_parts))
        .route("/plugins/{id}", delete(plugins::remove))
        .route("/plugins/{id}/enable", post(plugins::enable))
        .route("/plugins/{id}/disable", post(plugins::disable))
        .route("/users", post(users::create))
        .route("/users/login", post(users::login))
        .route("/users/logout", post(users::logout))
        .route("/users/username/{name}", get(users::get_by_name))
        .route("/users/{id}", get(users::get))
        .route("/users/{id}/status", get(users::status))
        .route("/teams", post(teams::create))
        .route("/teams/name/{name}", get(teams::get_by_name))
        .route("/teams/{id}/members", post(teams::add_member))
        .route(
            "/teams/{team}/channels/name/{name}",
            get(channels::get_by_name),
        )
        .route("/channels", post(channels::create))
        .route("/channels/{id}", get(channels::get))
        .route("/channels/{id}/members", post(channels::add_member))
        .route("/channels/members/{user}/view", post(channels::view))
        .route("/channels/{id}/posts", get(posts::list))
        .route("/posts", post(posts::create))
        .route("/posts/{id}", get(posts::get))
        .route("/websocket", get(websocket::connect))
        .fallback(system::no_such_endpoint);
    let whole = Router::new()
        .nest("/api/v4", api)
        .route("/files/{id}/public", get(files::public))
        .route("/static/{*path}", get(web::asset))
        .fallback(web::page)
        .layer(middleware::from_fn_with_state(Arc::clone(&node), frame));
    let subpath = node.settings.subpath.clone();
    if subpath.is_empty() {
        return whole.with_state(node);
    }
    // As a service, so that the path itself is in it with and without a slash.
    Router::new()
        .nest_service(&subpath, whole.with_state(node))
        .fallback(move |uri: Uri| {
            let redirect = web::redirect(&subpath, &uri);
            async move { redirect }
        })
}

/// What stands around every answer.
async fn frame(State(node): State<Arc<Node>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let mut response = match node.manifest.behaviour {
        Behaviour::FailingRequests(percent)
            if path.starts_with("/api/")
                && path != PING
                && rand::rng().random_range(0..100) < percent =>
        {
            let id = "app.internal.app_error";
            let text = "An internal error has occurred.";
            Failure::new(StatusCode::INTERNAL_SERVER_ERROR, id, text).into_response()
        }
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    for (name, value) in [
        ("x-version-id", node.version_id()),
        ("x-request-id", ids::new_id()),
    ] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}

/// How far serving is allowed to go on.
#[derive(Clone, Debug, Default)]
pub(super) struct Limits {
    /// Cancelled: the port closes, each connection ends after its present answer.
    pub(super) refuse: CancellationToken,
    /// Cancelled: each connection ends now.
    pub(super) abort: CancellationToken,
}

/// Serves until refused; then until the last connection ended or was aborted.
pub(super) async fn serve(listener: TcpListener, router: Router, limits: Limits) {
    let connections = TaskTracker::new();
    loop {
        // Cancel-safe: an accept that loses took no connection.
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = limits.refuse.cancelled() => break,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, most likely: let others finish before the next try.
            tokio::task::yield_now().await;
            continue;
        };
        connections.spawn(connection(stream, router.clone(), limits.clone()));
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn connection(stream: TcpStream, router: Router, limits: Limits) {
    let _ = stream.set_nodelay(true);
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades();
    tokio::pin!(serving);
    tokio::select! {
        _ = serving.as_mut() => return,
        () = limits.refuse.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = serving => {}
        () = limits.abort.cancelled() => {}
    }
}

//! Local mode: the API on a Unix socket, for whoever may open it, without a session.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::routing::{get, post, put};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::node::Node;
use super::session::mark_local;
use super::{config, licence, plugins, system};

/// What the socket knows. `config/migrate` is here and nowhere else.
fn router(node: Arc<Node>) -> Router {
    let api = Router::new()
        .route("/system/ping", get(system::ping))
        .route("/license/client", get(licence::client))
        .route("/config", get(config::get).put(config::put))
        .route("/config/patch", put(config::patch))
        .route("/config/reload", post(config::reload))
        .route("/config/client", get(config::client))
        .route("/config/migrate", post(config::migrate))
        .route("/plugins", get(plugins::list))
        .route("/plugins/{id}/enable", post(plugins::enable))
        .route("/plugins/{id}/disable", post(plugins::disable))
        .fallback(system::no_such_endpoint);
    Router::new()
        .nest("/api/v4", api)
        .layer(middleware::from_fn(mark_local))
        .with_state(node)
}

/// The socket; it is removed when the server stops.
#[derive(Debug)]
pub(super) struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Binds it, for the server's own user only. What lies at the path is removed first.
    pub(super) fn bind(path: &Path) -> std::io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Serves until told to stop; requests under way are finished.
    pub(super) async fn serve(self, node: Arc<Node>, stop: CancellationToken) {
        let router = router(node);
        let connections = TaskTracker::new();
        loop {
            // Cancel-safe: an accept that loses took no connection.
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            let Ok((stream, _)) = accepted else {
                tokio::task::yield_now().await;
                continue;
            };
            let (router, stop) = (router.clone(), stop.clone());
            connections.spawn(async move {
                let serving = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
                tokio::pin!(serving);
                tokio::select! {
                    _ = serving.as_mut() => return,
                    () = stop.cancelled() => serving.as_mut().graceful_shutdown(),
                }
                drop(serving.await);
            });
        }
        drop(std::fs::remove_file(&self.path));
        connections.close();
        connections.wait().await;
    }
}

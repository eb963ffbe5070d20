//! The two ports: nodes over TLS, operators over a Unix socket of their own.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use fleet_proto::tls::{self, Door, TlsIncoming, Turned};
use fleet_proto::v1::control_server::ControlServer;
use fleet_proto::v1::enrolment_server::EnrolmentServer;
use fleet_proto::v1::node_server::NodeServer;
use rustls::ServerConfig;
use secrecy::ExposeSecret;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use super::bounds::Bounds;
use super::control::ControlService;
use super::enrolment::EnrolmentService;
use super::node::NodeService;
use super::served::Served;
use crate::authority::Authority;
use crate::core::Core;

/// So long calls that are under way may take when the orchestrator stops; sessions end at once. systemd
/// kills it after 45 s (`orchestrator.service`), and the lease is given back before.
const GRACE: Duration = Duration::from_secs(5);
/// A node that is silent this long is asked whether it is there …
const KEEPALIVE: Duration = Duration::from_secs(10);
/// … and is gone when it does not answer within this.
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(10);
/// The server's own certificate lives ninety days; a process may live longer.
const SERVER_RENEWAL: Duration = Duration::from_secs(30 * 24 * 3600);
/// The largest message that a node sends: a report with its last lines.
const MAX_MESSAGE: usize = 256 * 1024;
/// The largest answer to a nonce: sixteen headers of at most 8 KiB would be more than any agent's.
const MAX_ANSWER: usize = 32 * 1024;
/// Calls at once on one connection; an agent has a session, and secrets or a renewal beside it.
const MAX_CALLS: u32 = 8;
/// Headers of one call, bytes.
const MAX_HEADERS: u32 = 16 * 1024;

/// Serves nodes from the moment that the CA exists until shutdown.
pub async fn serve_nodes(
    core: Arc<Core>,
    listener: TcpListener,
    bounds: Bounds,
) -> anyhow::Result<()> {
    let mut authorities = core.authority.subscribe();
    let first = tokio::select! {
        first = authorities.wait_for(Option::is_some) => first.context("the CA is gone")?.clone().context("the CA is there")?,
        () = core.shutdown.cancelled() => return Ok(()),
    };
    let (configs, receiver) = watch::channel(Arc::new(server_config(&core, &first)?));
    let rotation = Arc::clone(&core);
    core.tasks.spawn(async move {
        let mut again = tokio::time::interval(SERVER_RENEWAL);
        loop {
            tokio::select! {
                changed = authorities.changed() => if changed.is_err() { return },
                _ = again.tick() => {}
                () = rotation.shutdown.cancelled() => return,
            }
            let Some(authority) = authorities.borrow_and_update().clone() else {
                continue;
            };
            match server_config(&rotation, &authority) {
                Ok(config) => drop(configs.send_replace(Arc::new(config))),
                Err(error) => log::error!("the new CA is not usable, the old one stays: {error:#}"),
            }
        }
    });
    let enrolment = Arc::new(EnrolmentService::new(Arc::clone(&core), bounds));
    let enrolment = core.enrolment.get_or_init(|| enrolment);
    let counted = Arc::clone(&core);
    let door = Door::new(
        bounds.connections,
        Fleet {
            core: Arc::clone(&core),
            enrolment: Arc::clone(enrolment),
        },
    );
    let shutdown = core.shutdown.clone();
    let served = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_ANSWER))
        .max_concurrent_streams(MAX_CALLS)
        .http2_max_header_list_size(MAX_HEADERS)
        .layer(tower::layer::layer_fn(move |inner| {
            Served::new(inner, Arc::clone(&counted))
        }))
        .add_service(
            EnrolmentServer::from_arc(Arc::clone(enrolment)).max_decoding_message_size(MAX_ANSWER),
        )
        .add_service(
            NodeServer::new(NodeService::new(Arc::clone(&core), bounds))
                .max_decoding_message_size(MAX_MESSAGE),
        )
        .serve_with_incoming_shutdown(
            TlsIncoming::watching(listener, receiver, door),
            core.shutdown.clone().cancelled_owned(),
        );
    within_grace(&shutdown, served)
        .await
        .unwrap_or(Ok(()))
        .context("serving nodes")
}

/// Runs a server until it ended by itself, or until [`GRACE`] after the shutdown began: its connections are
/// cut then, whatever their callers go on with. None: they were.
pub async fn within_grace<F: IntoFuture>(
    shutdown: &CancellationToken,
    server: F,
) -> Option<F::Output> {
    tokio::select! {
        ended = server.into_future() => Some(ended),
        () = async {
            shutdown.cancelled().await;
            tokio::time::sleep(GRACE).await;
        } => None,
    }
}

/// Knows the instances that the loop saw.
struct Fleet {
    core: Arc<Core>,
    enrolment: Arc<EnrolmentService>,
}

impl tls::Keeper for Fleet {
    fn knows(&self, source: IpAddr) -> bool {
        self.core.is_at(source)
    }

    fn refused(&self, why: Turned, _: IpAddr) {
        self.core.metrics.turned(why);
        // It may be a new node of ours in a crowd: the next look tells.
        if why == Turned::Strangers {
            self.enrolment.look_again();
        }
    }

    fn holds(&self, connections: usize) {
        self.core.metrics.connections(connections);
    }
}

fn server_config(core: &Core, authority: &Authority) -> anyhow::Result<ServerConfig> {
    let leaf = authority.server(core.now())?;
    Ok(tls::server_optional_client_auth(
        &leaf.chain_pem,
        leaf.key_pem.expose_secret(),
        &authority.trust_pem(),
    )?)
}

/// Serves operators on a Unix socket that its owner alone may use.
pub async fn serve_operators(core: Arc<Core>, socket: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error)
                .with_context(|| format!("removing the old socket `{}`", socket.display()));
        }
        _ => {}
    }
    let listener = UnixListener::bind(socket)
        .with_context(|| format!("listening on `{}`", socket.display()))?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(fleet_proto::DESCRIPTORS)
        .build_v1()
        .context("reflection")?;
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<ControlServer<ControlService>>().await;
    let served = Server::builder()
        .add_service(health_service)
        .add_service(reflection)
        .add_service(ControlServer::new(ControlService::new(Arc::clone(&core))))
        .serve_with_incoming_shutdown(
            UnixListenerStream::new(listener),
            core.shutdown.clone().cancelled_owned(),
        );
    let result = within_grace(&core.shutdown, served)
        .await
        .unwrap_or(Ok(()))
        .context("serving operators");
    let _ = std::fs::remove_file(socket);
    result
}

//! A running orchestrator in this process: one lock a host, the ports, the loop.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use cloud::Cloud;
use plan::{Spec, Want};
use rustix::fs::FlockOperation;
use tokio::net::TcpListener;

use crate::core::{Core, Parts};
use crate::{console, prober, reconcile, rpc};

/// Where RDS's roots lie when the specification does not say.
const DATABASE_TRUST: &str = "/usr/share/mattermost-orchestrator/rds-ca.pem";

/// So long the end of everything is waited for: the longest call of AWS (20 s, `cloud`) and what is written
/// down after it. systemd kills the process after 45 s (`orchestrator.service`).
const STOP: Duration = Duration::from_secs(30);

/// How the process runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// For the socket and the lock.
    pub runtime: PathBuf,
    /// Address of metrics and console; none: neither.
    pub console: Option<SocketAddr>,
    /// Names under which the console is asked for, beside addresses and `localhost`.
    pub console_names: Vec<String>,
}

/// A started orchestrator.
pub struct Host {
    /// Its shared part.
    pub core: Arc<Core>,
    _lock: File,
}

/// The operators' socket of a stack.
pub fn socket(runtime: &Path, stack: &str) -> PathBuf {
    runtime.join(format!("{stack}.sock"))
}

/// A core that is connected to AWS and does nothing yet.
pub async fn core(spec: Spec, want: Want) -> anyhow::Result<Arc<Core>> {
    connect(spec, want, false).await
}

async fn connect(spec: Spec, want: Want, holds_host_lock: bool) -> anyhow::Result<Arc<Core>> {
    let read = |path: &str, what: &str| {
        std::fs::read_to_string(path).with_context(|| format!("reading `{path}` ({what})"))
    };
    let trust_file = spec
        .database
        .trust_file
        .as_deref()
        .unwrap_or(DATABASE_TRUST);
    let database_trust = read(
        trust_file,
        "the roots of RDS's certificates, `database.trust_file`; hint: AWS publishes the bundle of each region as `global-bundle.pem`",
    )?;
    let release_trust = match &spec.mattermost.trust_file {
        Some(path) => read(
            path,
            "extra roots of the release mirror, `mattermost.trust_file`",
        )?,
        None => String::new(),
    };
    let release_key = match &spec.mattermost.signature {
        Some(signature) => {
            let path = &signature.key_file;
            let key = read(
                path,
                "the key that signs releases, `mattermost.signature.key_file`",
            )?;
            if !key.contains("-----BEGIN PGP PUBLIC KEY BLOCK-----") {
                bail!(
                    "`{path}` (`mattermost.signature.key_file`) holds no armoured public key; \
                     hint: gpg --armor --export {}",
                    signature.fingerprint
                );
            }
            key
        }
        None => String::new(),
    };
    let cloud = Cloud::connect(&spec.stack, &spec.home_region(), &spec.regions()).await;
    let holder = format!(
        "{}/{}",
        rustix::system::uname().nodename().to_string_lossy(),
        std::process::id()
    );
    Ok(Core::new(Parts {
        spec,
        want,
        cloud,
        database_trust,
        release_trust,
        release_key,
        holder,
        holds_host_lock,
        clock: reconcile::now,
    }))
}

impl Host {
    /// Starts everything. Fails when another orchestrator of this host serves the same stack.
    pub async fn start(spec: Spec, want: Want, options: &Options) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&options.runtime).with_context(|| {
            format!(
                "making `{}`; hint: --runtime-dir names another place",
                options.runtime.display()
            )
        })?;
        let path = options.runtime.join(format!("{}.lock", spec.stack));
        let lock = File::create(&path).with_context(|| format!("making `{}`", path.display()))?;
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            bail!(
                "another orchestrator of this host runs stack `{}`; hint: `orchestrator status` follows it, and stopping it frees `{}`",
                spec.stack,
                path.display()
            );
        }
        let listen = listen_address(&spec)?;
        let listener = TcpListener::bind(listen).await.with_context(|| {
            format!("listening for nodes on `{listen}`; hint: `orchestrator.listen` in the specification says where")
        })?;
        let socket = socket(&options.runtime, &spec.stack);
        let core = Box::pin(connect(spec, want, true)).await?;
        let shared = Arc::clone(&core);
        core.tasks.spawn(async move {
            if let Err(error) =
                rpc::serve_nodes(Arc::clone(&shared), listener, rpc::Bounds::default()).await
            {
                log::error!("{error:#}");
                shared.shutdown.cancel();
            }
        });
        let shared = Arc::clone(&core);
        core.tasks.spawn(async move {
            if let Err(error) = rpc::serve_operators(Arc::clone(&shared), &socket).await {
                log::error!("{error:#}");
                shared.shutdown.cancel();
            }
        });
        if let Some(address) = options.console {
            let listener = TcpListener::bind(address)
                .await
                .with_context(|| format!("listening on `{address}` for the console"))?;
            core.tasks.spawn(console::serve(
                Arc::clone(&core),
                listener,
                options.console_names.clone().into(),
            ));
        }
        core.tasks.spawn(rpc::hold_sessions(Arc::clone(&core)));
        for side in [prober::Side::Green, prober::Side::Users] {
            core.tasks.spawn(prober::run(Arc::clone(&core), side));
        }
        core.tasks.spawn(reconcile::run(Arc::clone(&core)));
        Ok(Self { core, _lock: lock })
    }

    /// Ends everything and waits for it, for as long as a call of AWS may take that was begun before.
    pub async fn stop(self) {
        self.core.shutdown.cancel();
        self.core.tasks.close();
        let ended = tokio::time::timeout(STOP, self.core.tasks.wait()).await;
        if ended.is_err() {
            log::warn!("not everything ended within {} s", STOP.as_secs());
        }
    }
}

/// Where nodes are served.
fn listen_address(spec: &Spec) -> anyhow::Result<SocketAddr> {
    let text = if let Some(text) = &spec.orchestrator.listen {
        text.clone()
    } else {
        let first = spec
            .orchestrator
            .addresses
            .first()
            .context("`orchestrator.addresses` is empty")?;
        let port = first.rsplit(':').next().unwrap_or_default();
        format!("0.0.0.0:{port}")
    };
    text.parse().with_context(|| {
        format!("`{text}` is not an address to listen on; it looks like 0.0.0.0:7443")
    })
}

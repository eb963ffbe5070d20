//! Puts the parts together, runs them, and ends them in the right order.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::boot::boot;
use crate::coded::chain;
use crate::connections::Kernel;
use crate::identity::Identity;
use crate::imds::Imds;
use crate::install::Installer;
use crate::layout::Layout;
use crate::progress::Store;
use crate::report::Reporter;
use crate::service::Service;
use crate::service::child::Child;
use crate::service::systemd::Systemd;
use crate::session::Session;
use crate::verify::Pinger;
use crate::worker::Worker;
use crate::{lifecycle, logging, notify};

/// Which service manager runs Mattermost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Manager {
    /// The system's; Mattermost outlives the agent.
    Systemd,
    /// The agent itself; Mattermost ends with it.
    Child,
}

impl Manager {
    /// systemd where the system was booted with it.
    pub fn detect() -> Self {
        if sd_notify::booted().unwrap_or(false) {
            Self::Systemd
        } else {
            Self::Child
        }
    }
}

/// From start to SIGTERM or SIGINT. A serving node tries its file store so often.
pub async fn run(
    root: PathBuf,
    manager: Manager,
    file_store_every: Duration,
) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let until_stopped = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        until_stopped.cancel();
    });
    let layout = Layout::new(root);
    let imds = Arc::new(Imds::from_environment()?);
    // An instance whose metadata does not answer yet is starting, not failing.
    notify::ready();
    let (instance, user_data) = tokio::select! {
        known = boot(&imds) => known,
        () = stop.cancelled() => return Ok(()),
    };
    logging::set_node(instance.id.as_str());
    let identity = Identity::load(&layout, &instance.id)?;
    let store = Store::new(&layout);
    let known = store.desired()?;
    if let Some(desired) = &known {
        logging::set_rollout(&desired.rollout);
        log::info!("going on with desired state {}", desired.generation);
    }
    let service: Arc<dyn Service> = match manager {
        Manager::Systemd => Arc::new(Systemd::new().await?),
        Manager::Child => Arc::new(Child::new(&layout).await?),
    };
    let reporter = Reporter::new();
    let desired = watch::Sender::new(known);
    let channel = watch::Sender::new(None);
    let terminating = watch::Sender::new(false);
    let worker = Worker {
        layout: layout.clone(),
        instance: instance.clone(),
        service: Arc::clone(&service),
        reporter: reporter.clone(),
        store: store.clone(),
        installer: Installer::new(&layout, Arc::clone(&service)),
        pinger: Pinger::new(instance.address)?,
        imds: Arc::clone(&imds),
        file_store_every,
        // As AWS's own clients read it.
        file_store_roots: std::env::var_os("AWS_CA_BUNDLE")
            .filter(|path| !path.is_empty())
            .map(PathBuf::from),
        connections: Arc::new(Kernel {
            address: instance.address,
        }),
        desired: desired.subscribe(),
        channel: channel.subscribe(),
        terminating: terminating.subscribe(),
    };
    let session = Session {
        imds: Arc::clone(&imds),
        instance,
        user_data,
        identity,
        store,
        is_kept: true,
        reporter: reporter.clone(),
        desired,
        channel,
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(worker.run(stop.clone()));
    tasks.spawn(session.run(stop.clone()));
    tasks.spawn(lifecycle::watch(imds, reporter, terminating, stop.clone()));
    // A task ends before the stop only by a bug; then everything ends, and the manager starts anew.
    // The stop is looked at first: tasks that it ended must not count as a bug.
    let early = tokio::select! {
        biased;
        () = stop.cancelled() => None,
        ended = tasks.join_next() => ended,
    };
    stop.cancel();
    notify::stopping();
    while tasks.join_next().await.is_some() {}
    if manager == Manager::Child
        && let Err(error) = service.stop().await
    {
        log::warn!("{}", chain(&error));
    }
    match early {
        Some(Err(error)) => Err(anyhow::Error::new(error).context("a task of the agent ended")),
        Some(Ok(())) => anyhow::bail!("a task of the agent ended"),
        None => Ok(()),
    }
}

//! Makes the node what is wanted, and keeps it so.
//!
//! ```text
//!   newest Desired -> converge -> settled ---- server unwell: report, the manager restarts it
//!        ^               |           |
//!        |               v failed    | a newer one, or terminating without an orchestrator
//!        +---- report, wait (or not, when only another Desired can help)
//! ```
//!
//! Every step asks first whether it is done already, so converging again is cheap and a restarted
//! agent needs no memory beyond [`Progress`]. A newer desired state drops the running convergence at
//! whatever it waits for; what must not be torn (unpacking, migrations) runs on in a place of its own
//! and is waited for by whoever comes next.

mod failure;
mod files;
mod keep;
mod moving;
mod prove;
mod schema;
mod serve;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fleet_proto::backoff::Backoff;
use fleet_proto::v1::{Desired, Phase};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::boot::Instance;
use crate::coded::chain;
use crate::connections::{self, Connections};
use crate::imds::Imds;
use crate::install::Installer;
use crate::layout::Layout;
use crate::progress::Store;
use crate::report::Reporter;
use crate::service::{Service, State};
use crate::steps::{Step, reached};
use crate::verify::Pinger;
use crate::wanted::{self, Drain, Serving, Wanted};

pub(crate) use failure::{Failed, StartError};

/// Between tries of what may heal: from seconds, for a database that fails over, to a minute.
const RETRY_FIRST: Duration = Duration::from_secs(4);
const RETRY_LONGEST: Duration = Duration::from_secs(60);
/// How long a terminating node waits for an orchestrator before it drains on its own. The
/// termination hook's time-out is minutes.
const ORPHANED: Duration = Duration::from_secs(30);

/// Owner of everything on the node; one per agent.
pub struct Worker {
    /// Paths.
    pub layout: Layout,
    /// This instance.
    pub instance: Instance,
    /// The server's supervisor.
    pub service: Arc<dyn Service>,
    /// What is reported.
    pub reporter: Reporter,
    /// What survives a restart.
    pub store: Store,
    /// Installs.
    pub installer: Installer,
    /// Asks the server.
    pub pinger: Pinger,
    /// The role's credentials, to write to the bucket of users' files.
    pub imds: Arc<Imds>,
    /// How often that bucket is tried while the server serves.
    pub file_store_every: Duration,
    /// Roots to trust for that bucket besides the system's, PEM; absent: the system's alone.
    pub file_store_roots: Option<PathBuf>,
    /// Sees and closes clients' connections.
    pub connections: Arc<dyn Connections>,
    /// The newest accepted desired state.
    pub desired: watch::Receiver<Option<Desired>>,
    /// For the secrets call; none while there is no session.
    pub channel: watch::Receiver<Option<Channel>>,
    /// Auto Scaling wants this instance gone.
    pub terminating: watch::Receiver<bool>,
}

/// What a convergence ended with.
enum Settled {
    /// The server serves; keep it so.
    Serving(Box<Serving>),
    /// Nothing to keep.
    Idle,
}

impl Worker {
    /// Until stopped. The server is left as it is: who started it decides what becomes of it.
    pub async fn run(self, stop: CancellationToken) {
        // A clone of its own to wait on, so that the work can borrow the worker.
        let mut news = self.desired.clone();
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LONGEST);
        let mut generation = 0;
        // One wait for all turns: none of them begins it anew.
        let waits = || orphaned(self.terminating.clone(), self.channel.clone());
        let mut orphan = std::pin::pin!(waits());
        loop {
            let desired = news.borrow_and_update().clone();
            if let Some(desired) = &desired
                && desired.generation != generation
            {
                generation = desired.generation;
                backoff.reset();
            }
            let pace = desired.as_ref().map_or_else(Drain::default, wanted::drain);
            tokio::select! {
                () = stop.cancelled() => return,
                changed = news.changed() => if changed.is_err() { return },
                () = &mut orphan => {
                    log::info!("terminating, and no orchestrator to say so: draining");
                    // Nothing of the old goal is taken up again; what an orchestrator says later is.
                    tokio::select! {
                        () = stop.cancelled() => return,
                        changed = news.changed() => if changed.is_err() { return },
                        () = self.leave(pace) => {}
                    }
                    orphan.set(waits());
                }
                () = self.turn(desired, &mut backoff) => {}
            }
        }
    }

    /// Converges, keeps or waits; returns when it is time to converge again.
    async fn turn(&self, desired: Option<Desired>, backoff: &mut Backoff) {
        let Some(desired) = desired else {
            return std::future::pending().await;
        };
        match self.converge(&desired).await {
            Ok(Settled::Idle) => std::future::pending().await,
            Ok(Settled::Serving(serving)) => {
                backoff.reset();
                tokio::select! {
                    () = self.keep(&serving) => {}
                    // Ends with a newer desired state only; dropped, it goes on where it was.
                    () = self.copy_beside(&serving) => {}
                }
            }
            Err(failed) => {
                let permanent = failed.error.permanent();
                self.reporter
                    .fail(failed.phase, &*failed.error, failed.journal);
                if permanent {
                    return std::future::pending().await;
                }
                tokio::time::sleep(backoff.next_wait()).await;
            }
        }
    }

    async fn converge(&self, desired: &Desired) -> Result<Settled, Failed> {
        self.reporter.begin(desired.generation);
        let wanted = Wanted::parse(desired).map_err(Failed::at(Phase::Configured))?;
        match wanted {
            Wanted::Prepared(wanted) => {
                self.prepare(&wanted).await?;
                Ok(Settled::Idle)
            }
            Wanted::Serving(wanted) => {
                self.serve(&wanted).await?;
                Ok(Settled::Serving(wanted))
            }
            Wanted::Moving(wanted) => {
                self.move_out(&wanted).await?;
                Ok(Settled::Idle)
            }
            Wanted::Drained { drain, .. } => {
                self.drain(drain).await;
                Ok(Settled::Idle)
            }
        }
    }

    /// Connections in paced batches, SIGTERM, gone.
    async fn drain(&self, pace: Drain) {
        if self.service.status().borrow().state != State::Inactive {
            self.reporter.reach(Phase::Draining);
            reached(Step::Draining);
            connections::drain(&*self.connections, pace, &self.reporter).await;
            reached(Step::ConnectionsClosed);
        }
        // A service that cannot be stopped goes on serving; that is tried until it is seen.
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LONGEST);
        while let Err(error) = self.service.stop().await {
            let text = chain(&error);
            log::error!("{text}");
            self.reporter.note(text);
            tokio::time::sleep(backoff.next_wait()).await;
        }
        reached(Step::Stopped);
        self.reporter.update(|report| {
            report.connections = 0;
            report.health = None;
        });
        self.reporter.reach(Phase::Drained);
    }

    /// Drains, and that is all.
    async fn leave(&self, pace: Drain) {
        self.drain(pace).await;
        std::future::pending::<()>().await;
    }
}

/// Resolves when this instance is terminating and has had no session for a while. Failed attempts at one
/// do not count.
async fn orphaned(
    mut terminating: watch::Receiver<bool>,
    mut channel: watch::Receiver<Option<Channel>>,
) {
    loop {
        if terminating.wait_for(|now| *now).await.is_err() {
            return std::future::pending().await;
        }
        if channel.wait_for(Option::is_none).await.is_err() {
            return std::future::pending().await;
        }
        tokio::select! {
            () = tokio::time::sleep(ORPHANED) => return,
            Ok(_) = channel.wait_for(Option::is_some) => {}
            Ok(_) = terminating.wait_for(|now| !*now) => {}
        }
    }
}

//! The link to the orchestrators: certificate, session, renewal, and coming back.
//!
//! ```text
//!   no certificate ----enrol----> certificate --connect--> session --half of its life--> renew
//!        ^                            ^                       |                            |
//!        |                            +------ with jitter ----+ lost     new certificate --+
//!        +--- expired, or no longer taken
//! ```
//!
//! The addresses take turns, from a random first one. Losing the session changes nothing on the
//! node: the worker goes on with what was accepted last.

use std::sync::Arc;
use std::time::Duration;

use fleet_proto::backoff::Backoff;
use fleet_proto::tls::{self, ChannelError, TlsError};
use fleet_proto::v1::node_client::NodeClient;
use fleet_proto::v1::{Desired, Phase, RenewRequest};
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::Channel;

use crate::boot::{Instance, UserData};
use crate::clock::unix_now;
use crate::coded::chain;
use crate::enrol::{EnrolError, enrol};
use crate::identity::{Held, Identity, IdentityError};
use crate::imds::Imds;
use crate::progress::Store;
use crate::report::Reporter;
use crate::{logging, notify};

/// The wall clock may be set while a timer runs: it is looked at again after at most this long.
const CLOCK_CHECK: Duration = Duration::from_secs(60);
/// After a failed renewal; half of a certificate's life leaves time for dozens of tries.
const RENEW_AGAIN: Duration = Duration::from_secs(30);
/// What cannot be kept on disk is tried again so often.
const KEEP_AGAIN: Duration = Duration::from_secs(10);
/// A renewal is one signature.
const RENEW_DEADLINE: Duration = Duration::from_secs(15);

/// Why a session ended or never began.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error("the certificate on disk cannot be used")]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("the orchestrator ended the session: {}", .0.message())]
    Ended(#[source] Box<tonic::Status>),
    #[error("the orchestrator closed the session")]
    Closed,
    #[error("the certificate expired")]
    Expired,
}

impl From<tonic::Status> for SessionError {
    fn from(status: tonic::Status) -> Self {
        Self::Ended(Box::new(status))
    }
}

/// Owner of the link; one per agent.
pub struct Session {
    /// For credentials to enrol with.
    pub imds: Arc<Imds>,
    /// This instance.
    pub instance: Instance,
    /// Whom to speak to.
    pub user_data: UserData,
    /// Key and certificate.
    pub identity: Identity,
    /// Where what is accepted is kept.
    pub store: Store,
    /// Whether it is.
    pub is_kept: bool,
    /// What is reported.
    pub reporter: Reporter,
    /// To the worker: the newest accepted desired state.
    pub desired: watch::Sender<Option<Desired>>,
    /// To the worker: the channel for its calls, while there is one.
    pub channel: watch::Sender<Option<Channel>>,
}

impl Session {
    /// Runs until stopped. Feeds the watchdog as long as the link's loop turns.
    pub async fn run(mut self, stop: CancellationToken) {
        let watchdog = notify::watchdog_interval();
        let mut ticks = tokio::time::interval(watchdog.unwrap_or(CLOCK_CHECK));
        let link = self.link();
        tokio::pin!(link);
        loop {
            // Every arm may be dropped at any point: `link` itself is kept, not recreated.
            tokio::select! {
                () = stop.cancelled() => return,
                () = &mut link => return,
                _ = ticks.tick() => if watchdog.is_some() { notify::watchdog() },
            }
        }
    }

    async fn link(&mut self) {
        let mut backoff = Backoff::session();
        let mut turn = rand::random_range(0..self.user_data.orchestrators.len());
        loop {
            notify::session_turns();
            let address =
                self.user_data.orchestrators[turn % self.user_data.orchestrators.len()].clone();
            let ended = self.once(&address, &mut backoff).await;
            self.channel
                .send_if_modified(|channel| channel.take().is_some());
            if let Err(error) = ended {
                turn += 1;
                if let SessionError::Ended(status) = &error
                    && status.code() == Code::Unauthenticated
                    && let Err(error) = self.identity.forget()
                {
                    log::error!("{}", chain(&error));
                }
                let wait = backoff.next_wait();
                log::warn!(
                    "no session with `{address}`, again in {wait:.1?}: {}",
                    chain(&error)
                );
                tokio::time::sleep(wait).await;
            }
        }
    }

    /// One session with one orchestrator. `Ok`: a new certificate came, connect anew with it.
    async fn once(&mut self, address: &str, backoff: &mut Backoff) -> Result<(), SessionError> {
        let held = self.certificate(address).await?;
        let name = tls::server_name(&self.user_data.stack);
        let config =
            tls::client_mutual(&held.trust_pem, &held.chain_pem, &self.identity.key_pem())?;
        let channel = tls::connect(
            address,
            &name,
            Arc::new(config),
            Some(self.instance.address.into()),
        )
        .await?;
        let mut client = NodeClient::new(channel.clone());
        let reports = WatchStream::new(self.reporter.subscribe());
        let mut desired = client.session(reports).await?.into_inner();
        log::info!("session with `{address}`");
        self.channel.send_replace(Some(channel));
        backoff.reset();
        let mut renew_at = held.renew_at(unix_now());
        loop {
            notify::session_turns();
            let left = Duration::from_secs((renew_at - unix_now()).max(0) as u64);
            // `message` keeps its state in the stream: dropping it loses nothing.
            tokio::select! {
                message = desired.message() => {
                    self.accept(message?.ok_or(SessionError::Closed)?);
                }
                () = tokio::time::sleep(KEEP_AGAIN), if !self.is_kept => {
                    let accepted = self.desired.borrow().clone();
                    if let Some(desired) = accepted {
                        self.keep(&desired);
                    }
                }
                () = tokio::time::sleep(left.min(CLOCK_CHECK)) => {
                    if unix_now() < renew_at {
                        continue;
                    }
                    if self.renew(&mut client).await? {
                        return Ok(());
                    }
                    if !held.valid_at(unix_now()) {
                        return Err(SessionError::Expired);
                    }
                    renew_at = unix_now() + RENEW_AGAIN.as_secs() as i64;
                }
            }
        }
    }

    /// The certificate in use; enrols when there is none that is valid.
    async fn certificate(&mut self, address: &str) -> Result<Held, SessionError> {
        if let Some(held) = self.identity.held()
            && held.valid_at(unix_now())
        {
            return Ok(held.clone());
        }
        let name = tls::server_name(&self.user_data.stack);
        let pin = self.user_data.ca_sha256;
        // What was learnt over a verified connection is as good as the pin, and may be newer.
        let config = match self.identity.trust()? {
            Some(trust) => tls::client_pinned_or(pin, &trust)?,
            None => tls::client_pinned(pin),
        };
        let channel = tls::connect(
            address,
            &name,
            Arc::new(config),
            Some(self.instance.address.into()),
        )
        .await?;
        let certificate = enrol(channel, &self.identity, &self.instance, &self.imds).await?;
        self.identity.accept(certificate)?;
        log::info!("enrolled with `{address}`");
        if self.reporter.current().phase() == Phase::Unspecified {
            self.reporter.reach(Phase::Enrolled);
        }
        self.identity.held().cloned().ok_or(SessionError::Expired)
    }

    /// Whether a new certificate came.
    async fn renew(&mut self, client: &mut NodeClient<Channel>) -> Result<bool, SessionError> {
        let request = RenewRequest {
            csr: self.identity.csr()?,
        };
        match tokio::time::timeout(RENEW_DEADLINE, client.renew(request)).await {
            Ok(Ok(reply)) => {
                self.identity.accept(reply.into_inner())?;
                log::info!("certificate renewed");
                Ok(true)
            }
            Ok(Err(status)) => {
                log::warn!("certificate not renewed: {}", status.message());
                Ok(false)
            }
            Err(_) => {
                log::warn!("certificate not renewed: no answer within {RENEW_DEADLINE:?}");
                Ok(false)
            }
        }
    }

    /// Takes a newer desired state, keeps it, and wakes the worker; refuses an older one.
    fn accept(&mut self, desired: Desired) {
        if let Some(last) = &*self.desired.borrow() {
            if *last == desired {
                return;
            }
            if desired.generation <= last.generation {
                let note = format!(
                    "refused desired state {}: {} was accepted before",
                    desired.generation, last.generation
                );
                log::warn!("{note}");
                self.reporter.note(note);
                return;
            }
        }
        logging::set_rollout(&desired.rollout);
        log::info!(
            "desired state {}: {}",
            desired.generation,
            desired.goal().as_str_name()
        );
        self.keep(&desired);
        self.desired.send_replace(Some(desired));
    }

    /// Keeps on disk what was accepted, for an agent that starts where no orchestrator answers. Where that
    /// fails the worker has it all the same: a node whose disk is full can still be told to drain, and a step
    /// that needs room reports the disk. This is tried again; an orchestrator sends it again to an agent that
    /// started meanwhile.
    fn keep(&mut self, desired: &Desired) {
        let kept = self.store.set_desired(desired);
        if let Err(error) = &kept {
            log::error!("what was accepted cannot be kept on disk: {}", chain(error));
        } else if !self.is_kept {
            log::info!("what was accepted is kept on disk now");
        }
        self.is_kept = kept.is_ok();
    }
}

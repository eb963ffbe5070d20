//! The way from a desired state to a verified server.
//!
//! ```text
//!   installed -> secrets -> environment -> database checked -> schema (migrate | wait)
//!             -> clients handed over, when a server must be restarted -> current
//!             -> started -> ready -> full ping, version -> files, licence, schema -> serving
//! ```

use std::time::Duration;

use fleet_proto::backoff::Backoff;
use fleet_proto::v1::node_client::NodeClient;
use fleet_proto::v1::{Phase, SecretsReply, SecretsRequest};
use tonic::Code;
use tonic::transport::Channel;

use super::{Failed, StartError, Worker};
use crate::coded::Coded;
use crate::connections;
use crate::disk::{ensure_directory, write_atomically};
use crate::environment::Environment;
use crate::install::{self, InstallError, Step};
use crate::service::State;
use crate::steps::{Step as Done, reached};
use crate::wanted::Serving;

/// For the secrets call: a look into a store.
const SECRETS_DEADLINE: Duration = Duration::from_secs(20);

impl Worker {
    /// Ends with a verified server.
    pub(super) async fn serve(&self, wanted: &Serving) -> Result<(), Failed> {
        if self.in_force(wanted)? && self.service.status().borrow().state == State::Active {
            self.verify(wanted).await?;
        } else {
            self.install(wanted).await?;
            let environment = self.environment(wanted).await?;
            self.prepare_database(wanted, &environment).await?;
            self.start(wanted, &environment).await?;
            self.verify(wanted).await?;
        }
        reached(Done::Serving);
        if let Err(error) = self.installer.prune(&wanted.artefact.version).await {
            log::warn!("{}", crate::coded::chain(&error));
        }
        Ok(())
    }

    /// Release, environment file and the last started process are all of this configuration.
    fn in_force(&self, wanted: &Serving) -> Result<bool, Failed> {
        let failed = || Failed::at(Phase::Configured);
        let progress = self
            .store
            .progress()
            .map_err(DiskTrouble)
            .map_err(failed())?;
        let active = install::active(&self.layout)
            .map_err(DiskTrouble)
            .map_err(failed())?;
        // Another configuration may have got as far as its files, and no further.
        let file = Environment::read(&self.layout).map_err(Failed::at(Phase::Configured))?;
        let sha256 = wanted.artefact.sha256.to_string();
        Ok(file.is_some_and(|file| file.is_of(wanted))
            && active.is_some_and(|release| release.sha256 == sha256)
            && progress.running_digest == wanted.configuration_digest
            && progress.running_version == wanted.artefact.version.as_str())
    }

    pub(super) async fn install(&self, wanted: &Serving) -> Result<(), Failed> {
        self.unpack(wanted).await?;
        self.reporter.reach(Phase::Installed);
        Ok(())
    }

    /// Installed, and this node can use the place of users' files: where both servers must not run at once,
    /// nobody is sent away for a server that would not be verified.
    pub(super) async fn prepare(&self, wanted: &Serving) -> Result<(), Failed> {
        self.unpack(wanted).await?;
        self.prove_file_store_before_start(wanted).await?;
        self.reporter.reach(Phase::Installed);
        Ok(())
    }

    async fn unpack(&self, wanted: &Serving) -> Result<(), Failed> {
        self.reporter.reach(Phase::Configured);
        let reporter = self.reporter.clone();
        let step = move |step| {
            reporter.reach(match step {
                Step::Fetched => Phase::Fetched,
                Step::Verified => Phase::Verified,
            });
        };
        self.installer
            .ensure_installed(&wanted.artefact, step)
            .await
            .map(drop)
            .map_err(|error: InstallError| {
                let phase = match self.reporter.current().phase() {
                    phase @ (Phase::Fetched | Phase::Verified) => phase,
                    _ => Phase::Configured,
                };
                Failed::at(phase)(error)
            })
    }

    /// From the file when it is of this configuration, else with secrets from the orchestrator.
    pub(super) async fn environment(&self, wanted: &Serving) -> Result<Environment, Failed> {
        let failed = || Failed::at(Phase::Installed);
        let there = Environment::read(&self.layout).map_err(Failed::at(Phase::Installed))?;
        if let Some(there) = there
            && there.is_of(wanted)
        {
            return Ok(there);
        }
        let secrets = self.secrets(wanted).await?;
        if let Some(database) = &wanted.database {
            // The server reads it, so it is not as closed as the secrets beside it.
            ensure_directory(&self.layout.configuration(), 0o755)
                .and_then(|()| {
                    let path = self.layout.database_ca_file();
                    write_atomically(&path, database.trust_pem.as_bytes(), 0o644)
                })
                .map_err(DiskTrouble)
                .map_err(failed())?;
            reached(Done::DatabaseRootsWritten);
        }
        let environment = Environment::compose(wanted, secrets, &self.instance, &self.layout)
            .map_err(Failed::at(Phase::Installed))?;
        environment
            .write(&self.layout)
            .map_err(Failed::at(Phase::Installed))?;
        Ok(environment)
    }

    /// Asks until answered: without an orchestrator there is nothing else to do. A refusal that may
    /// pass (it has not read our report yet) is asked again, any other is a failure.
    async fn secrets(&self, wanted: &Serving) -> Result<SecretsReply, Failed> {
        let mut channel = self.channel.clone();
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let mut refusals = 0;
        loop {
            if channel.borrow().is_none() {
                self.reporter
                    .note("waiting for the orchestrator, for the secrets");
            }
            let Ok(now) = channel
                .wait_for(Option::is_some)
                .await
                .map(|one| one.clone())
            else {
                return std::future::pending().await;
            };
            let Some(now) = now else { continue };
            match ask_for_secrets(now, wanted).await {
                Ok(reply) => {
                    self.reporter.note("");
                    return Ok(reply);
                }
                Err(status) => {
                    let passing = matches!(
                        status.code(),
                        Code::Unavailable
                            | Code::FailedPrecondition
                            | Code::DeadlineExceeded
                            | Code::Cancelled
                            | Code::Unknown
                    );
                    refusals += 1;
                    log::warn!("no secrets yet: {}", status.message());
                    if !passing || refusals >= 20 {
                        return Err(Failed::at(Phase::Installed)(StartError::Secrets {
                            generation: wanted.generation,
                            reason: status.message().to_owned(),
                        }));
                    }
                    tokio::time::sleep(backoff.next_wait()).await;
                }
            }
        }
    }

    /// Switches to the release and ensures that a process of exactly this configuration runs. Clients of
    /// one that has to go for it are closed batch by batch first, as when the node leaves.
    async fn start(&self, wanted: &Serving, environment: &Environment) -> Result<(), Failed> {
        let failed = || Failed::at(Phase::Starting);
        let in_force = self.in_force(wanted)?;
        if !in_force && self.service.status().borrow().state == State::Active {
            self.reporter
                .note("clients go to other nodes, before the restart");
            connections::hand_over(&*self.connections, wanted.pace, &self.reporter).await;
            self.reporter.note("");
        }
        install::activate(&self.layout, &wanted.artefact.version)
            .map_err(DiskTrouble)
            .map_err(failed())?;
        self.reporter.reach(Phase::Starting);
        if in_force {
            self.service
                .start()
                .await
                .map_err(Failed::at(Phase::Starting))?;
        } else {
            // Whatever becomes of the order: what ran before is not known to run any more.
            self.record_running("", "").map_err(failed())?;
            self.reporter.another_process();
            reached(Done::StartDue);
            self.service
                .restart()
                .await
                .map_err(Failed::at(Phase::Starting))?;
            reached(Done::Restarted);
            self.record_running(environment.digest(), wanted.artefact.version.as_str())
                .map_err(failed())?;
            reached(Done::StartRecorded);
        }
        let seconds = wanted.verification.start_timeout.as_secs();
        let ready = tokio::time::timeout(wanted.verification.start_timeout, self.ready()).await;
        let error = match ready {
            Ok(Ok(())) => {
                reached(Done::Ready);
                return Ok(());
            }
            Ok(Err(error)) => error,
            Err(_) => StartError::NotReady { seconds },
        };
        Err(self.with_journal(error).await)
    }

    pub(super) fn record_running(&self, digest: &str, version: &str) -> Result<(), DiskTrouble> {
        let mut progress = self.store.progress().map_err(DiskTrouble)?;
        digest.clone_into(&mut progress.running_digest);
        version.clone_into(&mut progress.running_version);
        self.store.set_progress(&progress).map_err(DiskTrouble)
    }
}

async fn ask_for_secrets(
    channel: Channel,
    wanted: &Serving,
) -> Result<SecretsReply, tonic::Status> {
    let mut request = tonic::Request::new(SecretsRequest {
        generation: wanted.generation,
        artefact_sha256: wanted.artefact.sha256.to_string(),
    });
    request.set_timeout(SECRETS_DEADLINE);
    Ok(NodeClient::new(channel)
        .secrets(request)
        .await?
        .into_inner())
}

/// State files of the agent itself.
#[derive(Debug, thiserror::Error)]
#[error("the node's state cannot be kept")]
pub(super) struct DiskTrouble(#[source] pub(super) crate::disk::DiskError);

impl Coded for DiskTrouble {
    fn code(&self) -> &'static str {
        self.0.code()
    }

    fn hint(&self) -> String {
        self.0.hint()
    }
}

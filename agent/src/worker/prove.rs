//! From a started process to `Serving`: ready, healthy several times in a row, of the right version, with
//! a bucket that this node can use, with its licence, on the right schema.

use fleet_proto::v1::{Health, Phase};
use tokio::time::Instant;

use super::failure::without_sources;
use super::{Failed, StartError, Worker};
use crate::environment::Environment;
use crate::file_store::Patience;
use crate::service::State;
use crate::verify::Ping;
use crate::wanted::{ConfigurationStore, Migration, Serving};

/// Lines of a server that failed.
const JOURNAL: usize = 40;
/// How often a server that is well is asked for its licence until it answers.
const LICENCE_ATTEMPTS: u32 = 3;

impl Worker {
    pub(super) async fn with_journal(&self, error: StartError) -> Failed {
        Failed {
            journal: without_sources(self.service.journal(JOURNAL).await),
            ..Failed::at(Phase::Starting)(error)
        }
    }

    /// Until `READY=1`, or the first crash.
    pub(super) async fn ready(&self) -> Result<(), StartError> {
        let mut status = self.service.status();
        let before = status.borrow().restarts;
        loop {
            {
                let now = status.borrow_and_update();
                match now.state {
                    State::Active => return Ok(()),
                    State::Activating | State::Deactivating if now.restarts == before => {}
                    State::Inactive | State::Failed | State::Activating | State::Deactivating => {
                        return Err(StartError::Crashed {
                            ended: now.ended.clone(),
                        });
                    }
                }
            }
            if status.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Full pings in a row, the right version, files, licence, the schema: only then `Serving`.
    pub(super) async fn verify(&self, wanted: &Serving) -> Result<(), Failed> {
        let status = self.service.status();
        let restarts = status.borrow().restarts;
        self.verify_health(wanted).await?;
        self.prove_file_store(wanted, Patience::default()).await?;
        self.verify_licence(wanted).await?;
        self.verify_schema(wanted).await?;
        // All of it was true of one process.
        let now = status.borrow().clone();
        if now.restarts != restarts || now.state != State::Active {
            let ended = now.ended;
            return Err(self.with_journal(StartError::Crashed { ended }).await);
        }
        self.reporter.update(|report| {
            report.note.clear();
            report
                .configuration_digest
                .clone_from(&wanted.configuration_digest);
            report.connections = self.established();
        });
        self.report_configuration(wanted);
        self.reporter.reach(Phase::Serving);
        Ok(())
    }

    async fn verify_health(&self, wanted: &Serving) -> Result<(), Failed> {
        let verification = wanted.verification;
        let deadline = Instant::now() + verification.start_timeout;
        let mut status = self.service.status();
        let restarts = status.borrow_and_update().restarts;
        let mut ticks = tokio::time::interval(verification.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut consecutive = 0;
        let mut files_asked = false;
        loop {
            ticks.tick().await;
            let ping = self.pinger.ping(&wanted.site_path).await;
            consecutive = if ping.healthy { consecutive + 1 } else { 0 };
            let now = status.borrow_and_update().clone();
            self.report_health(&ping, consecutive, now.state == State::Active);
            if now.restarts != restarts || !matches!(now.state, State::Active | State::Activating) {
                let ended = now.ended;
                return Err(self.with_journal(StartError::Crashed { ended }).await);
            }
            if ping.healthy && !ping.is_version(wanted.artefact.version.as_str()) {
                let error = StartError::WrongVersion {
                    found: ping.version_id,
                    expected: wanted.artefact.version.to_string(),
                };
                return Err(self.with_journal(error).await);
            }
            if consecutive >= verification.consecutive && now.state == State::Active {
                return Ok(());
            }
            if ping.filestore_unhealthy() && !std::mem::replace(&mut files_asked, true) {
                // Why is known at once, not after the time-out of the start.
                self.explain_file_store(wanted, Patience::default()).await?;
            }
            if Instant::now() > deadline {
                let error = StartError::Unhealthy {
                    seconds: verification.start_timeout.as_secs(),
                    reason: ping.reason,
                };
                return Err(self.with_journal(error).await);
            }
        }
    }

    /// Asked of every server, for the report; decides only where a licence is wanted.
    async fn verify_licence(&self, wanted: &Serving) -> Result<(), Failed> {
        let mut attempt = 1;
        let licence = loop {
            match self.pinger.licence(&wanted.site_path).await {
                Ok(licence) => break licence,
                Err(error) if wanted.licence.is_none() => {
                    log::warn!(
                        "the server's licence is unknown: {}",
                        crate::coded::chain(&error)
                    );
                    return Ok(());
                }
                Err(error) if attempt >= LICENCE_ATTEMPTS => {
                    return Err(self.with_journal(StartError::LicenceUnknown(error)).await);
                }
                Err(_) => {
                    attempt += 1;
                    tokio::time::sleep(wanted.verification.interval).await;
                }
            }
        };
        self.reporter.licence(licence);
        match wanted.licence {
            // Without a cluster the orchestrator judges by the report: an ended licence ends no server.
            Some(needed) if needed.cluster && !licence.licensed => {
                Err(self.with_journal(StartError::LicenceRefused).await)
            }
            Some(needed) if needed.cluster && !licence.cluster => {
                Err(self.with_journal(StartError::LicenceWithoutCluster).await)
            }
            Some(_) | None => Ok(()),
        }
    }

    async fn verify_schema(&self, wanted: &Serving) -> Result<(), Failed> {
        if wanted.database.is_none() {
            return Ok(());
        }
        let Some(environment) =
            Environment::read(&self.layout).map_err(Failed::at(Phase::Starting))?
        else {
            return Ok(());
        };
        let schema = self.read_schema(wanted, &environment).await?;
        let expected = match wanted.migration {
            Migration::Wait(expected) => expected,
            Migration::Migrate | Migration::Unordered => 1,
        };
        let (applied, configuration) = (schema.applied, schema.configuration);
        self.reporter.schema(schema);
        if applied < expected {
            return Err(Failed::at(Phase::Starting)(StartError::Schema {
                applied,
                expected,
            }));
        }
        if wanted.configuration_store == ConfigurationStore::Database && !configuration {
            return Err(self.with_journal(StartError::ConfigurationMissing).await);
        }
        Ok(())
    }

    pub(super) fn report_health(&self, ping: &Ping, consecutive: u32, active: bool) {
        self.reporter.health(
            Health {
                consecutive_ok: consecutive,
                database_status: ping.database.clone(),
                filestore_status: ping.filestore.clone(),
                active,
            },
            ping,
        );
    }

    pub(super) fn established(&self) -> u32 {
        self.connections
            .established()
            .map_or(0, |clients| clients.len() as u32)
    }
}

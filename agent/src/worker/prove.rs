//! From a started process to `Serving`: ready, healthy several times in a row, of the right version,
//! on the right schema.

use fleet_proto::v1::{Health, Phase};
use tokio::time::Instant;

use super::{Failed, StartError, Worker};
use crate::environment::Environment;
use crate::service::State;
use crate::verify::Ping;
use crate::wanted::{Migration, Serving};

/// Lines of a server that failed.
const JOURNAL: usize = 40;

impl Worker {
    pub(super) async fn with_journal(&self, error: StartError) -> Failed {
        Failed {
            journal: self.service.journal(JOURNAL).await,
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

    /// Full pings in a row, the right version, the schema: only then `Serving`.
    pub(super) async fn verify(&self, wanted: &Serving) -> Result<(), Failed> {
        let verification = wanted.verification;
        let deadline = Instant::now() + verification.start_timeout;
        let mut status = self.service.status();
        let restarts = status.borrow_and_update().restarts;
        let mut ticks = tokio::time::interval(verification.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut consecutive = 0;
        loop {
            ticks.tick().await;
            let ping = self.pinger.ping().await;
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
                break;
            }
            if Instant::now() > deadline {
                let error = StartError::Unhealthy {
                    seconds: verification.start_timeout.as_secs(),
                    reason: ping.reason,
                };
                return Err(self.with_journal(error).await);
            }
        }
        self.verify_schema(wanted).await?;
        self.reporter.update(|report| {
            report
                .configuration_digest
                .clone_from(&wanted.configuration_digest);
            report.connections = self.established();
        });
        self.reporter.reach(Phase::Serving);
        Ok(())
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
        let applied = schema.applied;
        self.reporter.schema(schema);
        if applied < expected {
            return Err(Failed::at(Phase::Starting)(StartError::Schema {
                applied,
                expected,
            }));
        }
        Ok(())
    }

    pub(super) fn report_health(&self, ping: &Ping, consecutive: u32, active: bool) {
        let version = (!ping.version_id.is_empty()).then(|| ping.version());
        self.reporter.health(
            Health {
                consecutive_ok: consecutive,
                database_status: ping.database.clone(),
                filestore_status: ping.filestore.clone(),
                active,
            },
            version,
        );
    }

    pub(super) fn established(&self) -> u32 {
        self.connections
            .established()
            .map_or(0, |clients| clients.len() as u32)
    }
}

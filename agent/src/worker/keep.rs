//! After `Serving`: watches the server, tells what changes, and converges again when it was started
//! anew. Restarting it is the service manager's work.

use std::time::Duration;

use fleet_proto::v1::Phase;
use tokio::time::Instant;

use super::{Failed, StartError, Worker};
use crate::coded::chain;
use crate::file_store::Patience;
use crate::service::State;
use crate::wanted::Serving;

/// Between full pings of a serving server, each moved by up to a fifth: a thousand nodes on one
/// database do not ping it together.
const INTERVAL: Duration = Duration::from_secs(5);
/// The report's connection count follows changes larger than this, in per cent.
const COUNT_CHANGE: u32 = 20;
const JOURNAL: usize = 40;
/// As long as the file store is not well it is tried at least so often.
const UNWELL_AGAIN: Duration = Duration::from_secs(60);

/// What is known of the file store while the server serves.
struct StoreWatch {
    /// The server says that it is not well.
    unwell: bool,
    /// The report's note is about it.
    noted: bool,
    /// When the node tries it again.
    due: Instant,
}

impl StoreWatch {
    /// It was tried a moment ago, before the server counted as verified.
    fn begin(every: Duration) -> Self {
        let mut begun = Self {
            unwell: false,
            noted: false,
            due: Instant::now(),
        };
        begun.wait(every);
        begun
    }

    /// Moved by up to a fifth: a thousand nodes do not try it together.
    fn wait(&mut self, every: Duration) {
        let wait = if self.noted {
            every.min(UNWELL_AGAIN)
        } else {
            every
        };
        self.due = Instant::now() + wait.mul_f64(rand::random_range(0.8..=1.2));
    }
}

impl Worker {
    /// Returns when the server has to be verified anew.
    pub(super) async fn keep(&self, wanted: &Serving) {
        let mut status = self.service.status();
        let restarts = status.borrow_and_update().restarts;
        let enough = wanted.verification.consecutive;
        let mut consecutive = enough;
        let mut files = StoreWatch::begin(self.file_store_every);
        loop {
            tokio::select! {
                () = tokio::time::sleep(INTERVAL.mul_f64(rand::random_range(0.8..=1.2))) => {}
                changed = status.changed() => if changed.is_err() {
                    return std::future::pending().await;
                },
            }
            let now = status.borrow_and_update().clone();
            if now.restarts != restarts || now.state != State::Active {
                self.report_health(
                    &crate::verify::Ping::default(),
                    0,
                    now.state == State::Active,
                );
                let failed = Failed {
                    journal: self.service.journal(JOURNAL).await,
                    ..Failed::at(Phase::Serving)(StartError::Crashed { ended: now.ended })
                };
                self.reporter
                    .fail(failed.phase, &*failed.error, failed.journal);
                return self.await_active().await;
            }
            let ping = self.pinger.ping(&wanted.site_path).await;
            let before = consecutive;
            consecutive = if ping.healthy {
                (consecutive + 1).min(enough)
            } else {
                0
            };
            if before > 0 && consecutive == 0 {
                log::warn!("the server is not healthy: {}", ping.reason);
            } else if before == 0 && consecutive > 0 {
                log::info!("the server is healthy again");
            }
            self.report_health(&ping, consecutive, true);
            self.report_connections();
            self.watch_file_store(wanted, ping.filestore_unhealthy(), &mut files)
                .await;
        }
    }

    /// What a server's ping says of its file store is that it can be listed. Whether it takes and gives files
    /// the node tries itself, now and then: a right or a key may be taken away while users are served. The
    /// server serves on, and people should know why uploads fail.
    async fn watch_file_store(&self, wanted: &Serving, unwell: bool, files: &mut StoreWatch) {
        let before = std::mem::replace(&mut files.unwell, unwell);
        // One attempt each time, since nothing else is looked at meanwhile.
        let tried = if unwell {
            if before {
                return;
            }
            self.explain_file_store(wanted, Patience::once()).await
        } else if before || files.due <= Instant::now() {
            self.prove_file_store(wanted, Patience::once()).await
        } else {
            return;
        };
        if let Err(failed) = &tried {
            self.note_file_store(failed);
        } else if files.noted && !unwell {
            self.reporter.note("");
        }
        files.noted = unwell || tried.is_err();
        files.wait(self.file_store_every);
    }

    fn note_file_store(&self, failed: &Failed) {
        let text = chain(&*failed.error);
        log::error!("{text}");
        let hint = failed.error.hint();
        self.reporter.note(if hint.is_empty() {
            text
        } else {
            format!("{text}; hint: {hint}")
        });
    }

    fn report_connections(&self) {
        let now = self.established();
        self.reporter.update(|report| {
            let change = report.connections.abs_diff(now);
            if change * 100 > report.connections.max(10) * COUNT_CHANGE {
                report.connections = now;
            }
        });
    }

    /// The manager starts it again; the next convergence verifies it. One that was stopped by hand,
    /// or that the manager gave up on, is started by that convergence.
    async fn await_active(&self) {
        let mut status = self.service.status();
        let settled = |state| matches!(state, State::Active | State::Inactive | State::Failed);
        if status.wait_for(|now| settled(now.state)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

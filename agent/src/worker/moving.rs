//! What lives on this node, on its way to where it lasts.
//!
//! ```text
//!   beside the server:  config.json read (where are the files?) -> copied, again and again until a pass is whole
//!   without it:         stopped -> [started once on config.json, local mode -> POST config/migrate -> stopped]
//!                       -> what changed is copied -> moved
//! ```
//!
//! Nothing on the node is changed or removed by it: what served before can serve again.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fleet_proto::v1::Phase;
use tokio::time::Instant;

use super::failure::without_sources;
use super::serve::DiskTrouble;
use super::{Failed, StartError, Worker};
use crate::coded::{Coded, chain};
use crate::disk::remove_file;
use crate::environment::Environment;
use crate::file_store::{FileStoreError, Keys, Objects, Patience};
use crate::install;
use crate::moving::{self, ConfigurationFile, Copied, MoveError, Pass};
use crate::service::{ServiceError, State};
use crate::steps::{Step, reached};
use crate::wanted::{ConfigurationStore, Copying, FileStore, Moving, Serving};

/// Between tries of a copy beside the server: nobody waits for it yet.
const AGAIN: Duration = Duration::from_secs(60);
/// People see a copy move; no report is worth more.
const TOLD: Duration = Duration::from_secs(2);
/// Lines of a server that did not start.
const JOURNAL: usize = 40;
/// The kernel's limit for a socket's path, with its final NUL: 108.
const SOCKET_PATH: usize = 107;

impl Worker {
    /// Tells by digests what is in `config.json`, where the server keeps its settings there.
    pub(super) fn report_configuration(&self, wanted: &Serving) {
        let digests = match wanted.configuration_store {
            ConfigurationStore::Database => Ok(std::collections::BTreeMap::new()),
            ConfigurationStore::File => {
                ConfigurationFile::read(&self.configuration_path()).map(|file| file.digests)
            }
        };
        match digests {
            Ok(digests) => self.reporter.update(|report| {
                report.configuration_file = digests.into_iter().collect();
            }),
            Err(error) => log::warn!("{}", chain(&error)),
        }
    }

    fn configuration_path(&self) -> PathBuf {
        self.layout.shared("config").join("config.json")
    }

    /// Copies while the server runs, until one pass is whole; then waits for ever, as without an order.
    pub(super) async fn copy_beside(&self, wanted: &Serving) {
        let Some(copying) = &wanted.copy else {
            return std::future::pending().await;
        };
        // The server is well meanwhile: what hinders the copy is told beside it, and tried again.
        while let Err(error) = self.copy(wanted, copying, false).await {
            let text = chain(&*error);
            log::error!("files are not copied: {text}");
            let hint = error.hint();
            let hint = if hint.is_empty() {
                hint
            } else {
                format!(" (hint: {hint})")
            };
            self.reporter.note(format!(
                "files are not copied, tried again in {} s: {text}{hint}",
                AGAIN.as_secs()
            ));
            tokio::time::sleep(AGAIN).await;
        }
        std::future::pending::<()>().await;
    }

    /// Ends with all of it moved, and no server running.
    pub(super) async fn move_out(&self, wanted: &Moving) -> Result<(), Failed> {
        self.drain(wanted.server.pace).await;
        self.reporter.reach(Phase::Moving);
        if wanted.configuration {
            self.move_configuration(&wanted.server).await?;
        }
        let failed = |error: Box<dyn Coded + Send + Sync>| Failed {
            phase: Phase::Moving,
            error,
            journal: Vec::new(),
        };
        match &wanted.files {
            Some(copying) => self
                .copy(&wanted.server, copying, true)
                .await
                .map_err(failed)?,
            None => self.reporter.update(|report| {
                report.moved = Some(Copied::default().to_wire(true));
            }),
        }
        self.reporter.update(|report| {
            if let Some(moved) = &mut report.moved {
                moved.configuration = wanted.configuration;
            }
        });
        self.reporter.reach(Phase::Moved);
        reached(Step::Moved);
        Ok(())
    }

    /// One pass over all files, reported when it is whole.
    async fn copy(
        &self,
        wanted: &Serving,
        copying: &Copying,
        still: bool,
    ) -> Result<(), Box<dyn Coded + Send + Sync>> {
        let Some(root) = self.files_root(wanted, &copying.to).map_err(boxed)? else {
            log::info!("files are in bucket `{}` already", copying.to.bucket);
            self.reporter.update(|report| {
                report.moved = Some(Copied::default().to_wire(still));
            });
            return Ok(());
        };
        let keys = if copying.to.own_keys {
            let environment = Environment::read(&self.layout)
                .map_err(boxed)?
                .ok_or(ServiceError::NoEnvironment)
                .map_err(boxed)?;
            let keys = environment.file_store_keys();
            let bucket = copying.to.bucket.clone();
            Keys::Own(keys.map_err(|name| boxed(FileStoreError::NoKeys { bucket, name }))?)
        } else {
            Keys::Role(Arc::clone(&self.imds))
        };
        let roots = self.file_store_roots.as_deref();
        let objects = Objects::new(&copying.to, keys, roots, Patience::default()).map_err(boxed)?;
        let pass = Pass {
            root: &root,
            ledger: &self.layout.state().join("moved.jsonl"),
            destination: &objects.destination(),
            still,
            alone: copying.alone,
        };
        let mut told: Option<Instant> = None;
        let copied = moving::copy(pass, &objects, |copied| {
            if told.is_none_or(|told| told.elapsed() >= TOLD) {
                told = Some(Instant::now());
                self.reporter.note(words(copied));
            }
        })
        .await
        .map_err(boxed)?;
        log::info!("{}", words(&copied));
        self.reporter.update(|report| {
            report.moved = Some(copied.to_wire(still));
            report.note = words(&copied);
        });
        Ok(())
    }

    /// The server's folder of files, as its settings say; none when it keeps them where they go, refused
    /// when it keeps them in another bucket.
    fn files_root(&self, wanted: &Serving, to: &FileStore) -> Result<Option<PathBuf>, MoveError> {
        let mut file = ConfigurationFile::read(&self.configuration_path())?;
        let setting = |name: &str| wanted.settings.get(name);
        if let Some(directory) = setting("MM_FILESETTINGS_DIRECTORY") {
            file.directory.clone_from(directory);
        }
        let local = setting("MM_FILESETTINGS_DRIVERNAME").is_some_and(|driver| driver == "local");
        match file.bucket.take() {
            Some((bucket, prefix)) if !local && bucket == to.bucket && prefix == to.prefix => {
                Ok(None)
            }
            Some((bucket, _)) if !local => Err(MoveError::OtherBucket(bucket)),
            _ => Ok(Some(file.files(&self.layout.current()))),
        }
    }

    /// Starts the server once on its `config.json` and has it copy that into the database.
    async fn move_configuration(&self, wanted: &Serving) -> Result<(), Failed> {
        let at = || Failed::at(Phase::Moving);
        let path = self.configuration_path();
        let socket = self.socket_path();
        // What ran before is not known to run any more, whatever becomes of this.
        self.record_running("", "").map_err(at())?;
        reached(Step::MoverDue);
        let environment = self.environment(wanted).await?.for_local_mode(&socket);
        environment
            .write(&self.layout)
            .map_err(Failed::at(Phase::Moving))?;
        install::activate(&self.layout, &wanted.artefact.version)
            .map_err(DiskTrouble)
            .map_err(at())?;
        let moved = self.with_mover(wanted, &environment, &socket, &path).await;
        // Also after a failure: nothing serves from here until it is told to.
        self.service
            .stop()
            .await
            .map_err(Failed::at(Phase::Moving))?;
        reached(Step::MoverStopped);
        if let Err(error) = remove_file(&socket) {
            log::debug!("{}", chain(&error));
        }
        moved?;
        let after = ConfigurationFile::read(&path).map_err(Failed::at(Phase::Moving))?;
        after.check().map_err(Failed::at(Phase::Moving))?;
        self.reporter.update(|report| {
            report.configuration_file = after.digests.into_iter().collect();
        });
        Ok(())
    }

    async fn with_mover(
        &self,
        wanted: &Serving,
        environment: &Environment,
        socket: &Path,
        path: &Path,
    ) -> Result<(), Failed> {
        self.reporter
            .note("the server is started once, to bring its settings into the database");
        self.service
            .restart()
            .await
            .map_err(Failed::at(Phase::Moving))?;
        let limit = wanted.verification.start_timeout;
        let error = match tokio::time::timeout(limit, self.ready()).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => Some(StartError::NotReady {
                seconds: limit.as_secs(),
            }),
        };
        if let Some(error) = error {
            // Not the journal as it is: a server that fails here may quote its data source.
            return Err(Failed {
                journal: without_sources(self.service.journal(JOURNAL).await),
                ..Failed::at(Phase::Moving)(error)
            });
        }
        reached(Step::MoverStarted);
        let file = ConfigurationFile::read(path).map_err(Failed::at(Phase::Moving))?;
        file.check().map_err(Failed::at(Phase::Moving))?;
        let source = environment.data_source().ok_or(MoveError::NoDataSource);
        let source = source.map_err(Failed::at(Phase::Moving))?;
        moving::migrate(socket, path, source)
            .await
            .map_err(Failed::at(Phase::Moving))?;
        reached(Step::ConfigurationMoved);
        let after = ConfigurationFile::read(path).map_err(Failed::at(Phase::Moving))?;
        after.unchanged(&file).map_err(Failed::at(Phase::Moving))?;
        if self.service.status().borrow().state != State::Active {
            log::warn!("the server ended after it had brought its settings into the database");
        }
        Ok(())
    }

    /// In a folder that the server may write to; somewhere else when that path is too long for a socket.
    fn socket_path(&self) -> PathBuf {
        let usual = self.layout.shared("config").join("local.socket");
        if usual.as_os_str().len() <= SOCKET_PATH {
            usual
        } else {
            std::env::temp_dir().join(format!("mattermost-{}.socket", uuid::Uuid::new_v4()))
        }
    }
}

fn boxed(error: impl Coded + Send + Sync + 'static) -> Box<dyn Coded + Send + Sync> {
    Box::new(error)
}

/// How far a copy is.
fn words(copied: &Copied) -> String {
    let mut text = format!(
        "{} files ({} MB) are in the bucket",
        copied.files,
        copied.bytes / 1_000_000
    );
    for (count, what) in [
        (copied.sent, "sent in this pass"),
        (copied.superseded, "newer from another node"),
        (copied.removed, "removed because they vanished here"),
        (copied.moving, "changed meanwhile"),
    ] {
        if count > 0 {
            let _ = write!(text, ", {count} {what}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_with_a_data_source_is_reported() {
        let lines = vec![
            "plain".to_owned(),
            "failed to access postgres://m:secret@db".to_owned(),
        ];
        let shown = without_sources(lines);
        assert_eq!(shown[0], "plain");
        assert!(!shown[1].contains("secret"));
    }
}

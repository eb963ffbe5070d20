//! One real server: its folder, its configuration, its process.
//!
//! ```text
//!  <root>/db-ABC…-1/            a node; a Multi-AZ instance has two, one of them hidden
//!      data/                    PGDATA, nothing of ours in it
//!      postgresql.conf  pg_hba.conf  pg_ident.conf  server.crt  server.key  passfile
//!      postgres.log             what the server says
//!      .s.PGSQL.<port>          the socket: the only door for `rdsadmin`
//! ```

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use tokio_postgres::{Client, NoTls};

use super::configuration::Settings;
use super::engine::{Engine, EngineError, make_directory};
pub use super::server::Stop;
use super::server::{Running, watch_over};

/// The superuser, reachable by the socket only (RDS's own name for it).
pub const ADMIN: &str = "rdsadmin";
/// The role of replicas and base backups (RDS's own name for it).
pub const REPLICATION: &str = "rdsrepladmin";
/// A server that is not up after this (real time) has failed. Crash recovery of a lab-sized
/// database takes seconds; two cores shared by many take longer.
const START_DEADLINE: Duration = Duration::from_mins(2);
/// How often the server's own status line is read while it starts.
const STATUS_INTERVAL: Duration = Duration::from_millis(20);

/// One database cluster on disk, and its server when it runs.
#[derive(Debug)]
pub struct Node {
    /// Its folder.
    pub directory: PathBuf,
    /// The zone it stands for.
    pub zone: String,
    /// The process.
    pub server: Option<Running>,
}

impl Node {
    /// A folder for a new cluster, empty.
    pub fn create(engine: &Engine, name: &str, zone: &str) -> Result<Self, EngineError> {
        let directory = engine.root.join(name);
        let _ = std::fs::remove_dir_all(&directory);
        make_directory(&directory)?;
        engine.give(&directory)?;
        Ok(Self {
            directory,
            zone: zone.to_owned(),
            server: None,
        })
    }

    /// PGDATA.
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Whether the server runs.
    pub fn is_up(&self) -> bool {
        self.server.as_ref().is_some_and(|server| !server.is_gone())
    }

    /// A new, empty cluster.
    pub async fn initialise(&self, engine: &Engine) -> Result<(), EngineError> {
        let data = self.data();
        let secret = self.directory.join("initdb.password");
        engine.write(&secret, &format!("{}\n", engine.admin_password))?;
        let made = engine
            .run(
                "initdb",
                &[
                    "--pgdata",
                    &data.to_string_lossy(),
                    "--username",
                    ADMIN,
                    "--pwfile",
                    &secret.to_string_lossy(),
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    "--locale-provider=libc",
                    "--locale=C.UTF-8",
                    // The fewest bytes that make a cluster: many are made, and copied, on one disk.
                    "--wal-segsize=1",
                    "--no-sync",
                ],
            )
            .await;
        std::fs::remove_file(&secret).map_err(|error| EngineError::file(&secret, &error))?;
        made.map(drop)
    }

    /// A copy of a running server, taken over the wire as replicas take it.
    pub async fn copy_server(
        &self,
        engine: &Engine,
        host: Ipv4Addr,
        port: u16,
    ) -> Result<(), EngineError> {
        self.write_passfile(engine)?;
        let source = format!(
            "host={host} port={port} user={REPLICATION} sslmode=require passfile={}",
            self.directory.join("passfile").display()
        );
        let _ = std::fs::remove_dir_all(self.data());
        engine
            .run(
                "pg_basebackup",
                &[
                    "--dbname",
                    &source,
                    "--pgdata",
                    &self.data().to_string_lossy(),
                    "--checkpoint=fast",
                    "--wal-method=stream",
                    "--no-sync",
                ],
            )
            .await
            .map(drop)
    }

    /// A copy of a cluster that nobody writes to.
    pub async fn copy_files(
        &self,
        engine: &Engine,
        from: &std::path::Path,
    ) -> Result<(), EngineError> {
        let _ = std::fs::remove_dir_all(self.data());
        copy_tree(engine, from, &self.data()).await
    }

    /// The replication password, where libpq looks for it.
    pub fn write_passfile(&self, engine: &Engine) -> Result<(), EngineError> {
        engine.write(
            &self.directory.join("passfile"),
            &format!("*:*:*:{REPLICATION}:{}\n", engine.replication_password),
        )
    }

    /// Starts the server; `on_crash` runs when it ends without having been asked to.
    pub async fn start(
        &mut self,
        engine: &Engine,
        settings: &Settings,
        on_crash: impl FnOnce() + Send + 'static,
    ) -> Result<(), EngineError> {
        if self.is_up() {
            return Ok(());
        }
        if settings.listening {
            let (address, port) = (settings.address, settings.port);
            std::net::TcpListener::bind((address, port)).map_err(|error| {
                EngineError::AddressTaken {
                    address,
                    port,
                    reason: error.to_string(),
                }
            })?;
        }
        let log = self.directory.join("postgres.log");
        let from = std::fs::metadata(&log).map_or(0, |metadata| metadata.len());
        let child = engine
            .start_server(&self.data(), &self.directory.join("postgresql.conf"), &log)
            .await?;
        // Kept from the first moment on: a start that is cancelled leaves a server to be stopped.
        self.server = Some(watch_over(child, on_crash)?);
        let ready = self.await_ready();
        match tokio::time::timeout(START_DEADLINE, ready).await {
            Ok(true) => Ok(()),
            outcome => {
                self.stop(Stop::Kill).await;
                let said = self.complaint(from);
                Err(EngineError::NotStarted(if outcome.is_err() {
                    format!("not ready after {START_DEADLINE:?}; {said}")
                } else {
                    said
                }))
            }
        }
    }

    /// Until the server's status line says that it is up; false when it ends instead.
    async fn await_ready(&self) -> bool {
        let Some(running) = &self.server else {
            return false;
        };
        let file = self.data().join("postmaster.pid");
        let ours = running.pid().as_raw_nonzero().to_string();
        // It is not a crash when it never came up: the caller reports that.
        running.expect_end(true);
        loop {
            if running.is_gone() {
                return false;
            }
            let status = std::fs::read_to_string(&file).unwrap_or_default();
            // The first line tells our server's file from one that a killed server left behind.
            if status.lines().next() == Some(ours.as_str())
                && let Some(word) = status.lines().nth(7)
                && matches!(word.trim(), "ready" | "standby")
            {
                running.expect_end(false);
                return !running.is_gone();
            }
            tokio::time::sleep(STATUS_INTERVAL).await;
        }
    }

    /// The last error lines of the log after byte `from`.
    fn complaint(&self, from: u64) -> String {
        let text = std::fs::read(self.directory.join("postgres.log")).unwrap_or_default();
        let new = String::from_utf8_lossy(text.get(from as usize..).unwrap_or_default());
        let lines: Vec<&str> = new
            .lines()
            .filter(|line| {
                ["FATAL", "PANIC", "ERROR", "could not", "HINT"]
                    .iter()
                    .any(|w| line.contains(w))
            })
            .collect();
        if lines.is_empty() {
            return "it said nothing".to_owned();
        }
        lines[lines.len().saturating_sub(3)..].join("; ")
    }

    /// Ends the server, if it runs.
    pub async fn stop(&mut self, how: Stop) {
        if let Some(server) = self.server.take() {
            server.stop(how).await;
        }
    }

    /// Makes the server read its configuration again.
    pub fn reload(&self) {
        if let Some(server) = &self.server {
            server.signal(Signal::HUP);
        }
    }

    /// A session as `rdsadmin`.
    pub async fn connect(
        &self,
        engine: &Engine,
        port: u16,
        database: &str,
    ) -> Result<Client, EngineError> {
        let (client, connection) = tokio_postgres::Config::new()
            .host_path(&self.directory)
            .port(port)
            .user(ADMIN)
            .password(&engine.admin_password)
            .dbname(database)
            .connect_timeout(Duration::from_secs(10))
            .connect(NoTls)
            .await
            .map_err(|error| refused("connecting", &error))?;
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(client)
    }

    /// Removes the cluster from disk; the server must be stopped.
    pub fn remove(&self) {
        remove_tree(self.directory.clone());
    }
}

/// Removes a folder, off the threads that answer calls: a cluster has a thousand files.
pub fn remove_tree(directory: PathBuf) {
    tokio::task::spawn_blocking(move || {
        if let Err(error) = std::fs::remove_dir_all(&directory)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            log::warn!("{} stays behind: {error}", directory.display());
        }
    });
}

/// A database error, in words that carry no statement text (it may hold a password's verifier).
pub fn refused(what: &'static str, error: &tokio_postgres::Error) -> EngineError {
    let reason = error
        .as_db_error()
        .map_or_else(|| error.to_string(), |db| db.message().to_owned());
    EngineError::Sql { what, reason }
}

/// Copies a data directory file by file.
pub async fn copy_tree(
    engine: &Engine,
    from: &std::path::Path,
    to: &std::path::Path,
) -> Result<(), EngineError> {
    engine
        .run_path(
            std::path::Path::new("/bin/cp"),
            &[
                "--archive",
                "--reflink=auto",
                &from.to_string_lossy(),
                &to.to_string_lossy(),
            ],
        )
        .await
        .map(drop)
}

//! One real server: its folder, its configuration, its process.
//!
//! ```text
//!  <root>/db-ABC…-1/            a node; a Multi-AZ instance has two, one of them hidden
//!      data/                    PGDATA, nothing of ours in it
//!      postgresql.conf  pg_hba.conf  pg_ident.conf  server.crt  server.key  passfile
//!      postgres.log             what the server says
//!      .s.PGSQL.<port>          the socket: the only door for `rdsadmin`
//! ```

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;
use tokio::sync::watch;
use tokio_postgres::{Client, NoTls};

use super::engine::{Engine, EngineError, make_directory};
use super::parameters::Effective;

/// The superuser, reachable by the socket only (RDS's own name for it).
pub const ADMIN: &str = "rdsadmin";
/// The role of replicas and base backups (RDS's own name for it).
pub const REPLICATION: &str = "rdsrepladmin";
/// A server that is not up after this (real time) has failed. Crash recovery of a lab-sized
/// database takes seconds; two cores shared by many take longer.
const START_DEADLINE: Duration = Duration::from_secs(120);
/// A server that does not end after a polite signal within this (real time) is killed.
const STOP_DEADLINE: Duration = Duration::from_secs(15);
/// How often the server's own status line is read while it starts.
const STATUS_INTERVAL: Duration = Duration::from_millis(20);

/// Whom a standby follows.
#[derive(Clone, Debug)]
pub struct Follow {
    /// The source's endpoint.
    pub host: Ipv4Addr,
    /// Its port.
    pub port: u16,
    /// The slot that keeps its write-ahead log.
    pub slot: String,
}

/// How a node is to run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The instance's endpoint.
    pub address: Ipv4Addr,
    /// Its port.
    pub port: u16,
    /// Whether this node serves the endpoint; the hidden standby does not.
    pub listening: bool,
    /// What the parameter group makes of it.
    pub effective: Effective,
    /// For a standby.
    pub follow: Option<Follow>,
    /// The standby that must have each commit before it is acknowledged.
    pub synchronous: Option<String>,
}

/// How to end a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Sessions are cut, everything is written, replicas get the last byte.
    Fast,
    /// At once; recovery at the next start.
    Immediate,
    /// As a failed host ends: no warning to anybody.
    Kill,
}

/// A server process.
#[derive(Debug)]
pub struct Running {
    pid: Pid,
    exited: watch::Receiver<bool>,
    expected: Arc<AtomicBool>,
}

impl Running {
    /// The postmaster.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether it has ended.
    pub fn is_gone(&self) -> bool {
        *self.exited.borrow()
    }

    /// Ends it and returns when it is gone.
    pub async fn stop(&self, how: Stop) {
        self.expected.store(true, Ordering::SeqCst);
        self.signal(match how {
            Stop::Fast => Signal::INT,
            Stop::Immediate => Signal::QUIT,
            Stop::Kill => Signal::KILL,
        });
        let mut exited = self.exited.clone();
        let gone = exited.wait_for(|gone| *gone);
        if tokio::time::timeout(STOP_DEADLINE, gone).await.is_err() {
            self.signal(Signal::KILL);
            // The receiver fails only when the watcher is gone, and then so is the process.
            let _ = self.exited.clone().wait_for(|gone| *gone).await;
        }
    }

    /// Sends a signal, unless the process has been waited for (its id may be somebody else's by now).
    pub fn signal(&self, signal: Signal) {
        if !self.is_gone() {
            let _ = kill_process(self.pid, signal);
        }
    }
}

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

    fn write_passfile(&self, engine: &Engine) -> Result<(), EngineError> {
        engine.write(
            &self.directory.join("passfile"),
            &format!("*:*:*:{REPLICATION}:{}\n", engine.replication_password),
        )
    }

    /// Writes the configuration; takes effect at the next start, or [`Node::reload`].
    pub fn configure(
        &self,
        engine: &Engine,
        settings: &Settings,
        certificate: &crate::ca::Issued,
    ) -> Result<(), EngineError> {
        let at = |name: &str| self.directory.join(name);
        if !at("server.key").exists() {
            engine.write(&at("server.crt"), &certificate.certificate)?;
            engine.write(&at("server.key"), &certificate.key)?;
        }
        self.write_passfile(engine)?;
        engine.write(&at("pg_ident.conf"), "")?;
        engine.write(&at("pg_hba.conf"), &access(settings.effective.force_ssl))?;
        engine.write(&at("postgresql.conf"), &self.configuration(settings))?;
        let signal = self.data().join("standby.signal");
        if settings.follow.is_some() {
            engine.write(&signal, "")?;
        } else if signal.exists() {
            std::fs::remove_file(&signal).map_err(|e| EngineError::file(&signal, &e))?;
        }
        Ok(())
    }

    fn configuration(&self, settings: &Settings) -> String {
        let at = |name: &str| self.directory.join(name).display().to_string();
        let mut lines: Vec<(String, String)> = settings
            .effective
            .settings
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let address = settings.address.to_string();
        let level = if settings.effective.logical {
            "logical"
        } else {
            "replica"
        };
        let mut own = vec![
            (
                "listen_addresses",
                if settings.listening {
                    address
                } else {
                    String::new()
                },
            ),
            ("port", settings.port.to_string()),
            (
                "unix_socket_directories",
                self.directory.display().to_string(),
            ),
            ("hba_file", at("pg_hba.conf")),
            ("ident_file", at("pg_ident.conf")),
            ("ssl", "on".to_owned()),
            ("ssl_cert_file", at("server.crt")),
            ("ssl_key_file", at("server.key")),
            // Many servers on one machine, with data that nobody keeps: small and unsynced.
            ("shared_buffers", "32MB".to_owned()),
            ("dynamic_shared_memory_type", "mmap".to_owned()),
            ("fsync", "off".to_owned()),
            ("min_wal_size", "32MB".to_owned()),
            ("max_wal_size", "256MB".to_owned()),
            ("wal_keep_size", "64MB".to_owned()),
            ("wal_level", level.to_owned()),
            ("max_wal_senders", "20".to_owned()),
            ("max_replication_slots", "20".to_owned()),
            ("wal_retrieve_retry_interval", "250ms".to_owned()),
            ("hot_standby", settings.listening.to_string()),
            ("logging_collector", "off".to_owned()),
            ("log_line_prefix", "%m:%r:%u@%d:[%p]:".to_owned()),
            ("log_timezone", "UTC".to_owned()),
        ];
        if let Some(name) = &settings.synchronous {
            own.push(("synchronous_standby_names", format!("\"{name}\"")));
        }
        if let Some(follow) = &settings.follow {
            own.push(("primary_slot_name", follow.slot.clone()));
            own.push((
                "primary_conninfo",
                format!(
                    "host={} port={} user={REPLICATION} sslmode=require passfile={} application_name={}",
                    follow.host,
                    follow.port,
                    at("passfile"),
                    follow.slot
                ),
            ));
        }
        lines.extend(
            own.into_iter()
                .map(|(name, value)| (name.to_owned(), value)),
        );
        lines
            .into_iter()
            .fold(String::new(), |mut text, (name, value)| {
                let _ = writeln!(text, "{name} = '{}'", value.replace('\'', "''"));
                text
            })
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
        let ours = running.pid.as_raw_nonzero().to_string();
        // It is not a crash when it never came up: the caller reports that.
        running.expected.store(true, Ordering::SeqCst);
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
                running.expected.store(false, Ordering::SeqCst);
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
        if let Err(error) = std::fs::remove_dir_all(&self.directory)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            log::warn!("{} stays behind: {error}", self.directory.display());
        }
    }
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

fn watch_over(
    mut child: Child,
    on_crash: impl FnOnce() + Send + 'static,
) -> Result<Running, EngineError> {
    let pid = child
        .id()
        .and_then(|id| Pid::from_raw(id as i32))
        .ok_or_else(|| EngineError::NotStarted("it ended at once".to_owned()))?;
    let (gone, exited) = watch::channel(false);
    let expected = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&expected);
    tokio::spawn(async move {
        let _ = child.wait().await;
        gone.send_replace(true);
        if !asked.load(Ordering::SeqCst) {
            on_crash();
        }
    });
    Ok(Running {
        pid,
        exited,
        expected,
    })
}

/// pg_hba.conf. The superuser never comes over the network; replication only with TLS.
fn access(force_ssl: bool) -> String {
    let door = if force_ssl { "hostssl" } else { "host   " };
    format!(
        "local   all         {ADMIN}                  scram-sha-256\n\
         local   all         all                       reject\n\
         hostssl replication {REPLICATION} 127.0.0.0/8 scram-sha-256\n\
         host    all         {ADMIN},{REPLICATION} all reject\n\
         {door} all         all          all          scram-sha-256\n"
    )
}

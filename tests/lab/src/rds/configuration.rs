//! How a node runs: postgresql.conf, pg_hba.conf, certificate, and whom it follows.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use super::engine::{Engine, EngineError, make_directory};
use super::parameters::Effective;
use super::postgres::{ADMIN, Node, REPLICATION};

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
    /// Where the pieces of the log go.
    pub log: PathBuf,
    /// The standby that must have each commit before it is acknowledged.
    pub synchronous: Option<String>,
}

impl Node {
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
        make_directory(&settings.log)?;
        engine.give(&settings.log)?;
        engine.write(&at("pg_ident.conf"), "")?;
        engine.write(&at("pg_hba.conf"), &access(settings))?;
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
            ("wal_init_zero", "off".to_owned()),
            ("min_wal_size", "8MB".to_owned()),
            ("max_wal_size", "256MB".to_owned()),
            ("wal_keep_size", "64MB".to_owned()),
            ("archive_mode", "on".to_owned()),
            (
                "archive_command",
                format!("cp \"%p\" \"{}/%f\"", settings.log.display()),
            ),
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
}

/// pg_hba.conf. The superuser never comes over the network; replication only with TLS, and from the
/// lab's own addresses.
fn access(settings: &Settings) -> String {
    let door = if settings.effective.force_ssl {
        "hostssl"
    } else {
        "host   "
    };
    let [first, ..] = settings.address.octets();
    format!(
        "local   all         {ADMIN}                  scram-sha-256\n\
         local   all         all                       reject\n\
         hostssl replication {REPLICATION} {first}.0.0.0/8 scram-sha-256\n\
         host    all         {ADMIN},{REPLICATION} all reject\n\
         {door} all         all          all          scram-sha-256\n"
    )
}

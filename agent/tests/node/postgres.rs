//! A real PostgreSQL with TLS, of the version that is installed, owned by the test.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use fleet_proto::v1::Database;
use rcgen::SanType;
use rustls::ClientConfig;
use standin::scratch_postgres::bindir;
use tempfile::TempDir;
use tokio_postgres::Client;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::orchestrator::Ca;

pub const PASSWORD: &str = "p@ss/word";
const SUPERUSER: &str = "super";

pub struct Postgres {
    pub port: u16,
    pub trust_pem: String,
    server: std::process::Child,
    _directory: TempDir,
}

impl Drop for Postgres {
    /// Immediate shutdown, and gone: its directory goes next.
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_raw(self.server.id() as i32).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
        let _ = self.server.wait();
    }
}

/// PostgreSQL refuses to run as root: as root its own user does.
fn as_postgres(program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
        .arg(program);
    command
}

fn give(path: &Path) {
    if rustix::process::geteuid().is_root() {
        let id = |flag: &str| {
            let output = Command::new("id")
                .args([flag, "postgres"])
                .output()
                .unwrap();
            String::from_utf8(output.stdout)
                .unwrap()
                .trim()
                .parse()
                .unwrap()
        };
        chown(path, Some(id("-u")), Some(id("-g"))).unwrap();
    }
}

impl Postgres {
    pub async fn start() -> Self {
        let programs = bindir().unwrap();
        let directory = tempfile::tempdir().unwrap();
        give(directory.path());
        let data = directory.path().join("data");
        let ca = Ca::new();
        let (chain, key) = ca.server(SanType::DnsName("localhost".try_into().unwrap()));
        for (name, content) in [
            ("password", SUPERUSER),
            ("chain.pem", &chain),
            ("key.pem", &key),
        ] {
            let path = directory.path().join(name);
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            give(&path);
        }
        let made = as_postgres(&programs.join("initdb"))
            .current_dir(directory.path())
            .args([
                "-U",
                SUPERUSER,
                "-A",
                "scram-sha-256",
                "--no-sync",
                "--pwfile=password",
                "-D",
            ])
            .arg(&data)
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(made.success());
        // PostgreSQL cannot take port 0: one that was free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let path = directory.path().display();
        let settings = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = ''\n\
             fsync = off\nmax_connections = 12\nssl = on\n\
             ssl_cert_file = '{path}/chain.pem'\nssl_key_file = '{path}/key.pem'\n"
        );
        // In the file and not on the command line, which a later ALTER SYSTEM could not override.
        std::fs::write(data.join("postgresql.conf"), settings).unwrap();
        let server = as_postgres(&programs.join("postgres"))
            .arg("-D")
            .arg(&data)
            .current_dir(directory.path())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(directory.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let postgres = Self {
            port,
            trust_pem: ca.0.pem(),
            server,
            _directory: directory,
        };
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
        while let Err(error) = postgres.client("postgres", SUPERUSER, SUPERUSER).await {
            assert!(
                tokio::time::Instant::now() < deadline,
                "PostgreSQL does not start: {error}"
            );
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        postgres
    }

    pub async fn client(
        &self,
        database: &str,
        user: &str,
        password: &str,
    ) -> Result<Client, tokio_postgres::Error> {
        let roots = fleet_proto::tls::roots("test", &self.trust_pem).unwrap();
        let tls = ClientConfig::builder_with_provider(fleet_proto::tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (client, connection) = tokio_postgres::Config::new()
            .host("localhost")
            .port(self.port)
            .dbname(database)
            .user(user)
            .password(password)
            .connect(MakeRustlsConnect::new(tls))
            .await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// As the superuser, statement by statement.
    pub async fn run(&self, database: &str, statements: &str) {
        let client = self.client(database, SUPERUSER, SUPERUSER).await.unwrap();
        for statement in statements.split(';').filter(|text| !text.trim().is_empty()) {
            client
                .batch_execute(statement)
                .await
                .unwrap_or_else(|error| {
                    panic!("{statement}: {error:?}");
                });
        }
    }

    /// Mattermost's database and role as they should be.
    pub async fn provision(&self) {
        self.run("postgres", &format!("CREATE ROLE mmuser LOGIN PASSWORD '{PASSWORD}'; CREATE DATABASE mattermost OWNER mmuser"))
            .await;
    }

    pub fn wanted(&self) -> Database {
        Database {
            host: "localhost".to_owned(),
            port: self.port.into(),
            name: "mattermost".to_owned(),
            user: "mmuser".to_owned(),
            trust_pem: self.trust_pem.clone(),
            minimum_version: 13,
            connections_needed: 2,
        }
    }

    /// As the orchestrator puts it into the secrets.
    pub fn data_source(&self) -> String {
        format!(
            "postgres://mmuser:p%40ss%2Fword@localhost:{}/mattermost?sslmode=verify-full&connect_timeout=10",
            self.port
        )
    }
}

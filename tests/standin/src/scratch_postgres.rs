//! A throw-away Postgres for tests: real, on a loopback address of its own, gone with the test process.
//!
//! ```text
//!   test ──stdin pipe── sh (guard) ── postgres      the pipe closes, however the test ends:
//!                                                   the guard stops Postgres and removes the directory
//! ```

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rand::RngExt;
use tokio::sync::OnceCell;
use tokio_postgres::NoTls;

/// How long a start may take on a busy machine.
const START_LIMIT: Duration = Duration::from_mins(1);
/// How often a starting server is asked.
const START_POLL: Duration = Duration::from_millis(50);

/// The guard: starts Postgres, stops it when stdin ends, removes the directory when told `remove`
/// or nothing at all. `keep` leaves the directory for another start.
const GUARD: &str = r#"
bindir=$1; data=$2; root=$3; user=$4
if [ -n "$user" ]; then set -- setpriv "--reuid=$user" "--regid=$user" --clear-groups "$bindir/postgres" -D "$data"
else set -- "$bindir/postgres" -D "$data"; fi
"$@" >>"$root/postgres.log" 2>&1 </dev/null &
pid=$!
word=remove
read -r word || word=remove
kill -INT "$pid" 2>/dev/null
wait "$pid"
[ "$word" = keep ] || rm -rf "$root"
"#;

/// A certificate and key for the server, PEM.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// The certificate (chain).
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// A running Postgres.
#[derive(Debug)]
pub struct ScratchPostgres {
    root: PathBuf,
    bindir: PathBuf,
    user: Option<&'static str>,
    address: IpAddr,
    port: u16,
    databases: AtomicU32,
    guard: Option<(Child, ChildStdin)>,
}

static SHARED: OnceCell<ScratchPostgres> = OnceCell::const_new();

impl ScratchPostgres {
    /// One server for all tests of a process; each asks for a database of its own.
    pub async fn shared() -> anyhow::Result<&'static Self> {
        SHARED.get_or_try_init(Self::start).await
    }

    /// The DSN of a new, empty database on the shared server, without TLS.
    pub async fn shared_dsn() -> anyhow::Result<String> {
        Self::shared().await?.create_dsn().await
    }

    /// A server of one's own, for tests that stop it.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(|_| None).await
    }

    /// The same with TLS: the certificate is issued for the address once that is known.
    pub async fn start_tls(issue: impl FnOnce(IpAddr) -> ServerTls) -> anyhow::Result<Self> {
        Self::start_with(|address| Some(issue(address))).await
    }

    async fn start_with(issue: impl FnOnce(IpAddr) -> Option<ServerTls>) -> anyhow::Result<Self> {
        let bindir = bindir()?;
        let user = rustix::process::geteuid().is_root().then_some("postgres");
        let address = loopback();
        let root = tempfile::Builder::new()
            .prefix("scratch-postgres-")
            .tempdir()?
            .keep();
        let mut server = Self {
            bindir,
            user,
            address,
            port: free_port(address)?,
            root,
            databases: AtomicU32::new(0),
            guard: None,
        };
        server.initialise(issue(address).as_ref())?;
        server.resume().await?;
        Ok(server)
    }

    fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    fn initialise(&self, tls: Option<&ServerTls>) -> anyhow::Result<()> {
        let data = self.data();
        if let Some(user) = self.user {
            run(Command::new("chown").arg(user).arg(&self.root))?;
        }
        run(self
            .as_user(&self.bindir.join("initdb"))
            .args([
                "--no-sync",
                "--auth=trust",
                "--username=postgres",
                "--encoding=UTF8",
                "--no-instructions",
            ])
            .arg("-D")
            .arg(&data))?;
        let mut settings = format!(
            "listen_addresses = '{}'\nport = {}\nunix_socket_directories = ''\nfsync = off\n\
             synchronous_commit = off\nfull_page_writes = off\nmax_connections = 200\nshared_buffers = '16MB'\n",
            self.address, self.port
        );
        if let Some(tls) = tls {
            settings
                .push_str("ssl = on\nssl_cert_file = 'server.crt'\nssl_key_file = 'server.key'\n");
            for (name, text) in [("server.crt", &tls.certificate), ("server.key", &tls.key)] {
                let path = data.join(name);
                std::fs::write(&path, text)?;
                run(Command::new("chmod").arg("600").arg(&path))?;
                if let Some(user) = self.user {
                    run(Command::new("chown").arg(user).arg(&path))?;
                }
            }
        }
        std::fs::OpenOptions::new()
            .append(true)
            .open(data.join("postgresql.conf"))?
            .write_all(settings.as_bytes())?;
        Ok(())
    }

    fn as_user(&self, program: &Path) -> Command {
        match self.user {
            None => Command::new(program),
            Some(user) => {
                let mut command = Command::new("setpriv");
                command
                    .args([
                        &format!("--reuid={user}"),
                        &format!("--regid={user}"),
                        "--clear-groups",
                    ])
                    .arg(program)
                    .current_dir("/");
                command
            }
        }
    }

    /// Starts the server again after [`ScratchPostgres::pause`]; same data, same port.
    pub async fn resume(&mut self) -> anyhow::Result<()> {
        let mut guard = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg(&self.bindir)
            .arg(self.data())
            .arg(&self.root)
            .arg(self.user.unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .spawn()?;
        let stdin = guard.stdin.take().context("the guard has no stdin")?;
        self.guard = Some((guard, stdin));
        let started = tokio::time::timeout(START_LIMIT, async {
            while self.connect("postgres").await.is_err() {
                tokio::time::sleep(START_POLL).await;
            }
        });
        if started.await.is_err() {
            let log = std::fs::read_to_string(self.root.join("postgres.log")).unwrap_or_default();
            bail!("Postgres did not start within {START_LIMIT:?}: {log}");
        }
        Ok(())
    }

    /// Stops the server (fast shutdown: every client is cut) and keeps its data.
    pub fn pause(&mut self) -> anyhow::Result<()> {
        if let Some((mut guard, mut stdin)) = self.guard.take() {
            stdin.write_all(b"keep\n")?;
            drop(stdin);
            guard.wait()?;
        }
        Ok(())
    }

    /// A new, empty database; returns its name.
    pub async fn create_database(&self) -> anyhow::Result<String> {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{number}");
        self.connect("postgres")
            .await?
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .await?;
        Ok(name)
    }

    /// A new, empty database; returns the DSN for it, without TLS.
    pub async fn create_dsn(&self) -> anyhow::Result<String> {
        let name = self.create_database().await?;
        Ok(self.dsn(&name, "sslmode=disable"))
    }

    /// The DSN of a database, with query parameters.
    pub fn dsn(&self, database: &str, parameters: &str) -> String {
        format!(
            "postgres://postgres:unused@{}:{}/{database}?{parameters}&connect_timeout=10",
            self.address, self.port
        )
    }

    /// Where it listens.
    pub fn address(&self) -> (IpAddr, u16) {
        (self.address, self.port)
    }

    /// A plain connection to a database.
    pub async fn connect(&self, database: &str) -> anyhow::Result<tokio_postgres::Client> {
        let (client, connection) = tokio_postgres::Config::new()
            .host(self.address.to_string())
            .port(self.port)
            .user("postgres")
            .dbname(database)
            .connect(NoTls)
            .await?;
        tokio::spawn(async move { drop(connection.await) });
        Ok(client)
    }
}

impl Drop for ScratchPostgres {
    fn drop(&mut self) {
        match self.guard.take() {
            Some((mut guard, stdin)) => {
                drop(stdin);
                let _ = guard.wait();
            }
            None => drop(std::fs::remove_dir_all(&self.root)),
        }
    }
}

/// Where the server programs lie: Debian's newest, else beside `initdb` on the path.
pub fn bindir() -> anyhow::Result<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            let bin = entry.path().join("bin");
            bin.join("initdb").is_file().then_some((version, bin))
        })
        .collect();
    found.sort();
    if let Some((_, bin)) = found.pop() {
        return Ok(bin);
    }
    std::env::var_os("PATH")
        .iter()
        .flat_map(std::env::split_paths)
        .find(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file())
        .context("no `initdb` on the path nor in /usr/lib/postgresql; hint: `make setup`")
}

/// An address in 127/8 that no other test uses.
pub fn loopback() -> IpAddr {
    let mut rng = rand::rng();
    Ipv4Addr::new(
        127,
        rng.random_range(201..=250),
        rng.random_range(0..=255),
        rng.random_range(2..=250),
    )
    .into()
}

/// A port that was free a moment ago.
pub fn free_port(address: IpAddr) -> anyhow::Result<u16> {
    Ok(TcpListener::bind((address, 0))?.local_addr()?.port())
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot run `{}`", command.get_program().display()))?;
    if !output.status.success() {
        bail!(
            "`{}` failed: {}",
            command.get_program().display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

//! The PostgreSQL that is installed on this machine: where it is, which version, and as whom it runs.
//!
//! Postgres refuses to run as root. A lab that is root runs it as the user `postgres` (Debian's
//! package makes that user); any other lab runs it as itself. Either way through `setpriv`, which
//! changes the user and arms the death signal in one go: when the lab dies, even by `kill -9`, the
//! kernel kills each postmaster, and its backends follow.
//!
//! The kernel sends that signal when the *thread* that started the child ends, not the process.
//! So one thread, the [`Nursery`], starts them all and lives as long as the engine.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};

use super::nursery::Nursery;
use super::parameters::Specification;

/// Where Debian's packages put the server programs: one folder a major version.
const PROGRAMS: &str = "/usr/lib/postgresql";
/// Where clusters live that cannot live in the lab's directory, and how their folders begin.
const ELSEWHERE: &str = "/var/tmp";
const PREFIX: &str = "lab-rds-";
/// A Unix socket's path has 107 bytes; `/db-<26>-<n>/.s.PGSQL.<port>` needs 55 of them.
const LONGEST_ROOT: usize = 52;

/// Why there is no database engine, or why it failed. The text is for people: it goes into events.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// The Debian package is not installed.
    #[error(
        "no PostgreSQL server found in {PROGRAMS}/*/bin: install it with `apt-get install postgresql`"
    )]
    NotInstalled,
    /// Root without a user to run Postgres as.
    #[error(
        "the lab runs as root and there is no user `postgres`: install it with `apt-get install postgresql`"
    )]
    NoUser,
    /// A program could not be run.
    #[error("`{program}` could not be run: {reason}")]
    Spawn {
        /// Its name.
        program: String,
        /// The operating system's word.
        reason: String,
    },
    /// A program ended with an error.
    #[error("`{program}` failed: {output}")]
    Failed {
        /// Its name.
        program: String,
        /// What it said last.
        output: String,
    },
    /// A file operation failed.
    #[error("{path}: {reason}")]
    File {
        /// Which.
        path: String,
        /// The operating system's word.
        reason: String,
    },
    /// Postgres does not start.
    #[error("the database server did not start: {0}")]
    NotStarted(String),
    /// The server is there and refuses.
    #[error("the database server refused `{what}`: {reason}")]
    Sql {
        /// What was attempted; never contains a secret.
        what: &'static str,
        /// The server's answer.
        reason: String,
    },
    /// The endpoint's address is taken.
    #[error("{address}:{port} is taken by another process, perhaps another lab: {reason}")]
    AddressTaken {
        /// The endpoint.
        address: std::net::Ipv4Addr,
        /// Its port.
        port: u16,
        /// The operating system's word.
        reason: String,
    },
}

impl EngineError {
    /// A file error with its path.
    pub fn file(path: &Path, error: &std::io::Error) -> Self {
        Self::File {
            path: path.display().to_string(),
            reason: error.to_string(),
        }
    }
}

/// As whom Postgres runs, when not as the lab's own user.
#[derive(Clone, Copy, Debug)]
struct User {
    uid: u32,
    gid: u32,
}

/// The installed PostgreSQL.
#[derive(Debug)]
pub struct Engine {
    programs: PathBuf,
    /// For example `15`.
    pub major: String,
    /// As RDS would name it, for example `15.18`.
    pub version: String,
    user: Option<User>,
    /// Under which every cluster lives; reachable by the user that Postgres runs as.
    pub root: PathBuf,
    /// Of `rdsadmin`, the only superuser; known to this process alone.
    pub admin_password: String,
    /// Of `rdsrepladmin`, for replicas and base backups.
    pub replication_password: String,
    /// Every server parameter, as the server itself describes them.
    pub specifications: Vec<Specification>,
    nursery: Nursery,
}

impl Engine {
    /// Finds the newest installed server and prepares a folder for its clusters under `directory`.
    pub async fn find(directory: &Path) -> Result<Self, EngineError> {
        let (major, programs) = newest(Path::new(PROGRAMS)).ok_or(EngineError::NotInstalled)?;
        let user = if rustix::process::geteuid().is_root() {
            Some(postgres_user().ok_or(EngineError::NoUser)?)
        } else {
            None
        };
        let mut engine = Self {
            programs,
            major: major.to_string(),
            version: String::new(),
            user,
            root: PathBuf::from("/"),
            admin_password: super::random_password(32),
            replication_password: super::random_password(32),
            specifications: Vec::new(),
            nursery: Nursery::new(),
        };
        let version = engine.run("postgres", &["--version"]).await?;
        engine.version = version
            .split_whitespace()
            .nth(2)
            .unwrap_or(&engine.major)
            .to_owned();
        let described = engine.run("postgres", &["--describe-config"]).await?;
        engine.specifications = super::parameters::describe(&described, major);
        engine.root = engine.choose_root(directory).await?;
        Ok(engine)
    }

    /// `directory/rds`, or a folder in /var/tmp with a link to it where Postgres's user cannot reach
    /// the lab's directory (root's home) or its path is too long for a socket.
    async fn choose_root(&self, directory: &Path) -> Result<PathBuf, EngineError> {
        let link = directory.join("rds");
        if let Ok(old) = std::fs::read_link(&link) {
            if is_ours_elsewhere(&old) {
                let _ = std::fs::remove_dir_all(&old);
            }
            let _ = std::fs::remove_file(&link);
        }
        let _ = std::fs::remove_dir_all(&link);
        make_directory(&link)?;
        self.give(&link)?;
        if let (Some(_), Ok(metadata)) = (self.user, std::fs::metadata(directory)) {
            // The lab's own directory: others may pass through it, not list it.
            let mode = metadata.permissions().mode() | 0o011;
            let _ = std::fs::set_permissions(directory, std::fs::Permissions::from_mode(mode));
        }
        let absolute = std::fs::canonicalize(&link).map_err(|e| EngineError::file(&link, &e))?;
        let text = absolute.to_string_lossy().into_owned();
        let reachable = self
            .run_path(Path::new("/usr/bin/test"), &["-w", &text])
            .await
            .is_ok();
        if reachable && text.len() <= LONGEST_ROOT {
            return Ok(absolute);
        }
        let elsewhere = PathBuf::from(ELSEWHERE).join(format!("{PREFIX}{}", super::random_hex(12)));
        log::info!(
            "database clusters live in {}: {}",
            elsewhere.display(),
            if reachable {
                "the lab directory's path is too long for a socket"
            } else {
                "the database's user cannot reach the lab directory"
            }
        );
        make_directory(&elsewhere)?;
        self.give(&elsewhere)?;
        std::fs::remove_dir(&absolute).map_err(|e| EngineError::file(&absolute, &e))?;
        std::os::unix::fs::symlink(&elsewhere, &link).map_err(|e| EngineError::file(&link, &e))?;
        Ok(elsewhere)
    }

    /// Hands a file or folder to Postgres's user.
    pub fn give(&self, path: &Path) -> Result<(), EngineError> {
        match self.user {
            None => Ok(()),
            Some(user) => std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid))
                .map_err(|error| EngineError::file(path, &error)),
        }
    }

    /// Writes a file that only Postgres's user may read.
    pub fn write(&self, path: &Path, content: &str) -> Result<(), EngineError> {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        let fail = |error: std::io::Error| EngineError::file(path, &error);
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(path)
            .map_err(fail)?;
        file.write_all(content.as_bytes()).map_err(fail)?;
        self.give(path)
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        if let Some(user) = self.user {
            command
                .arg(format!("--reuid={}", user.uid))
                .arg(format!("--regid={}", user.gid))
                .arg("--clear-groups");
        }
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC")
            .env("HOME", &self.root)
            .current_dir(&self.root)
            .kill_on_drop(true);
        command
    }

    /// Runs one of Postgres's programs to its end and gives its standard output.
    pub async fn run(&self, program: &str, arguments: &[&str]) -> Result<String, EngineError> {
        self.run_path(&self.programs.join(program), arguments).await
    }

    /// Runs any program as Postgres's user.
    pub async fn run_path(
        &self,
        program: &Path,
        arguments: &[&str],
    ) -> Result<String, EngineError> {
        let name = program.file_name().map_or_else(
            || program.display().to_string(),
            |name| name.to_string_lossy().into_owned(),
        );
        let spawn = |error: std::io::Error| EngineError::Spawn {
            program: name.clone(),
            reason: error.to_string(),
        };
        let mut command = self.command(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = self.nursery.spawn(command).await.map_err(spawn)?;
        let output = child.wait_with_output().await.map_err(spawn)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = said
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        Err(EngineError::Failed {
            program: name,
            output: last[last.len().saturating_sub(3)..].join("; "),
        })
    }

    /// Starts a postmaster whose output goes to `log`.
    pub async fn start_server(
        &self,
        data: &Path,
        configuration: &Path,
        log: &Path,
    ) -> Result<Child, EngineError> {
        let fail = |error: std::io::Error| EngineError::file(log, &error);
        let output = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .map_err(fail)?;
        self.give(log)?;
        let mut command = self.command(&self.programs.join("postgres"));
        command
            .arg("-D")
            .arg(data)
            .arg("-c")
            .arg(format!("config_file={}", configuration.display()))
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(fail)?)
            .stderr(output);
        self.nursery
            .spawn(command)
            .await
            .map_err(|error| EngineError::Spawn {
                program: "postgres".to_owned(),
                reason: error.to_string(),
            })
    }
}

/// The newest major version with a server in it.
fn newest(programs: &Path) -> Option<(u32, PathBuf)> {
    std::fs::read_dir(programs)
        .ok()?
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let major = entry.file_name().to_str()?.parse().ok()?;
            let bin = entry.path().join("bin");
            bin.join("initdb").exists().then_some((major, bin))
        })
        .max_by_key(|(major, _)| *major)
}

fn postgres_user() -> Option<User> {
    let accounts = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = accounts
        .lines()
        .find(|line| line.starts_with("postgres:"))?;
    let mut fields = line.split(':').skip(2);
    Some(User {
        uid: fields.next()?.parse().ok()?,
        gid: fields.next()?.parse().ok()?,
    })
}

/// Whether a folder is one that a lab made for its clusters outside its directory.
pub fn is_ours_elsewhere(path: &Path) -> bool {
    path.parent() == Some(Path::new(ELSEWHERE))
        && path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(PREFIX))
}

/// A folder for Postgres's user alone.
pub fn make_directory(path: &Path) -> Result<(), EngineError> {
    let fail = |error: std::io::Error| EngineError::file(path, &error);
    std::fs::create_dir_all(path).map_err(fail)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_server_is_taken_and_a_client_only_version_is_not() {
        let directory = tempfile::tempdir().unwrap();
        for (version, server) in [("9", true), ("13", true), ("17", false), ("common", true)] {
            let bin = directory.path().join(version).join("bin");
            std::fs::create_dir_all(&bin).unwrap();
            if server {
                std::fs::write(bin.join("initdb"), "").unwrap();
            }
        }
        assert_eq!(newest(directory.path()).unwrap().0, 13);
        assert!(newest(&directory.path().join("absent")).is_none());
    }
}

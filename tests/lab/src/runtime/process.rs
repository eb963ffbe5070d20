//! The process runtime: an instance is the agent, running with a root directory and an address of its
//! own. Needs no privileges.
//! The agent is kept running as its unit would (`Restart=always`).
//!
//! An image without `/usr/bin/mattermost-agent` gives an instance in which nothing runs.

use std::fs::OpenOptions;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use rustix::process::Signal;
use tokio::process::Command;

use super::keeper::Keepers;
use super::processes::{TICKS_PER_SECOND, cpu_ticks, kill_members, signal_members};
use super::{IMDS_PORT, LAB_MARKER, MARKER, Machine, Runtime, RuntimeError, Tree, remove_folder};

/// The program in an image that makes it more than an empty machine.
const PROGRAM: &str = "usr/bin/mattermost-agent";
/// Real time between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

/// Runs instances as processes.
#[derive(Debug)]
pub struct ProcessRuntime {
    /// The lab's directory, as the processes' marker names it.
    directory: PathBuf,
    /// The `lab` binary; without one the program is started without a launcher, and only the lab's own
    /// orderly end ends it.
    launcher: Option<PathBuf>,
    running: Keepers,
}

impl ProcessRuntime {
    /// For a lab in `directory`, with the `lab` binary as launcher.
    pub fn new(directory: &Path, launcher: Option<PathBuf>) -> Self {
        Self {
            directory: directory.to_owned(),
            launcher,
            running: Keepers::default(),
        }
    }

    fn command(&self, machine: &Machine) -> io::Result<Command> {
        let root = machine.root();
        let program = root.join(PROGRAM);
        let mut command = if let Some(launcher) = &self.launcher {
            let mut command = Command::new(launcher);
            command.arg("exec-instance").arg("--").arg(&program);
            command.stdin(Stdio::piped());
            command
        } else {
            let mut command = Command::new(&program);
            command.stdin(Stdio::null());
            command
        };
        let console = OpenOptions::new()
            .create(true)
            .append(true)
            .open(machine.console())?;
        command
            .arg("--root")
            .arg(&root)
            .args(["--service-manager", "child"])
            .current_dir(&root)
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", root.join("root"))
            .env(
                "AWS_EC2_METADATA_SERVICE_ENDPOINT",
                format!("http://{}:{IMDS_PORT}", machine.address),
            )
            // Older clients send no token: the secret is in the address.
            .env(
                "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                machine.credentials_address(),
            )
            .env(MARKER, &machine.id)
            .env(LAB_MARKER, &self.directory)
            .stdout(console.try_clone()?)
            .stderr(console)
            .process_group(0)
            .kill_on_drop(true);
        Ok(command)
    }
}

#[async_trait]
impl Runtime for ProcessRuntime {
    async fn prepare(&self, machine: &Machine) -> Result<(), RuntimeError> {
        let (root, tree) = (machine.root(), machine.tree.clone());
        let laid_out = tokio::task::spawn_blocking(move || {
            if root.exists() {
                return Ok(());
            }
            match &tree {
                Some(tree) => tree.copy_to(&root)?,
                None => std::fs::create_dir_all(&root)?,
            }
            std::fs::create_dir_all(root.join("root"))
        });
        laid_out
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|source| RuntimeError::Prepare {
                id: machine.id.clone(),
                tree: machine
                    .tree
                    .as_ref()
                    .map(|tree| tree.path().to_owned())
                    .unwrap_or_default(),
                source,
            })
    }

    async fn start(&self, machine: &Machine) -> Result<(), RuntimeError> {
        let program = machine.root().join(PROGRAM);
        if !program.exists() || self.running.runs(&machine.id) {
            return Ok(());
        }
        let (id, lab) = (machine.id.clone(), self.directory.clone());
        let kill_rest = Box::new(move || kill_members(Some(&id), &lab));
        self.command(machine)
            .and_then(|command| self.running.start(machine, command, GRACE, kill_rest))
            .map_err(|source| RuntimeError::Start {
                id: machine.id.clone(),
                program,
                source,
            })
    }

    async fn stop(&self, machine: &Machine) {
        self.running.stop(&machine.id).await;
    }

    async fn metadata_listener(&self, machine: &Machine) -> io::Result<TcpListener> {
        let address = SocketAddr::from((machine.address, IMDS_PORT));
        TcpListener::bind(address).map_err(|error| {
            let hint = if error.kind() == io::ErrorKind::AddrInUse {
                " (does another lab use these addresses? see `--octet`)"
            } else {
                ""
            };
            io::Error::new(error.kind(), format!("{address}: {error}{hint}"))
        })
    }

    /// Its address is the machine's own loopback: there is nothing to unplug.
    async fn disconnect(&self, _machine: &Machine) {}

    async fn take(&self, from: &Path, to: PathBuf) -> io::Result<Tree> {
        let from = from.to_owned();
        tokio::task::spawn_blocking(move || Tree::take(&from, to))
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    async fn capture(&self, machine: &Machine, to: PathBuf) -> io::Result<Tree> {
        self.take(&machine.root(), to).await
    }

    async fn forget(&self, machine: &Machine) {
        remove_folder(machine.root()).await;
    }

    async fn stop_all(&self) {
        self.running.stop_all().await;
        // A start that the lab's end interrupted is in no table.
        while kill_members(None, &self.directory) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn kill(&self, id: &str) -> usize {
        kill_members(Some(id), &self.directory)
    }

    fn freeze(&self, id: &str, frozen: bool) -> usize {
        let signal = if frozen { Signal::STOP } else { Signal::CONT };
        // Not the launcher: it must see the lab's end.
        let launcher = self.launcher.as_ref().and_then(|_| self.running.pid(id));
        let started: Vec<i32> = launcher.into_iter().collect();
        signal_members(Some(id), &self.directory, &started, launcher, signal)
    }

    fn cpu_percent(&self, id: &str) -> Option<f64> {
        let started: Vec<i32> = self.running.pid(id).into_iter().collect();
        let ticks = cpu_ticks(id, &self.directory, &started)?;
        self.running
            .cpu_percent(id, ticks as f64 / TICKS_PER_SECOND)
    }
}

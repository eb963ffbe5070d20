//! What makes an instance a machine that runs something.
//!
//! EC2 decides *when* (its lifecycle, by the clock); a [`Runtime`] does *what*: lay out a root from an
//! image's tree, start it, end it, show its console. The `process` runtime runs the agent as a process
//! with a root directory and a loopback address of its own and needs no privileges; the `machine` runtime
//! boots the image's systemd in a container with a network of its own, and needs root.

mod keeper;
mod launcher;
mod machine;
mod process;
mod processes;
mod tree;

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

pub use launcher::{ExecInstance, exec_instance};
pub use machine::{Boot, ExecMachine, Impossible, MachineRuntime, exec_machine, possible};
pub use process::ProcessRuntime;
pub use tree::Tree;

use crate::{Config, Lab};

/// Environment variable that every process of an instance carries: the instance's id.
pub const MARKER: &str = "LAB_INSTANCE";
/// Environment variable that tells two labs' instances of the same id apart: the lab's directory.
pub const LAB_MARKER: &str = "LAB_DIRECTORY";
/// Where a process instance's metadata service listens, on the instance's own address.
pub const IMDS_PORT: u16 = 1338;
/// Below this, on the same port, it has its container credentials.
pub const CREDENTIALS_PATH: &str = "/credentials/";

/// What instances run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// The agent as a process on loopback.
    #[default]
    Process,
    /// A booted system in a container with a network of its own.
    Machine,
}

/// The runtime that the lab is set up with. A machine runtime has its network when this returns.
pub async fn build(config: &Config) -> anyhow::Result<Box<dyn Runtime>> {
    Ok(match config.runtime {
        Kind::Process => Box::new(ProcessRuntime::new(
            &config.directory,
            config.launcher.clone(),
        )),
        Kind::Machine => Box::new(MachineRuntime::new(config).await?),
    })
}

/// An instance as a runtime sees it.
#[derive(Clone)]
pub struct Machine {
    /// `i-…`.
    pub id: String,
    /// The instance's own folder: `root/` and `console.log` lie in it.
    pub directory: PathBuf,
    /// The image's tree; none is an image with nothing in it.
    pub tree: Option<Arc<Tree>>,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its network card's, for example `02:4c:0a:28:00:04`.
    pub mac: String,
    /// The last part of the address at which processes of the instance find its role's credentials.
    pub credentials_secret: String,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine")
            .field("id", &self.id)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Machine {
    /// The root directory.
    pub fn root(&self) -> PathBuf {
        self.directory.join("root")
    }

    /// Where a process of it asks for its role's credentials, as a container would.
    pub fn credentials_address(&self) -> String {
        let (address, secret) = (self.address, &self.credentials_secret);
        format!("http://{address}:{IMDS_PORT}{CREDENTIALS_PATH}{secret}")
    }

    /// What it writes on its console.
    pub fn console(&self) -> PathBuf {
        self.directory.join("console.log")
    }
}

/// Why a machine does not run.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The root could not be laid out.
    #[error("the root of {id} cannot be made from `{tree}`", tree = tree.display())]
    Prepare {
        /// The instance.
        id: String,
        /// The image's tree.
        tree: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// The program in it could not be started.
    #[error("`{program}` of {id} cannot be started", program = program.display())]
    Start {
        /// The instance.
        id: String,
        /// The program.
        program: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Runs machines. The caller makes sure that two calls about one machine never overlap.
#[async_trait]
pub trait Runtime: Send + Sync + std::fmt::Debug {
    /// Lays out the root from the image; a root that is there already stays as it is.
    async fn prepare(&self, machine: &Machine) -> Result<(), RuntimeError>;

    /// Starts what runs in the machine. Nothing happens when it runs already.
    async fn start(&self, machine: &Machine) -> Result<(), RuntimeError>;

    /// Ends everything in the machine; returns when nothing of it runs. The root stays.
    async fn stop(&self, machine: &Machine);

    /// A listener where the machine's software looks for its metadata service. Connects the machine to
    /// the network when it is not yet.
    async fn metadata_listener(&self, machine: &Machine) -> io::Result<TcpListener>;

    /// Takes a stopped machine off the network.
    async fn disconnect(&self, machine: &Machine);

    /// The tree of a base image from a folder; `to` is where the lab may keep it.
    async fn take(&self, from: &Path, to: PathBuf) -> io::Result<Tree>;

    /// The tree of an image of a machine as it is now; `to` is where the lab keeps it.
    async fn capture(&self, machine: &Machine, to: PathBuf) -> io::Result<Tree>;

    /// Removes what a terminated machine leaves behind, save its console.
    async fn forget(&self, machine: &Machine);

    /// Ends every machine, also those whose start was under way.
    async fn stop_all(&self);

    /// Kills what runs in a machine, as a crash would, and gives how many processes there were; the
    /// runtime starts the program again.
    fn kill(&self, id: &str) -> usize;

    /// Stops or continues all that runs in a machine, and gives how many processes there were: a machine
    /// that hangs.
    fn freeze(&self, id: &str, frozen: bool) -> usize;

    /// CPU use since the last time that somebody asked, in per cent of one core; none when nothing
    /// runs or nothing was measured before.
    fn cpu_percent(&self, id: &str) -> Option<f64>;
}

/// Removes a folder with all that is in it; nothing happens when it is not there.
async fn remove_folder(path: PathBuf) {
    let name = path.clone();
    let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(path))
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)));
    if let Err(error) = removed
        && error.kind() != io::ErrorKind::NotFound
    {
        log::warn!("`{}` cannot be removed: {error}", name.display());
    }
}

/// CPU use of an instance in per cent of one core, measured since the last call.
pub fn cpu_percent(lab: &Lab, instance_id: &str) -> Option<f64> {
    lab.ec2.runtime.cpu_percent(instance_id)
}

//! What makes an instance a machine that runs something.
//!
//! EC2 decides *when* (its lifecycle, by the clock); a [`Runtime`] does *what*: lay out a root from an
//! image's tree, start it, end it, show its console. The `process` runtime runs the agent as a process
//! with a root directory and a loopback address of its own and needs no privileges; a `machine` runtime
//! (systemd-nspawn) fits the same trait.

mod launcher;
mod process;
mod processes;
mod tree;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

pub use launcher::{ExecInstance, exec_instance};
pub use process::ProcessRuntime;
pub use tree::Tree;

use crate::Lab;

/// Environment variable that every process of an instance carries: the instance's id.
pub const MARKER: &str = "LAB_INSTANCE";
/// Environment variable that tells two labs' instances of the same id apart: the lab's directory.
pub const LAB_MARKER: &str = "LAB_DIRECTORY";
/// Where an instance's metadata service listens, on the instance's own address.
pub const IMDS_PORT: u16 = 1338;

/// An instance as a runtime sees it.
#[derive(Clone, Debug)]
pub struct Machine {
    /// `i-…`.
    pub id: String,
    /// The instance's own folder: `root/` and `console.log` lie in it.
    pub directory: PathBuf,
    /// The image's tree; none is an image with nothing in it.
    pub tree: Option<Arc<Tree>>,
    /// Its address.
    pub address: Ipv4Addr,
}

impl Machine {
    /// The root directory.
    pub fn root(&self) -> PathBuf {
        self.directory.join("root")
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
        source: std::io::Error,
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
        source: std::io::Error,
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

/// CPU use of an instance in per cent of one core, measured since the last call.
pub fn cpu_percent(lab: &Lab, instance_id: &str) -> Option<f64> {
    lab.ec2.runtime.cpu_percent(instance_id)
}

//! `lab exec-machine`: the process between the lab and a booted system.
//!
//! ```text
//! lab --(lifeline)--> nsenter, unshare --> lab exec-machine --> systemd-nspawn --> systemd, the agent, …
//!                                            first process of its own process namespace
//! ```
//!
//! The overlay of the root is mounted in the launcher's own mount namespace: it is in nobody's way, and
//! goes with the last process that is in it. When the lab dies the launcher kills the machine; when the
//! launcher dies, by whatever, the kernel kills all that is in its process namespace.

use std::ffi::{CString, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, mount};

use super::cgroup::Group;
use crate::runtime::launcher::{ExecInstance, exec_with};

/// `systemd-nspawn` keeps locks here, by inode and by name; the lab's machines keep theirs to themselves.
const NSPAWN_STATE: &str = "/run/systemd/nspawn";

/// What `lab exec-machine` is to run.
#[derive(Clone, Debug, clap::Args)]
pub struct ExecMachine {
    /// A layer of the image, the uppermost first
    #[arg(long, required = true)]
    pub lower: Vec<PathBuf>,
    /// The instance's folder: `root`, `upper` and `work` lie in it
    #[arg(long)]
    pub directory: PathBuf,
    /// The machine's control groups, the unified one first
    #[arg(long, required = true)]
    pub group: Vec<PathBuf>,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    pub command: Vec<OsString>,
}

/// Mounts the root and runs the command until it ends or the lab is gone; gives the exit code.
pub async fn exec_machine(exec: ExecMachine) -> anyhow::Result<u8> {
    mount_root(&exec.directory, &exec.lower)?;
    std::fs::create_dir_all(NSPAWN_STATE)?;
    mount("lab", NSPAWN_STATE, "tmpfs", MountFlags::empty(), None)?;
    let group = Group::from_paths(exec.group);
    // The machine is born in its group. The launcher is not frozen or killed with it: it must see the
    // lab's end.
    group.enter()?;
    let left = {
        let group = group.clone();
        move || group.leave()
    };
    let command = ExecInstance {
        command: exec.command,
    };
    let code = exec_with(command, left).await;
    while group.kill() > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    group.remove();
    code
}

/// Mounts the overlay of the layers and the instance's own files at `root`.
fn mount_root(directory: &Path, lower: &[PathBuf]) -> anyhow::Result<()> {
    let mut options = b"lowerdir=".to_vec();
    for (index, layer) in lower.iter().enumerate() {
        if index > 0 {
            options.push(b':');
        }
        options.extend(escaped(layer));
    }
    for (option, folder) in [(",upperdir=", "upper"), (",workdir=", "work")] {
        options.extend(option.as_bytes());
        options.extend(escaped(&directory.join(folder)));
    }
    let options = CString::new(options)?;
    let root = directory.join("root");
    mount(
        "overlay",
        &root,
        "overlay",
        MountFlags::empty(),
        Some(options.as_c_str()),
    )
    .map_err(|error| {
        anyhow::anyhow!(
            "the overlay at `{}` cannot be mounted: {}",
            root.display(),
            io::Error::from(error)
        )
    })
}

/// A path as the overlay file system reads it: commas and colons separate.
fn escaped(path: &Path) -> Vec<u8> {
    let mut escaped = Vec::new();
    for byte in path.as_os_str().as_bytes() {
        if b",:\\".contains(byte) {
            escaped.push(b'\\');
        }
        escaped.push(*byte);
    }
    escaped
}

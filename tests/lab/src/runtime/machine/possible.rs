//! Whether this host can run machines at all, and what is missing when it cannot.

use std::io;

use super::cgroup;
use super::namespace::Namespace;

/// Programs that the machine runtime runs, and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 5] = [
    ("systemd-nspawn", "systemd-container"),
    ("ip", "iproute2"),
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("cp", "coreutils"),
];

/// Why there can be no machines here.
#[derive(Debug, thiserror::Error)]
pub enum Impossible {
    /// Containers and networks are made by root only.
    #[error("the machine runtime needs root; hint: run it as root, or use the process runtime")]
    NotRoot,
    /// A program is not installed.
    #[error("the machine runtime needs `{program}`; hint: `apt-get install {package}`")]
    Missing {
        /// The program.
        program: &'static str,
        /// Its package in Debian.
        package: &'static str,
    },
    /// Control groups are not as they must be.
    #[error("the machine runtime needs control groups of version 2")]
    ControlGroups(#[source] io::Error),
    /// The kernel has no overlay file system.
    #[error("the machine runtime needs the overlay file system, and this kernel has none")]
    Overlay,
    /// Namespaces are refused, as in many containers.
    #[error("the machine runtime needs network namespaces, and they are refused here")]
    Namespaces(#[source] io::Error),
}

/// Whether machines can run here.
pub fn possible() -> Result<(), Impossible> {
    if !rustix::process::geteuid().is_root() {
        return Err(Impossible::NotRoot);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    for (program, package) in PROGRAMS {
        if !std::env::split_paths(&path).any(|folder| folder.join(program).is_file()) {
            return Err(Impossible::Missing { program, package });
        }
    }
    cgroup::hierarchies().map_err(Impossible::ControlGroups)?;
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !known
        .lines()
        .any(|line| line.trim_end().ends_with("overlay"))
    {
        return Err(Impossible::Overlay);
    }
    Namespace::create()
        .map(drop)
        .map_err(Impossible::Namespaces)
}

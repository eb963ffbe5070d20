//! A network namespace that nobody but this process holds: it has no name, and it is gone, with every
//! network card in it, when the last file descriptor and the last process in it are.

use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace.
#[derive(Debug)]
pub struct Namespace(OwnedFd);

impl Namespace {
    /// A new one, with nothing in it but a loopback device that is down.
    pub fn create() -> io::Result<Self> {
        // A process has to be in it until it is held: one that says that it is there, and then waits
        // for the end of its input.
        let mut child = Command::new("unshare")
            .args(["--net", "--", "sh", "-c", "echo there; read -r _"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("`unshare`: {error}")))?;
        let mut first = [0_u8; 1];
        let there = match child.stdout.as_mut() {
            Some(stdout) => stdout.read(&mut first)? == 1,
            None => false,
        };
        let held = if there {
            std::fs::File::open(format!("/proc/{}/ns/net", child.id())).map(OwnedFd::from)
        } else {
            Err(io::Error::other("`unshare --net` was refused"))
        };
        drop(child.stdin.take());
        let ended = child.wait_with_output()?;
        held.map(Self).map_err(|error| {
            let said = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
            io::Error::new(error.kind(), format!("{error} {said}"))
        })
    }

    /// A path to it for child processes of this one.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            self.0.as_raw_fd()
        ))
    }

    /// Does something inside, in a thread of its own: sockets that it opens and processes that it
    /// starts belong to the namespace, and nothing else of this process does.
    pub fn inside<T: Send>(&self, act: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))?;
                act()
            });
            thread
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the thread in it ended early")))
        })
    }
}

//! `lab exec-instance`: the small process between the lab and what runs in an instance.
//!
//! ```text
//! lab --(stdin: a pipe that nobody writes to)--> lab exec-instance --> agent --> Mattermost …
//! ```
//!
//! It makes "everything of an instance ends with it" true in every order of deaths:
//! * the lab dies, by whatever signal: the pipe closes, and the launcher kills all below it;
//! * the agent dies: the launcher kills what it left behind and ends with the same code;
//! * a descendant detaches: the launcher is the subreaper, so it stays below it.
//!
//! `PR_SET_PDEATHSIG` alone would not do: it reaches one generation, and fires when the *thread* that
//! spawned ends.

use std::ffi::OsString;
use std::os::fd::AsFd as _;
use std::process::Stdio;

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};

use super::processes::kill_descendants;

/// What `lab exec-instance` is to run; everything behind `--`.
#[derive(Clone, Debug)]
pub struct ExecInstance {
    /// Program and arguments.
    pub command: Vec<OsString>,
}

/// Runs the command until it ends or the lab is gone; gives the exit code.
pub async fn exec_instance(exec: ExecInstance) -> anyhow::Result<u8> {
    exec_with(exec, || Ok(())).await
}

/// As [`exec_instance`]; `started` is called once the command runs.
pub(super) async fn exec_with(
    exec: ExecInstance,
    started: impl FnOnce() -> std::io::Result<()>,
) -> anyhow::Result<u8> {
    let (program, arguments) = exec
        .command
        .split_first()
        .ok_or_else(|| anyhow::anyhow!("`exec-instance` needs a command after `--`"))?;
    let own = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(own))?;
    // The group's SIGTERM is meant for the program; the launcher only outlives it.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .spawn()
        .map_err(|error| anyhow::anyhow!("`{}`: {error}", program.display()))?;
    let started = started();
    // Not `tokio::io::stdin`: its blocking read would hold up the end of this process.
    let stdin = std::io::stdin().as_fd().try_clone_to_owned()?;
    let mut lab = pipe::Receiver::from_owned_fd(stdin)
        .map_err(|error| anyhow::anyhow!("standard input must be a pipe from the lab: {error}"))?;
    let mut nothing = [0_u8; 16];
    let code = loop {
        if started.is_err() {
            break 1;
        }
        tokio::select! {
            status = child.wait() => break status?.code().unwrap_or(1),
            read = lab.read(&mut nothing) => {
                if matches!(read, Ok(0) | Err(_)) {
                    break 1;
                }
            }
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    // A process that forks while it is looked for is found by the next look.
    while kill_descendants(own.as_raw_nonzero().get()) > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    started?;
    Ok(u8::try_from(code).unwrap_or(1))
}

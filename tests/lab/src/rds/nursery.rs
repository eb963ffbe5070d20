//! The thread that starts database processes; engine.rs says why there is one.

use std::sync::mpsc;

use tokio::process::{Child, Command};
use tokio::sync::oneshot;

/// Starts child processes from one thread that outlives them.
#[derive(Debug)]
pub struct Nursery(mpsc::Sender<(Command, oneshot::Sender<std::io::Result<Child>>)>);

impl Nursery {
    /// With its thread; must be called inside a runtime.
    pub fn new() -> Self {
        let (sender, receiver) =
            mpsc::channel::<(Command, oneshot::Sender<std::io::Result<Child>>)>();
        let runtime = tokio::runtime::Handle::current();
        std::thread::spawn(move || {
            let _inside = runtime.enter();
            for (mut command, reply) in receiver {
                let _ = reply.send(command.spawn());
            }
        });
        Self(sender)
    }

    /// Starts a child.
    pub async fn spawn(&self, command: Command) -> std::io::Result<Child> {
        let (reply, answer) = oneshot::channel();
        let gone = || std::io::Error::other("the thread that starts databases is gone");
        self.0.send((command, reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

//! Clients' established connections to the server: counted, and on leaving closed in paced batches,
//! because thousands of clients that reconnect at once have frozen servers.

mod kernel;

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

pub use kernel::Kernel;

use crate::report::Reporter;
use crate::wanted::Drain;

/// How often the orchestrator is told how many are left.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// One established connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Established {
    /// The client's end.
    pub client: SocketAddr,
    /// Something is under way on it, as far as the kernel can tell: bytes wait in a queue, or the client
    /// spoke last and was not answered yet.
    pub busy: bool,
    /// The kernel's name for it, opaque to everyone else.
    handle: kernel::Handle,
}

/// Sees and closes connections of other processes.
pub trait Connections: Send + Sync {
    /// All that are established to the server.
    fn established(&self) -> io::Result<Vec<Established>>;

    /// Closes one: its client sees a reset. [`io::ErrorKind::NotFound`] when it is closed already.
    fn close(&self, connection: &Established) -> io::Result<()>;
}

/// Closes connections batch by batch until none is left or the deadline has come; what is under way on
/// one may end first. Where closing is not allowed it returns at once: SIGTERM then closes the rest in
/// one go.
pub async fn drain(connections: &dyn Connections, pace: Drain, reporter: &Reporter) {
    let deadline = Instant::now() + pace.deadline;
    // A batch every interval, whatever a look costs; a late one is not made up for.
    let mut batches = interval(pace.interval);
    batches.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told: Option<Instant> = None;
    loop {
        batches.tick().await;
        let all = match connections.established() {
            Ok(all) => all,
            Err(error) => {
                log::warn!("cannot see the established connections: {error}");
                return;
            }
        };
        let (left, now) = (all.len(), Instant::now());
        if left == 0 || told.is_none_or(|told| now >= told + REPORT_EVERY) {
            told = Some(now);
            reporter.update(|report| report.connections = left as u32);
        }
        if left == 0 {
            return;
        }
        if now >= deadline {
            log::warn!("{left} connections are left at the drain's deadline");
            return;
        }
        let idle = all.iter().filter(|connection| !connection.busy);
        for connection in idle.take(pace.batch as usize) {
            match connections.close(connection) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    log::info!(
                        "connections cannot be closed one by one ({error}): {left} end together"
                    );
                    return;
                }
            }
        }
    }
}

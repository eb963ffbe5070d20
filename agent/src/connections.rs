//! Clients' established connections to the server: counted, and on leaving closed in paced batches,
//! because thousands of clients that reconnect at once have frozen servers.

mod kernel;

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;

use tokio::time::{Instant, sleep};

pub use kernel::Kernel;

use crate::report::Reporter;
use crate::wanted::Drain;

/// One established connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Established {
    /// The client's end.
    pub client: SocketAddr,
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

/// Closes connections batch by batch until none is left or the deadline has come. Where closing is
/// not allowed it returns at once: SIGTERM then closes the rest in one go.
pub async fn drain(connections: &dyn Connections, pace: Drain, reporter: &Reporter) {
    let deadline = Instant::now() + pace.deadline;
    loop {
        let all = match connections.established() {
            Ok(all) => all,
            Err(error) => {
                log::warn!("cannot see the established connections: {error}");
                return;
            }
        };
        let left = all.len();
        reporter.update(|report| report.connections = left as u32);
        if left == 0 {
            return;
        }
        if Instant::now() >= deadline {
            log::warn!("{left} connections are left at the drain's deadline");
            return;
        }
        for connection in all.iter().take(pace.batch as usize) {
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
        sleep(pace.interval).await;
    }
}

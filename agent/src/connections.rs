//! Clients' established connections to the server: counted, and on leaving and before a restart closed in
//! paced batches, because thousands of clients that reconnect at once have frozen servers.

mod kernel;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
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
    close(connections, pace, reporter, false).await;
}

/// As [`drain`], before a restart: the load balancer goes on sending clients here, so that only those go
/// who are here now. When most of them come back, no other node takes them: it returns, because the restart
/// alone disturbs them less.
pub async fn hand_over(connections: &dyn Connections, pace: Drain, reporter: &Reporter) {
    close(connections, pace, reporter, true).await;
}

/// Of those that were closed, so many fourths that are here again mean that nobody else takes them. With
/// two nodes it is two, on the average.
const BACK_FOURTHS: usize = 3;
/// Batches after which that is judged: before, a few probes of the load balancer would count.
const JUDGED_AFTER: usize = 4;

/// Every further try is refused as well. Before Linux 6.2 a connection that has ended meanwhile cannot be
/// closed, either, with the error of a kernel that can close none.
fn is_refusal(error: &io::Error, closed: usize) -> bool {
    match error.kind() {
        io::ErrorKind::PermissionDenied => true,
        io::ErrorKind::Unsupported => closed == 0,
        _ => false,
    }
}

/// Closes all, or only those that are there at the first look.
async fn close(
    connections: &dyn Connections,
    pace: Drain,
    reporter: &Reporter,
    newcomers_stay: bool,
) {
    let deadline = Instant::now() + pace.deadline;
    // A batch every interval, whatever a look costs; a late one is not made up for.
    let mut batches = interval(pace.interval);
    batches.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told: Option<Instant> = None;
    let mut closed = 0;
    let mut first: Option<BTreeSet<SocketAddr>> = None;
    loop {
        batches.tick().await;
        let now = Instant::now();
        let all = match connections.established() {
            Ok(all) => all,
            Err(error) => {
                log::warn!("cannot see the established connections: {error}");
                if is_refusal(&error, closed) || now >= deadline {
                    return;
                }
                continue;
            }
        };
        if newcomers_stay && first.is_none() {
            first = Some(all.iter().map(|one| one.client).collect());
        }
        let (due, newcomers): (Vec<_>, Vec<_>) = all.iter().partition(|one| {
            let first = first.as_ref();
            first.is_none_or(|first| first.contains(&one.client))
        });
        if due.is_empty() || told.is_none_or(|told| now >= told + REPORT_EVERY) {
            told = Some(now);
            reporter.update(|report| report.connections = all.len() as u32);
        }
        if due.is_empty() {
            return;
        }
        if now >= deadline {
            log::warn!("{} connections are left at the deadline", due.len());
            return;
        }
        if closed >= JUDGED_AFTER * pace.batch as usize
            && newcomers.len() * 4 >= closed * BACK_FOURTHS
        {
            log::info!(
                "clients come back to this node: the other {} end together",
                due.len()
            );
            return;
        }
        let idle = due.iter().filter(|connection| !connection.busy);
        for connection in idle.take(pace.batch as usize) {
            match connections.close(connection) {
                Ok(()) => closed += 1,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if !is_refusal(&error, closed) => {
                    log::debug!("connection of {} not closed: {error}", connection.client);
                }
                Err(error) => {
                    log::info!(
                        "connections cannot be closed one by one ({error}): {} end together",
                        due.len()
                    );
                    return;
                }
            }
        }
    }
}

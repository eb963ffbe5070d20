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
    close(connections, pace, reporter, None).await;
}

/// As [`drain`], before a restart: the load balancer goes on sending clients here, so that only those go
/// who are here now. When most of them come back, no other node takes them: it returns, because the restart
/// alone disturbs them less.
pub async fn hand_over(connections: &dyn Connections, pace: Drain, reporter: &Reporter) {
    match connections.established() {
        Ok(all) => {
            let present = all.iter().map(|one| one.client).collect();
            close(connections, pace, reporter, Some(&present)).await;
        }
        Err(error) => log::warn!("cannot see the established connections: {error}"),
    }
}

/// Of those that were closed, so many fourths that are here again mean that nobody else takes them. With
/// two nodes it is two, on the average.
const BACK_FOURTHS: usize = 3;
/// Batches after which that is judged: before, a few probes of the load balancer would count.
const JUDGED_AFTER: usize = 4;

/// Closes all, or only those of these clients.
async fn close(
    connections: &dyn Connections,
    pace: Drain,
    reporter: &Reporter,
    only: Option<&BTreeSet<SocketAddr>>,
) {
    let deadline = Instant::now() + pace.deadline;
    // A batch every interval, whatever a look costs; a late one is not made up for.
    let mut batches = interval(pace.interval);
    batches.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told: Option<Instant> = None;
    let mut closed = 0;
    loop {
        batches.tick().await;
        let all = match connections.established() {
            Ok(all) => all,
            Err(error) => {
                log::warn!("cannot see the established connections: {error}");
                return;
            }
        };
        let now = Instant::now();
        let (due, newcomers): (Vec<_>, Vec<_>) = all
            .iter()
            .partition(|one| only.is_none_or(|only| only.contains(&one.client)));
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

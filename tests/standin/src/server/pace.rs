//! How long a start and a stop take.

use std::time::Duration;

/// The durations of a start and a stop.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How often an unreachable database is tried at a start.
    pub database_attempts: u32,
    /// The time between two tries.
    pub database_interval: Duration,
    /// From SIGTERM until every WebSocket is cut.
    pub cut_after: Duration,
    /// From SIGTERM until the port is closed.
    pub refuse_after: Duration,
    /// From then until HTTP requests under way are cut.
    pub http_grace: Duration,
    /// From SIGTERM until the process is gone, at most.
    pub gone_after: Duration,
    /// A SIGTERM that comes so soon after the start …
    pub early: Duration,
}

impl Default for Pace {
    /// Observed on 6.7.0 (mattermost.md): sockets cut within 0.16 s, port closed at 0.2 s, one second for HTTP,
    /// gone after 2.5 to 3.6 s; the database is tried every 10 s, 18 times.
    fn default() -> Self {
        Self {
            database_attempts: 18,
            database_interval: Duration::from_secs(10),
            cut_after: Duration::from_millis(100),
            refuse_after: Duration::from_millis(200),
            http_grace: Duration::from_secs(1),
            gone_after: Duration::from_secs(3),
            early: Duration::from_secs(2),
        }
    }
}

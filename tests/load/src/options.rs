//! What a run is made of.

use std::path::PathBuf;
use std::time::Duration;

/// How a chat client waits before it connects again; the defaults are those of Mattermost's web client.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// The shortest wait: 3 s.
    pub minimum: Duration,
    /// The longest wait: 5 minutes.
    pub maximum: Duration,
    /// Up to this much is added at random: 2 s.
    pub jitter: Duration,
    /// So many failures in a row keep the shortest wait; after them it grows with their square: 7.
    pub patience: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            minimum: Duration::from_secs(3),
            maximum: Duration::from_secs(300),
            jitter: Duration::from_secs(2),
            patience: 7,
        }
    }
}

impl Backoff {
    /// The wait after so many failures in a row; `chance` in `0.0..1.0` is the jitter's.
    pub fn wait(&self, failures: u32, chance: f64) -> Duration {
        let base = if failures > self.patience {
            self.minimum
                .saturating_mul(failures.saturating_mul(failures))
                .min(self.maximum)
        } else {
            self.minimum
        };
        base + self.jitter.mul_f64(chance)
    }
}

/// Options of a run.
#[derive(Clone)]
pub struct Options {
    /// The load balancer (or a node): `http://…` or `https://…`.
    pub url: String,
    /// Authorities to trust for `https`, PEM; the system's when none is given.
    pub ca: Option<PathBuf>,
    /// How many WebSocket clients are held.
    pub clients: usize,
    /// How many users they belong to; clients share users as a person has several devices.
    pub users: usize,
    /// Posts a second, all clients together.
    pub rate: f64,
    /// Plain GET requests a second, all clients together.
    pub get_rate: f64,
    /// The administrator; made when the server is empty.
    pub admin: String,
    /// The administrator's password, and that of the users made.
    pub password: String,
    /// Where the posts are compared in the end; none leaves the comparison out.
    pub database_url: Option<String>,
    /// A request without an answer for this long has failed.
    pub request_timeout: Duration,
    /// How often a post is tried before it is given up.
    pub post_attempts: u32,
    /// The wait before the first retry of a post; it doubles with each.
    pub post_retry: Duration,
    /// A message that takes longer to a connected client is late.
    pub late_after: Duration,
    /// How long the last messages have to arrive after sending stopped.
    pub settle: Duration,
    /// How chat clients reconnect.
    pub backoff: Backoff,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("url", &self.url)
            .field("clients", &self.clients)
            .field("rate", &self.rate)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// The administrator that a run makes on an empty server.
    pub const ADMIN: &'static str = "load-admin";
    /// The password of that administrator and of the users: a test server's, not a secret.
    pub const PASSWORD: &'static str = "Load-Test-1";

    /// 20 clients of 10 users, 5 posts and 5 GETs a second.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            ca: None,
            clients: 20,
            users: 10,
            rate: 5.0,
            get_rate: 5.0,
            admin: Self::ADMIN.to_owned(),
            password: Self::PASSWORD.to_owned(),
            database_url: None,
            request_timeout: Duration::from_secs(30),
            post_attempts: 6,
            post_retry: Duration::from_millis(500),
            late_after: Duration::from_secs(5),
            settle: Duration::from_secs(20),
            backoff: Backoff::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_only_after_patience_is_used_up() {
        let backoff = Backoff::default();
        for (failures, chance, seconds) in [
            (1, 0.0, 3.0),
            (7, 0.5, 4.0),
            (8, 0.0, 192.0),
            (100, 0.0, 300.0),
            (100, 0.99, 301.98),
        ] {
            let wait = backoff.wait(failures, chance).as_secs_f64();
            assert!((wait - seconds).abs() < 1e-6, "{failures} failures: {wait}");
        }
    }
}

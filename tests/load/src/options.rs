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
            maximum: Duration::from_mins(5),
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

/// The files of a run. The content of an upload is held in memory while it is sent, eight at once; of a
/// file that is there only its digest.
#[derive(Clone, Debug, PartialEq)]
pub struct FileOptions {
    /// Uploads a second, all clients together: 1.
    pub rate: f64,
    /// Reads of earlier files a second, all clients together: 4.
    pub read_rate: f64,
    /// The smallest file, in bytes: 300.
    pub smallest: usize,
    /// The largest of the usual ones, in bytes: 1,000,000.
    pub largest: usize,
    /// A large one, in bytes: 6 MiB, more than the 5 MiB that Mattermost sends to S3 in one part.
    pub large: usize,
    /// One file in so many is a large one; 0 for none: 25.
    pub large_every: u64,
    /// With so many files there, no more are uploaded, only read: 5000, about 2 GB.
    pub limit: usize,
    /// How long reading every file back in the end may take: 5 minutes.
    pub read_back: Duration,
}

impl Default for FileOptions {
    fn default() -> Self {
        Self {
            rate: 1.0,
            read_rate: 4.0,
            smallest: 300,
            largest: 1_000_000,
            large: 6 * 1024 * 1024,
            large_every: 25,
            limit: 5000,
            read_back: Duration::from_mins(5),
        }
    }
}

/// Which plugin is installed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Plugin {
    /// None.
    #[default]
    None,
    /// The bundle in this file (`….tar.gz`).
    Bundle(PathBuf),
    /// The smallest of those that this tarball of a Mattermost release carries; none when it carries none.
    Release(PathBuf),
}

/// What an administrator makes, which must outlive every node: a setting, a plugin, a public link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastingOptions {
    /// Whether `SiteName` is set in the System Console.
    pub settings: bool,
    /// What is installed there. The server needs `PluginSettings.EnableUploads=true` and
    /// `PluginSettings.RequirePluginSignature=false` (the default).
    pub plugin: Plugin,
    /// Whether one file gets a public link. The server needs `FileSettings.EnablePublicLink=true`.
    pub link: bool,
    /// Each check asks so often, every time on a new connection, to reach more than one node: 4.
    pub samples: u32,
    /// How long a change may take to be everywhere, a plugin to run, and an answer to come: 30 s.
    pub patience: Duration,
}

impl Default for LastingOptions {
    /// A setting and a link, no plugin.
    fn default() -> Self {
        Self {
            settings: true,
            plugin: Plugin::None,
            link: true,
            samples: 4,
            patience: Duration::from_secs(30),
        }
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
    /// The files that are uploaded and read; none without.
    pub files: Option<FileOptions>,
    /// What an administrator makes and the run then looks after; nothing without.
    pub lasting: Option<LastingOptions>,
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

    /// 20 clients of 10 users, 5 posts and 5 GETs a second; messages only, nothing of the server is changed.
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
            files: None,
            lasting: None,
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

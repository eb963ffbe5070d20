//! What a run tells: while it goes and at its end.

use std::fmt;

use serde::{Deserialize, Serialize};

mod lasting;

pub use lasting::{Checkpoint, FileTrouble, FilesReport, LastingReport, Verdict};

/// Latencies in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// Half were faster.
    pub p50_ms: f64,
    /// 95 of 100 were faster.
    pub p95_ms: f64,
    /// 99 of 100 were faster.
    pub p99_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

/// Requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RequestReport {
    /// Completed and failed.
    pub total: u64,
    /// Answered with 2xx.
    pub completed: u64,
    /// Answered otherwise, or not at all; a GET without an answer is tried once more first.
    pub failed: u64,
    /// Tried again by the client.
    pub retried: u64,
    /// Of the completed ones.
    pub latency: Latency,
}

/// One failed request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailureReport {
    /// Seconds after the start.
    pub at_s: f64,
    /// The phase it fell into.
    pub phase: String,
    /// `GET` or `POST`.
    pub method: String,
    /// The path, with its query.
    pub path: String,
    /// None without an answer.
    pub status: Option<u16>,
    /// The answer's or the connection's error.
    pub text: String,
}

/// Chat messages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MessageReport {
    /// Whose sending began.
    pub sent: u64,
    /// That the server acknowledged.
    pub acknowledged: u64,
    /// That their sender gave up after the last try.
    pub abandoned: u64,
    /// Deliveries over a WebSocket.
    pub pushed: u64,
    /// Deliveries by `posts?since` after a reconnect.
    pub caught_up: u64,
    /// Acknowledged, and not seen by every other client.
    pub lost: u64,
    /// The pairs of message and client behind that.
    pub lost_deliveries: u64,
    /// Pushed to a connected client after the limit.
    pub late: u64,
    /// Existing twice.
    pub duplicated: u64,
    /// Pushed twice to one client.
    pub redelivered: u64,
    /// From sending until pushed.
    pub latency: Latency,
    /// Some lost ones: number, and clients that lack it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<(u64, Vec<usize>)>,
}

/// WebSockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SocketReport {
    /// Clients.
    pub clients: usize,
    /// Connected at the end.
    pub connected: usize,
    /// Connections made after a lost one.
    pub reconnects: u64,
    /// The most of one client.
    pub reconnects_per_client_max: u32,
    /// The most attempts to reconnect within any second, of all clients, successful or not.
    pub reconnects_per_second_max: u64,
    /// Attempts that failed.
    pub refused_connects: u64,
    /// Events whose sequence number was not the next: something was missed.
    pub sequence_gaps: u64,
}

/// A part of the run, from one mark to the next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseReport {
    /// `start` until the first mark.
    pub name: String,
    /// Seconds after the run's start.
    pub started_s: f64,
    /// How long it was.
    pub seconds: f64,
    /// Requests that ended in it.
    pub requests: RequestReport,
    /// Of all clients.
    pub reconnects: u64,
    /// The most of one client.
    pub reconnects_per_client_max: u32,
    /// The most attempts to reconnect within any second, of all clients, successful or not.
    pub reconnects_per_second_max: u64,
    /// Connection attempts that failed.
    pub refused_connects: u64,
}

/// The final comparison with the database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatabaseReport {
    /// Distinct messages of this run that it holds.
    pub messages: u64,
    /// Acknowledged and not there.
    pub missing: u64,
    /// There more than once.
    pub duplicated: u64,
    /// There although their sender was told otherwise, or nothing.
    pub unacknowledged: u64,
    /// Files in acknowledged messages whose row is not there, or belongs to no message.
    #[serde(default)]
    pub files_missing: u64,
    /// Why there was no comparison.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How a run stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Seconds after the start.
    pub at_s: f64,
    /// The present phase.
    pub phase: String,
    /// Clients connected now.
    pub connected: usize,
    /// Requests so far.
    pub requests: RequestReport,
    /// Messages acknowledged so far.
    pub acknowledged: u64,
    /// Messages not yet seen by everybody.
    pub outstanding: u64,
    /// Of those, the ones past the limit for being late.
    pub overdue: u64,
    /// Duplicates so far.
    pub duplicated: u64,
    /// Reconnects so far.
    pub reconnects: u64,
    /// Files uploaded so far.
    #[serde(default)]
    pub files: u64,
    /// Of those, the ones that were missing or wrong at some time.
    #[serde(default)]
    pub files_troubled: u64,
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The run's id, part of each message.
    pub run: String,
    /// How long it sent.
    pub seconds: f64,
    /// All requests.
    pub requests: RequestReport,
    /// The posts among them.
    pub posts: RequestReport,
    /// The first failures.
    pub failures: Vec<FailureReport>,
    /// Chat messages.
    pub messages: MessageReport,
    /// WebSockets.
    pub sockets: SocketReport,
    /// By phase.
    pub phases: Vec<PhaseReport>,
    /// The comparison, when a database was named.
    pub database: Option<DatabaseReport>,
    /// Files, when some were uploaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<FilesReport>,
    /// Settings, plugin and link, when they were looked after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasting: Option<LastingReport>,
}

impl Report {
    /// Nothing failed, nothing is lost, nothing is there twice, all that was made is kept.
    pub fn is_clean(&self) -> bool {
        let database = self.database.as_ref();
        self.requests.failed == 0
            && self.messages.abandoned == 0
            && self.messages.lost == 0
            && self.messages.duplicated == 0
            && database.is_none_or(|database| {
                database.missing == 0 && database.duplicated == 0 && database.error.is_none()
            })
            && self.files.as_ref().is_none_or(FilesReport::is_clean)
            && self.not_kept().is_empty()
    }

    /// What became of files, settings, plugin and link, in one line:
    /// `files: N uploaded, 0 lost; settings kept; plugin running; link valid`. None when the run had none.
    pub fn kept(&self) -> Option<String> {
        let files = self.files.as_ref().map(ToString::to_string);
        let lasting = self.lasting.as_ref().map(ToString::to_string);
        let parts: Vec<String> = files.into_iter().chain(lasting).collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    /// What of that is broken, a line each; requests that failed are not in it.
    pub fn not_kept(&self) -> Vec<String> {
        let files = self.files.iter().filter(|files| !files.is_kept());
        let files = files.map(ToString::to_string);
        files.chain(self.details()).collect()
    }

    /// Each thing that was wrong, as far as they are kept.
    fn details(&self) -> Vec<String> {
        let mut found = Vec::new();
        if let Some(files) = &self.files {
            found.extend(files.troubles.iter().map(ToString::to_string));
        }
        if let Some(lasting) = &self.lasting {
            if lasting.checks.is_empty() {
                found.push(lasting.to_string());
            }
            found.extend(lasting.checks.iter().flat_map(Checkpoint::violations));
        }
        let rows = self
            .database
            .as_ref()
            .map_or(0, |database| database.files_missing);
        if rows > 0 {
            found.push(format!("{rows} files have no row in the database"));
        }
        found
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            requests,
            messages,
            sockets,
            ..
        } = self;
        writeln!(
            f,
            "run {}: {:.1} s, {} clients",
            self.run, self.seconds, sockets.clients
        )?;
        writeln!(
            f,
            "requests: {} completed, {} failed, {} retried; p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms",
            requests.completed,
            requests.failed,
            requests.retried,
            requests.latency.p50_ms,
            requests.latency.p95_ms,
            requests.latency.p99_ms
        )?;
        writeln!(
            f,
            "messages: {} acknowledged, {} lost, {} duplicated, {} late, {} abandoned; {} pushed, {} caught up; p95 {:.1} ms",
            messages.acknowledged,
            messages.lost,
            messages.duplicated,
            messages.late,
            messages.abandoned,
            messages.pushed,
            messages.caught_up,
            messages.latency.p95_ms
        )?;
        writeln!(
            f,
            "WebSockets: {} reconnects, at most {} of one client, at most {} in a second, {} refused",
            sockets.reconnects,
            sockets.reconnects_per_client_max,
            sockets.reconnects_per_second_max,
            sockets.refused_connects
        )?;
        for phase in &self.phases {
            writeln!(
                f,
                "  {}: {:.1} s, {} requests, {} failed, reconnects per client at most {}",
                phase.name,
                phase.seconds,
                phase.requests.total,
                phase.requests.failed,
                phase.reconnects_per_client_max
            )?;
        }
        self.write_database(f)?;
        if let Some(kept) = self.kept() {
            writeln!(f, "{kept}")?;
        }
        if let Some(files) = &self.files {
            writeln!(f, "  {}", files.effort())?;
        }
        for line in self.details() {
            writeln!(f, "  {line}")?;
        }
        for failure in &self.failures {
            let status = failure
                .status
                .map_or_else(|| "no answer".to_owned(), |status| status.to_string());
            writeln!(
                f,
                "  failed at {:.1} s: {} {}: {status}: {}",
                failure.at_s, failure.method, failure.path, failure.text
            )?;
        }
        Ok(())
    }
}

impl Report {
    fn write_database(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.database {
            None => Ok(()),
            Some(DatabaseReport {
                error: Some(error), ..
            }) => writeln!(f, "database: not compared: {error}"),
            Some(database) => writeln!(
                f,
                "database: {} messages, {} missing, {} duplicated",
                database.messages, database.missing, database.duplicated
            ),
        }
    }
}

//! A run: started, watched, marked, finished.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::{Api, LoadError};
use crate::endpoint::Endpoint;
use crate::files::FileBook;
use crate::lasting::{Lasting, Verdicts};
use crate::ledger::Ledger;
use crate::meter::Meter;
use crate::options::{FileOptions, Options};
use crate::report::{
    Checkpoint, DatabaseReport, LastingReport, MessageReport, Report, Snapshot, SocketReport,
    Verdict,
};
use crate::{chat, database, files, getter, poster, setup};

/// How long all chat clients together may take to connect for the first time.
const CONNECT_LIMIT: Duration = Duration::from_mins(1);
/// How many lost messages the report names.
const EXAMPLES: usize = 5;

/// What all tasks of a run share.
pub(crate) struct Shared {
    pub(crate) options: Options,
    /// The wanted files, or the defaults: a public link needs one in any case.
    file_options: FileOptions,
    pub(crate) admin: Api,
    pub(crate) users: Vec<Api>,
    pub(crate) channel: String,
    pub(crate) run: String,
    pub(crate) server_ms: i64,
    started: Instant,
    meter: Mutex<Meter>,
    ledger: Mutex<Ledger>,
    files: Mutex<FileBook>,
    /// Told after each step that may have settled or connected something.
    pub(crate) changed: Notify,
}

impl Shared {
    /// Milliseconds since the start.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn meter(&self) -> MutexGuard<'_, Meter> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn files(&self) -> MutexGuard<'_, FileBook> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn file_options(&self) -> &FileOptions {
        &self.file_options
    }

    /// The user of a client.
    pub(crate) fn user(&self, client: usize) -> &Api {
        &self.users[client % self.users.len()]
    }

    /// A message's text: the marker is found again by [`Shared::marker`].
    pub(crate) fn message(&self, marker: u64) -> String {
        format!("load {} {marker}", self.run)
    }

    /// The marker of a message of this run.
    pub(crate) fn marker(&self, message: &str) -> Option<u64> {
        let rest = message.strip_prefix("load ")?.strip_prefix(&self.run)?;
        rest.strip_prefix(' ')?.parse().ok()
    }
}

/// A run under way. Dropped without [`Running::finish`], it stops at once and reports nothing.
pub struct Running {
    shared: Arc<Shared>,
    /// Ends posting and getting.
    sending: CancellationToken,
    senders: TaskTracker,
    /// Ends the chat clients.
    chatting: CancellationToken,
    chatters: TaskTracker,
    /// What an administrator made, when that was wanted.
    lasting: Option<Lasting>,
    /// All checks of it, in order.
    checks: Mutex<Vec<Checkpoint>>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running")
            .field("run", &self.shared.run)
            .finish_non_exhaustive()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.sending.cancel();
        self.chatting.cancel();
    }
}

/// Sets the server up, connects every chat client, makes what is to last, and starts to send.
pub async fn start(options: Options) -> Result<Running, LoadError> {
    validate(&options)?;
    let endpoint = Endpoint::new(&options.url, options.ca.as_deref())?;
    let ground = setup::prepare(&endpoint, &options).await?;
    let late_after = u64::try_from(options.late_after.as_millis()).unwrap_or(u64::MAX);
    let file_options = options.files.clone().unwrap_or_default();
    let shared = Arc::new(Shared {
        meter: Mutex::new(Meter::new(options.clients)),
        ledger: Mutex::new(Ledger::new(options.clients, late_after)),
        files: Mutex::new(FileBook::new(file_options.limit)),
        file_options,
        admin: ground.admin,
        users: ground.users,
        channel: ground.channel,
        run: ground.run,
        server_ms: ground.server_ms,
        started: Instant::now(),
        changed: Notify::new(),
        options,
    });
    let mut running = Running {
        sending: CancellationToken::new(),
        senders: TaskTracker::new(),
        chatting: CancellationToken::new(),
        chatters: TaskTracker::new(),
        lasting: None,
        checks: Mutex::new(Vec::new()),
        shared,
    };
    for client in 0..running.shared.options.clients {
        let (shared, stop) = (Arc::clone(&running.shared), running.chatting.clone());
        running.chatters.spawn(chat::hold(shared, client, stop));
    }
    running.all_connected().await?;
    if let Some(options) = running.shared.options.lasting.clone() {
        let lasting = Lasting::make(&running.shared, &options).await?;
        running.record(lasting.check_first().await);
        running.lasting = Some(lasting);
    }
    running.send(poster::run);
    running.send(getter::run);
    if running.shared.options.files.is_some() {
        running.send(files::upload);
        running.send(files::read);
    }
    Ok(running)
}

fn validate(options: &Options) -> Result<(), LoadError> {
    if options.clients < 2 || options.users < 1 {
        return Err(LoadError::Options(
            "at least 2 clients of 1 user are wanted: one sends, another receives",
        ));
    }
    let files = options.files.clone().unwrap_or_default();
    let rates = [options.rate, options.get_rate, files.rate, files.read_rate];
    if !rates.iter().all(|rate| (0.0..=100_000.0).contains(rate)) {
        return Err(LoadError::Options(
            "rates are numbers from 0 to 100000 a second",
        ));
    }
    if files.smallest == 0 || files.largest < files.smallest || files.limit == 0 {
        return Err(LoadError::Options(
            "files have at least 1 byte, the largest no fewer than the smallest, and there is at least 1",
        ));
    }
    Ok(())
}

impl Running {
    /// Starts a task that sends until [`Running::finish`].
    fn send<F: Future<Output = ()> + Send + 'static>(
        &self,
        task: impl FnOnce(Arc<Shared>, CancellationToken) -> F,
    ) {
        let (shared, stop) = (Arc::clone(&self.shared), self.sending.clone());
        self.senders.spawn(task(shared, stop));
    }

    /// Waits until every client is connected, also again.
    pub async fn all_connected(&self) -> Result<(), LoadError> {
        let shared = &self.shared;
        let wanted = shared.options.clients;
        let connected = self.until(|| shared.meter().connected_clients() == wanted);
        if tokio::time::timeout(CONNECT_LIMIT, connected).await.is_ok() {
            return Ok(());
        }
        let meter = shared.meter();
        Err(LoadError::Clients {
            connected: meter.connected_clients(),
            wanted,
            limit: CONNECT_LIMIT,
            last: meter.last_refusal.clone(),
        })
    }

    /// Waits for a condition that only changes with [`Shared::changed`].
    async fn until(&self, condition: impl Fn() -> bool) {
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            // Registered before the look: a change between the two is not missed.
            changed.as_mut().enable();
            if condition() {
                return;
            }
            changed.await;
        }
    }

    /// How it stands.
    pub fn snapshot(&self) -> Snapshot {
        let now = self.shared.now();
        let (totals, overdue) = {
            let ledger = self.shared.ledger();
            (ledger.totals(), ledger.overdue(now))
        };
        let (files, files_troubled) = {
            let files = self.shared.files();
            (files.len() as u64, files.troubled())
        };
        let meter = self.shared.meter();
        Snapshot {
            at_s: now as f64 / 1000.0,
            phase: meter.phase_name().to_owned(),
            connected: meter.connected_clients(),
            requests: meter.requests(),
            acknowledged: totals.acknowledged,
            outstanding: totals.outstanding,
            overdue,
            duplicated: totals.duplicated,
            reconnects: meter.reconnects(),
            files,
            files_troubled,
        }
    }

    /// Checks what an administrator made ([`Options::lasting`]), now and through the load balancer:
    /// whether clients get the setting, each node runs the plugin, and the public link gives its file.
    /// What is broken is part of the report too, and stays broken there.
    pub async fn verify_kept(&self) -> Checkpoint {
        match &self.lasting {
            Some(lasting) => self.record(lasting.check_again().await),
            None => {
                let none = || Verdict::LeftOut("not asked for".to_owned());
                self.checkpoint((none(), none(), none()))
            }
        }
    }

    fn checkpoint(&self, (settings, plugin, link): Verdicts) -> Checkpoint {
        Checkpoint {
            at_ms: self.shared.now(),
            phase: self.shared.meter().phase_name().to_owned(),
            settings,
            plugin,
            link,
        }
    }

    fn record(&self, verdicts: Verdicts) -> Checkpoint {
        let checkpoint = self.checkpoint(verdicts);
        self.checks().push(checkpoint.clone());
        checkpoint
    }

    fn checks(&self) -> MutexGuard<'_, Vec<Checkpoint>> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new phase begins, for the report's counts by phase.
    pub fn mark(&self, name: &str) {
        let now = self.shared.now();
        self.shared.meter().mark(name, now);
    }

    /// Stops sending, waits until everything has arrived (or [`Options::settle`] is over), reads every
    /// file back, checks what is to last, compares with the database and lets the chat clients go.
    pub async fn finish(self) -> Report {
        let shared = &self.shared;
        self.sending.cancel();
        self.senders.close();
        self.senders.wait().await;
        let seconds = shared.now() as f64 / 1000.0;
        let settled = self.until(|| shared.ledger().is_settled());
        // Over or not: what is outstanding then is lost.
        drop(tokio::time::timeout(shared.options.settle, settled).await);
        if let Some(options) = &shared.options.files {
            files::read_back(shared, options.read_back).await;
        }
        if self.lasting.is_some() {
            self.verify_kept().await;
        }
        let database = match &shared.options.database_url {
            None => None,
            Some(url) => {
                let acknowledged = shared.ledger().acknowledged();
                let files = shared.files().posted_ids();
                let compared =
                    database::compare(url, &shared.channel, shared, &acknowledged, &files);
                Some(compared.await)
            }
        };
        let report = self.report(seconds, database);
        self.chatting.cancel();
        self.chatters.close();
        self.chatters.wait().await;
        report
    }

    fn report(&self, seconds: f64, database: Option<DatabaseReport>) -> Report {
        let shared = &self.shared;
        let (totals, examples) = {
            let ledger = shared.ledger();
            (ledger.totals(), ledger.examples(EXAMPLES))
        };
        let now = shared.now();
        let meter = shared.meter();
        let files = shared.options.files.as_ref();
        let files = files.map(|_| {
            let book = shared.files();
            book.report(meter.uploads(), meter.downloads())
        });
        let lasting = self.lasting.as_ref().map(|lasting| LastingReport {
            site_name: lasting.site_name().cloned(),
            plugin: lasting.plugin().cloned(),
            checks: self.checks().clone(),
        });
        Report {
            run: shared.run.clone(),
            seconds,
            requests: meter.requests(),
            posts: meter.posts(),
            failures: meter.failures(),
            messages: MessageReport {
                sent: totals.sent,
                acknowledged: totals.acknowledged,
                abandoned: totals.abandoned,
                pushed: totals.pushed,
                caught_up: totals.caught_up,
                lost: totals.outstanding,
                lost_deliveries: totals.outstanding_deliveries,
                late: totals.late,
                duplicated: totals.duplicated,
                redelivered: totals.redelivered,
                latency: meter.delivery(),
                examples,
            },
            sockets: SocketReport {
                clients: shared.options.clients,
                connected: meter.connected_clients(),
                reconnects: meter.reconnects(),
                reconnects_per_client_max: meter.most_reconnects(),
                reconnects_per_second_max: meter.most_attempts_in_a_second(),
                refused_connects: meter.refusals(),
                sequence_gaps: meter.sequence_gaps,
            },
            phases: meter.phase_reports(now),
            database,
            files,
            lasting,
        }
    }
}

//! Following a loop that works: every event once, and always the one reason why it waits.

use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use plan::intent::Phase;

use super::{Cli, Exit, output};
use crate::core::{Core, Look};
use crate::status::reason_text;

/// Prints progress: a moving line on a terminal, plain lines otherwise.
pub struct Progress {
    bar: Option<ProgressBar>,
    last: String,
    started: std::time::Instant,
}

impl Progress {
    /// Begins.
    pub fn new() -> Self {
        let bar = output::terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) =
                ProgressStyle::with_template("{spinner} {elapsed_precise} {wide_msg}")
            {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self {
            bar,
            last: String::new(),
            started: std::time::Instant::now(),
        }
    }

    /// Something happened.
    pub fn line(&self, text: &str) {
        let at = self.started.elapsed().as_secs();
        let text = format!("{:>3}:{:02}  {text}", at / 60, at % 60);
        match &self.bar {
            Some(bar) => bar.println(text),
            None => output::talk(&text),
        }
    }

    /// What it waits for now.
    pub fn waits(&mut self, reason: &str) {
        if self.last == reason {
            return;
        }
        reason.clone_into(&mut self.last);
        match &self.bar {
            Some(bar) => bar.set_message(reason.to_owned()),
            None => self.line(&format!("waits: {reason}")),
        }
    }

    /// Ends.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Follows the loop of this process until `ended` says how it ended. `verb`: what takes it up again after an
/// interrupt, with its flags.
pub async fn follow(
    cli: &Cli,
    core: &Arc<Core>,
    verb: &str,
    ended: impl Fn(&Look) -> Option<Exit>,
) -> anyhow::Result<Exit> {
    let mut progress = Progress::new();
    let mut looks = core.looks.subscribe();
    // A store in Postgres also holds what happened before this process.
    let mut after = core.now().as_millisecond() - 1;
    loop {
        let look = looks.borrow_and_update().clone();
        // Events live in memory first and in Postgres later, with numbers of its own.
        if let Ok(events) = core.store.recent_events(500).await {
            for event in events
                .iter()
                .filter(|event| event.at.as_millisecond() > after)
            {
                if let Some(line) = line(&event.subject, &event.what, &event.cause) {
                    progress.line(&line);
                }
            }
            after = events
                .last()
                .map_or(after, |event| event.at.as_millisecond().max(after));
        }
        let reason = look
            .trouble
            .first()
            .cloned()
            .or_else(|| look.decision.as_ref()?.reasons.first().map(reason_text));
        if let Some(reason) = reason {
            progress.waits(&reason);
        }
        if let Some(exit) = ended(&look) {
            progress.finish();
            if exit == Exit::Stuck
                && let Some(Phase::Stuck { reason }) =
                    look.decision.as_ref().map(|decision| &decision.next)
            {
                output::talk(&format!("stuck: {reason}"));
            }
            return Ok(exit);
        }
        tokio::select! {
            changed = looks.changed() => changed?,
            () = core.shutdown.cancelled() => {
                progress.finish();
                anyhow::bail!("the orchestrator stopped; its log says why");
            }
            () = interrupted() => {
                progress.finish();
                output::talk(&format!(
                    "interrupted; what AWS was asked for goes on, and `orchestrator --spec {} {verb}` takes it up again",
                    cli.spec.display()
                ));
                return Ok(Exit::Interrupted);
            }
        }
    }
}

/// An event as a line; none for the ones that only programs want.
pub fn line(subject: &str, what: &str, cause: &str) -> Option<String> {
    let because = if cause.is_empty() {
        String::new()
    } else {
        format!(": {cause}")
    };
    match what {
        "effect" => Some(format!("+ {subject}")),
        "waits" => None,
        _ => Some(format!("{subject} {what}{because}")),
    }
}

/// Ctrl-C or SIGTERM.
pub async fn interrupted() {
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminate => {}
    }
}

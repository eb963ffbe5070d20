//! Log lines as Mattermost writes them to its console: one JSON object a line, on stdout.

use std::io::Write as _;

use log::{Level, LevelFilter, Log, Metadata, Record};
use serde_json::json;

use crate::clock;

struct Console;

impl Log for Console {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Info && metadata.target().starts_with("standin")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let level = match record.level() {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug | Level::Trace => "debug",
        };
        let caller = format!(
            "{}:{}",
            record.file().unwrap_or("-"),
            record.line().unwrap_or_default()
        );
        let line = json!({
            "timestamp": clock::now_text(),
            "level": level,
            "msg": record.args().to_string(),
            "caller": caller,
        });
        // A closed pipe is the reader's choice; the server goes on.
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    }

    fn flush(&self) {
        let _ = std::io::stdout().lock().flush();
    }
}

/// Sends the `log` facade to the console; a second call does nothing.
pub fn start() {
    if log::set_logger(&Console).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

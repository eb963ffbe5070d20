//! Where log lines go: the journal under systemd, else stderr.

use std::io::Write;

use log::{LevelFilter, Log, Metadata, Record};

/// Starts logging. `verbose` counts `-v`; libraries are a level quieter than we are.
pub fn start(verbose: u8, following: bool) {
    let level = match verbose {
        0 => LevelFilter::Info,
        1 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    };
    let journal = systemd_journal_logger::connected_to_journal()
        .then(systemd_journal_logger::JournalLog::new)
        .and_then(Result::ok)
        .map(|journal| journal.with_extra_fields([("STACK_COMPONENT", "orchestrator")]));
    let sink: Box<dyn Log> = match journal {
        Some(journal) => Box::new(journal),
        None => Box::new(Stderr),
    };
    // What a verb that follows the loop prints is the events; only warnings may break into them.
    let level = if following && verbose == 0 {
        LevelFilter::Warn
    } else {
        level
    };
    let filter = Filter {
        sink,
        own: level,
        libraries: if verbose > 1 {
            LevelFilter::Debug
        } else {
            LevelFilter::Warn
        },
    };
    if log::set_boxed_logger(Box::new(filter)).is_ok() {
        log::set_max_level(level.max(LevelFilter::Warn));
    }
}

struct Filter {
    sink: Box<dyn Log>,
    own: LevelFilter,
    libraries: LevelFilter,
}

impl Log for Filter {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target().split("::").next().unwrap_or_default();
        let limit = if matches!(target, "orchestrator" | "plan" | "cloud" | "fleet_proto") {
            self.own
        } else {
            self.libraries
        };
        metadata.level() <= limit
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.sink.log(record);
        }
    }

    fn flush(&self) {
        self.sink.flush();
    }
}

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let at = crate::reconcile::now().strftime("%H:%M:%S%.3f");
        let _ = writeln!(
            std::io::stderr().lock(),
            "{at} {:5} {}",
            record.level().as_str().to_lowercase(),
            record.args()
        );
    }

    fn flush(&self) {}
}

//! Logs: to the journal with fields when systemd runs the agent, else to stderr. What goes to the
//! journal goes as a line to stdout, too, when that is a terminal: the unit connects it to the machine's
//! console, which EC2 shows of an instance that nobody can log in to. (`journal+console` would not do:
//! the journal forwards what it reads from streams, and not what it is sent with fields.)
//!
//! `NODE`, `PHASE` and `ROLLOUT` belong to every record, whoever wrote it; they are kept here and
//! added on the way out.

use std::io::{IsTerminal, Write};
use std::sync::RwLock;

use fleet_proto::v1::Phase;
use log::kv::{self, Key, Source, Value, VisitSource};
use log::{LevelFilter, Log, Metadata, Record};
use systemd_journal_logger::{JournalLog, connected_to_journal};

#[derive(Debug)]
struct Context {
    node: String,
    rollout: String,
    phase: Phase,
}

static CONTEXT: RwLock<Context> = RwLock::new(Context {
    node: String::new(),
    rollout: String::new(),
    phase: Phase::Unspecified,
});

fn change(apply: impl FnOnce(&mut Context)) {
    apply(
        &mut CONTEXT
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner),
    );
}

/// The instance id, once known.
pub fn set_node(node: &str) {
    change(|context| node.clone_into(&mut context.node));
}

/// The rollout that the desired state serves; empty outside one.
pub fn set_rollout(rollout: &str) {
    change(|context| rollout.clone_into(&mut context.rollout));
}

/// The phase last reported.
pub fn set_phase(phase: Phase) {
    change(|context| context.phase = phase);
}

/// Where records end.
enum Output {
    Journal(JournalLog),
    Stderr,
}

struct Logger {
    output: Output,
    /// Stdout is the machine's console.
    console: bool,
    level: LevelFilter,
}

fn line(record: &Record<'_>, fields: &WithContext<'_>) -> String {
    let mut text = format!("{} {}", record.level(), record.args());
    let _ = fields.visit(&mut Fields(&mut text));
    text
}

/// The record's own fields and the context's.
struct WithContext<'a> {
    record: &'a dyn Source,
    context: &'a Context,
}

impl Source for WithContext<'_> {
    fn visit<'kvs>(&'kvs self, visitor: &mut dyn VisitSource<'kvs>) -> Result<(), kv::Error> {
        self.record.visit(visitor)?;
        let phase = crate::report::describe(self.context.phase);
        for (key, value) in [
            ("NODE", self.context.node.as_str()),
            ("ROLLOUT", self.context.rollout.as_str()),
            ("PHASE", phase),
        ] {
            if !value.is_empty() {
                visitor.visit_pair(Key::from_str(key), Value::from(value))?;
            }
        }
        Ok(())
    }
}

struct Fields<'a>(&'a mut String);

impl<'kvs> VisitSource<'kvs> for Fields<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        use std::fmt::Write;
        write!(self.0, " {key}={value}")?;
        Ok(())
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // The libraries' debug output tells of bytes and frames, not of nodes.
        let own = metadata.target().starts_with("mattermost_agent")
            || metadata.target().starts_with("fleet_proto");
        metadata.level() <= if own { self.level } else { LevelFilter::Warn }
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let context = CONTEXT
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let fields = WithContext {
            record: record.key_values(),
            context: &context,
        };
        match &self.output {
            Output::Journal(journal) => {
                if self.console {
                    // A console that takes nothing more loses lines; the journal has them.
                    let text = line(record, &fields);
                    let _ = writeln!(std::io::stdout().lock(), "mattermost-agent: {text}");
                }
                let record = Record::builder()
                    .metadata(record.metadata().clone())
                    .args(*record.args())
                    .module_path(record.module_path())
                    .file(record.file())
                    .line(record.line())
                    .key_values(&fields)
                    .build();
                let _ = journal.journal_send(&record);
            }
            Output::Stderr => {
                let _ = writeln!(std::io::stderr().lock(), "{}", line(record, &fields));
            }
        }
    }

    fn flush(&self) {}
}

/// Whether stdout is a console. It is made not to block: nothing may hold the agent's one thread up.
fn console() -> bool {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    let stdout = std::io::stdout();
    stdout.is_terminal()
        && fcntl_getfl(&stdout)
            .and_then(|flags| fcntl_setfl(&stdout, flags | OFlags::NONBLOCK))
            .is_ok()
}

/// Once, at start.
pub fn install(level: LevelFilter) {
    let journal = connected_to_journal()
        .then(|| JournalLog::new().ok())
        .flatten();
    let console = journal.is_some() && console();
    let output = journal.map_or(Output::Stderr, Output::Journal);
    let logger = Logger {
        output,
        console,
        level,
    };
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(level);
    }
}

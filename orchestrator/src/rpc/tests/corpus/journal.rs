//! What the process logged, kept for the tests.

use std::sync::{Mutex, Once, PoisonError};

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Journal;

impl log::Log for Journal {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.target().starts_with("orchestrator") || record.target().starts_with("fleet") {
            lines().push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

fn lines() -> std::sync::MutexGuard<'static, Vec<String>> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on.
pub fn listen() {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| {
        log::set_logger(&Journal).unwrap();
        log::set_max_level(log::LevelFilter::Debug);
    });
}

/// A place in it.
pub fn mark() -> usize {
    lines().len()
}

/// What came since.
pub fn since(mark: usize) -> String {
    lines()[mark..].join("\n")
}

/// None of these texts was ever logged.
pub fn holds_no_secret(secrets: &[String]) {
    let all = lines();
    for secret in secrets {
        let found = all.iter().find(|line| line.contains(secret.as_str()));
        assert_eq!(found, None, "a secret is in the log");
    }
}

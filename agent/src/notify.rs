//! The agent's own word to its service manager: ready, status, watchdog. Silent without one.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// The session loop turns at least this often: it looks at the clock every minute, and each of its steps
/// has a deadline of seconds.
const TURNS_WITHIN: Duration = Duration::from_secs(150);

/// When a loop turned last.
struct Heartbeat(Mutex<Option<Instant>>);

impl Heartbeat {
    const fn new() -> Self {
        Self(Mutex::new(None))
    }

    fn beat(&self, now: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    /// False of a loop that hangs in one of its steps, although timers and other tasks still run.
    fn is_alive(&self, now: Instant) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| now < last + TURNS_WITHIN)
    }
}

static SESSION: Heartbeat = Heartbeat::new();

fn say(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        log::debug!("cannot notify the service manager: {error}");
    }
}

/// The tasks run.
pub fn ready() {
    say(NotifyState::Ready);
}

/// The agent is leaving.
pub fn stopping() {
    say(NotifyState::Stopping);
}

/// One line for `systemctl status`.
pub fn status(line: &str) {
    let line: String = line.chars().take(200).filter(|c| !c.is_control()).collect();
    say(NotifyState::Status(&line));
}

/// How often to feed the watchdog: a third of its time-out; `None` when there is no watchdog.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|timeout| timeout / 3)
}

/// The session loop turns: to be said whenever it does.
pub fn session_turns() {
    SESSION.beat(Instant::now());
}

/// Feeds the watchdog, unless the session loop hangs: then the service manager ends this process and
/// starts another, while Mattermost runs on.
pub fn watchdog() {
    if SESSION.is_alive(Instant::now()) {
        say(NotifyState::Watchdog);
    } else {
        log::error!("the session loop hangs: the watchdog is not fed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_hangs_is_not_alive() {
        let session = Heartbeat::new();
        let mut now = Instant::now();
        assert!(!session.is_alive(now), "it has not begun");
        for _ in 0..10 {
            session.beat(now);
            now += TURNS_WITHIN / 2;
            assert!(session.is_alive(now));
        }
        now += TURNS_WITHIN;
        assert!(!session.is_alive(now), "time goes on, the loop does not");
        session.beat(now);
        assert!(session.is_alive(now));
    }
}

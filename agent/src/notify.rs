//! The agent's own word to its service manager: ready, status, watchdog. Silent without one.

use std::time::Duration;

use sd_notify::NotifyState;

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

/// The session loop turns.
pub fn watchdog() {
    say(NotifyState::Watchdog);
}

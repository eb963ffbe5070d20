//! The one door through which the time of day enters the agent.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now.
#[expect(
    clippy::disallowed_methods,
    reason = "the one door: certificates and signatures need the time of day"
)]
pub fn now() -> SystemTime {
    SystemTime::now()
}

/// Seconds since 1970.
pub fn unix_now() -> i64 {
    now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() as i64)
}

/// As a time of the calendar.
pub fn timestamp() -> jiff::Timestamp {
    jiff::Timestamp::from_second(unix_now()).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

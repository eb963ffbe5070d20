//! The one door through which time enters.

/// Milliseconds since the epoch, as every `createat` and `updateat` of Mattermost counts.
#[expect(
    clippy::disallowed_methods,
    reason = "the stand-in's one door for time"
)]
pub fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// The present moment in RFC 3339, for log lines.
#[expect(
    clippy::disallowed_methods,
    reason = "the stand-in's one door for time"
)]
pub fn now_text() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}

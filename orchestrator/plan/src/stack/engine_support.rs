//! How long RDS supports a major version of PostgreSQL, and what it does by itself after that.
//!
//! Instances are made without RDS Extended Support, which is charged by vCPU and hour: when standard support
//! ends, RDS upgrades the major version by itself ("Creating a DB instance with Amazon RDS Extended Support").
//! Nobody should hear of that from an outage.

use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::database::major;
use crate::draft::Draft;
use crate::observed::DbInstance;
use crate::stack::NOTICE;
use crate::view::View;

/// Last day of RDS's standard support by major version: "Release calendars for Amazon RDS for PostgreSQL",
/// <https://docs.aws.amazon.com/AmazonRDS/latest/PostgreSQLReleaseNotes/postgresql-release-calendar.html>.
/// A newer version, whose day is not known, is never refused.
const LAST_DAYS: [(u32, Date); 7] = [
    (11, date(2024, 2, 29)),
    (12, date(2025, 2, 28)),
    (13, date(2026, 2, 28)),
    (14, date(2027, 2, 28)),
    (15, date(2028, 2, 29)),
    (16, date(2029, 2, 28)),
    (17, date(2030, 2, 28)),
];
/// So long before the end it is said.
const NOTICE_BEFORE: SignedDuration = SignedDuration::from_hours(180 * 24);

/// A major version that RDS no longer supports without a charge.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "PostgreSQL {major} is past RDS's standard support, which ended on {last_day}: name a newer one in `database.engine_version`"
)]
pub(super) struct PastSupport {
    major: u32,
    last_day: Date,
}

/// The last day, where AWS has named one.
fn last_day(major: u32) -> Option<Date> {
    LAST_DAYS
        .iter()
        .find(|(known, _)| *known == major)
        .map(|(_, day)| *day)
        // Older than the table.
        .or_else(|| (major < LAST_DAYS[0].0).then_some(LAST_DAYS[0].1))
}

fn today(now: Timestamp) -> Date {
    now.to_zoned(TimeZone::UTC).date()
}

/// Whether a new instance may have this version.
pub(super) fn check(version: &str, now: Timestamp) -> Result<(), PastSupport> {
    let major = major(version);
    match last_day(major) {
        Some(last_day) if last_day < today(now) => Err(PastSupport { major, last_day }),
        _ => Ok(()),
    }
}

/// Says when AWS upgrades the primary by itself, or charges for not doing so.
pub(super) fn note(view: &View<'_>, draft: &mut Draft, seen: &DbInstance) {
    let major = major(&seen.engine_version);
    let Some(last_day) = last_day(major) else {
        return;
    };
    let soon = view
        .now
        .checked_add(NOTICE_BEFORE)
        .unwrap_or(Timestamp::MAX);
    if last_day >= today(soon) {
        return;
    }
    let id = &seen.id;
    let text = if seen.extended_support == Some(true) {
        format!(
            "DB instance `{id}` is enrolled in RDS Extended Support: from the end of standard support of PostgreSQL {major} ({last_day}) on it is charged by vCPU and hour. An upgrade to a newer major version ends that"
        )
    } else {
        format!(
            "RDS's standard support of PostgreSQL {major} ends on {last_day}: after that RDS upgrades `{id}` to a newer major version by itself, in a maintenance window. Upgrade it before, at an hour of your choice"
        )
    };
    draft.wait(NOTICE, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_past_standard_support_is_refused() {
        for (version, now, refused) in [
            ("13.20", "2026-02-28T23:00:00Z", false),
            ("13.20", "2026-03-01T01:00:00Z", true),
            ("9.6.24", "2026-03-01T01:00:00Z", true),
            ("17.2", "2026-11-30T00:00:00Z", false),
            ("19.1", "2049-01-01T00:00:00Z", false),
        ] {
            let checked = check(version, now.parse().unwrap());
            assert_eq!(checked.is_err(), refused, "{version} at {now}");
        }
        let past = check("13.20", "2026-11-30T00:00:00Z".parse().unwrap()).unwrap_err();
        assert_eq!(
            past.to_string(),
            "PostgreSQL 13 is past RDS's standard support, which ended on 2026-02-28: name a newer one in `database.engine_version`"
        );
    }
}

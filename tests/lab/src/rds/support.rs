//! RDS Extended Support: `EngineLifecycleSupport`, and when standard support of a major version ends.

use jiff::Timestamp;
use jiff::civil::{Date, date};
use jiff::tz::TimeZone;

use super::bad_combination;
use crate::api::{ApiError, Params};

const ENROLLED: &str = "open-source-rds-extended-support";
const OPTED_OUT: &str = "open-source-rds-extended-support-disabled";

/// End of RDS's standard support by major version ("Release calendar for Amazon RDS for PostgreSQL").
const ENDS: [(&str, Date); 7] = [
    ("11", date(2024, 2, 29)),
    ("12", date(2025, 2, 28)),
    ("13", date(2026, 2, 28)),
    ("14", date(2027, 2, 28)),
    ("15", date(2028, 2, 29)),
    ("16", date(2029, 2, 28)),
    ("17", date(2030, 2, 28)),
];

/// The value as described.
pub fn word(enrolled: bool) -> &'static str {
    if enrolled { ENROLLED } else { OPTED_OUT }
}

/// `EngineLifecycleSupport` of a request: whether the instance is enrolled. Default: it is.
pub fn read(p: &Params) -> Result<bool, ApiError> {
    match p.opt("EngineLifecycleSupport").as_deref() {
        None | Some(ENROLLED) => Ok(true),
        Some(OPTED_OUT) => Ok(false),
        Some(other) => Err(ApiError::invalid_value(
            "EngineLifecycleSupport",
            other,
            "Valid values are open-source-rds-extended-support and open-source-rds-extended-support-disabled.",
        )),
    }
}

/// "Creating the DB instance will fail if the DB major version is past its end of standard support date."
pub fn check(major: &str, now: Timestamp) -> Result<(), ApiError> {
    let today = now.to_zoned(TimeZone::UTC).date();
    let over = ENDS
        .iter()
        .any(|(known, end)| *known == major && *end < today);
    if over {
        return Err(bad_combination(format!(
            "Engine version {major} of postgres is past its end of standard support: it needs EngineLifecycleSupport {ENROLLED}."
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_past_standard_support_needs_extended_support() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        for (major, now, good) in [
            ("13", "2026-02-28T12:00:00Z", true),
            ("13", "2026-03-01T00:00:00Z", false),
            ("15", "2026-11-30T00:00:00Z", true),
            ("19", "2036-11-30T00:00:00Z", true),
        ] {
            assert_eq!(check(major, at(now)).is_ok(), good, "{major} at {now}");
        }
    }
}

//! What names and values RDS accepts, with its own words for what it does not.

use crate::api::ApiError;

fn invalid(message: String) -> ApiError {
    ApiError::new("InvalidParameterValue", message)
}

/// A DB instance, snapshot or group identifier; RDS keeps it in lower case.
pub fn identifier(parameter: &str, value: &str) -> Result<String, ApiError> {
    let longest = if parameter.contains("Instance") {
        63
    } else {
        255
    };
    let good = value.starts_with(|c: char| c.is_ascii_alphabetic())
        && value.len() <= longest
        && value.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        && !value.ends_with('-')
        && !value.contains("--");
    if good {
        Ok(value.to_ascii_lowercase())
    } else {
        Err(invalid(format!(
            "The parameter {parameter} is not a valid identifier: {value}. Identifiers must begin with a letter; must contain only ASCII letters, digits, and hyphens; must not end with a hyphen or contain two consecutive hyphens; and have at most {longest} characters."
        )))
    }
}

/// A subnet group's name: also periods, underscores and spaces; never `default`.
pub fn subnet_group(value: &str) -> Result<String, ApiError> {
    let good = !value.is_empty()
        && value.len() <= 255
        && value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || " ._-".contains(c))
        && value.starts_with(|c: char| c.is_ascii_alphabetic());
    if good && !value.eq_ignore_ascii_case("default") {
        Ok(value.to_ascii_lowercase())
    } else {
        Err(invalid(format!(
            "The parameter DBSubnetGroupName must be provided and must not be blank or `default`: it must begin with a letter and contain no more than 255 letters, numbers, periods, underscores, spaces, or hyphens: {value}"
        )))
    }
}

/// The master user's name (user guide: 1 to 63 letters, numbers or underscores for PostgreSQL).
pub fn master(value: &str) -> Result<String, ApiError> {
    let good = value.starts_with(|c: char| c.is_ascii_alphabetic())
        && value.len() <= 63
        && value.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !good {
        return Err(invalid(format!(
            "The parameter MasterUsername must begin with a letter and contain 1 to 63 letters, numbers or underscores: {value}"
        )));
    }
    let lower = value.to_ascii_lowercase();
    if RESERVED_ROLES.contains(&lower.as_str())
        || lower.starts_with("pg_")
        || lower.starts_with("rds")
    {
        return Err(invalid(format!(
            "MasterUsername {value} cannot be used as it is a reserved word used by the engine"
        )));
    }
    Ok(lower)
}

const RESERVED_ROLES: [&str; 8] = [
    "admin",
    "public",
    "none",
    "user",
    "all",
    "current_user",
    "session_user",
    "replication",
];

/// The first database's name.
pub fn database(value: &str) -> Result<String, ApiError> {
    let good = value.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && value.len() <= 63
        && value.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !["template0", "template1", "rdsadmin", "db"].contains(&value);
    if good {
        Ok(value.to_owned())
    } else {
        Err(invalid(format!(
            "DBName must begin with a letter or underscore, contain only alphanumeric characters and not be a reserved word: {value}"
        )))
    }
}

/// The master password: 8 to 128 printable characters without `/ @ "` and space. Never echoed.
pub fn password(value: &str) -> Result<(), ApiError> {
    if value.len() < 8 || value.len() > 128 {
        return Err(invalid(
            "The parameter MasterUserPassword is not a valid password because it is shorter than 8 or longer than 128 characters.".to_owned(),
        ));
    }
    if value
        .chars()
        .all(|c| c.is_ascii_graphic() && !"/@\"".contains(c))
    {
        Ok(())
    } else {
        Err(invalid(
            "The parameter MasterUserPassword is not a valid password. Only printable ASCII characters besides '/', '@', '\"', ' ' may be used.".to_owned(),
        ))
    }
}

/// `0` to `35` days.
pub fn retention(days: i64) -> Result<i64, ApiError> {
    if (0..=35).contains(&days) {
        Ok(days)
    } else {
        Err(invalid(format!(
            "Invalid backup retention period: {days}. Must be between 0 and 35."
        )))
    }
}

/// `hh24:mi-hh24:mi`, at least 30 minutes.
pub fn backup_window(value: &str) -> Result<String, ApiError> {
    let minutes = value
        .split_once('-')
        .and_then(|(from, to)| Some((minute_of_day(from)?, minute_of_day(to)?)));
    match minutes {
        Some((from, to)) if (to + 1440 - from) % 1440 >= 30 => Ok(value.to_owned()),
        _ => Err(invalid(format!(
            "Invalid backup window: {value}. It must be of the form hh24:mi-hh24:mi, in UTC, and at least 30 minutes long."
        ))),
    }
}

/// `ddd:hh24:mi-ddd:hh24:mi`, at least 30 minutes and less than 24 hours.
pub fn maintenance_window(value: &str) -> Result<String, ApiError> {
    let minutes = value
        .split_once('-')
        .and_then(|(from, to)| Some((minute_of_week(from)?, minute_of_week(to)?)));
    match minutes {
        Some((from, to)) if (30..1440).contains(&((to + 10080 - from) % 10080)) => {
            Ok(value.to_ascii_lowercase())
        }
        _ => Err(invalid(format!(
            "Invalid maintenance window: {value}. It must be of the form ddd:hh24:mi-ddd:hh24:mi, in UTC, and at least 30 minutes long."
        ))),
    }
}

fn minute_of_day(text: &str) -> Option<i64> {
    let (hour, minute) = text.split_once(':')?;
    let (hour, minute) = (hour.parse::<i64>().ok()?, minute.parse::<i64>().ok()?);
    ((0..24).contains(&hour) && (0..60).contains(&minute)).then_some(hour * 60 + minute)
}

/// Minutes since Monday 00:00 UTC.
pub fn minute_of_week(text: &str) -> Option<i64> {
    const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let (day, rest) = text.split_once(':')?;
    let day = DAYS
        .iter()
        .position(|known| known.eq_ignore_ascii_case(day))?;
    Some(day as i64 * 1440 + minute_of_day(rest)?)
}

/// A port that RDS accepts for PostgreSQL: 1150 to 65535.
pub fn port(value: i64) -> Result<u16, ApiError> {
    u16::try_from(value)
        .ok()
        .filter(|port| *port >= 1150)
        .ok_or_else(|| {
            invalid(format!(
                "Invalid port: {value}. Valid values are 1150 to 65535."
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_as_rds_judges_them() {
        for (value, good) in [
            ("mattermost-db", true),
            ("A1", true),
            ("1a", false),
            ("a-", false),
            ("a--b", false),
            ("a_b", false),
            ("", false),
        ] {
            assert_eq!(
                identifier("DBInstanceIdentifier", value).is_ok(),
                good,
                "{value}"
            );
        }
        assert_eq!(identifier("DBInstanceIdentifier", "Main").unwrap(), "main");
        for (value, good) in [
            ("mattermost_admin", true),
            ("admin", false),
            ("rdsadmin", false),
            ("9a", false),
            ("postgres", true),
        ] {
            assert_eq!(master(value).is_ok(), good, "{value}");
        }
        for (value, good) in [
            ("short", false),
            ("long-enough", true),
            ("with space", false),
            ("with@sign", false),
        ] {
            assert_eq!(password(value).is_ok(), good, "{value}");
        }
    }

    #[test]
    fn windows_have_a_form_and_a_length() {
        for (value, good) in [
            ("03:00-03:30", true),
            ("23:45-00:15", true),
            ("03:00-03:10", false),
            ("3am", false),
            ("25:00-26:00", false),
        ] {
            assert_eq!(backup_window(value).is_ok(), good, "{value}");
        }
        for (value, good) in [
            ("sun:05:00-sun:06:00", true),
            ("Sun:23:45-mon:00:15", true),
            ("sun:05:00-sun:05:10", false),
            ("someday:05:00-sun:06:00", false),
        ] {
            assert_eq!(maintenance_window(value).is_ok(), good, "{value}");
        }
    }

    #[test]
    fn a_refused_password_is_not_repeated() {
        let error = password("secret with spaces").unwrap_err();
        assert!(!error.message.contains("secret with"));
    }
}

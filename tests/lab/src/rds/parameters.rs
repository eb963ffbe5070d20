//! Server parameters: what exists, what a value may be, and what a parameter group makes of them.
//!
//! The list is the real server's own (`postgres --describe-config`), so names, ranges and whether a
//! restart is needed are never wrong for the version at hand. RDS's own parameters stand beside it.
//! Some the lab keeps for itself (addresses, files, memory); RDS shows those as not modifiable.

use std::collections::BTreeMap;

use crate::api::ApiError;

/// One server parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Specification {
    /// For example `max_connections`.
    pub name: String,
    /// Whether a change needs a restart.
    pub is_static: bool,
    /// Whether a parameter group may set it.
    pub modifiable: bool,
    /// `integer`, `float`, `boolean`, `string` or `enum`, as RDS names them.
    pub data_type: &'static str,
    /// `6-8388607`, `0,1` or a list of words; empty when anything goes.
    pub allowed: String,
    /// What the default group sets, where RDS departs from the engine's default.
    pub system_value: Option<&'static str>,
    /// The server's own description.
    pub description: String,
}

/// What RDS sets itself (user guide, "Working with parameters on your RDS for PostgreSQL DB
/// instance"). From PostgreSQL 15 on `rds.force_ssl` is 1.
const SYSTEM_VALUES: [(&str, &str); 9] = [
    (
        "max_connections",
        "LEAST({DBInstanceClassMemory/9531392},5000)",
    ),
    ("shared_buffers", "{DBInstanceClassMemory/32768}"),
    (
        "effective_cache_size",
        "{SUM(DBInstanceClassMemory/12038,-50003)}",
    ),
    ("autovacuum_max_workers", "3"),
    ("max_wal_senders", "20"),
    ("max_replication_slots", "20"),
    ("wal_level", "replica"),
    ("log_destination", "stderr"),
    ("password_encryption", "scram-sha-256"),
];

/// What belongs to RDS (on AWS not modifiable either) or, marked, to the lab: how it is reached, its
/// files, and what ties it to its replicas.
const RESERVED: [&str; 38] = [
    "archive_command",
    "archive_mode",
    "archive_library",
    "bonjour",
    "bonjour_name",
    "cluster_name",
    "config_file",
    "data_directory",
    "dynamic_shared_memory_type",
    "event_source",
    "external_pid_file",
    "fsync",
    "full_page_writes",
    "hba_file",
    "hot_standby",
    "ident_file",
    "listen_addresses",
    "log_directory",
    "logging_collector",
    "log_destination",
    "port",
    "primary_conninfo",
    "primary_slot_name",
    "restore_command",
    "shared_memory_type",
    "ssl",
    "ssl_ca_file",
    "ssl_cert_file",
    "ssl_crl_dir",
    "ssl_crl_file",
    "ssl_dh_params_file",
    "ssl_key_file",
    "ssl_passphrase_command",
    "synchronous_standby_names",
    "unix_socket_directories",
    "unix_socket_group",
    "unix_socket_permissions",
    "wal_level",
];

/// Modifiable as on AWS, but the lab's server runs with its own value (many servers on one machine).
/// docs/lab/rds.md lists them.
pub const WITHOUT_EFFECT: [&str; 9] = [
    "shared_buffers",
    "huge_pages",
    "effective_cache_size",
    "max_wal_size",
    "min_wal_size",
    "max_wal_senders",
    "max_replication_slots",
    "shared_preload_libraries",
    "wal_buffers",
];

/// Enumerations that operators set; the server's description does not list the words.
const WORDS: [(&str, &str); 11] = [
    ("log_statement", "none,ddl,mod,all"),
    ("log_error_verbosity", "terse,default,verbose"),
    (
        "log_min_messages",
        "debug5,debug4,debug3,debug2,debug1,info,notice,warning,error,log,fatal,panic",
    ),
    (
        "log_min_error_statement",
        "debug5,debug4,debug3,debug2,debug1,info,notice,warning,error,log,fatal,panic",
    ),
    (
        "client_min_messages",
        "debug5,debug4,debug3,debug2,debug1,log,notice,warning,error",
    ),
    (
        "synchronous_commit",
        "local,remote_write,remote_apply,on,off",
    ),
    (
        "default_transaction_isolation",
        "serializable,repeatable read,read committed,read uncommitted",
    ),
    ("password_encryption", "md5,scram-sha-256"),
    ("ssl_min_protocol_version", "TLSv1.2,TLSv1.3"),
    ("bytea_output", "escape,hex"),
    ("track_functions", "none,pl,all"),
];

/// Reads `postgres --describe-config`: name, context, group, type, default, minimum, maximum,
/// description, separated by tabs.
pub fn describe(text: &str, major: u32) -> Vec<Specification> {
    let mut all: Vec<Specification> = text.lines().filter_map(specification).collect();
    let own =
        |name: &str, is_static, allowed: &str, data_type, value, description: &str| Specification {
            name: name.to_owned(),
            is_static,
            modifiable: true,
            data_type,
            allowed: allowed.to_owned(),
            system_value: value,
            description: description.to_owned(),
        };
    all.push(own(
        "rds.force_ssl",
        false,
        "0,1",
        "boolean",
        Some(if major >= 15 { "1" } else { "0" }),
        "Force SSL connections.",
    ));
    all.push(own(
        "rds.logical_replication",
        true,
        "0,1",
        "boolean",
        Some("0"),
        "Enables logical decoding.",
    ));
    all.push(own(
        "rds.log_retention_period",
        false,
        "1440-10080",
        "integer",
        Some("4320"),
        "Amazon RDS will delete PostgreSQL logs that are older than N minutes.",
    ));
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

fn specification(line: &str) -> Option<Specification> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [name, context, _, kind, _, minimum, maximum, description, ..] = fields[..] else {
        return None;
    };
    let system_value = SYSTEM_VALUES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, value)| *value);
    let (data_type, allowed) = match kind {
        "BOOLEAN" => ("boolean", "0,1".to_owned()),
        "INTEGER" => ("integer", format!("{minimum}-{maximum}")),
        "REAL" => ("float", format!("{minimum}-{maximum}")),
        "ENUM" => (
            "string",
            WORDS
                .iter()
                .find(|(known, _)| *known == name)
                .map_or_else(String::new, |(_, words)| (*words).to_owned()),
        ),
        _ => ("string", String::new()),
    };
    Some(Specification {
        name: name.to_owned(),
        is_static: context == "postmaster",
        modifiable: context != "internal" && !RESERVED.contains(&name),
        data_type,
        allowed,
        system_value,
        description: description.to_owned(),
    })
}

impl Specification {
    /// Refuses a value that the server would refuse; formulas are checked by evaluating them.
    pub fn check(&self, value: &str) -> Result<(), ApiError> {
        let refuse = || {
            ApiError::new(
                "InvalidParameterValue",
                format!(
                    "Invalid parameter value: {value} for: {} allowed values are: {}",
                    self.name, self.allowed
                ),
            )
        };
        if value.contains(['\n', '\r', '\0']) {
            return Err(refuse());
        }
        match self.data_type {
            "integer" | "float" => {
                let number = evaluate(value, 1 << 30).ok_or_else(refuse)?;
                let (minimum, maximum) = range(&self.allowed).ok_or_else(refuse)?;
                if number < minimum || number > maximum {
                    return Err(refuse());
                }
                if self.data_type == "integer" && number.fract() != 0.0 {
                    return Err(refuse());
                }
                Ok(())
            }
            "boolean" => match value.to_ascii_lowercase().as_str() {
                "0" | "1" | "on" | "off" | "true" | "false" => Ok(()),
                _ => Err(refuse()),
            },
            _ if !self.allowed.is_empty() && !self.allowed.split(',').any(|w| w == value) => {
                Err(refuse())
            }
            _ => Ok(()),
        }
    }
}

/// `-1-2147483647` → (-1, 2147483647).
fn range(allowed: &str) -> Option<(f64, f64)> {
    let split = allowed.get(1..)?.find('-')? + 1;
    Some((
        allowed[..split].parse().ok()?,
        allowed[split + 1..].parse().ok()?,
    ))
}

/// Evaluates RDS's formula language: `{DBInstanceClassMemory/9531392}`, `LEAST(a,b)`,
/// `GREATEST(a,b)`, `SUM(a,b)`, nested; `memory` in bytes.
pub fn evaluate(formula: &str, memory: u64) -> Option<f64> {
    let text = formula.trim();
    if let Ok(number) = text.parse::<f64>() {
        return number.is_finite().then_some(number);
    }
    if let Some(inner) = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) {
        return evaluate(inner, memory).map(f64::trunc);
    }
    if text == "DBInstanceClassMemory" {
        return Some(memory as f64);
    }
    for (name, fold) in [
        ("LEAST(", f64::min as fn(f64, f64) -> f64),
        ("GREATEST(", f64::max),
        ("SUM(", |a, b| a + b),
    ] {
        if let Some(inner) = text.strip_prefix(name).and_then(|t| t.strip_suffix(')')) {
            return split_outside(inner, ',')
                .into_iter()
                .map(|part| evaluate(part, memory))
                .collect::<Option<Vec<f64>>>()?
                .into_iter()
                .reduce(fold);
        }
    }
    for (operator, apply) in [
        ('*', (|a, b| a * b) as fn(f64, f64) -> f64),
        ('/', |a, b| a / b),
    ] {
        let parts = split_outside(text, operator);
        if parts.len() > 1 {
            return parts
                .into_iter()
                .map(|part| evaluate(part, memory))
                .collect::<Option<Vec<f64>>>()?
                .into_iter()
                .reduce(apply)
                .filter(|value| value.is_finite());
        }
    }
    None
}

fn split_outside(text: &str, separator: char) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0_i32, 0, Vec::new());
    for (at, character) in text.char_indices() {
        match character {
            '(' | '{' => depth += 1,
            ')' | '}' => depth -= 1,
            _ if character == separator && depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// What a server is to run with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effective {
    /// Lines of postgresql.conf, already evaluated.
    pub settings: BTreeMap<String, String>,
    /// Whether connections without TLS are refused.
    pub force_ssl: bool,
    /// Whether the write-ahead log carries enough for logical decoding.
    pub logical: bool,
}

/// Resolves a group's values (those set by a user) for a class with `memory` bytes.
pub fn resolve(
    specifications: &[Specification],
    values: &BTreeMap<String, String>,
    memory: u64,
) -> Effective {
    let mut effective = Effective::default();
    for specification in specifications {
        let name = specification.name.as_str();
        let Some(value) = values
            .get(name)
            .map(String::as_str)
            .or(specification.system_value)
        else {
            continue;
        };
        match name {
            "rds.force_ssl" => effective.force_ssl = truth(value),
            "rds.logical_replication" => effective.logical = truth(value),
            _ if name.starts_with("rds.") || !specification.modifiable => {}
            _ if WITHOUT_EFFECT.contains(&name) => {}
            _ => {
                let text = match specification.data_type {
                    "integer" | "float" => evaluate(value, memory)
                        .map_or_else(|| value.to_owned(), |number| number.to_string()),
                    _ => value.to_owned(),
                };
                effective.settings.insert(name.to_owned(), text);
            }
        }
    }
    effective
}

fn truth(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "1" | "on" | "true")
}

#[cfg(test)]
#[path = "parameters_tests.rs"]
mod tests;

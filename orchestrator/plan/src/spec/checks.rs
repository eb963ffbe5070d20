//! What the types cannot say: forms, ranges, and what contradicts what.

mod files;
mod mattermost;
mod node_settings;
mod policy_room;
mod ports;
mod resources;

use std::collections::BTreeSet;

use super::Spec;
use super::structure::Document;
use resources::{is_cidr, is_id};

/// Digests are compared as text everywhere else: lower case, once, here.
pub(super) fn normalise(spec: &mut Spec) {
    spec.mattermost.sha256.make_ascii_lowercase();
    for digest in spec.mattermost.releases.values_mut() {
        digest.make_ascii_lowercase();
    }
    // `chat/` and `chat` are one folder; a slash alone is none.
    if let Some(prefix) = &mut spec.files.prefix {
        prefix.truncate(prefix.strip_suffix('/').unwrap_or(prefix).len());
        if prefix.is_empty() {
            spec.files.prefix = None;
        }
    }
}

/// Notes everything that is wrong.
pub(super) fn check(spec: &Spec, document: &mut Document) {
    stack_and_zones(spec, document);
    mattermost::mattermost(spec, document);
    mattermost::settings(spec, document);
    files::files(spec, document);
    node_settings::secrets(spec, document);
    resources::database(spec, document);
    resources::fleet(spec, document);
    ports::ports(spec, document);
    resources::network(spec, document);
    resources::load_balancer(spec, document);
    rollout(spec, document);
    orchestrator(spec, document);
    policy_room::policies(spec, document);
}

fn stack_and_zones(spec: &Spec, document: &mut Document) {
    let name = &spec.stack;
    let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    // RDS refuses two hyphens in a row and one at the end; target group names allow 32 characters.
    let fine = (1..=20).contains(&name.len())
        && name.bytes().all(letters)
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && !name.contains("--")
        && !name.starts_with("internal-")
        // The security groups' names would begin as ids do, the bucket's as those that S3 keeps.
        && !format!("{name}-").starts_with("sg-")
        && !files::is_reserved(&format!("{name}-"));
    if !fine {
        document.refuse(
            "stack",
            "is not a stack name: 1 to 20 lower-case letters, digits and single hyphens, beginning with a letter, not ending with a hyphen, not beginning with `internal-`, `sg-`, `sthree-` or `amzn-s3-demo-`",
        );
    }
    let mut seen = BTreeSet::new();
    for (index, zone) in spec.zones.iter().enumerate() {
        let path = format!("zones[{index}]");
        if !is_zone(zone) {
            document.refuse(&path, "is not an availability zone, such as `us-east-1a`");
        } else if !seen.insert(zone) {
            document.refuse(&path, "stands here twice: name each zone once");
        }
    }
    if spec.zones.iter().all(|zone| is_zone(zone)) {
        let home = spec.home_region();
        let count = spec.home_zones().len();
        if count < 2 {
            document.refuse(
                "zones",
                format!("names {count} zone(s) of the home region `{home}`: load balancer and DB subnet group need at least two, for example `{home}a` and `{home}b`"),
            );
        }
    }
}

/// AWS's longest has 15 (`us-isof-south-1`); policies name regions, and have little room.
const REGION_LENGTH: usize = 20;

/// `us-east-1a`, `us-gov-west-1b`: a region, and one letter.
fn is_zone(text: &str) -> bool {
    let Some(region) = text.strip_suffix(|c: char| c.is_ascii_lowercase()) else {
        return false;
    };
    if region.len() > REGION_LENGTH {
        return false;
    }
    let parts: Vec<&str> = region.split('-').collect();
    let Some((number, words)) = parts.split_last() else {
        return false;
    };
    words.len() >= 2
        && words[0].len() == 2
        && words
            .iter()
            .all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase()))
        && !number.is_empty()
        && number.bytes().all(|b| b.is_ascii_digit())
}

/// `aws`, `aws-us-gov`: the first part of an ARN's place.
fn is_partition(text: &str) -> bool {
    text.starts_with("aws")
        && text.len() <= 16
        && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
}

/// Of a certificate, or a key of KMS: a UUID, or one behind `mrk-`.
fn is_key_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn range(document: &mut Document, path: &str, value: u32, least: u32, most: u32, unit: &str) {
    if !(least..=most).contains(&value) {
        document.refuse(path, format!("is out of range: {least} to {most}{unit}"));
    }
}

fn rollout(spec: &Spec, document: &mut Document) {
    let ours = &spec.rollout;
    let rising = ours.weights.windows(2).all(|pair| pair[0] < pair[1]);
    if !rising || ours.weights.first() == Some(&0) || ours.weights.last() != Some(&100) {
        document.refuse(
            "rollout.weights",
            "must rise and end with 100, for example [10, 50, 100]",
        );
    }
    range(
        document,
        "rollout.step_seconds",
        ours.step_seconds,
        1,
        86_400,
        " seconds",
    );
    range(
        document,
        "rollout.bake_seconds",
        ours.bake_seconds,
        1,
        604_800,
        " seconds",
    );
    range(
        document,
        "rollout.metrics_delay_seconds",
        ours.metrics_delay_seconds,
        0,
        3600,
        " seconds",
    );
    range(
        document,
        "rollout.min_requests",
        ours.min_requests,
        1,
        1_000_000,
        " requests",
    );
    range(
        document,
        "rollout.max_error_basis_points",
        ours.max_error_basis_points,
        0,
        10_000,
        " (100 is 1 %)",
    );
    range(
        document,
        "rollout.max_p95_ms",
        ours.max_p95_ms,
        1,
        600_000,
        " milliseconds",
    );
    range(
        document,
        "rollout.reads_in_a_row",
        ours.reads_in_a_row,
        1,
        20,
        "",
    );
    for (name, value) in [
        ("phase_deadline_seconds", ours.phase_deadline_seconds),
        ("node_deadline_seconds", ours.node_deadline_seconds),
        (
            "migration_deadline_seconds",
            ours.migration_deadline_seconds,
        ),
    ] {
        range(
            document,
            &format!("rollout.{name}"),
            value,
            1,
            604_800,
            " seconds",
        );
    }
    range(
        document,
        "rollout.retention_seconds",
        ours.retention_seconds,
        0,
        31_536_000,
        " seconds",
    );
}

fn orchestrator(spec: &Spec, document: &mut Document) {
    let ours = &spec.orchestrator;
    if ours.addresses.is_empty() {
        document.refuse(
            "orchestrator.addresses",
            "is empty: nodes need at least one `host:port`",
        );
    }
    for (index, address) in ours.addresses.iter().enumerate() {
        if !is_host_port(address) {
            document.refuse(
                &format!("orchestrator.addresses[{index}]"),
                "is not `host:port`, such as `orchestrator.internal:7443`",
            );
        }
    }
    if ours
        .listen
        .as_deref()
        .is_some_and(|listen| listen.parse::<std::net::SocketAddr>().is_err())
    {
        document.refuse(
            "orchestrator.listen",
            "is not an address and port, such as `0.0.0.0:7443`",
        );
    }
    if ours
        .source
        .as_deref()
        .is_some_and(|source| !is_id(source, "sg-") && !is_cidr(source))
    {
        document.refuse(
            "orchestrator.source",
            "is neither a security group (`sg-…`) nor a range such as `10.0.0.0/16`",
        );
    }
    range(
        document,
        "orchestrator.event_days",
        ours.event_days,
        1,
        3650,
        " days",
    );
    range(
        document,
        "orchestrator.state_age_seconds",
        ours.state_age_seconds,
        1,
        300,
        " s",
    );
    range(
        document,
        "orchestrator.settings_age_seconds",
        ours.settings_age_seconds,
        ours.state_age_seconds.min(300),
        3600,
        " s",
    );
}

fn is_host_port(text: &str) -> bool {
    if let Ok(address) = text.parse::<std::net::SocketAddr>() {
        return address.port() != 0;
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let label = |part: &str| {
        !part.is_empty()
            && part.len() <= 63
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    port.parse::<u16>().is_ok_and(|port| port > 0) && host.split('.').all(label)
}

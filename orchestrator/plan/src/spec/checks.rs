//! What the types cannot say: forms, ranges, and what contradicts what.

use std::collections::BTreeSet;

use super::structure::Document;
use super::{Edition, Spec, is_version};

/// Digests are compared as text everywhere else: lower case, once, here.
pub(super) fn normalise(spec: &mut Spec) {
    spec.mattermost.sha256.make_ascii_lowercase();
    for digest in spec.mattermost.releases.values_mut() {
        digest.make_ascii_lowercase();
    }
}

/// Notes everything that is wrong.
pub(super) fn check(spec: &Spec, document: &mut Document) {
    stack_and_zones(spec, document);
    mattermost(spec, document);
    settings(spec, document);
    database(spec, document);
    fleet(spec, document);
    network(spec, document);
    load_balancer(spec, document);
    rollout(spec, document);
    orchestrator(spec, document);
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
        && !name.starts_with("internal-");
    if !fine {
        document.refuse(
            "stack",
            "is not a stack name: 1 to 20 lower-case letters, digits and single hyphens, beginning with a letter, not ending with a hyphen, not beginning with `internal-`",
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

/// `us-east-1a`, `us-gov-west-1b`: a region, and one letter.
fn is_zone(text: &str) -> bool {
    let Some(region) = text.strip_suffix(|c: char| c.is_ascii_lowercase()) else {
        return false;
    };
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

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn mattermost(spec: &Spec, document: &mut Document) {
    let ours = &spec.mattermost;
    if !is_version(&ours.version) {
        document.refuse(
            "mattermost.version",
            "is not a version of the form `11.10.0`",
        );
    }
    if !is_digest(&ours.sha256) {
        document.refuse(
            "mattermost.sha256",
            "is not a SHA-256: give 64 hexadecimal digits",
        );
    }
    for (version, digest) in &ours.releases {
        let path = format!("mattermost.releases.{version}");
        if !is_version(version) {
            document.refuse(&path, "names no version of the form `11.10.0`");
        }
        if !is_digest(digest) {
            document.refuse(&path, "is not a SHA-256: give 64 hexadecimal digits");
        }
    }
    if let Some(url) = &ours.url {
        if !url.starts_with("https://") || url.len() < 12 || url.contains(char::is_whitespace) {
            document.refuse(
                "mattermost.url",
                "is not an HTTPS address: a release is fetched as `https://…`",
            );
        } else if !ours.releases.is_empty() && !url.contains("{version}") {
            document.refuse("mattermost.url", "names one release only, but `releases` lists more: write `{version}` where the version stands");
        }
    }
    if let Some(secret) = &ours.licence_secret {
        let letters = |c: char| c.is_ascii_alphanumeric() || "/_+=.@-".contains(c);
        if secret.is_empty() || secret.len() > 512 || !secret.chars().all(letters) {
            document.refuse(
                "mattermost.licence_secret",
                "is not the name of a secret: letters, digits and `/_+=.@-`, at most 512",
            );
        }
    }
    if ours.trust_file.as_deref().is_some_and(str::is_empty) {
        document.refuse(
            "mattermost.trust_file",
            "is empty: name a PEM file, or leave it out",
        );
    }
    if ours.cluster && ours.licence_secret.is_none() {
        document.refuse(
            "mattermost.cluster",
            "needs a licence: name its secret in `licence_secret`",
        );
    }
    if ours.cluster && ours.edition == Edition::Team {
        document.refuse(
            "mattermost.cluster",
            "is not possible with Team Edition: use edition = \"enterprise\"",
        );
    }
}

/// Settings that the orchestrator decides, by prefix.
const OURS: [(&str, &str); 8] = [
    (
        "MM_CLUSTERSETTINGS_ENABLE",
        "`mattermost.cluster` decides it",
    ),
    ("MM_CLUSTERSETTINGS_CLUSTERNAME", "the rollout decides it"),
    ("MM_JOBSETTINGS_RUNSCHEDULER", "the rollout decides it"),
    (
        "MM_SQLSETTINGS_DRIVERNAME",
        "the database is always PostgreSQL",
    ),
    (
        "MM_SQLSETTINGS_DATASOURCE",
        "it holds a password and comes from `database`",
    ),
    (
        "MM_SERVICESETTINGS_LISTENADDRESS",
        "the load balancer expects :8065",
    ),
    (
        "MM_SERVICESETTINGS_SITEURL",
        "give `load_balancer.site_url`",
    ),
    (
        "MM_LICENSE",
        "it is a secret: name it in `mattermost.licence_secret`",
    ),
];

fn settings(spec: &Spec, document: &mut Document) {
    for (key, value) in &spec.mattermost.settings {
        let path = format!("mattermost.settings.{key}");
        let form = key.strip_prefix("MM_").is_some_and(|rest| {
            !rest.is_empty()
                && rest
                    .bytes()
                    .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
        });
        if !form {
            document.refuse(&path, "is not a setting: `MM_SECTION_KEY` in capitals");
        } else if let Some((_, why)) = OURS.iter().find(|(prefix, _)| key.starts_with(prefix)) {
            document.refuse_hidden(&path, format!("is set by the orchestrator: {why}"));
        } else if looks_secret(key) {
            document.refuse_hidden(
                &path,
                "looks like a secret: this file is no place for one. Put it into Mattermost's own configuration (System Console), or use the instance profile",
            );
        } else if value.contains(['\n', '\r', '\0']) {
            document.refuse(
                &path,
                "has a line break: an environment file takes one line",
            );
        }
    }
}

/// Whether the last part of the key names a secret. The section does not count:
/// `MM_PASSWORDSETTINGS_MINIMUMLENGTH` is none.
pub(crate) fn looks_secret(key: &str) -> bool {
    let name = key
        .strip_prefix("MM_")
        .and_then(|rest| rest.split_once('_'))
        .map_or(key, |(_, name)| name);
    const ENDS: [&str; 8] = [
        "PASSWORD",
        "SALT",
        "ENCRYPTKEY",
        "ACCESSKEY",
        "DEVELOPERKEY",
        "PRIVATEKEY",
        "TOKEN",
        "APIKEY",
    ];
    name.contains("SECRET") || ENDS.iter().any(|end| name.ends_with(end))
}

fn range(document: &mut Document, path: &str, value: u32, least: u32, most: u32, unit: &str) {
    if !(least..=most).contains(&value) {
        document.refuse(path, format!("is out of range: {least} to {most}{unit}"));
    }
}

fn database(spec: &Spec, document: &mut Document) {
    let ours = &spec.database;
    let class: Vec<&str> = ours.class.split('.').collect();
    if class.len() != 3 || class[0] != "db" || class.iter().any(|part| part.is_empty()) {
        document.refuse(
            "database.class",
            "is not a DB instance class, such as `db.m7g.large`",
        );
    }
    if let Some(version) = &ours.engine_version {
        let numbers: Option<Vec<u32>> = version.split('.').map(|part| part.parse().ok()).collect();
        match numbers.as_deref() {
            Some([major] | [major, _]) if (13..=17).contains(major) => {
                if *major < 14 && major_of(&spec.mattermost.version) >= 11 {
                    document.refuse(
                        "database.engine_version",
                        "is too old: Mattermost 11 needs PostgreSQL 14 or newer",
                    );
                }
            }
            _ => document.refuse(
                "database.engine_version",
                "is not a PostgreSQL version from 13 to 17: `16` or `16.4`",
            ),
        }
    }
    range(
        document,
        "database.storage_gib",
        ours.storage_gib,
        20,
        65_536,
        " GiB (gp3)",
    );
    range(
        document,
        "database.replicas",
        u32::from(ours.replicas),
        0,
        5,
        "",
    );
    range(
        document,
        "database.backup_days",
        u32::from(ours.backup_days),
        1,
        35,
        " days; a replica needs at least 1",
    );
    if let Some(connections) = ours.max_connections {
        range(
            document,
            "database.max_connections",
            connections,
            25,
            262_143,
            "",
        );
    }
    if ours.trust_file.as_deref().is_some_and(str::is_empty) {
        document.refuse(
            "database.trust_file",
            "is empty: name a PEM file, or leave it out",
        );
    }
}

fn major_of(version: &str) -> u32 {
    version
        .split('.')
        .next()
        .and_then(|major| major.parse().ok())
        .unwrap_or(0)
}

fn fleet(spec: &Spec, document: &mut Document) {
    let ours = &spec.fleet;
    let image_id = ours.image.strip_prefix("ami-").map(|digits| {
        matches!(digits.len(), 8 | 17) && digits.bytes().all(|b| b.is_ascii_hexdigit())
    });
    let name = || {
        (3..=128).contains(&ours.image.len())
            && ours
                .image
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || " ()[]./-'@_*".contains(c))
    };
    if image_id == Some(false) || (image_id.is_none() && !name()) {
        document.refuse("fleet.image", "is neither an AMI id (`ami-` and 17 hexadecimal digits) nor an AMI name (3 to 128 characters)");
    }
    if ours
        .instance_type
        .split('.')
        .filter(|part| !part.is_empty())
        .count()
        != 2
    {
        document.refuse(
            "fleet.instance_type",
            "is not an instance type, such as `m7i.large`",
        );
    }
    if ours.min == 0 {
        document.refuse("fleet.min", "leaves nobody to serve: give 1 or more");
    }
    if ours.max < ours.min {
        document.refuse(
            "fleet.max",
            format!(
                "is less than `min` ({}): give {} or more",
                ours.min, ours.min
            ),
        );
    }
    range(document, "fleet.max", ours.max, 0, 500, " nodes");
    if ours.max > 1 && !spec.mattermost.cluster && !spec.mattermost.accept_unlicensed_nodes {
        document.refuse(
            "fleet.max",
            format!(
                "{} nodes need a cluster licence: nodes without one silently lose messages between them. Give max = 1; or name the licence in `mattermost.licence_secret` and set `mattermost.cluster = true`; or set `mattermost.accept_unlicensed_nodes = true`",
                ours.max
            ),
        );
    }
    range(
        document,
        "fleet.scale_out_cpu_percent",
        ours.scale_out_cpu_percent,
        1,
        99,
        " percent",
    );
    if ours.scale_in_cpu_percent >= ours.scale_out_cpu_percent {
        document.refuse(
            "fleet.scale_in_cpu_percent",
            format!(
                "is not below `scale_out_cpu_percent` ({}): the group would swing",
                ours.scale_out_cpu_percent
            ),
        );
    }
    // CloudWatch evaluates at most one day; one period is one minute.
    range(
        document,
        "fleet.scale_out_minutes",
        ours.scale_out_minutes,
        1,
        1440,
        " minutes",
    );
    range(
        document,
        "fleet.scale_in_minutes",
        ours.scale_in_minutes,
        1,
        1440,
        " minutes",
    );
    let letters = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    if ours.instance_profile.is_empty() || !ours.instance_profile.chars().all(letters) {
        document.refuse(
            "fleet.instance_profile",
            "is not the name of an instance profile (its name, not its ARN)",
        );
    }
    // Auto Scaling's limits for a lifecycle hook's heartbeat.
    range(
        document,
        "fleet.boot_seconds",
        ours.boot_seconds,
        30,
        7200,
        " seconds",
    );
    range(
        document,
        "fleet.drain_seconds",
        ours.drain_seconds,
        30,
        7200,
        " seconds",
    );
}

fn network(spec: &Spec, document: &mut Document) {
    let ours = &spec.network;
    if ours.vpc.as_deref().is_some_and(|vpc| !is_id(vpc, "vpc-")) {
        document.refuse(
            "network.vpc",
            "is not a VPC id, such as `vpc-0123456789abcdef0`",
        );
    }
    for (path, subnets) in [
        ("network.subnets", &ours.subnets),
        ("network.public_subnets", &ours.public_subnets),
    ] {
        let mut seen = BTreeSet::new();
        for (index, subnet) in subnets.iter().enumerate() {
            let path = format!("{path}[{index}]");
            if !is_id(subnet, "subnet-") {
                document.refuse(
                    &path,
                    "is not a subnet id, such as `subnet-0123456789abcdef0`",
                );
            } else if !seen.insert(subnet) {
                document.refuse(&path, "stands here twice: name each subnet once");
            }
        }
        if subnets.len() == 1 {
            document.refuse(
                path,
                "names one subnet: at least two in different zones are needed",
            );
        }
        if !subnets.is_empty() && ours.vpc.is_none() {
            document.refuse(path, "needs `network.vpc`: name the VPC that they lie in");
        }
    }
}

fn is_id(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|rest| {
        (8..=17).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

fn is_cidr(text: &str) -> bool {
    text.parse::<ipnet::IpNet>()
        .is_ok_and(|net| net.addr() == net.network())
}

fn load_balancer(spec: &Spec, document: &mut Document) {
    let ours = &spec.load_balancer;
    if let Some(arn) = &ours.certificate_arn {
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let home = spec.home_region();
        match parts.as_slice() {
            ["arn", partition, "acm", region, _, resource]
                if partition.starts_with("aws") && resource.starts_with("certificate/") =>
            {
                if *region != home {
                    document.refuse(
                        "load_balancer.certificate_arn",
                        format!("lies in `{region}`: a load balancer takes certificates of its own region, `{home}`, only"),
                    );
                }
            }
            _ => document.refuse(
                "load_balancer.certificate_arn",
                "is not the ARN of an ACM certificate (`arn:aws:acm:…:certificate/…`)",
            ),
        }
    }
    if let Some(url) = &ours.site_url {
        let host = url
            .strip_prefix("https://")
            .or_else(|| url.strip_prefix("http://"));
        if host.is_none_or(str::is_empty) || url.ends_with('/') || url.contains(char::is_whitespace)
        {
            document.refuse(
                "load_balancer.site_url",
                "is not an address without a slash at its end, such as `https://chat.example.com`",
            );
        }
    }
    range(
        document,
        "load_balancer.idle_timeout_seconds",
        ours.idle_timeout_seconds,
        61,
        4000,
        " seconds; Mattermost's WebSocket pings come every 60",
    );
    range(
        document,
        "load_balancer.deregistration_delay_seconds",
        ours.deregistration_delay_seconds,
        0,
        3600,
        " seconds",
    );
    if ours.allow.is_empty() {
        document.refuse(
            "load_balancer.allow",
            "lets nobody in: name at least one range",
        );
    }
    for (index, range) in ours.allow.iter().enumerate() {
        if !is_cidr(range) {
            document.refuse(
                &format!("load_balancer.allow[{index}]"),
                "is not a range such as `10.0.0.0/8` (address and mask must agree)",
            );
        }
    }
    if !matches!(ours.scheme.as_str(), "internet-facing" | "internal") {
        document.refuse(
            "load_balancer.scheme",
            "is neither \"internet-facing\" nor \"internal\"",
        );
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

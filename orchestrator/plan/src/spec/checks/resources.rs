//! AWS's resources: ranges and forms as AWS has them, and what contradicts what.

use std::collections::BTreeSet;

use super::range;
use crate::spec::structure::Document;
use crate::spec::{Spec, site_url};

pub(super) fn database(spec: &Spec, document: &mut Document) {
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
                let mattermost = major_of(&spec.mattermost.version);
                let oldest = spec.mattermost.versions.oldest_postgresql(mattermost);
                if let Some(oldest) = oldest.filter(|oldest| major < oldest) {
                    document.refuse(
                        "database.engine_version",
                        format!(
                            "is too old: Mattermost {mattermost} needs PostgreSQL {oldest} or newer"
                        ),
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
    range(
        document,
        "database.rollout_snapshots",
        u32::from(ours.rollout_snapshots),
        1,
        100,
        "",
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

pub(super) fn fleet(spec: &Spec, document: &mut Document) {
    let ours = &spec.fleet;
    let image_id = ours.image.strip_prefix("ami-").map(|digits| {
        matches!(digits.len(), 8 | 17) && digits.bytes().all(|b| b.is_ascii_hexdigit())
    });
    let name = || {
        (3..=128).contains(&ours.image.len())
            && ours
                .image
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || " ()[]./-'@_*?".contains(c))
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
    let is_key_name = |name: &str| {
        (1..=64).contains(&name.len())
            && name
                .bytes()
                .all(|b| b == b' ' || (b.is_ascii_graphic() && !b"*?$".contains(&b)))
            && name.trim() == name
    };
    if ours
        .key_pair
        .as_deref()
        .is_some_and(|name| !is_key_name(name))
    {
        document.refuse(
            "fleet.key_pair",
            "is not the name of an EC2 key pair: 1 to 64 ASCII characters (IAM policies name it: no `*`, `?`, `$`), no blank at either end",
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
    range(
        document,
        "fleet.reconnects_per_second",
        ours.reconnects_per_second,
        1,
        10_000,
        " clients a second",
    );
}

pub(super) fn network(spec: &Spec, document: &mut Document) {
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

pub(super) fn is_id(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|rest| {
        (8..=17).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

pub(super) fn is_cidr(text: &str) -> bool {
    text.parse::<ipnet::IpNet>()
        .is_ok_and(|net| net.addr() == net.network())
}

pub(super) fn load_balancer(spec: &Spec, document: &mut Document) {
    let ours = &spec.load_balancer;
    if let Some(arn) = &ours.certificate_arn {
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let home = spec.home_region();
        match parts.as_slice() {
            ["arn", partition, "acm", region, account, resource]
                if super::is_partition(partition)
                    && account.len() == 12
                    && resource
                        .strip_prefix("certificate/")
                        .is_some_and(super::is_key_id) =>
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
    if ours
        .site_url
        .as_deref()
        .is_some_and(|url| site_url::parts(url).is_none())
    {
        document.refuse("load_balancer.site_url", site_url::FORM);
    }
    if let Some(part) = ours.site_url.as_deref().and_then(site_url::collides) {
        document.refuse(
            "load_balancer.site_url",
            format!("lies below `/{part}`, where the server has addresses of its own: give another path, such as `/chat`"),
        );
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

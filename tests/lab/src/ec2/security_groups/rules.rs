//! Rules: authorize, revoke, describe. Each peer of a permission is a rule with an id of its own.

use std::sync::Arc;

use crate::Lab;
use crate::api::{ApiError, Call, Params, Reply, Xml};
use crate::ec2::filter::{Fields, Filters, Page, all_exist};
use crate::ec2::launch_data::{parse_tag_specifications, tags_for};
use crate::ec2::proceed;
use crate::ec2::state::{Peer, Regional, Rule};
use crate::ec2::tags::tag_set;
use crate::iam::ACCOUNT;

use super::{no_group, reference, target};

/// Rules of one direction that a group may have (VPC quotas, "Inbound or outbound rules").
const MAX_RULES: usize = 60;

/// Reads `IpPermissions.N`, or the single permission of the older form.
fn parse(p: &Params, egress: bool) -> Result<Vec<Rule>, ApiError> {
    let mut rules = Vec::new();
    for permission in p.structs("IpPermissions") {
        let before = rules.len();
        let (protocol, from, to) = ports(&permission)?;
        let mut add = |peer: Peer, description: Option<String>| {
            rules.push(Rule {
                id: String::new(),
                egress,
                protocol: protocol.clone(),
                from,
                to,
                peer,
                description,
            });
        };
        for range in permission.structs("IpRanges") {
            add(peer_v4(&range.str("CidrIp")?)?, range.opt("Description"));
        }
        for range in permission.structs("Ipv6Ranges") {
            add(peer_v6(&range.str("CidrIpv6")?)?, range.opt("Description"));
        }
        for group in permission.structs("Groups") {
            let own = group.opt("UserId").is_none_or(|user| user == ACCOUNT);
            let id = group.str("GroupId")?;
            if !own {
                return Err(no_group(&id));
            }
            add(Peer::Group(id), group.opt("Description"));
        }
        if rules.len() == before {
            return Err(ApiError::new(
                "MissingParameter",
                "Source group or IP range must be specified for each permission",
            ));
        }
    }
    if p.has("IpProtocol") {
        let (protocol, from, to) = ports(p)?;
        rules.push(Rule {
            id: String::new(),
            egress,
            protocol,
            from,
            to,
            peer: peer_v4(&p.str("CidrIp")?)?,
            description: None,
        });
    }
    Ok(rules)
}

/// Protocol and port range, as AWS stores them.
fn ports(p: &Params) -> Result<(String, i64, i64), ApiError> {
    let protocol = p.str("IpProtocol")?.to_ascii_lowercase();
    let protocol = match protocol.as_str() {
        "6" => "tcp",
        "17" => "udp",
        "1" => "icmp",
        "58" => "icmpv6",
        "all" => "-1",
        other => other,
    }
    .to_owned();
    let known = ["tcp", "udp", "icmp", "icmpv6", "-1"].contains(&protocol.as_str());
    if !known && protocol.parse::<u8>().is_err() {
        return Err(ApiError::new(
            "InvalidPermission.Malformed",
            format!(
                "Unsupported IP protocol \"{protocol}\" - supported: [tcp, udp, icmp, icmpv6, -1] or a number"
            ),
        ));
    }
    let (from, to) = (p.opt_int("FromPort")?, p.opt_int("ToPort")?);
    match protocol.as_str() {
        "tcp" | "udp" => {
            let (Some(from), Some(to)) = (from, to) else {
                return Err(ApiError::new(
                    "InvalidParameterValue",
                    format!(
                        "Invalid value 'Must specify both from and to ports with {protocol}.' for portRange."
                    ),
                ));
            };
            if !(0..=65535).contains(&from) || !(0..=65535).contains(&to) || from > to {
                return Err(ApiError::new(
                    "InvalidParameterValue",
                    format!(
                        "Invalid value '{from}-{to}' for portRange. Ports are 0 to 65535, the first not above the last."
                    ),
                ));
            }
            Ok((protocol, from, to))
        }
        "icmp" | "icmpv6" => Ok((protocol, from.unwrap_or(-1), to.unwrap_or(-1))),
        _ => Ok((protocol, -1, -1)),
    }
}

fn bad_cidr(text: &str) -> ApiError {
    ApiError::new(
        "InvalidParameterValue",
        format!("CIDR block {text} is malformed"),
    )
}

fn peer_v4(text: &str) -> Result<Peer, ApiError> {
    let cidr: ipnet::Ipv4Net = text.parse().map_err(|_| bad_cidr(text))?;
    Ok(Peer::V4(cidr.trunc().to_string()))
}

fn peer_v6(text: &str) -> Result<Peer, ApiError> {
    let cidr: ipnet::Ipv6Net = text.parse().map_err(|_| bad_cidr(text))?;
    Ok(Peer::V6(cidr.trunc().to_string()))
}

/// The same rule by AWS's measure: everything but id and description.
fn same(a: &Rule, b: &Rule) -> bool {
    a.egress == b.egress
        && a.protocol == b.protocol
        && a.from == b.from
        && a.to == b.to
        && a.peer == b.peer
}

fn peer_text(peer: &Peer) -> &str {
    match peer {
        Peer::V4(text) | Peer::V6(text) | Peer::Group(text) => text,
    }
}

fn rule_xml(region: &Regional, group: &str, rule: &Rule) -> Xml {
    let xml = Xml::new()
        .text("securityGroupRuleId", &rule.id)
        .text("groupId", group)
        .text("groupOwnerId", ACCOUNT)
        .text("isEgress", rule.egress)
        .text("ipProtocol", &rule.protocol)
        .text("fromPort", rule.from)
        .text("toPort", rule.to);
    let xml = match &rule.peer {
        Peer::V4(cidr) => xml.text("cidrIpv4", cidr),
        Peer::V6(cidr) => xml.text("cidrIpv6", cidr),
        Peer::Group(id) => xml.child(
            "referencedGroupInfo",
            Xml::new().text("groupId", id).text("userId", ACCOUNT),
        ),
    };
    xml.opt("description", rule.description.as_ref())
        .list("tagSet", "item", tag_set(&region.tags_of(&rule.id)))
        .text(
            "securityGroupRuleArn",
            format!(
                "arn:aws:ec2:{}:{ACCOUNT}:security-group-rule/{}",
                region.name, rule.id
            ),
        )
}

/// Refuses a rule that comes twice in one call, whatever its description; then one that is there
/// already, which is another error.
fn refuse_repetition(existing: &[Rule], new: &[Rule]) -> Result<(), ApiError> {
    let twice =
        |(index, rule): (usize, &Rule)| new[..index].iter().any(|earlier| same(earlier, rule));
    if new.iter().enumerate().any(twice) {
        return Err(ApiError::new(
            "InvalidParameterValue",
            "The same permission must not appear multiple times",
        ));
    }
    let there = |rule: &&Rule| existing.iter().any(|known| same(known, rule));
    let Some(rule) = new.iter().find(there) else {
        return Ok(());
    };
    let direction = if rule.egress { "egress" } else { "ingress" };
    Err(ApiError::new(
        "InvalidPermission.Duplicate",
        format!(
            "the specified rule \"peer: {}, {}, from port: {}, to port: {}, ALLOW\" already exists ({direction})",
            peer_text(&rule.peer),
            rule.protocol.to_uppercase(),
            rule.from,
            rule.to
        ),
    ))
}

/// AuthorizeSecurityGroupIngress and -Egress: all of the rules or none.
pub(crate) fn authorize(lab: &Arc<Lab>, call: &Call, egress: bool) -> Result<Reply, ApiError> {
    let p = &call.params;
    let (id, name) = reference(p);
    let mut rules = parse(p, egress)?;
    let tags = tags_for(
        &parse_tag_specifications(p, &["security-group-rule"])?,
        "security-group-rule",
    );
    if rules.is_empty() {
        return Err(ApiError::missing("ipPermissions"));
    }
    proceed(p)?;
    let mut region = lab.ec2.region(&call.region)?;
    let id = target(&region, id.as_deref(), name.as_deref())?;
    let existing = &region.groups[&id].rules;
    let unknown = rules.iter().find_map(|rule| match &rule.peer {
        Peer::Group(peer) if !region.groups.contains_key(peer) => Some(no_group(peer)),
        _ => None,
    });
    if let Some(error) = unknown {
        return Err(error);
    }
    refuse_repetition(existing, &rules)?;
    let of_side = existing.iter().filter(|rule| rule.egress == egress).count();
    if of_side + rules.len() > MAX_RULES {
        return Err(ApiError::new(
            "RulesPerSecurityGroupLimitExceeded",
            "The maximum number of rules per security group has been reached.",
        ));
    }
    for rule in &mut rules {
        rule.id = lab.ids.ec2("sgr");
        if !tags.is_empty() {
            region
                .tags
                .insert(rule.id.clone(), tags.iter().cloned().collect());
        }
    }
    let entries: Vec<Xml> = rules
        .iter()
        .map(|rule| rule_xml(&region, &id, rule))
        .collect();
    let group = region.groups.get_mut(&id).ok_or_else(|| no_group(&id))?;
    group.rules.extend(rules);
    Ok(Xml::new()
        .text("return", true)
        .list("securityGroupRuleSet", "item", entries)
        .into())
}

/// RevokeSecurityGroupIngress and -Egress: by permission or by rule id. In a VPC a rule that is not
/// there is refused.
pub(crate) fn revoke(lab: &Arc<Lab>, call: &Call, egress: bool) -> Result<Reply, ApiError> {
    let p = &call.params;
    let (id, name) = reference(p);
    let wanted = parse(p, egress)?;
    let ids = p.list("SecurityGroupRuleId");
    if wanted.is_empty() && ids.is_empty() {
        return Err(ApiError::missing("ipPermissions"));
    }
    proceed(p)?;
    let mut region = lab.ec2.region(&call.region)?;
    let id = target(&region, id.as_deref(), name.as_deref())?;
    let group = region.groups.get_mut(&id).ok_or_else(|| no_group(&id))?;
    let missing_id = ids.iter().find(|id| {
        !group
            .rules
            .iter()
            .any(|rule| rule.id == **id && rule.egress == egress)
    });
    if let Some(missing) = missing_id {
        return Err(ApiError::new(
            "InvalidSecurityGroupRuleId.NotFound",
            format!("The security group rule ID '{missing}' does not exist"),
        ));
    }
    let missing = wanted
        .iter()
        .find(|rule| !group.rules.iter().any(|known| same(known, rule)));
    if missing.is_some() {
        return Err(ApiError::new(
            "InvalidPermission.NotFound",
            "The specified rule does not exist in this security group.",
        ));
    }
    let gone = |rule: &Rule| {
        rule.egress == egress
            && (ids.contains(&rule.id) || wanted.iter().any(|wanted| same(wanted, rule)))
    };
    let (revoked, kept): (Vec<Rule>, Vec<Rule>) =
        std::mem::take(&mut group.rules).into_iter().partition(gone);
    group.rules = kept;
    let mut entries = Vec::new();
    for rule in revoked {
        region.tags.remove(&rule.id);
        let xml = Xml::new()
            .text("securityGroupRuleId", &rule.id)
            .text("groupId", &id)
            .text("isEgress", egress)
            .text("ipProtocol", &rule.protocol)
            .text("fromPort", rule.from)
            .text("toPort", rule.to);
        let xml = match &rule.peer {
            Peer::V4(cidr) => xml.text("cidrIpv4", cidr),
            Peer::V6(cidr) => xml.text("cidrIpv6", cidr),
            Peer::Group(peer) => xml.text("referencedGroupId", peer),
        };
        entries.push(xml.opt("description", rule.description));
    }
    Ok(Xml::new()
        .text("return", true)
        .list("revokedSecurityGroupRuleSet", "item", entries)
        .into())
}

/// DescribeSecurityGroupRules.
pub(crate) fn describe_rules(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let ids = p.list("SecurityGroupRuleId");
    let filters = Filters::parse(p, &["group-id", "security-group-rule-id"])?;
    let page = Page::parse(p, 5, 1000)?;
    proceed(p)?;
    let region = lab.ec2.region(&call.region)?;
    let exists = |id: &str| {
        region
            .groups
            .values()
            .any(|group| group.rules.iter().any(|rule| rule.id == id))
    };
    all_exist(&ids, exists, |id| {
        ApiError::new(
            "InvalidSecurityGroupRuleId.NotFound",
            format!("The security group rule ID '{id}' does not exist"),
        )
    })?;
    let mut entries = Vec::new();
    for group in region.groups.values() {
        for rule in &group.rules {
            let fields: Fields = vec![
                ("group-id", group.id.clone()),
                ("security-group-rule-id", rule.id.clone()),
            ];
            if (ids.is_empty() || ids.contains(&rule.id))
                && filters.pass(&fields, &region.tags_of(&rule.id))
            {
                entries.push((rule.id.clone(), rule_xml(&region, &group.id, rule)));
            }
        }
    }
    let (entries, token) = page.cut(entries);
    Ok(Xml::new()
        .list("securityGroupRuleSet", "item", entries)
        .opt("nextToken", token)
        .into())
}

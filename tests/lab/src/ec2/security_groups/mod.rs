//! Security groups. The lab's network is loopback: rules are kept, shown and checked, not enforced.

mod rules;

use std::sync::Arc;

use crate::api::{ApiError, Call, Params, Reply, Xml};
use crate::iam::ACCOUNT;
use crate::{Lab, elbv2, rds};

use super::filter::{Fields, Filters, Page, all_exist};
use super::launch_data::{parse_tag_specifications, tags_for};
use super::proceed;
use super::state::{Peer, Regional, Rule, SecurityGroup};
use super::tags::tag_set;

pub(crate) use rules::{authorize, describe_rules, revoke};

pub(super) fn no_group(id: &str) -> ApiError {
    ApiError::new(
        "InvalidGroup.NotFound",
        format!("The security group '{id}' does not exist"),
    )
}

fn arn(region: &Regional, id: &str) -> String {
    format!("arn:aws:ec2:{}:{ACCOUNT}:security-group/{id}", region.name)
}

/// The group that `GroupId`, or `GroupName` in the default VPC, names.
fn target(region: &Regional, id: Option<&str>, name: Option<&str>) -> Result<String, ApiError> {
    match (id, name) {
        (Some(id), _) if region.groups.contains_key(id) => Ok(id.to_owned()),
        (Some(id), _) => Err(no_group(id)),
        (None, Some(name)) => {
            let vpc = region.default_vpc().map(|vpc| vpc.id.clone());
            region
                .groups
                .values()
                .find(|group| group.name == name && Some(&group.vpc) == vpc.as_ref())
                .map(|group| group.id.clone())
                .ok_or_else(|| no_group(name))
        }
        (None, None) => Err(ApiError::new(
            "MissingParameter",
            "The request must contain the parameter groupName or groupId",
        )),
    }
}

/// CreateSecurityGroup: nothing may come in, everything may go out.
pub(crate) fn create(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let (name, description) = (p.str("GroupName")?, p.str("GroupDescription")?);
    let vpc = p.given("VpcId");
    let tags = tags_for(
        &parse_tag_specifications(p, &["security-group"])?,
        "security-group",
    );
    check_words("GroupName", &name)?;
    check_words("GroupDescription", &description)?;
    if name.starts_with("sg-") || name == "default" {
        return Err(ApiError::new(
            "InvalidParameterValue",
            format!("Value ({name}) for parameter GroupName is invalid: it is reserved"),
        ));
    }
    proceed(p)?;
    let id = lab.ids.ec2("sg");
    super::faults::hide(lab, &call.region, &id);
    let mut region = lab.ec2.region(&call.region)?;
    let vpc = match vpc {
        Some(id) if region.vpcs.contains_key(&id) => id,
        Some(id) => {
            return Err(ApiError::new(
                "InvalidVpcID.NotFound",
                format!("The vpc ID '{id}' does not exist"),
            ));
        }
        None => region
            .default_vpc()
            .map(|vpc| vpc.id.clone())
            .ok_or_else(|| ApiError::new("VPCIdNotSpecified", "No default VPC for this user."))?,
    };
    if region
        .groups
        .values()
        .any(|group| group.name == name && group.vpc == vpc)
    {
        return Err(ApiError::new(
            "InvalidGroup.Duplicate",
            format!("The security group '{name}' already exists for VPC '{vpc}'"),
        ));
    }
    let group = SecurityGroup {
        id,
        name,
        description,
        vpc,
        rules: vec![Rule {
            id: lab.ids.ec2("sgr"),
            egress: true,
            protocol: "-1".to_owned(),
            from: -1,
            to: -1,
            peer: Peer::V4("0.0.0.0/0".to_owned()),
            description: None,
        }],
    };
    region
        .tags
        .insert(group.id.clone(), tags.into_iter().collect());
    let xml = Xml::new()
        .text("return", true)
        .text("groupId", &group.id)
        .list("tagSet", "item", tag_set(&region.tags_of(&group.id)))
        .text("securityGroupArn", arn(&region, &group.id));
    region.groups.insert(group.id.clone(), group);
    Ok(xml.into())
}

/// The characters that AWS allows in names and descriptions of a VPC's groups.
fn check_words(parameter: &str, text: &str) -> Result<(), ApiError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || " ._-:/()#,@[]+=&;{}!$*".contains(c);
    if (1..=255).contains(&text.chars().count()) && text.chars().all(allowed) {
        return Ok(());
    }
    Err(ApiError::new(
        "InvalidParameterValue",
        format!(
            "Value ({text}) for parameter {parameter} is invalid. Up to 255 characters from the following character set are supported: a-zA-Z0-9. _-:/()#,@[]+=&;{{}}!$*"
        ),
    ))
}

/// DeleteSecurityGroup: not while an instance or another group's rule uses it.
pub(crate) fn delete(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let (id, name) = (p.opt("GroupId"), p.opt("GroupName"));
    proceed(p)?;
    let id = {
        let region = lab.ec2.region(&call.region)?;
        target(&region, id.as_deref(), name.as_deref())?
    };
    let used = elbv2::uses_security_group(lab, &call.region, &id)
        || rds::uses_security_group(lab, &call.region, &id);
    let mut region = lab.ec2.region(&call.region)?;
    let id = target(&region, Some(&id), None)?;
    if region.groups[&id].name == "default" {
        return Err(ApiError::new(
            "CannotDelete",
            format!("the specified group: \"{id}\" name: \"default\" cannot be deleted by a user"),
        ));
    }
    let referenced = region
        .groups
        .values()
        .filter(|other| other.id != id)
        .any(|other| {
            other
                .rules
                .iter()
                .any(|rule| rule.peer == Peer::Group(id.clone()))
        });
    let attached = region.instances.values().any(|instance| {
        instance.state != super::InstanceState::Terminated && instance.groups.contains(&id)
    });
    if referenced || attached || used {
        return Err(ApiError::new(
            "DependencyViolation",
            format!("resource {id} has a dependent object"),
        ));
    }
    region.groups.remove(&id);
    region.tags.remove(&id);
    Ok(Xml::new().text("return", true).text("groupId", id).into())
}

/// Rules of one direction, merged as `ipPermissions` shows them: by protocol and ports.
fn permissions(rules: &[&Rule]) -> Vec<Xml> {
    let mut keys: Vec<(&str, i64, i64)> = Vec::new();
    for rule in rules {
        let key = (rule.protocol.as_str(), rule.from, rule.to);
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys.into_iter()
        .map(|key| {
            let own: Vec<&&Rule> = rules
                .iter()
                .filter(|rule| (rule.protocol.as_str(), rule.from, rule.to) == key)
                .collect();
            let described =
                |rule: &Rule, xml: Xml| xml.opt("description", rule.description.as_ref());
            let (mut v4, mut v6, mut groups) = (Vec::new(), Vec::new(), Vec::new());
            for rule in own {
                match &rule.peer {
                    Peer::V4(cidr) => v4.push(described(rule, Xml::new().text("cidrIp", cidr))),
                    Peer::V6(cidr) => v6.push(described(rule, Xml::new().text("cidrIpv6", cidr))),
                    Peer::Group(id) => groups.push(described(
                        rule,
                        Xml::new().text("userId", ACCOUNT).text("groupId", id),
                    )),
                }
            }
            let (protocol, from, to) = key;
            let xml = Xml::new().text("ipProtocol", protocol);
            let xml = if protocol == "-1" {
                xml
            } else {
                xml.text("fromPort", from).text("toPort", to)
            };
            xml.list("groups", "item", groups)
                .list("ipRanges", "item", v4)
                .list("ipv6Ranges", "item", v6)
                .list("prefixListIds", "item", [])
        })
        .collect()
}

fn group_xml(region: &Regional, group: &SecurityGroup) -> Xml {
    let side = |egress: bool| -> Vec<&Rule> {
        group
            .rules
            .iter()
            .filter(|rule| rule.egress == egress)
            .collect()
    };
    Xml::new()
        .text("ownerId", ACCOUNT)
        .text("groupId", &group.id)
        .text("groupName", &group.name)
        .text("groupDescription", &group.description)
        .text("vpcId", &group.vpc)
        .text("securityGroupArn", arn(region, &group.id))
        .list("ipPermissions", "item", permissions(&side(false)))
        .list("ipPermissionsEgress", "item", permissions(&side(true)))
        .list("tagSet", "item", tag_set(&region.tags_of(&group.id)))
}

/// What rules offer to filters, with the direction's prefix.
fn rule_fields(fields: &mut Fields, rule: &Rule) {
    let names = if rule.egress {
        [
            "egress.ip-permission.protocol",
            "egress.ip-permission.from-port",
            "egress.ip-permission.to-port",
            "egress.ip-permission.cidr",
            "egress.ip-permission.ipv6-cidr",
            "egress.ip-permission.group-id",
        ]
    } else {
        [
            "ip-permission.protocol",
            "ip-permission.from-port",
            "ip-permission.to-port",
            "ip-permission.cidr",
            "ip-permission.ipv6-cidr",
            "ip-permission.group-id",
        ]
    };
    fields.push((names[0], rule.protocol.clone()));
    fields.push((names[1], rule.from.to_string()));
    fields.push((names[2], rule.to.to_string()));
    fields.push(match &rule.peer {
        Peer::V4(cidr) => (names[3], cidr.clone()),
        Peer::V6(cidr) => (names[4], cidr.clone()),
        Peer::Group(id) => (names[5], id.clone()),
    });
}

/// DescribeSecurityGroups.
pub(crate) fn describe(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let (ids, names) = (p.list("GroupId"), p.list("GroupName"));
    let known = [
        "description",
        "group-id",
        "group-name",
        "owner-id",
        "vpc-id",
        "ip-permission.protocol",
        "ip-permission.from-port",
        "ip-permission.to-port",
        "ip-permission.cidr",
        "ip-permission.ipv6-cidr",
        "ip-permission.group-id",
        "egress.ip-permission.protocol",
        "egress.ip-permission.from-port",
        "egress.ip-permission.to-port",
        "egress.ip-permission.cidr",
        "egress.ip-permission.ipv6-cidr",
        "egress.ip-permission.group-id",
    ];
    let filters = Filters::parse(p, &known)?;
    let page = Page::parse(p, 5, 1000)?;
    proceed(p)?;
    let region = lab.ec2.region(&call.region)?;
    let shows = |id: &str| region.groups.contains_key(id) && !region.hidden.contains(id);
    all_exist(&ids, shows, no_group)?;
    for name in &names {
        target(&region, None, Some(name))?;
    }
    let mut entries = Vec::new();
    for group in region.groups.values() {
        let mut fields: Fields = vec![
            ("description", group.description.clone()),
            ("group-id", group.id.clone()),
            ("group-name", group.name.clone()),
            ("owner-id", ACCOUNT.to_owned()),
            ("vpc-id", group.vpc.clone()),
        ];
        for rule in &group.rules {
            rule_fields(&mut fields, rule);
        }
        let named = ids.is_empty() && names.is_empty()
            || ids.contains(&group.id)
            || names.contains(&group.name);
        if named && shows(&group.id) && filters.pass(&fields, &region.tags_of(&group.id)) {
            entries.push((group.id.clone(), group_xml(&region, group)));
        }
    }
    let (entries, token) = page.cut(entries);
    Ok(Xml::new()
        .list("securityGroupInfo", "item", entries)
        .opt("nextToken", token)
        .into())
}

/// Reads `GroupId` and `GroupName`.
fn reference(p: &Params) -> (Option<String>, Option<String>) {
    (p.opt("GroupId"), p.opt("GroupName"))
}

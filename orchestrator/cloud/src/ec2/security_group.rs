//! Security groups: found by tag or by name, with exactly the wanted ingress.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{
    IpPermission, IpRange, Ipv6Range, ResourceType, SecurityGroupRule, UserIdGroupPair,
};
use plan::observed::{PART_TAG, Rule, SecurityGroup, network};

use super::{filter, tag_specification, tags_of};
use crate::apply::Outcome;
use crate::connect::Cloud;
use crate::error::{Called, EffectError, Failure, ReadError};

impl Cloud {
    /// The stack's groups, by part.
    pub(crate) async fn observe_security_groups(
        &self,
    ) -> Result<BTreeMap<String, SecurityGroup>, ReadError> {
        let groups = self
            .look()
            .ec2
            .describe_security_groups()
            .filters(self.ec2_stack_filter())
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
            .await
            .called("ec2:DescribeSecurityGroups")?;
        Ok(groups
            .iter()
            .map(seen)
            .filter_map(|group| Some((group.tags.get(PART_TAG)?.clone(), group)))
            .collect())
    }

    /// A group with exactly these ingress rules: missing ones are added, surplus ones revoked.
    pub(crate) async fn ensure_security_group(
        &self,
        part: &str,
        name: &str,
        vpc_id: &str,
        ingress: &BTreeSet<Rule>,
    ) -> Result<Outcome, EffectError> {
        let (group, created) = match self.security_group(name, vpc_id).await? {
            Some(group) => (group, Outcome::Unchanged),
            None => (
                self.create_security_group(part, name, vpc_id).await?,
                Outcome::Changed,
            ),
        };
        self.check_ours(name, &group.tags)?;
        Ok(created.and(self.set_ingress(&group.id, ingress).await?))
    }

    async fn security_group(
        &self,
        name: &str,
        vpc_id: &str,
    ) -> Result<Option<SecurityGroup>, Failure> {
        let groups = self
            .look()
            .ec2
            .describe_security_groups()
            .filters(filter("group-name", name))
            .filters(filter("vpc-id", vpc_id))
            .send()
            .await
            .called("ec2:DescribeSecurityGroups")?;
        Ok(groups.security_groups().first().map(seen))
    }

    async fn create_security_group(
        &self,
        part: &str,
        name: &str,
        vpc_id: &str,
    ) -> Result<SecurityGroup, EffectError> {
        let tags = self.our_tags([(PART_TAG, part), ("Name", name)]);
        let answer = self
            .act()
            .ec2
            .create_security_group()
            .group_name(name)
            .description(format!("Mattermost stack {}: {part}", self.stack()))
            .vpc_id(vpc_id)
            .tag_specifications(tag_specification(ResourceType::SecurityGroup, &tags))
            .send()
            .await
            .called("ec2:CreateSecurityGroup");
        match answer {
            Ok(answer) => Ok(SecurityGroup {
                id: answer
                    .group_id()
                    .ok_or_else(|| Failure::incomplete("ec2:CreateSecurityGroup", "GroupId"))?
                    .to_owned(),
                name: name.to_owned(),
                tags,
                ..SecurityGroup::default()
            }),
            Err(failure) if failure.is("InvalidGroup.Duplicate") => self
                .security_group(name, vpc_id)
                .await?
                .ok_or_else(|| EffectError::invisible("ec2:CreateSecurityGroup", name)),
            Err(failure) => Err(failure.into()),
        }
    }

    async fn set_ingress(&self, id: &str, wanted: &BTreeSet<Rule>) -> Result<Outcome, EffectError> {
        let there = self.ingress_rules(id).await?;
        let surplus: Vec<String> = there
            .iter()
            .filter(|(rule, _)| !wanted.contains(rule))
            .map(|(_, rule_id)| rule_id.clone())
            .collect();
        let missing: Vec<IpPermission> = wanted
            .iter()
            .filter(|rule| !there.iter().any(|(other, _)| other == *rule))
            .map(permission)
            .collect();
        let mut outcome = Outcome::Unchanged;
        if !missing.is_empty() {
            let answer = self
                .act()
                .ec2
                .authorize_security_group_ingress()
                .group_id(id)
                .set_ip_permissions(Some(missing))
                .send()
                .await
                .called("ec2:AuthorizeSecurityGroupIngress");
            match answer {
                Ok(_) => outcome = Outcome::Changed,
                Err(failure) if failure.is("InvalidPermission.Duplicate") => {}
                Err(failure) => return Err(failure.into()),
            }
        }
        if !surplus.is_empty() {
            let answer = self
                .act()
                .ec2
                .revoke_security_group_ingress()
                .group_id(id)
                .set_security_group_rule_ids(Some(surplus))
                .send()
                .await
                .called("ec2:RevokeSecurityGroupIngress");
            match answer {
                Ok(_) => outcome = Outcome::Changed,
                Err(failure) if failure.is("InvalidSecurityGroupRuleId.NotFound") => {}
                Err(failure) => return Err(failure.into()),
            }
        }
        Ok(outcome)
    }

    /// The group's ingress with the id of each rule: what a rule is revoked by, whatever is in it.
    async fn ingress_rules(&self, id: &str) -> Result<Vec<(Rule, String)>, Failure> {
        let rules = self
            .look()
            .ec2
            .describe_security_group_rules()
            .filters(filter("group-id", id))
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
            .await
            .called("ec2:DescribeSecurityGroupRules")?;
        rules
            .iter()
            .filter(|rule| rule.is_egress() == Some(false))
            .map(|rule| {
                let rule_id = rule.security_group_rule_id().ok_or_else(|| {
                    Failure::incomplete("ec2:DescribeSecurityGroupRules", "SecurityGroupRuleId")
                })?;
                Ok((rule_of(rule), rule_id.to_owned()))
            })
            .collect()
    }

    /// Deletes a group of ours. `DependencyViolation` says that something still uses it.
    pub(crate) async fn delete_security_group(&self, id: &str) -> Result<Outcome, EffectError> {
        let answer = self
            .look()
            .ec2
            .describe_security_groups()
            .group_ids(id)
            .send()
            .await
            .called("ec2:DescribeSecurityGroups");
        let groups = match answer {
            Ok(answer) => answer.security_groups().to_vec(),
            Err(failure) if failure.is("InvalidGroup.NotFound") => return Ok(Outcome::Unchanged),
            Err(failure) => return Err(failure.into()),
        };
        let Some(group) = groups.first() else {
            return Ok(Outcome::Unchanged);
        };
        self.check_ours(id, &tags_of(group.tags()))?;
        let answer = self
            .act()
            .ec2
            .delete_security_group()
            .group_id(id)
            .send()
            .await
            .called("ec2:DeleteSecurityGroup");
        Outcome::gone(answer.map(drop), &["InvalidGroup.NotFound"])
    }
}

fn seen(group: &aws_sdk_ec2::types::SecurityGroup) -> SecurityGroup {
    SecurityGroup {
        id: group.group_id().unwrap_or("").to_owned(),
        name: group.group_name().unwrap_or("").to_owned(),
        ingress: group.ip_permissions().iter().flat_map(rules_in).collect(),
        tags: tags_of(group.tags()),
    }
}

/// A permission as AWS groups them, one rule a source.
fn rules_in(permission: &IpPermission) -> Vec<Rule> {
    let sources = permission
        .ip_ranges()
        .iter()
        .filter_map(IpRange::cidr_ip)
        .chain(
            permission
                .ipv6_ranges()
                .iter()
                .filter_map(Ipv6Range::cidr_ipv6),
        )
        .chain(
            permission
                .user_id_group_pairs()
                .iter()
                .filter_map(UserIdGroupPair::group_id),
        )
        .chain(
            permission
                .prefix_list_ids()
                .iter()
                .filter_map(|list| list.prefix_list_id()),
        );
    let protocol = permission.ip_protocol().unwrap_or("");
    let (from_port, to_port) = ports(protocol, permission.from_port(), permission.to_port());
    sources
        .map(|source| Rule {
            protocol: protocol.to_owned(),
            from_port,
            to_port,
            source: network(source),
        })
        .collect()
}

fn rule_of(rule: &SecurityGroupRule) -> Rule {
    let protocol = rule.ip_protocol().unwrap_or("");
    let (from_port, to_port) = ports(protocol, rule.from_port(), rule.to_port());
    let source = rule
        .cidr_ipv4()
        .or_else(|| rule.cidr_ipv6())
        .or_else(|| {
            rule.referenced_group_info()
                .and_then(|group| group.group_id())
        })
        .or_else(|| rule.prefix_list_id())
        .unwrap_or("");
    Rule {
        protocol: protocol.to_owned(),
        from_port,
        to_port,
        source: network(source),
    }
}

/// All protocols (`-1`) mean all ports, which AWS leaves out or writes as -1.
fn ports(protocol: &str, from: Option<i32>, to: Option<i32>) -> (u16, u16) {
    if protocol == "-1" {
        return (0, u16::MAX);
    }
    let port = |port: Option<i32>, all: u16| {
        port.and_then(|port| u16::try_from(port).ok())
            .unwrap_or(all)
    };
    (port(from, 0), port(to, u16::MAX))
}

fn permission(rule: &Rule) -> IpPermission {
    let permission = IpPermission::builder().ip_protocol(&rule.protocol);
    let permission = if rule.protocol == "-1" {
        permission
    } else {
        permission
            .from_port(rule.from_port.into())
            .to_port(rule.to_port.into())
    };
    let source = rule.source.as_str();
    if source.starts_with("sg-") {
        permission.user_id_group_pairs(UserIdGroupPair::builder().group_id(source).build())
    } else if source.contains(':') {
        permission.ipv6_ranges(Ipv6Range::builder().cidr_ipv6(source).build())
    } else {
        permission.ip_ranges(IpRange::builder().cidr_ip(source).build())
    }
    .build()
}

#[cfg(test)]
mod tests {
    use plan::observed::Rule;

    use super::{permission, rules_in};

    fn rule(protocol: &str, ports: (u16, u16), source: &str) -> Rule {
        Rule {
            protocol: protocol.to_owned(),
            from_port: ports.0,
            to_port: ports.1,
            source: source.to_owned(),
        }
    }

    #[test]
    fn a_rule_reads_back_as_it_was_written() {
        for rule in [
            rule("tcp", (443, 443), "0.0.0.0/0"),
            rule("tcp", (8065, 8065), "sg-0123"),
            rule("udp", (1000, 2000), "2001:db8::/32"),
            rule("-1", (0, u16::MAX), "10.0.0.0/8"),
        ] {
            assert_eq!(rules_in(&permission(&rule)), [rule]);
        }
    }

    #[test]
    fn a_network_reads_in_one_form() {
        for (written, read) in [("::0/0", "::/0"), ("2001:DB8:0::/32", "2001:db8::/32")] {
            let found = rules_in(&permission(&rule("tcp", (80, 80), written)));
            assert_eq!(found, [rule("tcp", (80, 80), read)]);
        }
    }
}

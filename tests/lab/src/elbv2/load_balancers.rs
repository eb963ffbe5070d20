//! The actions on load balancers.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::attributes::Attributes;
use super::metrics::Recorder;
use super::paging::{Page, valid_name};
use super::placement::{allocate, check_subnets, parse_subnets, release};
use super::state::{LoadBalancer, Shared, arn, suffix};
use super::{listener_tls, listeners, tags, targets};
use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};

/// How long a new load balancer is `provisioning`. AWS gives no number; two to three minutes is what
/// Application Load Balancers take, and what botocore's waiter (40 tries of 15 s) expects with room.
const PROVISIONING: Duration = Duration::from_mins(2);
/// The hosted zone of Application Load Balancers in us-east-1 (AWS General Reference, ELB endpoints);
/// the lab gives it for every region, for want of a DNS.
const HOSTED_ZONE: &str = "Z35SXDOTRQ7X7K";

fn validation(message: impl Into<String>) -> ApiError {
    ApiError::new("ValidationError", message)
}

/// `CreateLoadBalancer`
pub(super) fn create(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let params = &call.params;
    let name = valid_name("Load balancer", params.str("Name")?)?;
    if name.starts_with("internal-") {
        return Err(validation(format!(
            "The load balancer name '{name}' cannot begin with 'internal-'"
        )));
    }
    if let Some(kind) = params.opt("Type").filter(|it| it != "application") {
        return Err(ApiError::new(
            "InvalidConfigurationRequest",
            format!("The lab has Application Load Balancers only, not '{kind}'"),
        ));
    }
    let scheme = params
        .opt("Scheme")
        .unwrap_or_else(|| "internet-facing".to_owned());
    if !["internet-facing", "internal"].contains(&scheme.as_str()) {
        return Err(ApiError::new(
            "InvalidScheme",
            format!("Scheme '{scheme}' is not one of internet-facing, internal"),
        ));
    }
    let ip_address_type = ip_address_type(params)?;
    let subnets = parse_subnets(params);
    let mut security_groups = params.list("SecurityGroups");
    let given_tags = tags::parse(params)?;
    params.finish()?;
    let (vpc_id, zones) = check_subnets(lab, &call.region, &subnets)?;
    check_security_groups(lab, &call.region, &security_groups)?;
    if security_groups.is_empty() {
        security_groups.extend(crate::ec2::default_security_group(
            lab,
            &call.region,
            &vpc_id,
        ));
    }

    let existing = lab.elbv2.with(&call.region, |state| {
        let old = state.load_balancers.values().find(|old| old.name == name)?;
        let old_subnets: BTreeSet<_> = old.nodes.iter().map(|node| &node.subnet_id).collect();
        let same = old.scheme == scheme
            && old.ip_address_type == ip_address_type
            && old_subnets == subnets.iter().collect()
            && old.security_groups.iter().collect::<BTreeSet<_>>()
                == security_groups.iter().collect();
        Some(if same {
            Ok(old.xml())
        } else {
            Err(ApiError::new(
                "DuplicateLoadBalancerName",
                format!("A load balancer with the same name '{name}' exists, but with different settings"),
            ))
        })
    });
    if let Some(existing) = existing {
        return Ok(one(existing?));
    }
    let nodes = allocate(lab, &call.region, zones)?;
    let balancer = LoadBalancer {
        arn: arn(
            &call.region,
            &format!("loadbalancer/app/{name}/{}", lab.ids.hex(16)),
        ),
        name,
        scheme,
        ip_address_type,
        vpc_id,
        nodes,
        security_groups,
        created: lab.clock.now(),
        active: false,
        attributes: Attributes::load_balancer(),
        shared: Arc::new(Shared {
            idle: watch::Sender::new(Duration::from_mins(1)),
            keep_alive: watch::Sender::new(Duration::from_hours(1)),
            recorder: Recorder::default(),
            gone: CancellationToken::new(),
        }),
    };
    let (xml, new_arn, gone) = (
        balancer.xml(),
        balancer.arn.clone(),
        balancer.shared.gone.clone(),
    );
    lab.elbv2.with(&call.region, |state| {
        state.tags.insert(new_arn.clone(), given_tags);
        state.load_balancers.insert(new_arn.clone(), balancer);
    });
    let (owned, region) = (Arc::clone(lab), call.region.clone());
    lab.spawn(async move {
        tokio::select! {
            () = owned.clock.sleep(PROVISIONING) => activate(&owned, &region, &new_arn).await,
            () = gone.cancelled() => {}
        }
    });
    Ok(one(xml))
}

async fn activate(lab: &Arc<Lab>, region: &str, arn: &str) {
    let listeners: Vec<String> = lab.elbv2.with(region, |state| {
        if let Some(balancer) = state.load_balancers.get_mut(arn) {
            balancer.active = true;
        }
        state
            .listeners_of(arn)
            .map(|listener| listener.arn.clone())
            .collect()
    });
    for listener in listeners {
        listeners::open(lab, region, &listener).await;
    }
    targets::settle(lab, region);
}

fn one(xml: Xml) -> Reply {
    Xml::new().list("LoadBalancers", "member", [xml]).into()
}

pub(super) fn ip_address_type(params: &crate::api::Params) -> Result<String, ApiError> {
    match params.opt("IpAddressType") {
        None => Ok("ipv4".to_owned()),
        Some(kind) if kind == "ipv4" => Ok(kind),
        Some(kind) => Err(ApiError::new(
            "InvalidConfigurationRequest",
            format!("The lab's networks have IPv4 only; the IP address type cannot be '{kind}'"),
        )),
    }
}

fn check_security_groups(lab: &Lab, region: &str, groups: &[String]) -> Result<(), ApiError> {
    match groups
        .iter()
        .find(|id| !crate::ec2::security_group_exists(lab, region, id))
    {
        None => Ok(()),
        Some(id) => Err(ApiError::new(
            "InvalidSecurityGroup",
            format!("The security group '{id}' does not exist"),
        )),
    }
}

/// `DescribeLoadBalancers`
pub(super) fn describe(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let params = &call.params;
    let (arns, names) = (params.list("LoadBalancerArns"), params.list("Names"));
    let page = Page::parse(params)?;
    params.finish()?;
    lab.elbv2.with(&call.region, |state| {
        for arn in &arns {
            state.load_balancer(arn)?;
        }
        let known = |name: &String| state.load_balancers.values().any(|it| it.name == *name);
        if let Some(name) = names.iter().find(|name| !known(name)) {
            return Err(ApiError::new(
                "LoadBalancerNotFound",
                format!("Load balancers '[{name}]' not found"),
            ));
        }
        let found = state.load_balancers.values().filter(|balancer| {
            (arns.is_empty() || arns.contains(&balancer.arn))
                && (names.is_empty() || names.contains(&balancer.name))
        });
        Ok(page.reply("LoadBalancers", found, |it| &it.arn, LoadBalancer::xml))
    })
}

/// `DeleteLoadBalancer`: with its listeners; one that is not there is deleted already.
pub(super) fn delete(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let arn = call.params.str("LoadBalancerArn")?;
    call.params.finish()?;
    let removed = lab.elbv2.with(&call.region, |state| {
        let Some(balancer) = state.load_balancers.get(&arn) else {
            return Ok(None);
        };
        if balancer.attributes.flag("deletion_protection.enabled") {
            return Err(ApiError::new(
                "OperationNotPermitted",
                format!(
                    "Load balancer '{arn}' cannot be deleted because deletion protection is enabled"
                ),
            ));
        }
        let balancer = state.load_balancers.remove(&arn);
        state.tags.remove(&arn);
        let listeners: Vec<String> = state.listeners_of(&arn).map(|it| it.arn.clone()).collect();
        for listener in listeners {
            state.remove_listener(&listener);
        }
        Ok(balancer)
    })?;
    if let Some(balancer) = removed {
        balancer.shared.gone.cancel();
        release(lab, &call.region, &balancer.nodes);
        targets::settle(lab, &call.region);
    }
    Ok(Xml::new().into())
}

/// `DescribeLoadBalancerAttributes`
pub(super) fn describe_attributes(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let arn = call.params.str("LoadBalancerArn")?;
    call.params.finish()?;
    lab.elbv2.with(&call.region, |state| {
        Ok(state.load_balancer(&arn)?.attributes.xml().into())
    })
}

/// `ModifyLoadBalancerAttributes`
pub(super) fn modify_attributes(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let arn = call.params.str("LoadBalancerArn")?;
    let changes = Attributes::load_balancer().parse(&call.params)?;
    call.params.finish()?;
    let xml = lab.elbv2.with(&call.region, |state| {
        let balancer = state.load_balancer(&arn)?;
        balancer.attributes.set(changes);
        let seconds = |key| balancer.attributes.seconds(key);
        let shared = &balancer.shared;
        shared
            .idle
            .send_replace(seconds("idle_timeout.timeout_seconds"));
        shared
            .keep_alive
            .send_replace(seconds("client_keep_alive.seconds"));
        Ok::<_, ApiError>(balancer.attributes.xml())
    })?;
    listener_tls::refresh_tls(lab, &call.region, &arn);
    Ok(xml.into())
}

/// `SetSecurityGroups`
pub(super) fn set_security_groups(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let arn = call.params.str("LoadBalancerArn")?;
    let groups = call.params.list("SecurityGroups");
    call.params.finish()?;
    if groups.is_empty() {
        return Err(validation("At least one security group must be specified"));
    }
    check_security_groups(lab, &call.region, &groups)?;
    lab.elbv2.with(&call.region, |state| {
        let balancer = state.load_balancer(&arn)?;
        balancer.security_groups.clone_from(&groups);
        Ok(Xml::new()
            .list("SecurityGroupIds", "member", groups.iter().map(Xml::value))
            .into())
    })
}

/// `SetIpAddressType`
pub(super) fn set_ip_address_type(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let arn = call.params.str("LoadBalancerArn")?;
    call.params.str("IpAddressType")?;
    let kind = ip_address_type(&call.params)?;
    call.params.finish()?;
    lab.elbv2.with(&call.region, |state| {
        state.load_balancer(&arn)?;
        Ok(Xml::new().text("IpAddressType", kind).into())
    })
}

impl LoadBalancer {
    /// The address by which clients reach it: the lab has no DNS, so that its name is the first
    /// node's address.
    pub fn dns_name(&self) -> String {
        self.nodes
            .first()
            .map_or(Ipv4Addr::UNSPECIFIED, |node| node.address)
            .to_string()
    }

    /// For metric dimensions and the ARNs of its listeners.
    pub fn suffix(&self) -> &str {
        suffix(&self.arn)
    }

    /// The member `AvailabilityZones`.
    pub fn zones_xml(&self) -> Xml {
        Xml::new().list(
            "AvailabilityZones",
            "member",
            self.nodes.iter().map(|node| {
                Xml::new()
                    .text("ZoneName", &node.zone)
                    .text("SubnetId", &node.subnet_id)
                    .list("LoadBalancerAddresses", "member", [])
            }),
        )
    }

    fn xml(&self) -> Xml {
        let code = if self.active {
            "active"
        } else {
            "provisioning"
        };
        Xml::new()
            .text("LoadBalancerArn", &self.arn)
            .text("DNSName", self.dns_name())
            .text("CanonicalHostedZoneId", HOSTED_ZONE)
            .time("CreatedTime", self.created)
            .text("LoadBalancerName", &self.name)
            .text("Scheme", &self.scheme)
            .text("VpcId", &self.vpc_id)
            .child("State", Xml::new().text("Code", code))
            .text("Type", "application")
            .then(self.zones_xml())
            .list(
                "SecurityGroups",
                "member",
                self.security_groups.iter().map(Xml::value),
            )
            .text("IpAddressType", &self.ip_address_type)
    }
}

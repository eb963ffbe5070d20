//! The actions on listeners, and their sockets.

use std::sync::Arc;

use super::action::Action;
use super::balance::Smooth;
use super::listener_tls::{parse_certificates, refuse_mutual_tls, tls_config, tls_settings};
use super::paging::Page;
use super::proxy::{self, Front, Place};
use super::state::{Listener, RegionState, Rule, arn};
use super::{tags, targets};
use crate::Lab;
use crate::api::{ApiError, Call, Params, Reply, Xml};

fn validation(message: impl Into<String>) -> ApiError {
    ApiError::new("ValidationError", message)
}

fn parse_port(params: &Params) -> Result<Option<u16>, ApiError> {
    params
        .opt_int("Port")?
        .map(|port| {
            u16::try_from(port)
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(|| validation(format!("Port '{port}' must be in the range 1-65535")))
        })
        .transpose()
}

/// Whether TLS is asked for.
fn parse_protocol(params: &Params) -> Result<Option<bool>, ApiError> {
    match params.opt("Protocol").as_deref() {
        None => Ok(None),
        Some("HTTP") => Ok(Some(false)),
        Some("HTTPS") => Ok(Some(true)),
        Some(other) => Err(ApiError::new(
            "UnsupportedProtocol",
            format!("Application Load Balancers have listeners for HTTP and HTTPS, not '{other}'"),
        )),
    }
}

/// `CreateListener`
pub(super) async fn create(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let params = &call.params;
    let balancer = params.str("LoadBalancerArn")?;
    let port =
        parse_port(params)?.ok_or_else(|| validation("A listener port must be specified"))?;
    let wanted = parse_protocol(params)?
        .ok_or_else(|| validation("A listener protocol must be specified"))?;
    let policy = params.opt("SslPolicy");
    let certificates = parse_certificates(params)?;
    refuse_mutual_tls(params)?;
    let action = Action::parse(params, "DefaultActions")?;
    let given_tags = tags::parse(params)?;
    params.finish()?;
    let tls = tls_settings(wanted, policy, certificates, None)?;
    let config = tls_config(lab, &call.region, &balancer, tls.as_ref())?;

    let (xml, opened) = lab.elbv2.with(&call.region, |state| {
        let suffix = state.load_balancer(&balancer)?.suffix().to_owned();
        state.check_targets(&balancer, &action)?;
        if let Some(old) = state.listeners_of(&balancer).find(|old| old.port == port) {
            return if old.tls == tls && old.default.action == action {
                Ok((old.xml(), None))
            } else {
                Err(ApiError::new(
                    "DuplicateListener",
                    format!(
                        "A listener already exists on this port for this load balancer '{balancer}'"
                    ),
                ))
            };
        }
        let id = lab.ids.hex(16);
        let listener_arn = arn(&call.region, &format!("listener/{suffix}/{id}"));
        let rule_arn = arn(
            &call.region,
            &format!("listener-rule/{suffix}/{id}/{}", lab.ids.hex(16)),
        );
        let listener = Listener {
            arn: listener_arn.clone(),
            load_balancer: balancer.clone(),
            port,
            tls,
            default: Rule {
                arn: rule_arn,
                priority: None,
                conditions: Vec::new(),
                action,
                turn: Smooth::default(),
            },
            rules: Vec::new(),
            front: Arc::new(Front::new(config)),
        };
        let xml = listener.xml();
        state.tags.insert(listener_arn.clone(), given_tags);
        state.listeners.insert(listener_arn.clone(), listener);
        Ok((xml, Some(listener_arn)))
    })?;
    if let Some(listener) = opened {
        open(lab, &call.region, &listener).await;
        targets::settle(lab, &call.region);
    }
    Ok(Xml::new().list("Listeners", "member", [xml]).into())
}

/// Opens and closes a listener's sockets as its load balancer's nodes want it, if that is active.
pub(super) async fn open(lab: &Arc<Lab>, region: &str, listener: &str) {
    let found = lab.elbv2.with(region, |state| {
        let listener = state.listeners.get(listener)?;
        let balancer = state
            .load_balancers
            .get(&listener.load_balancer)
            .filter(|balancer| balancer.active)?;
        let place = Place {
            lab: Arc::clone(lab),
            region: region.to_owned(),
            listener: listener.arn.clone(),
            port: listener.port,
            shared: Arc::clone(&balancer.shared),
            front: Arc::clone(&listener.front),
        };
        let addresses: Vec<_> = balancer.nodes.iter().map(|node| node.address).collect();
        listener.front.keep(&addresses);
        Some((place, addresses))
    });
    if let Some((place, addresses)) = found {
        proxy::open(place, &addresses).await;
    }
}

/// Closes a listener's sockets and connections, and opens it as it now is.
pub(super) async fn reopen(lab: &Arc<Lab>, region: &str, listener: &str) {
    lab.elbv2.with(region, |state| {
        if let Some(listener) = state.listeners.get_mut(listener) {
            listener.front.closed.cancel();
            listener.front = Arc::new(listener.front.again());
        }
    });
    open(lab, region, listener).await;
}

/// `ModifyListener`
pub(super) async fn modify(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let params = &call.params;
    let listener_arn = params.str("ListenerArn")?;
    let port = parse_port(params)?;
    let wanted = parse_protocol(params)?;
    let policy = params.opt("SslPolicy");
    let certificates = parse_certificates(params)?;
    refuse_mutual_tls(params)?;
    let action = if params.structs("DefaultActions").is_empty() {
        None
    } else {
        Some(Action::parse(params, "DefaultActions")?)
    };
    params.finish()?;
    let (balancer, before) = lab.elbv2.with(&call.region, |state| {
        let listener = state.listener(&listener_arn)?;
        Ok::<_, ApiError>((listener.load_balancer.clone(), listener.tls.clone()))
    })?;
    let wanted = wanted.unwrap_or(before.is_some());
    let tls = tls_settings(wanted, policy, certificates, before.as_ref())?;
    let config = tls_config(lab, &call.region, &balancer, tls.as_ref())?;
    let (xml, moved) = lab.elbv2.with(&call.region, |state| {
        if let Some(action) = &action {
            state.check_targets(&balancer, action)?;
        }
        if let Some(port) = port
            && state
                .listeners_of(&balancer)
                .any(|other| other.port == port && other.arn != listener_arn)
        {
            return Err(ApiError::new(
                "DuplicateListener",
                format!(
                    "A listener already exists on this port for this load balancer '{balancer}'"
                ),
            ));
        }
        let listener = state.listener(&listener_arn)?;
        let moved = port.is_some_and(|port| port != listener.port);
        listener.port = port.unwrap_or(listener.port);
        listener.tls = tls;
        listener.front.set_tls(config);
        if let Some(action) = action {
            listener.default.action = action;
        }
        Ok((listener.xml(), moved))
    })?;
    if moved {
        reopen(lab, &call.region, &listener_arn).await;
    }
    targets::settle(lab, &call.region);
    Ok(Xml::new().list("Listeners", "member", [xml]).into())
}

/// `DescribeListeners`
pub(super) fn describe(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let balancer = call.params.opt("LoadBalancerArn");
    let arns = call.params.list("ListenerArns");
    let page = Page::parse(&call.params)?;
    call.params.finish()?;
    if balancer.is_none() && arns.is_empty() {
        return Err(validation(
            "You must specify either listener ARNs or a load balancer ARN",
        ));
    }
    lab.elbv2.with(&call.region, |state| {
        if let Some(balancer) = &balancer {
            state.load_balancer(balancer)?;
        }
        if !arns.iter().all(|arn| state.listeners.contains_key(arn)) {
            return Err(ApiError::new(
                "ListenerNotFound",
                "One or more listeners not found",
            ));
        }
        let found = state.listeners.values().filter(|listener| {
            (arns.is_empty() || arns.contains(&listener.arn))
                && balancer
                    .as_ref()
                    .is_none_or(|it| *it == listener.load_balancer)
        });
        Ok(page.reply("Listeners", found, |it| &it.arn, Listener::xml))
    })
}

/// `DeleteListener`
pub(super) fn delete(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let arn = call.params.str("ListenerArn")?;
    call.params.finish()?;
    lab.elbv2.with(&call.region, |state| {
        state.listener(&arn)?;
        state.remove_listener(&arn);
        Ok::<_, ApiError>(())
    })?;
    targets::settle(lab, &call.region);
    Ok(Xml::new().into())
}

/// The listener attributes that an Application Load Balancer has are header rewrites that the lab does
/// not do: none is set, and none can be.
pub(super) fn describe_attributes(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let arn = call.params.str("ListenerArn")?;
    call.params.finish()?;
    lab.elbv2.with(&call.region, |state: &mut RegionState| {
        state.listener(&arn)?;
        Ok(Xml::new().list("Attributes", "member", []).into())
    })
}

impl Listener {
    fn xml(&self) -> Xml {
        let xml = Xml::new()
            .text("ListenerArn", &self.arn)
            .text("LoadBalancerArn", &self.load_balancer)
            .text("Port", self.port)
            .text("Protocol", self.protocol());
        let xml = match &self.tls {
            None => xml,
            Some(tls) => xml
                .list(
                    "Certificates",
                    "member",
                    tls.certificates
                        .first()
                        .map(|arn| Xml::new().text("CertificateArn", arn)),
                )
                .text("SslPolicy", &tls.policy)
                .child("MutualAuthentication", Xml::new().text("Mode", "off")),
        };
        xml.list("DefaultActions", "member", [self.default.action.xml()])
    }
}

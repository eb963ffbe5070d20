//! The actions on listeners, and their sockets.

use std::sync::Arc;

use super::action::Action;
use super::balance::Smooth;
use super::paging::Page;
use super::proxy::{self, Front, Place};
use super::state::{Listener, RegionState, Rule, TlsSettings, arn};
use super::{tags, targets};
use crate::Lab;
use crate::api::{ApiError, Call, Params, Reply, Xml};

/// What a listener has when none is named (API reference of CreateListener).
const DEFAULT_POLICY: &str = "ELBSecurityPolicy-2016-08";

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

fn parse_certificates(params: &Params) -> Result<Vec<String>, ApiError> {
    params
        .structs("Certificates")
        .iter()
        .map(|certificate| {
            if certificate.has("IsDefault") {
                return Err(validation("IsDefault must not be set"));
            }
            certificate.str("CertificateArn")
        })
        .collect()
}

/// TLS settings from what a call gives and what was before.
fn tls_settings(
    wanted: bool,
    policy: Option<String>,
    certificates: Vec<String>,
    before: Option<&TlsSettings>,
) -> Result<Option<TlsSettings>, ApiError> {
    if !wanted {
        return if policy.is_some() || !certificates.is_empty() {
            Err(validation(
                "A certificate or security policy can be specified for HTTPS listeners only",
            ))
        } else {
            Ok(None)
        };
    }
    if certificates.len() > 1 {
        return Err(ApiError::new(
            "TooManyCertificates",
            "Exactly one default certificate can be specified; add others with AddListenerCertificates",
        ));
    }
    let mut all = before.map(|it| it.certificates.clone()).unwrap_or_default();
    match (certificates.into_iter().next(), all.is_empty()) {
        (None, true) => {
            return Err(validation(
                "A certificate must be specified for HTTPS listeners",
            ));
        }
        (None, false) => {}
        (Some(new), true) => all.push(new),
        (Some(new), false) => all[0] = new,
    }
    let policy = policy
        .or_else(|| before.map(|it| it.policy.clone()))
        .unwrap_or_else(|| DEFAULT_POLICY.to_owned());
    tags::check_policy(&policy)?;
    Ok(Some(TlsSettings {
        policy,
        certificates: all,
    }))
}

fn tls_config(
    lab: &Lab,
    region: &str,
    balancer: &str,
    settings: Option<&TlsSettings>,
) -> Result<Option<Arc<rustls::ServerConfig>>, ApiError> {
    let Some(settings) = settings else {
        return Ok(None);
    };
    let http2 = lab.elbv2.with(region, |state| {
        Ok::<_, ApiError>(
            state
                .load_balancer(balancer)?
                .attributes
                .flag("routing.http2.enabled"),
        )
    })?;
    proxy::configuration(lab, region, settings, http2).map(Some)
}

fn refuse_mutual_tls(params: &Params) -> Result<(), ApiError> {
    let Some(mutual) = params.sub("MutualAuthentication") else {
        return Ok(());
    };
    match mutual.opt("Mode").as_deref() {
        None | Some("off") => Ok(()),
        Some(mode) => Err(ApiError::new(
            "InvalidConfigurationRequest",
            format!("The lab's listeners have no mutual authentication; Mode cannot be '{mode}'"),
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

/// Opens a listener's sockets if its load balancer is active.
pub(super) async fn open(lab: &Arc<Lab>, region: &str, listener: &str) {
    let found = lab.elbv2.with(region, |state| {
        let listener = state.listeners.get(listener)?;
        let balancer = state
            .load_balancers
            .get(&listener.load_balancer)
            .filter(|balancer| balancer.active)?;
        // Opened before: the load balancer became active while the listener was created.
        if !listener.front.bound().is_empty() {
            return None;
        }
        let place = Place {
            lab: Arc::clone(lab),
            region: region.to_owned(),
            listener: listener.arn.clone(),
            port: listener.port,
            shared: Arc::clone(&balancer.shared),
            front: Arc::clone(&listener.front),
        };
        let addresses: Vec<_> = balancer.nodes.iter().map(|node| node.address).collect();
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

/// Gives the HTTPS listeners of a load balancer their configuration anew.
pub(super) fn refresh_tls(lab: &Lab, region: &str, balancer: &str) {
    let listeners: Vec<_> = lab.elbv2.with(region, |state| {
        state
            .listeners_of(balancer)
            .map(|it| (it.tls.clone(), Arc::clone(&it.front)))
            .collect()
    });
    for (settings, front) in listeners {
        match tls_config(lab, region, balancer, settings.as_ref()) {
            Ok(config) => front.set_tls(config),
            Err(error) => log::warn!("{balancer}: {error}; its listener keeps its certificate"),
        }
    }
}

/// The load balancers whose listeners have a certificate.
pub fn certificate_users(lab: &Lab, region: &str, certificate: &str) -> Vec<String> {
    lab.elbv2.with(region, |state| {
        let mut users: Vec<String> = state
            .listeners
            .values()
            .filter(|listener| {
                let tls = listener.tls.as_ref();
                tls.is_some_and(|tls| tls.certificates.iter().any(|it| it == certificate))
            })
            .map(|listener| listener.load_balancer.clone())
            .collect();
        users.sort();
        users.dedup();
        users
    })
}

/// A certificate was imported anew: connections from now on get the new one.
pub fn certificate_changed(lab: &Lab, region: &str, certificate: &str) {
    for balancer in certificate_users(lab, region, certificate) {
        refresh_tls(lab, region, &balancer);
    }
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
        page.reply("Listeners", found, |it| &it.arn, Listener::xml)
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

/// `AddListenerCertificates` and `RemoveListenerCertificates`
pub(super) fn change_certificates(
    lab: &Arc<Lab>,
    call: &Call,
    add: bool,
) -> Result<Reply, ApiError> {
    let listener_arn = call.params.str("ListenerArn")?;
    let certificates = parse_certificates(&call.params)?;
    call.params.finish()?;
    let (balancer, before) = lab.elbv2.with(&call.region, |state| {
        let listener = state.listener(&listener_arn)?;
        Ok::<_, ApiError>((listener.load_balancer.clone(), listener.tls.clone()))
    })?;
    let mut tls = before.ok_or_else(|| {
        validation(format!(
            "Listener '{listener_arn}' is not an HTTPS listener"
        ))
    })?;
    if add {
        for certificate in &certificates {
            if !tls.certificates.contains(certificate) {
                tls.certificates.push(certificate.clone());
            }
        }
    } else if tls
        .certificates
        .first()
        .is_some_and(|it| certificates.contains(it))
    {
        return Err(ApiError::new(
            "OperationNotPermitted",
            "Default certificate cannot be removed",
        ));
    } else {
        tls.certificates.retain(|it| !certificates.contains(it));
    }
    let config = tls_config(lab, &call.region, &balancer, Some(&tls))?;
    lab.elbv2.with(&call.region, |state| {
        let listener = state.listener(&listener_arn)?;
        listener.tls = Some(tls);
        listener.front.set_tls(config);
        let xml = Xml::new();
        Ok(if add {
            xml.list(
                "Certificates",
                "member",
                certificates.iter().map(|arn| {
                    Xml::new()
                        .text("CertificateArn", arn)
                        .text("IsDefault", false)
                }),
            )
        } else {
            xml
        }
        .into())
    })
}

/// `DescribeListenerCertificates`
pub(super) fn describe_certificates(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let arn = call.params.str("ListenerArn")?;
    call.params.accept(&["Marker", "PageSize"]);
    call.params.finish()?;
    lab.elbv2.with(&call.region, |state| {
        let tls = state.listener(&arn)?.tls.clone();
        let certificates = tls.map(|it| it.certificates).unwrap_or_default();
        let entries = certificates.iter().enumerate().map(|(index, arn)| {
            Xml::new()
                .text("CertificateArn", arn)
                .text("IsDefault", index == 0)
        });
        Ok(Xml::new().list("Certificates", "member", entries).into())
    })
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

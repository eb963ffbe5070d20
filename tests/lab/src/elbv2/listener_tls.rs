//! What HTTPS listeners have: a security policy and certificates from ACM.

use std::sync::Arc;

use super::proxy;
use super::state::TlsSettings;
use super::tags;
use crate::Lab;
use crate::api::{ApiError, Call, Params, Reply, Xml};

/// What a listener has when none is named (API reference of CreateListener).
const DEFAULT_POLICY: &str = "ELBSecurityPolicy-2016-08";

fn validation(message: impl Into<String>) -> ApiError {
    ApiError::new("ValidationError", message)
}

/// The ARNs in `Certificates`.
pub(super) fn parse_certificates(params: &Params) -> Result<Vec<String>, ApiError> {
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
pub(super) fn tls_settings(
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

/// The TLS configuration for settings; none for HTTP.
pub(super) fn tls_config(
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

/// `MutualAuthentication` may only say `off`.
pub(super) fn refuse_mutual_tls(params: &Params) -> Result<(), ApiError> {
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

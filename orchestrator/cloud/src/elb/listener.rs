//! Listeners: what a port does, and the weights that decide which target group serves.

use std::collections::BTreeMap;

use aws_sdk_elasticloadbalancingv2::types::{self, Certificate, ProtocolEnum};
use plan::observed::{Forward, Listener, ListenerAction};

use super::action::{action, seen_action};
use super::{not_found, tag_list};
use crate::apply::Outcome;
use crate::connect::Cloud;
use crate::error::{Called, EffectError, Failure};

/// What an HTTPS listener offers: TLS 1.3 and 1.2 with forward secrecy, the policy that AWS recommends.
const TLS_POLICY: &str = "ELBSecurityPolicy-TLS13-1-2-2021-06";

impl Cloud {
    /// The listeners of a load balancer, by port.
    pub(super) async fn listeners(
        &self,
        load_balancer: &str,
    ) -> Result<BTreeMap<u16, Listener>, Failure> {
        let answer = self
            .look()
            .elb
            .describe_listeners()
            .load_balancer_arn(load_balancer)
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
            .await
            .called("elasticloadbalancing:DescribeListeners");
        match answer {
            Ok(found) => found
                .iter()
                .map(|listener| seen(listener).map(|seen| (seen.port, seen)))
                .collect(),
            Err(failure) if not_found(&failure) => Ok(BTreeMap::new()),
            Err(failure) => Err(failure),
        }
    }

    /// A listener on this port with this protocol and certificate. The default action is set when it is
    /// of another kind (or another redirect); weights between target groups are `set_weights`' alone.
    pub(crate) async fn ensure_listener(
        &self,
        port: u16,
        protocol: &str,
        certificate: Option<&str>,
        load_balancer: &str,
        wanted: &ListenerAction,
    ) -> Result<Outcome, EffectError> {
        const CALL: &str = "elasticloadbalancing:ModifyListener";
        if !self.elb_is_there_and_ours(load_balancer).await? {
            return Err(EffectError::refused(
                "elasticloadbalancing:CreateListener",
                "LoadBalancerNotFound",
                format!("load balancer `{load_balancer}` does not exist"),
            ));
        }
        let there = match self.listeners(load_balancer).await?.remove(&port) {
            Some(there) => there,
            None => {
                match self
                    .create_listener(port, protocol, certificate, load_balancer, wanted)
                    .await?
                {
                    None => return Ok(Outcome::Changed),
                    Some(there) => there,
                }
            }
        };
        let same_action = match (&there.action, wanted) {
            (ListenerAction::Forward(_), ListenerAction::Forward(_)) => true,
            (there, wanted) => there == wanted,
        };
        let secured = there.protocol == protocol && there.certificate.as_deref() == certificate;
        if same_action && secured {
            return Ok(Outcome::Unchanged);
        }
        let call = self.act().elb.modify_listener().listener_arn(&there.arn);
        let call = if secured {
            call
        } else {
            call.protocol(protocol.into())
                .set_certificates(certificates(certificate))
                .set_ssl_policy(tls_policy(protocol))
        };
        let call = if same_action {
            call
        } else {
            call.default_actions(action(CALL, wanted)?)
        };
        call.send().await.called(CALL)?;
        Ok(Outcome::Changed)
    }

    /// Creates a listener; `Some` when another one was faster.
    async fn create_listener(
        &self,
        port: u16,
        protocol: &str,
        certificate: Option<&str>,
        load_balancer: &str,
        wanted: &ListenerAction,
    ) -> Result<Option<Listener>, EffectError> {
        const CALL: &str = "elasticloadbalancing:CreateListener";
        let answer = self
            .act()
            .elb
            .create_listener()
            .load_balancer_arn(load_balancer)
            .port(port.into())
            .protocol(ProtocolEnum::from(protocol))
            .set_certificates(certificates(certificate))
            .set_ssl_policy(tls_policy(protocol))
            .default_actions(action(CALL, wanted)?)
            .set_tags(Some(tag_list(&self.our_tags([]))))
            .send()
            .await
            .called(CALL);
        match answer {
            Ok(_) => Ok(None),
            Err(failure) if failure.is("DuplicateListener") => self
                .listeners(load_balancer)
                .await?
                .remove(&port)
                .map(Some)
                .ok_or_else(|| EffectError::invisible(CALL, &format!("listener {port}"))),
            Err(failure) => Err(failure.into()),
        }
    }

    /// The weight of every target group behind the listener, and for how long clients stay with theirs.
    pub(crate) async fn set_weights(
        &self,
        listener: &str,
        weights: &Forward,
    ) -> Result<Outcome, EffectError> {
        self.set_default_action(listener, &ListenerAction::Forward(weights.clone()))
            .await
    }

    /// The listener answers itself.
    pub(crate) async fn set_fixed_response(
        &self,
        listener: &str,
        status: u16,
        body: &str,
    ) -> Result<Outcome, EffectError> {
        self.set_default_action(listener, &ListenerAction::Fixed(status, body.to_owned()))
            .await
    }

    async fn set_default_action(
        &self,
        listener: &str,
        wanted: &ListenerAction,
    ) -> Result<Outcome, EffectError> {
        const CALL: &str = "elasticloadbalancing:ModifyListener";
        let (ours, there) = futures_util::try_join!(self.elb_is_there_and_ours(listener), async {
            self.listener(listener).await.map_err(EffectError::from)
        })?;
        let Some(there) = there.filter(|_| ours) else {
            return Err(EffectError::refused(
                CALL,
                "ListenerNotFound",
                format!("listener `{listener}` does not exist"),
            ));
        };
        if there.action == *wanted {
            return Ok(Outcome::Unchanged);
        }
        self.act()
            .elb
            .modify_listener()
            .listener_arn(listener)
            .default_actions(action(CALL, wanted)?)
            .send()
            .await
            .called(CALL)?;
        Ok(Outcome::Changed)
    }

    async fn listener(&self, arn: &str) -> Result<Option<Listener>, Failure> {
        let answer = self
            .look()
            .elb
            .describe_listeners()
            .listener_arns(arn)
            .send()
            .await
            .called("elasticloadbalancing:DescribeListeners");
        match answer {
            Ok(answer) => answer.listeners().first().map(seen).transpose(),
            Err(failure) if not_found(&failure) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Deletes a listener of ours.
    pub(crate) async fn delete_listener(&self, arn: &str) -> Result<Outcome, EffectError> {
        if !self.elb_is_there_and_ours(arn).await? {
            return Ok(Outcome::Unchanged);
        }
        let answer = self
            .act()
            .elb
            .delete_listener()
            .listener_arn(arn)
            .send()
            .await
            .called("elasticloadbalancing:DeleteListener");
        Outcome::gone(answer.map(drop), &["ListenerNotFound"])
    }
}

fn certificates(arn: Option<&str>) -> Option<Vec<Certificate>> {
    arn.map(|arn| vec![Certificate::builder().certificate_arn(arn).build()])
}

fn tls_policy(protocol: &str) -> Option<String> {
    (protocol == "HTTPS").then(|| TLS_POLICY.to_owned())
}

fn seen(listener: &types::Listener) -> Result<Listener, Failure> {
    let missing = |what: &str| Failure::incomplete("elasticloadbalancing:DescribeListeners", what);
    Ok(Listener {
        arn: listener
            .listener_arn()
            .ok_or_else(|| missing("ListenerArn"))?
            .to_owned(),
        port: listener
            .port()
            .and_then(|port| u16::try_from(port).ok())
            .ok_or_else(|| missing("Port"))?,
        protocol: listener
            .protocol()
            .map_or("", |protocol| protocol.as_str())
            .to_owned(),
        certificate: listener
            .certificates()
            .first()
            .and_then(|certificate| certificate.certificate_arn())
            .map(str::to_owned),
        action: listener
            .default_actions()
            .iter()
            .max_by_key(|action| action.order().unwrap_or(0))
            .map_or_else(|| ListenerAction::Other("none".to_owned()), seen_action),
    })
}

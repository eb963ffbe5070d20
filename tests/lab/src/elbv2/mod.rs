//! Elastic Load Balancing v2 (API version 2015-12-01): Application Load Balancers that really balance.
//!
//! ```text
//!  Create… Modify… Delete…            clients
//!        |                               |
//!        v                               v
//!  +-----------+   reconcile   +-------------------+   pooled HTTP/1.1    +--------+
//!  |   state   | ------------> | proxy, one socket | -------------------> | target |
//!  | (1 mutex) | <------------ | per zone address  |                      |        |
//!  +-----------+  rule, group, +-------------------+                      |        |
//!        ^        target          |                                       |        |
//!        |                        v every lab minute                      |        |
//!        |                    cloudwatch::put                             |        |
//!        +---- probe, one task per target of a named target group ------> |        |
//!                                                                         +--------+
//! ```
//!
//! Invariants:
//! * A new request never goes to a target that is draining or unused.
//! * A request or an upgraded connection that is under way when its target is deregistered goes on
//!   until it ends or the deregistration delay does; then it is cut.
//! * A target group is probed exactly while a listener or a rule of an active load balancer names it.
//! * The state's lock is never held across an await or a call into another service.
//!
//! docs/lab/elbv2.md lists the behaviours with the AWS pages that they come from, and what is simplified.

mod action;
mod attributes;
mod balance;
mod condition;
mod health;
mod listener_tls;
mod listeners;
mod load_balancers;
mod metrics;
mod paging;
mod placement;
mod probe;
mod proxy;
mod redirect;
mod rules;
mod state;
mod tags;
mod target_groups;
mod targets;

use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};

use crate::Lab;
use crate::api::{ApiError, Call, Reply};

pub use listener_tls::{certificate_changed, certificate_users};
pub use proxy::check_key_pair;
pub use state::Elbv2;
pub(crate) use tags::tags_by_arn;
pub use targets::{deregister, register, target_group_exists, target_state, uses_security_group};

/// Starts the service's tasks.
pub fn start(lab: &Arc<Lab>) {
    lab.spawn(metrics::publish_every_minute(Arc::clone(lab)));
}

/// Answers a call.
pub async fn dispatch(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    match call.action.as_str() {
        "CreateLoadBalancer" => load_balancers::create(lab, call),
        "DescribeLoadBalancers" => load_balancers::describe(lab, call),
        "DeleteLoadBalancer" => load_balancers::delete(lab, call),
        "DescribeLoadBalancerAttributes" => load_balancers::describe_attributes(lab, call),
        "ModifyLoadBalancerAttributes" => load_balancers::modify_attributes(lab, call),
        "SetSecurityGroups" => load_balancers::set_security_groups(lab, call),
        "SetIpAddressType" => load_balancers::set_ip_address_type(lab, call),
        "SetSubnets" => placement::set_subnets(lab, call).await,
        "CreateTargetGroup" => target_groups::create(lab, call),
        "DescribeTargetGroups" => target_groups::describe(lab, call),
        "ModifyTargetGroup" => target_groups::modify(lab, call),
        "DeleteTargetGroup" => target_groups::delete(lab, call),
        "DescribeTargetGroupAttributes" => target_groups::describe_attributes(lab, call),
        "ModifyTargetGroupAttributes" => target_groups::modify_attributes(lab, call),
        "RegisterTargets" => targets::register_call(lab, call),
        "DeregisterTargets" => targets::deregister_call(lab, call),
        "DescribeTargetHealth" => targets::describe_health(lab, call),
        "CreateListener" => listeners::create(lab, call).await,
        "DescribeListeners" => listeners::describe(lab, call),
        "ModifyListener" => listeners::modify(lab, call).await,
        "DeleteListener" => listeners::delete(lab, call),
        "DescribeListenerAttributes" => listeners::describe_attributes(lab, call),
        "DescribeListenerCertificates" => listener_tls::describe_certificates(lab, call),
        "AddListenerCertificates" => listener_tls::change_certificates(lab, call, true),
        "RemoveListenerCertificates" => listener_tls::change_certificates(lab, call, false),
        "CreateRule" => rules::create(lab, call),
        "DescribeRules" => rules::describe(lab, call),
        "ModifyRule" => rules::modify(lab, call),
        "DeleteRule" => rules::delete(lab, call),
        "SetRulePriorities" => rules::set_priorities(lab, call),
        "AddTags" => tags::add(lab, call),
        "RemoveTags" => tags::remove(lab, call),
        "DescribeTags" => tags::describe(lab, call),
        "DescribeAccountLimits" => tags::limits(call),
        "DescribeSSLPolicies" => tags::policies(call),
        other => Err(ApiError::invalid_action(other)),
    }
}

/// `GET /lab/elbv2/listeners`: where each listener really listens, which differs from its port when the
/// lab may not bind ports below 1024.
#[expect(
    clippy::unused_async,
    reason = "every service's control function is asynchronous"
)]
pub async fn control(
    lab: &Arc<Lab>,
    method: &Method,
    path: &[&str],
    _body: Value,
) -> Result<Value, String> {
    match (method.as_str(), path) {
        ("GET", ["listeners"]) => {
            let mut listeners = Vec::new();
            for region in &lab.config.regions {
                lab.elbv2.with(&region.name, |state| {
                    for listener in state.listeners.values() {
                        let addresses: Vec<Value> = listener
                            .front
                            .bound()
                            .into_iter()
                            .map(|(wanted, bound)| match bound {
                                Ok(actual) => json!({ "wanted": wanted, "actual": actual }),
                                Err(error) => json!({ "wanted": wanted, "error": error }),
                            })
                            .collect();
                        listeners.push(json!({
                            "region": region.name,
                            "listener": listener.arn,
                            "load_balancer": listener.load_balancer,
                            "protocol": listener.protocol(),
                            "port": listener.port,
                            "addresses": addresses,
                        }));
                    }
                });
            }
            Ok(Value::Array(listeners))
        }
        _ => Err(format!(
            "there is no `{method} /lab/elbv2/{}`",
            path.join("/")
        )),
    }
}

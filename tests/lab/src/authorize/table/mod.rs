//! Which questions a call asks: its action and the ones that depend on it, each on the resources that AWS
//! names for it, with the condition keys that it fills.
//!
//! From AWS's *Service Authorization Reference* (a page a service, as of November 2026), for what the
//! orchestrator calls. An action for which the reference names no resource type is asked on `*`, which
//! only a statement for `*` allows. A resource that does not exist is asked about by its name, without
//! tags: a statement that demands a tag does not reach it.

mod autoscaling;
mod database;
mod ec2;
mod launch;
mod load_balancing;
mod other;

use std::collections::BTreeMap;

use super::evaluate::Ask;
use crate::Lab;
use crate::api::{Call, Params, Service};
use crate::iam::ACCOUNT;
use crate::iam_api::linked;

/// Tags as requests send them.
type SentTags = Vec<(String, String)>;

/// The questions of a call; none when the table does not know its action.
pub(super) fn asks(lab: &Lab, call: &Call) -> Option<Vec<Ask>> {
    let it = Asking {
        lab,
        call,
        // What the table reads must not count as read by the service.
        params: call.params.unread(),
    };
    let asks = match call.service {
        Service::Ec2 => ec2::asks(&it),
        Service::AutoScaling => autoscaling::asks(&it),
        Service::Elbv2 => load_balancing::asks(&it),
        Service::Rds => database::asks(&it),
        Service::CloudWatch => other::cloudwatch(&it),
        Service::SecretsManager => other::secrets(&it),
        Service::Acm => other::acm(&it),
        Service::Sts => other::sts(&it),
        // KMS judges for itself: keys have policies.
        Service::Iam | Service::Kms => None,
    }?;
    // A call that names nothing is judged, too, before its service says what is missing.
    Some(if asks.is_empty() { it.anything() } else { asks })
}

/// A call being asked about.
struct Asking<'a> {
    lab: &'a Lab,
    call: &'a Call,
    params: Params,
}

impl Asking<'_> {
    /// The ARN of a resource of this service in the call's region and the account.
    fn arn(&self, resource: &str) -> String {
        let (service, region) = (super::prefix(self.call.service), &self.call.region);
        format!("arn:aws:{service}:{region}:{ACCOUNT}:{resource}")
    }

    /// The call's own action on a resource.
    fn ask(&self, resource: impl Into<String>) -> Ask {
        self.other(
            &format!("{}:{}", super::prefix(self.call.service), self.call.action),
            resource,
        )
    }

    /// Another action that the call needs, on a resource.
    fn other(&self, action: &str, resource: impl Into<String>) -> Ask {
        Ask::new(action, resource)
            .with("aws:RequestedRegion", &self.call.region)
            // The lab's endpoint stands for the one that ends TLS.
            .with("aws:SecureTransport", "true")
    }

    /// The action by which what a call makes is tagged as it is made; none when it is not.
    fn tagging(&self, action: &str, made: impl Into<String>, tags: &SentTags) -> Option<Ask> {
        (!tags.is_empty()).then(|| self.other(action, made).requesting(tags))
    }

    /// Reads of EC2 that the service makes with the caller's rights.
    fn reads_of_ec2(&self, actions: &[&str]) -> Vec<Ask> {
        let ask = |action: &&str| {
            // The one of them that can be narrowed.
            let resource = match *action {
                "DescribeVpcAttribute" => self.ec2("vpc", "*"),
                _ => "*".to_owned(),
            };
            self.other(&format!("ec2:{action}"), resource)
        };
        actions.iter().map(ask).collect()
    }

    /// The service's own role, which the first call of an account makes with the caller's rights; none when
    /// it is there.
    fn service_linked_role(&self) -> Option<Ask> {
        let missing = linked::missing(self.lab, self.call)?;
        let ask = self.other("iam:CreateServiceLinkedRole", missing.arn());
        Some(ask.with("iam:AWSServiceName", missing.service))
    }

    /// The call's own action where nobody can narrow it.
    fn anything(&self) -> Vec<Ask> {
        vec![self.ask("*")]
    }

    /// A parameter, or `*` when it is not there: what AWS refuses for its absence is not judged by it.
    fn text(&self, name: &str) -> String {
        self.params.given(name).unwrap_or_else(|| "*".to_owned())
    }

    /// A list, or `*` for an empty one: everything.
    fn texts(&self, name: &str) -> Vec<String> {
        let texts = self.params.list(name);
        if texts.is_empty() {
            vec!["*".to_owned()]
        } else {
            texts
        }
    }

    /// The parameter `Tags` of everybody but EC2.
    fn tags(&self) -> SentTags {
        sent(&self.params, "Tags")
    }
}

/// The tags in a list of structures with `Key` and `Value`.
fn sent(params: &Params, name: &str) -> SentTags {
    params
        .structs(name)
        .iter()
        .filter_map(|tag| Some((tag.opt("Key")?, tag.opt("Value").unwrap_or_default())))
        .collect()
}

/// Tags as services keep them.
type Tags = BTreeMap<String, String>;

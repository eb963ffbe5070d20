//! Service-linked roles: a new account has none. The first call of a service that needs one makes it, when
//! its caller may ([`crate::authorize`]); an administrator may make it before (`CreateServiceLinkedRole`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::Lab;
use crate::api::{ApiError, Call, Reply, Service, Xml};
use crate::iam::ACCOUNT;

use super::roles::role_xml;
use super::{RoleRecord, long_id};

/// A service's own role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Linked {
    /// Who takes it: `iam:AWSServiceName`.
    pub service: &'static str,
    name: &'static str,
    of: Service,
    /// Calls that make it (user guides of the services, "service-linked roles"). RDS: what the provider of
    /// `AWS::RDS::DBSubnetGroup` asks for, too.
    by: &'static [&'static str],
}

const ROLES: [Linked; 4] = [
    Linked {
        service: "autoscaling.amazonaws.com",
        name: "AWSServiceRoleForAutoScaling",
        of: Service::AutoScaling,
        by: &["CreateAutoScalingGroup"],
    },
    Linked {
        service: "elasticloadbalancing.amazonaws.com",
        name: "AWSServiceRoleForElasticLoadBalancing",
        of: Service::Elbv2,
        by: &["CreateLoadBalancer", "CreateTargetGroup"],
    },
    Linked {
        service: "rds.amazonaws.com",
        name: "AWSServiceRoleForRDS",
        of: Service::Rds,
        by: &[
            "CreateDBInstance",
            "CreateDBInstanceReadReplica",
            "CreateDBSubnetGroup",
        ],
    },
    // Nothing here asks for Spot instances, so that only an administrator makes it.
    Linked {
        service: "spot.amazonaws.com",
        name: "AWSServiceRoleForEC2Spot",
        of: Service::Ec2,
        by: &[],
    },
];

impl Linked {
    fn path(&self) -> String {
        format!("/aws-service-role/{}/", self.service)
    }

    pub(crate) fn arn(&self) -> String {
        format!("arn:aws:iam::{ACCOUNT}:role{}{}", self.path(), self.name)
    }

    fn role(&self, lab: &Lab) -> RoleRecord {
        RoleRecord {
            name: self.name.to_owned(),
            path: self.path(),
            id: long_id(lab, "AROA"),
            created: lab.clock.now(),
            trust: format!(
                r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{{"Service":"{}"}},"Action":"sts:AssumeRole"}}]}}"#,
                self.service
            ),
            description: None,
            max_session: 3600,
            tags: BTreeMap::new(),
            inline: BTreeMap::new(),
            attached: BTreeMap::new(),
            refused: BTreeSet::new(),
        }
    }
}

/// The role that this call makes: its service's, where it is not there yet.
pub(crate) fn missing(lab: &Lab, call: &Call) -> Option<Linked> {
    let role = ROLES
        .into_iter()
        .find(|role| role.of == call.service && role.by.contains(&call.action.as_str()))?;
    let there = lab.directory.lock().roles.contains_key(role.name);
    (!there).then_some(role)
}

/// Makes the role that this call, which was answered, needed.
pub(crate) fn made(lab: &Lab, call: &Call) {
    if let Some(role) = missing(lab, call) {
        let record = role.role(lab);
        let mut state = lab.directory.lock();
        state.roles.entry(record.name.clone()).or_insert(record);
    }
}

/// `CreateServiceLinkedRole`.
pub(super) fn create(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let service = p.str("AWSServiceName")?;
    let description = p.opt("Description");
    p.finish()?;
    let role = ROLES.into_iter().find(|role| role.service == service);
    let role = role.ok_or_else(|| {
        let text = format!("The lab has no service-linked role of {service}.");
        ApiError::new("InvalidInput", text)
    })?;
    let record = RoleRecord {
        description,
        ..role.role(lab)
    };
    let mut state = lab.directory.lock();
    if state.roles.contains_key(role.name) {
        return Err(ApiError::new(
            "InvalidInput",
            format!(
                "Service role name {} has been taken in this account, please try a different suffix.",
                role.name
            ),
        ));
    }
    let xml = role_xml(&record);
    state.roles.insert(record.name.clone(), record);
    Ok(Xml::new().child("Role", xml).into())
}

/// Nobody but AWS changes such a role.
pub(super) fn check_modifiable(role: &RoleRecord) -> Result<(), ApiError> {
    if !role.path.starts_with("/aws-service-role/") {
        return Ok(());
    }
    Err(ApiError::new(
        "UnmodifiableEntity",
        format!(
            "Cannot perform the operation on the protected role '{}' - this role is only modifiable by AWS",
            role.name
        ),
    ))
}

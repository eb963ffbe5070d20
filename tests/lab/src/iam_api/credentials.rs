//! The role credentials of an instance: temporary, session name = instance id, renewed when they are
//! read and have little time left, gone when the instance is.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use crate::Lab;
use crate::iam::{ACCOUNT, AccessKey, Caller};

/// Instance credentials live about six hours (EC2 user guide, "Retrieve security credentials").
const LIFETIME: SignedDuration = SignedDuration::from_hours(6);
/// "We make new credentials available at least five minutes before the expiration": here an hour.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_hours(1);

/// The credentials that each instance reads from its metadata service.
#[derive(Debug, Default)]
pub struct Sessions(Mutex<BTreeMap<String, Session>>);

/// One instance's present credentials.
#[derive(Clone)]
pub(crate) struct Session {
    pub access_key: String,
    pub secret: String,
    pub token: String,
    pub issued: Timestamp,
    pub expires: Timestamp,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("access_key", &self.access_key)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// Issues credentials to an instance that has a role; what it had stays valid until it expires.
pub(crate) fn issue(lab: &Lab, region: &str, instance_id: &str) -> Option<Session> {
    let role = {
        let region = lab.ec2.region(region).ok()?;
        let instance = region.instances.get(instance_id)?;
        if instance.state == crate::ec2::InstanceState::Terminated {
            return None;
        }
        instance.profile.as_ref()?.role.clone()?
    };
    let now = lab.clock.now();
    let session = Session {
        access_key: format!("ASIA{}", lab.ids.hex(16).to_uppercase()),
        secret: lab.ids.hex(40),
        token: lab.ids.hex(120),
        issued: now,
        expires: now + LIFETIME,
    };
    lab.iam.add(AccessKey {
        id: session.access_key.clone(),
        secret: session.secret.clone(),
        session_token: Some(session.token.clone()),
        expires: Some(session.expires),
        caller: Caller {
            arn: format!(
                "arn:aws:sts::{ACCOUNT}:assumed-role/{}/{instance_id}",
                role.name
            ),
            user_id: format!("{}:{instance_id}", role.id),
            account: ACCOUNT.to_owned(),
            instance_id: Some(instance_id.to_owned()),
            role: Some(role.name.clone()),
        },
    });
    lab.sessions
        .0
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(instance_id.to_owned(), session.clone());
    Some(session)
}

/// The credentials that the metadata service shows, renewed when less than an hour is left.
pub(crate) fn present(lab: &Lab, region: &str, instance_id: &str) -> Option<Session> {
    let known = lab
        .sessions
        .0
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(instance_id)
        .cloned();
    match known {
        Some(session) if session.expires - RENEW_BEFORE > lab.clock.now() => Some(session),
        _ => issue(lab, region, instance_id),
    }
}

/// Takes an instance's credentials away: it was terminated.
pub(crate) fn revoke(lab: &Lab, instance_id: &str) {
    lab.sessions
        .0
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .remove(instance_id);
    lab.iam.remove_instance(instance_id);
}

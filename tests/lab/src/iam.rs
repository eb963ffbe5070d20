//! Who may sign: the operator's key, and credentials of roles, of instances and by `AssumeRole`. What they
//! may do is judged in [`crate::authorize`].

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

/// The lab's one account.
pub const ACCOUNT: &str = "123456789012";
/// The operator's access key id, the same in every lab: nothing behind it is secret.
pub const OPERATOR_KEY: &str = "AKIALABOPERATOR00000";
/// The operator's secret key.
pub const OPERATOR_SECRET: &str = "lab-operator-secret-key-0000000000000000";

/// An authenticated principal, as `GetCallerIdentity` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// `arn:aws:iam::…:user/operator` or `arn:aws:sts::…:assumed-role/ROLE/i-…`.
    pub arn: String,
    /// `AIDA…`, or `AROA…:i-…` for a role session.
    pub user_id: String,
    /// The account.
    pub account: String,
    /// The instance whose role signed, if it was one.
    pub instance_id: Option<String>,
    /// The role whose policies say what the caller may do; none is an administrator.
    pub role: Option<String>,
}

/// A key that may sign.
#[derive(Clone, Debug)]
pub struct AccessKey {
    /// The id, `AKIA…` or `ASIA…`.
    pub id: String,
    /// The secret half.
    pub secret: String,
    /// For temporary credentials, the token that must come with them.
    pub session_token: Option<String>,
    /// When it stops to be valid.
    pub expires: Option<Timestamp>,
    /// Whom it stands for.
    pub caller: Caller,
}

#[derive(Debug, Default)]
struct State {
    keys: BTreeMap<String, AccessKey>,
}

/// The keys of the account.
#[derive(Debug, Default)]
pub struct Iam {
    state: Mutex<State>,
}

impl Iam {
    /// With the operator's key.
    pub fn new() -> Self {
        let iam = Self::default();
        iam.add(AccessKey {
            id: OPERATOR_KEY.to_owned(),
            secret: OPERATOR_SECRET.to_owned(),
            session_token: None,
            expires: None,
            caller: Caller {
                arn: format!("arn:aws:iam::{ACCOUNT}:user/operator"),
                user_id: "AIDALABOPERATOR000000".to_owned(),
                account: ACCOUNT.to_owned(),
                instance_id: None,
                role: None,
            },
        });
        iam
    }

    /// Adds or replaces a key.
    pub fn add(&self, key: AccessKey) {
        self.lock().keys.insert(key.id.clone(), key);
    }

    /// Removes every key of an instance (it was terminated).
    pub fn remove_instance(&self, instance_id: &str) {
        self.lock()
            .keys
            .retain(|_, key| key.caller.instance_id.as_deref() != Some(instance_id));
    }

    /// A key that is valid at `now`.
    pub fn key(&self, id: &str, now: Timestamp) -> Option<AccessKey> {
        self.lock()
            .keys
            .get(id)
            .filter(|key| key.expires.is_none_or(|end| now < end))
            .cloned()
    }

    /// Whether there is such a key, and its time is over.
    pub fn has_expired(&self, id: &str, now: Timestamp) -> bool {
        let keys = &self.lock().keys;
        keys.get(id)
            .is_some_and(|key| key.expires.is_some_and(|end| now >= end))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

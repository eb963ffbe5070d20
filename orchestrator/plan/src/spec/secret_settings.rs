//! Every setting whose value is a secret of Secrets Manager, wherever in the file its reference stands.
//!
//! One list for all who need it: the reader of the values, the gate that names what is missing, `doctor`,
//! and the orchestrator's policy.

use std::collections::BTreeMap;

use super::{SecretRef, Spec};

impl Spec {
    /// By the setting's name (`MM_…`), in the order of names.
    pub fn secret_settings(&self) -> BTreeMap<&str, &SecretRef> {
        self.mattermost
            .secrets
            .iter()
            .map(|(name, reference)| (name.as_str(), reference))
            .collect()
    }
}

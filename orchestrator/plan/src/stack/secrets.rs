//! Generated secrets in Secrets Manager: the master's, each role's, the node CA; and those of the operator
//! that the specification names.

use crate::action::{Action, SecretKind};
use crate::draft::Draft;
use crate::stack::{NOTICE, is_ours};
use crate::view::View;

/// Names the operator's secrets that have no usable value. Without one of them no node is configured; those
/// that run keep what they have.
pub(super) fn named(view: &View<'_>, draft: &mut Draft) {
    for (setting, missing) in &view.observed.missing_secrets {
        let why = &missing.why;
        if missing.kept {
            draft.wait(
                NOTICE,
                format!(
                    "`{setting}` has no new value: {why}; nodes keep the one that was read before"
                ),
            );
        } else {
            draft.wait(
                "secret_missing",
                format!("`{setting}` has no value: {why}; no node is configured without it"),
            );
        }
    }
}

/// Whether all secrets are there.
pub(super) fn secrets(view: &View<'_>, draft: &mut Draft) -> bool {
    if !draft.knows(view, "secrets") {
        return false;
    }
    let ca = view.names.ca_secret();
    let mut all = true;
    for name in view.names.secrets() {
        let kind = if name == ca {
            SecretKind::CertificateAuthority
        } else {
            SecretKind::Password
        };
        let what = format!("secret `{name}`");
        match view.observed.secrets.get(&name) {
            Some(secret) if !is_ours(view, draft, &what, &secret.tags) => all = false,
            // In its recovery window: the executor restores it, the value stays what it was.
            Some(secret) if !secret.deleting => {}
            _ => {
                all = false;
                draft.create(view, "secret", &what, Action::EnsureSecret { name, kind });
            }
        }
    }
    all
}

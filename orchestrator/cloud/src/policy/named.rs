//! Secrets that are the operator's and that the specification names: exactly these may be read.

use std::collections::BTreeSet;

use plan::Spec;
use serde_json::{Value, json};

use super::{Place, allow};

/// The statement, when the specification names any.
pub(super) fn secrets(spec: &Spec, place: &Place<'_>) -> Option<Value> {
    // Secrets Manager puts a hyphen and six characters behind a name: six question marks match these and
    // no longer name, as `*` would.
    let arn_of = |id: &str| {
        if id.starts_with("arn:") {
            id.to_owned()
        } else {
            place.arn("secretsmanager", &format!("secret:{id}-??????"))
        }
    };
    let resources: BTreeSet<String> = spec.named_secrets().into_iter().map(arn_of).collect();
    (!resources.is_empty()).then(|| {
        allow(
            "ReadNamedSecrets",
            &["secretsmanager:GetSecretValue"],
            &json!(resources),
            None,
        )
    })
}

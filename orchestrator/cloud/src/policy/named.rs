//! Secrets that are the operator's and that the specification names: exactly these may be read.

use std::collections::BTreeSet;

use plan::Spec;
use serde_json::{Value, json};

use super::{Place, allow};

/// The statement, when the specification names any.
pub(super) fn secrets(spec: &Spec, place: &Place<'_>) -> Option<Value> {
    // Secrets Manager puts a hyphen and six characters behind a name: six question marks match these and
    // no longer name, as `*` would.
    let arn_of = |name: &str| place.arn("secretsmanager", &format!("secret:{name}-??????"));
    let licence = spec.mattermost.licence_secret.as_deref();
    let settings = spec.secret_settings();
    let resources: BTreeSet<String> = settings
        .values()
        .map(|reference| {
            reference
                .arn()
                .map_or_else(|| arn_of(reference.secret_id()), str::to_owned)
        })
        .chain(licence.map(arn_of))
        .collect();
    (!resources.is_empty()).then(|| {
        allow(
            "ReadNamedSecrets",
            &["secretsmanager:GetSecretValue"],
            &json!(resources),
            None,
        )
    })
}

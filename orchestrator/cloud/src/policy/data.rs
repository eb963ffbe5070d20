//! What keeps data: the database, its groups and snapshots, and secrets.

use plan::Spec;
use plan::observed::STACK_TAG;
use serde_json::{Value, json};

use super::{Place, allow};

pub(super) fn database(place: &Place<'_>) -> Vec<Value> {
    let stack = place.stack;
    let instances = [
        place.arn("rds", &format!("db:{stack}-db")),
        place.arn("rds", &format!("db:{stack}-db-replica-*")),
    ];
    let groups = [
        place.arn("rds", &format!("subgrp:{stack}-db")),
        place.arn("rds", &format!("pg:{stack}-db-*")),
    ];
    let snapshots = place.arn("rds", &format!("snapshot:{stack}-*"));
    let all: Vec<&String> = instances
        .iter()
        .chain(&groups)
        .chain([&snapshots])
        .collect();
    // An instance whose call names no option group gets its engine's default one, and is judged by it, too.
    let options = place.arn("rds", "og:default:postgres-*");
    let made_with: Vec<&String> = all.iter().copied().chain([&options]).collect();
    vec![
        allow(
            "CreateDatabase",
            &[
                "rds:AddTagsToResource",
                "rds:CreateDBInstance",
                "rds:CreateDBInstanceReadReplica",
                "rds:CreateDBParameterGroup",
                "rds:CreateDBSnapshot",
                "rds:CreateDBSubnetGroup",
            ],
            &json!(made_with),
            None,
        ),
        allow(
            "ChangeDatabase",
            &[
                "rds:DeleteDBInstance",
                "rds:DeleteDBParameterGroup",
                "rds:DeleteDBSnapshot",
                "rds:DeleteDBSubnetGroup",
                "rds:ModifyDBInstance",
                "rds:ModifyDBParameterGroup",
                "rds:ModifyDBSubnetGroup",
                "rds:RebootDBInstance",
                "rds:ResetDBParameterGroup",
            ],
            &json!(all),
            Some(place.ours("aws:ResourceTag")),
        ),
    ]
}

pub(super) fn secrets(place: &Place<'_>) -> Vec<Value> {
    let resource = json!(place.arn("secretsmanager", &format!("secret:{}/*", place.stack)));
    vec![
        allow(
            "CreateSecrets",
            &["secretsmanager:CreateSecret", "secretsmanager:TagResource"],
            &resource,
            Some(place.tagged()),
        ),
        // Whether a secret is there is asked before it is made, and what does not exist has no tag: a
        // condition that demanded one would answer "not allowed" instead of "not found".
        allow(
            "LookAtSecrets",
            &[
                "secretsmanager:DescribeSecret",
                "secretsmanager:GetSecretValue",
            ],
            &resource,
            Some(json!({ "StringEqualsIfExists": {
                format!("aws:ResourceTag/{STACK_TAG}"): place.stack
            } })),
        ),
        allow(
            "ChangeSecrets",
            &[
                "secretsmanager:DeleteSecret",
                "secretsmanager:RestoreSecret",
            ],
            &resource,
            Some(place.ours("aws:ResourceTag")),
        ),
        // The CA's alone: passwords are rotated by whoever may, not by the orchestrator.
        allow(
            "RotateCa",
            &["secretsmanager:PutSecretValue"],
            &json!(place.arn(
                "secretsmanager",
                &format!("secret:{}/orchestrator-ca-*", place.stack)
            )),
            Some(place.ours("aws:ResourceTag")),
        ),
    ]
}

/// The licence's secret is the operator's: a version that no server took gives way to the one before.
pub(super) fn licence(spec: &Spec, place: &Place<'_>) -> Option<Value> {
    let secret = spec.mattermost.licence_secret.as_ref()?;
    // Secrets Manager ends a secret's ARN with six characters of its own.
    let resource = place.arn("secretsmanager", &format!("secret:{secret}-??????"));
    Some(allow(
        "RestoreLicence",
        &[
            "secretsmanager:DescribeSecret",
            "secretsmanager:UpdateSecretVersionStage",
        ],
        &json!(resource),
        None,
    ))
}

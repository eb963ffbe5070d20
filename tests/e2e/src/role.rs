//! The roles of the product, made as docs/install.md says: with the policies that `orchestrator iam-policy`
//! prints. Whatever the stage's orchestrators do afterwards, they do with what these allow.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::orchestrator::Orchestrator;
use crate::region::Region;

const HOME: &str = "us-east-1";
/// The role of the control host.
pub const ROLE: &str = "mattermost-ha-orchestrator";
/// The role of the nodes, which the lab makes with its instance profile.
pub const NODE_ROLE: &str = "mattermost-node";
/// Seconds: the longest that a role may be set to. Credentials last by the wall clock, however fast the lab's
/// clock runs, so that no run of a stage outlives them. On a control host they come from the instance's
/// metadata, which renews them.
const SESSION: &str = "43200";

/// Makes the role, gives it and the nodes' role their policies, and takes it: what the environment of
/// whoever runs as it must hold.
pub async fn take(
    region: &Region,
    administrator: &Orchestrator,
) -> anyhow::Result<Vec<(String, String)>> {
    let policies = administrator
        .run(&["iam-policy", "--output", "json"], Duration::from_secs(30))
        .await?
        .expect(0)?
        .json()?;
    let identity = region.aws(HOME, &["sts", "get-caller-identity"]).await?;
    let account = text(&identity, "Account")?;
    let trust = document(&json!({
        "Effect": "Allow",
        "Principal": { "AWS": format!("arn:aws:iam::{account}:root") },
        "Action": "sts:AssumeRole"
    }));
    let arguments = ["iam", "create-role", "--role-name", ROLE];
    let more = [
        "--assume-role-policy-document",
        &trust,
        "--max-session-duration",
        SESSION,
    ];
    let made = region
        .aws(HOME, &[&arguments[..], &more[..]].concat())
        .await?;
    let parts = policies["orchestrator"].as_object();
    for (name, policy) in parts.context("`iam-policy` prints no policies")? {
        attach(region, ROLE, name, &policy.to_string()).await?;
    }
    put(region, NODE_ROLE, "stack", &policies["node"].to_string()).await?;
    let arn = text(&made["Role"], "Arn")?;
    let arguments = ["sts", "assume-role", "--role-arn", arn];
    let more = [
        "--role-session-name",
        "control",
        "--duration-seconds",
        SESSION,
    ];
    let taken = region
        .aws(HOME, &[&arguments[..], &more[..]].concat())
        .await?;
    let credentials = &taken["Credentials"];
    let mut environment = region.environment.clone();
    environment.retain(|(name, _)| !KEYS.iter().any(|(key, _)| key == name));
    for (name, member) in KEYS {
        environment.push((name.to_owned(), text(credentials, member)?.to_owned()));
    }
    Ok(environment)
}

/// Variables of AWS's tools, and the members of `AssumeRole`'s answer that they hold.
const KEYS: [(&str, &str); 3] = [
    ("AWS_ACCESS_KEY_ID", "AccessKeyId"),
    ("AWS_SECRET_ACCESS_KEY", "SecretAccessKey"),
    ("AWS_SESSION_TOKEN", "SessionToken"),
];

fn document(statement: &Value) -> String {
    json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string()
}

/// Makes a managed policy and gives it to a role.
pub async fn attach(region: &Region, role: &str, name: &str, document: &str) -> anyhow::Result<()> {
    let arguments = ["iam", "create-policy", "--policy-name", name];
    let more = ["--policy-document", document];
    let made = region
        .aws(HOME, &[&arguments[..], &more[..]].concat())
        .await?;
    let arn = text(&made["Policy"], "Arn")?;
    let arguments = ["iam", "attach-role-policy", "--role-name", role];
    let more = ["--policy-arn", arn];
    region
        .aws(HOME, &[&arguments[..], &more[..]].concat())
        .await
        .map(drop)
}

async fn put(region: &Region, role: &str, name: &str, document: &str) -> anyhow::Result<()> {
    let arguments = ["iam", "put-role-policy", "--role-name", role];
    let more = ["--policy-name", name, "--policy-document", document];
    region
        .aws(HOME, &[&arguments[..], &more[..]].concat())
        .await
        .map(drop)
}

fn text<'a>(value: &'a Value, member: &str) -> anyhow::Result<&'a str> {
    value[member]
        .as_str()
        .with_context(|| format!("no `{member}` in {value}"))
}

/// What the lab refused to the product's roles, as action and resource: nothing, when their policies suffice.
pub async fn refused(region: &Region) -> anyhow::Result<Vec<String>> {
    let judged = region.read("iam").await?;
    let mut found = Vec::new();
    for role in [ROLE, NODE_ROLE] {
        let refused = judged[role]["refused"].as_array();
        let refused =
            refused.with_context(|| format!("the lab says nothing of {role}: {judged}"))?;
        let refused = refused.iter().filter_map(Value::as_str);
        found.extend(refused.map(|what| format!("{role}: {what}")));
    }
    Ok(found)
}

/// What the orchestrator's policies allow and nothing asked for so far, as `Sid: action`.
pub async fn unused(region: &Region) -> anyhow::Result<Vec<String>> {
    let judged = region.read("iam").await?;
    let policies = judged[ROLE]["policies"].as_object();
    let policies = policies.with_context(|| format!("no policy of {ROLE}: {judged}"))?;
    let mut found = Vec::new();
    for (policy, statements) in policies {
        for statement in statements.as_array().into_iter().flatten() {
            let sid = statement["Sid"].as_str().unwrap_or(policy);
            let actions = statement["unused"].as_array().into_iter().flatten();
            let actions = actions.filter_map(Value::as_str);
            found.extend(actions.map(|action| format!("{sid}: {action}")));
        }
    }
    Ok(found)
}

//! STS: `GetCallerIdentity`, which any valid signature may ask, and `AssumeRole`.

use std::sync::Arc;

use jiff::SignedDuration;

use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};
use crate::authorize::may_assume;
use crate::iam::{ACCOUNT, AccessKey, Caller};
use crate::iam_api::Taken;

/// Seconds that a session lasts when nothing is asked (STS API reference, `AssumeRole`).
const DEFAULT_SESSION: i64 = 3600;
/// And at least.
const SHORTEST_SESSION: i64 = 900;
/// At most for a role that was taken by a role ("role chaining").
const LONGEST_CHAINED: i64 = 3600;

/// Answers an STS call.
pub fn dispatch(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    match call.action.as_str() {
        "GetCallerIdentity" => {
            call.params.finish()?;
            let caller = &call.caller;
            Ok(Xml::new()
                .text("Arn", &caller.arn)
                .text("UserId", &caller.user_id)
                .text("Account", &caller.account)
                .into())
        }
        "AssumeRole" => assume_role(lab, call),
        action => Err(ApiError::invalid_action(action)),
    }
}

/// Temporary credentials of a role, for whom its trust policy names. They last by the wall clock, which the
/// lab's speed does not change. Session policies and tags are refused, as every parameter that is not read.
fn assume_role(lab: &Lab, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let (arn, session) = (p.str("RoleArn")?, p.str("RoleSessionName")?);
    let seconds = p.opt_int("DurationSeconds")?.unwrap_or(DEFAULT_SESSION);
    p.finish()?;
    let invalid = |message: String| ApiError::new("ValidationError", message);
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "_+=,.@-".contains(letter);
    if !(2..=64).contains(&session.len()) || !session.chars().all(allowed) {
        return Err(invalid(format!(
            "1 validation error detected: Value '{session}' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w+=,.@-]*, and have 2 to 64 characters"
        )));
    }
    // A role that does not exist is refused in the same words: nothing is told of other accounts' roles.
    let role = lab
        .directory
        .to_take(&arn)
        .filter(|role| may_assume(&role.trust, &arn, &call.caller, &call.region))
        .ok_or_else(|| {
            let message = format!(
                "User: {} is not authorized to perform: sts:AssumeRole on resource: {arn}",
                call.caller.arn
            );
            log::warn!("{message}");
            ApiError::new("AccessDenied", message).status(403)
        })?;
    let chained = call.caller.role.is_some();
    if chained && seconds > LONGEST_CHAINED {
        return Err(invalid(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.".to_owned(),
        ));
    }
    if !(SHORTEST_SESSION..=role.max_session).contains(&seconds) {
        return Err(invalid(format!(
            "The requested DurationSeconds {seconds} is below {SHORTEST_SESSION} or exceeds the MaxSessionDuration set for this role."
        )));
    }
    Ok(issue(lab, role, &session, seconds))
}

/// A session of a role, and the answer that hands it out.
fn issue(lab: &Lab, role: Taken, session: &str, seconds: i64) -> Reply {
    let user_id = format!("{}:{session}", role.id);
    let arn = format!(
        "arn:aws:sts::{ACCOUNT}:assumed-role/{}/{session}",
        role.name
    );
    let id = format!("ASIA{}", lab.ids.hex(16).to_uppercase());
    let (secret, token) = (lab.ids.hex(40), lab.ids.hex(120));
    let expires = lab.clock.now() + SignedDuration::from_secs(seconds);
    let credentials = Xml::new()
        .text("AccessKeyId", &id)
        .text("SecretAccessKey", &secret)
        .text("SessionToken", &token)
        .time("Expiration", expires);
    let user = Xml::new().text("AssumedRoleId", &user_id).text("Arn", &arn);
    lab.iam.add(AccessKey {
        id,
        secret,
        session_token: Some(token),
        expires: Some(expires),
        caller: Caller {
            arn,
            user_id,
            account: ACCOUNT.to_owned(),
            instance_id: None,
            role: Some(role.name),
        },
    });
    Xml::new()
        .child("Credentials", credentials)
        .child("AssumedRoleUser", user)
        .into()
}

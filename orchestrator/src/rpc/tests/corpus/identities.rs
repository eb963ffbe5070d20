//! Whom STS sees: forged and stolen signatures, and principals that are no node of ours.

use aws_credential_types::Credentials;
use lab::fault::{Effect, Fault};
use lab::iam::{ACCOUNT, OPERATOR_KEY, OPERATOR_SECRET};

use super::enrolment::{answered, signed, tampered};
use super::region::ROLE;
use super::stage::Stage;
use super::{Case, forge::Attempt};

fn session(stage: &Stage, attempt: &mut Attempt, account: &str, role: &str, session: &str) {
    attempt.signing.credentials = stage.region.session(account, role, session);
}

fn with(attempt: &mut Attempt, key: &str, secret: &str, token: &str) {
    attempt.signing.credentials = Credentials::new(key, secret, Some(token.to_owned()), None, "x");
}

pub fn cases() -> Vec<Case> {
    [signatures(), principals()].into_iter().flatten().collect()
}

fn signatures() -> Vec<Case> {
    vec![
        signed(
            "a signature by another secret",
            "sts_refused",
            |stage, attempt| {
                let ann = &stage.machine("ann").credentials;
                let token = ann.session_token().unwrap();
                with(attempt, ann.access_key_id(), "a guess", token);
            },
        ),
        signed("a key that does not exist", "sts_refused", |_, attempt| {
            with(attempt, "ASIA0000000000000000", "a guess", "a guess");
        }),
        signed(
            "another session's token",
            "sts_refused",
            |stage, attempt| {
                let (ann, bob) = (stage.machine("ann"), stage.machine("bob"));
                let token = bob.credentials.session_token().unwrap();
                let ann = &ann.credentials;
                with(attempt, ann.access_key_id(), ann.secret_access_key(), token);
            },
        ),
        signed(
            "a signature of twenty minutes ago",
            "sts_refused",
            |_, attempt| {
                attempt.signing.ahead = -20 * 60;
            },
        ),
        signed(
            "a signature of ten minutes to come",
            "sts_refused",
            |_, attempt| attempt.signing.ahead = 600,
        ),
        answered(
            "a nonce put in after signing",
            "sts_refused",
            |_, attempt| attempt.signing.set("x-fleet-nonce", "00".repeat(32)),
            |stage, answer| {
                // As if it had been signed: the signature of another nonce, the list as it should be.
                let identity = answer.identity.as_mut().unwrap();
                let nonce = stage.last_nonce();
                for header in &mut identity.headers {
                    if header.name == "x-fleet-nonce" {
                        header.value.clone_from(&nonce);
                    }
                }
            },
        ),
        tampered(
            "a content type that was not signed",
            "sts_refused",
            |request| {
                for header in &mut request.headers {
                    if header.name == "content-type" {
                        header.value = "text/plain".to_owned();
                    }
                }
            },
        ),
        signed("STS is away", "sts_unreachable", |stage, _| {
            stage.region.lab.faults.add(Fault {
                service: Some("sts".to_owned()),
                action: None,
                effect: Effect::Internal,
                times: 1,
            });
        }),
    ]
}

fn principals() -> Vec<Case> {
    vec![
        signed(
            "another account, the same role",
            "account",
            |stage, attempt| {
                let id = stage.machine("ann").id.clone();
                session(stage, attempt, "999999999999", ROLE, &id);
            },
        ),
        signed("another role of the account", "role", |stage, attempt| {
            let id = stage.machine("ann").id.clone();
            session(stage, attempt, ACCOUNT, "ci-runner", &id);
        }),
        signed("a role that begins like ours", "role", |stage, attempt| {
            let id = stage.machine("ann").id.clone();
            session(stage, attempt, ACCOUNT, "mattermost-node-admin", &id);
        }),
        signed(
            "a user that is called like the role",
            "role",
            |stage, attempt| {
                let arn = format!("arn:aws:iam::{ACCOUNT}:user/{ROLE}");
                attempt.signing.credentials = stage.region.principal(ACCOUNT, &arn);
            },
        ),
        signed("the account's root", "role", |stage, attempt| {
            let arn = format!("arn:aws:iam::{ACCOUNT}:root");
            attempt.signing.credentials = stage.region.principal(ACCOUNT, &arn);
        }),
        signed("the operator's own key", "role", |_, attempt| {
            // A long-lived key comes without a token; one is made up, since the request needs one.
            with(attempt, OPERATOR_KEY, OPERATOR_SECRET, "none");
        }),
        signed("a federated user", "role", |stage, attempt| {
            let arn = format!("arn:aws:sts::{ACCOUNT}:federated-user/{ROLE}");
            attempt.signing.credentials = stage.region.principal(ACCOUNT, &arn);
        }),
        signed(
            "a person in the nodes' role",
            "session_name",
            |stage, attempt| {
                session(stage, attempt, ACCOUNT, ROLE, "alice");
            },
        ),
        signed(
            "an instance id with something behind it",
            "session_name",
            |stage, attempt| {
                let id = format!("{}@example.org", stage.machine("ann").id);
                session(stage, attempt, ACCOUNT, ROLE, &id);
            },
        ),
        signed(
            "an instance id in capitals",
            "session_name",
            |stage, attempt| {
                let id = stage.machine("ann").id.to_uppercase();
                session(stage, attempt, ACCOUNT, ROLE, &id);
            },
        ),
        signed(
            "a session below an instance's",
            "session_name",
            |stage, attempt| {
                let id = format!("{}/deeper", stage.machine("ann").id);
                session(stage, attempt, ACCOUNT, ROLE, &id);
            },
        ),
    ]
}

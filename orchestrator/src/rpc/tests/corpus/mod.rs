//! The attack corpus: every way in that anybody thought of, against a real node service over real
//! TLS, with STS, EC2 and Auto Scaling answered by the lab. Each case must be refused by the check
//! that it names: the counter of that check rises by one and no other does, the log names it, and the
//! answer is the same as for every other refusal of its kind.

mod agents;
mod certificates;
mod coverage;
mod enrolment;
mod flood;
mod forge;
mod identities;
mod instances;
mod journal;
mod keys;
mod limits;
mod nodes;
mod operator;
mod places;
pub mod region;
mod requests;
mod stage;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tonic::{Code, Status};

pub use enrolment::Dialogue;
use stage::Stage;

/// After which a refusal that is not counted never will be.
const DEADLINE: Duration = Duration::from_secs(20);

/// What the attacker gets.
#[derive(Debug)]
pub enum Heard {
    /// An answer.
    Refusal(Status),
    /// The connection was cut.
    Cut,
}

type Attack = for<'a> fn(&'a Stage) -> BoxFuture<'a, Heard>;

/// One attack.
pub struct Case {
    pub name: &'static str,
    /// The check that refuses it.
    pub check: &'static str,
    pub attack: How,
}

/// How it is made.
pub enum How {
    /// An attempt to enrol that is honest but for one change, before or after it is signed.
    Enrol(enrolment::Enrol),
    /// Anything else.
    Other(Attack),
}

/// One that is no attempt to enrol, or not one alone.
fn case(name: &'static str, check: &'static str, attack: Attack) -> Case {
    Case {
        name,
        check,
        attack: How::Other(attack),
    }
}

/// All of them, by family.
fn corpus() -> Vec<(&'static str, Vec<Case>)> {
    vec![
        ("requests", requests::cases()),
        ("keys", keys::cases()),
        ("identities", identities::cases()),
        ("instances", instances::cases()),
        ("limits", limits::cases()),
        ("certificates", certificates::cases()),
        ("nodes", nodes::cases()),
        ("places", places::cases()),
    ]
}

/// The answer that a check of this kind gives, whatever the case: written down here once more, so that
/// the product cannot change what an attacker hears without this test.
fn expected(check: &str) -> Option<(Code, &'static str)> {
    Some(match check {
        "rate_limit" | "busy" | "call_rate" => (Code::ResourceExhausted, "try again later"),
        "sts_unreachable" | "store" | "unavailable" => (Code::Unavailable, "try again later"),
        "certificate_missing"
        | "certificate_holder"
        | "certificate_stack"
        | "certificate_expired"
        | "not_enrolled"
        | "revoked"
        | "certificate_key"
        | "certificate_instance"
        | "certificate_address" => (Code::Unauthenticated, "not accepted"),
        "secrets_goal" | "secrets_generation" | "secrets_unverified" => {
            (Code::FailedPrecondition, "not now")
        }
        "service" => (Code::Unimplemented, "not accepted"),
        cut if cut.starts_with("tls_") || cut.starts_with("connections") => return None,
        _ => (Code::PermissionDenied, "not accepted"),
    })
}

/// Counters of refusals, by check.
fn counters(text: &str) -> BTreeMap<String, u64> {
    text.lines()
        .filter(|line| line.contains("_refused_total{"))
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let check = name.split('"').nth(1).unwrap();
            (check.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// The checks that counted since, with how often.
fn risen(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    after
        .iter()
        .filter_map(|(check, count)| {
            let more = count - before.get(check).copied().unwrap_or(0);
            (more > 0).then(|| (check.clone(), more))
        })
        .collect()
}

/// What is wrong with how a case ended; none: all is as it should be.
async fn fault(stage: &Stage, case: &Case) -> Option<String> {
    let before = stage.counters();
    let mark = journal::mark();
    let heard = match &case.attack {
        How::Enrol(enrol) => stage.enrol(enrol).await,
        How::Other(attack) => attack(stage).await,
    };
    // A connection is cut before it is counted.
    let counted = tokio::time::timeout(DEADLINE, async {
        while risen(&before, &stage.counters()).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    if counted.await.is_err() {
        return Some(format!("nothing was counted; {heard:?}"));
    }
    let counted = risen(&before, &stage.counters());
    if counted != BTreeMap::from([(case.check.to_owned(), 1)]) {
        return Some(format!("counted {counted:?}; {heard:?}"));
    }
    let check = format!("`{}`", case.check);
    let said = journal::since(mark);
    if !said.contains(&check) {
        return Some(format!("the log does not name {check}: {said}"));
    }
    match (expected(case.check), heard) {
        (Some((code, text)), Heard::Refusal(status)) => {
            let same = (status.code(), status.message()) == (code, text);
            let empty = status.details().is_empty() && !format!("{status:?}").contains(case.check);
            (!same || !empty).then(|| format!("the answer was {status:?}"))
        }
        (None, Heard::Cut) => None,
        (_, heard) => Some(format!("{heard:?}")),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_attack_is_refused_by_its_check_and_learns_nothing() {
    journal::listen();
    let began = tokio::time::Instant::now();
    let stage = Stage::set().await;
    println!("stage: {:.1?}", began.elapsed());
    stage.honest("ann").await;
    let (mut count, mut faults) = (0, Vec::new());
    for (family, cases) in corpus() {
        let began = tokio::time::Instant::now();
        for case in &cases {
            let fault = fault(&stage, case).await;
            stage.release().await;
            if let Some(fault) = fault {
                faults.push(format!("{family}: {}: {}: {fault}", case.name, case.check));
            }
        }
        println!("{family}: {} attacks, {:.1?}", cases.len(), began.elapsed());
        count += cases.len();
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    // Past the test harness, which keeps what tests print that pass.
    let _ = writeln!(
        std::io::stderr(),
        "attack corpus: {count} cases, each refused by the check that it names"
    );
    assert!(count >= 40, "{count} cases");
    // After all of it honest nodes come in, and nobody else has.
    // Clocks may differ by five minutes, and the same key may come again.
    let mut key = stage.honest("bob").await;
    for ahead in [-280, 280] {
        key = stage.honest_at("bob", key, ahead).await;
    }
    stage.nobody_else_enrolled().await;
    journal::holds_no_secret(&stage.secrets());
    stage.strike().await;
}

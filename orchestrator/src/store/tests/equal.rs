//! Memory and Postgres are the same store: any course of calls leaves the same behind in both.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Intend(Vec<u8>),
    End(u8, bool),
    Record(u64),
    Request(u64, u8),
    Move(u64, u8),
    Steer(u64, u8),
    Enrol(u8, u8),
    Goal(u8, u8, u8),
    Report(u8, u8),
    Revoke(u8),
    Event(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => vec(0..3_u8, 0..4).prop_map(Step::Intend),
        4 => (0..3_u8, any::<bool>()).prop_map(|(key, good)| Step::End(key, good)),
        1 => (0..9_u64).prop_map(Step::Record),
        2 => (1..4_u64, 0..3_u8).prop_map(|(number, key)| Step::Request(number, key)),
        3 => (1..4_u64, 0..5_u8).prop_map(|(number, phase)| Step::Move(number, phase)),
        2 => (1..4_u64, 0..4_u8).prop_map(|(number, what)| Step::Steer(number, what)),
        2 => (0..3_u8, 0..2_u8).prop_map(|(node, key)| Step::Enrol(node, key)),
        2 => (0..3_u8, 0..3_u8, 0..2_u8).prop_map(|(node, goal, digest)| Step::Goal(node, goal, digest)),
        2 => (0..3_u8, 0..3_u8).prop_map(|(node, phase)| Step::Report(node, phase)),
        1 => (0..3_u8).prop_map(Step::Revoke),
        1 => (0..3_u8).prop_map(Step::Event),
    ]
}

/// One call; what it answers, as text.
async fn call(store: &Store, epoch: Epoch, step: &Step, now: Timestamp) -> String {
    let node = |number: u8| format!("i-0{number}");
    match step.clone() {
        Step::Intend(keys) => {
            let commit = Commit {
                intended: keys.iter().map(u8::to_string).collect(),
                ..Commit::default()
            };
            format!("{:?}", store.commit(epoch, commit, now).await)
        }
        Step::End(key, good) => {
            let end = if good { Ok(()) } else { Err(now.to_string()) };
            let answer = store.record_effect(epoch, &key.to_string(), end, now).await;
            format!("{answer:?}")
        }
        Step::Record(generation) => {
            let commit = Commit {
                record: Some(Record {
                    generation,
                    ..Record::default()
                }),
                events: vec![happened("recorded")],
                ..Commit::default()
            };
            format!("{:?}", store.commit(epoch, commit, now).await)
        }
        Step::Request(number, key) => {
            let key = format!("key {key}");
            let answer = store.request_rollout(&rollout(number), &key, "ops").await;
            format!("{answer:?}")
        }
        Step::Move(number, phase) => {
            // The loop moves the live one only.
            let live = store.snapshot().await.unwrap().rollout;
            if live.is_none_or(|live| live.generation != number) {
                return String::new();
            }
            let stuck = Phase::Stuck {
                reason: "why".to_owned(),
            };
            let phases = [
                Phase::Preflight,
                Phase::Baking,
                stuck,
                Phase::Done,
                Phase::RolledBack,
            ];
            let commit = Commit {
                rollout: Some(RolloutIntent {
                    phase: phases[usize::from(phase)].clone(),
                    ..rollout(number)
                }),
                reasons: vec![format!("reason {phase}; deadline {now}")],
                ..Commit::default()
            };
            format!("{:?}", store.commit(epoch, commit, now).await)
        }
        Step::Steer(number, what) => {
            let all = [Steer::Pause, Steer::Resume, Steer::Promote, Steer::Abort];
            let id = format!("r-{number}");
            format!("{:?}", store.steer(&id, all[usize::from(what)]).await)
        }
        Step::Enrol(number, key) => {
            let key = format!("key {key}");
            format!("{:?}", store.enrol(&node(number), &key).await)
        }
        Step::Goal(number, which, digest) => {
            let goal = if which == 0 {
                NodeGoal::Drain
            } else {
                goal(&which.to_string())
            };
            let digest = format!("digest {digest}");
            let answer = store.set_goal(epoch, &node(number), &goal, &digest).await;
            format!("{answer:?}")
        }
        Step::Report(number, phase) => {
            let phase = ["enrolled", "verified", "serving"][usize::from(phase)];
            format!("{:?}", store.report(&node(number), &said(phase)).await)
        }
        Step::Revoke(number) => format!("{:?}", store.revoke(&[node(number)]).await),
        Step::Event(which) => {
            let event = happened(&format!("event {which}"));
            format!("{:?}", store.add_event(event, now).await)
        }
    }
}

async fn compare(access: &Access, steps: &[Step]) -> Result<(), TestCaseError> {
    let server = shared().await;
    server
        .beside(access)
        .await
        .batch_execute("TRUNCATE stack, lease, rollout, journal, node, event RESTART IDENTITY")
        .await
        .unwrap();
    let (memory, durable) = (Store::in_memory("chat"), attached(access).await);
    let (none, epoch) = (held(&memory).await, held(&durable).await);
    for (second, step) in (0..).zip(steps) {
        let now = at(second);
        let left = call(&memory, none, step, now).await;
        let right = call(&durable, epoch, step, now).await;
        prop_assert_eq!(left, right, "answers to {:?}, step {}", step, second);
        let (left, right) = (memory.snapshot().await, durable.snapshot().await);
        prop_assert_eq!(
            left.unwrap(),
            right.unwrap(),
            "after {:?}, step {}",
            step,
            second
        );
    }
    let (left, right) = (memory.rollout(None).await, durable.rollout(None).await);
    prop_assert_eq!(left.ok(), right.ok());
    prop_assert_eq!(
        memory.events(0).await.unwrap(),
        durable.events(0).await.unwrap()
    );
    Ok(())
}

#[test]
fn memory_and_postgres_agree_on_any_course() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let access = runtime.block_on(async {
        let access = shared().await.database().await;
        attached(&access).await;
        access
    });
    let config = Config {
        cases: 64,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&vec(step(), 1..40), |steps| {
            runtime.block_on(compare(&access, &steps))
        })
        .unwrap();
}

//! One live rollout, steered by people and moved by the loop; in memory and in Postgres.

use super::*;

async fn moved(store: &Store, intent: RolloutIntent, reason: &str, now: i64) {
    let commit = Commit {
        rollout: Some(intent),
        reasons: vec![reason.to_owned()],
        ..Commit::default()
    };
    store
        .commit(held(store).await, commit, at(now))
        .await
        .unwrap();
}

fn in_phase(number: u64, phase: Phase) -> RolloutIntent {
    RolloutIntent {
        phase,
        ..rollout(number)
    }
}

#[tokio::test]
async fn one_is_live_and_the_same_request_is_the_same_rollout() {
    for store in both().await {
        let none = store.rollout(None).await.unwrap_err();
        assert_eq!(none.to_string(), "no rollout was asked for yet");
        let first = store
            .request_rollout(&rollout(1), "one", "ops")
            .await
            .unwrap();
        assert_eq!(
            (first.outcome.as_str(), first.operator.as_str()),
            ("live", "ops")
        );
        let again = store
            .request_rollout(&rollout(1), "one", "other")
            .await
            .unwrap();
        assert_eq!(again, first);
        let stuck = Phase::Stuck {
            reason: "a person is needed".to_owned(),
        };
        for phase in [Phase::Requested, Phase::Baking, stuck] {
            moved(&store, in_phase(1, phase), "waits", 1).await;
            let refused = store
                .request_rollout(&rollout(2), "two", "ops")
                .await
                .unwrap_err();
            assert!(matches!(&refused, StoreError::RolloutIsLive(id) if id == "r-1"));
            assert_eq!(store.snapshot().await.unwrap().rollout.unwrap().id, "r-1");
        }
        moved(&store, in_phase(1, Phase::RolledBack), "", 2).await;
        assert_eq!(store.snapshot().await.unwrap().rollout, None);
        let late = store
            .request_rollout(&rollout(1), "one", "ops")
            .await
            .unwrap();
        assert_eq!(late.outcome, "rolled_back");
        let second = store
            .request_rollout(&rollout(2), "two", "ops")
            .await
            .unwrap();
        assert_eq!(store.rollout(None).await.unwrap(), second);
        assert_eq!(store.rollout(Some("r-1")).await.unwrap(), late);
        assert_eq!(store.rollout_count().await.unwrap(), 2);
        for (key, row) in [("one", Some(late)), ("two", Some(second)), ("three", None)] {
            assert_eq!(store.rollout_of_request(key).await.unwrap(), row, "{key}");
        }
        let missing = store.rollout(Some("r-9")).await.unwrap_err();
        assert!(matches!(&missing, StoreError::NoSuchRollout(id) if id == "r-9"));
    }
}

#[tokio::test]
async fn of_many_requests_at_once_one_is_taken() {
    let access = shared().await.database().await;
    let mut stores = Vec::new();
    for _ in 0..4 {
        stores.push(attached(&access).await);
    }
    let asked = (1..=8).map(|number| {
        let store = &stores[number as usize % stores.len()];
        async move {
            let key = format!("key {number}");
            store.request_rollout(&rollout(number), &key, "ops").await
        }
    });
    let answers = futures_util::future::join_all(asked).await;
    let taken: Vec<String> = answers
        .iter()
        .filter_map(|answer| Some(answer.as_ref().ok()?.intent.id.clone()))
        .collect();
    assert_eq!(taken.len(), 1, "{answers:?}");
    for answer in answers {
        if let Err(error) = answer {
            assert!(matches!(&error, StoreError::RolloutIsLive(id) if *id == taken[0]));
        }
    }
}

#[tokio::test]
async fn what_people_ask_outlives_what_the_loop_writes() {
    for store in both().await {
        store
            .request_rollout(&rollout(1), "one", "ops")
            .await
            .unwrap();
        store.steer("r-1", Steer::Pause).await.unwrap();
        store.steer("r-1", Steer::Promote).await.unwrap();
        // The loop decided from a row that was older.
        moved(&store, in_phase(1, Phase::Preflight), "waits", 1).await;
        let row = store.steer("r-1", Steer::Abort).await.unwrap();
        let asked = |row: &RolloutRow| (row.intent.paused, row.intent.promote, row.intent.abort);
        assert_eq!(asked(&row), (true, true, true));
        assert_eq!(row.intent.phase, Phase::Preflight);
        let unaware = RolloutIntent {
            paused: true,
            ..in_phase(1, Phase::Imaging)
        };
        store.steer("r-1", Steer::Resume).await.unwrap();
        moved(&store, unaware, "waits", 2).await;
        let row = store.rollout(None).await.unwrap();
        assert_eq!(asked(&row), (false, true, true));
        assert_eq!(row.intent.phase, Phase::Imaging);
    }
}

#[tokio::test]
async fn an_abort_is_answered_once() {
    for store in both().await {
        store
            .request_rollout(&rollout(1), "one", "ops")
            .await
            .unwrap();
        let stuck = Phase::Stuck {
            reason: "blue does not start".to_owned(),
        };
        for (phase, minute) in [(Phase::ReturningTraffic, 1), (stuck, 2)] {
            let row = store.steer("r-1", Steer::Abort).await.unwrap();
            assert!(row.intent.abort);
            moved(&store, in_phase(1, phase.clone()), "waits", minute).await;
            let row = store.rollout(None).await.unwrap();
            assert_eq!((&row.intent.phase, row.intent.abort), (&phase, false));
        }
        store.steer("r-1", Steer::Abort).await.unwrap();
        moved(&store, in_phase(1, Phase::ReturningTraffic), "waits", 3).await;
        assert!(!store.rollout(None).await.unwrap().intent.abort);
    }
}

#[tokio::test]
async fn nothing_is_asked_of_what_ended_or_never_was() {
    for store in both().await {
        store
            .request_rollout(&rollout(1), "one", "ops")
            .await
            .unwrap();
        moved(&store, in_phase(1, Phase::Done), "", 1).await;
        let ended = store.steer("r-1", Steer::Abort).await.unwrap_err();
        assert!(matches!(&ended, StoreError::NotLive(id) if id == "r-1"));
        assert!(!store.rollout(None).await.unwrap().intent.abort);
        let unknown = store.steer("r-2", Steer::Abort).await.unwrap_err();
        assert!(matches!(&unknown, StoreError::NoSuchRollout(id) if id == "r-2"));
    }
}

#[tokio::test]
async fn phases_keep_their_times_and_what_was_waited_for() {
    for store in both().await {
        store
            .request_rollout(&rollout(1), "one", "ops")
            .await
            .unwrap();
        let course = [
            (Phase::Preflight, "2 of 3; deadline 14:05", 10),
            (Phase::Preflight, "2 of 3; deadline 14:06", 11),
            (Phase::Preflight, "snapshot", 12),
            (Phase::Shifting { weight: 10 }, "snapshot", 20),
            (Phase::Done, "bake", 30),
        ];
        for (phase, reason, now) in course {
            moved(&store, in_phase(1, phase), reason, now).await;
        }
        let row = store.rollout(None).await.unwrap();
        let history: Vec<_> = row
            .history
            .iter()
            .map(|phase| {
                let waited: Vec<&str> = phase.waited_for.iter().map(String::as_str).collect();
                (phase.phase.as_str(), phase.entered, phase.left, waited)
            })
            .collect();
        let wanted = vec![
            ("Requested", at(0), Some(at(10)), vec!["2 of 3"]),
            (
                "Preflight",
                at(10),
                Some(at(20)),
                vec!["2 of 3", "snapshot"],
            ),
            ("Shifting(10)", at(20), Some(at(30)), vec!["bake"]),
            ("Done", at(30), Some(at(30)), vec![]),
        ];
        assert_eq!(history, wanted);
        assert_eq!(
            (row.outcome.as_str(), row.reasons),
            ("done", vec!["bake".to_owned()])
        );
    }
}

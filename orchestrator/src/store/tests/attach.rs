//! From memory into Postgres, and connections that must not be.

use std::time::Duration;

use super::*;

#[tokio::test]
async fn attaching_migrates_once_however_many_come_at_once() {
    let access = shared().await.database().await;
    let stores: Vec<Store> = (0..4).map(|_| Store::in_memory("chat")).collect();
    let attempts = stores.iter().map(|store| store.attach(access.clone()));
    for result in futures_util::future::join_all(attempts).await {
        result.unwrap();
    }
    stores[0].attach(access.clone()).await.unwrap();
    attached(&access).await;
    assert!(stores[3].is_durable().await);
    let applied = shared()
        .await
        .beside(&access)
        .await
        .query_one("SELECT count(*) FROM schema_version", &[])
        .await
        .unwrap();
    assert_eq!(applied.get::<_, i64>(0), MIGRATIONS.len() as i64);
}

/// Something of everything, in a store in memory.
async fn filled() -> Store {
    let store = Store::in_memory("chat");
    let epoch = held(&store).await;
    let keys = ["done", "open", "failing", "again"].map(str::to_owned);
    let commit = Commit {
        record: Some(Record {
            generation: 7,
            group: Some("chat-a".to_owned()),
            ..Record::default()
        }),
        intended: keys.to_vec(),
        events: vec![happened("began"), happened("went on")],
        ..Commit::default()
    };
    store.commit(epoch, commit, at(0)).await.unwrap();
    let ends = [
        ("done", None),
        ("failing", Some("throttled")),
        ("again", Some("lost")),
    ];
    for (key, error) in ends {
        let end = error.map_or(Ok(()), |error: &str| Err(error.to_owned()));
        store.record_effect(epoch, key, end, at(1)).await.unwrap();
    }
    let again = Commit {
        intended: vec!["failing".to_owned(), "again".to_owned()],
        ..Commit::default()
    };
    store.commit(epoch, again, at(5)).await.unwrap();
    store
        .record_effect(epoch, "failing", Err("throttled".to_owned()), at(6))
        .await
        .unwrap();
    store.enrol("i-0a", "key a").await.unwrap();
    store.enrol("i-0b", "key b").await.unwrap();
    store
        .set_goal(epoch, "i-0a", &goal("11.10.0"), "digest")
        .await
        .unwrap();
    store.report("i-0a", &said("verified")).await.unwrap();
    store.revoke(&["i-0b".to_owned()]).await.unwrap();
    store
        .request_rollout(&rollout(8), "key", "ops")
        .await
        .unwrap();
    store
}

#[tokio::test]
async fn what_memory_learnt_is_written_out() {
    let store = filled().await;
    let snapshot = store.snapshot().await.unwrap();
    let events = store.recent_events(100).await.unwrap();
    let row = store.rollout(None).await.unwrap();
    assert_eq!(snapshot.journal["failing"].failures, 2);
    store.attach(shared().await.database().await).await.unwrap();
    assert_eq!(store.snapshot().await.unwrap(), snapshot);
    assert_eq!(store.recent_events(100).await.unwrap(), events);
    assert_eq!(store.rollout(None).await.unwrap(), row);
}

#[tokio::test]
async fn a_stack_that_is_there_wins_over_memory() {
    let access = shared().await.database().await;
    let first = filled().await;
    first.attach(access.clone()).await.unwrap();
    let known = first.snapshot().await.unwrap();
    let late = Store::in_memory("chat");
    let commit = Commit {
        record: Some(Record::default()),
        intended: vec!["done".to_owned(), "other".to_owned()],
        ..Commit::default()
    };
    late.commit(Epoch(0), commit, at(9)).await.unwrap();
    late.attach(access).await.unwrap();
    assert_eq!(late.snapshot().await.unwrap(), known);
}

#[tokio::test]
async fn whoever_asks_early_is_answered_from_the_database() {
    let access = shared().await.database().await;
    let first = filled().await;
    first.attach(access.clone()).await.unwrap();
    let late = Store::in_memory("chat");
    let unread = late.known(Duration::ZERO).await.unwrap_err();
    assert!(matches!(unread, StoreError::NotKnown(_)), "{unread:?}");
    let asked = async {
        let store = late.known(Duration::from_secs(3600)).await?;
        store.rollout(Some("r-8")).await
    };
    let (row, attached) = tokio::join!(asked, late.attach(access));
    attached.unwrap();
    assert_eq!(row.unwrap(), first.rollout(None).await.unwrap());
    // What is known stays known, whatever a later look fails to show.
    late.doubt_memory("not read");
    assert_eq!(late.doubt(), None);
}

#[tokio::test]
async fn a_store_whose_database_goes_keeps_what_it_read_last() {
    let access = shared().await.database().await;
    filled().await.attach(access.clone()).await.unwrap();
    let store = attached(&access).await;
    let last = store.snapshot().await.unwrap();
    assert!(!last.nodes.is_empty() && !last.journal.is_empty());
    let drop = format!("DROP DATABASE {} WITH (FORCE)", access.database);
    let server = shared().await.postgres.connect("postgres").await.unwrap();
    server.execute(&drop, &[]).await.unwrap();
    for _ in 0..2 {
        store.detach(&last).await;
        assert!(!store.is_durable().await);
    }
    let kept = Snapshot {
        rollout: None,
        ..last
    };
    assert_eq!(store.snapshot().await.unwrap(), kept);
    let lease = store.lease("us/1", Duration::from_secs(30)).await;
    assert_eq!(lease.unwrap(), Some(Epoch(0)));
    let gone = Commit {
        record: Some(Record::default()),
        ..Commit::default()
    };
    store.commit(Epoch(7), gone, at(9)).await.unwrap();
    assert_eq!(store.doubt(), None);
}

#[tokio::test]
async fn stacks_in_one_database_do_not_see_each_other() {
    let access = shared().await.database().await;
    let chat = attached(&access).await;
    let other = Store::in_memory("other");
    other.attach(access).await.unwrap();
    for store in [&chat, &other] {
        store
            .request_rollout(&rollout(1), "key", "ops")
            .await
            .unwrap();
    }
    let epoch = held(&other).await;
    let moved = RolloutIntent {
        phase: Phase::Done,
        ..rollout(1)
    };
    let commit = Commit {
        rollout: Some(moved),
        intended: vec!["effect".to_owned()],
        events: vec![happened("done")],
        ..Commit::default()
    };
    other.commit(epoch, commit, at(1)).await.unwrap();
    other.enrol("i-0c", "key").await.unwrap();
    let seen = chat.snapshot().await.unwrap();
    assert_eq!(seen.rollout, Some(rollout(1)));
    assert!(seen.journal.is_empty() && seen.nodes.is_empty());
    assert_eq!(chat.events(0).await.unwrap(), []);
    assert_eq!(chat.node("i-0c").await.unwrap(), None);
}

#[tokio::test]
async fn what_one_orchestrator_writes_wakes_the_other() {
    let access = shared().await.database().await;
    let (writer, listener) = (attached(&access).await, attached(&access).await);
    let epoch = held(&writer).await;
    writer.enrol("i-0a", "key").await.unwrap();
    let mut changes = listener.changed.subscribe();
    for what in ["report", "goal", "event", "rollout", "steer"] {
        changes.mark_unchanged();
        match what {
            "report" => writer.report("i-0a", &said("enrolled")).await.unwrap(),
            "goal" => writer
                .set_goal(epoch, "i-0a", &goal("1"), "digest")
                .await
                .unwrap(),
            "event" => writer.add_event(happened("it"), at(0)).await.unwrap(),
            "rollout" => drop(
                writer
                    .request_rollout(&rollout(1), "k", "ops")
                    .await
                    .unwrap(),
            ),
            _ => drop(writer.steer("r-1", Steer::Pause).await.unwrap()),
        }
        tokio::time::timeout(Duration::from_secs(20), changes.changed())
            .await
            .unwrap_or_else(|_| panic!("nobody was woken by: {what}"))
            .unwrap();
    }
}

#[tokio::test]
async fn a_lost_connection_is_made_again_and_listens_again() {
    let server = shared().await;
    let access = server.database().await;
    let (store, other) = (attached(&access).await, attached(&access).await);
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND application_name = 'orchestrator'";
    server
        .beside(&access)
        .await
        .execute(cut, &[])
        .await
        .unwrap();
    // Calls fail until the loss is noticed; then one connects.
    let answered = async {
        for store in [&store, &other] {
            while store.snapshot().await.is_err() {
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), answered)
        .await
        .unwrap();
    let mut changes = other.changed.subscribe();
    changes.mark_unchanged();
    store.add_event(happened("back"), at(0)).await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), changes.changed())
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn only_the_pinned_roots_are_trusted() {
    let access = shared().await.database().await;
    let (foreign, _) = certify([127, 0, 0, 1].into());
    let cases = [
        (foreign.as_str(), "a foreign root"),
        ("", "no root"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "rubbish",
        ),
    ];
    for (trust, what) in cases {
        let access = Access {
            trust_pem: trust.into(),
            ..access.clone()
        };
        let store = Store::in_memory("chat");
        let error = store.attach(access).await.unwrap_err();
        assert!(matches!(error, StoreError::Connect(_)), "{what}: {error:?}");
        assert!(!store.is_durable().await, "{what}");
    }
}

//! Keys, goals, reports; in memory and in Postgres.

use std::time::Duration;

use super::*;

#[tokio::test]
async fn an_instance_enrols_with_one_key_and_never_after_its_end() {
    for store in both().await {
        store.enrol("i-0a", "key a").await.unwrap();
        store.enrol("i-0a", "key a").await.unwrap();
        let refused = store.enrol("i-0a", "key b").await.unwrap_err();
        assert!(matches!(&refused, StoreError::OtherKey(id) if id == "i-0a"));
        let kept = store.node("i-0a").await.unwrap().unwrap();
        assert_eq!((kept.key_sha256.as_str(), kept.revoked), ("key a", false));
        store
            .revoke(&["i-0a".to_owned(), "i-unknown".to_owned()])
            .await
            .unwrap();
        let refused = store.enrol("i-0a", "key a").await.unwrap_err();
        assert!(matches!(refused, StoreError::OtherKey(_)));
        assert!(store.node("i-0a").await.unwrap().unwrap().revoked);
        assert_eq!(store.node("i-unknown").await.unwrap(), None);
    }
}

#[tokio::test]
async fn the_generation_rises_with_another_goal_or_digest_only() {
    for store in both().await {
        let epoch = held(&store).await;
        store.enrol("i-0a", "key").await.unwrap();
        let steps = [
            (goal("1"), "a", 1),
            (goal("1"), "a", 1),
            (goal("1"), "b", 2),
            (goal("2"), "b", 3),
            (NodeGoal::Drain, "b", 4),
            (goal("2"), "b", 5),
        ];
        for (wanted, digest, generation) in steps {
            store
                .set_goal(epoch, "i-0a", &wanted, digest)
                .await
                .unwrap();
            let node = store.node("i-0a").await.unwrap().unwrap();
            assert_eq!((node.goal, node.generation), (Some(wanted), generation));
            assert_eq!(node.digest.as_deref(), Some(digest));
        }
        store
            .set_goal(epoch, "i-unknown", &goal("1"), "digest")
            .await
            .unwrap();
        assert_eq!(store.node("i-unknown").await.unwrap(), None);
    }
}

#[tokio::test]
async fn the_last_report_outlives_the_session() {
    for store in both().await {
        store.disconnected("i-0a", at(0)).await.unwrap();
        store.enrol("i-0a", "key").await.unwrap();
        store.disconnected("i-0a", at(0)).await.unwrap();
        assert_eq!(store.node("i-0a").await.unwrap().unwrap().report, None);
        store.report("i-0a", &said("serving")).await.unwrap();
        store.disconnected("i-0a", at(5)).await.unwrap();
        let report = store.node("i-0a").await.unwrap().unwrap().report.unwrap();
        assert_eq!(
            (report.phase.as_str(), report.connected),
            ("serving", false)
        );
        assert_eq!(report.at, Some(at(5)));
    }
}

#[tokio::test]
async fn the_history_keeps_its_newest_events_of_the_last_days() {
    for store in both().await {
        for second in 0..10 {
            store
                .add_event(happened(&format!("e{second}")), at(second))
                .await
                .unwrap();
        }
        let left = async || {
            let events = store.recent_events(100).await.unwrap();
            events
                .into_iter()
                .map(|event| event.what)
                .collect::<Vec<_>>()
        };
        assert_eq!(store.prune_events(at(3), 100).await.unwrap(), 3);
        assert_eq!(left().await, ["e3", "e4", "e5", "e6", "e7", "e8", "e9"]);
        assert_eq!(store.prune_events(at(0), 2).await.unwrap(), 5);
        assert_eq!(left().await, ["e8", "e9"]);
        assert_eq!(store.prune_events(at(0), 2).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn whoever_takes_over_knows_the_sessions_of_every_host_from_its_first_look() {
    let access = shared().await.database().await;
    let (a, b) = (attached(&access).await, attached(&access).await);
    let nodes = ["i-0a".to_owned(), "i-0b".to_owned()];
    for node in &nodes {
        a.enrol(node, "key").await.unwrap();
    }
    let lives = async || {
        let snapshot = attached(&access).await.snapshot().await.unwrap();
        nodes
            .each_ref()
            .map(|node| snapshot.nodes[node].session_lives)
    };
    let ttl = Duration::from_secs(3600);
    assert_eq!(lives().await, [false, false], "nobody ever came");
    a.hold_sessions("a/1", &nodes, ttl).await.unwrap();
    assert_eq!(lives().await, [true, true]);
    // One goes over to the other host; that its first session ended is known late, and changes nothing.
    b.hold_sessions("b/1", &nodes[..1], ttl).await.unwrap();
    a.end_session("a/1", &nodes[0]).await.unwrap();
    assert_eq!(lives().await, [true, true]);
    b.end_session("b/1", &nodes[0]).await.unwrap();
    assert_eq!(lives().await, [false, true]);
    // A host that died renews nothing.
    let client = shared().await.beside(&access).await;
    client
        .batch_execute("UPDATE node SET session_until = now() - interval '1 second'")
        .await
        .unwrap();
    assert_eq!(lives().await, [false, false]);
}

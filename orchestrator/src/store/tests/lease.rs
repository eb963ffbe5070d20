//! One holder, and nobody else writes.

use std::time::Duration;

use super::*;

const LONG: Duration = Duration::from_secs(3600);

async fn expire(access: &Access) {
    let client = shared().await.beside(access).await;
    client
        .execute(
            "UPDATE lease SET expires = now() - interval '1 second'",
            &[],
        )
        .await
        .unwrap();
}

#[tokio::test]
async fn the_epoch_rises_with_every_holder() {
    let access = shared().await.database().await;
    let (a, b) = (attached(&access).await, attached(&access).await);
    assert_eq!(a.holder().await.unwrap(), None);
    assert_eq!(a.lease("a/1", LONG).await.unwrap(), Some(Epoch(1)));
    assert_eq!(b.lease("b/1", LONG).await.unwrap(), None);
    assert_eq!(a.lease("a/1", LONG).await.unwrap(), Some(Epoch(1)));
    let holder = b.holder().await.unwrap().unwrap();
    assert_eq!(holder.name, "a/1");
    let left = holder.until.as_second() - crate::reconcile::now().as_second();
    assert!((3500..=3700).contains(&left), "{left} s left of an hour");

    expire(&access).await;
    assert_eq!(b.holder().await.unwrap(), None);
    assert_eq!(b.lease("b/1", LONG).await.unwrap(), Some(Epoch(2)));
    assert_eq!(a.lease("a/1", LONG).await.unwrap(), None);

    a.release("a/1").await.unwrap();
    assert_eq!(a.lease("a/1", LONG).await.unwrap(), None, "not its to give");
    b.release("b/1").await.unwrap();
    assert_eq!(a.lease("a/1", LONG).await.unwrap(), Some(Epoch(3)));

    a.forfeit("b").await.unwrap();
    assert_eq!(b.lease("b/2", LONG).await.unwrap(), None);
    b.forfeit("a").await.unwrap();
    assert_eq!(b.lease("b/2", LONG).await.unwrap(), Some(Epoch(4)));
}

#[tokio::test]
async fn of_many_at_once_one_gets_it() {
    let access = shared().await.database().await;
    let mut stores = Vec::new();
    for number in 0..5 {
        stores.push((attached(&access).await, format!("host/{number}")));
    }
    let asked = stores
        .iter()
        .map(|(store, holder)| store.lease(holder, LONG));
    let got = futures_util::future::join_all(asked).await;
    let holders = got.into_iter().filter(|lease| matches!(lease, Ok(Some(_))));
    assert_eq!(holders.count(), 1);
}

#[tokio::test]
async fn a_holder_that_was_replaced_writes_nothing() {
    let access = shared().await.database().await;
    let (old, new) = (attached(&access).await, attached(&access).await);
    old.enrol("i-0a", "key").await.unwrap();
    let epoch = old.lease("old/1", LONG).await.unwrap().unwrap();
    expire(&access).await;
    let write = |generation: u64| Commit {
        record: Some(Record {
            generation,
            ..Record::default()
        }),
        intended: vec!["effect".to_owned()],
        events: vec![happened("moved")],
        ..Commit::default()
    };
    // Over, but nobody came: what was read is still so.
    old.commit(epoch, write(1), at(0)).await.unwrap();
    let newer = new.lease("new/1", LONG).await.unwrap().unwrap();
    let before = new.snapshot().await.unwrap();
    let events = new.events(0).await.unwrap();

    let refused = old.commit(epoch, write(2), at(1)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Fenced(1)), "{refused:?}");
    let refused = old
        .set_goal(epoch, "i-0a", &goal("1"), "digest")
        .await
        .unwrap_err();
    assert!(matches!(refused, StoreError::Fenced(1)), "{refused:?}");
    // The epoch of a store in memory is worth nothing here either.
    let refused = old.commit(Epoch(0), write(2), at(1)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Fenced(0)), "{refused:?}");
    assert_eq!(new.snapshot().await.unwrap(), before);
    assert_eq!(new.events(0).await.unwrap(), events);

    new.commit(newer, write(3), at(2)).await.unwrap();
    new.set_goal(newer, "i-0a", &goal("1"), "digest")
        .await
        .unwrap();
    assert_eq!(old.snapshot().await.unwrap().record.generation, 3);
}

/// A store with its lease, and another session that holds a lock in its database.
async fn beside_a_lock(statement: &str) -> (Store, Epoch, Client) {
    let server = shared().await;
    let access = server.database().await;
    let store = attached(&access).await;
    let epoch = held(&store).await;
    let other = server.beside(&access).await;
    let begin = format!("BEGIN; {statement}");
    other.batch_execute(&begin).await.unwrap();
    (store, epoch, other)
}

/// Longer than any call may take behind one lock: three seconds for it, and a reader's behind it.
const BEHIND_A_LOCK: Duration = Duration::from_secs(15);

#[tokio::test]
async fn a_row_that_another_session_holds_delays_a_call_and_stops_nobody() {
    let (store, epoch, other) = beside_a_lock("SELECT * FROM lease FOR UPDATE").await;
    let calls = async {
        tokio::join!(
            store.commit(epoch, Commit::default(), at(1)),
            store.lease("us/1", LONG),
            store.recent_events(10),
        )
    };
    let (commit, lease, read) = tokio::time::timeout(BEHIND_A_LOCK, Box::pin(calls))
        .await
        .expect("the lock is given up");
    for refused in [commit.err(), lease.err()] {
        let told = crate::chain(&refused.expect("the row is locked"));
        assert!(told.contains("lock timeout"), "{told}");
    }
    read.unwrap();
    other.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(store.lease("us/1", LONG).await.unwrap(), Some(epoch));
    store.commit(epoch, Commit::default(), at(2)).await.unwrap();
}

#[tokio::test]
async fn the_lease_is_renewed_while_another_statement_waits() {
    let (store, epoch, _other) = beside_a_lock("LOCK TABLE event IN ACCESS EXCLUSIVE MODE").await;
    let renewed = tokio::select! {
        biased;
        added = store.add_event(happened("it"), at(1)) => panic!("the table is locked: {added:?}"),
        renewed = store.lease("us/1", LONG) => renewed,
    };
    assert_eq!(renewed.unwrap(), Some(epoch));
}

#[tokio::test]
async fn a_frozen_transaction_is_ended_within_the_time_of_a_lease() {
    let access = shared().await.database().await;
    let client = connect::open(&access, None).await.unwrap();
    for (limit, value) in [
        ("lock_timeout", "3s"),
        ("statement_timeout", "20s"),
        ("idle_in_transaction_session_timeout", "20s"),
    ] {
        let row = client.query_one(&format!("SHOW {limit}"), &[]).await;
        assert_eq!(row.unwrap().get::<_, &str>(0), value, "{limit}");
    }
}

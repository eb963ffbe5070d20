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

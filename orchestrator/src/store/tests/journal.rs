//! Attempts folded into entries: a table of courses, in memory and in Postgres.

use super::*;

/// `+` is intended, `.` done, `!` failed; each a second after the one before.
async fn course(store: &Store, steps: &str) -> Entry {
    let epoch = held(store).await;
    for (second, step) in (0..).zip(steps.chars()) {
        let now = at(second);
        match step {
            '+' => {
                let commit = Commit {
                    intended: vec!["key".to_owned(), "key".to_owned()],
                    ..Commit::default()
                };
                store.commit(epoch, commit, now).await.unwrap();
            }
            '.' => store
                .record_effect(epoch, "key", Ok(()), now)
                .await
                .unwrap(),
            _ => {
                let error = Err(format!("error {second}"));
                store.record_effect(epoch, "key", error, now).await.unwrap();
            }
        }
    }
    store.snapshot().await.unwrap().journal["key"].clone()
}

#[tokio::test]
async fn attempts_fold_into_what_the_planner_asks() {
    // Steps; intended, attempted, done (seconds), error, failures.
    let cases = [
        ("+", (0, 0, None, None, 0)),
        ("+.", (0, 0, Some(1), None, 0)),
        ("+!", (0, 0, None, Some("error 1"), 1)),
        ("+!+!", (0, 2, None, Some("error 3"), 2)),
        // A new attempt is not known to fail, and not known to be done.
        ("+!+", (0, 2, None, None, 1)),
        ("+.+", (2, 2, None, None, 0)),
        // Killed between the effect and its end: tried again, since the last try.
        ("++", (0, 1, None, None, 0)),
        ("+!+.", (0, 2, Some(3), None, 0)),
        ("+!+.+!", (4, 4, None, Some("error 5"), 1)),
        ("+.+!+!+.", (2, 6, Some(7), None, 0)),
        ("+!+!+!+.+.+!+", (10, 12, None, None, 1)),
        // The first end counts, and none counts before there is an attempt.
        ("+.!", (0, 0, Some(1), None, 0)),
        ("+!!.", (0, 0, None, Some("error 1"), 1)),
        (".!+", (2, 2, None, None, 0)),
    ];
    for (steps, (intended, attempted, done, error, failures)) in cases {
        let wanted = Entry {
            intended: at(intended),
            attempted: Some(at(attempted)),
            done: done.map(at),
            error: error.map(str::to_owned),
            failures,
        };
        for store in both().await {
            let durable = store.is_durable().await;
            assert_eq!(
                course(&store, steps).await,
                wanted,
                "{steps}, durable: {durable}"
            );
        }
    }
}

#[tokio::test]
async fn the_end_of_a_fenced_call_is_not_its_successors() {
    let access = shared().await.database().await;
    let (old, new) = (attached(&access).await, attached(&access).await);
    let intend = || Commit {
        intended: vec!["key".to_owned()],
        ..Commit::default()
    };
    let first = held(&old).await;
    old.commit(first, intend(), at(0)).await.unwrap();
    old.release("us/1").await.unwrap();
    let ttl = std::time::Duration::from_secs(60);
    let second = new.lease("them/2", ttl).await.unwrap().unwrap();
    new.commit(second, intend(), at(10)).await.unwrap();
    let late = Err("timed out".to_owned());
    old.record_effect(first, "key", late, at(20)).await.unwrap();
    let entry = new.snapshot().await.unwrap().journal["key"].clone();
    assert_eq!((entry.error, entry.attempted), (None, Some(at(10))));
    new.record_effect(second, "key", Ok(()), at(21))
        .await
        .unwrap();
    let entry = new.snapshot().await.unwrap().journal["key"].clone();
    assert_eq!((entry.done, entry.failures), (Some(at(21)), 0));
}

#[tokio::test]
async fn every_course_survives_being_written_out() {
    for steps in [
        "+", "++", "+.", "++.", "+!", "++!", "+!+!", "+!+", "+!+.", "+.+!+!+",
    ] {
        let store = Store::in_memory("chat");
        let entry = course(&store, steps).await;
        store.attach(shared().await.database().await).await.unwrap();
        let read = store.snapshot().await.unwrap().journal["key"].clone();
        assert_eq!(read, entry, "{steps}");
    }
}

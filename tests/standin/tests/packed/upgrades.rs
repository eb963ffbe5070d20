//! The schema, through the command line.

use crate::support::{Node, Tree, dsn};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrate_saves_the_plan_that_downgrade_follows() {
    let dsn = dsn().await;
    let (old, new) = (
        Tree::install("11.8.0", "good"),
        Tree::install("11.10.0", "good"),
    );
    let (text, good) = old.run(&["db", "migrate"], Some(&dsn)).await;
    assert!(
        good && text.ends_with("Database successfully migrated\n"),
        "{text}"
    );
    let (text, good) = new
        .run(
            &["db", "migrate", "--save-plan", "--auto-recover"],
            Some(&dsn),
        )
        .await;
    assert!(
        good && text.contains("migration_plan_149_152.json"),
        "{text}"
    );
    let (text, _) = new
        .run(
            &[
                "db",
                "downgrade",
                "migration_plan_149_152.json",
                "--dry-run",
            ],
            Some(&dsn),
        )
        .await;
    assert!(
        text.starts_with("000152_add_lastlogin_to_users\n000150_"),
        "{text}"
    );
    let (_, good) = new
        .run(
            &["db", "downgrade", "migration_plan_149_152.json"],
            Some(&dsn),
        )
        .await;
    assert!(good);
    let (text, _) = old.run(&["db", "version"], Some(&dsn)).await;
    assert!(text.contains("version: 147"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asking_for_the_version_migrates() {
    let dsn = dsn().await;
    let tree = Tree::install("11.10.0", "good");
    let (text, good) = tree.run(&["db", "version"], Some(&dsn)).await;
    assert!(good && text.contains("version: 152"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loser_of_the_race_dies_or_lies() {
    let dsn = dsn().await;
    let tree = Tree::install("11.10.0", "good");
    let (one, two) = tokio::join!(
        tree.run(&["db", "migrate"], Some(&dsn)),
        tree.run(&["db", "migrate"], Some(&dsn))
    );
    for (text, good) in [&one, &two] {
        assert!(
            *good && text.ends_with("Database successfully migrated\n"),
            "{text}"
        );
    }
    let lost = [&one, &two]
        .iter()
        .filter(|(text, _)| text.contains("pg_type"))
        .count();
    assert_eq!(lost, 1, "{one:?} {two:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_fresh_servers_one_dies() {
    let dsn = dsn().await;
    let tree = Tree::install("11.10.0", "good");
    let mut nodes = [Node::spawn(&tree, &dsn, &[]), Node::spawn(&tree, &dsn, &[])];
    let [one, two] = &mut nodes;
    // Whichever dies first; the other becomes ready.
    let died_first = tokio::select! {
        status = one.exit() => { assert_eq!(status.code(), Some(1)); true }
        status = two.exit() => { assert_eq!(status.code(), Some(1)); false }
    };
    let (dead, alive) = if died_first { (one, two) } else { (two, one) };
    assert!(dead.log().contains("pg_type"), "{}", dead.log());
    alive.wait_ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_binary_on_a_newer_schema_says_nothing() {
    let dsn = dsn().await;
    drop(Node::good("11.10.0", &dsn, &[]).await);
    let old = Node::good("11.8.0", &dsn, &[]).await;
    let (code, _) = old.ping("?get_server_status=true").await;
    assert!(code.is_success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_done_migration_keeps_the_server_from_starting() {
    let dsn = dsn().await;
    drop(Node::good("11.10.0", &dsn, &[]).await);
    let tree = Tree::install("11.10.1", "half-done-migration");
    for word in ["posts_absent", "already exists"] {
        let mut node = Node::spawn(&tree, &dsn, &[]);
        assert_eq!(node.exit().await.code(), Some(1));
        assert!(node.log().contains(word), "{}", node.log());
    }
    let (_, good) = tree.run(&["db", "migrate"], Some(&dsn)).await;
    assert!(!good);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_migration_delays_readiness() {
    let dsn = dsn().await;
    drop(Node::good("11.10.0", &dsn, &[]).await);
    let tree = Tree::install("11.10.1", "slow-migration=2");
    let begun = std::time::Instant::now();
    let mut node = Node::spawn(&tree, &dsn, &[]);
    node.wait_ready().await;
    assert!(begun.elapsed().as_secs() >= 2);
}

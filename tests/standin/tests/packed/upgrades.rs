//! The schema, through the command line.

use std::time::Duration;

use standin::scratch_postgres::ScratchPostgres;

use crate::support::{LIMIT, Node, Tree, dsn};

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

/// Another node's first migration, held in its middle: whoever starts now loses.
struct Winner {
    client: tokio_postgres::Client,
    database: String,
}

impl Winner {
    async fn begin(dsn: &str) -> Self {
        let database = dsn.rsplit('/').next().unwrap().split('?').next().unwrap();
        let postgres = ScratchPostgres::shared().await.unwrap();
        let client = postgres.connect(database).await.unwrap();
        let tables = "BEGIN; CREATE TABLE db_lock (id VARCHAR(64) PRIMARY KEY, expireat BIGINT); \
                      CREATE TABLE db_migrations (version BIGINT NOT NULL, name VARCHAR NOT NULL, PRIMARY KEY (version))";
        client.batch_execute(tables).await.unwrap();
        Self {
            database: database.to_owned(),
            client,
        }
    }

    /// Goes on as soon as the other one waits for it.
    async fn commit(&self) {
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock'";
        let waits = async {
            while self
                .client
                .query_one(waiting, &[&self.database])
                .await
                .unwrap()
                .get::<_, i64>(0)
                == 0
            {
                // The view is a snapshot of the transaction until it is told to look again.
                self.client
                    .batch_execute("SELECT pg_stat_clear_snapshot()")
                    .await
                    .unwrap();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(LIMIT, waits).await.unwrap();
        self.client.batch_execute("COMMIT").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loser_of_the_race_lies() {
    let dsn = dsn().await;
    let tree = Tree::install("11.10.0", "good");
    let winner = Winner::begin(&dsn).await;
    let ((text, good), ()) =
        tokio::join!(tree.run(&["db", "migrate"], Some(&dsn)), winner.commit());
    assert!(text.contains("pg_type"), "{text}");
    assert!(
        good && text.ends_with("Database successfully migrated\n"),
        "{text}"
    );
    let applied = "SELECT count(*) FROM db_migrations";
    let applied: i64 = winner.client.query_one(applied, &[]).await.unwrap().get(0);
    assert_eq!(applied, 0, "it has migrated nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loser_of_the_race_dies() {
    let dsn = dsn().await;
    let tree = Tree::install("11.10.0", "good");
    let winner = Winner::begin(&dsn).await;
    let mut node = Node::spawn(&tree, &dsn, &[]);
    winner.commit().await;
    assert_eq!(node.exit().await.code(), Some(1));
    assert!(node.log().contains("pg_type"), "{}", node.log());
    let mut again = Node::spawn(&tree, &dsn, &[]);
    again.wait_ready().await;
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

//! Against a real Postgres.

use crate::database::Database;
use crate::dsn::Dsn;
use crate::release::{Behaviour, Manifest, Version};
use crate::schema::{
    MIGRATIONS, MigrateError, MigrateOptions, Plan, applied, downgrade, migrate, migrations_of,
    select,
};
use crate::scratch_postgres::ScratchPostgres;

fn manifest(version: Version, behaviour: Behaviour) -> Manifest {
    Manifest { version, behaviour }
}

fn good(minor: u16) -> Manifest {
    manifest(Version::new(11, minor, 0), Behaviour::Good)
}

async fn database() -> Database {
    let dsn = ScratchPostgres::shared()
        .await
        .unwrap()
        .create_dsn()
        .await
        .unwrap();
    Database::new(&Dsn::parse(&dsn).unwrap(), 10, 5).unwrap()
}

async fn numbers(database: &Database) -> Vec<i64> {
    let connection = database.connection().await.unwrap();
    let rows = applied(&connection).await.unwrap();
    rows.into_iter().map(|(number, _)| number).collect()
}

fn wanted(manifest: &Manifest) -> Vec<i64> {
    migrations_of(manifest)
        .iter()
        .map(|migration| migration.number)
        .collect()
}

#[test]
fn the_list_is_in_order_and_minor_versions_differ() {
    assert!(
        MIGRATIONS
            .windows(2)
            .all(|pair| pair[0].number < pair[1].number && pair[0].since <= pair[1].since)
    );
    for minor in [8, 9, 10] {
        assert!(
            wanted(&good(minor)).len() > wanted(&good(minor - 1)).len(),
            "11.{minor}"
        );
    }
    let patch = manifest(Version::new(11, 10, 7), Behaviour::Good);
    assert_eq!(wanted(&patch), wanted(&good(10)));
}

#[tokio::test]
async fn every_start_migrates_to_its_own_version_and_never_back() {
    let database = database().await;
    assert_eq!(numbers(&database).await, [0_i64; 0]);
    let dry = MigrateOptions {
        dry_run: true,
        ..MigrateOptions::default()
    };
    let pending = migrate(&database, &good(9), dry).await.unwrap().applied;
    assert_eq!(pending.len(), wanted(&good(9)).len());
    assert_eq!(
        numbers(&database).await,
        [0_i64; 0],
        "a dry run writes nothing"
    );

    let first = migrate(&database, &good(9), MigrateOptions::default())
        .await
        .unwrap();
    assert_eq!(first.applied, pending);
    assert_eq!(numbers(&database).await, wanted(&good(9)));
    let again = migrate(&database, &good(9), MigrateOptions::default())
        .await
        .unwrap();
    assert!(again.applied.is_empty());

    let newer = migrate(&database, &good(10), MigrateOptions::default())
        .await
        .unwrap();
    assert_eq!(newer.applied.len(), 1);
    let older = migrate(&database, &good(8), MigrateOptions::default())
        .await
        .unwrap();
    assert!(
        older.applied.is_empty(),
        "an older binary says nothing and does nothing"
    );
    assert_eq!(numbers(&database).await, wanted(&good(10)));
}

#[tokio::test]
async fn a_downgrade_follows_its_plan_and_wants_the_newer_binary() {
    let database = database().await;
    migrate(&database, &good(8), MigrateOptions::default())
        .await
        .unwrap();
    let up = migrate(&database, &good(10), MigrateOptions::default())
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let plan = serde_json::to_vec(&Plan::undo(&good(10), &up.applied)).unwrap();
    std::fs::write(folder.path().join("plan.json"), plan).unwrap();

    let old = select("plan.json", &[folder.path()], &good(8))
        .unwrap_err()
        .to_string();
    assert!(old.contains("newer binary"), "{old}");
    let wrong = select("plan", &[folder.path()], &good(10))
        .unwrap_err()
        .to_string();
    assert!(wrong.contains("`plan`"), "{wrong}");
    let steps = select("plan.json", &[folder.path()], &good(10)).unwrap();
    assert_eq!(steps, select("149, 150,152", &[], &good(10)).unwrap());
    let mut connection = database.connection().await.unwrap();
    downgrade(&mut connection, &steps).await.unwrap();
    assert_eq!(numbers(&database).await, wanted(&good(8)));
}

#[tokio::test]
async fn of_two_on_an_empty_database_one_dies_of_a_duplicate_type() {
    let one = database().await;
    let other = Database::new(&dsn_of(&one).await, 5, 5).unwrap();
    // Both are connected: neither is late for the race.
    drop((
        one.connection().await.unwrap(),
        other.connection().await.unwrap(),
    ));
    let good = good(10);
    let (a, b) = tokio::join!(
        migrate(&one, &good, MigrateOptions::default()),
        migrate(&other, &good, MigrateOptions::default())
    );
    let lost: Vec<_> = [a, b].into_iter().filter_map(Result::err).collect();
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert!(matches!(lost[0], MigrateError::LostRace { .. }));
    assert!(lost[0].to_string().contains("pg_type"), "{}", lost[0]);
    assert_eq!(numbers(&one).await, wanted(&good));
}

async fn dsn_of(database: &Database) -> Dsn {
    let (host, port) = database.address();
    let name: String = database
        .connection()
        .await
        .unwrap()
        .query_one("SELECT current_database()::text", &[])
        .await
        .unwrap()
        .get(0);
    Dsn::parse(&format!(
        "postgres://postgres@{host}:{port}/{name}?sslmode=disable"
    ))
    .unwrap()
}

#[tokio::test]
async fn a_half_done_migration_stays_half_done_until_it_is_recovered() {
    let database = database().await;
    let bad = manifest(Version::new(11, 10, 1), Behaviour::HalfDoneMigration);
    let failed = migrate(&database, &bad, MigrateOptions::default())
        .await
        .unwrap_err();
    assert!(failed.to_string().contains("posts_absent"), "{failed}");
    assert_eq!(
        numbers(&database).await,
        wanted(&good(10)),
        "it is not on record"
    );
    assert!(half_done(&database).await, "but its first statement is");
    let again = migrate(&database, &bad, MigrateOptions::default())
        .await
        .unwrap_err();
    assert!(again.to_string().contains("already exists"), "{again}");

    let recover = MigrateOptions {
        auto_recover: true,
        ..MigrateOptions::default()
    };
    let recovered = migrate(&database, &bad, recover).await.unwrap_err();
    assert!(recovered.to_string().contains("undone"), "{recovered}");
    assert!(!half_done(&database).await);
    let locks = database
        .connection()
        .await
        .unwrap()
        .query("SELECT 1 FROM db_lock", &[])
        .await
        .unwrap();
    assert!(locks.is_empty(), "the lock was released");
}

async fn half_done(database: &Database) -> bool {
    let row = database
        .connection()
        .await
        .unwrap()
        .query_one("SELECT to_regclass('posts_archive') IS NOT NULL", &[])
        .await
        .unwrap();
    row.get(0)
}

#[tokio::test]
async fn a_lock_whose_holder_died_runs_out() {
    let database = database().await;
    migrate(&database, &good(9), MigrateOptions::default())
        .await
        .unwrap();
    let connection = database.connection().await.unwrap();
    let past = crate::clock::now_ms() / 1000 - 1;
    connection
        .execute(
            "INSERT INTO db_lock (id, expireat) VALUES ('mm-lock-key', $1)",
            &[&past],
        )
        .await
        .unwrap();
    migrate(&database, &good(10), MigrateOptions::default())
        .await
        .unwrap();
    assert_eq!(numbers(&database).await, wanted(&good(10)));
}

#[tokio::test]
async fn a_held_lock_keeps_others_out() {
    let database = database().await;
    migrate(&database, &good(9), MigrateOptions::default())
        .await
        .unwrap();
    let connection = database.connection().await.unwrap();
    let future = crate::clock::now_ms() / 1000 + 600;
    connection
        .execute(
            "INSERT INTO db_lock (id, expireat) VALUES ('mm-lock-key', $1)",
            &[&future],
        )
        .await
        .unwrap();
    let (newer, options) = (good(10), MigrateOptions::default());
    let waiting = migrate(&database, &newer, options);
    tokio::pin!(waiting);
    let early = tokio::time::timeout(std::time::Duration::from_millis(300), waiting.as_mut()).await;
    assert!(early.is_err(), "it waits");
    connection
        .execute("DELETE FROM db_lock", &[])
        .await
        .unwrap();
    waiting.await.unwrap();
    assert_eq!(numbers(&database).await, wanted(&newer));
}

//! The story of the playbook: a primary, its replica, snapshots, and the end of all of them.

use super::fixture::{TestLab, code, endpoint, is_alive, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_needs_an_available_source_and_then_streams() {
    let lab = TestLab::start().await;
    let made = lab.create("primary", &[]).await.unwrap();
    assert_eq!(text(&made, "DBInstanceStatus").unwrap(), "creating");
    assert!(
        text(&made, "Endpoint").is_none(),
        "no endpoint before the instance is made"
    );
    assert_eq!(text(&made, "BackupRetentionPeriod").unwrap(), "1");
    let replica = [
        ("DBInstanceIdentifier", "replica"),
        ("SourceDBInstanceIdentifier", "primary"),
    ];
    let early = lab
        .rds("CreateDBInstanceReadReplica", &replica)
        .await
        .unwrap_err();
    assert_eq!(
        (early.status, early.code.as_str()),
        (400, "InvalidDBInstanceState")
    );
    assert!(
        early.message.contains("not in the available state"),
        "{}",
        early.message
    );

    lab.until_status_slowly("primary", "backing-up").await;
    assert_eq!(
        code(lab.rds("CreateDBInstanceReadReplica", &replica).await),
        "InvalidDBInstanceState"
    );
    lab.speed_up();
    lab.until_status("primary", "available").await;
    let primary = lab.session("primary").await;
    primary
        .batch_execute("CREATE TABLE posts (text text); INSERT INTO posts VALUES ('before')")
        .await
        .unwrap();

    lab.rds("CreateDBInstanceReadReplica", &replica)
        .await
        .unwrap();
    let xml = lab.until_status("replica", "available").await;
    assert_eq!(
        text(&xml, "ReadReplicaSourceDBInstanceIdentifier").unwrap(),
        "primary"
    );
    assert!(xml.contains("<Status>replicating</Status>"), "{xml}");
    let xml = lab.describe("primary").await;
    assert_eq!(
        text(&xml, "ReadReplicaDBInstanceIdentifier").unwrap(),
        "replica"
    );

    let standby = lab.session("replica").await;
    primary
        .batch_execute("INSERT INTO posts VALUES ('after')")
        .await
        .unwrap();
    let seen = "SELECT count(*) FROM posts";
    loop {
        let count: i64 = standby.query_one(seen, &[]).await.unwrap().get(0);
        if count == 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(
        standby
            .batch_execute("INSERT INTO posts VALUES ('no')")
            .await
            .is_err(),
        "a replica is read-only"
    );

    lab.rds(
        "PromoteReadReplica",
        &[
            ("DBInstanceIdentifier", "replica"),
            ("BackupRetentionPeriod", "0"),
        ],
    )
    .await
    .unwrap();
    let xml = lab.until_status("replica", "available").await;
    assert!(text(&xml, "ReadReplicaSourceDBInstanceIdentifier").is_none());
    standby
        .batch_execute("INSERT INTO posts VALUES ('own')")
        .await
        .unwrap();
    assert!(
        text(
            &lab.describe("primary").await,
            "ReadReplicaDBInstanceIdentifier"
        )
        .is_none()
    );
    let slots = primary
        .query_one("SELECT count(*) FROM pg_replication_slots", &[])
        .await
        .unwrap();
    assert_eq!(
        slots.get::<_, i64>(0),
        0,
        "the promoted replica's slot is dropped"
    );
    let other = [
        ("DBInstanceIdentifier", "other"),
        ("SourceDBInstanceIdentifier", "replica"),
    ];
    let without = lab
        .rds("CreateDBInstanceReadReplica", &other)
        .await
        .unwrap_err();
    assert!(
        without
            .message
            .contains("Automated backups are not enabled"),
        "{}",
        without.message
    );
    lab.lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_master_is_no_superuser_and_tls_is_required_and_verified() {
    let lab = TestLab::start().await;
    lab.create(
        "primary",
        &[("BackupRetentionPeriod", "0"), ("Port", "5544")],
    )
    .await
    .unwrap();
    let xml = lab.until_status("primary", "available").await;
    let (host, port) = endpoint(&xml);
    assert_eq!(port, 5544);
    assert!(host.starts_with(&format!("127.{}.", lab.octet)), "{host}");
    let client = lab.session("primary").await;
    let row = client
        .query_one(
            "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication,
                    pg_has_role('keeper', 'rds_superuser', 'member'),
                    pg_get_userbyid(datdba), current_setting('server_version')
             FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database()",
            &[],
        )
        .await
        .unwrap();
    let flags: Vec<bool> = (0..5).map(|at| row.get(at)).collect();
    assert_eq!(flags, [false, true, true, false, true]);
    assert_eq!(row.get::<_, String>(5), "keeper");
    let version = text(&xml, "EngineVersion").unwrap();
    assert!(
        row.get::<_, String>(6).starts_with(&version),
        "the version shown is the server's"
    );
    let role = "CREATE ROLE mattermost LOGIN PASSWORD 'x'; CREATE SCHEMA m AUTHORIZATION keeper";
    client.batch_execute(role).await.unwrap();

    let plain = lab
        .try_session(&host, port, super::fixture::PASSWORD, false)
        .await
        .err()
        .unwrap();
    assert!(
        plain.contains("no pg_hba.conf entry") && plain.contains("no encryption"),
        "{plain}"
    );
    let wrong = lab
        .try_session(&host, port, "wrong-password", true)
        .await
        .err()
        .unwrap();
    assert!(wrong.contains("password authentication failed"), "{wrong}");
    lab.lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_restores_what_was_there() {
    let lab = TestLab::start().await;
    lab.create(
        "primary",
        &[
            ("DeletionProtection", "true"),
            ("BackupRetentionPeriod", "0"),
        ],
    )
    .await
    .unwrap();
    let id = ("DBInstanceIdentifier", "primary");
    assert_eq!(
        code(
            lab.rds("CreateDBSnapshot", &[id, ("DBSnapshotIdentifier", "early")])
                .await
        ),
        "InvalidDBInstanceState"
    );
    lab.until_status("primary", "available").await;
    let client = lab.session("primary").await;
    client
        .batch_execute("CREATE TABLE posts (text text); INSERT INTO posts VALUES ('kept')")
        .await
        .unwrap();
    lab.slow_down();
    lab.rds(
        "CreateDBSnapshot",
        &[id, ("DBSnapshotIdentifier", "before")],
    )
    .await
    .unwrap();
    assert_eq!(
        text(&lab.describe("primary").await, "DBInstanceStatus").unwrap(),
        "backing-up"
    );
    lab.speed_up();
    lab.until_snapshot("before").await;
    lab.until_status("primary", "available").await;
    client.batch_execute("DELETE FROM posts").await.unwrap();

    let copy = [
        ("SourceDBSnapshotIdentifier", "before"),
        ("TargetDBSnapshotIdentifier", "copy"),
    ];
    lab.rds("CopyDBSnapshot", &copy).await.unwrap();
    lab.until_snapshot("copy").await;
    lab.rds("DeleteDBSnapshot", &[("DBSnapshotIdentifier", "before")])
        .await
        .unwrap();
    let restore = [
        ("DBInstanceIdentifier", "restored"),
        ("DBSnapshotIdentifier", "copy"),
    ];
    lab.rds("RestoreDBInstanceFromDBSnapshot", &restore)
        .await
        .unwrap();
    lab.until_status("restored", "available").await;
    let restored = lab.session("restored").await;
    let row = restored
        .query_one("SELECT text FROM posts", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, String>(0), "kept");

    let skip = ("SkipFinalSnapshot", "true");
    assert_eq!(
        code(lab.rds("DeleteDBInstance", &[id, skip]).await),
        "InvalidParameterCombination"
    );
    lab.rds("ModifyDBInstance", &[id, ("DeletionProtection", "false")])
        .await
        .unwrap();
    assert_eq!(
        code(lab.rds("DeleteDBInstance", &[id]).await),
        "InvalidParameterCombination"
    );
    let pids = lab.pids().await;
    assert_eq!(pids.len(), 2);
    lab.rds(
        "DeleteDBInstance",
        &[id, ("FinalDBSnapshotIdentifier", "last")],
    )
    .await
    .unwrap();
    assert_eq!(
        code(lab.rds("DeleteDBInstance", &[id, skip]).await),
        "InvalidDBInstanceState"
    );
    lab.until_gone("primary").await;
    lab.until_snapshot("last").await;
    assert!(
        lab.events("primary")
            .await
            .iter()
            .any(|message| message == "DB instance deleted")
    );
    lab.rds(
        "DeleteDBInstance",
        &[("DBInstanceIdentifier", "restored"), skip],
    )
    .await
    .unwrap();
    lab.until_gone("restored").await;
    assert!(
        pids.iter().all(|pid| !is_alive(*pid)),
        "no server outlives its instance"
    );
    lab.lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_has_metrics_follows_a_new_port_and_outlives_its_source() {
    let lab = TestLab::start().await;
    lab.create("primary", &[]).await.unwrap();
    lab.until_status("primary", "available").await;
    let replica = [
        ("DBInstanceIdentifier", "replica"),
        ("SourceDBInstanceIdentifier", "primary"),
    ];
    lab.rds("CreateDBInstanceReadReplica", &replica)
        .await
        .unwrap();
    lab.until_status("replica", "available").await;
    let wanted = [
        "CPUUtilization",
        "DatabaseConnections",
        "FreeStorageSpace",
        "ReplicaLag",
    ];
    loop {
        let metrics = lab.metrics("replica").await;
        if wanted
            .iter()
            .all(|name| metrics.iter().any(|metric| metric == name))
        {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }

    let id = ("DBInstanceIdentifier", "primary");
    lab.rds("ModifyDBInstance", &[id, ("DBPortNumber", "5777")])
        .await
        .unwrap();
    lab.until("primary", "on its new port", |xml| {
        text(xml, "DBInstanceStatus").as_deref() == Some("available") && endpoint(xml).1 == 5777
    })
    .await;
    let primary = lab.session("primary").await;
    primary
        .batch_execute("CREATE TABLE after ()")
        .await
        .unwrap();
    let standby = lab.session("replica").await;
    while standby.batch_execute("SELECT FROM after").await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }

    let skip = ("SkipFinalSnapshot", "true");
    lab.rds("DeleteDBInstance", &[id, skip]).await.unwrap();
    lab.until_gone("primary").await;
    let xml = lab
        .until("replica", "on its own", |xml| {
            text(xml, "ReadReplicaSourceDBInstanceIdentifier").is_none()
                && text(xml, "DBInstanceStatus").as_deref() == Some("available")
        })
        .await;
    assert!(text(&xml, "StatusInfos").is_none());
    standby.batch_execute("CREATE TABLE own ()").await.unwrap();
    lab.lab.stop().await;
}

//! The log that RDS keeps: a restore to a second between two messages.

use jiff::Timestamp;

use super::fixture::{TestLab, code, text};

fn latest(xml: &str) -> Option<Timestamp> {
    text(xml, "LatestRestorableTime")?.parse().ok()
}

/// A renamed instance has its new name half-way through.
async fn until_there(lab: &TestLab, id: &str) {
    let there = async {
        let asked = [("DBInstanceIdentifier", id)];
        while lab.rds("DescribeDBInstances", &asked).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let minute = std::time::Duration::from_mins(1);
    let done = tokio::time::timeout(minute, there).await;
    assert!(done.is_ok(), "{id} does not come");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_between_two_messages_is_restored_to() {
    let lab = TestLab::start().await;
    lab.create("primary", &[]).await.unwrap();
    lab.until_status("primary", "available").await;
    let primary = lab.session("primary").await;
    primary
        .batch_execute("CREATE TABLE posts (text text); INSERT INTO posts VALUES ('kept')")
        .await
        .unwrap();
    let row = primary
        .query_one(
            "SELECT extract(epoch FROM clock_timestamp())::bigint + 1",
            &[],
        )
        .await
        .unwrap();
    let second = Timestamp::from_second(row.get(0)).unwrap();
    // The next message comes after that second.
    primary
        .batch_execute("SELECT pg_sleep(2.1); INSERT INTO posts VALUES ('lost')")
        .await
        .unwrap();
    let (source, wanted) = (
        ("SourceDBInstanceIdentifier", "primary"),
        ("TargetDBInstanceIdentifier", "restored"),
    );
    let time = second.to_string();
    let at = ("RestoreTime", time.as_str());
    let future = (second + std::time::Duration::from_hours(1)).to_string();
    let restore = "RestoreDBInstanceToPointInTime";
    let late = [source, wanted, ("RestoreTime", future.as_str())];
    let refused = lab.rds(restore, &late).await.unwrap_err();
    assert_eq!(refused.code, "InvalidParameterValue");
    assert!(
        refused.message.contains("later than"),
        "{}",
        refused.message
    );
    let both = [source, wanted, at, ("UseLatestRestorableTime", "true")];
    assert_eq!(
        code(lab.rds(restore, &both).await),
        "InvalidParameterCombination"
    );
    lab.until("primary", "backed up until then", |xml| {
        latest(xml).is_some_and(|latest| latest >= second)
    })
    .await;
    lab.rds(restore, &[source, wanted, at]).await.unwrap();
    lab.until_status("restored", "available").await;
    let restored = lab.session("restored").await;
    let rows = restored.query("SELECT text FROM posts", &[]).await.unwrap();
    let texts: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(texts, ["kept"]);
    restored
        .batch_execute("INSERT INTO posts VALUES ('new')")
        .await
        .expect("it takes writes");
    // The source goes on, and so does its log.
    let xml = lab.describe("primary").await;
    let before = latest(&xml).unwrap();
    lab.until("primary", "backed up further", |xml| {
        latest(xml).is_some_and(|latest| latest > before)
    })
    .await;
    // The restored one takes the name: that is how one goes back.
    for (name, new) in [("primary", "before"), ("restored", "primary")] {
        let rename = [
            ("DBInstanceIdentifier", name),
            ("NewDBInstanceIdentifier", new),
            ("ApplyImmediately", "true"),
        ];
        lab.rds("ModifyDBInstance", &rename).await.unwrap();
        until_there(&lab, new).await;
        lab.until_status(new, "available").await;
    }
    let session = lab.session("primary").await;
    let count = session.query_one("SELECT count(*) FROM posts", &[]);
    assert_eq!(count.await.unwrap().get::<_, i64>(0), 2);
    // A follower of a restored server is no copy of how it was restored.
    lab.until("primary", "backed up", |xml| latest(xml).is_some())
        .await;
    let replica = [
        ("DBInstanceIdentifier", "follower"),
        ("SourceDBInstanceIdentifier", "primary"),
    ];
    lab.rds("CreateDBInstanceReadReplica", &replica)
        .await
        .unwrap();
    lab.until_status("follower", "available").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_backups_there_is_no_point_in_time() {
    let lab = TestLab::start().await;
    let none = ("BackupRetentionPeriod", "0");
    lab.create("primary", &[none, ("StorageType", "gp3")])
        .await
        .unwrap();
    let xml = lab.until_status("primary", "available").await;
    assert_eq!(latest(&xml), None);
    // Nobody asked for them: a small gp3 volume's own.
    assert_eq!(text(&xml, "Iops").as_deref(), Some("3000"));
    assert_eq!(text(&xml, "StorageThroughput").as_deref(), Some("125"));
    let wanted = [
        ("SourceDBInstanceIdentifier", "primary"),
        ("TargetDBInstanceIdentifier", "restored"),
        ("UseLatestRestorableTime", "true"),
    ];
    assert_eq!(
        code(lab.rds("RestoreDBInstanceToPointInTime", &wanted).await),
        "PointInTimeRestoreNotEnabled"
    );
}

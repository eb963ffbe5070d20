//! What a replica shares with its source, and what it does not.

use super::fixture::{TestLab, text};

/// One value of SQL, as text.
async fn ask(lab: &TestLab, id: &str, statement: &str) -> String {
    let client = lab.session(id).await;
    let row = client.query_one(statement, &[]).await.expect("one row");
    row.get(0)
}

async fn until(lab: &TestLab, id: &str, statement: &str, expected: &str) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_mins(2);
    loop {
        let found = ask(lab, id, statement).await;
        if found == expected {
            return;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "{statement} on {id}: {found}, not {expected}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_has_its_sources_parameters_and_pauses_when_it_allows_fewer_connections() {
    let lab = TestLab::start().await;
    let versions = lab.rds("DescribeDBEngineVersions", &[]).await.unwrap();
    let family = text(&versions, "DBParameterGroupFamily").unwrap();
    let group = ("DBParameterGroupName", "shared");
    lab.rds(
        "CreateDBParameterGroup",
        &[
            group,
            ("Description", "for tests"),
            ("DBParameterGroupFamily", &family),
        ],
    )
    .await
    .unwrap();
    let connections = |value: &'static str| {
        [
            group,
            ("Parameters.Parameter.1.ParameterName", "max_connections"),
            ("Parameters.Parameter.1.ParameterValue", value),
            ("Parameters.Parameter.1.ApplyMethod", "pending-reboot"),
        ]
    };
    lab.rds("ModifyDBParameterGroup", &connections("60"))
        .await
        .unwrap();
    lab.create("primary", &[group]).await.unwrap();
    lab.until_status("primary", "available").await;
    let replica = [
        ("DBInstanceIdentifier", "replica"),
        ("SourceDBInstanceIdentifier", "primary"),
    ];
    let refused = lab
        .rds(
            "CreateDBInstanceReadReplica",
            &[&replica[..], &[group]].concat(),
        )
        .await
        .unwrap_err();
    assert_eq!(refused.code, "InvalidParameterCombination");
    assert!(
        refused
            .message
            .contains("be specified during Read Replica creation"),
        "{refused:?}"
    );
    lab.rds("CreateDBInstanceReadReplica", &replica)
        .await
        .unwrap();
    let xml = lab.until_status("replica", "available").await;
    assert_eq!(text(&xml, "DBParameterGroupName").unwrap(), "shared");
    assert_eq!(ask(&lab, "replica", "SHOW max_connections").await, "60");

    lab.rds("ModifyDBParameterGroup", &connections("90"))
        .await
        .unwrap();
    for id in ["primary", "replica"] {
        let xml = lab.describe(id).await;
        assert_eq!(
            text(&xml, "ParameterApplyStatus").unwrap(),
            "pending-reboot",
            "{id}"
        );
    }
    // The wrong order.
    let reboot = |id: &'static str| [("DBInstanceIdentifier", id)];
    lab.rds("RebootDBInstance", &reboot("primary"))
        .await
        .unwrap();
    lab.until_status("primary", "available").await;
    lab.session("primary")
        .await
        .batch_execute("CREATE TABLE later ()")
        .await
        .unwrap();
    until(
        &lab,
        "replica",
        "SELECT pg_get_wal_replay_pause_state()",
        "paused",
    )
    .await;
    let seen = "SELECT coalesce(to_regclass('public.later')::text, 'absent')";
    assert_eq!(ask(&lab, "replica", seen).await, "absent");
    lab.rds("RebootDBInstance", &reboot("replica"))
        .await
        .unwrap();
    lab.until_status("replica", "available").await;
    until(&lab, "replica", seen, "later").await;
    lab.lab.stop().await;
}

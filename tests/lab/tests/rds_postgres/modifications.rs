//! Parameter groups, modifications, stop and start.

use super::fixture::{PASSWORD, TestLab, code, endpoint, text};

async fn setting(client: &tokio_postgres::Client, name: &str) -> String {
    client
        .query_one(&format!("SHOW {name}"), &[])
        .await
        .expect("a setting")
        .get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_reach_the_server_when_rds_says_so() {
    let lab = TestLab::start().await;
    let versions = lab
        .rds("DescribeDBEngineVersions", &[("Engine", "postgres")])
        .await
        .unwrap();
    let family = text(&versions, "DBParameterGroupFamily").unwrap();
    let group = ("DBParameterGroupName", "tuned");
    let described = ("Description", "for tests");
    lab.rds(
        "CreateDBParameterGroup",
        &[group, described, ("DBParameterGroupFamily", &family)],
    )
    .await
    .unwrap();
    lab.create("primary", &[group, ("BackupRetentionPeriod", "0")])
        .await
        .unwrap();
    let xml = lab.until_status("primary", "available").await;
    let (host, port) = endpoint(&xml);
    let client = lab.session("primary").await;
    assert_eq!(
        setting(&client, "max_connections").await,
        "112",
        "1 GiB of memory by RDS's formula"
    );

    let parameter = |name: &'static str, value: &'static str, method: &'static str| {
        [
            group,
            ("Parameters.Parameter.1.ParameterName", name),
            ("Parameters.Parameter.1.ParameterValue", value),
            ("Parameters.Parameter.1.ApplyMethod", method),
        ]
    };
    let modify = "ModifyDBParameterGroup";
    for (name, value, method, expected) in [
        (
            "max_connections",
            "77",
            "immediate",
            "InvalidParameterCombination",
        ),
        (
            "max_connections",
            "0",
            "pending-reboot",
            "InvalidParameterValue",
        ),
        (
            "listen_addresses",
            "*",
            "pending-reboot",
            "InvalidParameterValue",
        ),
        ("no_such_thing", "1", "immediate", "InvalidParameterValue"),
    ] {
        let refused = lab.rds(modify, &parameter(name, value, method)).await;
        assert_eq!(code(refused), expected, "{name}");
    }
    lab.rds(
        modify,
        &parameter("max_connections", "77", "pending-reboot"),
    )
    .await
    .unwrap();
    assert_eq!(
        text(&lab.describe("primary").await, "ParameterApplyStatus").unwrap(),
        "pending-reboot"
    );
    lab.rds(
        modify,
        &parameter("log_min_duration_statement", "250", "immediate"),
    )
    .await
    .unwrap();
    lab.rds(modify, &parameter("rds.force_ssl", "0", "immediate"))
        .await
        .unwrap();
    let mut plain = lab.try_session(&host, port, PASSWORD, false).await;
    while plain.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        plain = lab.try_session(&host, port, PASSWORD, false).await;
    }
    let plain = plain.unwrap();
    assert_eq!(setting(&plain, "log_min_duration_statement").await, "250ms");
    assert_eq!(
        setting(&plain, "max_connections").await,
        "112",
        "static: not before the reboot"
    );

    lab.slow_down();
    lab.rds("RebootDBInstance", &[("DBInstanceIdentifier", "primary")])
        .await
        .unwrap();
    assert_eq!(
        text(&lab.describe("primary").await, "DBInstanceStatus").unwrap(),
        "rebooting"
    );
    lab.speed_up();
    let xml = lab.until_status("primary", "available").await;
    assert_eq!(text(&xml, "ParameterApplyStatus").unwrap(), "in-sync");
    assert_eq!(
        setting(&lab.session("primary").await, "max_connections").await,
        "77"
    );
    let user = lab
        .rds("DescribeDBParameters", &[group, ("Source", "user")])
        .await
        .unwrap();
    assert_eq!(user.matches("<Parameter>").count(), 3);
    // The family's own value again: nobody's.
    lab.rds(modify, &parameter("rds.force_ssl", "1", "immediate"))
        .await
        .unwrap();
    let named = [
        group,
        ("Filters.Filter.1.Name", "parameter-name"),
        ("Filters.Filter.1.Values.Value.1", "rds.force_ssl"),
    ];
    let ssl = lab.rds("DescribeDBParameters", &named).await.unwrap();
    assert_eq!(ssl.matches("<Parameter>").count(), 1);
    assert_eq!(text(&ssl, "Source").unwrap(), "system");
    assert_eq!(text(&ssl, "ParameterValue").unwrap(), "1");
    assert_eq!(
        code(lab.rds("DeleteDBParameterGroup", &[group]).await),
        "InvalidDBParameterGroupState"
    );
    lab.lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn modifications_are_promised_first_and_kept_later() {
    let lab = TestLab::start().await;
    lab.create("primary", &[("BackupRetentionPeriod", "0")])
        .await
        .unwrap();
    lab.until_status("primary", "available").await;
    let id = ("DBInstanceIdentifier", "primary");
    let deferred = lab
        .rds(
            "ModifyDBInstance",
            &[id, ("DBInstanceClass", "db.t3.small")],
        )
        .await
        .unwrap();
    let pending = text(&deferred, "PendingModifiedValues").unwrap();
    assert_eq!(text(&pending, "DBInstanceClass").unwrap(), "db.t3.small");
    assert_eq!(text(&deferred, "DBInstanceClass").unwrap(), "db.t3.micro");

    let wanted = [
        id,
        ("ApplyImmediately", "true"),
        ("AllocatedStorage", "40"),
        ("BackupRetentionPeriod", "3"),
        ("MasterUserPassword", "another-good-password"),
    ];
    let promised = lab.rds("ModifyDBInstance", &wanted).await.unwrap();
    assert_eq!(
        text(&promised, "DBInstanceStatus").unwrap(),
        "available",
        "as AWS: not modifying yet"
    );
    assert_eq!(text(&promised, "MasterUserPassword").unwrap(), "****");
    let xml = lab
        .until("primary", "modified", |xml| {
            let pending = text(xml, "PendingModifiedValues").unwrap_or_default();
            pending.is_empty() && text(xml, "DBInstanceStatus").as_deref() == Some("available")
        })
        .await;
    assert_eq!(
        text(&xml, "DBInstanceClass").unwrap(),
        "db.t3.small",
        "what was pending is applied too"
    );
    assert_eq!(text(&xml, "AllocatedStorage").unwrap(), "40");
    assert_eq!(text(&xml, "BackupRetentionPeriod").unwrap(), "3");
    assert!(text(&xml, "LatestRestorableTime").is_some());
    let (host, port) = endpoint(&xml);
    assert!(
        lab.try_session(&host, port, PASSWORD, true).await.is_err(),
        "the old password is void"
    );
    let client = lab
        .try_session(&host, port, "another-good-password", true)
        .await
        .unwrap();
    assert_eq!(
        setting(&client, "max_connections").await,
        "225",
        "2 GiB by RDS's formula"
    );
    let more = [id, ("ApplyImmediately", "true"), ("AllocatedStorage", "60")];
    let refused = lab.rds("ModifyDBInstance", &more).await.unwrap_err();
    assert_eq!(refused.code, "InvalidParameterCombination");
    assert!(
        refused
            .message
            .contains("previous storage change is being optimized"),
        "one change in six hours: {refused:?}"
    );
    let less = [id, ("AllocatedStorage", "20")];
    assert_eq!(
        code(lab.rds("ModifyDBInstance", &less).await),
        "InvalidParameterCombination"
    );
    let messages = lab.events("primary").await;
    for expected in [
        "Reset master credentials",
        "Finished applying modification to allocated storage",
    ] {
        assert!(
            messages.iter().any(|message| message == expected),
            "{messages:#?}"
        );
    }
    lab.lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_instance_keeps_its_rows_and_its_endpoint() {
    let lab = TestLab::start().await;
    lab.create("primary", &[("BackupRetentionPeriod", "0")])
        .await
        .unwrap();
    let before = endpoint(&lab.until_status("primary", "available").await);
    lab.session("primary")
        .await
        .batch_execute("CREATE TABLE kept ()")
        .await
        .unwrap();
    let id = ("DBInstanceIdentifier", "primary");
    lab.rds("StopDBInstance", &[id]).await.unwrap();
    lab.until_status("primary", "stopped").await;
    assert!(
        lab.try_session(&before.0, before.1, PASSWORD, true)
            .await
            .is_err()
    );
    assert_eq!(
        code(lab.rds("RebootDBInstance", &[id]).await),
        "InvalidDBInstanceState"
    );
    lab.rds("StartDBInstance", &[id]).await.unwrap();
    let xml = lab.until_status("primary", "available").await;
    assert_eq!(endpoint(&xml), before);
    lab.session("primary")
        .await
        .batch_execute("SELECT * FROM kept")
        .await
        .unwrap();
    lab.lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_start_with_its_parameters_says_why() {
    let lab = TestLab::start().await;
    let versions = lab.rds("DescribeDBEngineVersions", &[]).await.unwrap();
    let family = text(&versions, "DBParameterGroupFamily").unwrap();
    let group = ("DBParameterGroupName", "greedy");
    let new = [
        group,
        ("DBParameterGroupFamily", family.as_str()),
        ("Description", "too much"),
    ];
    lab.rds("CreateDBParameterGroup", &new).await.unwrap();
    lab.create("primary", &[("BackupRetentionPeriod", "0")])
        .await
        .unwrap();
    lab.until_status("primary", "available").await;
    // In the server's range, and more memory than there is.
    let name = (
        "Parameters.Parameter.1.ParameterName",
        "max_locks_per_transaction",
    );
    let method = ("Parameters.Parameter.1.ApplyMethod", "pending-reboot");
    let value = ("Parameters.Parameter.1.ParameterValue", "2147483647");
    lab.rds("ModifyDBParameterGroup", &[group, name, value, method])
        .await
        .unwrap();
    let id = ("DBInstanceIdentifier", "primary");
    let modified = lab.rds("ModifyDBInstance", &[id, group]).await.unwrap();
    assert_eq!(
        text(&modified, "ParameterApplyStatus").unwrap(),
        "pending-reboot"
    );
    lab.rds("RebootDBInstance", &[id]).await.unwrap();
    lab.until_status("primary", "incompatible-parameters").await;
    let messages = lab.events("primary").await;
    assert!(
        messages.iter().any(|message| message.contains("FATAL")),
        "{messages:#?}"
    );
    lab.rds("ResetDBParameterGroup", &[group, name, method])
        .await
        .unwrap();
    lab.rds("RebootDBInstance", &[id]).await.unwrap();
    let xml = lab.until_status("primary", "available").await;
    assert_eq!(text(&xml, "ParameterApplyStatus").unwrap(), "in-sync");
    lab.session("primary").await;
    lab.lab.stop().await;
}

//! What RDS refuses, and the descriptions that need no server.

use super::fixture::{TestLab, code, text};

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_get_rds_own_codes() {
    let lab = TestLab::start().await;
    let mut wrong = Vec::new();
    for (member, value, expected) in [
        ("DBInstanceIdentifier", "9lives", "InvalidParameterValue"),
        ("DBInstanceIdentifier", "a--b", "InvalidParameterValue"),
        ("Engine", "oracle-ee", "InvalidParameterValue"),
        ("EngineVersion", "9.6", "InvalidParameterCombination"),
        ("DBInstanceClass", "db.x9.huge", "InvalidParameterValue"),
        ("AllocatedStorage", "4", "InvalidParameterValue"),
        ("StorageType", "tape", "StorageTypeNotSupported"),
        ("MasterUsername", "admin", "InvalidParameterValue"),
        ("MasterUserPassword", "short", "InvalidParameterValue"),
        (
            "ManageMasterUserPassword",
            "true",
            "InvalidParameterCombination",
        ),
        ("DBName", "1st", "InvalidParameterValue"),
        ("BackupRetentionPeriod", "36", "InvalidParameterValue"),
        ("PreferredBackupWindow", "noon", "InvalidParameterValue"),
        ("Port", "80", "InvalidParameterValue"),
        ("DBSubnetGroupName", "absent", "DBSubnetGroupNotFoundFault"),
        ("DBParameterGroupName", "absent", "DBParameterGroupNotFound"),
        (
            "VpcSecurityGroupIds.VpcSecurityGroupId.1",
            "sg-0",
            "InvalidParameterValue",
        ),
        ("CACertificateIdentifier", "own-ca", "CertificateNotFound"),
        (
            "AvailabilityZone",
            "eu-west-1a",
            "InvalidVPCNetworkStateFault",
        ),
        ("KmsKeyId", "alias/x", "InvalidParameterCombination"),
        ("Teleport", "true", "UnknownParameter"),
    ] {
        let given = match lab.create("primary", &[(member, value)]).await {
            Ok(_) => "accepted".to_owned(),
            Err(refusal) => refusal.code,
        };
        if given != expected {
            wrong.push(format!("{member}={value}: {given}, not {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for (action, parameters, expected) in [
        (
            "DescribeDBInstances",
            vec![("DBInstanceIdentifier", "absent")],
            "DBInstanceNotFound",
        ),
        (
            "DescribeDBInstances",
            vec![("MaxRecords", "5")],
            "InvalidParameterValue",
        ),
        (
            "DescribeDBInstances",
            vec![("Marker", "?")],
            "InvalidParameterValue",
        ),
        (
            "DescribeDBInstances",
            vec![
                ("Filters.Filter.1.Name", "color"),
                ("Filters.Filter.1.Values.Value.1", "red"),
            ],
            "InvalidParameterValue",
        ),
        (
            "DeleteDBInstance",
            vec![
                ("DBInstanceIdentifier", "absent"),
                ("SkipFinalSnapshot", "true"),
            ],
            "DBInstanceNotFound",
        ),
        (
            "DescribeDBSnapshots",
            vec![("DBSnapshotIdentifier", "absent")],
            "DBSnapshotNotFound",
        ),
        (
            "DeleteDBParameterGroup",
            vec![("DBParameterGroupName", "default.postgres15")],
            "InvalidDBParameterGroupState",
        ),
        ("CreateDBCluster", vec![], "InvalidAction"),
    ] {
        assert_eq!(
            code(lab.rds(action, &parameters).await),
            expected,
            "{action} {parameters:?}"
        );
    }
    lab.lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subnet_groups_cover_two_zones_and_tags_follow_their_arn() {
    let lab = TestLab::start().await;
    let subnets = lab::ec2::default_subnets(&lab.lab, "us-east-1");
    let group = [
        ("DBSubnetGroupName", "Data"),
        ("DBSubnetGroupDescription", "for data"),
    ];
    let member = |at: usize| format!("SubnetIds.SubnetIdentifier.{at}");
    let (one, two) = (member(1), member(2));
    let mut single = group.to_vec();
    single.push((&one, &subnets[0].id));
    assert_eq!(
        code(lab.rds("CreateDBSubnetGroup", &single).await),
        "DBSubnetGroupDoesNotCoverEnoughAZs"
    );
    let mut both = single.clone();
    both.push((&two, &subnets[1].id));
    both.extend([("Tags.Tag.1.Key", "stack"), ("Tags.Tag.1.Value", "chat")]);
    let made = lab.rds("CreateDBSubnetGroup", &both).await.unwrap();
    assert_eq!(text(&made, "DBSubnetGroupName").unwrap(), "data");
    assert_eq!(
        code(lab.rds("CreateDBSubnetGroup", &both).await),
        "DBSubnetGroupAlreadyExists"
    );
    let arn = text(&made, "DBSubnetGroupArn").unwrap();
    let tags = lab
        .rds("ListTagsForResource", &[("ResourceName", &arn)])
        .await
        .unwrap();
    assert_eq!(text(&tags, "Value").unwrap(), "chat");
    let remove = [
        ("ResourceName", arn.as_str()),
        ("TagKeys.member.1", "stack"),
    ];
    lab.rds("RemoveTagsFromResource", &remove).await.unwrap();
    let tags = lab
        .rds("ListTagsForResource", &[("ResourceName", &arn)])
        .await
        .unwrap();
    assert!(text(&tags, "Value").is_none());

    lab.create("primary", &[("DBSubnetGroupName", "data")])
        .await
        .unwrap();
    assert_eq!(
        code(lab.create("primary", &[]).await),
        "DBInstanceAlreadyExists"
    );
    let delete = [("DBSubnetGroupName", "data")];
    assert_eq!(
        code(lab.rds("DeleteDBSubnetGroup", &delete).await),
        "InvalidDBSubnetGroupStateFault"
    );
    // An instance may be deleted while it is being made.
    let skip = [
        ("DBInstanceIdentifier", "primary"),
        ("SkipFinalSnapshot", "true"),
    ];
    lab.rds("DeleteDBInstance", &skip).await.unwrap();
    lab.until_gone("primary").await;
    lab.rds("DeleteDBSubnetGroup", &delete).await.unwrap();
    lab.lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_paged() {
    let lab = TestLab::start().await;
    let first = lab
        .rds(
            "DescribeOrderableDBInstanceOptions",
            &[("Engine", "postgres")],
        )
        .await
        .unwrap();
    assert_eq!(first.matches("<OrderableDBInstanceOption>").count(), 100);
    let marker = text(&first, "Marker").unwrap();
    let next = [("Engine", "postgres"), ("Marker", &marker)];
    let second = lab
        .rds("DescribeOrderableDBInstanceOptions", &next)
        .await
        .unwrap();
    assert_ne!(
        text(&first, "DBInstanceClass"),
        text(&second, "DBInstanceClass")
    );
    for (action, element) in [
        ("DescribeCertificates", "CertificateIdentifier"),
        ("DescribeAccountAttributes", "AccountQuotaName"),
        ("DescribeDBParameterGroups", "DBParameterGroupName"),
        ("DescribeDBEngineVersions", "EngineVersion"),
        (
            "DescribePendingMaintenanceActions",
            "PendingMaintenanceActions",
        ),
    ] {
        let xml = lab.rds(action, &[]).await.unwrap();
        assert!(text(&xml, element).is_some(), "{action}: {xml}");
    }
    lab.lab.stop().await;
}

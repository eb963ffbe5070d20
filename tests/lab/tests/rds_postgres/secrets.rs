//! Secrets Manager over the wire, and the secrets that RDS manages.

use serde_json::json;

use super::fixture::{TestLab, code, endpoint, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_lives_has_versions_and_can_be_brought_back() {
    let lab = TestLab::start().await;
    let token = "01234567-89ab-cdef-0123-456789abcdef";
    let create = json!({
        "Name": "mattermost/db", "SecretString": "one", "ClientRequestToken": token,
        "Tags": [{ "Key": "stack", "Value": "chat" }],
    });
    let made = lab.secrets("CreateSecret", &create).await.unwrap();
    let again = lab.secrets("CreateSecret", &create).await.unwrap();
    assert_eq!(made, again, "the same token and value: the same answer");
    let other = json!({ "Name": "mattermost/db", "SecretString": "two" });
    assert_eq!(
        code(lab.secrets("CreateSecret", &other).await),
        "ResourceExistsException"
    );
    let put = json!({ "SecretId": "mattermost/db", "SecretString": "two" });
    let second = lab.secrets("PutSecretValue", &put).await.unwrap();
    assert_eq!(second["VersionStages"], json!(["AWSCURRENT"]));
    let id = json!({ "SecretId": made["ARN"] });
    assert_eq!(
        lab.secrets("GetSecretValue", &id).await.unwrap()["SecretString"],
        "two"
    );
    let previous = json!({ "SecretId": "mattermost/db", "VersionStage": "AWSPREVIOUS" });
    assert_eq!(
        lab.secrets("GetSecretValue", &previous).await.unwrap()["SecretString"],
        "one"
    );
    let list = json!({ "Filters": [{ "Key": "tag-key", "Values": ["stack"] }] });
    let found = lab.secrets("ListSecrets", &list).await.unwrap();
    assert_eq!(found["SecretList"][0]["Name"], "mattermost/db");

    lab.secrets(
        "DeleteSecret",
        &json!({ "SecretId": "mattermost/db", "RecoveryWindowInDays": 7 }),
    )
    .await
    .unwrap();
    assert_eq!(
        code(lab.secrets("GetSecretValue", &id).await),
        "InvalidRequestException"
    );
    assert_eq!(
        code(lab.secrets("CreateSecret", &other).await),
        "InvalidRequestException"
    );
    lab.secrets("RestoreSecret", &id).await.unwrap();
    assert_eq!(
        lab.secrets("GetSecretValue", &id).await.unwrap()["SecretString"],
        "two"
    );
    let force = json!({ "SecretId": "mattermost/db", "ForceDeleteWithoutRecovery": true });
    lab.secrets("DeleteSecret", &force).await.unwrap();
    assert_eq!(
        code(lab.secrets("DescribeSecret", &id).await),
        "ResourceNotFoundException"
    );
    assert_eq!(
        code(
            lab.secrets("CreateSecret", &json!({ "Name": "rds!mine" }))
                .await
        ),
        "InvalidParameterException"
    );
    let random = lab
        .secrets(
            "GetRandomPassword",
            &json!({ "PasswordLength": 20, "ExcludePunctuation": true }),
        )
        .await
        .unwrap();
    assert_eq!(random["RandomPassword"].as_str().unwrap().len(), 20);
    lab.lab.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rds_keeps_the_master_password_in_a_secret_of_its_own() {
    let lab = TestLab::start().await;
    let members = [
        ("DBInstanceIdentifier", "primary"),
        ("Engine", "postgres"),
        ("DBInstanceClass", "db.t3.micro"),
        ("AllocatedStorage", "20"),
        ("MasterUsername", "keeper"),
        ("ManageMasterUserPassword", "true"),
        ("DBName", "mattermost"),
        ("BackupRetentionPeriod", "0"),
    ];
    lab.rds("CreateDBInstance", &members).await.unwrap();
    let xml = lab.until_status("primary", "available").await;
    let arn = text(&xml, "SecretArn").unwrap();
    assert!(arn.contains(":secret:rds!db-"), "{arn}");
    let (host, port) = endpoint(&xml);
    let mut passwords = Vec::new();
    for rotate in [false, true] {
        if rotate {
            let call = [
                ("DBInstanceIdentifier", "primary"),
                ("RotateMasterUserPassword", "true"),
                ("ApplyImmediately", "true"),
            ];
            lab.rds("ModifyDBInstance", &call).await.unwrap();
            let rotated = |message: &String| message == "Reset master credentials";
            while !lab.events("primary").await.iter().any(rotated) {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
        let secret = lab
            .secrets("GetSecretValue", &json!({ "SecretId": arn }))
            .await
            .unwrap();
        let value: serde_json::Value =
            serde_json::from_str(secret["SecretString"].as_str().unwrap()).unwrap();
        let password = value["password"].as_str().unwrap().to_owned();
        lab.try_session(&host, port, &password, true).await.unwrap();
        passwords.push(password);
    }
    assert_ne!(passwords[0], passwords[1]);
    let put = json!({ "SecretId": arn, "SecretString": "mine" });
    assert_eq!(
        code(lab.secrets("PutSecretValue", &put).await),
        "InvalidRequestException"
    );
    lab.until_status("primary", "available").await;
    lab.rds(
        "DeleteDBInstance",
        &[
            ("DBInstanceIdentifier", "primary"),
            ("SkipFinalSnapshot", "true"),
        ],
    )
    .await
    .unwrap();
    lab.until_gone("primary").await;
    assert_eq!(
        code(
            lab.secrets("DescribeSecret", &json!({ "SecretId": arn }))
                .await
        ),
        "ResourceNotFoundException"
    );
    lab.lab.stop().await;
}

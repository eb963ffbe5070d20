//! Volumes that are encrypted by default with a key of the account's own: Auto Scaling's role must be let use it.

use lab::api::{Params, Reply, Service};
use serde_json::{Value, json};

use crate::support::{SPEED, World, text};

fn kms(world: &World, action: &str, params: Value) -> Value {
    let mut call = World::call(Service::Kms, action);
    call.params = Params::from_value(params);
    match lab::kms::dispatch(&world.lab, &call).expect(action) {
        Reply::Json(answer) => answer,
        other => panic!("{action} answered {other:?}"),
    }
}

const ROLE: &str = "arn:aws:iam::123456789012:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_launch_ends_where_auto_scaling_may_not_use_the_key() {
    let world = World::start(214, SPEED).await;
    let key = kms(&world, "CreateKey", json!({}));
    let key = key["KeyMetadata"]["KeyId"]
        .as_str()
        .expect("an id")
        .to_owned();
    world.ec2("EnableEbsEncryptionByDefault", &[]).await;
    // With the key that AWS manages it launches.
    world.create_group((0, 3, 1), &[]).await;
    world.until_in_service(1).await;

    world
        .ec2("ModifyEbsDefaultKmsKeyId", &[("KmsKeyId", &key)])
        .await;
    let shown = world.ec2("GetEbsDefaultKmsKeyId", &[]).await;
    assert!(text(&shown, "kmsKeyId").ends_with(&key), "{shown}");
    let two = [("AutoScalingGroupName", "web"), ("DesiredCapacity", "2")];
    world.asg("SetDesiredCapacity", &two).await;
    let told = async {
        loop {
            let told = world.activities().await;
            let ends = |words: &str| words.contains("Client.InternalError: Client error on launch");
            if told
                .iter()
                .any(|one| ends(&one.message) || ends(&one.cause))
            {
                return;
            }
            world.lab_sleep(5).await;
        }
    };
    if tokio::time::timeout(std::time::Duration::from_secs(30), told)
        .await
        .is_err()
    {
        panic!("{:#?}", world.activities().await);
    }

    // A grant for the role, as the guide has it, and the next launch succeeds.
    let grant = json!({
        "KeyId": key,
        "GranteePrincipal": ROLE,
        "Operations": ["Decrypt", "Encrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext",
            "ReEncryptFrom", "ReEncryptTo", "DescribeKey", "CreateGrant"],
    });
    kms(&world, "CreateGrant", grant);
    world.until_in_service(2).await;
    world.stop().await;
}

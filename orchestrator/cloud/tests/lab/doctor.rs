//! What `doctor` asks beyond permissions: the way to AWS, the account's key of volumes, routes to the internet.

use std::collections::BTreeSet;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::{self, BehaviorVersion, Region};
use lab::api::{Call, Params, Reply, Service};
use lab::iam::{ACCOUNT, Caller};
use plan::Action;
use plan::action::TemplateContent;
use plan::observed::{Network, Subnet};

use crate::support::{HOME, World, connect, operator};
use crate::values::map;

/// EC2, asked by an operator.
pub fn ec2(world: &World) -> Client {
    Client::from_conf(
        config::Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(HOME))
            .endpoint_url(&world.endpoint)
            .credentials_provider(operator())
            .build(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_account_may_have_against_a_stack_is_seen() {
    let world = World::start().await;
    let client = ec2(&world);

    // Everybody answers, a refusal counts; from a host without a way nobody does, and each is named.
    let all = world.cloud.endpoints(None, None).await;
    assert!(all.len() >= 8, "{all:?}");
    assert!(all.iter().all(|one| one.unreachable.is_none()), "{all:?}");
    let key = ("arn:aws:kms:us-west-2:123456789012:key/k", "us-west-2");
    let nowhere = connect("demo", "http://127.0.0.1:9")
        .endpoints(None, Some(key))
        .await;
    for (service, region) in [
        ("rds", HOME),
        ("ec2", HOME),
        ("ec2", "us-west-2"),
        ("kms", "us-west-2"),
    ] {
        let one = nowhere
            .iter()
            .find(|one| one.service == service && one.region == region);
        let why = one.and_then(|one| one.unreachable.as_deref());
        assert!(
            why.is_some_and(|why| why.contains("the connection failed")),
            "{service}: {why:?}"
        );
    }

    // The default VPC has an internet gateway; one of the account's own has none until somebody makes it.
    let seen = world.look().await.network.expect("the default VPC");
    let closed = world.cloud.without_internet_gateway(&seen).await;
    assert_eq!(closed.expect("an answer"), Vec::<String>::new());
    let vpc = client.create_vpc().cidr_block("127.39.0.0/16").send().await;
    let Ok(vpc) = vpc else {
        panic!("{vpc:?}");
    };
    let vpc_id = vpc
        .vpc()
        .and_then(|vpc| vpc.vpc_id())
        .expect("an id")
        .to_owned();
    let private = Network {
        vpc_id,
        public_subnets: vec![Subnet {
            id: "subnet-1".to_owned(),
            ..Subnet::default()
        }],
        ..Network::default()
    };
    let closed = world.cloud.without_internet_gateway(&private).await;
    assert_eq!(closed.expect("an answer"), ["subnet-1"]);

    // Encrypted by default says nothing yet: the key that AWS manages is everybody's.
    assert_eq!(
        world.cloud.default_volume_key().await.expect("an answer"),
        None
    );
    let on = client.enable_ebs_encryption_by_default().send().await;
    on.expect("switched on");
    assert_eq!(
        world.cloud.default_volume_key().await.expect("an answer"),
        None
    );
    let key = made_key(&world);
    let set = client
        .modify_ebs_default_kms_key_id()
        .kms_key_id(&key)
        .send()
        .await;
    let arn = set.expect("set").kms_key_id().expect("an ARN").to_owned();
    assert!(arn.ends_with(&key), "{arn}");
    assert_eq!(
        world.cloud.default_volume_key().await.expect("an answer"),
        Some(arn)
    );

    // A key pair by its whole name.
    let made = client.create_key_pair().key_name("operators").send().await;
    made.expect("a key pair");
    for (name, there) in [("operators", true), ("operator", false), ("oper*", false)] {
        let found = world.cloud.has_key_pair(name).await.expect("an answer");
        assert_eq!(found, there, "{name}");
    }
    launched_with_it(&world, &seen).await;
    world.stop().await;
}

/// The launch template carries it, and shows it again.
async fn launched_with_it(world: &World, network: &Network) {
    let ours = |part: &str| Action::EnsureSecurityGroup {
        part: part.to_owned(),
        name: format!("demo-{part}"),
        vpc_id: network.vpc_id.clone(),
        ingress: BTreeSet::new(),
    };
    world.once(&ours("fleet")).await;
    let group = world.look().await.security_groups["fleet"].id.clone();
    for (digest, key_pair) in [("d-1", None), ("d-2", Some("operators".to_owned()))] {
        let content = TemplateContent {
            image_id: world.image.clone(),
            instance_type: "m7i.large".to_owned(),
            instance_profile: "mattermost-node".to_owned(),
            key_pair: key_pair.clone(),
            security_groups: BTreeSet::from([group.clone()]),
            user_data: "{}".to_owned(),
            tags: map([("mattermost:part", "node")]),
        };
        let version = Action::EnsureTemplateVersion {
            name: "demo-node".to_owned(),
            digest: digest.to_owned(),
            content,
        };
        world.twice(version).await;
        let template = world.look().await.template.expect("a template");
        let (_, newest) = template.versions.last_key_value().expect("a version");
        assert_eq!(
            (newest.description.as_str(), &newest.key_pair),
            (digest, &key_pair)
        );
    }
}

/// A key of the account's own.
fn made_key(world: &World) -> String {
    let call = Call {
        service: Service::Kms,
        action: "CreateKey".to_owned(),
        region: HOME.to_owned(),
        caller: Caller {
            arn: format!("arn:aws:iam::{ACCOUNT}:user/operator"),
            user_id: "AIDALABOPERATOR000000".to_owned(),
            account: ACCOUNT.to_owned(),
            instance_id: None,
            role: None,
        },
        params: Params::from_value(serde_json::json!({})),
        request_id: "test".to_owned(),
    };
    let Ok(Reply::Json(answer)) = lab::kms::dispatch(&world.lab, &call) else {
        panic!("no key");
    };
    answer["KeyMetadata"]["KeyId"]
        .as_str()
        .expect("an id")
        .to_owned()
}

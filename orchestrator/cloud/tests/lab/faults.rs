//! What is not ours, what gets lost, what is refused.

use std::collections::{BTreeMap, BTreeSet};

use cloud::{EffectError, IdentityError, Outcome, SignedRequest, Verdict};
use lab::fault::{Effect, Fault};
use lab::iam::{OPERATOR_KEY, OPERATOR_SECRET};
use plan::Action;
use plan::action::SecretKind;
use secrecy::{ExposeSecret, SecretString};

use crate::support::{HOME, World, connect};
use crate::values::health;

fn fault(action: &str, effect: Effect) -> Fault {
    Fault {
        service: None,
        action: Some(action.to_owned()),
        effect,
        times: 1,
    }
}

async fn security_group(world: &World) -> Action {
    let network = world.look().await.network.expect("a network");
    Action::EnsureSecurityGroup {
        part: "fleet".to_owned(),
        name: "demo-fleet".to_owned(),
        vpc_id: network.vpc_id,
        ingress: BTreeSet::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ours_is_left_alone() {
    let world = World::start().await;
    // Another stack takes the names that ours wants.
    let other = connect("other", &world.endpoint);
    let now = world.lab.clock.now();
    let vpc_id = world.look().await.network.expect("a network").vpc_id;
    let wanted = [
        security_group(&world).await,
        Action::EnsureSecret {
            name: "demo/database/master".to_owned(),
            kind: SecretKind::Password,
        },
        Action::EnsureTargetGroup {
            name: "demo-a".to_owned(),
            vpc_id,
            health: health("/api/v4/system/ping", "200"),
            attributes: BTreeMap::new(),
        },
        Action::EnsureDbParameterGroup {
            name: "demo-db-postgres15".to_owned(),
            family: "postgres15".to_owned(),
            parameters: BTreeMap::new(),
        },
    ];
    for action in &wanted {
        let made = other.apply(action, now).await.expect("the other's effect");
        assert_eq!(made, Outcome::Changed);
        let refused = world.attempt(action).await;
        assert!(
            matches!(refused, Err(EffectError::NotOurs { .. })),
            "{action:?}: {refused:?}"
        );
    }
    let seen = world.look().await;
    assert!(seen.security_groups.is_empty());
    let deletions = [
        Action::DeleteSecret {
            name: "demo/database/master".to_owned(),
        },
        Action::DeleteTargetGroup {
            arn: seen.target_groups["demo-a"].arn.clone(),
        },
        Action::DeleteDbParameterGroup {
            name: "demo-db-postgres15".to_owned(),
        },
        Action::DeleteImage {
            region: HOME.to_owned(),
            image: world.image.clone(),
        },
    ];
    for action in &deletions {
        let refused = world.attempt(action).await;
        assert!(
            matches!(refused, Err(EffectError::NotOurs { .. })),
            "{action:?}: {refused:?}"
        );
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_unknown_and_the_next_look_mends_it() {
    let world = World::start().await;
    let action = security_group(&world).await;
    world
        .lab
        .faults
        .add(fault("CreateSecurityGroup", Effect::LoseAnswer));
    let lost = world.attempt(&action).await;
    assert!(matches!(lost, Err(EffectError::Unknown { .. })), "{lost:?}");
    assert_eq!(world.once(&action).await, Outcome::Unchanged);

    let secret = Action::EnsureSecret {
        name: "demo/database/master".to_owned(),
        kind: SecretKind::Password,
    };
    world
        .lab
        .faults
        .add(fault("CreateSecret", Effect::LoseAnswer));
    let lost = world.attempt(&secret).await;
    assert!(matches!(lost, Err(EffectError::Unknown { .. })), "{lost:?}");
    let before = world.cloud.read_secret("demo/database/master").await;
    assert_eq!(world.once(&secret).await, Outcome::Unchanged);
    let after = world.cloud.read_secret("demo/database/master").await;
    assert_eq!(
        before.expect("a value").expose_secret(),
        after.expect("a value").expose_secret()
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn effects_are_tried_once_and_reads_again() {
    let world = World::start().await;
    let action = security_group(&world).await;
    for (effect, expected) in [
        (Effect::Throttle, "throttled"),
        (Effect::Internal, "not known"),
        (
            Effect::Error {
                code: "UnauthorizedOperation".to_owned(),
                message: "You are not authorized to perform this operation.".to_owned(),
            },
            "no permission for ec2:CreateSecurityGroup",
        ),
    ] {
        world
            .lab
            .faults
            .add(fault("CreateSecurityGroup", effect.clone()));
        let error = world.attempt(&action).await.expect_err("a fault");
        assert!(error.to_string().contains(expected), "{effect:?}: {error}");
    }
    // A throttled read is repeated …
    world
        .lab
        .faults
        .add(fault("DescribeVpcs", Effect::Throttle));
    assert!(world.look().await.network.is_some());
    // … and one that fails for good spoils no other.
    world.lab.faults.add(fault(
        "DescribeVpcs",
        Effect::Error {
            code: "UnauthorizedOperation".to_owned(),
            message: "no".to_owned(),
        },
    ));
    let seen = world.cloud.observe(&world.scope).await;
    assert_eq!(seen.network, None);
    assert_eq!(
        seen.unknown.keys().map(String::as_str).collect::<Vec<_>>(),
        ["network"]
    );
    assert!(seen.unknown["network"].contains("ec2:DescribeVpcs"));
    assert!(!seen.images[HOME].is_empty());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_created_once() {
    let world = World::start().await;
    let name = "demo/orchestrator-ca";
    let create = |value: &str| {
        let value = SecretString::from(value.to_owned());
        let cloud = world.cloud.clone();
        async move { cloud.create_secret(name, &value, "first").await }
    };
    assert_eq!(create("{\"key\":1}").await.expect("made"), Outcome::Changed);
    assert_eq!(
        create("{\"key\":2}").await.expect("there"),
        Outcome::Unchanged
    );
    let value = world.cloud.read_secret(name).await.expect("a value");
    assert_eq!(value.expose_secret(), "{\"key\":1}");
    assert!(matches!(
        world.cloud.read_secret("demo/none").await,
        Err(cloud::ReadError::NotFound { .. })
    ));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn identities_come_from_sts() {
    let world = World::start().await;
    let us = world.cloud.caller_identity().await.expect("an identity");
    assert_eq!(us.account, lab::iam::ACCOUNT);

    let host = "sts.us-east-1.amazonaws.com";
    let body = "Action=GetCallerIdentity&Version=2011-06-15";
    let request = |secret: &str| SignedRequest {
        method: "POST".to_owned(),
        url: format!("https://{host}/"),
        headers: lab::api::sign_for_tests(
            (OPERATOR_KEY, secret),
            (HOME, "sts"),
            host,
            body,
            world.lab.clock.now(),
        )
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .chain([(
            "content-type".to_owned(),
            "application/x-www-form-urlencoded".to_owned(),
        )])
        .collect(),
        body: body.as_bytes().to_vec(),
    };
    let node = world
        .cloud
        .forward_identity(&request(OPERATOR_SECRET))
        .await
        .expect("an identity");
    assert_eq!(node, us);
    let forged = world.cloud.forward_identity(&request("forged")).await;
    assert!(
        matches!(&forged, Err(IdentityError::Refused { status: 403, code })
            if code == "SignatureDoesNotMatch"),
        "{forged:?}"
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn permissions_and_quotas_are_told() {
    let world = World::start().await;
    // With a VPC more is asked than without one.
    let network = world.look().await.network.expect("the default VPC");
    let permissions = world.cloud.dry_run_permissions(Some(&network.vpc_id)).await;
    let names: Vec<&str> = permissions.iter().map(|it| it.name).collect();
    for read in ["ec2:DescribeVpcAttribute", "ec2:DescribeInternetGateways"] {
        assert!(names.contains(&read), "{names:?}");
    }
    for permission in permissions {
        assert_eq!(permission.verdict, Verdict::Allowed, "{permission:?}");
    }
    world.lab.faults.add(fault(
        "CreateLaunchTemplate",
        Effect::Error {
            code: "UnauthorizedOperation".to_owned(),
            message: "You are not authorized to perform this operation.".to_owned(),
        },
    ));
    let permissions = world.cloud.dry_run_permissions(None).await;
    for permission in &permissions {
        let denied = permission.name == "ec2:CreateLaunchTemplate";
        assert_eq!(
            matches!(permission.verdict, Verdict::Denied(_)),
            denied,
            "{permission:?}"
        );
        assert_eq!(
            permission.verdict == Verdict::Allowed,
            !denied,
            "{permission:?}"
        );
    }
    // Nothing was made.
    assert!(world.look().await.security_groups.is_empty());
    let quotas = world.cloud.quotas().await.expect("quotas");
    assert!(
        quotas
            .iter()
            .any(|quota| quota.name == "auto-scaling-groups")
    );
    world.stop().await;
}

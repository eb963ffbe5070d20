//! What load balancing, Auto Scaling and RDS do with the rights of who calls them.

use serde_json::json;

use crate::session::Session;
use crate::support::{Answer, EAST};

const GROUP: [(&str, &str); 3] = [("Name", "chat-a"), ("Protocol", "HTTP"), ("Port", "8065")];

/// What an answer says was not allowed.
fn refused(answer: &Answer) -> String {
    let message = answer.text("Message");
    let rest = message.split("not authorized to perform: ").nth(1);
    let action = rest.and_then(|rest| rest.split_whitespace().next());
    action
        .unwrap_or_else(|| panic!("not a refusal: {}", answer.body))
        .to_owned()
}

/// A role that may do these things.
async fn may(octet: u8, actions: &[&str]) -> Session {
    let statement = json!({ "Effect": "Allow", "Action": actions, "Resource": "*" });
    Session::start(octet, json!([statement])).await
}

/// The call, with a role that may do one more thing each time; what was refused, in order.
async fn learnt(octet: u8, service: &str, action: &str, pairs: &[(&str, &str)]) -> Vec<String> {
    let mut allowed = vec![format!("{service}:{action}")];
    let session = may(octet, &[&allowed[0]]).await;
    let mut asked = Vec::new();
    loop {
        let answer = session.call(service, action, pairs).await;
        if answer.status != 403 {
            session.world.lab.stop().await;
            return asked;
        }
        asked.push(refused(&answer));
        allowed.push(asked[asked.len() - 1].clone());
        let statement = json!({ "Effect": "Allow", "Action": allowed, "Resource": "*" });
        let document = json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string();
        let pairs = [
            ("RoleName", "tester"),
            ("PolicyName", "inline"),
            ("PolicyDocument", document.as_str()),
        ];
        let put = session
            .world
            .call(EAST, "iam", "PutRolePolicy", &pairs)
            .await;
        assert_eq!(put.status, 200, "{}", put.body);
    }
}

#[tokio::test]
async fn load_balancing_reads_in_ec2_with_the_callers_rights() {
    let balancer = [
        ("Name", "chat"),
        ("Subnets.member.1", "subnet-0"),
        ("SecurityGroups.member.1", "sg-0"),
    ];
    let asked = learnt(163, "elasticloadbalancing", "CreateLoadBalancer", &balancer).await;
    let expected = [
        "ec2:DescribeAccountAttributes",
        "ec2:DescribeAddresses",
        "ec2:DescribeInternetGateways",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSubnets",
        "ec2:DescribeVpcs",
        "iam:CreateServiceLinkedRole",
    ];
    assert_eq!(asked, expected);
    let asked = learnt(165, "elasticloadbalancing", "CreateTargetGroup", &GROUP).await;
    let expected = [
        "ec2:DescribeInternetGateways",
        "ec2:DescribeVpcs",
        "iam:CreateServiceLinkedRole",
    ];
    assert_eq!(asked, expected);
}

#[tokio::test]
async fn rds_does_not_say_that_it_may_not_make_its_role() {
    let reads = [
        "rds:CreateDBInstance",
        "ec2:DescribeAccountAttributes",
        "ec2:DescribeAvailabilityZones",
        "ec2:DescribeInternetGateways",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSubnets",
        "ec2:DescribeVpcs",
    ];
    let session = may(167, &reads).await;
    let instance = [
        ("DBInstanceIdentifier", "chat-db"),
        ("Engine", "postgres"),
        ("EngineVersion", "16"),
    ];
    let answer = session.call("rds", "CreateDBInstance", &instance).await;
    assert_eq!(refused(&answer), "ec2:DescribeVpcAttribute");
    session.world.lab.stop().await;
    let session = may(169, &[&reads[..], &["ec2:DescribeVpcAttribute"]].concat()).await;
    let answer = session.call("rds", "CreateDBInstance", &instance).await;
    assert_eq!(answer.text("Code"), "InvalidParameterValue");
    assert!(
        answer
            .text("Message")
            .contains("permission to create service linked role"),
        "{}",
        answer.body
    );
    session.world.lab.stop().await;
}

#[tokio::test]
async fn a_service_linked_role_is_made_once_by_whoever_comes_first() {
    let balancing = "elasticloadbalancing.amazonaws.com";
    let role = "AWSServiceRoleForElasticLoadBalancing";
    let arn = format!("arn:aws:iam::123456789012:role/aws-service-role/{balancing}/{role}");
    let session = Session::start(
        171,
        json!([
            { "Effect": "Allow", "Resource": "*",
              "Action": ["elasticloadbalancing:CreateTargetGroup", "ec2:Describe*"] },
            // Another service's name does not do.
            { "Effect": "Allow", "Resource": arn, "Action": "iam:CreateServiceLinkedRole",
              "Condition": { "StringEquals": { "iam:AWSServiceName": "rds.amazonaws.com" } } }
        ]),
    )
    .await;
    let asked = ("elasticloadbalancing", "CreateTargetGroup");
    let answer = session.call(asked.0, asked.1, &GROUP).await;
    assert_eq!(refused(&answer), "iam:CreateServiceLinkedRole");
    assert!(answer.text("Message").contains(&arn), "{}", answer.body);
    // An administrator makes it, and then nobody is asked.
    let world = &session.world;
    let iam =
        async |action: &str, pairs: &[(&str, &str)]| world.call(EAST, "iam", action, pairs).await;
    let service = [("AWSServiceName", balancing)];
    let made = iam("CreateServiceLinkedRole", &service).await;
    assert_eq!((made.status, made.text("Arn")), (200, arn));
    let again = iam("CreateServiceLinkedRole", &service).await;
    assert_eq!(again.text("Code"), "InvalidInput");
    let answer = session.call(asked.0, asked.1, &GROUP).await;
    assert_ne!(answer.status, 403, "{}", answer.body);
    // It is AWS's.
    let name = [("RoleName", role)];
    assert_eq!(iam("GetRole", &name).await.status, 200);
    let deleted = iam("DeleteRole", &name).await;
    assert_eq!(deleted.text("Code"), "UnmodifiableEntity");
    // Without one, a call that is answered makes it: the database's is still missing, then there.
    let subnets = world.ok("DescribeSubnets", &[]).await.texts("subnetId");
    let mut group = vec![
        ("DBSubnetGroupName", "chat"),
        ("DBSubnetGroupDescription", "a test"),
    ];
    let names = ["SubnetIds.member.1", "SubnetIds.member.2"];
    group.extend(names.into_iter().zip(subnets.iter().map(String::as_str)));
    let database = [("RoleName", "AWSServiceRoleForRDS")];
    assert_eq!(iam("GetRole", &database).await.text("Code"), "NoSuchEntity");
    let made = world.call(EAST, "rds", "CreateDBSubnetGroup", &group).await;
    assert_eq!(made.status, 200, "{}", made.body);
    assert_eq!(iam("GetRole", &database).await.status, 200);
    session.world.lab.stop().await;
}

//! What a role may do, asked over HTTP with a role's credentials.

use serde_json::{Value, json};

use crate::session::Session;
use crate::support::{EAST, signed};

#[tokio::test]
async fn what_is_allowed_is_done_and_everything_else_refused() {
    let session = Session::start(
        151,
        json!([
            { "Sid": "Look", "Effect": "Allow", "Action": "ec2:Describe*", "Resource": "*",
              "Condition": { "StringEquals": { "aws:RequestedRegion": EAST } } },
            { "Effect": "Allow", "Action": "ec2:RunInstances", "Resource": "*" },
            { "Effect": "Deny", "Action": "ec2:DescribeSubnets", "Resource": "*" },
            { "Effect": "Allow", "Action": "rds:DescribeDBInstances",
              "Resource": "arn:aws:rds:*:*:db:chat-*" }
        ]),
    )
    .await;
    session.allowed("DescribeVpcs", &[]).await;
    let denied = session.ec2("DescribeSubnets", &[]).await;
    assert_eq!(denied.text("Code"), "UnauthorizedOperation");
    let why = "with an explicit deny in an identity-based policy";
    assert!(denied.text("Message").ends_with(why), "{}", denied.body);
    let group = [("GroupId", "sg-1")];
    session
        .refused(
            "DeleteSecurityGroup",
            &group,
            "ec2:DeleteSecurityGroup",
            "security-group/sg-1",
        )
        .await;
    // So is a call that names nothing.
    let tag = [("Tag.1.Key", "a")];
    session
        .refused("CreateTags", &tag, "ec2:CreateTags", "*")
        .await;
    // A dry run is judged, too.
    let dry = session.ec2("DescribeVpcs", &[("DryRun", "true")]).await;
    assert_eq!(dry.text("Code"), "DryRunOperation");
    let dry = [("GroupId", "sg-1"), ("DryRun", "true")];
    let dry = session.ec2("DeleteSecurityGroup", &dry).await;
    assert_eq!(dry.text("Code"), "UnauthorizedOperation");
    // In the table there is no launch by a role itself: refused although the policy allows it.
    session
        .refused("RunInstances", &[], "ec2:RunInstances", "*")
        .await;
    // Another region is another condition.
    let key = (session.key.as_str(), session.secret.as_str());
    let west = ("us-west-2", "ec2");
    let far = signed(
        session.world.address,
        key,
        Some(&session.token),
        west,
        "DescribeVpcs",
        &[],
    )
    .await;
    assert_eq!(far.status, 403, "{}", far.body);
    // The query services have another word.
    let one = [("DBInstanceIdentifier", "chat-db")];
    let found = session.call("rds", "DescribeDBInstances", &one).await;
    assert_eq!(
        found.text("Code"),
        "DBInstanceNotFound",
        "allowed, and not there"
    );
    let all = session.call("rds", "DescribeDBInstances", &[]).await;
    assert_eq!(
        (all.status, all.text("Code").as_str()),
        (403, "AccessDenied")
    );
    assert!(
        all.text("Message")
            .contains(":db:* because no identity-based policy")
    );
    // The lab knows what was used.
    let usage = session
        .world
        .control(http::Method::GET, "iam", Value::Null)
        .await;
    let usage: Value = serde_json::from_str(&usage).expect("JSON");
    let statements = &usage["tester"]["policies"]["inline"];
    assert_eq!(statements[0]["Sid"], "Look");
    assert_eq!(statements[0]["used"], json!(["ec2:DescribeVpcs"]));
    assert_eq!(statements[1]["unused"], json!(["ec2:RunInstances"]));
    let refused = usage["tester"]["refused"].to_string();
    assert!(
        refused.contains("\"rds:DescribeDBInstances on arn:aws:rds:us-east-1:"),
        "{refused}"
    );
    session.world.lab.stop().await;
}

#[tokio::test]
async fn tags_decide_what_may_be_made_and_what_may_be_changed() {
    let groups = "arn:aws:ec2:us-east-1:123456789012:security-group/*";
    let tag = |key: &str| json!({ "StringEquals": { format!("{key}/stack"): "chat" } });
    let session = Session::start(
        153,
        json!([
            { "Effect": "Allow", "Action": "ec2:CreateSecurityGroup", "Resource": groups,
              "Condition": tag("aws:RequestTag") },
            { "Effect": "Allow", "Action": "ec2:CreateSecurityGroup",
              "Resource": "arn:aws:ec2:us-east-1:123456789012:vpc/*" },
            { "Effect": "Allow", "Action": "ec2:CreateTags", "Resource": groups,
              "Condition": { "StringEquals": { "ec2:CreateAction": "CreateSecurityGroup" } } },
            { "Effect": "Allow", "Action": "ec2:*SecurityGroup*", "Resource": groups,
              "Condition": tag("aws:ResourceTag") }
        ]),
    )
    .await;
    let tagged = |value: &'static str, name: &'static str| {
        [
            ("GroupName", name),
            ("GroupDescription", "a test"),
            ("TagSpecification.1.ResourceType", "security-group"),
            ("TagSpecification.1.Tag.1.Key", "stack"),
            ("TagSpecification.1.Tag.1.Value", value),
        ]
    };
    let action = "CreateSecurityGroup";
    let asked = "ec2:CreateSecurityGroup";
    session
        .refused(action, &tagged("chat", "a")[..2], asked, "security-group/*")
        .await;
    session
        .refused(action, &tagged("other", "a"), asked, "security-group/*")
        .await;
    let ours = session
        .allowed(action, &tagged("chat", "a"))
        .await
        .text("groupId");
    let theirs = session
        .world
        .ok(action, &tagged("other", "b"))
        .await
        .text("groupId");
    let ingress = |group: &str| {
        [
            ("GroupId", group.to_owned()),
            ("IpPermissions.1.IpProtocol", "tcp".to_owned()),
            ("IpPermissions.1.FromPort", "80".to_owned()),
            ("IpPermissions.1.ToPort", "80".to_owned()),
            ("IpPermissions.1.IpRanges.1.CidrIp", "10.0.0.0/8".to_owned()),
        ]
    };
    let action = "AuthorizeSecurityGroupIngress";
    for (group, may) in [(&ours, true), (&theirs, false)] {
        let pairs = ingress(group);
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(k, v)| (*k, v.as_str())).collect();
        assert_eq!(
            session.ec2(action, &pairs).await.status == 200,
            may,
            "{group}"
        );
    }
    // A tag may come with what is made, and not afterwards: otherwise anything could be made ours.
    let tagging = [
        ("ResourceId.1", theirs.as_str()),
        ("Tag.1.Key", "stack"),
        ("Tag.1.Value", "chat"),
    ];
    session
        .refused("CreateTags", &tagging, "ec2:CreateTags", &theirs)
        .await;
    let delete = |group| [("GroupId", group)];
    let asked = "ec2:DeleteSecurityGroup";
    session
        .refused(
            "DeleteSecurityGroup",
            &delete(theirs.as_str()),
            asked,
            &theirs,
        )
        .await;
    session
        .allowed("DeleteSecurityGroup", &delete(ours.as_str()))
        .await;
    session.world.lab.stop().await;
}

#[tokio::test]
async fn a_group_from_a_template_needs_what_its_launches_need() {
    let all = |action: &str| json!({ "Effect": "Allow", "Action": action, "Resource": "*" });
    let launch = json!({
        "Effect": "Allow", "Action": "ec2:RunInstances", "Resource": "*",
        "Condition": { "ArnLike": {
            "ec2:LaunchTemplate": "arn:aws:ec2:us-east-1:123456789012:launch-template/*"
        } }
    });
    let pass = |service: &str| {
        json!({
            "Effect": "Allow", "Action": "iam:PassRole",
            "Resource": "arn:aws:iam::123456789012:role/node",
            "Condition": { "StringEquals": { "iam:PassedToService": service } }
        })
    };
    let session = Session::start(155, json!([all("autoscaling:*")])).await;
    lab::iam_api::seed_profile(&session.world.lab, "node");
    let image = session.world.empty_image().await;
    let template = [
        ("LaunchTemplateName", "nodes"),
        ("LaunchTemplateData.ImageId", image.as_str()),
        ("LaunchTemplateData.InstanceType", "t3.small"),
        ("LaunchTemplateData.IamInstanceProfile.Name", "node"),
        (
            "LaunchTemplateData.TagSpecification.1.ResourceType",
            "instance",
        ),
        ("LaunchTemplateData.TagSpecification.1.Tag.1.Key", "stack"),
        ("LaunchTemplateData.TagSpecification.1.Tag.1.Value", "chat"),
    ];
    session.world.ok("CreateLaunchTemplate", &template).await;
    let group = [
        ("AutoScalingGroupName", "nodes"),
        ("LaunchTemplate.LaunchTemplateName", "nodes"),
        ("AvailabilityZones.member.1", "us-east-1a"),
        ("MinSize", "0"),
        ("MaxSize", "0"),
    ];
    let put = async |statements: Value| {
        let document = json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
        let pairs = [
            ("RoleName", "tester"),
            ("PolicyName", "inline"),
            ("PolicyDocument", &document),
        ];
        let answer = session
            .world
            .call(EAST, "iam", "PutRolePolicy", &pairs)
            .await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    };
    for (statements, missing) in [
        (json!([all("autoscaling:*")]), "ec2:RunInstances"),
        (json!([all("autoscaling:*"), launch]), "ec2:CreateTags"),
        (
            json!([all("autoscaling:*"), launch, all("ec2:CreateTags")]),
            "iam:PassRole",
        ),
        (
            json!([
                all("autoscaling:*"),
                launch,
                all("ec2:CreateTags"),
                pass("rds.amazonaws.com")
            ]),
            "iam:PassRole",
        ),
        (
            json!([
                all("autoscaling:*"),
                launch,
                all("ec2:CreateTags"),
                pass("ec2.amazonaws.com")
            ]),
            "iam:CreateServiceLinkedRole",
        ),
    ] {
        put(statements).await;
        let answer = session
            .call("autoscaling", "CreateAutoScalingGroup", &group)
            .await;
        assert_eq!(
            (answer.status, answer.text("Code").as_str()),
            (403, "AccessDenied")
        );
        let said = format!("not authorized to perform: {missing} on resource");
        assert!(answer.text("Message").contains(&said), "{}", answer.body);
    }
    put(json!([
        all("autoscaling:*"),
        launch,
        all("ec2:CreateTags"),
        pass("ec2.amazonaws.com"),
        all("iam:CreateServiceLinkedRole")
    ]))
    .await;
    let made = session
        .call("autoscaling", "CreateAutoScalingGroup", &group)
        .await;
    assert_eq!(made.status, 200, "{}", made.body);
    session.world.lab.stop().await;
}

#[tokio::test]
async fn a_policy_is_held_to_its_form_and_its_length() {
    let session = Session::start(
        157,
        json!([{ "Effect": "Allow", "Action": "ec2:*", "Resource": "*" }]),
    )
    .await;
    let put = async |name: &str, document: String| {
        let pairs = [
            ("RoleName", "tester"),
            ("PolicyName", name),
            ("PolicyDocument", &document),
        ];
        session
            .world
            .call(EAST, "iam", "PutRolePolicy", &pairs)
            .await
    };
    let document = |resources: usize, operator: &str| {
        let resources: Vec<String> = (0..resources)
            .map(|number| format!("arn:aws:ec2:us-east-1:123456789012:instance/i-{number:017}"))
            .collect();
        json!({ "Version": "2012-10-17", "Statement": { "Effect": "Allow", "Action": "ec2:*",
            "Resource": resources, "Condition": { operator: { "aws:TagKeys": "a" } } } })
        .to_string()
    };
    let answer = put("new", document(1, "StringMatches")).await;
    assert_eq!(
        answer.text("Code"),
        "MalformedPolicyDocument",
        "{}",
        answer.body
    );
    let answer = put("new", document(100, "StringEquals")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer = put("more", document(100, "StringEquals")).await;
    assert_eq!(
        (answer.status, answer.text("Code").as_str()),
        (409, "LimitExceeded")
    );
    // A role of which nothing is left allows nothing.
    session.allowed("DescribeVpcs", &[]).await;
    for name in ["inline", "new"] {
        let pairs = [("RoleName", "tester"), ("PolicyName", name)];
        let answer = session
            .world
            .call(EAST, "iam", "DeleteRolePolicy", &pairs)
            .await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    session
        .refused("DescribeVpcs", &[], "ec2:DescribeVpcs", "*")
        .await;
    let who = session.call("sts", "GetCallerIdentity", &[]).await;
    assert_eq!(
        who.text("Arn"),
        "arn:aws:sts::123456789012:assumed-role/tester/a-test"
    );
    session.world.lab.stop().await;
}

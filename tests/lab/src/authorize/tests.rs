//! Documents against questions.

use std::sync::Arc;

use serde_json::{Value, json};

use super::evaluate::{Ask, Decision, evaluate};
use super::{Of, is_public, may_assume, parse, pattern};
use crate::iam::{ACCOUNT, Caller};

fn policy(statements: &Value) -> String {
    json!({ "Version": "2012-10-17", "Statement": statements }).to_string()
}

fn decide(statements: &Value, ask: &Ask) -> Decision {
    let document = parse(&policy(statements), Of::Identity).expect("a good document");
    evaluate(&[("p".to_owned(), Arc::new(document))], ask)
}

fn allows(statements: &Value, ask: &Ask) -> bool {
    matches!(decide(statements, ask), Decision::Allowed(_))
}

fn group() -> Ask {
    Ask::new(
        "ec2:DeleteSecurityGroup",
        "arn:aws:ec2:us-east-1:123456789012:security-group/sg-1",
    )
}

#[test]
fn a_wildcard_in_an_arn_stays_in_its_part() {
    let arn = "arn:aws:autoscaling:us-east-1:123456789012:autoScalingGroup:id:autoScalingGroupName/chat-g1";
    for (pattern, expected) in [
        ("*", true),
        (arn, true),
        (
            "arn:aws:autoscaling:*:123456789012:autoScalingGroup:*:autoScalingGroupName/chat-g*",
            true,
        ),
        ("arn:aws:autoscaling:*:autoScalingGroup:*", false),
        ("arn:aws:*", false),
        ("arn:aws:autoscaling:us-east-1:123456789012:*", true),
        ("arn:aws:autoscaling:us-west-2:123456789012:*", false),
    ] {
        assert_eq!(pattern::arn_matches(pattern, arn), expected, "{pattern}");
    }
    // What nobody can narrow is reached by `*` alone.
    assert!(!pattern::arn_matches("arn:aws:ec2:*:*:*", "*"));
    assert!(pattern::arn_matches("*", "*"));
}

#[test]
fn a_denial_wins_and_silence_is_none() {
    let allow = json!({ "Effect": "Allow", "Action": "ec2:*", "Resource": "*" });
    let deny = json!({ "Effect": "Deny", "Action": "EC2:deletesecurityGROUP", "Resource": "*" });
    let everything_else = json!({ "Effect": "Deny", "NotAction": "ec2:Delete*", "Resource": "*" });
    assert!(allows(&json!([allow]), &group()));
    assert_eq!(decide(&json!([allow, deny]), &group()), Decision::Denied);
    assert_eq!(decide(&json!([deny, allow]), &group()), Decision::Denied);
    assert!(allows(&json!([allow, everything_else]), &group()));
    let describe = Ask::new("ec2:DescribeVpcs", "*");
    assert_eq!(
        decide(&json!([allow, everything_else]), &describe),
        Decision::Denied
    );
    let other =
        json!([{ "Effect": "Allow", "Action": ["rds:*", "ec2:Describe?pcs"], "Resource": "*" }]);
    assert_eq!(decide(&other, &group()), Decision::NotAllowed);
    assert!(allows(&other, &describe));
    assert_eq!(
        evaluate(&[], &group()),
        Decision::NotAllowed,
        "no policy at all"
    );
}

#[test]
fn resources_are_selected_or_left_out() {
    let with =
        |name: &str, resource: Value| json!([{ "Effect": "Allow", "Action": "*", name: resource }]);
    let groups = "arn:aws:ec2:*:123456789012:security-group/*";
    let volumes = "arn:aws:ec2:*:123456789012:volume/*";
    assert!(allows(
        &with("Resource", json!([volumes, groups])),
        &group()
    ));
    assert!(!allows(&with("Resource", json!(volumes)), &group()));
    assert!(!allows(
        &with("NotResource", json!([volumes, groups])),
        &group()
    ));
    assert!(allows(&with("NotResource", json!(volumes)), &group()));
}

/// What a condition says of a request with this in it.
fn met(operator: &str, key: &str, values: &Value, context: &[(&str, &str)]) -> bool {
    let ask = context
        .iter()
        .fold(group(), |ask, (key, value)| ask.with(key, *value));
    let statements = json!([{
        "Effect": "Allow",
        "Action": "*",
        "Resource": "*",
        "Condition": { operator: { key: values } }
    }]);
    allows(&statements, &ask)
}

#[test]
fn conditions_compare() {
    let tag = "aws:ResourceTag/stack";
    let chat = [("aws:ResourceTag/Stack", "chat")];
    let none: [(&str, &str); 0] = [];
    for (operator, values, context, expected) in [
        ("StringEquals", json!("chat"), &chat[..], true),
        ("StringEquals", json!(["x", "chat"]), &chat, true),
        ("StringEquals", json!("Chat"), &chat, false),
        ("StringEquals", json!("ch*"), &chat, false),
        ("StringEquals", json!("chat"), &none, false),
        ("StringEqualsIfExists", json!("chat"), &none, true),
        ("StringEqualsIfExists", json!("other"), &chat, false),
        ("StringEqualsIgnoreCase", json!("CHAT"), &chat, true),
        ("StringNotEquals", json!("chat"), &chat, false),
        ("StringNotEquals", json!(["x", "chat"]), &chat, false),
        ("StringNotEquals", json!("x"), &chat, true),
        ("StringNotEquals", json!("x"), &none, true),
        ("StringLike", json!("ch*"), &chat, true),
        ("StringLike", json!("x*"), &chat, false),
        ("StringNotLike", json!("ch*"), &chat, false),
        ("Null", json!("true"), &none, true),
        ("Null", json!("true"), &chat, false),
        ("Null", json!(false), &chat, true),
    ] {
        assert_eq!(
            met(operator, tag, &values, context),
            expected,
            "{operator} {values} {context:?}"
        );
    }
    let template = "arn:aws:ec2:us-east-1:123456789012:launch-template/lt-1";
    let launch = [
        ("ec2:LaunchTemplate", template),
        ("ec2:IsLaunchTemplateResource", "true"),
    ];
    for operator in ["ArnLike", "ArnEquals"] {
        let all = json!("arn:aws:ec2:us-east-1:123456789012:launch-template/*");
        assert!(met(operator, "ec2:LaunchTemplate", &all, &launch));
        assert!(!met(operator, "ec2:LaunchTemplate", &all, &none));
        let wide = json!("arn:*:launch-template/*");
        assert!(
            !met(operator, "ec2:LaunchTemplate", &wide, &launch),
            "over colons"
        );
    }
    assert!(met(
        "Bool",
        "ec2:IsLaunchTemplateResource",
        &json!(true),
        &launch
    ));
    assert!(!met(
        "Bool",
        "ec2:IsLaunchTemplateResource",
        &json!("false"),
        &launch
    ));
}

#[test]
fn keys_with_several_values_are_quantified() {
    let two = [("aws:TagKeys", "stack"), ("aws:TagKeys", "part")];
    let none: [(&str, &str); 0] = [];
    for (operator, values, context, expected) in [
        (
            "ForAllValues:StringEquals",
            json!(["stack", "part"]),
            &two[..],
            true,
        ),
        ("ForAllValues:StringEquals", json!("stack"), &two, false),
        ("ForAllValues:StringEquals", json!("stack"), &none, true),
        ("ForAnyValue:StringEquals", json!("stack"), &two, true),
        ("ForAnyValue:StringEquals", json!("x"), &two, false),
        ("ForAnyValue:StringEquals", json!("stack"), &none, false),
        ("StringEquals", json!("stack"), &two, false),
    ] {
        assert_eq!(
            met(operator, "aws:TagKeys", &values, context),
            expected,
            "{operator} {values} {context:?}"
        );
    }
}

#[test]
fn every_condition_must_be_met() {
    let statements = json!([{
        "Effect": "Allow",
        "Action": "*",
        "Resource": "*",
        "Condition": {
            "StringEquals": { "aws:RequestedRegion": "us-east-1", "aws:ResourceTag/stack": "chat" },
            "Null": { "aws:ResourceTag/keep": "true" }
        }
    }]);
    let ask = group().with("aws:RequestedRegion", "us-east-1");
    assert!(!allows(&statements, &ask));
    let ask = ask.with("aws:ResourceTag/stack", "chat");
    assert!(allows(&statements, &ask));
    assert!(!allows(&statements, &ask.with("aws:ResourceTag/keep", "1")));
}

#[test]
fn what_cannot_be_judged_is_refused_when_it_is_put() {
    let good = json!({ "Effect": "Allow", "Action": "ec2:*", "Resource": "*" });
    assert!(parse(&policy(&json!([good])), Of::Identity).is_ok());
    assert!(
        parse(&policy(&good), Of::Identity).is_ok(),
        "one statement alone"
    );
    let condition = |operator: &str, key: &str| json!({ operator: { key: "x" } });
    for (member, value, said) in [
        ("Effect", json!("allow"), "Effect"),
        ("Action", json!("ec2"), "service:Action"),
        ("Action", json!([]), "empty"),
        ("NotAction", json!("ec2:*"), "either"),
        ("Resource", json!("security-group/*"), "ARN format"),
        (
            "Resource",
            json!("arn:aws:s3:::${aws:username}/*"),
            "variables",
        ),
        ("Principal", json!("*"), "Principal"),
        ("Sid", json!("not so"), "Sid"),
        (
            "Condition",
            condition("StringMatches", "aws:TagKeys"),
            "StringMatches",
        ),
        (
            "Condition",
            condition("ForSomeValue:StringLike", "aws:TagKeys"),
            "ForSomeValue",
        ),
        (
            "Condition",
            condition("NullIfExists", "aws:TagKeys"),
            "NullIfExists",
        ),
        (
            "Condition",
            condition("Bool", "aws:TagKeys"),
            "true or false",
        ),
        (
            "Condition",
            condition("StringEquals", "aws:SourceIp"),
            "never fills",
        ),
        (
            "Condition",
            condition("StringEquals", "aws:ResourceTag/"),
            "never fills",
        ),
        ("Condition", json!("x"), "Condition"),
    ] {
        let mut statement = good.clone();
        statement[member] = value.clone();
        let error = parse(&policy(&json!([statement])), Of::Identity).expect_err(member);
        assert_eq!(error.code, "MalformedPolicyDocument");
        assert!(error.message.contains(said), "{member} {value}: {error}");
    }
    for text in ["", "[]", "{}", r#"{"Version":"2008-10-17","Statement":[]}"#] {
        assert!(parse(text, Of::Identity).is_err(), "{text}");
    }
    let twice = json!({ "Sid": "A", "Effect": "Allow", "Action": "ec2:*", "Resource": "*" });
    assert!(parse(&policy(&json!([twice, twice])), Of::Identity).is_err());
}

#[test]
fn a_trust_policy_says_who() {
    let caller = |arn: &str, role: Option<&str>| Caller {
        arn: arn.to_owned(),
        user_id: "A".to_owned(),
        account: ACCOUNT.to_owned(),
        instance_id: None,
        role: role.map(str::to_owned),
    };
    let operator = caller("arn:aws:iam::123456789012:user/operator", None);
    let node = caller(
        "arn:aws:sts::123456789012:assumed-role/node/i-1",
        Some("node"),
    );
    let arn = "arn:aws:iam::123456789012:role/chat";
    let trusts = |principal: Value, caller: &Caller| {
        let statement =
            json!([{ "Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole" }]);
        let trust = parse(&policy(&statement), Of::Trust).expect("a good document");
        may_assume(&trust, arn, caller, "us-east-1")
    };
    for principal in [
        json!("*"),
        json!({ "AWS": "123456789012" }),
        json!({ "AWS": ["arn:aws:iam::123456789012:root"] }),
        json!({ "AWS": "arn:aws:iam::123456789012:user/operator" }),
    ] {
        assert!(trusts(principal.clone(), &operator), "{principal}");
    }
    let role = json!({ "AWS": "arn:aws:iam::123456789012:role/node" });
    assert!(trusts(role.clone(), &node) && !trusts(role, &operator));
    for principal in [
        json!({ "Service": "ec2.amazonaws.com" }),
        json!({ "AWS": "210987654321" }),
    ] {
        assert!(!trusts(principal.clone(), &operator), "{principal}");
    }
    let unknown = json!([{ "Effect": "Allow", "Principal": { "Federated": "x" }, "Action": "sts:AssumeRole" }]);
    assert!(parse(&policy(&unknown), Of::Trust).is_err());
    assert!(
        parse(
            &policy(&json!([{ "Effect": "Allow", "Action": "sts:AssumeRole" }])),
            Of::Trust
        )
        .is_err()
    );
}

#[test]
fn a_bucket_policy_names_resources_and_principals() {
    let bucket = "arn:aws:s3:::files/*";
    let read = |statement: Value| parse(&policy(&json!([statement])), Of::Resource);
    let all = json!({ "Sid": "may have spaces", "Effect": "Allow", "Principal": "*",
                      "Action": "s3:GetObject", "Resource": bucket });
    assert!(is_public(&read(all).expect("a good document")));
    let tls = json!({ "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": bucket,
                      "Condition": { "Bool": { "aws:SecureTransport": "false" } } });
    assert!(!is_public(&read(tls).expect("a good document")));
    let ours = json!({ "Effect": "Allow", "Principal": { "AWS": ACCOUNT },
                       "Action": "s3:GetObject", "Resource": bucket });
    assert!(!is_public(&read(ours).expect("a good document")));
    for missing in ["Principal", "Resource"] {
        let mut statement = json!({ "Effect": "Deny", "Principal": "*", "Action": "s3:*",
                                    "Resource": bucket });
        statement
            .as_object_mut()
            .expect("an object")
            .remove(missing);
        assert!(read(statement).is_err(), "without {missing}");
    }
}

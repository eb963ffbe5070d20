use std::collections::BTreeMap;

use plan::observed::{Group, Instance, Member, Network, Template, TemplateVersion};

use super::*;

const REGION: &str = "us-east-1";
const ID: &str = "i-0123456789abcdef0";

fn good() -> v1::SignedRequest {
    let header = |name: &str, value: &str| v1::Header {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    v1::SignedRequest {
        method: "POST".to_owned(),
        url: "https://sts.us-east-1.amazonaws.com/".to_owned(),
        headers: vec![
            header("host", "sts.us-east-1.amazonaws.com"),
            header("x-amz-date", "20260101T000000Z"),
            header("x-amz-security-token", "token"),
            header("x-fleet-nonce", &hex::encode([7_u8; 32])),
            header("x-fleet-key-sha256", "abc"),
            header("authorization", &authorization("us-east-1/sts", SIGNED_ALL)),
        ],
        body: BODY.to_vec(),
    }
}

const SIGNED_ALL: &str = "host;x-amz-date;x-amz-security-token;x-fleet-key-sha256;x-fleet-nonce";

fn authorization(scope: &str, signed: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=ASIA/20260101/{scope}/aws4_request, SignedHeaders={signed}, Signature=00"
    )
}

fn set(name: &str, value: &str) -> v1::SignedRequest {
    with(|request| {
        for header in request
            .headers
            .iter_mut()
            .filter(|header| header.name == name)
        {
            value.clone_into(&mut header.value);
        }
    })
}

fn without(name: &str) -> v1::SignedRequest {
    with(|request| request.headers.retain(|header| header.name != name))
}

fn with(change: impl FnOnce(&mut v1::SignedRequest)) -> v1::SignedRequest {
    let mut changed = good();
    change(&mut changed);
    changed
}

#[test]
fn an_honest_request_passes() {
    assert_eq!(request(&good(), REGION, &[7; 32], "abc"), Ok(()));
}

#[test]
fn each_change_is_refused_by_its_check() {
    let url = |url: &str| with(|request| url.clone_into(&mut request.url));
    let signed = |scope: &str, signed: &str| set("authorization", &authorization(scope, signed));
    let repeat = |count: usize| {
        with(|request| {
            let header = request.headers[3].clone();
            request.headers.extend(std::iter::repeat_n(header, count));
        })
    };
    let table = [
        ("another host", url("https://evil.example/"), Refused::Host),
        (
            "another region",
            url("https://sts.eu-west-1.amazonaws.com/"),
            Refused::Host,
        ),
        (
            "the global endpoint",
            url("https://sts.amazonaws.com/"),
            Refused::Host,
        ),
        (
            "plain http",
            url("http://sts.us-east-1.amazonaws.com/"),
            Refused::Host,
        ),
        (
            "user in the url",
            url("https://a@sts.us-east-1.amazonaws.com/"),
            Refused::Host,
        ),
        (
            "a port",
            url("https://sts.us-east-1.amazonaws.com:444/"),
            Refused::Host,
        ),
        (
            "host header elsewhere",
            set("host", "evil.example"),
            Refused::Host,
        ),
        (
            "scope of another region",
            signed("eu-west-1/sts", SIGNED_ALL),
            Refused::Host,
        ),
        (
            "scope of another service",
            signed("us-east-1/iam", SIGNED_ALL),
            Refused::Host,
        ),
        (
            "GET",
            with(|request| "GET".clone_into(&mut request.method)),
            Refused::Method,
        ),
        (
            "a path",
            url("https://sts.us-east-1.amazonaws.com/x"),
            Refused::Path,
        ),
        (
            "a query",
            url("https://sts.us-east-1.amazonaws.com/?Action=AssumeRole"),
            Refused::Path,
        ),
        (
            "another action",
            with(|r| r.body = b"Action=AssumeRole&Version=2011-06-15".to_vec()),
            Refused::Body,
        ),
        ("a longer body", with(|r| r.body.push(b'&')), Refused::Body),
        ("no body", with(|r| r.body.clear()), Refused::Body),
        ("no nonce", without("x-fleet-nonce"), Refused::HeaderMissing),
        (
            "no key",
            without("x-fleet-key-sha256"),
            Refused::HeaderMissing,
        ),
        (
            "no token",
            without("x-amz-security-token"),
            Refused::HeaderMissing,
        ),
        ("no date", without("x-amz-date"), Refused::HeaderMissing),
        (
            "no authorization",
            without("authorization"),
            Refused::HeaderMissing,
        ),
        ("two nonces", repeat(1), Refused::HeaderTwice),
        (
            "nonce unsigned",
            signed(
                "us-east-1/sts",
                "host;x-amz-date;x-amz-security-token;x-fleet-key-sha256",
            ),
            Refused::HeaderUnsigned,
        ),
        (
            "key unsigned",
            signed(
                "us-east-1/sts",
                "host;x-amz-date;x-amz-security-token;x-fleet-nonce",
            ),
            Refused::HeaderUnsigned,
        ),
        (
            "host unsigned",
            signed(
                "us-east-1/sts",
                "x-amz-date;x-amz-security-token;x-fleet-key-sha256;x-fleet-nonce",
            ),
            Refused::HeaderUnsigned,
        ),
        (
            "an old nonce",
            set("x-fleet-nonce", &hex::encode([8_u8; 32])),
            Refused::Nonce,
        ),
        (
            "another key",
            set("x-fleet-key-sha256", "abd"),
            Refused::KeyBinding,
        ),
        (
            "a line break in a header",
            set("x-amz-date", "x\r\ny"),
            Refused::Malformed,
        ),
        (
            "an endless header",
            set("x-amz-security-token", &"x".repeat(10_000)),
            Refused::Malformed,
        ),
        ("endless headers", repeat(40), Refused::Malformed),
        ("no url", url("sts"), Refused::Malformed),
    ];
    for (what, changed, expected) in table {
        assert_eq!(
            request(&changed, REGION, &[7; 32], "abc"),
            Err(expected),
            "{what}"
        );
    }
}

#[test]
fn identities_are_told_apart() {
    let arn = |role: &str, session: &str| {
        format!("arn:aws:sts::111122223333:assumed-role/{role}/{session}")
    };
    let check =
        |account: &str, arn: &str| identity(account, arn, "111122223333", "mattermost-node");
    assert!(check("111122223333", &arn("mattermost-node", ID)).is_ok());
    let table = [
        ("999999999999", arn("mattermost-node", ID), Refused::Account),
        (
            "111122223333",
            arn("mattermost-node", ID).replace("111122223333", "999999999999"),
            Refused::Role,
        ),
        ("111122223333", arn("admin", ID), Refused::Role),
        (
            "111122223333",
            "arn:aws:iam::111122223333:user/mattermost-node".to_owned(),
            Refused::Role,
        ),
        (
            "111122223333",
            arn("mattermost-node", "alice"),
            Refused::SessionName,
        ),
        (
            "111122223333",
            "arn:aws:sts::111122223333:assumed-role/mattermost-node".to_owned(),
            Refused::SessionName,
        ),
        (
            "111122223333",
            arn("mattermost-node", &format!("{ID}/x")),
            Refused::SessionName,
        ),
        ("111122223333", "rubbish".to_owned(), Refused::Role),
    ];
    for (account, arn, expected) in table {
        assert_eq!(check(account, &arn), Err(expected), "{arn}");
    }
}

fn world() -> Observed {
    let member = Member {
        lifecycle: "Pending:Wait".into(),
        template_version: 3,
        ..Member::default()
    };
    let instance = Instance {
        id: ID.into(),
        state: "running".into(),
        private_ip: Some("127.32.0.9".into()),
        image_id: "ami-1".into(),
        vpc_id: "vpc-1".into(),
        template: Some(("lt-1".into(), 3)),
        group: Some("chat-g1".into()),
        ..Instance::default()
    };
    let version = TemplateVersion {
        image_id: "ami-1".into(),
        ..TemplateVersion::default()
    };
    Observed {
        network: Some(Network {
            vpc_id: "vpc-1".into(),
            ..Network::default()
        }),
        instances: BTreeMap::from([(ID.to_owned(), instance)]),
        groups: BTreeMap::from([(
            "chat-g1".to_owned(),
            Group {
                name: "chat-g1".into(),
                members: BTreeMap::from([(ID.to_owned(), member)]),
                ..Group::default()
            },
        )]),
        template: Some(Template {
            id: "lt-1".into(),
            versions: BTreeMap::from([(3, version)]),
            ..Template::default()
        }),
        ..Observed::default()
    }
}

#[test]
fn our_instance_passes_and_each_difference_has_its_check() {
    type Change = fn(&mut Instance);
    let id: InstanceId = ID.parse().unwrap();
    let from: IpAddr = "127.32.0.9".parse().unwrap();
    assert_eq!(instance(&world(), &id, from), Ok(()));
    assert_eq!(
        instance(&world(), &id, "127.32.0.10".parse().unwrap()),
        Err(Refused::SourceAddress)
    );
    assert_eq!(
        instance(&Observed::default(), &id, from),
        Err(Refused::InstanceUnknown)
    );
    let mut outside = world();
    outside.groups.clear();
    assert_eq!(instance(&outside, &id, from), Err(Refused::Group));
    let table: [(&str, Change, Refused); 7] = [
        (
            "stopped",
            |i| i.state = "stopped".into(),
            Refused::InstanceState,
        ),
        (
            "terminated",
            |i| i.state = "terminated".into(),
            Refused::InstanceState,
        ),
        ("other vpc", |i| i.vpc_id = "vpc-2".into(), Refused::Vpc),
        (
            "other group",
            |i| i.group = Some("x".into()),
            Refused::Group,
        ),
        ("no template", |i| i.template = None, Refused::Template),
        (
            "unknown version",
            |i| i.template = Some(("lt-1".into(), 9)),
            Refused::Template,
        ),
        (
            "other image",
            |i| i.image_id = "ami-9".into(),
            Refused::Image,
        ),
    ];
    for (what, change, expected) in table {
        let mut observed = world();
        change(observed.instances.get_mut(ID).unwrap());
        assert_eq!(instance(&observed, &id, from), Err(expected), "{what}");
    }
}

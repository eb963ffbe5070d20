//! The metadata service and the role credentials that it gives.

use std::net::Ipv4Addr;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::Value;

use crate::support::{Answer, EAST, World, send, signed};

struct Imds {
    address: Ipv4Addr,
    token: String,
}

impl Imds {
    async fn request(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}:1338/{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        send(request.body(Full::new(Bytes::new())).expect("a request")).await
    }

    async fn of(world: &World, id: &str) -> Self {
        let address = lab::ec2::instance(&world.lab, EAST, id)
            .expect("it exists")
            .private_ip;
        let mut imds = Self {
            address,
            token: String::new(),
        };
        let ttl = [("x-aws-ec2-metadata-token-ttl-seconds", "60")];
        let token = imds.request(Method::PUT, "latest/api/token", &ttl).await;
        assert_eq!(token.status, 200);
        imds.token = token.body;
        imds
    }

    async fn get(&self, path: &str) -> Answer {
        let token = [("x-aws-ec2-metadata-token", self.token.as_str())];
        self.request(Method::GET, path, &token).await
    }
}

#[tokio::test]
async fn only_tokens_open_it_and_it_says_what_the_instance_is() {
    let world = World::start(121, 600.0).await;
    let image = world.empty_image().await;
    lab::iam_api::seed_profile(&world.lab, "mattermost-node");
    let id = world
        .run(
            &image,
            &[
                ("IamInstanceProfile.Name", "mattermost-node"),
                ("UserData", "c3RhY2sgPSAiZGVtbyIK"),
                ("MetadataOptions.InstanceMetadataTags", "enabled"),
                ("TagSpecification.1.ResourceType", "instance"),
                ("TagSpecification.1.Tag.1.Key", "stack"),
                ("TagSpecification.1.Tag.1.Value", "demo"),
            ],
        )
        .await;
    let imds = Imds::of(&world, &id).await;
    let bare = imds
        .request(Method::GET, "latest/meta-data/instance-id", &[])
        .await;
    assert_eq!(bare.status, 401);
    let forged = [("x-aws-ec2-metadata-token", "forged")];
    let forged = imds
        .request(Method::GET, "latest/meta-data/instance-id", &forged)
        .await;
    assert_eq!(forged.status, 401);
    for (headers, status) in [
        (vec![], 400),
        (vec![("x-aws-ec2-metadata-token-ttl-seconds", "0")], 400),
        (vec![("x-aws-ec2-metadata-token-ttl-seconds", "21601")], 400),
        (
            vec![
                ("x-aws-ec2-metadata-token-ttl-seconds", "60"),
                ("x-forwarded-for", "127.0.0.1"),
            ],
            403,
        ),
    ] {
        let answer = imds
            .request(Method::PUT, "latest/api/token", &headers)
            .await;
        assert_eq!(answer.status, status, "{headers:?}");
    }
    let address = imds.address.to_string();
    for (path, expected) in [
        ("latest/user-data", "stack = \"demo\"\n"),
        ("latest/meta-data/instance-id", id.as_str()),
        ("latest/meta-data/ami-id", image.as_str()),
        ("latest/meta-data/local-ipv4", address.as_str()),
        ("latest/meta-data/placement/region", EAST),
        ("latest/meta-data/placement/availability-zone", "us-east-1a"),
        ("latest/meta-data/services/domain", "amazonaws.com"),
        ("latest/meta-data/services/partition", "aws"),
        ("latest/meta-data/tags/instance/stack", "demo"),
        (
            "latest/meta-data/iam/security-credentials/",
            "mattermost-node",
        ),
        ("latest/meta-data/security-groups", "default"),
    ] {
        let answer = imds.get(path).await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, expected),
            "{path}"
        );
    }
    for path in [
        "latest/meta-data/spot/instance-action",
        "latest/meta-data/autoscaling/target-lifecycle-state",
        "latest/nothing",
    ] {
        assert_eq!(imds.get(path).await.status, 404, "{path}");
    }
    let document = imds.get("latest/dynamic/instance-identity/document").await;
    let document: Value = serde_json::from_str(&document.body).expect("JSON");
    assert_eq!(document["instanceId"], id.as_str());
    assert_eq!(document["accountId"], lab::iam::ACCOUNT);
    world.lab.stop().await;
}

#[tokio::test]
async fn role_credentials_sign_as_the_instance_until_it_ends() {
    let world = World::start(123, 600.0).await;
    let image = world.empty_image().await;
    lab::iam_api::seed_profile(&world.lab, "mattermost-node");
    let profile = [("IamInstanceProfile.Name", "mattermost-node")];
    let id = world.run(&image, &profile).await;
    let imds = Imds::of(&world, &id).await;
    let shown = imds
        .get("latest/meta-data/iam/security-credentials/mattermost-node")
        .await;
    let shown: Value = serde_json::from_str(&shown.body).expect("JSON");
    let text = |name: &str| shown[name].as_str().expect("a text").to_owned();
    let (key, secret, token) = (text("AccessKeyId"), text("SecretAccessKey"), text("Token"));
    assert!(key.starts_with("ASIA"));
    let who = |token: Option<String>| {
        let (key, secret, address) = (key.clone(), secret.clone(), world.address);
        async move {
            signed(
                address,
                (&key, &secret),
                token.as_deref(),
                (EAST, "sts"),
                "GetCallerIdentity",
                &[],
            )
            .await
        }
    };
    let answer = who(Some(token.clone())).await;
    assert_eq!(
        answer.text("Arn"),
        format!("arn:aws:sts::123456789012:assumed-role/mattermost-node/{id}")
    );
    assert!(answer.text("UserId").ends_with(&format!(":{id}")));
    assert_eq!(who(None).await.status, 403, "the token belongs to the key");
    // The role has no policy: beyond its own name there is nothing for it.
    let (scope, key) = ((EAST, "ec2"), (key.as_str(), secret.as_str()));
    let refused = signed(world.address, key, Some(&token), scope, "DescribeVpcs", &[]).await;
    assert_eq!(refused.text("Code"), "UnauthorizedOperation");

    world
        .ok("TerminateInstances", &[("InstanceId.1", &id)])
        .await;
    world.until_state(EAST, &id, "terminated").await;
    assert_eq!(who(Some(token)).await.status, 403);
    assert!(
        tokio::net::TcpStream::connect((imds.address, 1338))
            .await
            .is_err(),
        "its metadata service is gone"
    );
    world.lab.stop().await;
}

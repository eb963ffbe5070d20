//! A role with an inline policy, and calls with its credentials.

use serde_json::{Value, json};

use crate::support::{Answer, EAST, World, signed};

const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"123456789012"},"Action":"sts:AssumeRole"}]}"#;
const ROLE: &str = "arn:aws:iam::123456789012:role/tester";

/// A lab with a role, and a session of it.
pub struct Session {
    pub world: World,
    pub key: String,
    pub secret: String,
    pub token: String,
}

impl Session {
    pub async fn start(octet: u8, statements: Value) -> Self {
        let world = World::start(octet, 600.0).await;
        let iam = |action: &'static str, pairs: Vec<(&'static str, String)>| {
            let world = &world;
            async move {
                let pairs: Vec<(&str, &str)> = pairs
                    .iter()
                    .map(|(name, value)| (*name, value.as_str()))
                    .collect();
                let answer = world.call(EAST, "iam", action, &pairs).await;
                assert_eq!(answer.status, 200, "{action}: {}", answer.body);
            }
        };
        let role = || ("RoleName", "tester".to_owned());
        let trust = ("AssumeRolePolicyDocument", TRUST.to_owned());
        iam("CreateRole", vec![role(), trust]).await;
        let document = json!({ "Version": "2012-10-17", "Statement": statements });
        let document = ("PolicyDocument", document.to_string());
        let name = ("PolicyName", "inline".to_owned());
        iam("PutRolePolicy", vec![role(), name, document]).await;
        let pairs = [("RoleArn", ROLE), ("RoleSessionName", "a-test")];
        let taken = world.call(EAST, "sts", "AssumeRole", &pairs).await;
        assert_eq!(taken.status, 200, "{}", taken.body);
        Self {
            key: taken.text("AccessKeyId"),
            secret: taken.text("SecretAccessKey"),
            token: taken.text("SessionToken"),
            world,
        }
    }

    pub async fn call(&self, service: &str, action: &str, pairs: &[(&str, &str)]) -> Answer {
        let key = (self.key.as_str(), self.secret.as_str());
        let scope = (EAST, service);
        signed(
            self.world.address,
            key,
            Some(&self.token),
            scope,
            action,
            pairs,
        )
        .await
    }

    pub async fn ec2(&self, action: &str, pairs: &[(&str, &str)]) -> Answer {
        self.call("ec2", action, pairs).await
    }

    pub async fn allowed(&self, action: &str, pairs: &[(&str, &str)]) -> Answer {
        let answer = self.ec2(action, pairs).await;
        assert_eq!(answer.status, 200, "{action}: {}", answer.body);
        answer
    }

    /// Refused, and said of this action on a resource of which this is the end.
    pub async fn refused(&self, action: &str, pairs: &[(&str, &str)], asked: &str, resource: &str) {
        let answer = self.ec2(action, pairs).await;
        let seen = (answer.status, answer.text("Code"));
        assert_eq!(seen, (403, "UnauthorizedOperation".to_owned()), "{action}");
        let message = answer.text("Message");
        let who = "User: arn:aws:sts::123456789012:assumed-role/tester/a-test";
        let what = format!("{who} is not authorized to perform: {asked} on resource: ");
        let rest = message
            .split_once(&what)
            .unwrap_or_else(|| panic!("`{message}` does not say `{what}`"))
            .1;
        let named = rest.split_whitespace().next().unwrap_or_default();
        assert!(named.ends_with(resource), "{message}");
    }
}

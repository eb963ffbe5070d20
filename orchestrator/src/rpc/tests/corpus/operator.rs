//! What the account's operator can do by hand, and an attacker with an operator's keys: launch
//! instances, make them members, make VPCs and templates beside the stack's.

use aws_credential_types::Credentials;
use lab::iam::{OPERATOR_KEY, OPERATOR_SECRET};

use super::forge::Signing;
use super::region::{GROUP, REGION, Region};

impl Region {
    /// A call of the EC2 or Auto Scaling API as the account's operator makes it.
    pub async fn call(&self, service: &str, action: &str, parameters: &[(&str, &str)]) -> String {
        let version = match service {
            "ec2" => "2016-11-15",
            _ => "2011-01-01",
        };
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("Action", action)
            .append_pair("Version", version)
            .extend_pairs(parameters);
        let host = format!("{service}.{REGION}.amazonaws.com");
        let signed = Signing {
            credentials: Credentials::new(OPERATOR_KEY, OPERATOR_SECRET, None, None, "operator"),
            region: REGION.to_owned(),
            service: service.to_owned(),
            method: "POST".to_owned(),
            url: format!("https://{host}/"),
            headers: vec![
                ("host".to_owned(), host),
                (
                    "content-type".to_owned(),
                    "application/x-www-form-urlencoded".to_owned(),
                ),
            ],
            body: form.finish().into_bytes(),
            ..Signing::default()
        }
        .sign();
        let mut request = reqwest::Client::new().post(&self.endpoint);
        for header in &signed.headers {
            request = request.header(&header.name, &header.value);
        }
        let answer = request.body(signed.body).send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{action} {parameters:?}: {text}");
        text
    }

    /// Launches one instance; its id.
    pub async fn launch(&self, parameters: &[(&str, &str)]) -> String {
        let mut all = vec![("MinCount", "1"), ("MaxCount", "1")];
        all.extend_from_slice(parameters);
        let answer = self.call("ec2", "RunInstances", &all).await;
        let id = element(&answer, "instanceId");
        self.until("the instance runs", |seen| {
            seen.instances
                .get(&id)
                .is_some_and(|instance| instance.state == "running")
        })
        .await;
        id
    }

    /// Makes an instance a member of the group.
    pub async fn attach(&self, id: &str) {
        let parameters = [
            ("AutoScalingGroupName", GROUP),
            ("InstanceIds.member.1", id),
        ];
        self.call("autoscaling", "AttachInstances", &parameters)
            .await;
        self.until("the instance is a member", |seen| {
            seen.groups[GROUP].members.contains_key(id)
        })
        .await;
    }

    /// A VPC that is not the stack's, with one subnet; the subnet's id.
    pub async fn foreign_subnet(&self) -> String {
        let block = format!("127.{}.240.0/24", self.octet() + 1);
        let answer = self
            .call("ec2", "CreateVpc", &[("CidrBlock", &block)])
            .await;
        let vpc = element(&answer, "vpcId");
        let parameters = [("VpcId", vpc.as_str()), ("CidrBlock", &block)];
        let answer = self.call("ec2", "CreateSubnet", &parameters).await;
        element(&answer, "subnetId")
    }

    /// A template with the stack's tag on its instances that is not the stack's; its id.
    pub async fn other_template(&self, tags: &[(&str, &str)]) -> String {
        let tags: Vec<(String, &str)> = tags
            .iter()
            .map(|(name, value)| (format!("LaunchTemplateData.{name}"), *value))
            .collect();
        let mut parameters = vec![
            ("LaunchTemplateName", "another"),
            ("LaunchTemplateData.ImageId", self.image()),
            ("LaunchTemplateData.InstanceType", "m7i.large"),
        ];
        parameters.extend(tags.iter().map(|(name, value)| (name.as_str(), *value)));
        let answer = self.call("ec2", "CreateLaunchTemplate", &parameters).await;
        element(&answer, "launchTemplateId")
    }

    /// A second image in the account.
    pub async fn other_image(&self) -> String {
        lab::ec2::register_image(&self.lab, REGION, "other", None, Vec::new())
            .await
            .unwrap()
    }
}

/// The text of the first element of that name.
pub fn element(xml: &str, name: &str) -> String {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let rest = xml.split_once(&open).map(|(_, rest)| rest);
    rest.and_then(|rest| rest.split_once(&close))
        .map_or_else(|| panic!("no {name} in {xml}"), |(text, _)| text.to_owned())
}

//! A lab for the tests of Auto Scaling and CloudWatch: calls by name, answers as text, waits for what
//! must come true.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lab::api::{ApiError, Call, Params, Reply, Service};
use lab::iam::{ACCOUNT, Caller};
use lab::{Config, Lab, Region};

/// The region of every test.
pub const REGION: &str = "us-east-1";
/// Everything passes this much faster than at AWS.
pub const SPEED: f64 = 200.0;
/// Real time in which anything a test waits for must have happened; everything takes far less.
const PATIENCE: Duration = Duration::from_mins(1);

/// A lab with an image and a launch template `node`, whose addresses no other test uses.
pub struct World {
    pub lab: Arc<Lab>,
    _directory: tempfile::TempDir,
}

impl World {
    /// `octet` is this test's own second octet of the region's addresses.
    pub async fn start(octet: u8, speed: f64) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut config = Config::new(directory.path());
        config.speed = speed;
        // These clients ask as fast as they can, repeat nothing, and some tests hold the clock.
        config.throttling = false;
        config.regions = vec![Region {
            name: REGION.to_owned(),
            zones: ["a", "b", "c"]
                .map(|zone| format!("{REGION}{zone}"))
                .to_vec(),
            octet,
        }];
        let (lab, _) = Lab::start(config).await.expect("the lab starts");
        let image = lab::ec2::register_image(&lab, REGION, "node", None, Vec::new())
            .await
            .expect("an image");
        let world = Self {
            lab,
            _directory: directory,
        };
        world
            .ec2(
                "CreateLaunchTemplate",
                &[
                    ("LaunchTemplateName", "node"),
                    ("LaunchTemplateData.ImageId", &image),
                    ("LaunchTemplateData.InstanceType", "t3.small"),
                ],
            )
            .await;
        world
    }

    /// A call without parameters.
    pub fn call(service: Service, action: &str) -> Call {
        Self::call_with(service, action, Params::from_value(serde_json::json!({})))
    }

    fn call_with(service: Service, action: &str, params: Params) -> Call {
        Call {
            service,
            action: action.to_owned(),
            region: REGION.to_owned(),
            caller: Caller {
                arn: format!("arn:aws:iam::{ACCOUNT}:user/operator"),
                user_id: "AIDALABOPERATOR000000".to_owned(),
                account: ACCOUNT.to_owned(),
                instance_id: None,
                role: None,
            },
            params,
            request_id: "test".to_owned(),
        }
    }

    fn form(pairs: &[(&str, &str)], wrappers: bool) -> Params {
        let pairs = pairs.iter();
        Params::from_form(
            pairs.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
            wrappers,
        )
    }

    /// A call to EC2 that must succeed; the answer's XML.
    pub async fn ec2(&self, action: &str, pairs: &[(&str, &str)]) -> String {
        let call = Self::call_with(Service::Ec2, action, Self::form(pairs, false));
        xml(lab::ec2::dispatch(&self.lab, &call).await.expect(action))
    }

    /// A call to Auto Scaling.
    pub async fn try_asg(&self, action: &str, pairs: &[(&str, &str)]) -> Result<String, ApiError> {
        let call = Self::call_with(Service::AutoScaling, action, Self::form(pairs, true));
        lab::asg::dispatch(&self.lab, &call).await.map(xml)
    }

    /// A call to Auto Scaling that must succeed.
    pub async fn asg(&self, action: &str, pairs: &[(&str, &str)]) -> String {
        self.try_asg(action, pairs).await.expect(action)
    }

    /// A call to CloudWatch.
    pub async fn try_cloudwatch(
        &self,
        action: &str,
        params: serde_json::Value,
    ) -> Result<ciborium::Value, ApiError> {
        let call = Self::call_with(Service::CloudWatch, action, Params::from_value(params));
        match lab::cloudwatch::dispatch(&self.lab, &call).await? {
            Reply::Cbor(value) => Ok(value),
            other => panic!("{action} answered {other:?}"),
        }
    }

    /// Creates a group `web` of the template in all zones.
    pub async fn create_group(&self, size: (u32, u32, u32), more: &[(&str, &str)]) {
        let (min, max, desired) = (size.0.to_string(), size.1.to_string(), size.2.to_string());
        let mut pairs = vec![
            ("AutoScalingGroupName", "web"),
            ("LaunchTemplate.LaunchTemplateName", "node"),
            ("MinSize", min.as_str()),
            ("MaxSize", max.as_str()),
            ("DesiredCapacity", desired.as_str()),
            ("AvailabilityZones.member.1", "us-east-1a"),
            ("AvailabilityZones.member.2", "us-east-1b"),
            ("AvailabilityZones.member.3", "us-east-1c"),
        ];
        pairs.extend_from_slice(more);
        self.asg("CreateAutoScalingGroup", &pairs).await;
    }

    /// The group's instances: id, zone, lifecycle state, health.
    pub async fn members(&self) -> Vec<Instance> {
        let all = self
            .asg(
                "DescribeAutoScalingGroups",
                &[("AutoScalingGroupNames.member.1", "web")],
            )
            .await;
        let instances = between(&all, "<Instances>", "</Instances>").unwrap_or_default();
        elements(instances, "member")
            .into_iter()
            .map(|one| Instance {
                id: text(one, "InstanceId"),
                zone: text(one, "AvailabilityZone"),
                state: text(one, "LifecycleState"),
                health: text(one, "HealthStatus"),
                version: text(one, "Version"),
            })
            .collect()
    }

    /// Waits until the group's instances are as wanted; gives them.
    pub async fn until(&self, what: &str, wanted: impl Fn(&[Instance]) -> bool) -> Vec<Instance> {
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                let members = self.members().await;
                if wanted(&members) {
                    return members;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        if let Ok(members) = waited.await {
            return members;
        }
        let activities = self.activities().await;
        panic!("not {what}: {:#?}\n{activities:#?}", self.members().await);
    }

    /// Waits until that many are in service and nobody else is there.
    pub async fn until_in_service(&self, count: usize) -> Vec<Instance> {
        self.until(&format!("{count} in service"), |members| {
            members.len() == count && members.iter().all(|one| one.state == "InService")
        })
        .await
    }

    /// The group's activities: description, cause, status, message.
    pub async fn activities(&self) -> Vec<Activity> {
        let all = self
            .asg(
                "DescribeScalingActivities",
                &[("AutoScalingGroupName", "web")],
            )
            .await;
        elements(&all, "member")
            .into_iter()
            .map(|one| Activity {
                description: text(one, "Description"),
                cause: text(one, "Cause"),
                status: text(one, "StatusCode"),
                message: text(one, "StatusMessage"),
            })
            .collect()
    }

    /// How long anything that must not happen is given to happen.
    pub async fn lab_sleep(&self, seconds: u64) {
        self.lab.clock.sleep(Duration::from_secs(seconds)).await;
    }

    /// Ends the lab.
    pub async fn stop(self) {
        self.lab.stop().await;
    }
}

/// An instance as DescribeAutoScalingGroups shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    pub id: String,
    pub zone: String,
    pub state: String,
    pub health: String,
    pub version: String,
}

/// An activity as DescribeScalingActivities shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activity {
    pub description: String,
    pub cause: String,
    pub status: String,
    pub message: String,
}

fn xml(reply: Reply) -> String {
    match reply {
        Reply::Xml(xml) => xml.render().to_owned(),
        other => panic!("not XML: {other:?}"),
    }
}

/// What stands between two texts.
pub fn between<'a>(all: &'a str, from: &str, to: &str) -> Option<&'a str> {
    let rest = &all[all.find(from)? + from.len()..];
    Some(&rest[..rest.find(to)?])
}

/// The text of the first element of that name, or nothing.
pub fn text(all: &str, name: &str) -> String {
    between(all, &format!("<{name}>"), &format!("</{name}>"))
        .unwrap_or_default()
        .to_owned()
}

/// The content of each outermost element of that name.
pub fn elements<'a>(all: &'a str, name: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut found = Vec::new();
    let mut rest = all;
    while let Some(begin) = rest.find(&open) {
        let inner = &rest[begin + open.len()..];
        let (mut depth, mut at) = (1, 0);
        while depth > 0 {
            let closing = inner[at..].find(&close).map_or(inner.len(), |end| at + end);
            if let Some(opening) = inner[at..closing].find(&open) {
                depth += 1;
                at += opening + open.len();
            } else {
                depth -= 1;
                at = if depth == 0 {
                    closing
                } else {
                    closing + close.len()
                };
            }
        }
        found.push(&inner[..at]);
        rest = &inner[(at + close.len()).min(inner.len())..];
    }
    found
}

/// A launch hook of the group `web`.
pub const HOOK: [(&str, &str); 5] = [
    ("AutoScalingGroupName", "web"),
    ("LifecycleHookName", "ready"),
    ("LifecycleTransition", "autoscaling:EC2_INSTANCE_LAUNCHING"),
    ("HeartbeatTimeout", "7200"),
    ("DefaultResult", "ABANDON"),
];

/// How many instances each zone has.
pub fn by_zone(members: &[Instance]) -> BTreeMap<&str, usize> {
    let mut zones = BTreeMap::new();
    for member in members {
        *zones.entry(member.zone.as_str()).or_default() += 1;
    }
    zones
}

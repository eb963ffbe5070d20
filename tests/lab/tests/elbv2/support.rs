//! A lab with a load balancer in it, little backends, and a client that sees every connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use lab::iam::{OPERATOR_KEY, OPERATOR_SECRET};
use lab::{Config, Lab, Region};

pub use crate::backend::Backend;
pub use crate::client::{Answer, Client, get, websocket};

pub const REGION: &str = "us-east-1";
/// Every test's load balancers have addresses of their own, so that the port may be the same.
pub const PORT: u16 = 18_080;

/// Each lab has a network of its own; 32 and 33 are the default regions', other tests may use them.
static NEXT_OCTET: AtomicU8 = AtomicU8::new(160);

pub struct World {
    pub lab: Arc<Lab>,
    pub endpoint: SocketAddr,
    _directory: tempfile::TempDir,
}

impl World {
    /// 600 lab seconds a second: provisioning takes 0.2 s, the default deregistration delay 0.5 s.
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config::new(directory.path());
        config.speed = 600.0;
        config.regions = vec![Region {
            name: REGION.to_owned(),
            zones: ["a", "b", "c"]
                .map(|zone| format!("{REGION}{zone}"))
                .to_vec(),
            octet: NEXT_OCTET.fetch_add(1, Ordering::Relaxed),
        }];
        let (lab, endpoint) = Lab::start(config).await.unwrap();
        Self {
            lab,
            endpoint,
            _directory: directory,
        }
    }

    /// Answers the XML, or AWS's error code.
    pub async fn try_call(&self, action: &str, fields: &[(&str, &str)]) -> Result<String, String> {
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("Action", action)
            .append_pair("Version", "2015-12-01")
            .extend_pairs(fields)
            .finish();
        let host = self.endpoint.to_string();
        let headers = lab::api::sign_for_tests(
            (OPERATOR_KEY, OPERATOR_SECRET),
            (REGION, "elasticloadbalancing"),
            &host,
            &body,
            self.lab.clock.now(),
        );
        let mut request = Request::post("/")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let answer = Client::connect(self.endpoint).await.send(request).await;
        if answer.status == 200 {
            Ok(answer.text)
        } else {
            Err(text_of(&answer.text, "Code").expect("an error has a code"))
        }
    }

    pub async fn call(&self, action: &str, fields: &[(&str, &str)]) -> String {
        match self.try_call(action, fields).await {
            Ok(xml) => xml,
            Err(code) => panic!("{action}: {code}"),
        }
    }

    pub async fn control(&self, method: &str, path: &str, body: &str) -> serde_json::Value {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.endpoint.to_string())
            .body(Full::new(Bytes::from(body.to_owned())))
            .unwrap();
        let answer = Client::connect(self.endpoint).await.send(request).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        serde_json::from_str(&answer.text).unwrap()
    }

    pub fn subnets(&self) -> Vec<String> {
        let mut subnets = lab::ec2::default_subnets(&self.lab, REGION);
        subnets.sort_by(|one, other| one.zone.cmp(&other.zone));
        subnets.into_iter().map(|subnet| subnet.id).collect()
    }

    /// Where the only listener listens.
    pub async fn nodes(&self) -> Vec<SocketAddr> {
        let listeners = self.control("GET", "/lab/elbv2/listeners", "").await;
        listeners[0]["addresses"]
            .as_array()
            .unwrap()
            .iter()
            .map(|address| address["actual"].as_str().unwrap().parse().unwrap())
            .collect()
    }

    pub fn vpc(&self) -> String {
        lab::ec2::default_subnets(&self.lab, REGION)[0]
            .vpc_id
            .clone()
    }

    /// An active load balancer: its ARN and first address.
    pub async fn balancer(&self, name: &str) -> (String, SocketAddr) {
        let subnets = self.subnets();
        let xml = self
            .call(
                "CreateLoadBalancer",
                &[
                    ("Name", name),
                    ("Subnets.member.1", &subnets[0]),
                    ("Subnets.member.2", &subnets[1]),
                ],
            )
            .await;
        assert_eq!(text_of(&xml, "Code").as_deref(), Some("provisioning"));
        let arn = text_of(&xml, "LoadBalancerArn").unwrap();
        let address = text_of(&xml, "DNSName").unwrap().parse().unwrap();
        eventually("the load balancer is active", async || {
            let fields = [("LoadBalancerArns.member.1", arn.as_str())];
            let xml = self.call("DescribeLoadBalancers", &fields).await;
            text_of(&xml, "Code").as_deref() == Some("active")
        })
        .await;
        (arn, SocketAddr::new(address, PORT))
    }

    /// A target group by address, with quick checks on `/health`.
    pub async fn group(&self, name: &str) -> String {
        let vpc = self.vpc();
        let xml = self
            .call(
                "CreateTargetGroup",
                &[
                    ("Name", name),
                    ("Protocol", "HTTP"),
                    ("Port", "80"),
                    ("VpcId", &vpc),
                    ("TargetType", "ip"),
                    ("HealthCheckPath", "/health"),
                    ("HealthCheckIntervalSeconds", "5"),
                    ("HealthCheckTimeoutSeconds", "2"),
                    ("HealthyThresholdCount", "2"),
                ],
            )
            .await;
        text_of(&xml, "TargetGroupArn").unwrap()
    }

    /// A listener on [`PORT`] that forwards to groups by weight.
    pub async fn listener(&self, balancer: &str, groups: &[(&str, u32)]) -> String {
        let mut fields = weights(groups);
        fields.extend([
            ("LoadBalancerArn".to_owned(), balancer.to_owned()),
            ("Protocol".to_owned(), "HTTP".to_owned()),
            ("Port".to_owned(), PORT.to_string()),
        ]);
        let xml = self.call("CreateListener", &borrowed(&fields)).await;
        text_of(&xml, "ListenerArn").unwrap()
    }

    pub async fn set_weights(&self, listener: &str, groups: &[(&str, u32)]) {
        let mut fields = weights(groups);
        fields.push(("ListenerArn".to_owned(), listener.to_owned()));
        self.call("ModifyListener", &borrowed(&fields)).await;
    }

    /// As [`World::set_weights`]; a client stays with the group that it was given first, for so many lab seconds.
    pub async fn set_sticky(&self, listener: &str, groups: &[(&str, u32)], seconds: u32) {
        let stickiness = "DefaultActions.member.1.ForwardConfig.TargetGroupStickinessConfig";
        let mut fields = weights(groups);
        fields.extend([
            ("ListenerArn".to_owned(), listener.to_owned()),
            (format!("{stickiness}.Enabled"), "true".to_owned()),
            (format!("{stickiness}.DurationSeconds"), seconds.to_string()),
        ]);
        self.call("ModifyListener", &borrowed(&fields)).await;
    }

    pub async fn register(&self, group: &str, backend: &Backend) {
        self.call(
            "RegisterTargets",
            &borrowed(&target(group, backend.address)),
        )
        .await;
    }

    pub async fn deregister(&self, group: &str, backend: &Backend) {
        self.call(
            "DeregisterTargets",
            &borrowed(&target(group, backend.address)),
        )
        .await;
    }

    /// State and reason of a target.
    pub async fn health(&self, group: &str, address: SocketAddr) -> (String, String) {
        let xml = self
            .call("DescribeTargetHealth", &borrowed(&target(group, address)))
            .await;
        (
            text_of(&xml, "State").unwrap(),
            text_of(&xml, "Reason").unwrap_or_default(),
        )
    }

    pub async fn until(&self, group: &str, address: SocketAddr, state: &str, reason: &str) {
        eventually(&format!("{address} is {state} {reason}"), async || {
            self.health(group, address).await == (state.to_owned(), reason.to_owned())
        })
        .await;
    }

    /// A group with these backends, healthy, behind a listener of a new load balancer.
    pub async fn serving(&self, backends: &[&Backend]) -> Serving {
        let (balancer, address) = self.balancer("chat").await;
        let group = self.group("blue").await;
        let listener = self.listener(&balancer, &[(&group, 1)]).await;
        for backend in backends {
            self.register(&group, backend).await;
        }
        for backend in backends {
            self.until(&group, backend.address, "healthy", "").await;
        }
        Serving {
            balancer,
            group,
            listener,
            address,
        }
    }

    pub async fn set_balancer(&self, balancer: &str, key: &str, value: &str) {
        let fields = [
            ("LoadBalancerArn", balancer),
            ("Attributes.member.1.Key", key),
            ("Attributes.member.1.Value", value),
        ];
        self.call("ModifyLoadBalancerAttributes", &fields).await;
    }

    pub async fn set_group(&self, group: &str, key: &str, value: &str) {
        let fields = [
            ("TargetGroupArn", group),
            ("Attributes.member.1.Key", key),
            ("Attributes.member.1.Value", value),
        ];
        self.call("ModifyTargetGroupAttributes", &fields).await;
    }
}

pub struct Serving {
    pub balancer: String,
    pub group: String,
    pub listener: String,
    pub address: SocketAddr,
}

fn target(group: &str, address: SocketAddr) -> Vec<(String, String)> {
    vec![
        ("TargetGroupArn".to_owned(), group.to_owned()),
        ("Targets.member.1.Id".to_owned(), address.ip().to_string()),
        (
            "Targets.member.1.Port".to_owned(),
            address.port().to_string(),
        ),
    ]
}

pub fn weights(groups: &[(&str, u32)]) -> Vec<(String, String)> {
    let mut fields = vec![(
        "DefaultActions.member.1.Type".to_owned(),
        "forward".to_owned(),
    )];
    for (index, (arn, weight)) in groups.iter().enumerate() {
        let tuple = format!(
            "DefaultActions.member.1.ForwardConfig.TargetGroups.member.{}",
            index + 1
        );
        fields.push((format!("{tuple}.TargetGroupArn"), (*arn).to_owned()));
        fields.push((format!("{tuple}.Weight"), weight.to_string()));
    }
    fields
}

pub fn borrowed(fields: &[(String, String)]) -> Vec<(&str, &str)> {
    fields
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect()
}

/// The text of the first element of that name.
pub fn text_of(xml: &str, name: &str) -> Option<String> {
    let begin = xml.find(&format!("<{name}>"))? + name.len() + 2;
    let end = xml[begin..].find(&format!("</{name}>"))?;
    Some(xml[begin..begin + end].to_owned())
}

/// Looks again until it is true; far longer than it can take, so that only a defect fails.
pub async fn eventually(what: &str, mut test: impl AsyncFnMut() -> bool) {
    for _ in 0..1500 {
        if test().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 15 s: {what}");
}

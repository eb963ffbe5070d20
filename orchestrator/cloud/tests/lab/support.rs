//! A lab to test against, and the cloud as a stack sees it.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_rds::config::{self, BehaviorVersion, Region};
use aws_sdk_rds::primitives::DateTime;
use aws_sdk_rds::types::SourceType;
use cloud::{Cloud, Credentials, EffectError, Outcome, Scope};
use lab::iam::{OPERATOR_KEY, OPERATOR_SECRET};
use lab::{Config, Lab};
use plan::{Action, Observed, Spec};

pub const HOME: &str = "us-east-1";
pub const AWAY: &str = "us-west-2";
/// Lab seconds per real second: a database of five minutes comes in one second.
const SPEED: f64 = 300.0;
/// Real time after which a state that does not come is a failure.
const DEADLINE: Duration = Duration::from_secs(120);
/// The port that says which 127.N.0.0/16 a running test has; the lab's own tests use the same one.
const RESERVATION: u16 = 59_998;

pub struct World {
    pub lab: Arc<Lab>,
    pub endpoint: String,
    pub cloud: Cloud,
    pub scope: Scope,
    pub image: String,
    _directory: tempfile::TempDir,
    _reservations: [TcpListener; 2],
}

/// Two neighbouring 127.N.0.0/16 that no other test on this machine has, until the listeners are dropped.
fn reserve() -> (u8, [TcpListener; 2]) {
    let bind = |octet: u8| TcpListener::bind((Ipv4Addr::new(127, octet, 255, 254), RESERVATION));
    (40..=248)
        .step_by(2)
        .find_map(|octet| Some((octet, [bind(octet).ok()?, bind(octet + 1).ok()?])))
        .expect("fewer than 100 labs run at once")
}

pub fn spec(stack: &str, image: &str) -> Spec {
    let text = format!(
        r#"
stack = "{stack}"
zones = ["us-east-1b", "us-east-1a", "us-west-2a"]
[mattermost]
version = "11.0.0"
sha256 = "{}"
accept_unlicensed_nodes = true
[database]
class = "db.t3.micro"
storage_gib = 20
[fleet]
image = "{image}"
instance_type = "m7i.large"
[orchestrator]
addresses = ["127.0.0.1:7443"]
"#,
        "0".repeat(64)
    );
    Spec::parse(&text, "mattermost.toml").expect("a valid specification")
}

impl World {
    pub async fn start() -> Self {
        let (octet, reservations) = reserve();
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut config = Config::new(directory.path().join("lab"));
        config.speed = SPEED;
        config.regions[0].octet = octet;
        config.regions[1].octet = octet + 1;
        let (lab, address) = Lab::start(config).await.expect("the lab starts");
        lab::iam_api::seed_profile(&lab, "mattermost-node");
        let tree = directory.path().join("tree");
        std::fs::create_dir_all(&tree).expect("an image tree");
        let image = lab::ec2::register_image(&lab, HOME, "base", Some(&tree), Vec::new())
            .await
            .expect("an image");
        let endpoint = format!("http://{address}");
        let scope = Scope {
            spec: spec("demo", &image),
            images: [image.clone()].into(),
            now: lab.clock.now(),
            deletes_files: false,
        };
        Self {
            cloud: connect("demo", &endpoint),
            lab,
            endpoint,
            scope,
            image,
            _directory: directory,
            _reservations: reservations,
        }
    }

    /// One look, in which every read must have succeeded.
    pub async fn look(&self) -> Observed {
        let scope = Scope {
            now: self.lab.clock.now(),
            ..self.scope.clone()
        };
        let seen = Box::pin(self.cloud.observe(&scope)).await;
        assert_eq!(seen.unknown, std::collections::BTreeMap::new());
        seen
    }

    /// Makes an effect that must make a difference, then once more, which must make none.
    pub async fn twice(&self, action: Action) {
        assert_eq!(self.once(&action).await, Outcome::Changed, "{action:?}");
        assert_eq!(
            self.once(&action).await,
            Outcome::Unchanged,
            "again: {action:?}"
        );
    }

    pub async fn once(&self, action: &Action) -> Outcome {
        self.attempt(action)
            .await
            .unwrap_or_else(|error| panic!("{action:?}: {error}"))
    }

    pub async fn attempt(&self, action: &Action) -> Result<Outcome, EffectError> {
        self.cloud.apply(action, self.lab.clock.now()).await
    }

    /// Looks until what is seen is as wanted.
    pub async fn until(&self, what: &str, wanted: impl Fn(&Observed) -> bool) -> Observed {
        let look = async {
            loop {
                let seen = self.look().await;
                if wanted(&seen) {
                    return seen;
                }
                self.lab.clock.sleep(Duration::from_secs(30)).await;
            }
        };
        if let Ok(seen) = tokio::time::timeout(DEADLINE, look).await {
            return seen;
        }
        panic!("never seen: {what}; last: {:#?}", self.look().await)
    }

    /// Asks RDS until it tells this event of the instance, not older than `since`. What passes
    /// between two looks is seen here, and only here.
    pub async fn until_event(&self, instance: &str, since: jiff::Timestamp, message: &str) {
        let events = aws_sdk_rds::Client::from_conf(
            config::Builder::new()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::new(HOME))
                .endpoint_url(&self.endpoint)
                .credentials_provider(operator())
                .build(),
        );
        let look = async {
            loop {
                let told = events
                    .describe_events()
                    .source_type(SourceType::DbInstance)
                    .source_identifier(instance)
                    .start_time(DateTime::from_millis(since.as_millisecond()))
                    .send()
                    .await
                    .expect("RDS tells its events");
                if told
                    .events()
                    .iter()
                    .any(|event| event.message() == Some(message))
                {
                    return;
                }
                self.lab.clock.sleep(Duration::from_secs(30)).await;
            }
        };
        tokio::time::timeout(DEADLINE, look)
            .await
            .unwrap_or_else(|_| panic!("no event `{message}` of {instance}"));
    }

    pub async fn stop(self) {
        self.lab.stop().await;
    }
}

/// An operator's keys, for clients that are not the product's.
pub fn operator() -> aws_credential_types::Credentials {
    aws_credential_types::Credentials::new(OPERATOR_KEY, OPERATOR_SECRET, None, None, "test")
}

pub fn connect(stack: &str, endpoint: &str) -> Cloud {
    connect_in(stack, endpoint, &[HOME, AWAY])
}

/// The stack `demo`, in these regions.
pub fn cloud_of(endpoint: &str, regions: &[&str]) -> Cloud {
    connect_in("demo", endpoint, regions)
}

fn connect_in(stack: &str, endpoint: &str, regions: &[&str]) -> Cloud {
    let regions: Vec<String> = regions.iter().map(|region| (*region).to_owned()).collect();
    Cloud::connect_with(
        stack,
        HOME,
        &regions,
        endpoint,
        &Credentials {
            access_key_id: OPERATOR_KEY.to_owned(),
            secret_access_key: OPERATOR_SECRET.to_owned().into(),
            session_token: None,
        },
    )
}

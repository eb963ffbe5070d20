//! A lab with a stack's fleet in it, and instances that do not belong to it: each launched for real,
//! each with the credentials that its role would have.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use cloud::{Cloud, Scope};
use lab::iam::{ACCOUNT, AccessKey, Caller, OPERATOR_KEY, OPERATOR_SECRET};
use lab::{Config, Lab};
use plan::action::{Action, GroupWanted, TemplateContent};
use plan::{Observed, Spec};

use super::super::STACK;

pub const REGION: &str = "us-east-1";
pub const ROLE: &str = "mattermost-node";
pub const GROUP: &str = "mattermost-g1";
/// Real time after which a state that does not come is a failure.
const DEADLINE: Duration = Duration::from_secs(60);
/// The port that says which 127.N.0.0/16 a running test has; every test with a lab uses the same one.
const RESERVATION: u16 = 59_998;

/// An instance, and who it can prove to be.
#[derive(Clone, Debug)]
pub struct Machine {
    pub id: String,
    pub address: IpAddr,
    pub credentials: Credentials,
}

pub struct Region {
    pub lab: Arc<Lab>,
    pub endpoint: String,
    pub cloud: Cloud,
    pub spec: Spec,
    image: String,
    template: String,
    _directory: tempfile::TempDir,
    octet: u8,
    _reservations: [TcpListener; 2],
}

fn reserve() -> (u8, [TcpListener; 2]) {
    let bind = |octet: u8| TcpListener::bind((Ipv4Addr::new(127, octet, 255, 254), RESERVATION));
    // Demo, benchmarks and end-to-end tests have fixed ones below.
    (160..=248)
        .step_by(2)
        .find_map(|octet| Some((octet, [bind(octet).ok()?, bind(octet + 1).ok()?])))
        .expect("fewer than 100 labs run at once")
}

fn spec(image: &str) -> Spec {
    let text = format!(
        r#"
stack = "{STACK}"
zones = ["us-east-1a", "us-east-1b"]
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
    Spec::parse(&text, "corpus.toml").expect("a valid specification")
}

impl Region {
    /// Lab, template and a group of `nodes` nodes.
    pub async fn start(nodes: u32) -> Self {
        let (octet, reservations) = reserve();
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config::new(directory.path().join("lab"));
        // Fast enough to launch in a quarter of a second, slow enough for the two hours of a hook.
        config.speed = 60.0;
        config.regions[0].octet = octet;
        config.regions[1].octet = octet + 1;
        let (lab, address) = Lab::start(config).await.unwrap();
        lab::iam_api::seed_profile(&lab, ROLE);
        let tree = directory.path().join("tree");
        std::fs::create_dir_all(&tree).unwrap();
        let image = lab::ec2::register_image(&lab, REGION, "base", Some(&tree), Vec::new())
            .await
            .unwrap();
        let endpoint = format!("http://{address}");
        let mut region = Self {
            cloud: connect(&endpoint),
            spec: spec(&image),
            lab,
            endpoint,
            image,
            template: String::new(),
            _directory: directory,
            octet,
            _reservations: reservations,
        };
        region.fleet(nodes).await;
        region
    }

    async fn fleet(&mut self, nodes: u32) {
        let seen = self.look().await;
        let network = seen.network.unwrap();
        let security_group = self.security_group(&network.vpc_id).await;
        self.version(&security_group, "d-1").await;
        let group = Action::EnsureGroup(GroupWanted {
            name: GROUP.to_owned(),
            template: format!("{STACK}-node"),
            version: 1,
            subnets: network.subnets.iter().map(|it| it.id.clone()).collect(),
            target_groups: BTreeSet::new(),
            min: 0,
            max: nodes + 8,
            desired: nodes,
            launch_heartbeat: 7200,
            terminate_heartbeat: 900,
            grace_seconds: 300,
            tags: BTreeMap::from([("mattermost:generation".to_owned(), "1".to_owned())]),
        });
        self.apply(&group).await;
        // Attacks make members of their own; nothing is to be evened out meanwhile.
        self.apply(&Action::SetSuspended {
            group: GROUP.to_owned(),
            processes: BTreeSet::from(["AZRebalance".to_owned()]),
        })
        .await;
        let wanted = usize::try_from(nodes).unwrap();
        let seen = self
            .until("the group's nodes", |seen| {
                seen.groups.get(GROUP).is_some_and(|group| {
                    group.members.len() == wanted
                        && group.members.keys().all(|id| {
                            let instance = seen.instances.get(id);
                            instance.is_some_and(|instance| instance.state == "running")
                        })
                })
            })
            .await;
        self.template = seen.template.unwrap().id;
    }

    async fn security_group(&self, vpc_id: &str) -> String {
        self.apply(&Action::EnsureSecurityGroup {
            part: "fleet".to_owned(),
            name: format!("{STACK}-fleet"),
            vpc_id: vpc_id.to_owned(),
            ingress: BTreeSet::new(),
        })
        .await;
        self.look().await.security_groups["fleet"].id.clone()
    }

    async fn version(&self, security_group: &str, digest: &str) {
        self.apply(&Action::EnsureTemplateVersion {
            name: format!("{STACK}-node"),
            digest: digest.to_owned(),
            content: TemplateContent {
                image_id: self.image.clone(),
                instance_type: "m7i.large".to_owned(),
                instance_profile: ROLE.to_owned(),
                key_pair: None,
                security_groups: BTreeSet::from([security_group.to_owned()]),
                user_data: digest.to_owned(),
                tags: BTreeMap::from([
                    ("mattermost:stack".to_owned(), STACK.to_owned()),
                    ("mattermost:part".to_owned(), "node".to_owned()),
                ]),
            },
        })
        .await;
    }

    async fn apply(&self, action: &Action) {
        let now = self.lab.clock.now();
        self.cloud
            .apply(action, now)
            .await
            .unwrap_or_else(|error| panic!("{action:?}: {error}"));
    }

    /// One look, in which every read must have succeeded.
    pub async fn look(&self) -> Observed {
        let scope = Scope {
            spec: self.spec.clone(),
            images: [self.image.clone()].into(),
            now: self.lab.clock.now(),
            deletes_files: false,
        };
        let seen = self.cloud.observe(&scope).await;
        assert_eq!(seen.unknown, BTreeMap::new());
        seen
    }

    /// Looks until what is seen is as wanted.
    pub async fn until(&self, what: &str, wanted: impl Fn(&Observed) -> bool) -> Observed {
        let looks = async {
            loop {
                let seen = self.look().await;
                if wanted(&seen) {
                    return seen;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        match tokio::time::timeout(DEADLINE, looks).await {
            Ok(seen) => seen,
            Err(late) => panic!("{late}: never seen: {what}; last: {:#?}", self.look().await),
        }
    }

    /// The group's own nodes.
    pub async fn nodes(&self) -> Vec<Machine> {
        let seen = self.look().await;
        let members = seen.groups[GROUP].members.keys();
        members.map(|id| self.machine(&seen, id)).collect()
    }

    /// An instance with credentials of its own role session.
    pub fn machine(&self, seen: &Observed, id: &str) -> Machine {
        let address = seen.instances[id].private_ip.as_ref().unwrap();
        Machine {
            id: id.to_owned(),
            address: address.parse().unwrap(),
            credentials: self.session(ACCOUNT, ROLE, id),
        }
    }

    /// Temporary credentials of a role session, as STS would give them.
    pub fn session(&self, account: &str, role: &str, session: &str) -> Credentials {
        let arn = format!("arn:aws:sts::{account}:assumed-role/{role}/{session}");
        self.principal(account, &arn)
    }

    /// Credentials of whoever the ARN names.
    pub fn principal(&self, account: &str, arn: &str) -> Credentials {
        let mut bytes = [0_u8; 16];
        rand::fill(&mut bytes);
        let random = hex::encode(bytes);
        let key = AccessKey {
            id: format!("ASIA{}", random[..16].to_uppercase()),
            secret: format!("secret-{random}"),
            session_token: Some(format!("token-{random}")),
            expires: None,
            caller: Caller {
                arn: arn.to_owned(),
                user_id: "AROACORPUS:session".to_owned(),
                account: account.to_owned(),
                instance_id: None,
                role: None,
            },
        };
        let credentials = Credentials::new(
            &key.id,
            &key.secret,
            key.session_token.clone(),
            None,
            "corpus",
        );
        self.lab.iam.add(key);
        credentials
    }

    /// The stack's template, and what a launch without it needs to look like ours.
    pub fn template(&self) -> &str {
        &self.template
    }

    pub fn octet(&self) -> u8 {
        self.octet
    }

    pub fn image(&self) -> &str {
        &self.image
    }
}

pub fn connect(endpoint: &str) -> Cloud {
    Cloud::connect_with(
        STACK,
        REGION,
        &[REGION.to_owned()],
        endpoint,
        &cloud::Credentials {
            access_key_id: OPERATOR_KEY.to_owned(),
            secret_access_key: OPERATOR_SECRET.to_owned().into(),
            session_token: None,
        },
    )
}

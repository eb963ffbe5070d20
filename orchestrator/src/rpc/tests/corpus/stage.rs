//! What the attacks are made against: two node services of one region, one with bounds that no case
//! meets by accident and one with bounds that are met at once; nodes of the stack; and machines that
//! are not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fleet_proto::tls;
use fleet_proto::v1;
use rcgen::KeyPair;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::super::{Identity, PASSWORD, STACK, World, now};
use super::enrolment::Dialogue;
use super::forge::{Attempt, key_sha256};
use super::region::{Machine, Region};
use super::{Heard, counters};
use crate::core::Look;
use crate::rpc::Bounds;

pub struct Stage {
    pub region: Region,
    /// For one attack after the other.
    pub world: World,
    /// For those that come in numbers.
    pub tight: World,
    machines: BTreeMap<&'static str, Machine>,
    /// An honest node's answer, as whoever listens in on it would have it.
    pub overheard: std::sync::OnceLock<v1::EnrollAnswer>,
    enrolled: std::sync::Mutex<BTreeSet<String>>,
    nonce: std::sync::Mutex<String>,
    held: std::sync::Mutex<Vec<Dialogue>>,
}

fn roomy() -> Bounds {
    Bounds {
        nonce: Duration::from_secs(2),
        visible: Duration::from_millis(100),
        burst: 10_000,
        report: Duration::from_millis(200),
        still: Duration::from_millis(100),
        ..Bounds::default()
    }
}

fn tight() -> Bounds {
    Bounds {
        strangers: 2,
        connections: tls::Bounds {
            hand_shake: Duration::from_millis(1500),
            connections: 8,
            of_source: 3,
            of_strangers: 6,
            ..tls::Bounds::default()
        },
        refill: Duration::from_secs(3600),
        ..Bounds::default()
    }
}

impl Stage {
    pub async fn set() -> Self {
        let region = Region::start(3).await;
        let world = World::with(region.spec.clone(), region.cloud.clone(), roomy()).await;
        let tight = World::with(region.spec.clone(), region.cloud.clone(), tight()).await;
        let mut stage = Self {
            region,
            world,
            tight,
            machines: BTreeMap::new(),
            overheard: std::sync::OnceLock::new(),
            enrolled: std::sync::Mutex::default(),
            nonce: std::sync::Mutex::default(),
            held: std::sync::Mutex::default(),
        };
        stage.machines().await;
        // From here on nothing in the region changes by itself.
        stage.region.lab.clock.set_speed(1.0);
        stage.look().await;
        stage
    }

    /// The stack's own nodes, and others.
    async fn machines(&mut self) {
        let region = &self.region;
        let (template, image) = (region.template(), region.image());
        let ours = [
            ("TagSpecification.1.ResourceType", "instance"),
            ("TagSpecification.1.Tag.1.Key", "mattermost:stack"),
            ("TagSpecification.1.Tag.1.Value", STACK),
        ];
        let by_hand = [
            ("ImageId", image),
            ("InstanceType", "m7i.large"),
            ("IamInstanceProfile.Name", super::region::ROLE),
        ];
        let plain = [&by_hand[..], &ours[..]].concat();
        let from_template = [("LaunchTemplate.LaunchTemplateId", template)];
        let subnet = region.foreign_subnet().await;
        let abroad = [&plain[..], &[("SubnetId", subnet.as_str())]].concat();
        let other_image = region.other_image().await;
        let imaged = [&from_template[..], &[("ImageId", other_image.as_str())]].concat();
        let other_template = region.other_template(&ours).await;
        let templated = [("LaunchTemplate.LaunchTemplateId", other_template.as_str())];

        let stray = region.launch(&from_template).await;
        let unlisted = region.launch(&plain).await;
        region.attach(&unlisted).await;
        let imaged = region.launch(&imaged).await;
        region.attach(&imaged).await;
        let templated = region.launch(&templated).await;
        region.attach(&templated).await;
        let abroad = region.launch(&abroad).await;
        let stopped = region.launch(&from_template).await;
        let terminated = region.launch(&from_template).await;
        // Without our tag the loop never sees it.
        let answer = region
            .call(
                "ec2",
                "RunInstances",
                &[&[("MinCount", "1"), ("MaxCount", "1")], &by_hand[..]].concat(),
            )
            .await;
        let untagged = super::operator::element(&answer, "instanceId");

        let seen = region.look().await;
        let named = [
            ("stray", &stray),
            ("unlisted", &unlisted),
            ("imaged", &imaged),
            ("templated", &templated),
            ("abroad", &abroad),
            ("stopped", &stopped),
            ("terminated", &terminated),
        ];
        for (name, id) in named {
            self.machines.insert(name, region.machine(&seen, id));
        }
        let nodes = region.nodes().await;
        let known: Vec<Machine> = self.machines.values().cloned().collect();
        let own = nodes
            .into_iter()
            .filter(|node| known.iter().all(|other| other.id != node.id));
        for (name, node) in ["ann", "bob", "carl"].into_iter().zip(own) {
            self.machines.insert(name, node);
        }
        let laptop = Machine {
            address: "127.0.0.77".parse().unwrap(),
            ..self.machines["ann"].clone()
        };
        self.machines.insert("laptop", laptop);
        let untagged = Machine {
            credentials: region.session(lab::iam::ACCOUNT, super::region::ROLE, &untagged),
            id: untagged,
            ..self.machines["bob"].clone()
        };
        self.machines.insert("untagged", untagged);
        for (action, id) in [
            ("StopInstances", &stopped),
            ("TerminateInstances", &terminated),
        ] {
            region.call("ec2", action, &[("InstanceId.1", id)]).await;
        }
        region
            .until("one is stopped, one is gone", |seen| {
                seen.instances[&stopped].state == "stopped"
                    && seen.instances[&terminated].state == "terminated"
            })
            .await;
    }

    pub fn machine(&self, name: &str) -> &Machine {
        &self.machines[name]
    }

    /// A look of the loop, for both services.
    pub async fn look(&self) {
        let observed = self.region.look().await;
        for world in [&self.world, &self.tight] {
            world.core.looks.send_modify(|look| {
                *look = Arc::new(Look {
                    number: look.number + 1,
                    at: Some(now()),
                    observed: observed.clone(),
                    ..Look::default()
                });
            });
        }
    }

    /// Refusals of both services, by check.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        let mut all = counters(&self.world.core.metrics.text());
        for (check, count) in counters(&self.tight.core.metrics.text()) {
            *all.entry(check).or_default() += count;
        }
        all
    }

    /// The node enrols as its agent would, and gets its certificate.
    pub async fn honest(&self, name: &'static str) -> KeyPair {
        let key = KeyPair::generate().unwrap();
        self.honest_at(name, key, 0).await
    }

    /// The same with this key and a clock that is so many seconds ahead.
    pub async fn honest_at(&self, name: &'static str, key: KeyPair, ahead: i64) -> KeyPair {
        let machine = self.machine(name);
        let channel = self.world.anonymous_from(Some(machine.address)).await;
        let mut dialogue = Dialogue::open(channel.unwrap()).await.unwrap();
        let kept = KeyPair::from_pem(&key.serialize_pem()).unwrap();
        let mut attempt = Attempt::honest(machine, key, &dialogue.nonce);
        attempt.signing.ahead = ahead;
        let answer = attempt.answer();
        let _ = self.overheard.set(answer.clone());
        let certificate = dialogue.answer(answer).await.unwrap();
        let chain = tls::certificates("the chain", &certificate.chain_pem).unwrap();
        let named = tls::peer_instance_id(&chain[0]).unwrap();
        assert_eq!(named.as_str(), machine.id);
        let row = self.world.core.store.node(&machine.id).await.unwrap();
        assert_eq!(row.unwrap().key_sha256, key_sha256(&kept));
        self.note_enrolled(&machine.id);
        kept
    }

    /// Enrolled by a case of its own, in the store alone.
    pub fn note_enrolled(&self, id: &str) {
        self.enrolled.lock().unwrap().insert(id.to_owned());
    }

    pub async fn nobody_else_enrolled(&self) {
        let snapshot = self.world.core.store.snapshot().await.unwrap();
        let nodes: BTreeSet<String> = snapshot.nodes.keys().cloned().collect();
        assert_eq!(nodes, *self.enrolled.lock().unwrap());
        let tight = self.tight.core.store.snapshot().await.unwrap();
        assert!(tight.nodes.is_empty());
    }

    pub fn note_nonce(&self, nonce: &[u8]) {
        *self.nonce.lock().unwrap() = hex::encode(nonce);
    }

    /// The nonce of the attempt that is being made.
    pub fn last_nonce(&self) -> String {
        self.nonce.lock().unwrap().clone()
    }

    /// Keeps open enrolments until what the case counted was looked at.
    pub fn hold(&self, dialogues: Vec<Dialogue>) {
        self.held.lock().unwrap().extend(dialogues);
    }

    /// Hangs up on them, and waits until that is counted, too.
    pub async fn release(&self) {
        let held = std::mem::take(&mut *self.held.lock().unwrap());
        let wanted = self.counters()["malformed"] + held.len() as u64;
        drop(held);
        while self.counters()["malformed"] < wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.hang_up(Vec::<()>::new()).await;
    }

    /// Ends what is held of the narrow service, and waits until it has room again.
    pub async fn hang_up<T>(&self, held: Vec<T>) {
        drop(held);
        let metric = "orchestrator_connections 0";
        while !self.tight.core.metrics.text().contains(metric) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A hand-shake that shows this, and the cut.
    pub async fn cut(&self, identity: &Identity) -> Heard {
        let trust = self.world.trust();
        let key = identity.key.serialize_pem();
        let config = tls::client_mutual(&trust, &identity.chain, &key).unwrap();
        let tcp = TcpStream::connect(self.world.address).await.unwrap();
        let name = tls::server_name(STACK).try_into().unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        // TLS 1.3: the verdict on our certificate comes after our own hand-shake is done.
        if let Ok(mut stream) = connector.connect(name, tcp).await {
            let read = stream.read(&mut [0; 64]).await;
            assert!(read.is_err() || read.is_ok_and(|bytes| bytes == 0));
        }
        Heard::Cut
    }

    /// Texts that must be nowhere.
    pub fn secrets(&self) -> Vec<String> {
        let of_machines = self.machines.values().flat_map(|machine| {
            let token = machine.credentials.session_token().unwrap().to_owned();
            [machine.credentials.secret_access_key().to_owned(), token]
        });
        of_machines.chain([PASSWORD.to_owned()]).collect()
    }

    pub async fn strike(self) {
        self.region.lab.stop().await;
    }
}

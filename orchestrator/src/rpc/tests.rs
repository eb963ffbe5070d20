//! The nodes' port over real TLS: who may ask, and what for. Nothing here needs AWS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fleet_proto::tls;
use fleet_proto::v1;
use fleet_proto::v1::enrolment_client::EnrolmentClient;
use fleet_proto::v1::node_client::NodeClient;
use plan::NodeGoal;
use plan::spec::{Answers, Spec, template};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpListener;
use tokio_stream::StreamExt;
use tonic::Code;
use tonic::transport::Channel;

use crate::authority::{Authority, Request};
use crate::core::{Core, Parts};
use crate::fleet::Facts;
use crate::reconcile::driver::now;
use crate::store::{Access, Epoch};

const STACK: &str = "mattermost";
const INSTANCE: &str = "i-0123456789abcdef0";
const PASSWORD: &str = "the password";

/// An orchestrator that serves nodes, its store in memory, its cloud out of reach.
struct World {
    core: Arc<Core>,
    address: SocketAddr,
    secret: SecretString,
}

impl Drop for World {
    fn drop(&mut self) {
        self.core.shutdown.cancel();
    }
}

/// A key with the certificate for it.
struct Identity {
    key: KeyPair,
    chain: String,
}

impl World {
    async fn start() -> Self {
        let spec = Spec::parse(&template(&Answers::default()), "test.toml").unwrap();
        let credentials = cloud::Credentials {
            access_key_id: "AKIAUNUSED".to_owned(),
            secret_access_key: "unused".to_owned().into(),
            session_token: None,
        };
        let regions = ["us-east-1".to_owned()];
        // Port 1 of loopback: nobody listens there.
        let cloud = cloud::Cloud::connect_with(
            STACK,
            "us-east-1",
            &regions,
            "http://127.0.0.1:1",
            &credentials,
        );
        let core = Core::new(Parts {
            spec,
            want: plan::Want::Up,
            cloud,
            database_trust: String::new(),
            release_trust: String::new(),
            holder: "test/1".to_owned(),
            clock: now,
        });
        let secret = Authority::generate(STACK, now()).unwrap();
        let authority = Authority::load(STACK, &secret).unwrap();
        core.authority.send_replace(Some(Arc::new(authority)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = super::server::serve_nodes(Arc::clone(&core), listener);
        tokio::spawn(async move { served.await.unwrap() });
        Self {
            core,
            address,
            secret,
        }
    }

    fn trust(&self) -> String {
        Authority::load(STACK, &self.secret).unwrap().pem().to_owned()
    }

    /// A node's certificate from this CA, for whichever stack.
    fn node(&self, stack: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let authority = Authority::load(stack, &self.secret).unwrap();
        let request = Request::parse(&csr(&key)).unwrap();
        let (chain, _) = authority.node(&request, INSTANCE, now()).unwrap();
        Identity { key, chain }
    }

    /// An operator's certificate from this CA.
    fn operator(&self) -> Identity {
        let stored: serde_json::Value = serde_json::from_str(self.secret.expose_secret()).unwrap();
        let text = |key: &str| stored[key].as_str().unwrap().to_owned();
        let ca = KeyPair::from_pem(&text("key")).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&text("certificate"), ca).unwrap();
        let key = KeyPair::generate().unwrap();
        let uri = tls::operator_uri(STACK, "ann");
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let leaf = params.signed_by(&key, &issuer).unwrap();
        Identity {
            key,
            chain: leaf.pem() + &text("certificate"),
        }
    }

    async fn channel(&self, config: rustls::ClientConfig) -> Result<Channel, tls::ChannelError> {
        let name = tls::server_name(STACK);
        tls::connect(&self.address.to_string(), &name, Arc::new(config), None).await
    }

    /// Without a certificate, as before enrolment.
    async fn anonymous(&self) -> Channel {
        let authority = Authority::load(STACK, &self.secret).unwrap();
        let pin = authority.sha256().parse().unwrap();
        self.channel(tls::client_pinned(pin)).await.unwrap()
    }

    async fn client(&self, identity: &Identity) -> NodeClient<Channel> {
        let key = identity.key.serialize_pem();
        let config = tls::client_mutual(&self.trust(), &identity.chain, &key).unwrap();
        NodeClient::new(self.channel(config).await.unwrap())
    }

    /// A node that enrolled with this key.
    async fn enrolled(&self) -> (Identity, NodeClient<Channel>) {
        let identity = self.node(STACK);
        let key = Request::parse(&csr(&identity.key)).unwrap();
        let key = key.key_sha256();
        self.core.store.enrol(INSTANCE, key).await.unwrap();
        let client = self.client(&identity).await;
        (identity, client)
    }

    async fn give(&self, goal: &NodeGoal) {
        self.core
            .store
            .set_goal(Epoch(0), INSTANCE, goal, "digest")
            .await
            .unwrap();
        self.core.fleet.ring();
    }

    fn know(&self) {
        self.core.fleet.set_facts(Facts {
            database: Some(Access {
                host: "db.example".to_owned(),
                port: 5432,
                database: "mattermost".to_owned(),
                user: "mattermost".to_owned(),
                password: PASSWORD.to_owned().into(),
                trust_pem: "ROOTS".into(),
            }),
            site_url: Some("https://chat.example".to_owned()),
            ..Facts::default()
        });
    }

    async fn say(&self, phase: &str, generation: u64) {
        let report = plan::observed::Node {
            phase: phase.to_owned(),
            generation,
            ..plan::observed::Node::default()
        };
        self.core.store.report(INSTANCE, &report).await.unwrap();
    }
}

fn csr(key: &KeyPair) -> Vec<u8> {
    let request = CertificateParams::default().serialize_request(key);
    request.unwrap().der().to_vec()
}

fn prepare(version: &str) -> NodeGoal {
    NodeGoal::Prepare {
        version: version.to_owned(),
        sha256: "ab".repeat(32),
        url: "https://mirror.example/m.tar.gz".to_owned(),
        rollout: None,
        settings: std::collections::BTreeMap::new(),
    }
}

fn asked(generation: u64) -> v1::SecretsRequest {
    v1::SecretsRequest {
        generation,
        artefact_sha256: "ab".repeat(32),
    }
}

/// The answer to each of the three calls.
async fn codes(mut client: NodeClient<Channel>) -> [Code; 3] {
    let (_reports, receiver) = tokio::sync::mpsc::channel::<v1::NodeReport>(1);
    let reports = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let code = |refused: tonic::Status| refused.code();
    let key = KeyPair::generate().unwrap();
    [
        client.session(reports).await.map_or_else(code, |_| Code::Ok),
        client.secrets(asked(1)).await.map_or_else(code, |_| Code::Ok),
        client
            .renew(v1::RenewRequest { csr: csr(&key) })
            .await
            .map_or_else(code, |_| Code::Ok),
    ]
}

#[tokio::test]
async fn only_enrolled_nodes_of_this_stack_are_heard() {
    let world = World::start().await;
    world.know();
    let nobody = [Code::Unauthenticated; 3];
    let anonymous = NodeClient::new(world.anonymous().await);
    assert_eq!(codes(anonymous).await, nobody, "no certificate");
    let stranger = world.client(&world.node(STACK)).await;
    assert_eq!(codes(stranger).await, nobody, "not enrolled");

    let (identity, client) = world.enrolled().await;
    let heard = codes(client.clone()).await;
    assert_eq!(heard, [Code::Ok, Code::FailedPrecondition, Code::PermissionDenied]);
    let foreign = world.client(&world.node("other")).await;
    assert_eq!(codes(foreign).await, nobody, "another stack");
    let operator = world.client(&world.operator()).await;
    assert_eq!(codes(operator).await, nobody, "an operator");

    world.core.store.revoke(&[INSTANCE.to_owned()]).await.unwrap();
    assert_eq!(codes(client).await, nobody, "revoked, on its old connection");
    let again = world.client(&identity).await;
    assert_eq!(codes(again).await, nobody, "revoked");
}

#[tokio::test]
async fn a_certificate_of_another_ca_does_not_even_connect() {
    let (world, other) = (World::start().await, World::start().await);
    world.enrolled().await;
    let forged = other.node(STACK);
    let key = forged.key.serialize_pem();
    let config = tls::client_mutual(&world.trust(), &forged.chain, &key).unwrap();
    // TLS 1.3 tells the client after its own hand-shake: the connection or the first call fails.
    if let Ok(channel) = world.channel(config).await {
        let refused = NodeClient::new(channel).secrets(asked(1)).await.unwrap_err();
        assert_ne!(refused.code(), Code::FailedPrecondition, "{refused:?}");
        assert_ne!(refused.code(), Code::Ok);
    }
}

#[tokio::test]
async fn secrets_wait_for_the_verified_artefact_of_that_generation() {
    let world = World::start().await;
    let (_, mut client) = world.enrolled().await;
    let refused = client.secrets(asked(0)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "no goal");
    world.give(&prepare("11.10.0")).await;
    for request in [
        asked(2),
        v1::SecretsRequest {
            artefact_sha256: "cd".repeat(32),
            ..asked(1)
        },
    ] {
        let refused = client.secrets(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "another artefact");
    }

    let mut asking = client.clone();
    let mut call = tokio::spawn(async move { asking.secrets(asked(1)).await });
    let before = [("enrolled", 1), ("fetched", 1), ("verified", 0), ("failed", 1), ("serving", 2)];
    for (phase, generation) in before {
        world.say(phase, generation).await;
        let early = tokio::time::timeout(Duration::from_millis(50), &mut call).await;
        assert!(early.is_err(), "answered in {phase} of {generation}: {early:?}");
    }
    world.say("verified", 1).await;
    let refused = call.await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "no database is known yet");
    world.know();
    let given = client.secrets(asked(1)).await.unwrap().into_inner();
    assert_eq!(given.database_password, PASSWORD);
    let source = &given.settings["MM_SQLSETTINGS_DATASOURCE"];
    assert!(source.starts_with("postgres://mattermost:"), "not a data source");

    world.give(&prepare("11.10.1")).await;
    let refused = client.secrets(asked(1)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "an older generation");
    world.give(&NodeGoal::Drain).await;
    let refused = client.secrets(asked(3)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "it is to leave");
}

#[tokio::test]
async fn a_certificate_is_renewed_for_the_same_key_alone() {
    let world = World::start().await;
    let (identity, mut client) = world.enrolled().await;
    let renewed = client
        .renew(v1::RenewRequest { csr: csr(&identity.key) })
        .await
        .unwrap()
        .into_inner();
    let chain = tls::certificates("the chain", &renewed.chain_pem).unwrap();
    assert_eq!(tls::peer_instance_id(&chain[0]).unwrap().as_str(), INSTANCE);
    assert_eq!(renewed.trust_pem, world.trust());
    let left = renewed.not_after - now().as_second();
    assert!((3500..=3600).contains(&left), "{left} s");
    let renewed = Identity {
        chain: renewed.chain_pem,
        ..identity
    };
    let answer = codes(world.client(&renewed).await).await;
    assert_eq!(answer[0], Code::Ok, "the new certificate is as good");

    let other = csr(&KeyPair::generate().unwrap());
    let named = CertificateParams::new(vec!["root.example".to_owned()])
        .unwrap()
        .serialize_request(&renewed.key)
        .unwrap();
    let cases = [
        (other, Code::PermissionDenied),
        (named.der().to_vec(), Code::InvalidArgument),
        (vec![0x30], Code::InvalidArgument),
        (vec![0; 4096], Code::InvalidArgument),
    ];
    for (csr, code) in cases {
        let refused = client.renew(v1::RenewRequest { csr }).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused:?}");
    }
}

#[tokio::test]
async fn a_session_brings_goals_down_and_reports_up() {
    let world = World::start().await;
    let (_, mut client) = world.enrolled().await;
    let (reports, receiver) = tokio::sync::mpsc::channel(4);
    let receiver = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut goals = client.session(receiver).await.unwrap().into_inner();
    // A goal that cannot be told completely is not told at all.
    world.give(&prepare("11.10.0")).await;
    world.know();
    let first = goals.next().await.unwrap().unwrap();
    let version = |desired: &v1::Desired| desired.artefact.as_ref().map(|it| it.version.clone());
    assert_eq!((first.generation, version(&first).as_deref()), (1, Some("11.10.0")));
    world.give(&NodeGoal::Drain).await;
    let second = goals.next().await.unwrap().unwrap();
    assert_eq!((second.generation, second.goal()), (2, v1::Goal::Drain));

    let mut changes = world.core.store.changed.subscribe();
    let report = v1::NodeReport {
        generation: 2,
        phase: v1::Phase::Draining.into(),
        note: "closing\u{1b}[31m 5 connections".to_owned(),
        ..v1::NodeReport::default()
    };
    reports.send(report).await.unwrap();
    let kept = loop {
        changes.changed().await.unwrap();
        let node = world.core.store.node(INSTANCE).await.unwrap().unwrap();
        if let Some(report) = node.report {
            break report;
        }
    };
    assert_eq!((kept.phase.as_str(), kept.generation, kept.connected), ("draining", 2, true));
    assert_eq!(kept.note, "closing[31m 5 connections");
    assert!(world.core.fleet.is_connected(INSTANCE));

    drop((reports, goals, client));
    loop {
        changes.changed().await.unwrap();
        let node = world.core.store.node(INSTANCE).await.unwrap().unwrap();
        if node.report.is_some_and(|report| !report.connected) {
            break;
        }
    }
    assert!(!world.core.fleet.is_connected(INSTANCE));
}

/// One attempt to enrol with this answer: the nonce, and what came of it.
async fn enrol(channel: Channel, answer: v1::EnrollAnswer) -> (Vec<u8>, Code) {
    let (answers, receiver) = tokio::sync::mpsc::channel(1);
    let receiver = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut client = EnrolmentClient::new(channel);
    let mut steps = match client.enroll(receiver).await {
        Ok(steps) => steps.into_inner(),
        Err(refused) => return (Vec::new(), refused.code()),
    };
    let challenge = steps.next().await.unwrap().unwrap();
    let Some(v1::enroll_step::Step::Challenge(challenge)) = challenge.step else {
        panic!("the first step is no challenge");
    };
    answers.send(answer).await.unwrap();
    let verdict = steps.next().await.unwrap();
    let refused = verdict.expect_err("nothing that is sent here is an identity");
    assert_eq!(refused.message(), "not accepted");
    (challenge.nonce, refused.code())
}

#[tokio::test]
async fn enrolment_tells_nothing_and_slows_down_whoever_tries_on() {
    let world = World::start().await;
    let channel = world.anonymous().await;
    let key = KeyPair::generate().unwrap();
    let identity = v1::SignedRequest {
        method: "POST".to_owned(),
        url: "https://sts.us-east-1.amazonaws.com/".to_owned(),
        ..v1::SignedRequest::default()
    };
    let with_csr = v1::EnrollAnswer {
        csr: csr(&key),
        ..v1::EnrollAnswer::default()
    };
    let answers = [
        v1::EnrollAnswer::default(),
        with_csr.clone(),
        v1::EnrollAnswer {
            identity: Some(identity.clone()),
            ..v1::EnrollAnswer::default()
        },
        v1::EnrollAnswer {
            identity: Some(identity),
            ..with_csr.clone()
        },
        with_csr,
    ];
    let mut nonces = std::collections::BTreeSet::new();
    for answer in answers {
        let (nonce, code) = enrol(channel.clone(), answer).await;
        assert_eq!((nonce.len(), code), (32, Code::PermissionDenied));
        assert!(nonces.insert(nonce), "a nonce came twice");
    }
    let (_, code) = enrol(channel, v1::EnrollAnswer::default()).await;
    assert_eq!(code, Code::ResourceExhausted);
    assert_eq!(world.core.store.node(INSTANCE).await.unwrap(), None);
}

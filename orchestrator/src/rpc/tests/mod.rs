//! The nodes' port over real TLS: who may ask, and what for. `corpus` holds the attacks.

mod corpus;
mod enrolment;
mod gone;
mod known;
mod node;
mod rotation;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use fleet_proto::tls;
use fleet_proto::v1;
use fleet_proto::v1::node_client::NodeClient;
use plan::NodeGoal;
use plan::observed::{Instance, Member};
use plan::spec::{Answers, Spec, template};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpListener;
use tonic::transport::Channel;

use super::bounds::Bounds;
use crate::authority::{Authority, Request};
use crate::core::{Core, Parts};
use crate::fleet::Facts;
use crate::reconcile::driver::now;
use crate::store::{Access, Epoch};

const STACK: &str = "mattermost";
const INSTANCE: &str = "i-0123456789abcdef0";
const PASSWORD: &str = "the password";
/// Where the tests' own nodes call from, and the group that they are shown in.
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const SHOWN: &str = "shown";

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
        let (spec, cloud) = Self::parts();
        Self::with(spec, cloud, Bounds::default()).await
    }

    fn parts() -> (Spec, cloud::Cloud) {
        let spec = Spec::parse(&template(&Answers::default()), "test.toml").unwrap();
        // Port 1 of loopback: nobody listens there.
        (spec, corpus::region::connect("http://127.0.0.1:1"))
    }

    async fn with(spec: Spec, cloud: cloud::Cloud, bounds: Bounds) -> Self {
        let world = Self::unsure(spec, cloud, bounds).await;
        world.core.store.believe_memory();
        world.show(INSTANCE, LOOPBACK);
        world
    }

    /// As it is before its loop looked for the first time.
    async fn unsure(spec: Spec, cloud: cloud::Cloud, bounds: Bounds) -> Self {
        let core = Core::new(Parts {
            spec,
            want: plan::Want::Up,
            cloud,
            database_trust: String::new(),
            release_trust: String::new(),
            release_key: String::new(),
            holder: "test/1".to_owned(),
            holds_host_lock: false,
            clock: now,
        });
        let secret = Authority::generate(STACK, now()).unwrap();
        let authority = Authority::load(STACK, &secret).unwrap();
        core.authority.send_replace(Some(Arc::new(authority)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = super::server::serve_nodes(Arc::clone(&core), listener, bounds);
        core.tasks.spawn(async move { served.await.unwrap() });
        Self {
            core,
            address,
            secret,
        }
    }

    fn show(&self, id: &str, address: IpAddr) {
        show(&self.core, id, address);
    }

    /// From now on looks show no such instance.
    fn hide(&self, id: &str) {
        self.core.looks.send_modify(|look| {
            Arc::make_mut(look).observed.instances.remove(id);
        });
    }

    fn trust(&self) -> String {
        Authority::load(STACK, &self.secret)
            .unwrap()
            .pem()
            .to_owned()
    }

    /// A node's certificate from this CA, for whichever stack.
    fn node(&self, stack: &str) -> Identity {
        self.node_named(stack, INSTANCE, KeyPair::generate().unwrap())
    }

    fn node_named(&self, stack: &str, instance: &str, key: KeyPair) -> Identity {
        let authority = Authority::load(stack, &self.secret).unwrap();
        let request = Request::parse(&csr(&key)).unwrap();
        let (chain, _) = authority.node(&request, instance, now()).unwrap();
        Identity { key, chain }
    }

    /// An operator's certificate from this CA.
    fn operator(&self) -> Identity {
        let mut params = CertificateParams::default();
        let uri = tls::operator_uri(STACK, "ann");
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.signed(&params)
    }

    /// Whatever this CA may be made to sign.
    fn signed(&self, params: &CertificateParams) -> Identity {
        let stored: serde_json::Value = serde_json::from_str(self.secret.expose_secret()).unwrap();
        let text = |key: &str| stored[key].as_str().unwrap().to_owned();
        let ca = KeyPair::from_pem(&text("key")).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&text("certificate"), ca).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &issuer).unwrap();
        Identity {
            key,
            chain: leaf.pem() + &text("certificate"),
        }
    }

    async fn channel(
        &self,
        config: rustls::ClientConfig,
        from: Option<IpAddr>,
    ) -> Result<Channel, tls::ChannelError> {
        let name = tls::server_name(STACK);
        tls::connect(&self.address.to_string(), &name, Arc::new(config), from).await
    }

    /// Without a certificate, as before enrolment.
    async fn anonymous(&self) -> Channel {
        self.anonymous_from(None).await.unwrap()
    }

    async fn anonymous_from(&self, from: Option<IpAddr>) -> Result<Channel, tls::ChannelError> {
        let authority = Authority::load(STACK, &self.secret).unwrap();
        let pin = authority.sha256().parse().unwrap();
        self.channel(tls::client_pinned(pin), from).await
    }

    async fn client(&self, identity: &Identity) -> NodeClient<Channel> {
        NodeClient::new(self.shown(identity).await.unwrap())
    }

    /// A connection that shows this certificate.
    async fn shown(&self, identity: &Identity) -> Result<Channel, tls::ChannelError> {
        let key = identity.key.serialize_pem();
        let config = tls::client_mutual(&self.trust(), &identity.chain, &key).unwrap();
        self.channel(config, None).await
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
        self.give_to(INSTANCE, goal).await;
    }

    async fn give_to(&self, instance: &str, goal: &NodeGoal) {
        self.core
            .store
            .set_goal(Epoch(0), instance, goal, "digest")
            .await
            .unwrap();
        self.core.fleet.ring();
    }

    fn know(&self) {
        self.core.fleet.set_facts(Facts {
            database: Access {
                host: "db.example".to_owned(),
                port: 5432,
                database: "mattermost".to_owned(),
                user: "mattermost".to_owned(),
                password: PASSWORD.to_owned().into(),
                trust_pem: "ROOTS".into(),
            },
            replicas: Vec::new(),
            site_url: "https://chat.example".to_owned(),
            secret_settings: std::collections::BTreeMap::new(),
            licences: crate::licence::Licences::default(),
            secrets_revision: "v1".to_owned(),
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

/// From now on looks show a running node of the stack there.
fn show(core: &Core, id: &str, address: IpAddr) {
    core.looks.send_modify(|look| {
        let look = Arc::make_mut(look);
        look.at = Some(now());
        let instance = Instance {
            id: id.to_owned(),
            state: "running".to_owned(),
            private_ip: Some(address.to_string()),
            ..Instance::default()
        };
        look.observed.instances.insert(id.to_owned(), instance);
        let group = look.observed.groups.entry(SHOWN.to_owned()).or_default();
        group.members.insert(id.to_owned(), Member::default());
    });
}

fn csr(key: &KeyPair) -> Vec<u8> {
    let request = CertificateParams::default().serialize_request(key);
    request.unwrap().der().to_vec()
}

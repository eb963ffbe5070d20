//! The CA is replaced under a fleet: over real TLS, with the secret in the lab, without a restart.

use std::sync::atomic::{AtomicI64, Ordering};

use fleet_proto::tls::Pin;
use jiff::Timestamp;
use lab::{Config, Lab};
use tonic::Code;

use super::corpus::region::connect;
use super::*;
use crate::authority::Step;
use crate::reconcile::rotation;
use crate::store::Snapshot;

/// The lab's Secrets Manager, with a CA in it, and a core that loaded it.
async fn secrets(clock: fn() -> Timestamp) -> (Arc<Lab>, tempfile::TempDir, Arc<Core>) {
    let directory = tempfile::tempdir().unwrap();
    let (lab, address) = Lab::start(Config::new(directory.path())).await.unwrap();
    let spec = Spec::parse(&template(&Answers::default()), "test.toml").unwrap();
    let core = Core::new(Parts {
        spec,
        want: plan::Want::Up,
        cloud: connect(&format!("http://{address}")),
        database_trust: String::new(),
        release_trust: String::new(),
        release_key: String::new(),
        holder: "test/1".to_owned(),
        holds_host_lock: false,
        clock,
    });
    core.store.believe_memory();
    let secret = Authority::generate(STACK, core.now()).unwrap();
    let name = core.spec.names().ca_secret();
    core.cloud
        .create_secret(&name, &secret, "fleet-ca")
        .await
        .unwrap();
    let authority = Authority::load(STACK, &secret).unwrap();
    core.authority.send_replace(Some(Arc::new(authority)));
    (lab, directory, core)
}

fn signs(core: &Core) -> Arc<Authority> {
    core.authority.borrow().clone().unwrap()
}

fn step(core: &Core) -> &'static str {
    signs(core).step().name()
}

async fn advance(core: &Arc<Core>) {
    let step = signs(core).step().clone();
    rotation::advance(core, &step, "ann").await.unwrap();
}

/// A node as its disk holds it.
struct Node {
    key: KeyPair,
    chain: String,
    trust: String,
    pin: Pin,
}

struct Served {
    core: Arc<Core>,
    address: SocketAddr,
}

impl Served {
    async fn tls(&self, config: rustls::ClientConfig) -> Result<Channel, tls::ChannelError> {
        let name = tls::server_name(STACK);
        tls::connect(&self.address.to_string(), &name, Arc::new(config), None).await
    }

    fn node(&self, instance: &str) -> Node {
        let authority = signs(&self.core);
        let key = KeyPair::generate().unwrap();
        let request = Request::parse(&csr(&key)).unwrap();
        let certificate = self.core.certificate(&request, instance).unwrap();
        Node {
            key,
            chain: certificate.chain_pem,
            trust: certificate.trust_pem,
            pin: authority.sha256().parse().unwrap(),
        }
    }

    /// Whether the node's certificate is heard: a call that every node may make.
    async fn heard(&self, node: &Node) -> Result<v1::Certificate, Code> {
        let key = node.key.serialize_pem();
        let config = tls::client_mutual(&node.trust, &node.chain, &key).unwrap();
        let Ok(channel) = self.tls(config).await else {
            return Err(Code::Unavailable);
        };
        let csr = csr(&node.key);
        NodeClient::new(channel)
            .renew(v1::RenewRequest { csr })
            .await
            .map(tonic::Response::into_inner)
            .map_err(|status| status.code())
    }

    /// Waits until hand-shakes show this CA: the configuration changes beside the accepting task.
    async fn shows(&self, pin: Pin) {
        while self.tls(tls::client_pinned(pin)).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    async fn shows_no_more(&self, pin: Pin) {
        while self.tls(tls::client_pinned(pin)).await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}

fn roots(pem: &str) -> usize {
    tls::certificates("the trusted CAs", pem).unwrap().len()
}

#[tokio::test]
async fn the_ca_is_replaced_under_a_running_fleet() {
    let (lab, _directory, core) = secrets(now).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let served = Served {
        core: Arc::clone(&core),
        address: listener.local_addr().unwrap(),
    };
    let serving = super::super::server::serve_nodes(Arc::clone(&core), listener, Bounds::default());
    tokio::spawn(async move { serving.await.unwrap() });

    let mut early = served.node(INSTANCE);
    let key = Request::parse(&csr(&early.key)).unwrap();
    core.store.enrol(INSTANCE, key.key_sha256()).await.unwrap();
    show(&core, INSTANCE, LOOPBACK);
    let old_pin = early.pin;
    served.shows(old_pin).await;
    let config = tls::client_mutual(&early.trust, &early.chain, &early.key.serialize_pem());
    let open = served.tls(config.unwrap()).await.unwrap();

    // Announced: the old one signs, renewal brings both.
    advance(&core).await;
    assert_eq!(step(&core), "announced");
    let renewed = served.heard(&early).await.unwrap();
    assert_eq!(roots(&renewed.trust_pem), 2);
    let learnt = Node {
        key: KeyPair::from_pem(&early.key.serialize_pem()).unwrap(),
        chain: renewed.chain_pem,
        trust: renewed.trust_pem,
        pin: old_pin,
    };

    // Signing: nobody is cut off, whatever it knows.
    advance(&core).await;
    assert_eq!(step(&core), "signing");
    let new_pin: Pin = signs(&core).sha256().parse().unwrap();
    assert_ne!(new_pin, old_pin);
    served.shows(new_pin).await;
    served.heard(&learnt).await.expect("it knows both");
    served
        .heard(&early)
        .await
        .expect("it knows the old one alone");
    let of_old_template = served.tls(tls::client_pinned(old_pin)).await;
    of_old_template.expect("launched from an older template version");
    // The session of before lives on and renews under the new one.
    let renewed = NodeClient::new(open)
        .renew(v1::RenewRequest {
            csr: csr(&early.key),
        })
        .await
        .unwrap()
        .into_inner();
    let chain = tls::certificates("the chain", &renewed.chain_pem).unwrap();
    assert_eq!(Pin::of(&chain[1]), new_pin);
    (early.chain, early.trust) = (renewed.chain_pem, renewed.trust_pem);

    // Retired: the old one opens nothing any more; who learnt the new one stays.
    advance(&core).await;
    assert_eq!(step(&core), "steady");
    served.shows_no_more(old_pin).await;
    served
        .heard(&early)
        .await
        .expect("renewed under the new one");
    served
        .heard(&learnt)
        .await
        .expect_err("a certificate of the old CA");
    let again = tls::client_pinned_or(old_pin, &early.trust).unwrap();
    served
        .tls(again)
        .await
        .expect("the disk knows more than the user data");
    assert_eq!(roots(&served.heard(&early).await.unwrap().trust_pem), 1);
    core.shutdown.cancel();
    lab.stop().await;
}

#[tokio::test]
async fn two_who_take_the_same_step_do_not_both_take_it() {
    let (lab, _directory, core) = secrets(now).await;
    let first = signs(&core).step().clone();
    advance(&core).await;
    // Whoever still believes the old step is told.
    let late = rotation::advance(&core, &first, "bob").await.unwrap_err();
    assert!(late.to_string().contains("`announced`"), "{late:#}");
    // And who read the secret before the other wrote it is refused by Secrets Manager.
    let name = core.spec.names().ca_secret();
    let secret = core.cloud.read_secret(&name).await.unwrap();
    let (one, word) = Authority::advance(STACK, &secret, now()).unwrap();
    let later = now() + jiff::SignedDuration::from_secs(7);
    let (other, same) = Authority::advance(STACK, &secret, later).unwrap();
    assert_eq!(word, same);
    core.cloud.replace_secret(&name, &one, &word).await.unwrap();
    core.cloud
        .replace_secret(&name, &other, &word)
        .await
        .unwrap_err();
    // Another orchestrator loads what is there, and signs as this one will.
    let read = core.cloud.read_secret(&name).await.unwrap();
    let loaded = Authority::load(STACK, &read).unwrap();
    assert!(matches!(loaded.step(), Step::Signing { .. }));
    assert!(!format!("{loaded:?}").contains("PRIVATE"));
    lab.stop().await;
}

static LATER: AtomicI64 = AtomicI64::new(0);

fn later() -> Timestamp {
    now() + jiff::SignedDuration::from_secs(LATER.load(Ordering::Relaxed))
}

#[tokio::test]
async fn the_loop_leads_through_the_steps_and_waits_for_nodes() {
    let (lab, _directory, core) = secrets(later).await;
    let pass = |seconds| LATER.fetch_add(seconds, Ordering::Relaxed);
    let instance = plan::observed::Instance {
        id: INSTANCE.to_owned(),
        state: "running".to_owned(),
        ..plan::observed::Instance::default()
    };
    let mut observed = plan::Observed::default();
    observed.instances.insert(INSTANCE.to_owned(), instance);
    core.store.enrol(INSTANCE, "key").await.unwrap();
    let snapshot: Snapshot = core.store.snapshot().await.unwrap();
    let turn = || rotation::go_on(&core, &observed, &snapshot);

    turn().await;
    assert_eq!(step(&core), "steady", "nobody asked");
    advance(&core).await;
    turn().await;
    assert_eq!(step(&core), "announced", "nodes have not renewed yet");
    pass(3901);
    turn().await;
    assert_eq!(step(&core), "signing");
    pass(3901);
    turn().await;
    assert_eq!(step(&core), "signing", "a node is away");
    let (_, waits) = rotation::waits(&core, &observed, &snapshot).unwrap();
    assert_eq!(waits.len(), 1, "{waits:?}");
    assert!(waits[0].contains(INSTANCE), "{waits:?}");
    let session = core.fleet.join(INSTANCE);
    turn().await;
    assert_eq!(step(&core), "steady");
    core.fleet.leave(INSTANCE, session);
    lab.stop().await;
}

//! The store on a real Postgres, over TLS, beside the store in memory.

mod attach;
mod configuration;
mod equal;
mod journal;
mod lease;
mod nodes;
mod provision;
mod rollouts;

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use plan::NodeGoal;
use plan::intent::{Mode, Phase, RolloutIntent, Slot, Target};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use standin::scratch_postgres::{ScratchPostgres, ServerTls};
use tokio::sync::OnceCell;

use super::*;

/// A server with its root.
struct Server {
    postgres: ScratchPostgres,
    trust: Arc<str>,
}

static SHARED: OnceCell<Server> = OnceCell::const_new();

/// The server of this process; every test has a database of its own.
async fn shared() -> &'static Server {
    SHARED.get_or_init(Server::start).await
}

/// A root, and a certificate from it for an address: both PEM, with the key.
fn certify(address: IpAddr) -> (String, ServerTls) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(DnType::CommonName, "root of the database");
    let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![address.to_string()])
        .unwrap()
        .signed_by(&key, &root)
        .unwrap();
    let tls = ServerTls {
        certificate: leaf.pem(),
        key: key.serialize_pem(),
    };
    (root.pem(), tls)
}

impl Server {
    async fn start() -> Self {
        let mut trust = String::new();
        let postgres = ScratchPostgres::start_tls(|address| {
            let (root, tls) = certify(address);
            trust = root;
            tls
        })
        .await
        .unwrap();
        Self {
            postgres,
            trust: trust.into(),
        }
    }

    fn access(&self, database: &str, user: &str, password: &str) -> Access {
        let (address, port) = self.postgres.address();
        Access {
            host: address.to_string(),
            port,
            database: database.to_owned(),
            user: user.to_owned(),
            password: password.to_owned().into(),
            trust_pem: Arc::clone(&self.trust),
        }
    }

    /// An empty database.
    async fn database(&self) -> Access {
        let name = self.postgres.create_database().await.unwrap();
        self.access(&name, "postgres", "unused")
    }

    /// A plain connection beside the store's.
    async fn beside(&self, access: &Access) -> Client {
        self.postgres.connect(&access.database).await.unwrap()
    }
}

/// A store of the stack `chat` in that database.
async fn attached(access: &Access) -> Store {
    let store = Store::in_memory("chat");
    store.attach(access.clone()).await.unwrap();
    store
}

/// A store in memory and one in a database of its own.
async fn both() -> [Store; 2] {
    [
        Store::in_memory("chat"),
        attached(&shared().await.database().await).await,
    ]
}

/// Its lease, held by `us/1`.
async fn held(store: &Store) -> Epoch {
    let ttl = std::time::Duration::from_secs(3600);
    store.lease("us/1", ttl).await.unwrap().unwrap()
}

/// So many seconds after the beginning.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn target(version: &str) -> Target {
    Target {
        image_id: "ami-1".to_owned(),
        template_version: Some(1),
        version: version.to_owned(),
        sha256: "00".repeat(32),
        url: "https://mirror.example/m.tar.gz".to_owned(),
        settings: BTreeMap::new(),
        files: None,
    }
}

/// A rollout that was just asked for.
pub(crate) fn rollout(number: u64) -> RolloutIntent {
    RolloutIntent {
        id: format!("r-{number}"),
        generation: number,
        from: target("11.9.0"),
        to: target("11.10.0"),
        phase: Phase::Requested,
        entered: at(0),
        mode: Mode::Overlap,
        requested: at(0),
        paused: false,
        paused_since: None,
        paused_seconds: 0,
        promote: false,
        abort: false,
        failure: Vec::new(),
        migrator: None,
        migrations: None,
        pinned: None,
        bad_windows: 0,
        windows: 0,
        verified: std::collections::BTreeSet::default(),
        joined: std::collections::BTreeSet::default(),
        blue_group: None,
        blue_slot: Slot::A,
        failed: std::collections::BTreeSet::default(),
        failures: BTreeMap::new(),
        migrations_before: None,
        history: Vec::new(),
        watch: None,
        unproven: None,
        restore: plan::intent::RestorePoint::Snapshot,
        probe: None,
    }
}

fn goal(version: &str) -> NodeGoal {
    NodeGoal::Prepare {
        version: version.to_owned(),
        sha256: "00".repeat(32),
        url: "https://mirror.example/m.tar.gz".to_owned(),
        rollout: None,
        settings: BTreeMap::new(),
        configuration: plan::ConfigurationHome::Database,
        files: None,
        licence: None,
    }
}

fn said(phase: &str) -> plan::observed::Node {
    plan::observed::Node {
        phase: phase.to_owned(),
        connected: true,
        at: Some(at(1)),
        ..plan::observed::Node::default()
    }
}

fn happened(what: &str) -> NewEvent {
    NewEvent {
        subject: "chat".to_owned(),
        what: what.to_owned(),
        cause: "a test".to_owned(),
    }
}

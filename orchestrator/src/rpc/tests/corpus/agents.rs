//! The other way round: orchestrators that are not the stack's, or that want a node to go back. The
//! agent's own session, with its identity on disk, against a server over real TLS.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use fleet_proto::tls::{self, Door, TlsIncoming, Turned};
use fleet_proto::v1;
use fleet_proto::v1::enrolment_server::{Enrolment, EnrolmentServer};
use fleet_proto::v1::node_server::{Node, NodeServer};
use mattermost_agent::boot::{Instance, UserData};
use mattermost_agent::identity::Identity as Kept;
use mattermost_agent::imds::Imds;
use mattermost_agent::layout::Layout;
use mattermost_agent::progress::Store;
use mattermost_agent::report::Reporter;
use mattermost_agent::session::Session;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair};
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::super::{Identity, STACK, World};
use crate::authority::{Authority, Request as Csr};
use crate::reconcile::driver::now;

const ID: &str = "i-00000000000000f01";
const DEADLINE: Duration = Duration::from_secs(30);

/// An orchestrator that says what it is told to, and tells what it hears.
struct False {
    says: Vec<v1::Desired>,
    heard: mpsc::UnboundedSender<String>,
}

type Goals = Pin<Box<dyn Stream<Item = Result<v1::Desired, Status>> + Send>>;
type Steps = Pin<Box<dyn Stream<Item = Result<v1::EnrollStep, Status>> + Send>>;

#[tonic::async_trait]
impl Node for False {
    type SessionStream = Goals;

    async fn session(
        &self,
        request: Request<Streaming<v1::NodeReport>>,
    ) -> Result<Response<Goals>, Status> {
        let _ = self.heard.send("session".to_owned());
        let heard = self.heard.clone();
        let mut reports = request.into_inner();
        tokio::spawn(async move {
            while let Some(Ok(report)) = reports.next().await {
                let _ = heard.send(report.note);
            }
        });
        let (sender, receiver) = mpsc::channel(16);
        for desired in self.says.clone() {
            sender
                .send(Ok(desired))
                .await
                .map_err(|_| Status::cancelled(""))?;
        }
        // Kept open, as a session is.
        tokio::spawn(async move { sender.closed().await });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn secrets(
        &self,
        _: Request<v1::SecretsRequest>,
    ) -> Result<Response<v1::SecretsReply>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn renew(
        &self,
        _: Request<v1::RenewRequest>,
    ) -> Result<Response<v1::Certificate>, Status> {
        Err(Status::unimplemented(""))
    }
}

#[tonic::async_trait]
impl Enrolment for False {
    type EnrollStream = Steps;

    async fn enroll(
        &self,
        _: Request<Streaming<v1::EnrollAnswer>>,
    ) -> Result<Response<Steps>, Status> {
        let _ = self.heard.send("enrolment".to_owned());
        Err(Status::unimplemented(""))
    }
}

struct Cuts(mpsc::UnboundedSender<String>);

impl tls::Keeper for Cuts {
    fn knows(&self, _: IpAddr) -> bool {
        true
    }

    fn refused(&self, why: Turned, _: IpAddr) {
        let _ = self.0.send(why.to_string());
    }

    fn holds(&self, _: usize) {}
}

/// Serves with this certificate; what it hears.
async fn serve(
    shown: &Identity,
    trust: &str,
    says: Vec<v1::Desired>,
) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let (heard, receiver) = mpsc::unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let key = shown.key.serialize_pem();
    let config = tls::server_optional_client_auth(&shown.chain, &key, trust).unwrap();
    let door = Door::new(tls::Bounds::default(), Cuts(heard.clone()));
    let configs = watch::channel(Arc::new(config)).1;
    let says = Arc::new(False { says, heard });
    let server = tonic::transport::Server::builder()
        .add_service(EnrolmentServer::from_arc(Arc::clone(&says)))
        .add_service(NodeServer::from_arc(says))
        .serve_with_incoming(TlsIncoming::watching(listener, configs, door));
    tokio::spawn(server);
    (address, receiver)
}

/// An agent's session with what an enrolled node has on disk, or with nothing.
struct Agent {
    desired: watch::Receiver<Option<v1::Desired>>,
    stop: CancellationToken,
    _root: tempfile::TempDir,
}

impl Agent {
    fn start(world: &World, orchestrator: SocketAddr, enrolled: bool) -> Self {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path());
        let id = ID.parse().unwrap();
        let mut identity = Kept::load(&layout, &id).unwrap();
        let authority = Authority::load(STACK, &world.secret).unwrap();
        if enrolled {
            let request = Csr::parse(&identity.csr().unwrap()).unwrap();
            let certificate = world.core.certificate(&request, ID).unwrap();
            identity.accept(certificate).unwrap();
        }
        let user_data = serde_json::json!({
            "version": 1,
            "stack": STACK,
            "orchestrators": [orchestrator.to_string()],
            "ca_sha256": authority.sha256(),
        });
        let stop = CancellationToken::new();
        let (sender, desired) = watch::channel(None);
        let session = Session {
            // Port 1 of loopback: nobody listens there, and nobody must be asked for credentials.
            imds: Arc::new(Imds::new("http://127.0.0.1:1").unwrap()),
            instance: Instance {
                id,
                address: "127.0.0.1".parse().unwrap(),
                region: "us-east-1".to_owned(),
            },
            user_data: UserData::parse(&user_data.to_string()).unwrap(),
            identity,
            store: Store::new(&layout),
            is_kept: true,
            reporter: Reporter::new(),
            desired: sender,
            channel: watch::Sender::new(None),
        };
        tokio::spawn(session.run(stop.clone()));
        Self {
            desired,
            stop,
            _root: root,
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn server_of(stack: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![tls::server_name(stack)]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

/// Orchestrators that an agent must not speak to, by what they show.
async fn impostors() -> (World, Vec<(&'static str, Identity)>) {
    let (world, other) = (World::start().await, World::start().await);
    let mut with_ours_behind = other.signed(&server_of(STACK));
    with_ours_behind.chain.push_str(&world.trust());
    let mut expired = server_of(STACK);
    let ago = |seconds| OffsetDateTime::from_unix_timestamp(now().as_second() - seconds).unwrap();
    (expired.not_before, expired.not_after) = (ago(7200), ago(3600));
    let key = KeyPair::generate().unwrap();
    let chain = server_of(STACK).self_signed(&key).unwrap().pem() + &world.trust();
    let shown = vec![
        ("of another CA", other.signed(&server_of(STACK))),
        ("of another CA, with ours behind it", with_ours_behind),
        (
            "that signed itself, with our CA behind it",
            Identity { key, chain },
        ),
        (
            "of another stack, by our CA",
            world.signed(&server_of("other")),
        ),
        ("whose certificate has expired", world.signed(&expired)),
        ("that is a node of ours", world.node(STACK)),
        ("that is an operator of ours", world.operator()),
    ];
    (world, shown)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_speaks_to_no_orchestrator_but_its_own() {
    let (world, impostors) = impostors().await;
    let mut count = 0;
    for (what, shown) in impostors {
        for enrolled in [false, true] {
            let (address, mut heard) = serve(&shown, &world.trust(), Vec::new()).await;
            let agent = Agent::start(&world, address, enrolled);
            // It tries, ends the hand-shake, and tries again.
            for _ in 0..2 {
                let next = tokio::time::timeout(DEADLINE, heard.recv()).await.unwrap();
                let next = next.unwrap();
                assert!(next.starts_with("tls_"), "one {what}: {next}");
            }
            assert!(agent.desired.borrow().is_none());
            count += 1;
        }
    }
    // Past the test harness, which keeps what tests print that pass.
    let _ = writeln!(
        std::io::stderr(),
        "agents: {count} false orchestrators, none spoken to"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_never_goes_back_to_an_older_generation() {
    let world = World::start().await;
    let of = |generation: u64, rollout: &str| v1::Desired {
        generation,
        goal: v1::Goal::Drain.into(),
        rollout: rollout.to_owned(),
        ..v1::Desired::default()
    };
    let says = vec![
        of(5, "first"),
        of(4, "older"),
        of(5, "the same number, other words"),
        of(0, "none"),
        of(6, "last"),
    ];
    let shown = world.signed(&server_of(STACK));
    let (address, mut heard) = serve(&shown, &world.trust(), says).await;
    let mut agent = Agent::start(&world, address, true);
    let accepted = tokio::time::timeout(DEADLINE, async {
        let mut accepted = Vec::new();
        loop {
            agent.desired.changed().await.unwrap();
            let desired = agent.desired.borrow_and_update().clone().unwrap();
            accepted.push((desired.generation, desired.rollout));
            if desired.generation == 6 {
                return accepted;
            }
        }
    });
    // A watch may skip what was replaced at once; it must never show what was refused.
    let accepted = accepted.await.unwrap();
    for one in &accepted {
        let right = [(5, "first".to_owned()), (6, "last".to_owned())];
        assert!(right.contains(one), "{accepted:?}");
    }
    assert_eq!(heard.recv().await.as_deref(), Some("session"));
    let refusal = tokio::time::timeout(DEADLINE, async {
        loop {
            let note = heard.recv().await.unwrap();
            if note.starts_with("refused desired state") {
                return note;
            }
        }
    });
    println!("older generation: {}", refusal.await.unwrap());
    let _ = writeln!(std::io::stderr(), "agents: 3 ways back, none taken");
}

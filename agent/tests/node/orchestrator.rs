//! An orchestrator that enrols whoever answers its nonce, keeps what nodes report, and sends what a
//! test wants.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use fleet_proto::id::InstanceId;
use fleet_proto::tls::{self, Peer, TlsIncoming};
use fleet_proto::v1::enroll_step::Step;
use fleet_proto::v1::enrolment_server::{Enrolment, EnrolmentServer};
use fleet_proto::v1::node_server::{Node, NodeServer};
use fleet_proto::v1::{
    Certificate, Challenge, Desired, EnrollAnswer, EnrollStep, Failure, NodeReport, Phase,
    RenewRequest, SecretsReply, SecretsRequest,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PublicKeyData, SanType,
};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, WatchStream};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

pub const STACK: &str = "chat";
const NONCE: [u8; 32] = [42; 32];

pub struct Ca(pub CertifiedIssuer<'static, KeyPair>);

fn named(name: &str) -> DistinguishedName {
    let mut all = DistinguishedName::new();
    all.push(DnType::CommonName, name);
    all
}

impl Ca {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = named("a test's CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn server(&self, name: SanType) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        // OpenSSL takes a certificate with its issuer's name for a self-signed one.
        params.distinguished_name = named("a test's server");
        params.subject_alt_names = vec![name];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = params.signed_by(&key, &self.0).unwrap();
        (leaf.pem() + &self.0.pem(), key.serialize_pem())
    }

    fn node(
        &self,
        csr: &[u8],
        instance: &InstanceId,
        life: Duration,
    ) -> Result<Certificate, Status> {
        let bad = |_| Status::invalid_argument("CSR");
        let mut request =
            CertificateSigningRequestParams::from_der(&csr.to_vec().into()).map_err(bad)?;
        request.params.subject_alt_names = vec![SanType::URI(
            tls::node_uri(STACK, instance).try_into().unwrap(),
        )];
        request.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let not_after = now() + life;
        request.params.not_after = not_after.into();
        let leaf = request.signed_by(&self.0).map_err(bad)?;
        Ok(Certificate {
            chain_pem: leaf.pem(),
            trust_pem: self.0.pem(),
            not_after: not_after
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap()
                .as_secs() as i64,
        })
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "certificates need the time of day"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

#[derive(Default)]
pub struct Calls {
    pub enrolled: Vec<String>,
    pub renewed: u32,
    pub secrets: Vec<SecretsRequest>,
    pub sessions: u32,
}

/// What the services share.
pub struct Shared {
    ca: Arc<Ca>,
    instance: InstanceId,
    desired: watch::Sender<Desired>,
    reports: mpsc::UnboundedSender<NodeReport>,
    pub calls: Mutex<Calls>,
    pub secrets: Mutex<HashMap<String, String>>,
    pub password: Mutex<String>,
    pub life: Mutex<Duration>,
}

pub struct Orchestrator {
    pub address: SocketAddr,
    pub shared: Arc<Shared>,
    pub reports: mpsc::UnboundedReceiver<NodeReport>,
    server: tokio::task::JoinHandle<()>,
}

impl Orchestrator {
    pub async fn start(ca: Arc<Ca>, instance: &str) -> Self {
        let (sender, reports) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            ca,
            instance: instance.parse().unwrap(),
            desired: watch::Sender::new(Desired::default()),
            reports: sender,
            calls: Mutex::default(),
            secrets: Mutex::default(),
            password: Mutex::default(),
            life: Mutex::new(Duration::from_secs(3600)),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = serve(listener, Arc::clone(&shared));
        Self {
            address,
            shared,
            reports,
            server,
        }
    }

    pub fn want(&self, desired: Desired) {
        self.shared.desired.send_replace(desired);
    }

    /// Gone, with every connection, as by `kill -9`.
    pub fn stop(&self) {
        self.server.abort();
    }

    /// Back on the same address.
    pub async fn start_again(&mut self) {
        let _ = (&mut self.server).await;
        let listener = loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        self.server = serve(listener, Arc::clone(&self.shared));
    }

    /// The next report that satisfies the condition; what came before it is passed over.
    pub async fn until(
        &mut self,
        what: &str,
        mut good: impl FnMut(&NodeReport) -> bool,
    ) -> NodeReport {
        let mut last = None;
        let found = tokio::time::timeout(Duration::from_secs(60), async {
            loop {
                let report = self.reports.recv().await.unwrap();
                if good(&report) {
                    return report;
                }
                last = Some(report);
            }
        })
        .await;
        found.unwrap_or_else(|_| panic!("no report: {what}; the last one was {last:#?}"))
    }

    /// What the next report of a failure says of it.
    pub async fn failure(&mut self) -> Failure {
        let failed = |report: &NodeReport| report.phase() == Phase::Failed;
        self.until("failed", failed).await.failure.unwrap()
    }
}

fn serve(listener: TcpListener, shared: Arc<Shared>) -> tokio::task::JoinHandle<()> {
    let name = SanType::DnsName(tls::server_name(STACK).try_into().unwrap());
    let (chain, key) = shared.ca.server(name);
    let config = tls::server_optional_client_auth(&chain, &key, &shared.ca.0.pem()).unwrap();
    tokio::spawn(async move {
        tonic::transport::Server::builder()
            .add_service(EnrolmentServer::from_arc(Arc::clone(&shared)))
            .add_service(NodeServer::from_arc(shared))
            .serve_with_incoming(TlsIncoming::new(listener, config))
            .await
            .unwrap();
    })
}

fn caller<T>(shared: &Shared, request: &Request<T>) -> Result<(), Status> {
    let peer = request
        .extensions()
        .get::<Peer>()
        .expect("TlsIncoming sets it");
    match peer.name().map(|name| name.holder) {
        Some(tls::Holder::Node(instance)) if instance == shared.instance => Ok(()),
        _ => Err(Status::unauthenticated("no certificate of this node")),
    }
}

/// The checks that need no AWS: nonce and key are signed, and the key is the CSR's.
fn verify(answer: &EnrollAnswer) -> Result<(), Status> {
    let identity = answer
        .identity
        .as_ref()
        .ok_or(Status::invalid_argument("identity"))?;
    let header = |name: &str| {
        identity
            .headers
            .iter()
            .find(|header| header.name == name)
            .map(|header| header.value.clone())
            .ok_or(Status::permission_denied(format!("{name} is missing")))
    };
    let csr = CertificateSigningRequestParams::from_der(&answer.csr.clone().into())
        .map_err(|_| Status::invalid_argument("CSR"))?;
    let key = hex::encode(Sha256::digest(csr.public_key.subject_public_key_info()));
    let good = identity.method == "POST"
        && identity.url == "https://sts.eu-central-1.amazonaws.com/"
        && identity.body == b"Action=GetCallerIdentity&Version=2011-06-15"
        && header("x-fleet-nonce")? == hex::encode(NONCE)
        && header("x-fleet-key-sha256")? == key
        && header("authorization")?.contains("x-fleet-key-sha256;x-fleet-nonce");
    if good {
        Ok(())
    } else {
        Err(Status::permission_denied("not enrolled"))
    }
}

type Reply<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Enrolment for Shared {
    type EnrollStream = Reply<EnrollStep>;

    async fn enroll(
        &self,
        request: Request<Streaming<EnrollAnswer>>,
    ) -> Result<Response<Self::EnrollStream>, Status> {
        let mut answers = request.into_inner();
        let (sender, receiver) = mpsc::channel(2);
        let (ca, instance) = (Arc::clone(&self.ca), self.instance.clone());
        let life = *self.life.lock().unwrap();
        let challenge = Step::Challenge(Challenge {
            nonce: NONCE.to_vec(),
        });
        sender
            .send(Ok(EnrollStep {
                step: Some(challenge),
            }))
            .await
            .unwrap();
        self.calls
            .lock()
            .unwrap()
            .enrolled
            .push(instance.to_string());
        tokio::spawn(async move {
            let step = async {
                let answer = answers
                    .message()
                    .await?
                    .ok_or(Status::aborted("no answer"))?;
                verify(&answer)?;
                let certificate = ca.node(&answer.csr, &instance, life)?;
                Ok(EnrollStep {
                    step: Some(Step::Certificate(certificate)),
                })
            };
            let _ = sender.send(step.await).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

#[tonic::async_trait]
impl Node for Shared {
    type SessionStream = Reply<Desired>;

    async fn session(
        &self,
        request: Request<Streaming<NodeReport>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        caller(self, &request)?;
        self.calls.lock().unwrap().sessions += 1;
        let mut inbound = request.into_inner();
        let reports = self.reports.clone();
        tokio::spawn(async move {
            while let Ok(Some(report)) = inbound.message().await {
                let _ = reports.send(report);
            }
        });
        let desired = WatchStream::new(self.desired.subscribe())
            .filter(|desired| desired.generation > 0)
            .map(Ok);
        Ok(Response::new(Box::pin(desired)))
    }

    async fn secrets(
        &self,
        request: Request<SecretsRequest>,
    ) -> Result<Response<SecretsReply>, Status> {
        caller(self, &request)?;
        self.calls
            .lock()
            .unwrap()
            .secrets
            .push(request.into_inner());
        Ok(Response::new(SecretsReply {
            settings: self.secrets.lock().unwrap().clone(),
            database_password: self.password.lock().unwrap().clone(),
        }))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<Certificate>, Status> {
        caller(self, &request)?;
        self.calls.lock().unwrap().renewed += 1;
        let life = *self.life.lock().unwrap();
        Ok(Response::new(self.ca.node(
            &request.into_inner().csr,
            &self.instance,
            life,
        )?))
    }
}

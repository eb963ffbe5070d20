//! A release server over real TLS that does what a test says, however bad.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, SanType};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;
use tokio_rustls::TlsAcceptor;

use super::fixture::{NEW, artefact};
use crate::wanted::Artefact;

/// What the server does with one request.
#[derive(Clone)]
pub enum Do {
    /// These bytes, then close.
    Say(Vec<u8>),
    /// These bytes, then silence.
    Stall(Vec<u8>),
    /// These bytes, then one byte at a time, for ever.
    Drip(Vec<u8>),
    /// These bytes, then as many more as the client takes.
    Flood(Vec<u8>),
    /// When as many as the barrier counts have asked.
    Together(Arc<Barrier>, Box<Do>),
    /// As the request is.
    By(Arc<dyn Fn(&Asked) -> Do + Send + Sync>),
}

/// One request.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// As `bytes=0-99`.
    pub range: String,
    pub if_range: String,
    /// How many came before.
    pub turn: usize,
}

impl Asked {
    /// First and last byte.
    pub fn bytes(&self) -> (usize, usize) {
        let (from, last) = self.range["bytes=".len()..].split_once('-').unwrap();
        (from.parse().unwrap(), last.parse().unwrap_or(usize::MAX))
    }
}

pub struct Server {
    address: SocketAddr,
    trust_pem: String,
    pub asked: Arc<Mutex<Vec<Asked>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// The n-th request gets the n-th answer, later ones the last.
    pub async fn new(answers: Vec<Do>) -> Self {
        Self::named(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)), answers).await
    }

    pub async fn named(name: SanType, answers: Vec<Do>) -> Self {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![name];
        Self::with(params, answers).await
    }

    /// Its certificate's last day has passed.
    pub async fn expired(answers: Vec<Do>) -> Self {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST))];
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        Self::with(params, answers).await
    }

    async fn with(params: CertificateParams, answers: Vec<Do>) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(fleet_proto::tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(
                    acceptor.clone(),
                    tcp,
                    answers.clone(),
                    Arc::clone(&seen),
                ));
            }
        });
        Self {
            address,
            trust_pem: certificate.pem(),
            asked,
            task,
        }
    }

    pub fn artefact(&self, bytes: &[u8]) -> Artefact {
        Artefact {
            url: format!("https://{}/m.tar.gz", self.address)
                .parse()
                .unwrap(),
            trust_pem: self.trust_pem.clone(),
            ..artefact(NEW, bytes)
        }
    }
}

async fn serve(
    acceptor: TlsAcceptor,
    tcp: TcpStream,
    answers: Vec<Do>,
    seen: Arc<Mutex<Vec<Asked>>>,
) {
    let Ok(tls) = acceptor.accept(tcp).await else {
        return;
    };
    let mut stream = BufReader::new(tls);
    let mut line = String::new();
    let mut asked = Asked::default();
    while stream
        .read_line(&mut line)
        .await
        .is_ok_and(|length| length > 2)
    {
        let (name, value) = line.split_once(':').unwrap_or_default();
        match name.to_lowercase().as_str() {
            "range" => value.trim().clone_into(&mut asked.range),
            "if-range" => value.trim().clone_into(&mut asked.if_range),
            _ => {}
        }
        line.clear();
    }
    {
        let mut seen = seen.lock().unwrap();
        asked.turn = seen.len();
        seen.push(asked.clone());
    }
    let mut answer = answers[asked.turn.min(answers.len() - 1)].clone();
    if let Do::By(decide) = &answer {
        answer = decide(&asked);
    }
    if let Do::Together(barrier, then) = answer {
        barrier.wait().await;
        answer = *then;
    }
    match answer {
        Do::Together(..) | Do::By(_) => unreachable!("decided once"),
        Do::Say(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
        Do::Stall(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.flush().await;
            std::future::pending::<()>().await;
        }
        Do::Drip(bytes) => {
            let _ = stream.write_all(&bytes).await;
            while stream.write_all(b"x").await.is_ok() && stream.flush().await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Do::Flood(bytes) => {
            let _ = stream.write_all(&bytes).await;
            while stream.write_all(&[0x1f; 16 * 1024]).await.is_ok() {}
        }
    }
}

//! A release server over real TLS that does what a test says, however bad.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, SanType};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
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
}

pub struct Server {
    address: SocketAddr,
    trust_pem: String,
    pub ranges: Arc<Mutex<Vec<String>>>,
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
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![name];
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
        let ranges = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&ranges);
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
            ranges,
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
    ranges: Arc<Mutex<Vec<String>>>,
) {
    let Ok(tls) = acceptor.accept(tcp).await else {
        return;
    };
    let mut stream = BufReader::new(tls);
    let mut line = String::new();
    let mut range = String::new();
    while stream
        .read_line(&mut line)
        .await
        .is_ok_and(|length| length > 2)
    {
        if let Some(value) = line.to_lowercase().strip_prefix("range:") {
            value.trim().clone_into(&mut range);
        }
        line.clear();
    }
    let turn = {
        let mut ranges = ranges.lock().unwrap();
        ranges.push(range);
        ranges.len() - 1
    };
    let answer = answers[turn.min(answers.len() - 1)].clone();
    match answer {
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

//! Tarballs as the real ones are packed, and a server that gives them out by HTTPS.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use flate2::Compression;
use flate2::write::GzEncoder;
use rcgen::SanType;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::orchestrator::Ca;

/// `mattermost/` with what the agent asks for. `program` is the server's script.
pub fn tarball(program: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut add = |name: &str, mode: u32, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        archive
            .append_data(&mut header, format!("mattermost/{name}"), content)
            .unwrap();
    };
    add("bin/mattermost", 0o755, program.as_bytes());
    add("config/config.json", 0o600, b"{}");
    add("i18n/en.json", 0o644, b"[]");
    add("templates/mail.html", 0o644, b"<p>");
    add("client/root.html", 0o644, b"<html>");
    add("logs/.keep", 0o644, b"");
    archive.into_inner().unwrap().finish().unwrap()
}

pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Gives the newest of its files at every path, with ranges.
pub struct Releases {
    pub url: String,
    pub trust_pem: String,
    file: Arc<Mutex<Vec<u8>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Releases {
    pub async fn start() -> Self {
        let ca = Ca::new();
        let (chain, key) = ca.server(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        let mut config =
            fleet_proto::tls::server_optional_client_auth(&chain, &key, &ca.0.pem()).unwrap();
        config.alpn_protocols.clear();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let file = Arc::new(Mutex::new(Vec::new()));
        let served = Arc::clone(&file);
        let task = tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (acceptor, served) = (acceptor.clone(), Arc::clone(&served));
                tokio::spawn(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else {
                        return;
                    };
                    let mut stream = BufReader::new(tls);
                    let mut line = String::new();
                    while stream
                        .read_line(&mut line)
                        .await
                        .is_ok_and(|length| length > 2)
                    {
                        line.clear();
                    }
                    let body = served.lock().unwrap().clone();
                    let head = format!(
                        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                        body.len()
                    );
                    let _ = stream.write_all(head.as_bytes()).await;
                    let _ = stream.write_all(&body).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        Self {
            url: format!("https://{address}/mattermost.tar.gz"),
            trust_pem: ca.0.pem(),
            file,
            task,
        }
    }

    pub fn publish(&self, tarball: Vec<u8>) {
        *self.file.lock().unwrap() = tarball;
    }
}

impl Drop for Releases {
    fn drop(&mut self) {
        self.task.abort();
    }
}

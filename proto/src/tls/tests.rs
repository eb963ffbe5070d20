//! Both hand-shakes over loopback, and what each must refuse.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tonic::codegen::tokio_stream::StreamExt;

use super::*;
use crate::id::InstanceId;

struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new(year: i32) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.not_before = rcgen::date_time_ymd(year, 1, 1);
        params.not_after = rcgen::date_time_ymd(year + 50, 1, 1);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, name: SanType, purpose: ExtendedKeyUsagePurpose) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![name];
        params.extended_key_usages = vec![purpose];
        let leaf = params.signed_by(&key, &self.0).unwrap();
        (leaf.pem() + &self.0.pem(), key.serialize_pem())
    }

    fn server(&self, name: &str) -> (String, String) {
        self.issue(
            SanType::DnsName(name.try_into().unwrap()),
            ExtendedKeyUsagePurpose::ServerAuth,
        )
    }

    fn node(&self, uri: &str) -> (String, String) {
        self.issue(
            SanType::URI(uri.try_into().unwrap()),
            ExtendedKeyUsagePurpose::ClientAuth,
        )
    }
}

/// Serves until dropped; yields who came.
async fn serve(config: ServerConfig) -> (SocketAddr, tokio::sync::mpsc::Receiver<Peer>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut incoming = TlsIncoming::new(listener, config);
    let address = incoming.local_address().unwrap();
    let (sender, receiver) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Some(Ok(connection)) = incoming.next().await {
            if sender.send(connection.connect_info()).await.is_err() {
                return;
            }
            held.push(connection);
        }
    });
    (address, receiver)
}

use tonic::transport::server::Connected;

async fn shake(config: ClientConfig, address: SocketAddr, name: &str) -> std::io::Result<()> {
    use tokio::io::AsyncReadExt;
    let tcp = TcpStream::connect(address).await?;
    let mut stream = TlsConnector::from(Arc::new(config))
        .connect(name.to_owned().try_into().unwrap(), tcp)
        .await?;
    // TLS 1.3: the server's verdict on our certificate arrives after our own hand-shake is done.
    let verdict = tokio::time::timeout(
        std::time::Duration::from_millis(300),
        stream.read(&mut [0; 1]),
    )
    .await;
    match verdict {
        Ok(Err(error)) => Err(error),
        Ok(Ok(_)) | Err(_) => Ok(()),
    }
}

const STACK: &str = "chat";

#[tokio::test]
async fn pinned_client_trusts_its_ca_and_nothing_else() {
    let ca = Ca::new(2020);
    let other = Ca::new(2020);
    let expired = Ca::new(1970);
    let name = server_name(STACK);
    let cases = [
        ("right", &ca, name.clone(), &ca, true),
        ("other CA", &other, name.clone(), &ca, false),
        ("other name", &ca, server_name("foreign"), &ca, false),
        (
            "pin of an expired CA",
            &expired,
            name.clone(),
            &expired,
            false,
        ),
    ];
    for (case, issuer, presented, pinned, expected) in cases {
        let (chain, key) = issuer.server(&presented);
        let server = server_optional_client_auth(&chain, &key, &ca.0.pem()).unwrap();
        let (address, mut peers) = serve(server).await;
        let result = shake(client_pinned(Pin::of(pinned.0.der())), address, &name).await;
        assert_eq!(result.is_ok(), expected, "{case}: {result:?}");
        if expected {
            assert!(peers.recv().await.unwrap().certificates.is_empty());
        }
    }
}

#[tokio::test]
async fn chain_of_another_ca_with_the_pinned_ca_appended_is_refused() {
    let ca = Ca::new(2020);
    let other = Ca::new(2020);
    let name = server_name(STACK);
    let (chain, key) = other.server(&name);
    let chain = chain + &ca.0.pem();
    let server = server_optional_client_auth(&chain, &key, &ca.0.pem()).unwrap();
    let (address, _peers) = serve(server).await;
    assert!(
        shake(client_pinned(Pin::of(ca.0.der())), address, &name)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn mutual_client_is_named_and_foreign_ones_are_refused() {
    let ca = Ca::new(2020);
    let other = Ca::new(2020);
    let name = server_name(STACK);
    let instance: InstanceId = "i-0123456789abcdef0".parse().unwrap();
    for (issuer, expected) in [(&ca, true), (&other, false)] {
        let (chain, key) = ca.server(&name);
        let server = server_optional_client_auth(&chain, &key, &ca.0.pem()).unwrap();
        let (address, mut peers) = serve(server).await;
        let (chain, key) = issuer.node(&node_uri(STACK, &instance));
        let client = client_mutual(&ca.0.pem(), &chain, &key).unwrap();
        let result = shake(client, address, &name).await;
        assert_eq!(result.is_ok(), expected, "{result:?}");
        if expected {
            let peer = peers.recv().await.unwrap();
            assert_eq!(
                peer.name(),
                Some(PeerName {
                    stack: STACK.to_owned(),
                    holder: Holder::Node(instance.clone())
                })
            );
            assert_eq!(
                peer_instance_id(&peer.certificates[0]),
                Some(instance.clone())
            );
        }
    }
}

#[tokio::test]
async fn required_client_auth_refuses_the_anonymous() {
    let ca = Ca::new(2020);
    let name = server_name(STACK);
    let (chain, key) = ca.server(&name);
    let server = server_required_client_auth(&chain, &key, &ca.0.pem()).unwrap();
    let (address, _peers) = serve(server).await;
    assert!(
        shake(client_pinned(Pin::of(ca.0.der())), address, &name)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn without_a_certificate_a_connection_ends_whatever_it_does() {
    use tokio::io::AsyncReadExt;
    let ca = Ca::new(2020);
    let name = server_name(STACK);
    let (chain, key) = ca.server(&name);
    let config = server_optional_client_auth(&chain, &key, &ca.0.pem()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let bounds = Bounds {
        anonymous: std::time::Duration::from_millis(200),
        ..Bounds::default()
    };
    let configs = tokio::sync::watch::channel(Arc::new(config)).1;
    let mut incoming = TlsIncoming::watching(listener, configs, Door::new(bounds, ()));
    let served = tokio::spawn(async move {
        let mut connection = incoming.next().await.unwrap().unwrap();
        // It says nothing, as a client that never begins to speak HTTP/2.
        connection.read(&mut [0; 1]).await
    });
    let tcp = TcpStream::connect(address).await.unwrap();
    let pinned = client_pinned(Pin::of(ca.0.der()));
    let mut silent = TlsConnector::from(Arc::new(pinned))
        .connect(name.try_into().unwrap(), tcp)
        .await
        .unwrap();
    let ended = served.await.unwrap().unwrap_err();
    assert_eq!(ended.kind(), std::io::ErrorKind::TimedOut);
    let read = silent.read(&mut [0; 1]).await;
    assert!(read.is_err() || read.is_ok_and(|bytes| bytes == 0));
}

#[test]
fn only_our_names_are_names() {
    let cases = [
        (
            "spiffe://chat.mattermost.internal/node/i-0123456789abcdef0",
            true,
        ),
        (
            "spiffe://chat.mattermost.internal/operator/ana@example.org",
            true,
        ),
        ("spiffe://chat.mattermost.internal/node/someone", false),
        (
            "spiffe://chat.mattermost.internal/root/i-0123456789abcdef0",
            false,
        ),
        (
            "spiffe://mattermost.internal/node/i-0123456789abcdef0",
            false,
        ),
        ("spiffe://chat.example.org/node/i-0123456789abcdef0", false),
        (
            "https://chat.mattermost.internal/node/i-0123456789abcdef0",
            false,
        ),
        ("spiffe://chat.mattermost.internal/operator/", false),
        ("spiffe://chat.mattermost.internal/operator/a/b", false),
    ];
    for (uri, expected) in cases {
        assert_eq!(PeerName::parse(uri).is_some(), expected, "{uri}");
    }
}

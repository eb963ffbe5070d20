//! HTTPS listeners with certificates from the lab's ACM.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::*;

async fn connect(world: &World, to: SocketAddr, protocol: &[u8]) -> TlsStream<TcpStream> {
    let ca = CertificateDer::from_pem_slice(world.lab.ca.pem().as_bytes()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca).unwrap();
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_root_certificates(roots)
    .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(to).await.unwrap();
    let name = ServerName::try_from("chat.example.com").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn https_speaks_both_versions_with_a_certificate_of_the_lab() {
    let world = World::start().await;
    let backend = Backend::start("a").await;
    let serving = world.serving(&[&backend]).await;
    let issued = world
        .control(
            "POST",
            "/lab/acm/certificates",
            r#"{"domain": "chat.example.com", "region": "us-east-1"}"#,
        )
        .await;
    let certificate = issued["arn"].as_str().unwrap();
    let listener = |certificate: &str| {
        vec![
            ("LoadBalancerArn".to_owned(), serving.balancer.clone()),
            ("Protocol".to_owned(), "HTTPS".to_owned()),
            ("Port".to_owned(), "18443".to_owned()),
            (
                "Certificates.member.1.CertificateArn".to_owned(),
                certificate.to_owned(),
            ),
            (
                "SslPolicy".to_owned(),
                "ELBSecurityPolicy-TLS13-1-2-2021-06".to_owned(),
            ),
            (
                "DefaultActions.member.1.Type".to_owned(),
                "forward".to_owned(),
            ),
            (
                "DefaultActions.member.1.TargetGroupArn".to_owned(),
                serving.group.clone(),
            ),
        ]
    };
    let unknown = listener("arn:aws:acm:us-east-1:123456789012:certificate/none");
    assert_eq!(
        world
            .try_call("CreateListener", &borrowed(&unknown))
            .await
            .unwrap_err(),
        "CertificateNotFound"
    );
    world
        .call("CreateListener", &borrowed(&listener(certificate)))
        .await;
    let to = SocketAddr::new(serving.address.ip(), 18_443);

    let stream = connect(&world, to, b"h2").await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = Request::get("https://chat.example.com/headers")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let seen = response.into_body().collect().await.unwrap().to_bytes();
    let seen = String::from_utf8_lossy(&seen).into_owned();
    for expected in [
        "x-forwarded-proto: https",
        "x-forwarded-port: 18443",
        "host: chat.example.com",
    ] {
        assert!(seen.contains(expected), "{expected} not in {seen}");
    }

    world
        .set_balancer(&serving.balancer, "routing.http2.enabled", "false")
        .await;
    let stream = connect(&world, to, b"http/1.1").await;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::get("/")
        .header("host", "chat.example.com")
        .body(Empty::<Bytes>::new())
        .unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
    world.lab.stop().await;
}

//! Too much, too slow, too many.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use fleet_proto::tls;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::super::STACK;
use super::enrolment::{Dialogue, answered, heard};
use super::stage::Stage;
use super::{Case, Heard, case};
use crate::authority::Authority;

/// A connection to the service with narrow bounds.
async fn tcp(stage: &Stage, from: IpAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(stage.tight.address).await
}

/// The same, its hand-shake done without a certificate.
async fn anonymous(stage: &Stage, from: IpAddr) -> tokio_rustls::client::TlsStream<TcpStream> {
    let authority = Authority::load(STACK, &stage.tight.secret).unwrap();
    let config = tls::client_pinned(authority.sha256().parse().unwrap());
    let name = tls::server_name(STACK).try_into().unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let tcp = tcp(stage, from).await.unwrap();
    connector.connect(name, tcp).await.unwrap()
}

/// Whether it is still open: a TLS server says nothing before the client does.
async fn is_cut(stream: &mut TcpStream, within: Duration) -> bool {
    tokio::time::timeout(within, stream.read(&mut [0; 64]))
        .await
        .is_ok_and(|read| read.is_err() || read.is_ok_and(|bytes| bytes == 0))
}

fn address(last: u8) -> IpAddr {
    [127, 0, 9, last].into()
}

async fn open(stage: &Stage, from: IpAddr) -> Result<Dialogue, tonic::Status> {
    let channel = stage.tight.anonymous_from(Some(from)).await.unwrap();
    Dialogue::open(channel).await
}

pub fn cases() -> Vec<Case> {
    [messages(), numbers()].into_iter().flatten().collect()
}

fn messages() -> Vec<Case> {
    vec![
        answered(
            "an answer of 100 KB",
            "too_large",
            |_, _| {},
            |_, answer| {
                answer.agent_version = "x".repeat(100_000);
            },
        ),
        answered(
            "a signed request of 40 KB",
            "too_large",
            |_, _| {},
            |_, answer| {
                answer.identity.as_mut().unwrap().body.resize(40_000, b'x');
            },
        ),
        case("no answer to the nonce", "too_slow", |stage| {
            Box::pin(async move {
                let ann = stage.machine("ann").address;
                let channel = stage.world.anonymous_from(Some(ann)).await.unwrap();
                let mut dialogue = Dialogue::open(channel).await.unwrap();
                heard(dialogue.verdict().await)
            })
        }),
        case("an end instead of an answer", "malformed", |stage| {
            Box::pin(async move {
                let ann = stage.machine("ann").address;
                let channel = stage.world.anonymous_from(Some(ann)).await.unwrap();
                let mut dialogue = Dialogue::open(channel).await.unwrap();
                dialogue.answers = None;
                heard(dialogue.verdict().await)
            })
        }),
    ]
}

fn numbers() -> Vec<Case> {
    vec![
        case(
            "a sixth attempt at once from one address",
            "rate_limit",
            |stage| {
                Box::pin(async move {
                    let ann = stage.machine("ann").address;
                    let channel = stage.tight.anonymous_from(Some(ann)).await.unwrap();
                    let mut held = Vec::new();
                    for _ in 0..5 {
                        held.push(Dialogue::open(channel.clone()).await.unwrap());
                    }
                    let refused = Dialogue::open(channel).await.err().unwrap();
                    stage.hold(held);
                    Heard::Refusal(refused)
                })
            },
        ),
        case(
            "strangers who hold every place for strangers",
            "busy",
            |stage| {
                Box::pin(async move {
                    let held = vec![
                        open(stage, address(1)).await.unwrap(),
                        open(stage, address(2)).await.unwrap(),
                    ];
                    let refused = open(stage, address(3)).await.err().unwrap();
                    stage.hold(held);
                    Heard::Refusal(refused)
                })
            },
        ),
        case(
            "a fourth connection of one address without a certificate",
            "connections_of_source",
            |stage| {
                Box::pin(async move {
                    let bob = stage.machine("bob").address;
                    let mut oldest = anonymous(stage, bob).await;
                    let mut held = Vec::new();
                    for _ in 0..3 {
                        held.push(stage.tight.anonymous_from(Some(bob)).await.unwrap());
                    }
                    // Code on a node cannot keep its agent out: who is new comes in, the oldest goes.
                    let mut said = Vec::new();
                    let end = oldest.read_to_end(&mut said);
                    let end = tokio::time::timeout(Duration::from_secs(20), end).await;
                    assert!(end.is_ok(), "it is still open");
                    stage.hang_up(held).await;
                    Heard::Cut
                })
            },
        ),
        case(
            "connections of many strangers",
            "connections_of_strangers",
            |stage| {
                Box::pin(async move {
                    let mut held = Vec::new();
                    for last in 10..16 {
                        let from = Some(address(last));
                        held.push(stage.tight.anonymous_from(from).await.unwrap());
                    }
                    let mut seventh = tcp(stage, address(16)).await.unwrap();
                    assert!(is_cut(&mut seventh, Duration::from_secs(20)).await);
                    // A node of ours still gets in.
                    let carl = stage.machine("carl").address;
                    held.push(stage.tight.anonymous_from(Some(carl)).await.unwrap());
                    stage.hang_up(held).await;
                    Heard::Cut
                })
            },
        ),
        case(
            "more connections than there may be",
            "connections",
            |stage| {
                Box::pin(async move {
                    let mut held = Vec::new();
                    for name in ["ann", "bob", "carl"] {
                        let from = Some(stage.machine(name).address);
                        for _ in 0..3 {
                            if held.len() < 8 {
                                held.push(stage.tight.anonymous_from(from).await.unwrap());
                            }
                        }
                    }
                    let mut ninth = tcp(stage, address(17)).await.unwrap();
                    assert!(is_cut(&mut ninth, Duration::from_secs(20)).await);
                    stage.hang_up(held).await;
                    Heard::Cut
                })
            },
        ),
        case("a connection that says nothing", "tls_slow", |stage| {
            Box::pin(async move {
                let mut silent = tcp(stage, address(20)).await.unwrap();
                assert!(is_cut(&mut silent, Duration::from_secs(20)).await);
                Heard::Cut
            })
        }),
        case("a hand-shake byte by byte", "tls_slow", |stage| {
            Box::pin(async move {
                let mut slow = tcp(stage, address(21)).await.unwrap();
                // The head of a TLS record that announces 512 bytes of ClientHello, then a drip.
                let head = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
                for byte in head.into_iter().chain(std::iter::repeat(0)) {
                    if slow.write_all(&[byte]).await.is_err()
                        || is_cut(&mut slow, Duration::from_millis(50)).await
                    {
                        break;
                    }
                }
                Heard::Cut
            })
        }),
        case("plain HTTP to the TLS port", "tls_hand_shake", |stage| {
            Box::pin(async move {
                let mut plain = tcp(stage, address(22)).await.unwrap();
                plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
                let mut answer = Vec::new();
                let _ = plain.read_to_end(&mut answer).await;
                assert!(answer.len() < 16, "an alert at most: {answer:?}");
                Heard::Cut
            })
        }),
    ]
}

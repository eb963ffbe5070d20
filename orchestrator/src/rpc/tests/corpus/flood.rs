//! Thousands of attempts at once, from strangers and from a node that was taken over: AWS hears of
//! hardly any, and honest nodes get in meanwhile.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fleet_proto::tls;
use rcgen::KeyPair;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::World;
use super::enrolment::Dialogue;
use super::forge::Attempt;
use super::region::{Machine, Region, connect};
use crate::core::Look;
use crate::rpc::Bounds;

/// At least so many attempts are made.
const ATTEMPTS: u64 = 4000;
/// "Within seconds", on a machine that does much else.
const GETS_IN: Duration = Duration::from_secs(20);
/// Connections that say nothing, of the places for strangers.
const SILENT: u8 = 150;
const PLACES: usize = 200;

/// Stands in front of the lab and counts the identities that STS is asked for.
async fn counted(endpoint: &str) -> (String, Arc<AtomicU64>) {
    let target: SocketAddr = endpoint.strip_prefix("http://").unwrap().parse().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicU64::new(0));
    let counts = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let counts = Arc::clone(&counts);
            tokio::spawn(async move {
                let server = TcpStream::connect(target).await.unwrap();
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                tokio::spawn(async move {
                    let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
                });
                let word = b"Action=GetCallerIdentity";
                let (mut tail, mut buffer) = (Vec::new(), [0; 4096]);
                while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
                    tail.extend_from_slice(&buffer[..read]);
                    let found = tail.windows(word.len()).filter(|part| part == word).count();
                    counts.fetch_add(found as u64, Ordering::Relaxed);
                    tail.drain(..tail.len().saturating_sub(word.len() - 1));
                    if to_server.write_all(&buffer[..read]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    (format!("http://{address}"), count)
}

/// The loop, as far as it looks: when woken, and a third of a second apart.
async fn look_when_woken(region: Arc<Region>, core: Arc<crate::core::Core>, count: Arc<AtomicU64>) {
    let mut changes = core.store.changed.subscribe();
    while changes.changed().await.is_ok() {
        let observed = region.look().await;
        core.looks.send_modify(|look| {
            *look = Arc::new(Look {
                number: look.number + 1,
                observed,
                ..Look::default()
            });
        });
        count.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

struct Flood {
    world: World,
    attempts: AtomicU64,
    over: AtomicBool,
}

impl Flood {
    /// Attempts, one after the other, until the flood is over.
    async fn attack(self: Arc<Self>, machine: Machine) {
        while !self.over.load(Ordering::Relaxed) {
            let Ok(channel) = self.world.anonymous_from(Some(machine.address)).await else {
                self.attempts.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            for _ in 0..50 {
                self.attempts.fetch_add(1, Ordering::Relaxed);
                let Ok(mut dialogue) = Dialogue::open(channel.clone()).await else {
                    continue;
                };
                let key = KeyPair::generate().unwrap();
                let answer = Attempt::honest(&machine, key, &dialogue.nonce).answer();
                let verdict = dialogue.answer(answer);
                let verdict = tokio::time::timeout(Duration::from_millis(500), verdict).await;
                assert!(
                    !matches!(verdict, Ok(Ok(_))),
                    "an attacker got a certificate"
                );
            }
        }
    }

    async fn silence(self: Arc<Self>, from: IpAddr) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        self.attempts.fetch_add(1, Ordering::Relaxed);
        let Ok(mut stream) = socket.connect(self.world.address).await else {
            return;
        };
        let _ = stream.read(&mut [0; 1]).await;
    }

    /// An honest node tries until it is in, as its agent does.
    async fn honest(&self, machine: &Machine) -> Duration {
        let began = Instant::now();
        let mut backoff = fleet_proto::backoff::Backoff::session();
        let in_time = tokio::time::timeout(GETS_IN, async {
            loop {
                if let Ok(channel) = self.world.anonymous_from(Some(machine.address)).await
                    && let Ok(mut dialogue) = Dialogue::open(channel).await
                {
                    let key = KeyPair::generate().unwrap();
                    let answer = Attempt::honest(machine, key, &dialogue.nonce).answer();
                    if dialogue.answer(answer).await.is_ok() {
                        return;
                    }
                }
                tokio::time::sleep(backoff.next_wait()).await;
            }
        });
        assert!(in_time.await.is_ok(), "not in within {GETS_IN:?}");
        began.elapsed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn honest_nodes_get_in_through_a_flood_and_aws_hears_little_of_it() {
    let region = Arc::new(Region::start(3).await);
    let nodes = region.nodes().await;
    region.lab.clock.set_speed(1.0);
    let (endpoint, identities) = counted(&region.endpoint).await;
    let bounds = Bounds {
        connections: tls::Bounds {
            of_strangers: PLACES,
            ..tls::Bounds::default()
        },
        ..Bounds::default()
    };
    let world = World::with(region.spec.clone(), connect(&endpoint), bounds).await;
    let looks = Arc::new(AtomicU64::new(0));
    let core = Arc::clone(&world.core);
    tokio::spawn(look_when_woken(
        Arc::clone(&region),
        core,
        Arc::clone(&looks),
    ));
    let flood = Arc::new(Flood {
        world,
        attempts: AtomicU64::new(0),
        over: AtomicBool::new(false),
    });

    let began = Instant::now();
    let mut attackers = JoinSet::new();
    for last in 1..=SILENT {
        attackers.spawn(Arc::clone(&flood).silence([127, 0, 11, last].into()));
    }
    let forged = |address: IpAddr| Machine {
        address,
        credentials: aws_credential_types::Credentials::new(
            "ASIAX",
            "x",
            Some("x".into()),
            None,
            "x",
        ),
        ..nodes[0].clone()
    };
    for last in 1..=60 {
        attackers.spawn(Arc::clone(&flood).attack(forged([127, 0, 12, last].into())));
    }
    for _ in 0..8 {
        attackers.spawn(Arc::clone(&flood).attack(forged(nodes[0].address)));
    }
    // Nobody is known yet: this one comes in as a stranger among strangers.
    let first = flood.honest(&nodes[1]).await;
    while flood.attempts.load(Ordering::Relaxed) < ATTEMPTS {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let second = flood.honest(&nodes[2]).await;
    flood.over.store(true, Ordering::Relaxed);
    let took = began.elapsed();
    attackers.abort_all();
    while attackers
        .join_next()
        .await
        .is_some_and(|ended| ended.is_ok() || ended.is_err_and(|error| error.is_cancelled()))
    {}

    let attempts = flood.attempts.load(Ordering::Relaxed);
    let (asked, looked) = (
        identities.load(Ordering::Relaxed),
        looks.load(Ordering::Relaxed),
    );
    // Past the test harness, which keeps what tests print that pass.
    let _ = writeln!(
        std::io::stderr(),
        "flood: {attempts} attempts in {took:.1?}; honest nodes in after {first:.1?} (unknown) and {second:.1?} (known); \
         {asked} calls of STS, {looked} looks"
    );
    // The node that was taken over may have its five attempts and one every six seconds; the honest
    // ones and the orchestrator's own question of who it is come on top.
    let bound = 5 + took.as_secs() / 6 + 1 + 3;
    assert!(asked <= bound, "{asked} calls of STS, {bound} at most");
    // One every other second for strangers; enrolments of honest nodes wake it, too.
    let bound = took.as_secs() / 2 + 1 + 2;
    assert!(looked <= bound, "{looked} looks, {bound} at most");
    region.lab.stop().await;
}

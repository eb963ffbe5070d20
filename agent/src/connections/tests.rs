//! Against the kernel's real sockets.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::verify::PORT;

const CLIENTS: usize = 25;

/// Past the test harness, which keeps what tests print that pass.
fn skipped() {
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED: closing other processes' connections needs CAP_NET_ADMIN"
    );
}

#[tokio::test]
async fn connections_are_closed_in_paced_batches() {
    let address = Ipv4Addr::new(127, 77, 2, 1);
    let listener = TcpListener::bind((address, PORT)).await.unwrap();
    let kernel = Kernel { address };
    assert_eq!(kernel.established().unwrap(), []);
    let mut clients = Vec::new();
    let mut served = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(TcpStream::connect((address, PORT)).await.unwrap());
        served.push(listener.accept().await.unwrap());
    }
    let seen = kernel.established().unwrap();
    assert_eq!(seen.len(), CLIENTS);
    assert!(
        seen.iter()
            .any(|one| one.client == clients[0].local_addr().unwrap())
    );

    let pace = Drain {
        batch: 10,
        interval: Duration::from_millis(100),
        deadline: Duration::from_secs(30),
    };
    let reporter = Reporter::new();
    let began = Instant::now();
    drain(&kernel, pace, &reporter).await;
    if reporter.current().connections as usize == CLIENTS {
        return skipped();
    }
    assert!(
        began.elapsed() >= pace.interval * 3,
        "25 connections are three batches"
    );
    assert_eq!(reporter.current().connections, 0);
    for mut client in clients {
        assert!(
            client.read(&mut [0; 1]).await.is_err(),
            "the client sees a reset"
        );
    }
    assert_eq!(
        kernel.close(&seen[0]).unwrap_err().kind(),
        std::io::ErrorKind::NotFound
    );
}

async fn lasts_until_its_deadline(connections: &dyn Connections) {
    let pace = Drain {
        batch: 1,
        interval: Duration::from_millis(10),
        deadline: Duration::from_millis(100),
    };
    let began = Instant::now();
    drain(connections, pace, &Reporter::new()).await;
    assert!(began.elapsed() >= pace.deadline);
}

#[tokio::test]
async fn deadline_ends_a_drain_of_clients_that_come_back() {
    struct Stubborn;
    impl Connections for Stubborn {
        fn established(&self) -> io::Result<Vec<Established>> {
            let handle = kernel::Handle::default();
            Ok(vec![Established {
                client: "127.0.0.1:1".parse().unwrap(),
                busy: false,
                handle,
            }])
        }
        fn close(&self, _: &Established) -> io::Result<()> {
            Ok(())
        }
    }
    lasts_until_its_deadline(&Stubborn).await;
}

#[tokio::test]
async fn what_is_under_way_ends_first() {
    let address = Ipv4Addr::new(127, 77, 2, 2);
    let listener = TcpListener::bind((address, PORT)).await.unwrap();
    let kernel = Kernel { address };
    let mut asking = TcpStream::connect((address, PORT)).await.unwrap();
    let (mut asked, _) = listener.accept().await.unwrap();
    let mut idle = TcpStream::connect((address, PORT)).await.unwrap();
    let (mut answered, _) = listener.accept().await.unwrap();
    let named = |client: &TcpStream| {
        let client = client.local_addr().unwrap();
        let all = kernel.established().unwrap();
        all.into_iter().find(|one| one.client == client).unwrap()
    };
    let third = TcpStream::connect((address, PORT)).await.unwrap();
    let (_served, _) = listener.accept().await.unwrap();
    if kernel.close(&named(&third)).is_err() {
        return skipped();
    }
    // The kernel counts in ticks of up to 10 ms: a question is told from the answer before it.
    for served in [&mut asked, &mut answered] {
        served.write_all(b"hello").await.unwrap();
    }
    for client in [&mut asking, &mut idle] {
        client.read_exact(&mut [0; 5]).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    asking.write_all(b"GET").await.unwrap();
    asked.read_exact(&mut [0; 3]).await.unwrap();
    assert!(named(&asking).busy && !named(&idle).busy);

    let reporter = Reporter::new();
    let pace = Drain {
        batch: 10,
        interval: Duration::from_millis(20),
        deadline: Duration::from_secs(30),
    };
    let draining = drain(&kernel, pace, &reporter);
    let asking = async {
        let closed = idle.read(&mut [0; 1]).await.is_err();
        asked.write_all(b"answer").await.unwrap();
        let mut answer = [0; 6];
        let whole = asking.read_exact(&mut answer).await.is_ok();
        (closed, whole, asking.read(&mut [0; 1]).await.is_err())
    };
    let ((), seen) = tokio::join!(draining, asking);
    assert_eq!(seen, (true, true, true), "closed, answered, then closed");
}

/// Clients of which so many out of four come back here, each from another port, when they are closed.
struct Returning {
    fourths: usize,
    here: Mutex<Vec<u16>>,
    closed: Mutex<Vec<u16>>,
}

impl Returning {
    fn new(fourths: usize) -> Self {
        Self {
            fourths,
            here: Mutex::new((1..=100).collect()),
            closed: Mutex::default(),
        }
    }
}

impl Connections for Returning {
    fn established(&self) -> io::Result<Vec<Established>> {
        let ports = self.here.lock().unwrap().clone();
        let one = |port| Established {
            client: (Ipv4Addr::LOCALHOST, port).into(),
            busy: false,
            handle: kernel::Handle::default(),
        };
        Ok(ports.into_iter().map(one).collect())
    }

    fn close(&self, connection: &Established) -> io::Result<()> {
        let port = connection.client.port();
        let mut here = self.here.lock().unwrap();
        here.retain(|other| *other != port);
        if usize::from(port) % 4 < self.fourths {
            here.push(port + 1000);
        }
        self.closed.lock().unwrap().push(port);
        Ok(())
    }
}

#[tokio::test]
async fn before_a_restart_those_go_who_are_there_and_find_another_node() {
    let pace = Drain {
        batch: 10,
        interval: Duration::from_millis(1),
        deadline: Duration::from_secs(30),
    };
    // From alone (all come back) to beside nodes that take all of them.
    for (fourths, expected) in [(4, 40), (3, 40), (2, 100), (1, 100), (0, 100)] {
        let clients = Returning::new(fourths);
        let reporter = Reporter::new();
        hand_over(&clients, pace, &reporter).await;
        let closed = clients.closed.lock().unwrap();
        assert_eq!(closed.len(), expected, "{fourths} of four come back");
        assert!(
            closed.iter().all(|port| *port <= 100),
            "a newcomer was closed"
        );
        let here = clients.here.lock().unwrap().len();
        if expected == 100 {
            assert_eq!(reporter.current().connections as usize, here);
        }
    }
}

/// A kernel that refuses now and then, each time with the next of these errors.
struct Refusing {
    clients: Returning,
    looks: Mutex<Vec<i32>>,
    closes: Mutex<Vec<i32>>,
}

const OK: i32 = 0;
const EPERM: i32 = 1;
const EINTR: i32 = 4;
const ENOBUFS: i32 = 105;
const EOPNOTSUPP: i32 = 95;

/// The next of these, and after the last one nothing more.
fn next(errors: &Mutex<Vec<i32>>) -> io::Result<()> {
    let mut errors = errors.lock().unwrap();
    if errors.is_empty() {
        return Ok(());
    }
    match errors.remove(0) {
        OK => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

impl Connections for Refusing {
    fn established(&self) -> io::Result<Vec<Established>> {
        next(&self.looks)?;
        self.clients.established()
    }

    fn close(&self, connection: &Established) -> io::Result<()> {
        next(&self.closes)?;
        self.clients.close(connection)
    }
}

#[tokio::test]
async fn one_refusal_does_not_end_the_pacing() {
    let pace = Drain {
        batch: 10,
        interval: Duration::from_millis(1),
        deadline: Duration::from_secs(30),
    };
    let cases: [(&str, &[i32], &[i32], usize); 8] = [
        ("nothing", &[], &[], 100),
        ("no right to close", &[], &[EPERM], 0),
        ("no right any more", &[], &[OK, EPERM], 1),
        ("cannot close", &[], &[EOPNOTSUPP], 0),
        ("ended meanwhile", &[], &[OK, EOPNOTSUPP, ENOBUFS], 100),
        ("first close failed", &[], &[ENOBUFS], 100),
        ("no right to look", &[EPERM], &[], 0),
        ("looks failed", &[EINTR, OK, ENOBUFS], &[], 100),
    ];
    for (case, looks, closes, expected) in cases {
        for before_restart in [false, true] {
            let kernel = Refusing {
                clients: Returning::new(0),
                looks: Mutex::new(looks.to_vec()),
                closes: Mutex::new(closes.to_vec()),
            };
            let reporter = Reporter::new();
            if before_restart {
                hand_over(&kernel, pace, &reporter).await;
            } else {
                drain(&kernel, pace, &reporter).await;
            }
            let closed = kernel.clients.closed.lock().unwrap().len();
            assert_eq!(closed, expected, "{case}, {before_restart}");
        }
    }
}

#[tokio::test]
async fn a_kernel_that_never_shows_anything_is_asked_until_the_deadline() {
    struct Mute;
    impl Connections for Mute {
        fn established(&self) -> io::Result<Vec<Established>> {
            Err(io::Error::from_raw_os_error(ENOBUFS))
        }
        fn close(&self, _: &Established) -> io::Result<()> {
            Ok(())
        }
    }
    lasts_until_its_deadline(&Mute).await;
}

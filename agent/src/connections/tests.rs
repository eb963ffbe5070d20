//! Against the kernel's real sockets.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::verify::PORT;

const CLIENTS: usize = 25;

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
        eprintln!("SKIPPED: closing other processes' connections needs CAP_NET_ADMIN");
        return;
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
    let pace = Drain {
        batch: 1,
        interval: Duration::from_millis(10),
        deadline: Duration::from_millis(100),
    };
    let began = Instant::now();
    drain(&Stubborn, pace, &Reporter::new()).await;
    assert!(began.elapsed() >= pace.deadline);
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
        eprintln!("SKIPPED: closing other processes' connections needs CAP_NET_ADMIN");
        return;
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

//! An endpoint of its own before the lab's, as an S3-compatible store has one: only who is told of it comes here.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use e2e::region::Region;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// It ends with the value.
pub struct Endpoint {
    address: SocketAddr,
    taken: Arc<AtomicU64>,
    _connections: JoinSet<()>,
}

impl Endpoint {
    /// Passes every connection on to the lab.
    pub async fn of(region: &Region) -> anyhow::Result<Self> {
        let lab = region.endpoint.strip_prefix("http://");
        let lab: SocketAddr = lab.context("the lab speaks TLS")?.parse()?;
        let listener = TcpListener::bind((lab.ip(), 0)).await?;
        let address = listener.local_addr()?;
        let taken = Arc::new(AtomicU64::new(0));
        let mut connections = JoinSet::new();
        let counted = Arc::clone(&taken);
        connections.spawn(async move {
            // Those under way end with this task.
            let mut passed = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                passed.spawn(pass(client, lab, Arc::clone(&counted)));
                while passed.try_join_next().is_some() {}
            }
        });
        Ok(Self {
            address,
            taken,
            _connections: connections,
        })
    }

    /// Bytes that came from clients so far.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.address)
    }
}

/// One connection, until either side ends it. A broken one is the client's to see.
async fn pass(client: TcpStream, lab: SocketAddr, taken: Arc<AtomicU64>) {
    let Ok(mut answers) = TcpStream::connect(lab).await else {
        return;
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_lab, mut to_lab) = answers.split();
    let asks = async {
        let mut piece = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from_client.read(&mut piece).await {
            taken.fetch_add(length as u64, Ordering::Relaxed);
            if to_lab.write_all(&piece[..length]).await.is_err() {
                return;
            }
        }
        drop(to_lab.shutdown().await);
    };
    let answered = async {
        drop(tokio::io::copy(&mut from_lab, &mut to_client).await);
        drop(to_client.shutdown().await);
    };
    tokio::join!(asks, answered);
}

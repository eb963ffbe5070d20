//! Clients' established connections to the server: counted, and on leaving closed in paced batches,
//! because thousands of clients that reconnect at once have frozen servers.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};

use tokio::time::{Instant, sleep};

use crate::report::Reporter;
use crate::verify::PORT;
use crate::wanted::Drain;

/// Sees and closes connections of other processes.
pub trait Connections: Send + Sync {
    /// The clients' addresses, established connections only.
    fn established(&self) -> io::Result<Vec<SocketAddr>>;

    /// Closes the connection of that client (it sees a reset, the server an aborted connection).
    fn close(&self, client: SocketAddr) -> io::Result<()>;
}

/// Reads `/proc/net/tcp` and cannot close: for agents without the right to.
#[derive(Clone, Copy, Debug)]
pub struct Observed {
    /// Of the server.
    pub address: Ipv4Addr,
}

/// In `/proc/net/tcp`.
const ESTABLISHED: &str = "01";

impl Connections for Observed {
    fn established(&self) -> io::Result<Vec<SocketAddr>> {
        let mut clients = parse(&std::fs::read_to_string("/proc/net/tcp")?, self.address);
        // A server that listens on all addresses has its IPv4 clients there.
        if let Ok(text) = std::fs::read_to_string("/proc/net/tcp6") {
            clients.extend(parse(&text, self.address));
        }
        Ok(clients)
    }

    fn close(&self, _: SocketAddr) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn parse(table: &str, local: Ipv4Addr) -> Vec<SocketAddr> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let (ours, theirs, state) = (fields.next()?, fields.next()?, fields.next()?);
            let ours = address(ours)?;
            (state == ESTABLISHED && *ours.ip() == local && ours.port() == PORT)
                .then(|| address(theirs).map(SocketAddr::V4))?
        })
        .collect()
}

/// `0100007F:1F81` is 127.0.0.1:8065: each 32-bit word in the machine's byte order.
fn address(text: &str) -> Option<SocketAddrV4> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |hex: &str| u32::from_str_radix(hex, 16).ok().map(u32::to_ne_bytes);
    let ip = match ip.len() {
        8 => Ipv4Addr::from(word(ip)?),
        32 => {
            let mut bytes = [0; 16];
            for index in 0..4 {
                bytes[index * 4..index * 4 + 4]
                    .copy_from_slice(&word(ip.get(index * 8..index * 8 + 8)?)?);
            }
            Ipv6Addr::from(bytes).to_ipv4_mapped()?
        }
        _ => return None,
    };
    Some(SocketAddrV4::new(ip, port))
}

/// Closes connections batch by batch until none is left or the deadline has come. Where closing is
/// not allowed it returns at once: SIGTERM then closes the rest in one go.
pub async fn drain(connections: &dyn Connections, pace: Drain, reporter: &Reporter) {
    let deadline = Instant::now() + pace.deadline;
    loop {
        let clients = match connections.established() {
            Ok(clients) => clients,
            Err(error) => {
                log::warn!("cannot see the established connections: {error}");
                return;
            }
        };
        let left = clients.len();
        reporter.update(|report| report.connections = left as u32);
        if left == 0 {
            return;
        }
        if Instant::now() >= deadline {
            log::warn!("{left} connections are left at the drain's deadline");
            return;
        }
        for client in clients.into_iter().take(pace.batch as usize) {
            match connections.close(client) {
                Ok(()) => {}
                // Closed by itself meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    log::info!(
                        "connections cannot be closed one by one ({error}): {left} end together"
                    );
                    return;
                }
            }
        }
        sleep(pace.interval).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_table_is_read() {
        let table = "  sl  local_address rem_address   st tx_queue\n\
             0: 0500007F:1F81 0100007F:C001 01 00000000:00000000\n\
             1: 0500007F:1F81 00000000:0000 0A 00000000:00000000\n\
             2: 0600007F:1F81 0100007F:C002 01 00000000:00000000\n\
             3: 0000000000000000FFFF00000500007F:1F81 0000000000000000FFFF00000100007F:C003 01 0:0\n\
             4: garbage\n";
        let clients = parse(table, Ipv4Addr::new(127, 0, 0, 5));
        let expected: Vec<SocketAddr> = vec![
            "127.0.0.1:49153".parse().unwrap(),
            "127.0.0.1:49155".parse().unwrap(),
        ];
        assert_eq!(clients, expected);
    }
}

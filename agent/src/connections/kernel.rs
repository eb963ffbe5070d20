//! The kernel's socket tables over netlink (sock_diag(7)): a dump lists, `SOCK_DESTROY` closes.
//!
//! Destroying needs CAP_NET_ADMIN and a kernel with `CONFIG_INET_DIAG_DESTROY`, which distribution
//! kernels have; listing needs nothing. The few fixed structures are written out by hand: rejected
//! was a netlink crate family of five for two messages.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

use super::{Connections, Established};
use crate::verify::PORT;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const NLM_F_REQUEST: u16 = 0x001;
const NLM_F_ACK: u16 = 0x004;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const IPPROTO_TCP: u8 = 6;
/// Bit of `INET_DIAG_INFO` in a request's extensions, and its attribute in an answer: `struct tcp_info`.
const INFO: u8 = 1 << 1;
const INFO_ATTRIBUTE: u16 = 2;
/// Bit of `TCP_ESTABLISHED` in a mask of states.
const ESTABLISHED: u32 = 1 << 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// `struct inet_diag_sockid`: ports, addresses, interface, cookie.
const ID: usize = 48;
/// `struct inet_diag_req_v2`.
const REQUEST: usize = 8 + ID;
/// `struct inet_diag_msg`: four bytes, the id, then expiry, both queues, owner and inode.
const ANSWER: usize = 4 + ID + 20;
/// Places of `idiag_rqueue` and `idiag_wqueue` in it.
const QUEUES: [usize; 2] = [4 + ID + 4, 4 + ID + 8];
/// Places of `tcpi_last_data_sent` and `tcpi_last_data_recv` in `struct tcp_info`, milliseconds ago.
const LAST_SENT: usize = 44;
const LAST_RECEIVED: usize = 52;
/// A request that waits longer than this for the first byte of its answer is taken for none: a pong,
/// too, is something that a client says last.
const ANSWER_WITHIN: u32 = 10_000;
/// One answer of a dump; the kernel fills at most 32 KB.
const BUFFER: usize = 64 * 1024;

/// Family and `inet_diag_sockid`, as the kernel gave them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handle {
    family: u8,
    id: [u8; ID],
}

#[cfg(test)]
impl Default for Handle {
    fn default() -> Self {
        Self {
            family: 0,
            id: [0; ID],
        }
    }
}

/// The sockets of a server that listens on one address.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// Of the server.
    pub address: Ipv4Addr,
}

fn open() -> io::Result<OwnedFd> {
    Ok(socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )?)
}

fn request(kind: u16, flags: u16, family: u8, id: &[u8; ID]) -> [u8; HEADER + REQUEST] {
    let mut message = [0; HEADER + REQUEST];
    message[0..4].copy_from_slice(&((HEADER + REQUEST) as u32).to_ne_bytes());
    message[4..6].copy_from_slice(&kind.to_ne_bytes());
    message[6..8].copy_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
    message[HEADER] = family;
    message[HEADER + 1] = IPPROTO_TCP;
    message[HEADER + 2] = INFO;
    message[HEADER + 4..HEADER + 8].copy_from_slice(&ESTABLISHED.to_ne_bytes());
    message[HEADER + 8..].copy_from_slice(id);
    message
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// The messages of one datagram: type and body.
fn messages(mut datagram: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(number(datagram, 0)?) as usize;
        let kind = u16::from_ne_bytes(number(datagram, 4)?);
        let body = datagram.get(HEADER..length)?;
        datagram = datagram
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
        Some((kind, body))
    })
}

/// `NLMSG_ERROR` carries a negative errno, or 0 for "done".
fn verdict(body: &[u8]) -> io::Result<()> {
    match number(body, 0).map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(errno) => Err(io::Error::from_raw_os_error(-errno)),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Address and port at their places in `inet_diag_sockid`; both ends in network byte order.
fn end(family: u8, id: &[u8; ID], port_at: usize, address_at: usize) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(number(id, port_at)?);
    let address = match family {
        AF_INET => IpAddr::V4(Ipv4Addr::from(number::<4>(id, address_at)?)),
        AF_INET6 => Ipv6Addr::from(number::<16>(id, address_at)?).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

/// `struct inet_diag_msg`: family, three more bytes, the id.
fn established(body: &[u8], server: SocketAddr) -> Option<Established> {
    let family = *body.first()?;
    let id: [u8; ID] = number(body, 4)?;
    let ours = end(family, &id, 0, 4)?;
    let client = end(family, &id, 2, 20)?;
    (ours == server).then(|| Established {
        client,
        busy: is_busy(body),
        handle: Handle { family, id },
    })
}

/// Without `tcp_info` only the queues speak.
fn is_busy(body: &[u8]) -> bool {
    let queued = QUEUES
        .iter()
        .any(|at| number(body, *at).map_or(0, u32::from_ne_bytes) > 0);
    let info = attributes(body.get(ANSWER..).unwrap_or_default())
        .find_map(|(kind, value)| (kind == INFO_ATTRIBUTE).then_some(value));
    let asked = info.is_some_and(|info| {
        let ago = |at| number(info, at).map(u32::from_ne_bytes);
        ago(LAST_RECEIVED)
            .zip(ago(LAST_SENT))
            .is_some_and(|(received, sent)| received < sent && received < ANSWER_WITHIN)
    });
    queued || asked
}

/// The `nlattr`s of an answer: type and value.
fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(number(rest, 0)?));
        let kind = u16::from_ne_bytes(number(rest, 2)?);
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

impl Kernel {
    fn dump(self, family: u8, found: &mut Vec<Established>) -> io::Result<()> {
        let socket = open()?;
        let message = request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, family, &[0; ID]);
        send(&socket, &message, SendFlags::empty())?;
        let server = SocketAddr::from((self.address, PORT));
        let mut buffer = vec![0; BUFFER];
        loop {
            let (length, _) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
            for (kind, body) in messages(&buffer[..length]) {
                match kind {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => return verdict(body),
                    SOCK_DIAG_BY_FAMILY => found.extend(established(body, server)),
                    _ => {}
                }
            }
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

impl Connections for Kernel {
    fn established(&self) -> io::Result<Vec<Established>> {
        let mut found = Vec::new();
        self.dump(AF_INET, &mut found)?;
        // A server that listens on every address has its IPv4 clients there; without IPv6 there are none.
        if let Err(error) = self.dump(AF_INET6, &mut found) {
            log::debug!("no IPv6 sockets: {error}");
        }
        Ok(found)
    }

    fn close(&self, connection: &Established) -> io::Result<()> {
        let socket = open()?;
        let Handle { family, id } = &connection.handle;
        let message = request(SOCK_DESTROY, NLM_F_ACK, *family, id);
        send(&socket, &message, SendFlags::empty())?;
        let mut buffer = vec![0; BUFFER];
        let (length, _) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
        let answer = messages(&buffer[..length]).find(|(kind, _)| *kind == NLMSG_ERROR);
        answer.map_or_else(
            || Err(io::ErrorKind::InvalidData.into()),
            |(_, body)| verdict(body),
        )
    }
}

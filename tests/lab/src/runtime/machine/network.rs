//! The network of the machines, made of routes: no bridge, no address translation, nothing with a name
//! that another lab could have, and nothing that outlives the lab.
//!
//! ```text
//!  host's namespace                                        a machine's namespace
//!  local 10.N.0.0/16 dev mmlabN   (every address of it     eth0 10.N.0.4/32, default via 10.N.0.1
//!    is the host's own, so that load balancers, databases  lo   169.254.169.254/32 <- the lab listens
//!    and the API listen on addresses of the VPC)                here, in the machine's namespace
//!  10.N.0.4 dev mml0a4e0004 ═══════════ veth ════════════> eth0
//! ```
//!
//! The more specific route wins, so a machine's address leads into its namespace. The far end of
//! `mmlabN` lies in a namespace that only the lab holds: the kernel removes devices and their routes
//! with the namespaces, and the namespaces with the lab, however it ends. Machines reach each other and
//! the lab, and nothing else.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::time::Duration;

use ipnet::Ipv4Net;

use super::blocking;
use super::namespace::Namespace;

/// Where a machine's software looks for its metadata service (EC2 user guide, "Access instance
/// metadata").
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// Real time that the kernel may need to remove namespaces that nobody holds.
const REMOVAL: Duration = Duration::from_secs(5);

/// The lab's end of the network.
#[derive(Debug)]
pub struct Network {
    device: String,
    /// Holds the far end of the device.
    _anchor: Namespace,
}

/// A machine's end of the network.
#[derive(Debug)]
pub struct Plug {
    device: String,
    /// What the machine runs in.
    pub namespace: Namespace,
}

impl Network {
    /// Takes the networks for the lab; they must be nobody else's: see [`await_free`].
    pub fn open(networks: &[Ipv4Net]) -> io::Result<Self> {
        let first = networks
            .first()
            .ok_or_else(|| io::Error::other("the lab has no region"))?;
        let anchor = Namespace::create()?;
        let device = format!("mmlab{}", first.network().octets()[1]);
        add_pair(&device, "far", None, &anchor)?;
        for network in networks {
            ip(&[
                "route",
                "add",
                "local",
                &network.to_string(),
                "dev",
                &device,
                "table",
                "local",
            ])?;
        }
        Ok(Self {
            device,
            _anchor: anchor,
        })
    }

    /// Gives the networks back. The kernel would, a moment after this process ended.
    pub fn close(&self) {
        remove(&self.device);
    }
}

impl Plug {
    /// A namespace with the machine's address and a way to the lab.
    pub fn new(address: Ipv4Addr, mac: &str) -> io::Result<Self> {
        let namespace = Namespace::create()?;
        let device = device_of(address);
        add_pair(&device, "eth0", Some(mac), &namespace)?;
        let host = address.to_string();
        ip(&["route", "add", &host, "dev", &device, "table", "local"])?;
        // Machines reach each other through the host; this opens the door for theirs alone.
        std::fs::write(format!("/proc/sys/net/ipv4/conf/{device}/forwarding"), "1")?;
        let [a, b, ..] = address.octets();
        // The VPC's router, as with AWS; it is among the addresses that the host answers for.
        let router = Ipv4Addr::new(a, b, 0, 1).to_string();
        namespace.inside(|| {
            ip(&["link", "set", "lo", "up"])?;
            ip(&["address", "add", &format!("{METADATA}/32"), "dev", "lo"])?;
            ip(&["address", "add", &format!("{host}/32"), "dev", "eth0"])?;
            ip(&["link", "set", "eth0", "up"])?;
            ip(&["route", "add", &router, "dev", "eth0", "scope", "link"])?;
            ip(&["route", "add", "default", "via", &router, "src", &host])
        })?;
        Ok(Self { device, namespace })
    }

    /// A listener at the metadata service's address, for this machine alone.
    pub fn metadata_listener(&self) -> io::Result<TcpListener> {
        self.namespace
            .inside(|| TcpListener::bind(SocketAddr::from((METADATA, 80))))
    }

    /// Takes the machine off the network.
    pub fn pull(&self) {
        remove(&self.device);
    }
}

/// Returns when nobody has a route into the network. The kernel takes a moment to remove those of a
/// lab that was killed.
pub async fn await_free(network: Ipv4Net) -> io::Result<()> {
    let until = tokio::time::Instant::now() + REMOVAL;
    loop {
        let taken = blocking(move || {
            let range = network.to_string();
            ip(&["-4", "route", "show", "table", "all", "root", &range])
        });
        let taken = taken.await?;
        let Some(route) = taken.lines().next() else {
            return Ok(());
        };
        if tokio::time::Instant::now() > until {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                format!(
                    "{network} is in use, perhaps by another lab (`{}`); hint: choose another `--octet`",
                    route.trim()
                ),
            ));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A device's name has at most 15 characters.
fn device_of(address: Ipv4Addr) -> String {
    format!("mml{:08x}", u32::from(address))
}

/// Two connected devices: one here, one in the namespace; both are up once the other one is.
fn add_pair(here: &str, there: &str, mac: Option<&str>, namespace: &Namespace) -> io::Result<()> {
    let path = namespace.path();
    let path = path.to_string_lossy();
    let mut arguments = vec!["link", "add", here, "type", "veth", "peer", "name", there];
    if let Some(mac) = mac {
        arguments.extend(["address", mac]);
    }
    arguments.extend(["netns", &path]);
    ip(&arguments)?;
    ip(&["link", "set", here, "up"]).map(drop)
}

fn remove(device: &str) {
    if let Err(error) = ip(&["link", "delete", device]) {
        log::warn!("`{device}` cannot be removed: {error}");
    }
}

/// Runs `ip`; gives what it printed.
fn ip(arguments: &[&str]) -> io::Result<String> {
    let output = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| io::Error::new(error.kind(), format!("`ip`: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(io::Error::other(format!(
        "`ip {}`: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_devices_fit_and_differ() {
        let name = device_of(Ipv4Addr::new(10, 250, 255, 254));
        assert_eq!(name, "mml0afafffe");
        assert!(name.len() <= 15);
        assert_ne!(name, device_of(Ipv4Addr::new(10, 250, 255, 253)));
    }
}

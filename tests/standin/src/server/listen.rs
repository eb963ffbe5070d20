//! The port.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::start::StartError;

/// `host:port`, `[v6]:port` or `:port`; the host comes without brackets.
pub(super) fn split_address(address: &str) -> (&str, &str) {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    (host.trim_start_matches('[').trim_end_matches(']'), port)
}

/// Binds `ServiceSettings.ListenAddress`; without a host, on every address.
pub(super) async fn bind(listen: &str) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen {
        address: listen.to_owned(),
        source,
    };
    let (host, port) = split_address(listen);
    let port: u16 = port
        .parse()
        .map_err(|_| failed(std::io::Error::other("wanted is `host:port` or `:port`")))?;
    let host = if host.is_empty() { "0.0.0.0" } else { host };
    let listener = TcpListener::bind((host, port)).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_addresses_are_split() {
        for (text, host, port) in [
            (":8065", "", "8065"),
            ("127.1.2.3:8065", "127.1.2.3", "8065"),
            ("[::1]:80", "::1", "80"),
            ("host", "host", ""),
        ] {
            assert_eq!(split_address(text), (host, port), "{text}");
        }
    }
}

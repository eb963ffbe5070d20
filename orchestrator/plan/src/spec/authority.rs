//! The part of an address between `://` and its path.

use std::net::Ipv6Addr;

/// The host of `host`, `host:port`, `[IPv6]` or `[IPv6]:port`, without brackets; a host with a colon is an
/// IPv6 address. Which names are hosts, the caller says. None: the brackets hold no such address, or the
/// port is none from 1 to 65535.
pub(super) fn host(authority: &str) -> Option<&str> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (address, behind) = rest.split_once(']')?;
        address.parse::<Ipv6Addr>().ok()?;
        let port = match behind {
            "" => None,
            _ => Some(behind.strip_prefix(':')?),
        };
        (address, port)
    } else {
        match authority.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (authority, None),
        }
    };
    port.is_none_or(is_port).then_some(host)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn an_authority_is_a_host_with_a_port_or_without() {
        for (authority, expected) in [
            ("minio.example", Some("minio.example")),
            ("minio.example:9000", Some("minio.example")),
            ("[fd00::1]", Some("fd00::1")),
            ("[fd00::1]:65535", Some("fd00::1")),
            ("minio.example:", None),
            ("minio.example:0", None),
            ("minio.example:65536", None),
            ("minio.example:+80", None),
            ("minio.example:1:2", None),
            ("[fd00::1", None),
            ("[fd00::1]9000", None),
            ("[minio]", None),
        ] {
            assert_eq!(host(authority), expected, "{authority}");
        }
    }
}

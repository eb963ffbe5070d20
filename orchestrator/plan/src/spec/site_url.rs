//! The address that users type, taken apart: where the server answers below it.

use super::{Spec, authority};

/// Why an address is none that Mattermost and the load balancer can follow.
pub(super) const FORM: &str = "is not an address such as `https://chat.example.com` or `https://chat.example.com/mattermost`: no user, no query, no fragment, no slash at its end, and in its path letters, digits and `-._~` only";

/// What stands first in paths of the server's own, which it tells by how a path begins: below a site at `/api`, an
/// address of `/api/…` from before would be taken for one below the site instead of being redirected there.
const OF_SERVER: [&str; 9] = [
    "api", "error", "files", "hooks", "login", "oauth", "plugins", "signup", "static",
];

/// The server's own part of its addresses with which the path of this address begins; none: with none.
pub(super) fn collides(url: &str) -> Option<&str> {
    let (_, path) = parts(url)?;
    let first = path.split('/').nth(1)?;
    OF_SERVER.contains(&first).then_some(first)
}

/// Elastic Load Balancing takes 1,024 characters for a health check's path; Mattermost's own part of it is
/// 19 of them, and what users type is far shorter than both.
const PATH_LENGTH: usize = 200;

impl Spec {
    /// Below what the server answers: the path of `load_balancer.site_url`, empty or `/…` without a slash
    /// at its end.
    pub fn site_path(&self) -> &str {
        let url = self.load_balancer.site_url.as_deref();
        url.and_then(parts).map_or("", |(_, path)| path)
    }
}

/// Host, with the port where there is one, of the address that users type.
pub(crate) fn host_of_site(spec: &Spec) -> Option<String> {
    let url = spec.load_balancer.site_url.as_deref();
    url.and_then(parts).map(|(host, _)| host.to_owned())
}

/// Host with port, and path. None: it is no such address.
pub(super) fn parts(url: &str) -> Option<(&str, &str)> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    (is_host(host) && is_path(path)).then_some((host, path))
}

/// A name or an address, with a port or without.
fn is_host(text: &str) -> bool {
    authority::host(text).is_some_and(|host| host.contains(':') || is_name(host))
}

/// Labels between single dots.
fn is_name(text: &str) -> bool {
    let named = |c: char| c.is_alphanumeric() || "-_".contains(c);
    text.split('.')
        .all(|label| !label.is_empty() && label.chars().all(named))
}

/// Empty, or segments that a path may hold as they are.
fn is_path(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.len() <= PATH_LENGTH
        && text
            .split('/')
            .skip(1)
            .all(|segment| !matches!(segment, "" | "." | "..") && segment.bytes().all(plain))
}

#[cfg(test)]
mod tests {
    use super::{collides, parts};

    #[test]
    fn a_site_lies_beside_the_servers_own_addresses() {
        for (url, part) in [
            ("https://chat.example/api", Some("api")),
            ("https://chat.example/plugins/chat", Some("plugins")),
            ("https://chat.example/static", Some("static")),
            ("https://chat.example/chat/api", None),
            ("https://chat.example/apis", None),
            ("https://chat.example", None),
        ] {
            assert_eq!(collides(url), part, "{url}");
        }
    }

    #[test]
    fn an_address_is_a_host_and_a_path_that_can_be_asked_below() {
        let long = format!("https://chat.example/{}", "x".repeat(256));
        for (url, expected) in [
            ("https://chat.example.com", Some("")),
            ("http://chat.example.com:8080", Some("")),
            ("https://chat.example.com/mattermost", Some("/mattermost")),
            ("http://10.0.0.1/a/b-c_d.e~f", Some("/a/b-c_d.e~f")),
            ("https://[::1]:8065/chat", Some("/chat")),
            ("https://münchen.example/chat", Some("/chat")),
            ("https://chat.example.com/", None),
            ("https://chat.example.com/mattermost/", None),
            ("https://chat.example.com//mattermost", None),
            ("https://chat.example.com/a/../b", None),
            ("https://chat.example.com/mattermost?x=1", None),
            ("https://chat.example.com?x=1", None),
            ("https://chat.example.com/mattermost#top", None),
            ("https://chat.example.com/matter most", None),
            ("https://chat.example.com/%41", None),
            ("https://user@chat.example.com", None),
            ("https:///mattermost", None),
            ("https://", None),
            ("https://chat.example.com:", None),
            ("https://chat.example.com:0", None),
            ("https://chat.example.com:99999", None),
            ("https://chat.example.com:1:2", None),
            ("https://[::1", None),
            ("https://[::1]8065", None),
            ("https://[chat]", None),
            ("https://..x", None),
            ("https://chat.example.com.", None),
            ("ftp://chat.example.com", None),
            ("chat.example.com", None),
            (&long, None),
        ] {
            assert_eq!(parts(url).map(|(_, path)| path), expected, "{url}");
        }
    }
}

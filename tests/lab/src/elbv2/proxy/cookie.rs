//! The load balancer's cookies: `AWSALBTG` keeps a client on a target group, `AWSALB` on a target.
//!
//! AWS encrypts the values; here they are opaque but not secret: `expiry|subject`, base64.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::{COOKIE, HeaderValue};
use jiff::Timestamp;
use std::time::Duration;

/// Which group the client was given.
pub(super) const GROUP: &str = "AWSALBTG";
/// Which target the client was given.
pub(super) const TARGET: &str = "AWSALB";

/// The value of a cookie as the client sent it.
fn sent<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| {
            let (key, value) = pair.trim().split_once('=')?;
            (key == name).then_some(value)
        })
}

/// What a cookie that is not yet stale says, and when it becomes stale.
pub(super) fn read(headers: &HeaderMap, name: &str, now: Timestamp) -> Option<(String, Timestamp)> {
    let plain = URL_SAFE_NO_PAD.decode(sent(headers, name)?).ok()?;
    let text = String::from_utf8(plain).ok()?;
    let (expires, subject) = text.split_once('|')?;
    let expires = Timestamp::from_second(expires.parse().ok()?).ok()?;
    (now < expires).then(|| (subject.to_owned(), expires))
}

/// The two `Set-Cookie` values, the second for requests from other sites.
pub(super) fn write(name: &str, subject: &str, expires: Timestamp) -> [HeaderValue; 2] {
    let value = URL_SAFE_NO_PAD.encode(format!("{}|{subject}", expires.as_second()));
    let date = expires.strftime("%a, %d %b %Y %H:%M:%S GMT");
    [
        format!("{name}={value}; Expires={date}; Path=/"),
        format!("{name}CORS={value}; Expires={date}; Path=/; SameSite=None; Secure"),
    ]
    .map(|text| HeaderValue::from_str(&text).expect("base64, a date and ASCII words"))
}

/// When a cookie given now becomes stale; never less than a second, so that it can be used at all.
pub(super) fn expiry(now: Timestamp, real: Duration) -> Timestamp {
    let seconds = real.as_secs_f64().ceil().max(1.0) as i64;
    Timestamp::from_second(now.as_second().saturating_add(seconds)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_until_it_is_stale() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let [first, second] = write(
            GROUP,
            "targetgroup/blue/1",
            expiry(now, Duration::from_mins(1)),
        );
        assert!(second.to_str().unwrap().starts_with("AWSALBTGCORS="));
        let pair = first
            .to_str()
            .unwrap()
            .split(';')
            .next()
            .unwrap()
            .to_owned();
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, format!("MMAUTHTOKEN=x; {pair}").parse().unwrap());
        let read_at = |seconds| {
            read(&headers, GROUP, Timestamp::from_second(seconds).unwrap()).map(|(it, _)| it)
        };
        assert_eq!(read_at(1_000_059).as_deref(), Some("targetgroup/blue/1"));
        assert_eq!(read_at(1_000_060), None);
        assert_eq!(read(&headers, TARGET, now), None);
    }

    #[test]
    fn nonsense_is_no_cookie() {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, "AWSALB=!!!".parse().unwrap());
        assert_eq!(read(&headers, TARGET, Timestamp::UNIX_EPOCH), None);
    }
}

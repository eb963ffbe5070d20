//! The bucket that users' files live in, as the node's own probe uses it.

use fleet_proto::v1;
use reqwest::Url;

use super::value::shorten;

/// Of a whole key S3 takes 1024 bytes; the probe's own part is less than 50.
const LONGEST_PREFIX: usize = 900;

/// A bucket, checked. The server's own settings for it are among the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileStore {
    /// Its name.
    pub bucket: String,
    /// Where it is: signed into every request.
    pub region: String,
    /// Of every key: empty, or with a slash at its end.
    pub prefix: String,
    /// Address of the bucket, with a slash at its end: a key is appended, percent-encoded.
    pub url: Url,
    /// Account that must own it; absent: not asked.
    pub owner: Option<String>,
    /// The keys are among the secrets; otherwise the node's role signs.
    pub own_keys: bool,
}

impl FileStore {
    /// The reason names the field and what would be right.
    pub(super) fn parse(wire: &v1::FileStore) -> Result<Self, String> {
        check_bucket(&wire.bucket)?;
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if wire.region.is_empty() || !wire.region.bytes().all(plain) {
            let found = shorten(&wire.region);
            return Err(format!(
                "`region` is `{found}`, not a region such as eu-central-1"
            ));
        }
        check_prefix(&wire.prefix)?;
        let digits = |text: &str| text.len() == 12 && text.bytes().all(|one| one.is_ascii_digit());
        if !wire.owner.is_empty() && !digits(&wire.owner) {
            let found = shorten(&wire.owner);
            return Err(format!("`owner` is `{found}`, not an account of 12 digits"));
        }
        Ok(Self {
            bucket: wire.bucket.clone(),
            region: wire.region.clone(),
            prefix: wire.prefix.clone(),
            url: address(wire)?,
            owner: (!wire.owner.is_empty()).then(|| wire.owner.clone()),
            own_keys: wire.own_keys,
        })
    }
}

/// S3's rules for general-purpose buckets: the name stands in host names and paths.
fn check_bucket(name: &str) -> Result<(), String> {
    let end = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let good = (3..=63).contains(&name.len())
        && name
            .bytes()
            .all(|byte| end(byte) || byte == b'-' || byte == b'.')
        && name.bytes().next().is_some_and(end)
        && name.bytes().last().is_some_and(end)
        && !name.contains("..");
    if good {
        Ok(())
    } else {
        Err(format!(
            "`bucket` is `{}`, not a name of 3 to 63 lower-case letters, digits, hyphens and dots",
            shorten(name)
        ))
    }
}

/// What an address would read as another key is refused.
fn check_prefix(prefix: &str) -> Result<(), String> {
    let shown = shorten(prefix);
    if prefix.is_empty() {
        return Ok(());
    }
    if prefix.len() > LONGEST_PREFIX {
        return Err(format!(
            "`prefix` has {} bytes; at most {LONGEST_PREFIX} are possible",
            prefix.len()
        ));
    }
    let Some(inner) = prefix.strip_suffix('/') else {
        return Err(format!("`prefix` is `{shown}`, without a slash at its end"));
    };
    if inner
        .split('/')
        .any(|part| matches!(part, "" | "." | "..") || part.chars().any(char::is_control))
    {
        return Err(format!(
            "`prefix` is `{shown}`; its parts may not be empty, `.` or `..`, nor hold control characters"
        ));
    }
    Ok(())
}

/// By host name at AWS; in the path where the store is another, and where the name's dots would not
/// match the certificate for `*.s3.<region>.amazonaws.com`.
fn address(wire: &v1::FileStore) -> Result<Url, String> {
    let bucket = &wire.bucket;
    let host = format!("s3.{}.amazonaws.com", wire.region);
    let text = if !wire.endpoint.is_empty() {
        format!("{}/{bucket}/", endpoint(&wire.endpoint)?)
    } else if bucket.contains('.') {
        format!("https://{host}/{bucket}/")
    } else {
        format!("https://{bucket}.{host}/")
    };
    Url::parse(&text).map_err(|error| format!("`{}`: {error}", shorten(&text)))
}

/// Scheme, host and port, without a slash at the end.
fn endpoint(text: &str) -> Result<String, String> {
    let shown = shorten(text);
    let url = Url::parse(text).map_err(|error| format!("`endpoint` is `{shown}`: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("`endpoint` holds a user name or password".to_owned());
    }
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if !matches!(url.scheme(), "https" | "http") || url.host_str().is_none() || !bare {
        return Err(format!(
            "`endpoint` is `{shown}`, not `https://host` or `http://host`, with a port or without"
        ));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

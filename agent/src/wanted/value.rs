//! Texts of the orchestrator that are checked once: each is its own type from then on.

use std::fmt;
use std::str::FromStr;

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// From a finished hash.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| format!("`{}` is not 64 hexadecimal digits", shorten(text)))?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A release version: a name of one directory and of one systemd instance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(String);

impl Version {
    /// As text, for example `11.10.0`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_+".contains(&byte);
        let good = (1..=64).contains(&text.len())
            && text.as_bytes()[0].is_ascii_alphanumeric()
            && text.bytes().all(plain);
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "`{}` is not a version such as 11.10.0",
                shorten(text)
            ))
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The fingerprint of an OpenPGP key, upper-case hexadecimal digits: 40, or 64 of a version 6 key. A
/// short key id is none: those can be made to order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Fingerprint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits: String = text.split_ascii_whitespace().collect();
        if [40, 64].contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            Ok(Self(digits.to_ascii_uppercase()))
        } else {
            Err(format!(
                "`{}` is not a fingerprint of 40 or 64 hexadecimal digits",
                shorten(text)
            ))
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The path of the site URL, below which the server answers: empty, or `/…` without a slash at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SitePath(String);

impl SitePath {
    /// As text, to be followed by `/api/…`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SitePath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain =
            |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@".contains(&byte);
        let part = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(plain);
        let good = text.is_empty()
            || text.len() <= 200
                && text
                    .strip_prefix('/')
                    .is_some_and(|rest| rest.split('/').all(part));
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "`{}` is not a path such as /mattermost, without a slash at its end",
                shorten(text)
            ))
        }
    }
}

/// As much of a text from elsewhere as an error shows.
pub(super) fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

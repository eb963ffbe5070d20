//! `manifest.txt`: which version a release tree is, and how it misbehaves.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// A Mattermost version, `11.10.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Raised about once a year.
    pub major: u16,
    /// Raised every month.
    pub minor: u16,
    /// Fixes only: never changes the schema.
    pub patch: u16,
}

impl Version {
    /// `major.minor.patch`.
    pub const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self {
            major,
            minor,
            patch,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Version {
    type Err = ManifestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ManifestError::Version(text.to_owned());
        let mut parts = text.split('.').map(|part| {
            (!part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
                .then(|| part.parse::<u16>().ok())
                .flatten()
                .ok_or_else(wrong)
        });
        let mut next = || parts.next().ok_or_else(wrong)?;
        let version = Self::new(next()?, next()?, next()?);
        if parts.next().is_some() {
            return Err(wrong());
        }
        Ok(version)
    }
}

/// How a release behaves once it runs. Everything but [`Behaviour::Good`] is a bad release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// As the real one does.
    Good,
    /// `crash-at-start`: exits with 1 right after it read its configuration.
    CrashAtStart,
    /// `never-ready`: migrates, then neither binds its port nor says `READY=1`.
    NeverReady,
    /// `unhealthy`: ready, plain ping 200, full ping 500 for its file store.
    Unhealthy,
    /// `slow-migration=SECONDS`: one more migration that takes that long.
    SlowMigration(u32),
    /// `half-done-migration`: a non-transactional migration whose second statement fails.
    HalfDoneMigration,
    /// `memory-leak=MIB`: grows by that many MiB a second once it serves.
    MemoryLeak(u32),
    /// `wrong-version=X.Y.Z`: says it is another version than its tarball's name.
    WrongVersion(Version),
    /// `failing-requests=PERCENT`: once it serves, that share of API requests answers 500; pings
    /// stay 200, so only the error rate shows it.
    FailingRequests(u32),
    /// `slow-early-stop=SECONDS`: a SIGTERM within two seconds of the start takes that long, as it does
    /// with the real server. Of its own because every test that stops a server early would wait for it.
    SlowEarlyStop(u32),
}

impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good => f.write_str("good"),
            Self::CrashAtStart => f.write_str("crash-at-start"),
            Self::NeverReady => f.write_str("never-ready"),
            Self::Unhealthy => f.write_str("unhealthy"),
            Self::SlowMigration(seconds) => write!(f, "slow-migration={seconds}"),
            Self::HalfDoneMigration => f.write_str("half-done-migration"),
            Self::MemoryLeak(mib) => write!(f, "memory-leak={mib}"),
            Self::WrongVersion(version) => write!(f, "wrong-version={version}"),
            Self::FailingRequests(percent) => write!(f, "failing-requests={percent}"),
            Self::SlowEarlyStop(seconds) => write!(f, "slow-early-stop={seconds}"),
        }
    }
}

impl FromStr for Behaviour {
    type Err = ManifestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let wrong = || ManifestError::Behaviour(text.to_owned());
        let number = |default: u32| match value {
            None => Ok(default),
            Some(value) => value.parse::<u32>().map_err(|_| wrong()),
        };
        let behaviour = match name {
            "slow-migration" => Self::SlowMigration(number(60)?),
            "memory-leak" => Self::MemoryLeak(number(8)?),
            "slow-early-stop" => Self::SlowEarlyStop(number(12)?),
            "failing-requests" => match number(20)? {
                percent @ 0..=100 => Self::FailingRequests(percent),
                _ => return Err(wrong()),
            },
            "wrong-version" => Self::WrongVersion(value.ok_or_else(wrong)?.parse()?),
            _ if value.is_some() => return Err(wrong()),
            "good" => Self::Good,
            "crash-at-start" => Self::CrashAtStart,
            "never-ready" => Self::NeverReady,
            "unhealthy" => Self::Unhealthy,
            "half-done-migration" => Self::HalfDoneMigration,
            _ => return Err(wrong()),
        };
        Ok(behaviour)
    }
}

/// A release tree's identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The version that the tarball's name carries.
    pub version: Version,
    /// How it behaves.
    pub behaviour: Behaviour,
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not `X.Y.Z`.
    #[error("`{0}` is not a version: three numbers with dots are wanted, as in `11.10.0`")]
    Version(String),
    /// Not one of [`Behaviour`].
    #[error(
        "`{0}` is not a behaviour: wanted is `good`, `crash-at-start`, `never-ready`, `unhealthy`, \
         `slow-migration[=SECONDS]`, `half-done-migration`, `memory-leak[=MIB]`, \
         `wrong-version=X.Y.Z`, `failing-requests[=PERCENT]` or `slow-early-stop[=SECONDS]`"
    )]
    Behaviour(String),
    /// A line is missing.
    #[error("`{path}` has no line `{line}: …`")]
    Missing {
        /// The manifest.
        path: String,
        /// The line's name.
        line: &'static str,
    },
    /// The file cannot be read.
    #[error("cannot read the release manifest `{path}`")]
    Read {
        /// The manifest.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Manifest {
    /// The version that the binary claims to be: another one only for a `wrong-version` release.
    pub fn reported(&self) -> Version {
        match self.behaviour {
            Behaviour::WrongVersion(version) => version,
            _ => self.version,
        }
    }

    /// The build number: digits, as the real builds carry their pipeline's run number.
    pub fn build_number(&self) -> String {
        let digest = self.digest();
        let number = u64::from_be_bytes([
            0, 0, 0, digest[0], digest[1], digest[2], digest[3], digest[4],
        ]);
        format!("{:010}", number % 10_000_000_000)
    }

    /// The build hash: 40 hexadecimal digits, as a commit has.
    pub fn build_hash(&self) -> String {
        hex::encode(&self.digest()[..20])
    }

    fn digest(&self) -> [u8; 32] {
        Sha256::digest(format!("{} {}", self.version, self.behaviour)).into()
    }

    /// The text of `manifest.txt`.
    pub fn render(&self) -> String {
        format!(
            "Product: Mattermost (stand-in)\nVersion: {}\nBuild Number: {}\nBuild Hash: {}\nBehaviour: {}\n",
            self.version,
            self.build_number(),
            self.build_hash(),
            self.behaviour
        )
    }

    /// Reads `manifest.txt` of a release tree.
    pub fn read(tree: &Path) -> Result<Self, ManifestError> {
        let path = tree.join("manifest.txt");
        let name = path.display().to_string();
        let text = std::fs::read_to_string(&path).map_err(|source| ManifestError::Read {
            path: name.clone(),
            source,
        })?;
        let line = |line: &'static str| {
            text.lines()
                .find_map(|candidate| candidate.strip_prefix(line)?.strip_prefix(": "))
                .ok_or(ManifestError::Missing {
                    path: name.clone(),
                    line,
                })
        };
        Ok(Self {
            version: line("Version")?.parse()?,
            behaviour: line("Behaviour")?.parse()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_three_numbers() {
        assert_eq!(
            "11.10.0".parse::<Version>().unwrap(),
            Version::new(11, 10, 0)
        );
        assert!(Version::new(11, 10, 0) > Version::new(11, 9, 3));
        for text in [
            "",
            "11",
            "11.10",
            "11.10.0.1",
            "v11.10.0",
            "11.+1.0",
            "11..0",
            "99999.0.0",
        ] {
            assert!(text.parse::<Version>().is_err(), "`{text}`");
        }
    }

    #[test]
    fn behaviours_survive_the_manifest() {
        let tree = tempfile::tempdir().unwrap();
        for (text, behaviour) in [
            ("good", Behaviour::Good),
            ("crash-at-start", Behaviour::CrashAtStart),
            ("never-ready", Behaviour::NeverReady),
            ("unhealthy", Behaviour::Unhealthy),
            ("slow-migration", Behaviour::SlowMigration(60)),
            ("slow-migration=3", Behaviour::SlowMigration(3)),
            ("half-done-migration", Behaviour::HalfDoneMigration),
            ("memory-leak=2", Behaviour::MemoryLeak(2)),
            (
                "wrong-version=11.9.0",
                Behaviour::WrongVersion(Version::new(11, 9, 0)),
            ),
            ("failing-requests=5", Behaviour::FailingRequests(5)),
            ("slow-early-stop", Behaviour::SlowEarlyStop(12)),
        ] {
            let parsed: Behaviour = text.parse().unwrap();
            assert_eq!(parsed, behaviour, "{text}");
            let manifest = Manifest {
                version: Version::new(11, 10, 1),
                behaviour,
            };
            std::fs::write(tree.path().join("manifest.txt"), manifest.render()).unwrap();
            assert_eq!(Manifest::read(tree.path()).unwrap(), manifest, "{text}");
        }
        for text in [
            "",
            "bad",
            "good=1",
            "slow-migration=x",
            "wrong-version",
            "failing-requests=101",
        ] {
            assert!(text.parse::<Behaviour>().is_err(), "`{text}`");
        }
    }

    #[test]
    fn a_broken_manifest_names_the_line() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::write(tree.path().join("manifest.txt"), "Version: 11.10.0\n").unwrap();
        let error = Manifest::read(tree.path()).unwrap_err().to_string();
        assert!(error.contains("Behaviour"), "{error}");
    }
}

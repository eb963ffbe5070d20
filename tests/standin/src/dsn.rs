//! The data source name: `postgres://user:pw@host:5432/db?sslmode=verify-full&sslrootcert=…`.
//!
//! The rules are those of the driver that Mattermost uses: `sslmode` is `disable`, `require` (the
//! default), `verify-ca` or `verify-full`; unknown parameters become run-time parameters of the session.
//! A password never shows up in an error or in `Debug`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use url::Url;

/// How far the server's certificate is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// TLS, certificate not checked (checked against `sslrootcert` when one is given).
    Require,
    /// The chain is checked.
    VerifyCa,
    /// The chain and the host name are checked.
    VerifyFull,
}

/// A parsed data source name.
#[derive(Clone, PartialEq, Eq)]
pub struct Dsn {
    /// Name or address.
    pub host: String,
    /// 5432 unless said otherwise.
    pub port: u16,
    /// The role.
    pub user: String,
    /// Its password.
    pub password: Option<String>,
    /// The database.
    pub database: String,
    /// See [`SslMode`].
    pub ssl_mode: SslMode,
    /// Authorities to trust, PEM.
    pub ssl_root_cert: Option<PathBuf>,
    /// None waits for ever, as the driver does.
    pub connect_timeout: Option<Duration>,
    /// Run-time parameters of each session.
    pub parameters: Vec<(String, String)>,
}

impl fmt::Debug for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dsn")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("user", &self.user)
            .field("database", &self.database)
            .field("ssl_mode", &self.ssl_mode)
            .field("ssl_root_cert", &self.ssl_root_cert)
            .finish_non_exhaustive()
    }
}

/// Why a data source name cannot be used. None of them repeats the text: it holds the password.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DsnError {
    /// Not a URL.
    #[error(
        "the data source is not a URL of the form `postgres://user:password@host:5432/database?sslmode=…`"
    )]
    NotAUrl,
    /// Another scheme.
    #[error("the data source's scheme is `{0}`: wanted is `postgres`")]
    Scheme(String),
    /// A part is absent.
    #[error("the data source has no {0}")]
    Missing(&'static str),
    /// An escape that is no text.
    #[error("the data source's {0} is not percent-encoded UTF-8")]
    Encoding(&'static str),
    /// An `sslmode` that the driver does not have.
    #[error(
        "unsupported sslmode `{0}`; only `require` (default), `verify-full`, `verify-ca`, and `disable` supported"
    )]
    SslMode(String),
    /// Not a number of seconds.
    #[error("`connect_timeout={0}` is not a number of seconds")]
    Timeout(String),
}

impl Dsn {
    /// Parses a URL.
    pub fn parse(text: &str) -> Result<Self, DsnError> {
        let url = Url::parse(text).map_err(|_| DsnError::NotAUrl)?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(DsnError::Scheme(url.scheme().to_owned()));
        }
        let host = decode(url.host_str().unwrap_or_default(), "host")?;
        let mut dsn = Self {
            host: host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned(),
            port: url.port().unwrap_or(5432),
            user: decode(url.username(), "user")?,
            password: url
                .password()
                .map(|password| decode(password, "password"))
                .transpose()?,
            database: decode(url.path().trim_start_matches('/'), "database")?,
            ssl_mode: SslMode::Require,
            ssl_root_cert: None,
            connect_timeout: None,
            parameters: Vec::new(),
        };
        for (key, value) in url.query_pairs() {
            dsn.parameter(&key, &value)?;
        }
        for (part, empty) in [
            ("host", dsn.host.is_empty()),
            ("user", dsn.user.is_empty()),
            ("database", dsn.database.is_empty()),
        ] {
            if empty {
                return Err(DsnError::Missing(part));
            }
        }
        Ok(dsn)
    }

    fn parameter(&mut self, key: &str, value: &str) -> Result<(), DsnError> {
        match key {
            "sslmode" => {
                self.ssl_mode = match value {
                    "disable" => SslMode::Disable,
                    "require" => SslMode::Require,
                    "verify-ca" => SslMode::VerifyCa,
                    "verify-full" => SslMode::VerifyFull,
                    other => return Err(DsnError::SslMode(other.to_owned())),
                }
            }
            "sslrootcert" => self.ssl_root_cert = Some(PathBuf::from(value)),
            "connect_timeout" => {
                let seconds: u64 = value
                    .parse()
                    .map_err(|_| DsnError::Timeout(value.to_owned()))?;
                self.connect_timeout = (seconds > 0).then(|| Duration::from_secs(seconds));
            }
            // A switch of the driver's own protocol use; nothing to do here.
            "binary_parameters" => {}
            "user" => value.clone_into(&mut self.user),
            "password" => self.password = Some(value.to_owned()),
            "host" => value.clone_into(&mut self.host),
            "dbname" => value.clone_into(&mut self.database),
            _ => self.parameters.push((key.to_owned(), value.to_owned())),
        }
        Ok(())
    }
}

fn decode(text: &str, part: &'static str) -> Result<String, DsnError> {
    percent_decode_str(text)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| DsnError::Encoding(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_read() {
        let dsn = Dsn::parse(
            "postgres://mm%20user:p%40ss%2Fw%3A@db.internal:5433/mattermost?sslmode=verify-full\
             &sslrootcert=%2Fetc%2Frds%20ca.pem&connect_timeout=10&binary_parameters=yes&statement_timeout=5000",
        )
        .unwrap();
        assert_eq!(dsn.user, "mm user");
        assert_eq!(dsn.password.as_deref(), Some("p@ss/w:"));
        assert_eq!((dsn.host.as_str(), dsn.port), ("db.internal", 5433));
        assert_eq!(dsn.database, "mattermost");
        assert_eq!(dsn.ssl_mode, SslMode::VerifyFull);
        assert_eq!(dsn.ssl_root_cert, Some(PathBuf::from("/etc/rds ca.pem")));
        assert_eq!(dsn.connect_timeout, Some(Duration::from_secs(10)));
        assert_eq!(
            dsn.parameters,
            [("statement_timeout".to_owned(), "5000".to_owned())]
        );
        assert!(!format!("{dsn:?}").contains("p@ss"));
    }

    #[test]
    fn defaults_are_the_drivers() {
        let dsn = Dsn::parse("postgresql://u@127.4.0.1/db").unwrap();
        assert_eq!((dsn.port, dsn.ssl_mode), (5432, SslMode::Require));
        assert_eq!((dsn.password, dsn.connect_timeout), (None, None));
        assert_eq!(Dsn::parse("postgres://u@[::1]:6/db").unwrap().host, "::1");
    }

    #[test]
    fn refusals_name_the_part_and_not_the_password() {
        for (text, part) in [
            ("host=x user=y", "URL"),
            ("mysql://u:hidden@h/db", "mysql"),
            ("postgres://u:hidden@/db", "host"),
            ("postgres://h/db", "user"),
            ("postgres://u:hidden@h", "database"),
            ("postgres://u:hidden@h/db?sslmode=prefer", "prefer"),
            ("postgres://u:hidden@h/db?connect_timeout=soon", "soon"),
            ("postgres://u:hidden@h/%ff", "database"),
        ] {
            let error = Dsn::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "`{text}`: {error}");
            assert!(!error.contains("hidden"), "`{text}`: {error}");
        }
    }
}

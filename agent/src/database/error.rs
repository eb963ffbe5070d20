//! What can be wrong with a database, told apart.

use std::fmt;
use std::io;

use fleet_proto::tls::TlsError;
use tokio_postgres::error::SqlState;

use crate::coded::{Coded, certificate_error};
use crate::wanted::Database;

/// Which database, for people. Never the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    host: String,
    port: u16,
    name: String,
    user: String,
}

impl Place {
    pub(super) fn of(wanted: &Database) -> Self {
        Self {
            host: wanted.host.clone(),
            port: wanted.port,
            name: wanted.name.clone(),
            user: wanted.user.clone(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "database `{}` on {}:{}", self.name, self.host, self.port)
    }
}

/// The named kinds.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// DNS.
    #[error("{0}: the host name is not found")]
    NameNotFound(Place, #[source] io::Error),
    /// Nothing listens.
    #[error("{0}: connection refused")]
    Refused(Place, #[source] tokio_postgres::Error),
    /// Silence.
    #[error("{0}: no answer within 10 s")]
    Timeout(Place),
    /// The certificate.
    #[error("{0}: its certificate is not trusted")]
    Untrusted(Place, #[source] tokio_postgres::Error),
    /// No TLS at all.
    #[error("{0}: the server does not offer TLS")]
    NoTls(Place, #[source] tokio_postgres::Error),
    /// The roots to trust are no PEM.
    #[error("the database's trusted roots cannot be used")]
    Roots(#[source] TlsError),
    /// 28P01.
    #[error("{0}: the password of role `{role}` is wrong", role = .0.user)]
    Password(Place, #[source] tokio_postgres::Error),
    /// 28000: role unknown or not let in from here.
    #[error("{0}: role `{role}` is not let in", role = .0.user)]
    NotAllowed(Place, #[source] tokio_postgres::Error),
    /// 3D000.
    #[error("{0}: there is no such database")]
    NoDatabase(Place, #[source] tokio_postgres::Error),
    /// CONNECT, USAGE or CREATE is missing.
    #[error("{0}: role `{role}` may not create tables in schema `public`", role = .0.user)]
    Rights(Place),
    /// 42501 at log-in.
    #[error("{0}: role `{role}` may not connect", role = .0.user)]
    MayNotConnect(Place, #[source] tokio_postgres::Error),
    /// No schema `public`.
    #[error("{0}: there is no schema `public`")]
    NoSchema(Place),
    /// Owned by another.
    #[error("{place}: {what} belongs to `{owner}`, not to `{role}`", role = place.user)]
    SchemaOwner {
        /// Where.
        place: Place,
        /// Schema or table.
        what: String,
        /// Whose it is.
        owner: String,
    },
    /// Version.
    #[error("{place}: it is PostgreSQL {found}; at least {needed} is needed")]
    TooOld {
        /// Where.
        place: Place,
        /// Major.
        found: i32,
        /// Major.
        needed: u32,
    },
    /// Room.
    #[error("{place}: {free} of {usable} connections are free; {needed} are needed")]
    TooFewConnections {
        /// Where.
        place: Place,
        /// Left.
        free: i64,
        /// Of `max_connections`, without the reserved ones.
        usable: i64,
        /// By this node.
        needed: u32,
    },
    /// 53300.
    #[error("{0}: all connections are taken")]
    Full(Place, #[source] tokio_postgres::Error),
    /// Starting up, shutting down, failing over.
    #[error("{0}: the server takes no connections just now")]
    NotReady(Place, #[source] tokio_postgres::Error),
    /// Anything else while connecting.
    #[error("{0}: cannot connect")]
    Connect(Place, #[source] tokio_postgres::Error),
    /// A query failed.
    #[error("{0}: a query failed")]
    Query(Place, #[source] tokio_postgres::Error),
}

fn io_kind(error: &tokio_postgres::Error) -> Option<io::ErrorKind> {
    std::error::Error::source(error)?
        .downcast_ref::<io::Error>()
        .map(io::Error::kind)
}

impl DatabaseError {
    /// Sorts what the driver says.
    pub(super) fn connecting(place: Place, source: tokio_postgres::Error) -> Self {
        if certificate_error(&source).is_some() {
            return Self::Untrusted(place, source);
        }
        match source.code() {
            Some(code) if *code == SqlState::INVALID_PASSWORD => Self::Password(place, source),
            Some(code) if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
                Self::NotAllowed(place, source)
            }
            Some(code) if *code == SqlState::INVALID_CATALOG_NAME => {
                Self::NoDatabase(place, source)
            }
            Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
                Self::MayNotConnect(place, source)
            }
            Some(code) if *code == SqlState::TOO_MANY_CONNECTIONS => Self::Full(place, source),
            Some(code) if *code == SqlState::CANNOT_CONNECT_NOW => Self::NotReady(place, source),
            None if io_kind(&source) == Some(io::ErrorKind::ConnectionRefused) => {
                Self::Refused(place, source)
            }
            None if crate::coded::chain(&source).contains("server does not support TLS") => {
                Self::NoTls(place, source)
            }
            Some(_) | None => Self::Connect(place, source),
        }
    }
}

impl Coded for DatabaseError {
    fn code(&self) -> &'static str {
        match self {
            Self::NameNotFound(..) => "database_name_not_found",
            Self::Refused(..) => "database_refused",
            Self::Timeout(_) => "database_timeout",
            Self::Untrusted(..) => "database_untrusted",
            Self::NoTls(..) => "database_no_tls",
            Self::Roots(_) => "database_roots",
            Self::Password(..) => "database_password",
            Self::NotAllowed(..) => "database_not_allowed",
            Self::NoDatabase(..) => "database_missing",
            Self::Rights(_) => "database_rights",
            Self::MayNotConnect(..) => "database_connect_right",
            Self::NoSchema(_) => "database_schema_missing",
            Self::SchemaOwner { .. } => "database_schema_owner",
            Self::TooOld { .. } => "database_too_old",
            Self::TooFewConnections { .. } => "database_too_few_connections",
            Self::Full(..) => "database_full",
            Self::NotReady(..) => "database_not_ready",
            Self::Connect(..) => "database_connect",
            Self::Query(..) => "database_query",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::NameNotFound(..) => {
                "check the endpoint and that the VPC resolves DNS; a deleted instance's name vanishes"
            }
            Self::Refused(..) => "the server is down or listens on another port",
            Self::Timeout(_) => "check that the security group lets the fleet in on this port",
            Self::Untrusted(..) => {
                "check the roots in the specification against the region's RDS CA bundle"
            }
            Self::NoTls(..) => "set `rds.force_ssl`, or connect to the database itself, not to a proxy",
            Self::Roots(_) => "the specification's database roots must be PEM certificates",
            Self::Password(..) => "the secret and the role's password differ: run `orchestrator up`",
            Self::NotAllowed(..) => "the role is missing, may not log in, or pg_hba.conf refuses it",
            Self::NoDatabase(..) => "`orchestrator up` creates it",
            Self::Rights(_) => "GRANT USAGE, CREATE ON SCHEMA public to the role, or make it the owner",
            Self::MayNotConnect(..) => "GRANT CONNECT ON DATABASE to the role",
            Self::NoSchema(_) => "CREATE SCHEMA public, owned by the role",
            Self::SchemaOwner { .. } => {
                "from PostgreSQL 15 on the role must own database and schema: ALTER … OWNER TO"
            }
            Self::TooOld { .. } => "upgrade the database before Mattermost",
            Self::TooFewConnections { .. } | Self::Full(..) => {
                "raise max_connections, or lower MaxOpenConns; blue and green count together"
            }
            Self::NotReady(..) => "it starts, stops or fails over; this is tried again",
            Self::Connect(..) | Self::Query(..) => "",
        }
        .to_owned()
    }
}

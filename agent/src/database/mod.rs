//! The database before the server starts: reachable, trusted, ours, new enough, and its schema. What
//! the server would only say after several failed attempts is told apart here, each with a hint.
//!
//! The schema is read by SQL on `db_migrations`, never by a Mattermost binary: those migrate.

mod error;

use std::sync::Arc;
use std::time::Duration;

use fleet_proto::tls;
use fleet_proto::v1::Schema;
use rustls::ClientConfig;
use secrecy::{ExposeSecret, SecretString};
use tokio::task::JoinHandle;
use tokio_postgres::Client;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

pub use error::DatabaseError;

use crate::wanted::Database;

/// TCP, TLS and log-in together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The queries here read catalogues; a locked-up server is worse than a slow one.
const STATEMENT_TIMEOUT: &str = "SET statement_timeout = '10s'";
const APPLICATION: &str = "mattermost-agent";

/// One connection, for the checks of one start.
pub struct Connection<'a> {
    client: Client,
    driver: JoinHandle<()>,
    wanted: &'a Database,
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Connects as Mattermost's own role, TLS verified by name against the given roots.
pub async fn connect<'a>(
    wanted: &'a Database,
    password: &SecretString,
) -> Result<Connection<'a>, DatabaseError> {
    tokio::time::timeout(CONNECT_TIMEOUT, dial(wanted, password))
        .await
        .map_err(|_| DatabaseError::Timeout(error::Place::of(wanted)))?
}

async fn dial<'a>(
    wanted: &'a Database,
    password: &SecretString,
) -> Result<Connection<'a>, DatabaseError> {
    let place = error::Place::of(wanted);
    // Resolved here, so that an unknown name is not mistaken for a dead server.
    let mut addresses = tokio::net::lookup_host((wanted.host.as_str(), wanted.port))
        .await
        .map_err(|source| DatabaseError::NameNotFound(place.clone(), source))?;
    if addresses.next().is_none() {
        return Err(DatabaseError::NameNotFound(
            place,
            std::io::Error::from(std::io::ErrorKind::NotFound),
        ));
    }
    let roots = tls::roots("the database's trusted roots", &wanted.trust_pem)
        .map_err(DatabaseError::Roots)?;
    let config = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .expect("aws-lc-rs has cipher suites for the default versions")
        .with_root_certificates(Arc::new(roots))
        .with_no_client_auth();
    let (client, connection) = tokio_postgres::Config::new()
        .host(&wanted.host)
        .port(wanted.port)
        .dbname(&wanted.name)
        .user(&wanted.user)
        .password(password.expose_secret())
        .application_name(APPLICATION)
        .ssl_mode(SslMode::Require)
        .connect(MakeRustlsConnect::new(config))
        .await
        .map_err(|source| DatabaseError::connecting(place.clone(), source))?;
    let driver = tokio::spawn(async move {
        // Its end is seen by the query that needed it.
        let _ = connection.await;
    });
    let connection = Connection {
        client,
        driver,
        wanted,
    };
    connection
        .client
        .batch_execute(STATEMENT_TIMEOUT)
        .await
        .map_err(|source| DatabaseError::Query(place, source))?;
    Ok(connection)
}

impl Connection<'_> {
    fn place(&self) -> error::Place {
        error::Place::of(self.wanted)
    }

    fn failed(&self) -> impl FnOnce(tokio_postgres::Error) -> DatabaseError + use<> {
        let place = self.place();
        move |source| DatabaseError::Query(place, source)
    }

    /// Version, rights, ownership and free connections.
    pub async fn check(&self) -> Result<(), DatabaseError> {
        self.check_version().await?;
        self.check_rights().await?;
        self.check_room().await
    }

    async fn check_version(&self) -> Result<(), DatabaseError> {
        let row = self
            .client
            .query_one(
                "SELECT current_setting('server_version_num')::int4 / 10000",
                &[],
            )
            .await
            .map_err(self.failed())?;
        let found: i32 = row.get(0);
        if found < self.wanted.minimum_version as i32 {
            return Err(DatabaseError::TooOld {
                place: self.place(),
                found,
                needed: self.wanted.minimum_version,
            });
        }
        Ok(())
    }

    async fn check_rights(&self) -> Result<(), DatabaseError> {
        let row = self
            .client
            .query_opt(
                "SELECT has_schema_privilege('public', 'USAGE') AND has_schema_privilege('public', 'CREATE'), \
                        pg_has_role(nspowner, 'MEMBER'), pg_get_userbyid(nspowner)::text, \
                        current_setting('server_version_num')::int4 >= 150000 \
                 FROM pg_namespace WHERE nspname = 'public'",
                &[],
            )
            .await
            .map_err(self.failed())?;
        let Some(row) = row else {
            return Err(DatabaseError::NoSchema(self.place()));
        };
        let (usable, owns, owner, must_own): (bool, bool, String, bool) =
            (row.get(0), row.get(1), row.get(2), row.get(3));
        if must_own && !owns {
            return Err(DatabaseError::SchemaOwner {
                place: self.place(),
                what: "schema `public`".to_owned(),
                owner,
            });
        }
        if !usable {
            return Err(DatabaseError::Rights(self.place()));
        }
        let foreign = self
            .client
            .query_opt(
                "SELECT relname::text, pg_get_userbyid(relowner)::text FROM pg_class \
                 WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') \
                   AND NOT pg_has_role(relowner, 'MEMBER') ORDER BY relname LIMIT 1",
                &[],
            )
            .await
            .map_err(self.failed())?;
        match foreign {
            Some(row) => Err(DatabaseError::SchemaOwner {
                place: self.place(),
                what: format!("table `{}`", row.get::<_, String>(0)),
                owner: row.get(1),
            }),
            None => Ok(()),
        }
    }

    async fn check_room(&self) -> Result<(), DatabaseError> {
        let row = self
            .client
            .query_one(
                "SELECT current_setting('max_connections')::int8 \
                          - current_setting('superuser_reserved_connections')::int8, \
                        count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'",
                &[],
            )
            .await
            .map_err(self.failed())?;
        let (usable, used): (i64, i64) = (row.get(0), row.get(1));
        let free = usable - used;
        if free < i64::from(self.wanted.connections_needed) {
            return Err(DatabaseError::TooFewConnections {
                place: self.place(),
                free,
                usable,
                needed: self.wanted.connections_needed,
            });
        }
        Ok(())
    }

    /// What `db_migrations` holds, and whether `configurations` has an active row; an empty database has
    /// neither. The server makes the one table when it migrates, the other when it opens MM_CONFIG.
    pub async fn schema(&self) -> Result<Schema, DatabaseError> {
        let there = self
            .client
            .query_one(
                "SELECT to_regclass('db_migrations') IS NOT NULL, \
                        to_regclass('configurations') IS NOT NULL",
                &[],
            )
            .await
            .map_err(self.failed())?;
        let configuration = there.get(1) && self.has_configuration().await?;
        if !there.get::<_, bool>(0) {
            return Ok(Schema {
                configuration,
                ..Schema::default()
            });
        }
        Ok(Schema {
            configuration,
            ..self.migrations().await?
        })
    }

    /// At most one row is active: the column is unique, and NULL in all others.
    async fn has_configuration(&self) -> Result<bool, DatabaseError> {
        self.client
            .query_one(
                "SELECT EXISTS (SELECT FROM configurations WHERE active)",
                &[],
            )
            .await
            .map(|row| row.get(0))
            .map_err(self.failed())
    }

    async fn migrations(&self) -> Result<Schema, DatabaseError> {
        let newest = self
            .client
            .query_opt(
                "SELECT version::int8, name::text, count(*) OVER () \
                 FROM db_migrations ORDER BY version DESC LIMIT 1",
                &[],
            )
            .await
            .map_err(self.failed())?;
        Ok(newest.map_or_else(Schema::default, |row| Schema {
            applied: row.get::<_, i64>(2) as u32,
            newest: row.get::<_, i64>(0) as u32,
            newest_name: row.get(1),
            ..Schema::default()
        }))
    }
}

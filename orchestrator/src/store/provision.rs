//! Databases and roles on the stack's primary, made as the master; and what SQL sees of them.
//!
//! Passwords never travel in a statement: the server gets the SCRAM-SHA-256 verifier, made here.

use jiff::Timestamp;
use plan::action::DatabaseWanted;
use plan::observed::Databases;
use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::configuration;
use super::connect::{self, Access, ConnectError};

/// Why a database could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A statement failed.
    #[error("{what}")]
    Statement {
        /// What it was to do.
        what: String,
        /// The server's word.
        #[source]
        source: tokio_postgres::Error,
    },
}

impl ProvisionError {
    /// Whether the server refused the password: that alone, not the network, not TLS, not a missing database.
    pub fn is_wrong_password(&self) -> bool {
        matches!(
            self,
            Self::Connect(ConnectError::Refused { source, .. })
                if source.code() == Some(&SqlState::INVALID_PASSWORD)
        )
    }
}

/// Whether this role is let into this database with this password.
pub async fn opens(access: &Access) -> bool {
    connect::open(access, None).await.is_ok()
}

pub(super) fn failed(
    what: impl Into<String>,
) -> impl FnOnce(tokio_postgres::Error) -> ProvisionError {
    move |source| ProvisionError::Statement {
        what: what.into(),
        source,
    }
}

/// An identifier, quoted as SQL wants it.
fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// Makes the role and the database, and gives the role its schema. Run twice, nothing changes.
pub async fn ensure_database(
    master: &Access,
    wanted: &DatabaseWanted,
    password: &SecretString,
) -> Result<(), ProvisionError> {
    let client = connect::open(master, None).await?;
    let (name, owner) = (quoted(&wanted.name), quoted(&wanted.owner));
    let exists = client
        .query_opt(
            "SELECT 1 FROM pg_roles WHERE rolname = $1",
            &[&wanted.owner],
        )
        .await
        .map_err(failed("read roles"))?
        .is_some();
    if !exists {
        let statement = format!("CREATE ROLE {owner} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE");
        client
            .batch_execute(&statement)
            .await
            .map_err(failed(format!("create role `{}`", wanted.owner)))?;
    }
    let verifier = postgres_protocol::password::scram_sha_256(password.expose_secret().as_bytes());
    let statement = format!("ALTER ROLE {owner} WITH LOGIN PASSWORD '{verifier}'");
    client
        .batch_execute(&statement)
        .await
        .map_err(failed(format!(
            "set the password of role `{}`",
            wanted.owner
        )))?;
    // The master is no superuser: it must be a member of a role to make that role the owner of something.
    let statement = format!("GRANT {owner} TO CURRENT_USER");
    client
        .batch_execute(&statement)
        .await
        .map_err(failed(format!("join role `{}`", wanted.owner)))?;
    let exists = client
        .query_opt(
            "SELECT 1 FROM pg_database WHERE datname = $1",
            &[&wanted.name],
        )
        .await
        .map_err(failed("read databases"))?
        .is_some();
    if !exists {
        let statement =
            format!("CREATE DATABASE {name} OWNER {owner} ENCODING 'UTF8' TEMPLATE template0");
        client
            .batch_execute(&statement)
            .await
            .map_err(failed(format!("create database `{}`", wanted.name)))?;
    }
    let statement = format!(
        "REVOKE CONNECT ON DATABASE {name} FROM PUBLIC; GRANT CONNECT ON DATABASE {name} TO {owner}"
    );
    client
        .batch_execute(&statement)
        .await
        .map_err(failed(format!("set who may connect to `{}`", wanted.name)))?;
    // As the owner of the database the role may hand `public` to itself (the schema belongs to pg_database_owner since 15).
    let own = Access {
        database: wanted.name.clone(),
        user: wanted.owner.clone(),
        password: password.clone(),
        ..master.clone()
    };
    let client = connect::open(&own, None).await?;
    let statement = format!("ALTER SCHEMA public OWNER TO {owner}");
    client
        .batch_execute(&statement)
        .await
        .map_err(failed(format!("give schema `public` of `{}`", wanted.name)))
}

/// What the primary looks like: by the master for the whole, by each role for itself.
pub async fn observe(
    master: &Access,
    roles: &[(String, String, SecretString)],
) -> Result<Databases, ProvisionError> {
    let client = connect::open(master, None).await?;
    let mut seen = Databases::default();
    let rows = client
        .query(
            "SELECT datname, pg_get_userbyid(datdba) FROM pg_database WHERE NOT datistemplate",
            &[],
        )
        .await
        .map_err(failed("read databases"))?;
    seen.owners = rows
        .iter()
        .map(|row| (row.get::<_, String>(0), row.get::<_, String>(1)))
        .collect();
    let row = client
        .query_one(
            "SELECT current_setting('max_connections')::int, (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')::int,
                    current_setting('server_version_num')::int,
                    (extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
            &[],
        )
        .await
        .map_err(failed("read settings"))?;
    seen.max_connections = row.get::<_, i32>(0).unsigned_abs();
    seen.connections = row.get::<_, i32>(1).unsigned_abs();
    seen.server_version = row.get::<_, i32>(2).unsigned_abs();
    seen.clock = Timestamp::from_microsecond(row.get::<_, i64>(3)).ok();
    for (database, role, password) in roles {
        if !seen.owners.contains_key(database) {
            continue;
        }
        let own = Access {
            database: database.clone(),
            user: role.clone(),
            password: password.clone(),
            ..master.clone()
        };
        let Ok(client) = connect::open(&own, None).await else {
            continue;
        };
        seen.roles.insert(role.clone());
        if database == "mattermost" {
            seen.schema_owner = client
                .query_opt(
                    "SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'public'",
                    &[],
                )
                .await
                .map_err(failed("read the owner of schema `public`"))?
                .map(|row| row.get(0));
            seen.migrations_applied = Some(migrations(&client).await?);
            seen.configuration = configuration::active(&client).await?;
        }
    }
    Ok(seen)
}

/// Whether both addresses are fresh members of one cluster, as Mattermost keeps it in `clusterdiscovery`.
/// A member pings its row every minute; the server takes rows older than thirty minutes for dead.
pub async fn same_cluster(
    access: &Access,
    left: &str,
    right: &str,
) -> Result<bool, ProvisionError> {
    let client = connect::open(access, None).await?;
    let row = client
        .query_one(
            "SELECT EXISTS (
                 SELECT 1 FROM clusterdiscovery a JOIN clusterdiscovery b ON a.clustername = b.clustername
                 WHERE a.hostname = $1 AND b.hostname = $2
                   AND least(a.lastpingat, b.lastpingat) > (extract(epoch FROM now()) * 1000)::bigint - 1800000)",
            &[&left, &right],
        )
        .await
        .map_err(failed("read `clusterdiscovery`"))?;
    Ok(row.get(0))
}

async fn migrations(client: &Client) -> Result<u32, ProvisionError> {
    let row = client
        .query_one(
            "SELECT to_regclass('public.db_migrations') IS NOT NULL",
            &[],
        )
        .await
        .map_err(failed("look for `db_migrations`"))?;
    if !row.get::<_, bool>(0) {
        return Ok(0);
    }
    let row = client
        .query_one("SELECT count(*) FROM db_migrations", &[])
        .await
        .map_err(failed("read `db_migrations`"))?;
    Ok(u32::try_from(row.get::<_, i64>(0)).unwrap_or(0))
}

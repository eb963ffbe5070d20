//! Where a configuration is kept: a file, or two tables of the database.
//!
//! ```text
//!   configurations       id  value  createat  active  sha     one row is active; a change adds a row
//!   configurationfiles   name  data  createat  updateat        certificates and the like
//! ```

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio_postgres::Client;

use super::ConfigError;
use super::defaults::{Document, set};
use crate::database::{Database, DatabaseError};
use crate::dsn::Dsn;
use crate::schema::lock::{self, Lock};
use crate::{clock, ids};

/// Connections that the store opens at most, beside those of the data source.
const MAX_OPEN: usize = 2;
/// Resting connections that it keeps. The real store keeps none; the pool's least is one.
const MAX_IDLE: usize = 1;

/// What makes the tables, with the names that stand in `db_config_migrations`.
const MIGRATIONS: [(i64, &str, &str); 3] = [
    (
        1,
        "create_configurations",
        "CREATE TABLE IF NOT EXISTS configurations (id VARCHAR(26) PRIMARY KEY, value TEXT NOT NULL, createat BIGINT NOT NULL, active BOOLEAN DEFAULT NULL UNIQUE)",
    ),
    (
        2,
        "create_configuration_files",
        "CREATE TABLE IF NOT EXISTS configurationfiles (name VARCHAR(64) PRIMARY KEY, data TEXT NOT NULL, createat BIGINT NOT NULL, updateat BIGINT NOT NULL)",
    ),
    (
        3,
        "update_configurations_sha",
        "ALTER TABLE configurations ADD COLUMN IF NOT EXISTS sha CHAR(64) DEFAULT ''",
    ),
];

/// A place for the configuration.
#[derive(Debug)]
pub(crate) enum Store {
    /// A JSON file.
    File(PathBuf),
    /// The tables of a database, with the data source name that led there.
    Database(Box<Database>, String),
}

impl Store {
    /// Opens the place: `postgres://…` is a database, whose tables are made; anything else is a path.
    pub(crate) async fn open(place: &str) -> Result<Self, ConfigError> {
        if !is_database(place) {
            return Ok(Self::File(PathBuf::from(place)));
        }
        let database = Database::new(&Dsn::parse(place)?, MAX_OPEN, MAX_IDLE)?;
        make_tables(&database).await?;
        Ok(Self::Database(Box::new(database), place.to_owned()))
    }

    /// What is stored; none when nothing is yet. A database without a row gives the start of one: the
    /// data source that led to it.
    pub(crate) async fn load(&self) -> Result<Option<Document>, ConfigError> {
        let (text, place) = match self {
            Self::File(path) => match tokio::fs::read_to_string(path).await {
                Ok(text) => (text, path.display().to_string()),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                Err(source) => return Err(ConfigError::read(path, source)),
            },
            Self::Database(database, name) => match active(database).await? {
                Some(text) => (text, "configurations".to_owned()),
                None => {
                    let mut document = Document::new();
                    set(
                        &mut document,
                        "SqlSettings",
                        "DataSource",
                        name.as_str().into(),
                    );
                    return Ok(Some(document));
                }
            },
        };
        if text.trim().is_empty() {
            return Ok(None);
        }
        match serde_json::from_str(&text) {
            Ok(Value::Object(document)) => Ok(Some(document)),
            Ok(_) => Err(ConfigError::Json {
                place,
                source: None,
            }),
            Err(source) => Err(ConfigError::Json {
                place,
                source: Some(source),
            }),
        }
    }

    /// Stores a configuration. In a database a new row becomes the active one, unless the active one
    /// holds the very same text.
    pub(crate) async fn save(&self, document: &Document) -> Result<(), ConfigError> {
        let text = render(document);
        match self {
            Self::File(path) => write(path, &text).map_err(|source| ConfigError::Write {
                path: path.clone(),
                source,
            }),
            Self::Database(database, _) => Ok(activate(database, &text).await?),
        }
    }

    /// A file that belongs to the configuration, by its name; none when there is none.
    pub(crate) async fn file(&self, name: &str) -> Result<Option<String>, ConfigError> {
        match self {
            Self::File(path) => {
                let path = path.with_file_name(name);
                match tokio::fs::read_to_string(&path).await {
                    Ok(text) => Ok(Some(text)),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                    Err(source) => Err(ConfigError::read(&path, source)),
                }
            }
            Self::Database(database, _) => {
                let connection = database.connection().await?;
                let row = connection
                    .query_opt(
                        "SELECT data FROM configurationfiles WHERE name = $1",
                        &[&name],
                    )
                    .await
                    .map_err(DatabaseError::from)?;
                Ok(row.map(|row| row.get(0)))
            }
        }
    }

    /// Stores a file that belongs to the configuration.
    pub(crate) async fn save_file(&self, name: &str, data: &str) -> Result<(), ConfigError> {
        match self {
            Self::File(path) => {
                let path = path.with_file_name(name);
                write(&path, data).map_err(|source| ConfigError::Write { path, source })
            }
            Self::Database(database, _) => {
                database
                    .connection()
                    .await?
                    .execute(
                        "INSERT INTO configurationfiles (name, data, createat, updateat) VALUES ($1, $2, $3, $3) \
                         ON CONFLICT (name) DO UPDATE SET data = $2, updateat = $3",
                        &[&name, &data, &clock::now_ms()],
                    )
                    .await
                    .map_err(DatabaseError::from)?;
                Ok(())
            }
        }
    }

    /// Whether it is a file.
    pub(crate) fn is_file(&self) -> bool {
        matches!(self, Self::File(_))
    }
}

/// Whether a place is a database.
pub(crate) fn is_database(place: &str) -> bool {
    place.starts_with("postgres://") || place.starts_with("postgresql://")
}

/// Four spaces deep, as the real server writes it.
fn render(document: &Document) -> String {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    document
        .serialize(&mut serializer)
        .expect("a document is plain JSON values");
    String::from_utf8(text).expect("JSON is UTF-8")
}

/// In place, as the real server does: the file keeps its owner and its mode.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?
        .write_all(text.as_bytes())
}

async fn active(database: &Database) -> Result<Option<String>, DatabaseError> {
    let row = database
        .connection()
        .await?
        .query_opt("SELECT value FROM configurations WHERE active", &[])
        .await?;
    Ok(row.map(|row| row.get(0)))
}

async fn activate(database: &Database, text: &str) -> Result<(), DatabaseError> {
    let sha = hex::encode(Sha256::digest(text));
    let mut connection = database.connection().await?;
    let same = connection
        .query_opt("SELECT sha FROM configurations WHERE active", &[])
        .await?
        .is_some_and(|row| {
            let stored: Option<&str> = row.get(0);
            stored.is_some_and(|stored| stored.trim() == sha)
        });
    if same {
        return Ok(());
    }
    let transaction = connection.transaction().await?;
    transaction
        .execute("UPDATE configurations SET active = NULL WHERE active", &[])
        .await?;
    transaction
        .execute(
            "INSERT INTO configurations (id, value, createat, active, sha) VALUES ($1, $2, $3, TRUE, $4)",
            &[&ids::new_id(), &text, &clock::now_ms(), &sha],
        )
        .await?;
    Ok(transaction.commit().await?)
}

/// Nothing pending, nothing done. Two at once on an empty database race for the bookkeeping tables, as
/// they do for the schema's.
async fn make_tables(database: &Database) -> Result<(), DatabaseError> {
    let mut client = database.connection().await?;
    if applied(&client).await? >= MIGRATIONS.len() as i64 {
        return Ok(());
    }
    client
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS db_lock (id VARCHAR(64) PRIMARY KEY, expireat BIGINT); \
             CREATE TABLE IF NOT EXISTS db_config_migrations (version BIGINT NOT NULL, name VARCHAR NOT NULL, PRIMARY KEY (version))",
        )
        .await?;
    let lock = Lock::acquire(lock::CONFIGURATION, &client, database).await?;
    let made = apply(&mut client).await;
    if let Err(error) = lock.release(&client).await {
        log::warn!("Cannot release the configuration's lock: {error}");
    }
    made.map_err(DatabaseError::from)
}

async fn applied(client: &Client) -> Result<i64, tokio_postgres::Error> {
    let there: bool = client
        .query_one(
            "SELECT to_regclass('db_config_migrations') IS NOT NULL",
            &[],
        )
        .await?
        .get(0);
    if !there {
        return Ok(0);
    }
    let row = client
        .query_one("SELECT count(*) FROM db_config_migrations", &[])
        .await?;
    Ok(row.get(0))
}

async fn apply(client: &mut Client) -> Result<(), tokio_postgres::Error> {
    for (number, name, statement) in MIGRATIONS {
        let transaction = client.transaction().await?;
        let new = transaction
            .execute(
                "INSERT INTO db_config_migrations (version, name) VALUES ($1, $2) ON CONFLICT DO NOTHING",
                &[&number, &name],
            )
            .await?;
        if new == 1 {
            transaction.batch_execute(statement).await?;
        }
        transaction.commit().await?;
    }
    Ok(())
}

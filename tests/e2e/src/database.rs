//! A database of the stack, for clients that are not ours.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::process::Command;

use crate::secrets::kept;
use crate::stage::Stage;

/// A database on the primary and the role that owns it.
pub struct Database {
    name: String,
    host: String,
    port: u64,
    user: String,
    password: String,
    ca: PathBuf,
}

impl Stage {
    /// The database of this name, `mattermost` or `orchestrator`.
    pub async fn database(&self, name: &str) -> anyhow::Result<Database> {
        let login = kept(self, &format!("chat/database/{name}")).await?;
        let primary = ["--db-instance-identifier", "chat-db"];
        let found = self
            .aws(&[&["rds", "describe-db-instances"], &primary[..]].concat())
            .await?;
        let endpoint = &found["DBInstances"][0]["Endpoint"];
        let text = |value: &Value, what| {
            let text = value.as_str().map(str::to_owned);
            text.with_context(|| format!("database `{name}` has no {what}"))
        };
        Ok(Database {
            name: name.to_owned(),
            host: text(&endpoint["Address"], "address")?,
            port: endpoint["Port"].as_u64().context("no port")?,
            user: text(&login["username"], "user")?,
            password: text(&login["password"], "password")?,
            ca: self.directory.path().join("lab/ca.pem"),
        })
    }
}

impl Database {
    /// For a client that takes an address, with the password in it.
    pub fn url(&self) -> String {
        format!(
            "postgres://{}:{}@{}:{}/{}?sslmode=verify-full&sslrootcert={}",
            self.user,
            self.password,
            self.host,
            self.port,
            self.name,
            self.ca.display()
        )
    }

    /// What `psql` prints for a statement: rows alone, columns with `|` between them.
    pub async fn ask(&self, statement: &str) -> anyhow::Result<String> {
        let said = self
            .client("psql")
            .args([
                "--no-psqlrc",
                "-At",
                "-v",
                "ON_ERROR_STOP=1",
                "-c",
                statement,
            ])
            .output()
            .await
            .context("running `psql`")?;
        let talk = String::from_utf8_lossy(&said.stderr);
        ensure!(said.status.success(), "`{statement}`: {talk}");
        Ok(String::from_utf8_lossy(&said.stdout).into_owned())
    }

    /// One of Postgres' own clients, told by its environment where to go; it dies with the caller.
    pub fn client(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("PGHOST", &self.host)
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", &self.user)
            .env("PGPASSWORD", &self.password)
            .env("PGDATABASE", &self.name)
            .env("PGSSLMODE", "require")
            .kill_on_drop(true);
        command
    }
}

//! Effects: one action in, one outcome out. Nothing is decided here.

use std::sync::Arc;

use cloud::Outcome;
use plan::Action;
use plan::action::{DatabaseWanted, SecretKind};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::authority::Authority;
use crate::core::Core;
use crate::store::{Access, provision};

#[derive(Deserialize)]
struct Login {
    username: String,
    password: String,
}

/// Makes one effect. An error means: not known to be made; the next look tells.
pub async fn apply(core: &Arc<Core>, action: &Action) -> anyhow::Result<Outcome> {
    let outcome = core.cloud.apply(action, core.now()).await?;
    if outcome != Outcome::NotMine {
        return Ok(outcome);
    }
    match action {
        Action::EnsureSecret {
            name,
            kind: SecretKind::CertificateAuthority,
        } => {
            let value = Authority::generate(&core.spec.stack, core.now())?;
            Ok(core.cloud.create_secret(name, &value, "fleet-ca").await?)
        }
        Action::EnsureDatabases { databases } => {
            for wanted in databases {
                ensure_database(core, wanted).await?;
            }
            Ok(Outcome::Changed)
        }
        Action::ProbeChat { from, to } => {
            probe_chat(core, from, to).await?;
            Ok(Outcome::Changed)
        }
        other => anyhow::bail!("no executor for `{}`", other.key()),
    }
}

async fn login(core: &Arc<Core>, name: &str) -> anyhow::Result<(String, SecretString)> {
    let secret = core.cloud.read_secret(name).await?;
    let login: Login = serde_json::from_str(secret.expose_secret()).map_err(|_| {
        anyhow::anyhow!("secret `{name}` is not `{{\"username\", \"password\"}}` in JSON")
    })?;
    Ok((login.username, login.password.into()))
}

/// The primary as its master reaches it.
async fn master(core: &Arc<Core>) -> anyhow::Result<Access> {
    let names = core.spec.names();
    let (user, password) = login(core, &names.master_secret()).await?;
    let look = core.looks.borrow().clone();
    let primary = look.observed.db_instances.get(&names.database());
    let (host, port) = primary
        .and_then(|db| Some((db.endpoint.clone()?, db.port?)))
        .ok_or_else(|| anyhow::anyhow!("the primary has no endpoint"))?;
    let trust_pem = Arc::clone(&core.database_trust);
    Ok(Access {
        host,
        port,
        database: "postgres".to_owned(),
        user,
        password,
        trust_pem,
    })
}

async fn ensure_database(core: &Arc<Core>, wanted: &DatabaseWanted) -> anyhow::Result<()> {
    let (_, password) = login(core, &wanted.secret).await?;
    Ok(provision::ensure_database(&master(core).await?, wanted, &password).await?)
}

/// Whether two nodes are members of one cluster, as the servers themselves record it
/// (docs/adr/0002-cluster-membership-by-sql.md).
async fn probe_chat(core: &Arc<Core>, from: &str, to: &str) -> anyhow::Result<()> {
    let look = core.looks.borrow().clone();
    let address = |id: &str| {
        look.observed
            .instances
            .get(id)
            .and_then(|instance| instance.private_ip.clone())
    };
    let (Some(left), Some(right)) = (address(from), address(to)) else {
        anyhow::bail!("the address of {from} or {to} is not known yet");
    };
    let access = core
        .fleet
        .facts()
        .database
        .clone()
        .ok_or_else(|| anyhow::anyhow!("the database is not known yet"))?;
    let together = provision::same_cluster(&access, &left, &right).await?;
    core.set_chat(from, to, together);
    Ok(())
}

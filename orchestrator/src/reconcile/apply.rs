//! Effects: one action in, one outcome out. Nothing is decided here.

use std::sync::Arc;

use cloud::Outcome;
use plan::Action;
use plan::action::{DatabaseWanted, SecretKind};

use crate::authority::Authority;
use crate::core::Core;
use crate::reconcile::login::Login;
use crate::store::{Access, provision};

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

async fn login(core: &Arc<Core>, name: &str) -> anyhow::Result<Login> {
    let secret = core.cloud.read_secret(name).await?;
    Ok(Login::parse(name, &secret)?)
}

/// The primary as its master reaches it.
async fn master(core: &Arc<Core>) -> anyhow::Result<Access> {
    let names = core.spec.names();
    let login = login(core, &names.master_secret()).await?;
    let look = core.looks.borrow().clone();
    let primary = look.observed.db_instances.get(&names.database());
    let endpoint = primary
        .and_then(|db| Some((db.endpoint.clone()?, db.port?)))
        .ok_or_else(|| anyhow::anyhow!("the primary has no endpoint"))?;
    Ok(login.access(core, endpoint, "postgres"))
}

async fn ensure_database(core: &Arc<Core>, wanted: &DatabaseWanted) -> anyhow::Result<()> {
    let login = login(core, &wanted.secret).await?;
    Ok(provision::ensure_database(&master(core).await?, wanted, &login.password).await?)
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
    let facts = core.fleet.facts();
    let facts = facts.ok_or_else(|| anyhow::anyhow!("the database is not known yet"))?;
    let together = provision::same_cluster(&facts.database, &left, &right).await?;
    core.set_chat(from, to, together);
    Ok(())
}

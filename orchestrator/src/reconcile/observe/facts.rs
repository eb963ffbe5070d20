//! What the nodes' configurations are made of.
//!
//! Invariant: what could not be read has not changed. Nodes keep what they were told until all of it was seen
//! to be otherwise.

use std::sync::Arc;
use std::time::Duration;

use plan::{DATABASE, Observed};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::{Memory, databases, history};
use crate::core::Core;
use crate::desired;
use crate::fleet::Facts;
use crate::store::Access;

/// A renewed licence reaches the nodes within this.
const LICENCE_EVERY: Duration = Duration::from_secs(60);

/// Facts for the nodes' configuration, and what SQL says.
pub(super) async fn learn(core: &Arc<Core>, observed: &mut Observed, memory: &mut Memory) {
    let names = core.spec.names();
    let endpoint = observed
        .db_instances
        .get(&names.database())
        .and_then(|db| Some((db.endpoint.clone()?, db.port?)));
    let (mut store, mut primary) = (None, None);
    if let Some(endpoint) = endpoint {
        let mattermost = memory
            .login(core, observed, &names.mattermost_secret())
            .await;
        let orchestrator = memory
            .login(core, observed, &names.orchestrator_secret())
            .await;
        let master = memory.login(core, observed, &names.master_secret()).await;
        let roles: Vec<(String, String, SecretString)> =
            [("mattermost", &mattermost), (DATABASE, &orchestrator)]
                .into_iter()
                .filter_map(|(database, login)| {
                    let login = login.as_ref()?;
                    Some((
                        database.to_owned(),
                        login.username.clone(),
                        login.password.clone(),
                    ))
                })
                .collect();
        if let Some(master) = master {
            databases(
                observed,
                memory,
                &master.access(core, endpoint.clone(), "postgres"),
                &roles,
            )
            .await;
        }
        store = orchestrator.map(|login| login.access(core, endpoint.clone(), DATABASE));
        primary = mattermost.map(|login| login.access(core, endpoint, "mattermost"));
    }
    history(core, observed, store, &memory.last).await;
    let licence = licence(core, memory).await;
    if let Some(facts) = whole(core, observed, primary, licence)
        && core
            .fleet
            .facts()
            .is_none_or(|before| differ(&before, &facts))
    {
        core.fleet.set_facts(facts);
    }
}

/// The facts, when nothing is missing.
fn whole(
    core: &Core,
    observed: &Observed,
    database: Option<Access>,
    licence: Option<SecretString>,
) -> Option<Facts> {
    let names = core.spec.names();
    let password = observed.secrets.get(&names.mattermost_secret())?;
    let mut secrets_revision = password.version_id.clone();
    if let Some(licence) = &licence {
        let digest = hex::encode(Sha256::digest(licence.expose_secret()));
        secrets_revision = format!("{secrets_revision},{digest}");
    }
    let mut replicas = Vec::new();
    // By endpoint, not by state: a nightly backup of a replica must not reconfigure the fleet. Without
    // a licence Mattermost ignores replicas.
    if core.spec.mattermost.cluster {
        replicas = observed
            .db_instances
            .values()
            .filter(|db| {
                db.replica_of.is_some()
                    && !matches!(db.status.as_str(), "creating" | "deleting" | "failed")
            })
            .filter_map(|db| Some((db.endpoint.clone()?, db.port?)))
            .collect();
    }
    let facts = Facts {
        database: database?,
        replicas,
        site_url: crate::status::url(&core.spec, observed)?,
        licence,
        secrets_revision,
    };
    (!desired::lacks_licence(&core.spec, &facts)).then_some(facts)
}

/// The licence's text. Its secret is the operator's, not the stack's: it is read by name, now and then.
async fn licence(core: &Core, memory: &mut Memory) -> Option<SecretString> {
    let name = core.spec.mattermost.licence_secret.as_ref()?;
    if let Some((at, text)) = &memory.licence
        && at.elapsed() < LICENCE_EVERY
    {
        return Some(text.clone());
    }
    match core.cloud.read_secret(name).await {
        Ok(text) => memory.licence = Some((Instant::now(), text)),
        // A licence that was read before stays good: nodes must not lose it because a read failed.
        Err(error) => log::warn!("licence `{name}`: {}", crate::chain(&error)),
    }
    memory.licence.as_ref().map(|(_, text)| text.clone())
}

fn differ(before: &Facts, after: &Facts) -> bool {
    let place = |facts: &Facts| {
        let database = &facts.database;
        (database.host.clone(), database.port, database.user.clone())
    };
    place(before) != place(after)
        || before.replicas != after.replicas
        || before.site_url != after.site_url
        || before.secrets_revision != after.secrets_revision
        || before.licence.is_some() != after.licence.is_some()
}

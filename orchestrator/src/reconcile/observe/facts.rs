//! What the nodes' configurations are made of.
//!
//! Invariant: what could not be read has not changed. Nodes keep what they were told until all of it was seen
//! to be otherwise.

use std::sync::Arc;

use plan::{DATABASE, Observed};
use secrecy::SecretString;

use super::{Memory, databases, history};
use crate::core::Core;
use crate::fleet::Facts;
use crate::licence::Licences;
use crate::store::Access;

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
    let seen = memory.licence.look(core, &memory.last).await;
    let (licence, licences) = seen.unzip();
    observed.licence = licence;
    if let Some(facts) = whole(core, observed, primary, licences.unwrap_or_default())
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
    licences: Licences,
) -> Option<Facts> {
    if core.spec.mattermost.licence_secret.is_some() && licences.is_empty() {
        return None;
    }
    let names = core.spec.names();
    let password = observed.secrets.get(&names.mattermost_secret())?;
    let secrets_revision = password.version_id.clone();
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
    Some(Facts {
        database: database?,
        replicas,
        site_url: crate::status::url(&core.spec, observed)?,
        licences,
        secrets_revision,
    })
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
        || !before.licences.are(&after.licences)
}

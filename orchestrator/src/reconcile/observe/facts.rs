//! What the nodes' configurations are made of.
//!
//! Invariant: what could not be read has not changed. Nodes keep what they were told until all of it was seen
//! to be otherwise.

use std::sync::Arc;

use plan::observed::{Databases, DbStatus};
use plan::{DATABASE, Observed};
use secrecy::{ExposeSecret, SecretString};

use super::named::Values;
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
        let versions = [names.mattermost_secret(), names.orchestrator_secret()]
            .iter()
            .filter_map(|name| Some(observed.secrets.get(name)?.version_id.clone()))
            .collect();
        if let Some(master) = master {
            databases(
                observed,
                memory,
                &master.access(core, endpoint.clone(), "postgres"),
                &roles,
                versions,
            )
            .await;
        }
        store = orchestrator.map(|login| login.access(core, endpoint.clone(), DATABASE));
        primary = mattermost.map(|login| login.access(core, endpoint, "mattermost"));
    }
    history(core, observed, store, &memory.last).await;
    let known = memory.licence.observe(core, &memory.last).await;
    observed.licence = known.licence;
    observed.licence_unread = known.unread;
    let licences = known.texts;
    memory.named.refresh(core).await;
    observed.missing_secrets = memory.named.missing();
    let named = memory.named.values(&core.spec.secret_settings());
    let before = core.fleet.facts();
    let former = before.as_ref().map(|before| &before.database);
    let primary = primary.filter(|access| lets_in(access, former, observed.databases.as_ref()));
    if let Some(facts) = whole(core, observed, primary, licences, named)
        && before.is_none_or(|before| differ(&before, &facts))
    {
        core.fleet.set_facts(facts);
    }
}

/// Whether nodes may be told this password of Mattermost's role: they have it already, or SQL let the role in
/// with it. Secrets Manager has a rotated one before the database does; a server that restarts with it in
/// between is refused by the database, and counts as one that failed.
fn lets_in(access: &Access, known: Option<&Access>, seen: Option<&Databases>) -> bool {
    let has = known.is_some_and(|known| {
        known.user == access.user
            && known.password.expose_secret() == access.password.expose_secret()
    });
    has || seen.is_some_and(|seen| seen.roles.contains(&access.user))
}

/// The facts, when nothing is missing.
fn whole(
    core: &Core,
    observed: &Observed,
    database: Option<Access>,
    licences: Licences,
    named: Option<Values>,
) -> Option<Facts> {
    if core.spec.mattermost.licence_secret.is_some() && licences.is_empty() {
        return None;
    }
    let named = named?;
    let names = core.spec.names();
    let password = observed.secrets.get(&names.mattermost_secret())?;
    let mut secrets_revision = password.version_id.clone();
    if !named.revision.is_empty() {
        secrets_revision = format!("{secrets_revision},{}", named.revision);
    }
    let mut replicas = Vec::new();
    // By endpoint, not by state: a nightly backup of a replica must not reconfigure the fleet. Without
    // a licence Mattermost ignores replicas.
    if core.spec.mattermost.cluster {
        replicas = observed
            .db_instances
            .values()
            .filter(|db| {
                // One of an instance that had this name before has other messages.
                db.replica_of.as_ref() == Some(&names.database())
                    && !matches!(
                        db.status,
                        DbStatus::Creating | DbStatus::Deleting | DbStatus::Failed
                    )
            })
            .filter_map(|db| Some((db.endpoint.clone()?, db.port?)))
            .collect();
    }
    Some(Facts {
        database: database?,
        replicas,
        site_url: crate::status::url(&core.spec, observed)?,
        licences,
        secret_settings: named.settings,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn access(user: &str, password: &str) -> Access {
        Access {
            host: "db.example".to_owned(),
            port: 5432,
            database: "mattermost".to_owned(),
            user: user.to_owned(),
            password: password.to_owned().into(),
            trust_pem: "ROOTS".into(),
        }
    }

    fn seen(roles: &[&str]) -> Databases {
        Databases {
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            ..Databases::default()
        }
    }

    #[test]
    fn a_password_goes_to_nodes_only_once_the_database_takes_it() {
        let (now, old) = (access("mattermost", "new"), access("mattermost", "old"));
        let other = access("somebody", "new");
        let (open, shut) = (seen(&["mattermost"]), seen(&["orchestrator"]));
        for (what, known, sql, expected) in [
            ("the first one, taken", None, Some(&open), true),
            ("the first one, refused", None, Some(&shut), false),
            ("the first one, nobody looked", None, None, false),
            ("rotated, taken", Some(&old), Some(&open), true),
            ("rotated, refused", Some(&old), Some(&shut), false),
            ("rotated, nobody looked", Some(&old), None, false),
            ("known, refused", Some(&now), Some(&shut), true),
            ("known, nobody looked", Some(&now), None, true),
            ("another role's", Some(&other), Some(&shut), false),
        ] {
            assert_eq!(lets_in(&now, known, sql), expected, "{what}");
        }
    }
}

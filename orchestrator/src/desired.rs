//! From a goal and the stack's facts to the message that a node gets. Deterministic: the digest of
//! the configuration is what proves that a node runs what it was told.

use std::collections::BTreeMap;

use fleet_proto::v1;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use plan::files::{ACCESS_KEY, SECRET_KEY};
use plan::{ConfigurationHome, NodeGoal, Spec};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::fleet::Facts;

mod files;

/// Data sources take this long to connect before they fail (mattermost.md, DSN).
const CONNECT_TIMEOUT_SECONDS: u32 = 10;
/// Unpacked, 11.x is about 1 GB in 30,000 files; a bomb is far above both limits.
const MAX_RELEASE_BYTES: u64 = 4 << 30;
/// As above.
const MAX_RELEASE_FILES: u64 = 200_000;
/// Batches of connections that a leaving node closes: each is one look at the kernel's tables.
const BATCHES_PER_SECOND: u32 = 5;
/// Oldest PostgreSQL that Mattermost 11 accepts (mattermost.md).
const MINIMUM_POSTGRES: u32 = 14;

/// Whom nodes trust for releases.
#[derive(Clone, Copy, Debug)]
pub struct Release<'a> {
    /// Extra roots for the release server, PEM; empty: the system's.
    pub trust_pem: &'a str,
    /// The key that signs, armoured; empty: no signature is asked for.
    pub key: &'a str,
}

/// Settings of a node without its secrets.
pub fn settings(facts: &Facts, goal: &NodeGoal) -> BTreeMap<String, String> {
    let (cluster, scheduler, own) = match goal {
        NodeGoal::Serve {
            cluster,
            scheduler,
            settings,
            ..
        } => (cluster.as_ref(), *scheduler, settings),
        NodeGoal::Prepare { settings, .. } | NodeGoal::Move { settings, .. } => {
            (None, false, settings)
        }
        NodeGoal::Drain => return BTreeMap::new(),
    };
    let mut settings = BTreeMap::from([
        (
            "MM_SQLSETTINGS_DRIVERNAME".to_owned(),
            "postgres".to_owned(),
        ),
        (
            "MM_SERVICESETTINGS_SITEURL".to_owned(),
            facts.site_url.clone(),
        ),
        (
            "MM_JOBSETTINGS_RUNSCHEDULER".to_owned(),
            scheduler.to_string(),
        ),
        // Without it audit and rate limits see the load balancer. A list by blanks; one header is one.
        (
            "MM_SERVICESETTINGS_TRUSTEDPROXYIPHEADER".to_owned(),
            "X-Forwarded-For".to_owned(),
        ),
    ]);
    settings.insert(
        "MM_CLUSTERSETTINGS_ENABLE".to_owned(),
        cluster.is_some().to_string(),
    );
    if let Some(name) = cluster {
        settings.insert("MM_CLUSTERSETTINGS_CLUSTERNAME".to_owned(), name.clone());
    }
    settings.extend(own.iter().map(|(key, value)| (key.clone(), value.clone())));
    // Last: a target from before may still name the disk in its settings.
    if let Some(home) = files::home(goal) {
        settings.extend(home.settings());
    }
    settings
}

/// The secret settings. They leave the orchestrator only in `SecretsReply`. The agent adds `sslrootcert`
/// to the data sources: it knows where it wrote the roots.
pub fn secrets(spec: &Spec, facts: &Facts, goal: &NodeGoal) -> BTreeMap<String, SecretString> {
    let database = &facts.database;
    let source = |host: &str, port: u16| {
        let escape = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        format!(
            "postgres://{}:{}@{host}:{port}/{}?sslmode=verify-full&connect_timeout={CONNECT_TIMEOUT_SECONDS}",
            escape(&database.user),
            escape(database.password.expose_secret()),
            database.database,
        )
    };
    let mut secrets = facts.secret_settings.clone();
    if files::is_for_the_role(goal) {
        // The file may name keys of the next place already: they are not this one's.
        secrets.retain(|setting, _| ![ACCESS_KEY, SECRET_KEY].contains(&setting.as_str()));
    }
    secrets.insert(
        "MM_SQLSETTINGS_DATASOURCE".to_owned(),
        SecretString::from(source(&database.host, database.port)),
    );
    if spec.mattermost.cluster && !facts.replicas.is_empty() {
        let sources: Vec<String> = facts
            .replicas
            .iter()
            .map(|(host, port)| source(host, *port))
            .collect();
        secrets.insert(
            "MM_SQLSETTINGS_DATASOURCEREPLICAS".to_owned(),
            sources.join(" ").into(),
        );
    }
    if let Some(licence) = facts.licences.of(goal) {
        secrets.insert("MM_LICENSE".to_owned(), licence.clone());
    }
    secrets
}

/// Whether the specification has a licence whose text for this node is not there. It would serve without it,
/// alone: messages between nodes would be lost in silence. A server that is started for a moment, to move
/// its settings, has no clients and needs none.
pub fn lacks_licence(spec: &Spec, facts: &Facts, goal: &NodeGoal) -> bool {
    !matches!(goal, NodeGoal::Move { .. })
        && spec.mattermost.licence_secret.is_some()
        && facts.licences.of(goal).is_none()
}

/// Whether files lie where keys are needed that the specification names no more.
fn lacks_keys(facts: &Facts, goal: &NodeGoal) -> bool {
    files::has_own_keys(goal)
        && ![ACCESS_KEY, SECRET_KEY]
            .iter()
            .all(|key| facts.secret_settings.contains_key(*key))
}

/// Whether the specification names a secret for a setting whose value is not there.
fn lacks_secrets(spec: &Spec, facts: &Facts) -> bool {
    let mut wanted = spec.secret_settings().into_keys();
    wanted.any(|setting| !facts.secret_settings.contains_key(setting))
}

/// Where the server keeps its own settings.
fn configuration_store(goal: &NodeGoal) -> v1::ConfigurationStore {
    match goal {
        NodeGoal::Serve {
            configuration: ConfigurationHome::Database,
            ..
        }
        | NodeGoal::Prepare {
            configuration: ConfigurationHome::Database,
            ..
        } => v1::ConfigurationStore::Database,
        NodeGoal::Serve { .. }
        | NodeGoal::Prepare { .. }
        | NodeGoal::Move { .. }
        | NodeGoal::Drain => v1::ConfigurationStore::Unspecified,
    }
}

/// Digest of the configuration: settings, artefact, database, the revision of the secrets, and whom nodes
/// trust. None while the facts for it are not known; a node that leaves needs none.
pub fn digest(release: Release<'_>, facts: Option<&Facts>, goal: &NodeGoal) -> Option<String> {
    if matches!(goal, NodeGoal::Drain) {
        return Some(String::new());
    }
    let facts = facts?;
    let mut hash = Sha256::new();
    let mut part = |name: &str, value: &str| {
        hash.update((name.len() as u64).to_be_bytes());
        hash.update(name);
        hash.update((value.len() as u64).to_be_bytes());
        hash.update(value);
    };
    for (key, value) in settings(facts, goal) {
        part(&key, &value);
    }
    if let NodeGoal::Serve { sha256, .. }
    | NodeGoal::Prepare { sha256, .. }
    | NodeGoal::Move { sha256, .. } = goal
    {
        part("artefact", sha256);
    }
    if let Some(files) = files::digested(goal) {
        part("files", &files);
    }
    let database = &facts.database;
    part(
        "database",
        &format!("{}:{}/{}", database.host, database.port, database.database),
    );
    for (host, port) in &facts.replicas {
        part("replica", &format!("{host}:{port}"));
    }
    part("secrets", &facts.secrets_revision);
    if configuration_store(goal) == v1::ConfigurationStore::Database {
        part("configuration", "database");
    }
    if let Some(version) = goal.licence() {
        part("licence", version);
    }
    if let NodeGoal::Serve {
        started_after: Some(moment),
        ..
    } = goal
    {
        part("started after", &moment.to_string());
    }
    part("database roots", &database.trust_pem);
    part("release roots", release.trust_pem);
    part("release key", release.key);
    Some(hex::encode(hash.finalize()))
}

/// How a node leaves: small batches, so that no second gets more than its share.
fn drain(spec: &Spec) -> v1::Drain {
    let pace = spec.fleet.closed_per_second();
    let (batch, interval_ms) = if pace >= BATCHES_PER_SECOND {
        (pace / BATCHES_PER_SECOND, 1000 / BATCHES_PER_SECOND)
    } else {
        (1, 1000 / pace)
    };
    v1::Drain {
        batch,
        interval_ms,
        deadline_s: spec.fleet.drain_seconds.saturating_sub(30).max(10),
    }
}

/// The message, once everything that it needs is known.
pub fn message(
    spec: &Spec,
    release: Release<'_>,
    facts: Option<&Facts>,
    goal: &NodeGoal,
    generation: u64,
) -> Option<v1::Desired> {
    let drain = drain(spec);
    let (version, sha256, url, migrate, expected, rollout) = match goal {
        NodeGoal::Prepare {
            version,
            sha256,
            url,
            rollout,
            ..
        }
        | NodeGoal::Move {
            version,
            sha256,
            url,
            rollout,
            ..
        } => (version, sha256, url, false, 0, rollout),
        NodeGoal::Drain => {
            return Some(v1::Desired {
                generation,
                goal: v1::Goal::Drain.into(),
                drain: Some(drain),
                ..v1::Desired::default()
            });
        }
        NodeGoal::Serve {
            version,
            sha256,
            url,
            migrate,
            expected_migrations,
            rollout,
            ..
        } => (
            version,
            sha256,
            url,
            *migrate,
            *expected_migrations,
            rollout,
        ),
    };
    let facts = facts.filter(|facts| {
        !lacks_licence(spec, facts, goal) && !lacks_secrets(spec, facts) && !lacks_keys(facts, goal)
    })?;
    let database = &facts.database;
    let role = if migrate {
        v1::MigrationRole::Migrate
    } else {
        v1::MigrationRole::Wait
    };
    Some(v1::Desired {
        generation,
        goal: match goal {
            NodeGoal::Prepare { .. } => v1::Goal::Prepare,
            NodeGoal::Move { .. } => v1::Goal::Move,
            NodeGoal::Serve { .. } => v1::Goal::Serve,
            NodeGoal::Drain => v1::Goal::Drain,
        }
        .into(),
        artefact: Some(v1::Artefact {
            version: version.clone(),
            url: url.clone(),
            sha256: sha256.clone(),
            max_bytes: MAX_RELEASE_BYTES,
            max_files: MAX_RELEASE_FILES,
            trust_pem: release.trust_pem.to_owned(),
            signature_url: spec.signature_url(version, url).unwrap_or_default(),
            signature_fingerprint: spec
                .mattermost
                .signature
                .as_ref()
                .map(|signature| signature.fingerprint.clone())
                .unwrap_or_default(),
            signature_key: release.key.to_owned(),
        }),
        settings: settings(facts, goal).into_iter().collect(),
        configuration_digest: digest(release, Some(facts), goal)?,
        database: Some(v1::Database {
            host: database.host.clone(),
            port: u32::from(database.port),
            name: database.database.clone(),
            user: database.user.clone(),
            trust_pem: database.trust_pem.to_string(),
            minimum_version: MINIMUM_POSTGRES,
            connections_needed: 10,
        }),
        migration: Some(v1::Migration {
            role: role.into(),
            expected_applied: expected,
        }),
        verification: Some(v1::Verification {
            consecutive: spec.rollout.reads_in_a_row,
            interval_ms: 0,
            start_timeout_s: spec.rollout.node_deadline_seconds,
        }),
        drain: Some(drain),
        rollout: rollout.clone().unwrap_or_default(),
        configuration_store: configuration_store(goal).into(),
        site_path: spec.site_path().to_owned(),
        licence: goal.licence().map(|_| v1::LicenceWanted {
            cluster: spec.mattermost.cluster,
        }),
        file_store: files::message(goal),
        r#move: files::order(goal),
    })
}

#[cfg(test)]
mod tests;

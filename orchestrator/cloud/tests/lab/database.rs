//! Secrets, RDS, snapshots.

use std::collections::{BTreeMap, BTreeSet};

use cloud::Outcome;
use plan::Action;
use plan::action::{DbChange, DbPrimary, SecretKind};
use plan::observed::DbStatus;

use crate::support::World;
use crate::values::map;

pub async fn ensure(world: &World) {
    let secret = |name: &str| Action::EnsureSecret {
        name: name.to_owned(),
        kind: SecretKind::Password,
    };
    world.twice(secret("demo/database/master")).await;
    assert_eq!(
        world
            .once(&Action::EnsureSecret {
                name: "demo/orchestrator-ca".to_owned(),
                kind: SecretKind::CertificateAuthority,
            })
            .await,
        Outcome::NotMine
    );
    let seen = world.look().await;
    assert!(!seen.secrets["demo/database/master"].version_id.is_empty());
    assert!(!seen.secrets["demo/database/master"].deleting);

    // Deleted and wanted again: restored with the same value, because a database may know it.
    let before = seen.secrets["demo/database/master"].version_id.clone();
    world
        .twice(Action::DeleteSecret {
            name: "demo/database/master".to_owned(),
        })
        .await;
    assert!(world.look().await.secrets["demo/database/master"].deleting);
    world.twice(secret("demo/database/master")).await;
    let seen = world.look().await;
    assert_eq!(seen.secrets["demo/database/master"].version_id, before);

    let subnets: BTreeSet<String> = seen
        .network
        .as_ref()
        .expect("a network")
        .subnets
        .iter()
        .map(|subnet| subnet.id.clone())
        .collect();
    world
        .twice(Action::EnsureDbSubnetGroup {
            name: "demo-db".to_owned(),
            subnets: subnets.clone(),
        })
        .await;
    let newest = seen.engine_versions.last().expect("an engine version");
    let major = newest.split('.').next().expect("a major version");
    let family = format!("postgres{major}");
    let parameters = |values: BTreeMap<String, String>| Action::EnsureDbParameterGroup {
        name: format!("demo-db-{family}"),
        family: family.clone(),
        parameters: values,
    };
    world
        .twice(parameters(map([
            ("rds.force_ssl", "1"),
            ("max_connections", "120"),
        ])))
        .await;
    world
        .twice(parameters(map([
            ("rds.force_ssl", "1"),
            ("max_connections", "200"),
        ])))
        .await;
    world.twice(parameters(map([("rds.force_ssl", "1")]))).await;
    let seen = world.look().await;
    assert_eq!(
        seen.db_subnet_group.as_ref().map(|group| &group.subnets),
        Some(&subnets)
    );
    let group = seen.db_parameter_group.as_ref().expect("a parameter group");
    assert_eq!(group.family, family);
    // The family's own value, which RDS shows as `system`, counts as well as a user's.
    assert_eq!(group.parameters["rds.force_ssl"], "1");
    assert_eq!(group.set_by_user, BTreeSet::new());
    assert!(!group.parameters["max_connections"].starts_with("200"));

    let groups = BTreeSet::from([seen.security_groups["database"].id.clone()]);
    world
        .twice(Action::EnsureDbPrimary(DbPrimary {
            id: "demo-db".to_owned(),
            class: "db.t3.micro".to_owned(),
            engine_version: newest.clone(),
            storage_gib: 20,
            multi_az: false,
            backup_days: 7,
            deletion_protection: true,
            master_secret: "demo/database/master".to_owned(),
            subnet_group: "demo-db".to_owned(),
            parameter_group: group.name.clone(),
            security_groups: groups.clone(),
        }))
        .await;
    let replica = Action::EnsureDbReplica {
        id: "demo-db-replica-1".to_owned(),
        source: "demo-db".to_owned(),
        class: "db.t3.micro".to_owned(),
        security_groups: groups.clone(),
    };
    let early = world.attempt(&replica).await;
    assert!(
        matches!(&early, Err(cloud::EffectError::Refused { code, .. })
            if code.starts_with("InvalidDBInstanceState")),
        "{early:?}"
    );
    let seen = world
        .until("the primary is available", |seen| {
            seen.db_instances["demo-db"].status == DbStatus::Available
        })
        .await;
    let primary = &seen.db_instances["demo-db"];
    assert!(primary.encrypted && !primary.public && primary.deletion_protection);
    assert_eq!(primary.ca.as_deref(), Some("rds-ca-rsa2048-g1"));
    assert_eq!(primary.security_groups, groups);
    assert_eq!(primary.backup_days, 7);
    assert!(primary.endpoint.is_some() && primary.port == Some(5432));
    assert_eq!(primary.extended_support, Some(false));
    world.twice(replica).await;
    let snapshot = Action::EnsureDbSnapshot {
        id: "demo-before-g2".to_owned(),
        instance: "demo-db".to_owned(),
    };
    world
        .until(
            "the primary is available after the replica's snapshot",
            |seen| {
                seen.db_instances["demo-db"].status == DbStatus::Available
                    && seen.db_instances["demo-db-replica-1"].status == DbStatus::Available
            },
        )
        .await;
    world.twice(snapshot).await;
    let seen = world
        .until("the snapshot is available", |seen| {
            seen.db_snapshots["demo-before-g2"].status == "available"
                && seen.db_instances["demo-db"].status == DbStatus::Available
        })
        .await;
    assert_eq!(
        seen.db_instances["demo-db-replica-1"].replica_of.as_deref(),
        Some("demo-db")
    );
    assert_eq!(seen.db_snapshots["demo-before-g2"].instance, "demo-db");
    let replica = &seen.db_instances["demo-db-replica-1"];
    assert_eq!(replica.extended_support, Some(false), "as its source");
    assert_eq!(
        replica.parameter_group, seen.db_instances["demo-db"].parameter_group,
        "RDS gives it its source's"
    );
    storage(world).await;
    master_password(world).await;
    // A static parameter waits for a reboot; a second reboot is none.
    world
        .twice(parameters(map([
            ("rds.force_ssl", "1"),
            ("max_connections", "90"),
        ])))
        .await;
    world
        .until("the primary waits for its reboot", |seen| {
            seen.db_instances["demo-db"].parameter_group
                == Some((format!("demo-db-{family}"), "pending-reboot".to_owned()))
        })
        .await;
    let reboot = Action::RebootDbInstance {
        id: "demo-db".to_owned(),
    };
    assert_eq!(world.once(&reboot).await, Outcome::Changed);
    world
        .until("the primary is back, in sync", |seen| {
            let primary = &seen.db_instances["demo-db"];
            primary.status == DbStatus::Available
                && primary
                    .parameter_group
                    .as_ref()
                    .is_some_and(|(_, status)| status == "in-sync")
        })
        .await;
    assert_eq!(world.once(&reboot).await, Outcome::Unchanged);
    world
        .until("the replica's lag is measured", |seen| {
            seen.replica_lag_seconds.contains_key("demo-db-replica-1")
        })
        .await;
}

/// One change in six hours; in the optimisation after it everything else goes on.
async fn storage(world: &World) {
    let grow = |gib: u32| Action::GrowDbStorage {
        id: "demo-db".to_owned(),
        gib,
        iops: None,
    };
    assert_eq!(world.once(&grow(30)).await, Outcome::Changed);
    let seen = world
        .until("the storage has grown and is optimised", |seen| {
            seen.db_instances["demo-db"].status == DbStatus::StorageOptimization
        })
        .await;
    assert_eq!(seen.db_instances["demo-db"].storage_gib, 30);
    assert_eq!(seen.db_instances["demo-db-replica-1"].storage_gib, 20);
    assert_eq!(world.once(&grow(30)).await, Outcome::Unchanged);
    let early = world.attempt(&grow(40)).await;
    assert!(
        matches!(&early, Err(cloud::EffectError::Refused { code, .. })
            if code == "InvalidParameterCombination"),
        "{early:?}"
    );
    for auto_minor in [true, false] {
        let change = DbChange {
            auto_minor: Some(auto_minor),
            ..DbChange::default()
        };
        let id = "demo-db".to_owned();
        world.twice(Action::SetDbInstance { id, change }).await;
    }
    world
        .twice(Action::EnsureDbSnapshot {
            id: "demo-before-g3".to_owned(),
            instance: "demo-db".to_owned(),
        })
        .await;
    world
        .until("the snapshot is available", |seen| {
            seen.db_snapshots["demo-before-g3"].status == "available"
                && seen.db_instances["demo-db"].status == DbStatus::Available
        })
        .await;
    world
        .twice(Action::DeleteDbSnapshot {
            id: "demo-before-g3".to_owned(),
        })
        .await;
}

/// Set from the secret; a secret that names another role than RDS's master is refused.
async fn master_password(world: &World) {
    let set = |secret: &str| Action::SetDbMasterPassword {
        id: "demo-db".to_owned(),
        secret: secret.to_owned(),
    };
    let ensure = Action::EnsureSecret {
        name: "demo/database/mattermost".to_owned(),
        kind: SecretKind::Password,
    };
    world.once(&ensure).await;
    let refused = world.attempt(&set("demo/database/mattermost")).await;
    assert!(
        matches!(&refused, Err(cloud::EffectError::Refused { code, .. }) if code == "MasterUsername"),
        "{refused:?}"
    );
    let asked = world.lab.clock.now();
    assert_eq!(
        world.once(&set("demo/database/master")).await,
        Outcome::Changed
    );
    // The status lasts twenty seconds of the lab's, less than two looks are apart: RDS's event stays.
    world
        .until_event("demo-db", asked, "Reset master credentials")
        .await;
    world
        .until("the primary is available with it", |seen| {
            seen.db_instances["demo-db"].status == DbStatus::Available
        })
        .await;
    world
        .once(&Action::DeleteSecret {
            name: "demo/database/mattermost".to_owned(),
        })
        .await;
}

//! RDS: its states, its attributes, its parameters, its master, its versions.

use super::begin;
use crate::action::{Action, DB_CERTIFICATE_AUTHORITY};
use crate::decision::Decision;
use crate::fixtures::{clustered, empty_account, epoch, ready, spec, turn, unlicensed, wanting};
use crate::intent::{Intent, Phase};
use crate::observed::{DbInstance, DbStatus};
use crate::plan;
use crate::spec::Spec;
use crate::world::World;

pub(super) const PRIMARY: &str = "demo-db";
pub(super) const REPLICA: &str = "demo-db-replica-1";

pub(super) fn decide(world: &World, intent: &Intent) -> Decision {
    plan(intent, &world.observed, world.now)
}

pub(super) fn texts(decision: &Decision) -> String {
    let texts: Vec<&str> = decision
        .reasons
        .iter()
        .map(|reason| reason.text.as_str())
        .collect();
    texts.join("\n")
}

pub(super) fn instance<'a>(world: &'a mut World, id: &str) -> &'a mut DbInstance {
    world.observed.db_instances.get_mut(id).unwrap()
}

pub(super) fn with(line: &str, value: &str) -> Spec {
    spec(&[(line, value)])
}

/// Nightly backups and the day after a resize are nothing to wait for.
#[test]
fn a_stack_is_ready_in_every_state_in_which_rds_serves_undisturbed() {
    for (state, expected) in [
        ("available", Phase::Ready),
        ("backing-up", Phase::Ready),
        ("storage-optimization", Phase::Ready),
        ("storage-initialization", Phase::Ready),
        ("configuring-enhanced-monitoring", Phase::Ready),
        ("configuring-log-exports", Phase::Ready),
        ("modifying", Phase::Converging),
        ("upgrading", Phase::Converging),
        ("maintenance", Phase::Converging),
        ("a-state-of-tomorrow", Phase::Converging),
    ] {
        for id in [PRIMARY, REPLICA] {
            let (mut world, intent) = ready(&unlicensed());
            instance(&mut world, id).status = state.into();
            let decision = decide(&world, &intent);
            assert_eq!(decision.next, expected, "{id} {state}: {decision:#?}");
            assert_eq!(decision.actions, [], "{id} {state}");
        }
    }
    for (state, cure) in [
        ("stopped", "start-db-instance"),
        ("failed", "restore it"),
        ("storage-full", "raise `database.storage_gib`"),
        ("incompatible-network", "free addresses"),
    ] {
        let (mut world, intent) = ready(&unlicensed());
        instance(&mut world, PRIMARY).status = state.into();
        let decision = decide(&world, &intent);
        assert!(
            matches!(&decision.next, Phase::Stuck { reason } if reason.contains(cure)),
            "{state}: {:?}",
            decision.next
        );
    }
}

/// What AWS allows, a rollout does: it begins while the storage is optimised, takes its snapshot in it, and in a
/// nightly backup its snapshot waits for the end of that.
#[test]
fn a_rollout_begins_while_rds_is_busy_with_itself() {
    for state in [DbStatus::StorageOptimization, DbStatus::BackingUp] {
        let (mut world, mut intent) = ready(&clustered(2));
        // It stays in the state for as long as the test looks.
        let hold = |world: &mut World| instance(world, PRIMARY).status = state.clone();
        for _ in 0..4 {
            hold(&mut world);
            turn(&mut world, &mut intent);
        }
        begin(&mut intent, &world, "11.11.0");
        let mut snapshots = 0;
        let mut said = String::new();
        for _ in 0..25 {
            hold(&mut world);
            let decision = turn(&mut world, &mut intent);
            snapshots += decision
                .actions
                .iter()
                .filter(|action| matches!(action, Action::EnsureDbSnapshot { .. }))
                .count();
            said = texts(&decision);
            if matches!(decision.next, Phase::Pinned) {
                break;
            }
        }
        let phase = &intent.rollout.as_ref().unwrap().phase;
        if state == DbStatus::BackingUp {
            assert_eq!((phase, snapshots), (&Phase::Snapshot, 0), "{said}");
            assert!(said.contains("RDS takes none while"), "{said}");
        } else {
            assert_eq!((phase, snapshots), (&Phase::Pinned, 1), "{said}");
        }
    }
}

/// A change is told to RDS once it would take it, not before.
#[test]
fn nothing_is_sent_that_rds_refuses_in_that_state() {
    for state in ["backing-up", "modifying", "configuring-log-exports"] {
        let (mut world, mut intent) = ready(&unlicensed());
        intent.spec = with("backup_days = 7", "backup_days = 9");
        instance(&mut world, PRIMARY).status = state.into();
        let decision = decide(&world, &intent);
        assert_eq!(decision.actions, [], "{state}");
        assert!(texts(&decision).contains(state), "{}", texts(&decision));
        instance(&mut world, PRIMARY).status = DbStatus::StorageOptimization;
        let decision = decide(&world, &intent);
        assert!(
            matches!(&decision.actions[..], [Action::SetDbInstance { id, .. }] if id == PRIMARY),
            "{:?}",
            decision.actions
        );
    }
}

/// What somebody did by hand.
type Hand = fn(&mut DbInstance);

/// Every attribute that we set, changed by hand: the planner mends it, or says that nobody can. A new
/// attribute does not compile until it has its case here.
#[test]
fn every_attribute_of_an_instance_is_compared() {
    let DbInstance {
        // Names, what RDS decides, and what is looked at elsewhere in this file.
        id: _,
        arn: _,
        status: _,
        endpoint: _,
        port: _,
        engine_version: _,
        master: _,
        iops: _,
        latest_restorable: _,
        replica_of: _,
        pending: _,
        tags: _,
        storage_gib: _,
        extended_support: _,
        // Walked below.
        class: _,
        storage_type: _,
        multi_az: _,
        backup_days: _,
        deletion_protection: _,
        public: _,
        encrypted: _,
        parameter_group: _,
        security_groups: _,
        ca: _,
        subnet_group: _,
        auto_minor: _,
        copy_tags: _,
    } = DbInstance::default();
    let cases: [(&str, Hand, Option<&str>); 12] = [
        ("class", |db| db.class = "db.t3.nano".to_owned(), None),
        (
            "storage type",
            |db| db.storage_type = "gp2".to_owned(),
            Some("--storage-type gp3"),
        ),
        ("Multi-AZ", |db| db.multi_az = !db.multi_az, None),
        ("backup days", |db| db.backup_days += 1, None),
        (
            "deletion protection",
            |db| db.deletion_protection = !db.deletion_protection,
            None,
        ),
        ("public", |db| db.public = true, None),
        (
            "encryption",
            |db| db.encrypted = false,
            Some("fixed at birth"),
        ),
        (
            "parameter group",
            |db| db.parameter_group = Some(("default.postgres17".to_owned(), "in-sync".to_owned())),
            None,
        ),
        (
            "security groups",
            |db| db.security_groups = ["sg-0".to_owned()].into(),
            None,
        ),
        ("CA", |db| db.ca = Some("rds-ca-2019".to_owned()), None),
        (
            "subnet group",
            |db| db.subnet_group = "other".to_owned(),
            Some("fixed at birth"),
        ),
        (
            "minor versions and tags",
            |db| {
                db.auto_minor = true;
                db.copy_tags = false;
            },
            None,
        ),
    ];
    for (what, by_hand, said) in cases {
        let (mut world, mut intent) = ready(&unlicensed());
        let before = world.observed.db_instances[PRIMARY].clone();
        assert_eq!(before.ca.as_deref(), Some(DB_CERTIFICATE_AUTHORITY));
        by_hand(instance(&mut world, PRIMARY));
        let decision = decide(&world, &intent);
        if let Some(said) = said {
            assert!(texts(&decision).contains(said), "{what}: {decision:#?}");
            assert_eq!(decision.actions, [], "{what}");
            assert_eq!(decision.next, Phase::Ready, "{what}");
            continue;
        }
        assert!(
            matches!(&decision.actions[..], [Action::SetDbInstance { id, .. }] if id == PRIMARY),
            "{what}: {decision:#?}"
        );
        turn(&mut world, &mut intent);
        let mut after = world.observed.db_instances[PRIMARY].clone();
        after.parameter_group.clone_from(&before.parameter_group);
        after.latest_restorable = before.latest_restorable;
        assert_eq!(after, before, "{what} is mended");
    }
}

#[test]
fn a_parameter_counts_by_its_value_and_a_surplus_by_its_user() {
    // As RDS shows it: `rds.force_ssl` is the family's own, set by nobody.
    let (mut world, mut intent) = ready(&unlicensed());
    let group = world.observed.db_parameter_group.as_mut().unwrap();
    assert!(group.set_by_user.is_empty(), "{group:?}");
    group
        .parameters
        .insert("max_connections".to_owned(), "LEAST(…)".to_owned());
    assert_eq!(decide(&world, &intent).actions, [], "the family's own");
    let group = world.observed.db_parameter_group.as_mut().unwrap();
    group
        .parameters
        .insert("max_connections".to_owned(), "333".to_owned());
    group.set_by_user.insert("max_connections".to_owned());
    let resets = |decision: &Decision| {
        matches!(&decision.actions[..], [Action::EnsureDbParameterGroup { parameters, .. }]
            if !parameters.contains_key("max_connections"))
    };
    assert!(resets(&decide(&world, &intent)), "a user's is reset");
    intent.spec = with("# max_connections = 1000", "max_connections = 333");
    assert_eq!(decide(&world, &intent).actions, [], "as wanted");
}

#[test]
fn a_masters_password_that_is_refused_is_set_anew() {
    let (mut world, mut intent) = ready(&unlicensed());
    let refused = |world: &mut World| {
        world.observed.master_refused = true;
        let why = "password authentication failed".to_owned();
        world.observed.unknown.insert("databases".to_owned(), why);
    };
    refused(&mut world);
    instance(&mut world, PRIMARY).status = DbStatus::BackingUp;
    assert_eq!(decide(&world, &intent).actions, [], "RDS would refuse it");
    instance(&mut world, PRIMARY).status = DbStatus::Available;
    let decision = turn(&mut world, &mut intent);
    let secret = "demo/database/master".to_owned();
    assert_eq!(
        decision.actions,
        [Action::SetDbMasterPassword {
            id: PRIMARY.to_owned(),
            secret,
        }]
    );
    // RDS needs a while: not again at once.
    refused(&mut world);
    instance(&mut world, PRIMARY).status = DbStatus::Available;
    assert_eq!(decide(&world, &intent).actions, []);
}

#[test]
fn a_major_past_standard_support_is_refused_for_a_new_stack_and_said_of_an_old_one() {
    let old = with("# engine_version", "engine_version");
    let mut account = empty_account();
    account.engine_versions.push("13.20".to_owned());
    let mut intent = wanting(&old);
    intent.spec.database.engine_version = Some("13".to_owned());
    let mut world = World::new(&intent.spec, &account, epoch());
    let mut last = None;
    for _ in 0..30 {
        last = Some(turn(&mut world, &mut intent));
    }
    let last = last.unwrap();
    assert!(
        matches!(&last.next, Phase::Stuck { reason } if reason.contains("past RDS's standard support")),
        "{last:#?}"
    );
    assert!(world.observed.db_instances.is_empty());

    for (version, extended, expected) in [
        (
            "14.9",
            false,
            Some("upgrades `demo-db` to a newer major version by itself"),
        ),
        ("14.9", true, Some("Extended Support")),
        ("16.4", true, None),
    ] {
        let (mut world, intent) = ready(&unlicensed());
        let major = version.split('.').next().unwrap();
        for id in [PRIMARY, REPLICA] {
            let db = instance(&mut world, id);
            db.engine_version = version.to_owned();
            db.extended_support = Some(extended);
            let group = intent
                .spec
                .names()
                .db_parameter_group(&format!("postgres{major}"));
            db.parameter_group = Some((group, "in-sync".to_owned()));
        }
        let said = texts(&decide(&world, &intent));
        match expected {
            Some(expected) => assert!(said.contains(expected), "{version}: {said}"),
            None => assert!(!said.contains("standard support"), "{version}: {said}"),
        }
    }
}

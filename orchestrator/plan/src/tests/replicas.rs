//! The order of what is done to a primary and its replicas: storage, and reboots for parameters.

use super::database::{PRIMARY, REPLICA, decide, instance, texts, with};
use crate::action::Action;
use crate::fixtures::{ready, turn, unlicensed};
use crate::intent::{Phase, Record};
use crate::observed::DbStatus;

#[test]
fn replicas_grow_before_their_primary_and_each_once_in_six_hours() {
    let (mut world, mut intent) = ready(&unlicensed());
    intent.spec = with("storage_gib = 100", "storage_gib = 150");
    let mut grown = Vec::new();
    for _ in 0..200 {
        let decision = turn(&mut world, &mut intent);
        for action in &decision.actions {
            match action {
                Action::GrowDbStorage { id, gib, iops } => {
                    grown.push((id.clone(), *gib));
                    assert_eq!(*iops, None, "a small gp3 volume's cannot be named");
                    assert_eq!(decision.actions.len(), 1, "alone");
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(
        grown,
        [(REPLICA.to_owned(), 150), (PRIMARY.to_owned(), 150)]
    );
    // Raised once more within six hours: nobody waits for it, and nothing is asked.
    intent.spec = with("storage_gib = 100", "storage_gib = 500");
    let decision = turn(&mut world, &mut intent);
    assert_eq!(decision.next, Phase::Ready, "{decision:#?}");
    assert_eq!(decision.actions, []);
    assert!(texts(&decision).contains("six hours"), "{decision:#?}");
    world.now = world
        .now
        .checked_add(jiff::SignedDuration::from_hours(6))
        .unwrap();
    let decision = turn(&mut world, &mut intent);
    assert!(
        matches!(&decision.actions[..], [Action::GrowDbStorage { id, gib: 500, iops: Some(12_000) }] if id == REPLICA),
        "{decision:#?}"
    );
}

/// Nobody can write to it: it does not wait for its replicas, nor for a person.
#[test]
fn a_full_primary_grows_at_once() {
    let (mut world, mut intent) = ready(&unlicensed());
    intent.spec = with("storage_gib = 100", "storage_gib = 150");
    instance(&mut world, PRIMARY).status = DbStatus::StorageFull;
    let decision = decide(&world, &intent);
    assert!(
        decision.actions.iter().any(
            |action| matches!(action, Action::GrowDbStorage { id, gib: 150, .. } if id == PRIMARY)
        ),
        "{decision:#?}"
    );
    assert!(
        !matches!(decision.next, Phase::Stuck { .. }),
        "{decision:#?}"
    );
}

/// PostgreSQL: a standby that allows fewer connections than its primary pauses replay.
#[test]
fn reboots_for_connections_go_in_the_order_that_a_standby_needs() {
    for (runs_with, wanted, order) in [
        (100, "1000", [REPLICA, PRIMARY]),
        (5000, "1000", [PRIMARY, REPLICA]),
    ] {
        let line = format!("max_connections = {wanted}");
        let spec = with("# max_connections = 1000", &line);
        let (mut world, mut intent) = ready(&spec);
        for id in [PRIMARY, REPLICA] {
            let group = &mut instance(&mut world, id).parameter_group;
            *group = group
                .take()
                .map(|(name, _)| (name, "pending-reboot".to_owned()));
        }
        world.observed.databases.as_mut().unwrap().max_connections = runs_with;

        // Somebody is served: a person chooses the hour and is told the order.
        let decision = decide(&world, &intent);
        assert_eq!(decision.next, Phase::Ready, "{decision:#?}");
        assert_eq!(decision.actions, []);
        let said = texts(&decision);
        let at = |id: &str| said.find(&format!("`{id}`")).unwrap();
        assert!(at(order[0]) < at(order[1]), "{said}");

        // Nobody is: one after the other.
        let mut rebooted = Vec::new();
        for _ in 0..12 {
            world.observed.groups.clear();
            world.observed.instances.clear();
            intent.record = Record::default();
            let decision = decide(&world, &intent);
            let reboots = decision.actions.iter().filter_map(|action| match action {
                Action::RebootDbInstance { id } => Some(id.clone()),
                _ => None,
            });
            rebooted.extend(reboots.inspect(|id| {
                assert!(
                    world
                        .observed
                        .db_instances
                        .values()
                        .all(|db| db.status == DbStatus::Available),
                    "{id} while another one reboots"
                );
            }));
            turn(&mut world, &mut intent);
        }
        assert_eq!(rebooted, order, "{runs_with} to {wanted}");
    }
}

/// After a way back to a restore point the old primary has another name, and its replica follows it.
#[test]
fn a_replica_of_another_instance_is_made_anew_and_a_promoted_one_is_left() {
    let (mut world, mut intent) = ready(&unlicensed());
    instance(&mut world, REPLICA).replica_of = Some("demo-db-before".to_owned());
    let decision = decide(&world, &intent);
    assert_ne!(decision.next, Phase::Ready);
    assert!(
        matches!(&decision.actions[..], [Action::DeleteDbInstance { id, final_snapshot: None }] if id == REPLICA),
        "{decision:#?}"
    );
    for _ in 0..60 {
        turn(&mut world, &mut intent);
    }
    let seen = instance(&mut world, REPLICA).replica_of.clone();
    assert_eq!(seen.as_deref(), Some(PRIMARY));
    instance(&mut world, REPLICA).replica_of = None;
    let decision = decide(&world, &intent);
    assert_eq!(decision.actions, []);
    assert!(texts(&decision).contains("promoted"), "{decision:#?}");
}

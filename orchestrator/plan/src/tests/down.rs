//! `down`: what goes, and what stays.

use super::begin;
use crate::fixtures::{clustered, ready, turn, until};
use crate::intent::{Phase, Want};
use crate::plan;

#[test]
fn down_removes_what_is_ours_and_keeps_the_database() {
    let (mut world, mut intent) = ready(&clustered(2));
    intent.want = Want::Down {
        delete_database: false,
        delete_files: false,
    };
    until(&mut world, &mut intent, 200, |phase| *phase == Phase::Gone);
    let seen = &world.observed;
    assert_eq!(seen.db_instances.len(), 2);
    assert_eq!(
        seen.secrets.keys().collect::<Vec<_>>(),
        [
            "demo/database/master",
            "demo/database/mattermost",
            "demo/database/orchestrator"
        ]
    );
    assert_eq!(
        seen.security_groups.keys().collect::<Vec<_>>(),
        ["database"]
    );
    assert!(
        seen.groups.is_empty()
            && seen.load_balancer.is_none()
            && seen.target_groups.is_empty()
            && seen.template.is_none()
    );
    assert!(
        seen.alarms.is_empty()
            && seen.images["us-west-2"].is_empty()
            && seen.images["us-east-1"].len() == 2
    );
    // And up again on the same database, whose store remembers everything that was done.
    intent.want = Want::Up;
    until(&mut world, &mut intent, 200, |phase| *phase == Phase::Ready);
}

#[test]
fn down_with_the_database_leaves_a_final_snapshot() {
    let (mut world, mut intent) = ready(&clustered(2));
    intent.want = Want::Down {
        delete_database: true,
        delete_files: false,
    };
    until(&mut world, &mut intent, 200, |phase| *phase == Phase::Gone);
    let seen = &world.observed;
    assert!(
        seen.db_instances.is_empty() && seen.secrets.is_empty() && seen.security_groups.is_empty()
    );
    assert!(seen.db_subnet_group.is_none() && seen.db_parameter_group.is_none());
    assert_eq!(
        seen.db_snapshots.keys().collect::<Vec<_>>(),
        ["demo-final-g1"]
    );
}

#[test]
fn a_database_does_not_go_past_snapshots_that_could_not_be_read() {
    let (mut world, mut intent) = ready(&clustered(2));
    intent.want = Want::Down {
        delete_database: true,
        delete_files: false,
    };
    for _ in 0..200 {
        let mut blind = world.observed.clone();
        blind.db_snapshots.clear();
        blind
            .unknown
            .insert("db_snapshots".to_owned(), "Throttling".to_owned());
        assert_ne!(plan(&intent, &blind, world.now).next, Phase::Gone);
        if turn(&mut world, &mut intent).next == Phase::Gone {
            return;
        }
    }
    panic!("not gone");
}

#[test]
fn down_ends_the_rollout_that_it_finds() {
    let (mut world, mut intent) = ready(&clustered(2));
    begin(&mut intent, &world, "11.11.0");
    until(&mut world, &mut intent, 200, |phase| {
        *phase == Phase::Canary
    });
    let generation = intent.rollout.as_ref().unwrap().generation;
    intent.want = Want::Down {
        delete_database: false,
        delete_files: false,
    };
    turn(&mut world, &mut intent);
    let ended = intent.rollout.clone().unwrap();
    assert_eq!(ended.phase, Phase::RolledBack);
    assert_eq!(ended.failure, ["the stack was taken down"]);
    until(&mut world, &mut intent, 200, |phase| *phase == Phase::Gone);
    assert!(world.observed.groups.is_empty());
    // Names of its groups are not used again.
    assert_eq!(intent.record.generation, generation);
    intent.want = Want::Up;
    intent.rollout = None;
    until(&mut world, &mut intent, 200, |phase| *phase == Phase::Ready);
}

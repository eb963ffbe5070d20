//! What a database is brought back to: recorded before the migration, durable before the point of no return.

use jiff::{SignedDuration, Timestamp};

use super::database::{PRIMARY, instance, texts};
use super::histories::is_closed;
use super::{begin, phases};
use crate::decision::NodeGoal;
use crate::fixtures::{clustered, ready, turn, unlicensed, until, without_log};
use crate::intent::{Intent, Phase, RestorePoint};
use crate::world::World;
use crate::{lint, plan};

fn second(intent: &Intent) -> Option<Timestamp> {
    match intent.rollout.as_ref()?.restore {
        RestorePoint::Log { second } => second,
        RestorePoint::Snapshot => None,
    }
}

#[test]
fn the_point_of_a_cutover_lies_between_the_last_of_blue_and_the_migration() {
    let (mut world, mut intent) = ready(&unlicensed());
    begin(&mut intent, &world, "11.11.0");
    let (mut blue_ran, mut migrates, mut closed) = (None, None, 0);
    for _ in 0..2000 {
        let now = world.now;
        let decision = turn(&mut world, &mut intent);
        let mut members = world.observed.groups["demo-g1"].members.keys();
        if members.any(|id| world.observed.nodes[id].phase != "drained") && migrates.is_none() {
            blue_ran = Some(now);
        }
        let green = world.observed.groups.get("demo-g2");
        let mut green = green.iter().flat_map(|group| group.members.keys());
        if migrates.is_none()
            && green.any(|id| matches!(decision.nodes.get(id), Some(NodeGoal::Serve { .. })))
        {
            migrates = Some(now);
        }
        closed += u32::from(is_closed(&world));
        if decision.next == Phase::Baking {
            break;
        }
    }
    let second = second(&intent).unwrap();
    assert!(
        blue_ran.unwrap() < second && second < migrates.unwrap(),
        "{blue_ran:?} {second} {migrates:?}"
    );
    assert_eq!(second.subsec_nanosecond(), 0);
    let (mut world, mut intent) = without_log(&unlicensed());
    begin(&mut intent, &world, "11.11.0");
    let mut closed_without = 0;
    until(&mut world, &mut intent, 2000, |phase| {
        *phase == Phase::Closed
    });
    while intent.rollout.as_ref().unwrap().phase != Phase::Baking {
        turn(&mut world, &mut intent);
        closed_without += u32::from(is_closed(&world));
    }
    assert!(closed < closed_without, "{closed} {closed_without}");
}

/// A primary that is not visible, or could not be read, was not seen to have the point in its backups.
#[test]
fn what_was_not_read_is_no_restore_point() {
    let (mut world, mut intent) = ready(&unlicensed());
    begin(&mut intent, &world, "11.11.0");
    let rollout = intent.rollout.clone().unwrap();
    let mut unread = world.observed.clone();
    unread.db_instances.clear();
    let why = |seen: &crate::Observed| {
        crate::forecast::forecast_rollout(&intent, &rollout, seen, world.now).to_string()
    };
    assert!(why(&unread).contains("is not visible"));
    unread
        .unknown
        .insert("db_instances".to_owned(), "Throttling".to_owned());
    assert!(why(&unread).contains("db_instances could not be read: Throttling"));
    until(&mut world, &mut intent, 2000, |phase| {
        *phase == Phase::Baking
    });
    intent.rollout.as_mut().unwrap().promote = true;
    let mut gone = world.observed.clone();
    gone.db_instances.clear();
    assert_eq!(plan(&intent, &gone, world.now).next, Phase::Baking);
}

#[test]
fn the_point_of_an_overlap_is_recorded_before_the_migration() {
    let (mut world, mut intent) = ready(&clustered(2));
    begin(&mut intent, &world, "11.11.0");
    until(&mut world, &mut intent, 500, |phase| {
        *phase == Phase::Canary
    });
    let point = second(&intent).expect("it is recorded on the way into the phase");
    assert!(point <= world.now, "{point} {}", world.now);
    assert_eq!(world.migrations.len(), 1, "only the first start's");
}

#[test]
fn without_a_log_the_snapshot_is_taken_in_the_pause() {
    type Hand = fn(&mut World);
    let cases: [(&str, Hand); 3] = [
        ("switched off", |world| {
            world.backups_are_stuck = true;
            let off = instance(world, PRIMARY);
            (off.backup_days, off.latest_restorable) = (0, None);
        }),
        ("not whole yet", |world| {
            world.backups_are_stuck = true;
            instance(world, PRIMARY).latest_restorable = None;
        }),
        ("are stuck", |world| {
            world.backups_are_stuck = true;
            let old = world.now - SignedDuration::from_mins(16);
            instance(world, PRIMARY).latest_restorable = Some(old);
        }),
    ];
    for (why, hand) in cases {
        let (mut world, mut intent) = ready(&unlicensed());
        hand(&mut world);
        begin(&mut intent, &world, "11.11.0");
        let rollout = intent.rollout.clone().unwrap();
        let forecast =
            crate::forecast::forecast_rollout(&intent, &rollout, &world.observed, world.now);
        let forecast = forecast.to_string();
        assert!(forecast.contains(why), "{forecast}");
        let seen = phases(&mut world, &mut intent, 2000);
        assert_eq!(
            seen[1..7],
            [
                "imaging",
                "pinned",
                "green_created",
                "prepared",
                "closed",
                "snapshot"
            ],
            "{why}"
        );
        assert_eq!(seen.last().map(String::as_str), Some("done"), "{why}");
    }
}

/// Nobody waits behind the maintenance page for backups.
#[test]
fn users_are_not_sent_away_while_the_log_is_stuck() {
    let (mut world, mut intent) = ready(&unlicensed());
    begin(&mut intent, &world, "11.11.0");
    until(&mut world, &mut intent, 500, |phase| {
        *phase == Phase::Prepared
    });
    world.backups_are_stuck = true;
    instance(&mut world, PRIMARY).latest_restorable = Timestamp::from_second(1).ok();
    let mut told = String::new();
    for _ in 0..20 {
        told = texts(&turn(&mut world, &mut intent));
        assert!(!is_closed(&world));
    }
    assert!(told.contains("are stuck"), "{told}");
    world.backups_are_stuck = false;
    until(&mut world, &mut intent, 2000, |phase| *phase == Phase::Done);
}

/// The clock that an earlier look read says nothing of the moment at which blue stopped.
#[test]
fn the_pause_waits_for_the_databases_own_clock() {
    let (mut world, mut intent) = ready(&unlicensed());
    begin(&mut intent, &world, "11.11.0");
    until(&mut world, &mut intent, 500, |phase| {
        *phase == Phase::Closed
    });
    let (mut waited, mut told) = (0, String::new());
    for _ in 0..30 {
        let mut seen = world.observed.clone();
        seen.databases.as_mut().unwrap().clock = None;
        let decision = plan(&intent, &seen, world.now);
        lint(&decision, &seen, &intent).unwrap();
        assert_eq!(decision.next, Phase::Closed);
        told = texts(&decision);
        waited += u32::from(told.contains("clock"));
        world.commit(&mut intent, &decision);
        world.perform(&mut intent, &decision);
        world.look();
        world.tick();
    }
    assert!(waited > 5, "{told}");
    assert_eq!(second(&intent), None);
    until(&mut world, &mut intent, 2000, |phase| *phase == Phase::Done);
}

#[test]
fn a_rollout_is_promoted_only_once_its_point_is_in_the_backups() {
    for spec in [unlicensed(), clustered(2)] {
        let (mut world, mut intent) = ready(&spec);
        begin(&mut intent, &world, "11.11.0");
        until(&mut world, &mut intent, 2000, |phase| {
            *phase == Phase::Baking
        });
        world.backups_are_stuck = true;
        let point = second(&intent).unwrap();
        instance(&mut world, PRIMARY).latest_restorable =
            Some(point - SignedDuration::from_secs(1));
        let day = 24 * 360;
        let mut told = String::new();
        for _ in 0..day {
            let decision = turn(&mut world, &mut intent);
            told = texts(&decision);
            assert_eq!(decision.next, Phase::Baking, "users stay on green: {told}");
        }
        assert!(told.contains("are stuck"), "{told}");
        intent.rollout.as_mut().unwrap().promote = true;
        assert_eq!(turn(&mut world, &mut intent).next, Phase::Baking);
        world.backups_are_stuck = false;
        until(&mut world, &mut intent, 500, |phase| *phase == Phase::Done);
    }
}

#[test]
fn nobody_migrates_before_the_point_is_recorded() {
    let (mut world, mut intent) = ready(&unlicensed());
    begin(&mut intent, &world, "11.11.0");
    until(&mut world, &mut intent, 500, |phase| {
        *phase == Phase::Canary
    });
    world.look();
    let mut decision = plan(&intent, &world.observed, world.now);
    assert!(lint(&decision, &world.observed, &intent).is_ok());
    for rollout in decision.rollout.iter_mut().chain(&mut intent.rollout) {
        rollout.restore = RestorePoint::Log { second: None };
    }
    let refused = lint(&decision, &world.observed, &intent).unwrap_err();
    assert_eq!(refused[0].rule, "no_restore_point", "{refused:?}");
}

/// A row of an earlier version has no such field: its snapshot is the point.
#[test]
fn an_earlier_row_stands_on_its_snapshot() {
    let (world, mut intent) = ready(&unlicensed());
    begin(&mut intent, &world, "11.11.0");
    let mut row = serde_json::to_value(intent.rollout.as_ref().unwrap()).unwrap();
    row.as_object_mut().unwrap().remove("restore").unwrap();
    row["phase"] = serde_json::json!({"phase": "snapshot"});
    let row: crate::intent::RolloutIntent = serde_json::from_value(row).unwrap();
    assert_eq!(row.restore, RestorePoint::Snapshot);
    assert_eq!(crate::rollout::after(&row, &Phase::Snapshot), Phase::Canary);
}

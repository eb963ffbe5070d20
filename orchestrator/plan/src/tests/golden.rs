//! Whole courses as an operator could follow them: phase, effects, first reason, one line per change.

use std::fmt::Write as _;

use super::begin;
use crate::fixtures::{clustered, empty_account, epoch, ready, turn, unlicensed, wanting};
use crate::intent::{Intent, Phase, Want};
use crate::rollout::word;
use crate::world::World;

fn course(world: &mut World, intent: &mut Intent, most: usize) -> String {
    let mut text = String::new();
    let mut last = String::new();
    for _ in 0..most {
        let decision = turn(world, intent);
        let keys: Vec<String> = decision.actions.iter().map(crate::Action::key).collect();
        let mut line = format!("{:<14}", word(&decision.next));
        if !keys.is_empty() {
            let _ = write!(line, " {}", keys.join(" "));
        }
        let gate = decision
            .reasons
            .first()
            .map(|reason| reason.gate.as_str())
            .unwrap_or_default();
        let _ = write!(line, " [{gate}]");
        if line != last {
            text.push_str(&line);
            text.push('\n');
            last = line;
        }
        if matches!(
            decision.next,
            Phase::Ready | Phase::Gone | Phase::Done | Phase::RolledBack | Phase::Stuck { .. }
        ) {
            break;
        }
    }
    text
}

#[test]
fn up() {
    let spec = clustered(2);
    let mut world = World::new(&spec, &empty_account(), epoch());
    insta::assert_snapshot!(course(&mut world, &mut wanting(&spec), 200));
}

#[test]
fn rollout() {
    let (mut world, mut intent) = ready(&clustered(2));
    begin(&mut intent, &world, "11.11.0");
    insta::assert_snapshot!(course(&mut world, &mut intent, 2000));
}

#[test]
fn cutover() {
    let (mut world, mut intent) = ready(&unlicensed());
    begin(&mut intent, &world, "11.11.0");
    insta::assert_snapshot!(course(&mut world, &mut intent, 2000));
}

#[test]
fn rolled_back() {
    let (mut world, mut intent) = ready(&clustered(2));
    world.errors.insert("demo-b".to_owned(), 40);
    begin(&mut intent, &world, "11.11.0");
    insta::assert_snapshot!(course(&mut world, &mut intent, 2000));
}

#[test]
fn down() {
    let (mut world, mut intent) = ready(&clustered(2));
    intent.want = Want::Down {
        delete_database: true,
        delete_files: false,
    };
    insta::assert_snapshot!(course(&mut world, &mut intent, 200));
}

#[test]
fn down_with_files() {
    let (mut world, mut intent) = ready(&unlicensed());
    world.bucket_pages = 2;
    intent.want = Want::Down {
        delete_database: false,
        delete_files: true,
    };
    insta::assert_snapshot!(course(&mut world, &mut intent, 200));
}

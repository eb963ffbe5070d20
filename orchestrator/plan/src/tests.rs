//! The planner against the model: what it makes of an empty account, of drift, of rollouts, of `down`.

mod claims;
mod cutover;
mod database;
mod down;
mod evidence;
mod files;
mod gates;
mod golden;
mod hindrances;
mod histories;
mod leave;
mod lint;
mod offers;
mod ports;
mod probe;
mod replicas;
mod restore;
mod rollout;
mod settings;
mod up;
mod weights;

use crate::fixtures::{TOKEN, turn};
use crate::intent::{Intent, Phase, RolloutProbe};
use crate::plan;
use crate::rollout::{Ask, request, word};
use crate::world::World;

fn begin(intent: &mut Intent, world: &World, version: &str) {
    let ask = Ask {
        version: Some(version.to_owned()),
        sha256: Some("b".repeat(64)),
        ..Ask::default()
    };
    let mut rollout = request(intent, &world.observed, &ask, world.now).unwrap();
    rollout.probe = Some(RolloutProbe::new(TOKEN.to_owned()));
    intent.rollout = Some(rollout);
}

/// Phases in the order in which they are entered, until an end.
fn phases(world: &mut World, intent: &mut Intent, most: usize) -> Vec<String> {
    let mut seen = vec![];
    for _ in 0..most {
        let decision = turn(world, intent);
        let word = word(&decision.next);
        if seen.last() != Some(&word) {
            seen.push(word);
        }
        if matches!(
            decision.next,
            Phase::Done | Phase::RolledBack | Phase::Stuck { .. }
        ) {
            return seen;
        }
    }
    panic!(
        "no end in {most} turns: {seen:?}\n{:#?}",
        plan(intent, &world.observed, world.now).reasons
    );
}

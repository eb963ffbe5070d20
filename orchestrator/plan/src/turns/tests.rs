use super::*;
use crate::fixtures::{clustered, epoch, ready};
use crate::intent::Intent;
use crate::observed::{Licence, ServerLicence};
use crate::view::later;
use crate::world::World;

fn nodes(world: &mut World) -> impl Iterator<Item = &mut Node> {
    world.observed.nodes.values_mut()
}

/// Three nodes that serve: two since before the active row was written, one since afterwards.
fn stale(hash: &str) -> (World, Intent, Timestamp) {
    let (mut world, intent) = ready(&clustered(3));
    let written = later(epoch(), 1000);
    for (number, node) in nodes(&mut world).enumerate() {
        let newest = number == 2;
        node.server_since = Some(if newest { later(written, 100) } else { epoch() });
        let hash = if newest { "new" } else { hash };
        node.version_id = format!("11.10.0.1.{hash}.true");
    }
    (world, intent, written)
}

/// Who is told to start anew.
fn restarted(world: &World, intent: &Intent, written: Timestamp) -> Vec<String> {
    let view = View::new(intent, &world.observed, world.now);
    let turns = Turns::after(&view, &LicenceRecord::default(), Some(written));
    let anew = |id: &String| {
        let node = &world.observed.nodes[id];
        let goal = node.goal.clone().unwrap();
        let completed = turns.complete(goal.clone(), id, Some(node));
        assert_eq!(turns.complete(completed.clone(), id, Some(node)), completed);
        completed != goal
    };
    let all = world.observed.nodes.keys();
    all.filter(|id| anew(id)).cloned().collect()
}

#[test]
fn stale_servers_restart_one_by_one_and_once() {
    let (mut world, intent, written) = stale("old");
    let ids: Vec<String> = world.observed.nodes.keys().cloned().collect();
    assert_eq!(restarted(&world, &intent, written), ids[..1]);
    // It is told, and nobody else is until it serves again.
    let node = world.observed.nodes.get_mut(&ids[0]).unwrap();
    if let Some(NodeGoal::Serve { started_after, .. }) = &mut node.goal {
        *started_after = Some(written);
    }
    node.current = false;
    assert_eq!(restarted(&world, &intent, written), [""; 0]);
    let node = world.observed.nodes.get_mut(&ids[0]).unwrap();
    node.current = true;
    node.server_since = Some(later(written, 200));
    assert_eq!(restarted(&world, &intent, written), ids[1..2]);
    // One whose hash stays another is not restarted for that row again.
    let node = world.observed.nodes.get_mut(&ids[1]).unwrap();
    if let Some(NodeGoal::Serve { started_after, .. }) = &mut node.goal {
        *started_after = Some(written);
    }
    assert_eq!(restarted(&world, &intent, written), [""; 0]);
}

#[test]
fn nobody_restarts_for_the_same_hash_or_beside_a_node_that_does_not_serve() {
    let (world, intent, written) = stale("new");
    assert_eq!(restarted(&world, &intent, written), [""; 0]);
    let (mut world, intent, written) = stale("old");
    nodes(&mut world).last().unwrap().connected = false;
    assert_eq!(restarted(&world, &intent, written), [""; 0]);
}

#[test]
fn a_newer_node_is_verified_beside_a_stale_one() {
    let (world, intent, written) = stale("old");
    assert_eq!(restarted(&world, &intent, written).len(), 1);
    let view = View::new(&intent, &world.observed, world.now);
    let (id, node) = world.observed.nodes.last_key_value().unwrap();
    let goal = node.goal.as_ref().unwrap();
    assert_eq!(crate::nodes::verified(&view, id, goal), Ok(()));
}

#[test]
fn an_agent_that_cannot_say_holds_nobody_back_and_one_that_has_not_said_does() {
    for (version_id, licence, expected) in [
        ("", None, 1),
        ("11.10.0.1.abc.true", None, 0),
        ("11.10.0.1.abc.false", Some(ServerLicence::default()), 0),
    ] {
        let (mut world, intent) = ready(&clustered(2));
        world.observed.licence = Some(Licence {
            current: "v2".to_owned(),
            readable: ["v1", "v2"].map(str::to_owned).into(),
            ..Licence::default()
        });
        for (number, node) in nodes(&mut world).enumerate() {
            let told = if number == 0 { "v2" } else { "v1" };
            if let Some(NodeGoal::Serve { licence, .. }) = &mut node.goal {
                *licence = Some(told.to_owned());
            }
            version_id.clone_into(&mut node.version_id);
            node.licence = licence;
        }
        let view = View::new(&intent, &world.observed, world.now);
        let record = LicenceRecord {
            proven: Some("v1".to_owned()),
            refused: None,
        };
        let turns = Turns::after(&view, &record, None);
        let told = world.observed.nodes.iter().filter(|(id, node)| {
            let goal = node.goal.clone().unwrap();
            turns.complete(goal.clone(), id, Some(node)) != goal
        });
        assert_eq!(told.count(), expected, "{version_id} {licence:?}");
    }
}

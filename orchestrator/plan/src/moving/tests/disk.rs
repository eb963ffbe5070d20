//! What lies on a node's disk: lost with it, and brought away by a move alone.

use super::*;
use crate::fixtures::local;

#[test]
fn what_goes_with_the_nodes_is_known_before_they_go() {
    let (mut world, mut intent) = old(&unlicensed());
    let lost = lost_with_nodes(&intent, &world.observed).unwrap();
    assert!(lost.files && lost.what.contains("config.json"));
    // Nothing is left to lose, unless nobody could look.
    let group = world.observed.groups.get_mut("demo-g1").unwrap();
    let members = std::mem::take(&mut group.members);
    assert_eq!(lost_with_nodes(&intent, &world.observed), None);
    let unknown = &mut world.observed.unknown;
    unknown.insert("groups".to_owned(), "throttled".to_owned());
    assert_eq!(lost_with_nodes(&intent, &world.observed), Some(lost));
    world.observed.unknown.clear();
    world.observed.groups.get_mut("demo-g1").unwrap().members = members;
    intent.record.configuration = Some(ConfigurationHome::Database);
    let lost = lost_with_nodes(&intent, &world.observed).unwrap();
    assert!(lost.files && !lost.what.contains("config.json"));
    intent.record.proven.as_mut().unwrap().files =
        FilesHome::wanted(&intent.spec, Some("123456789012"));
    assert_eq!(lost_with_nodes(&intent, &world.observed), None);
}

#[test]
fn files_that_the_specification_keeps_on_the_node_go_with_it_too() {
    let local = local();
    let (mut world, mut intent) = ready(&local);
    let lost = lost_with_nodes(&intent, &world.observed).unwrap();
    assert!(lost.files && lost.as_specified, "{lost:?}");
    // The file says nothing of what serves.
    intent.spec = unlicensed();
    let lost = lost_with_nodes(&intent, &world.observed).unwrap();
    assert!(lost.files && !lost.as_specified, "{lost:?}");
    world.observed.groups.clear();
    assert_eq!(lost_with_nodes(&intent, &world.observed), None);
    let (world, mut intent) = ready(&unlicensed());
    assert_eq!(lost_with_nodes(&intent, &world.observed), None);
    intent.spec = local;
    assert_eq!(lost_with_nodes(&intent, &world.observed), None);
}

#[test]
fn files_on_a_disk_are_brought_to_a_bucket_by_a_move_only() {
    let (world, mut intent) = ready(&local());
    intent.spec = unlicensed();
    let decision = crate::plan(&intent, &world.observed, world.now);
    let notices = notices(&decision);
    assert!(
        notices
            .iter()
            .any(|text| text.contains("`orchestrator move`"))
            && !notices.iter().any(|text| text.contains("--files-moved")),
        "{notices:?}"
    );
    let flags = |files_moved, lose_files| Ask {
        files_moved,
        lose_files,
        ..Ask::default()
    };
    for (moved, lose) in [(false, false), (true, false), (false, true)] {
        let refusal = ask(&world, &intent, &flags(moved, lose)).unwrap_err();
        assert_eq!(refusal.code, "not_moved");
        assert!(refusal.text.contains("`orchestrator move`"), "{refusal}");
        assert_eq!(refusal.text.contains("--lose-files"), moved, "{refusal}");
    }
    let rollout = ask(&world, &intent, &flags(true, true)).unwrap();
    let told = crate::forecast_rollout(&intent, &rollout, &world.observed, world.now).to_string();
    let line = told.lines().find(|line| line.contains("FILES LOST"));
    assert!(
        line.is_some_and(|line| line.contains("`orchestrator move`")),
        "{told}"
    );
}

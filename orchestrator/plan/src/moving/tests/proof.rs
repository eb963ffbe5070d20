//! What SQL shows against what nodes say.

use super::*;

#[test]
fn settings_that_sql_does_not_show_are_not_moved() {
    let (mut world, mut intent) = old(&unlicensed());
    begin(&world, &mut intent);
    for _ in 0..600 {
        let decision = turn(&mut world, &mut intent);
        // Another program made a row of its own.
        if let Some(row) = &mut world.observed.databases.as_mut().unwrap().configuration {
            row.salts.insert(SALT.to_owned(), "0f".repeat(32));
        }
        if decision.next.ends_a_rollout() {
            assert_eq!(decision.next, Phase::RolledBack);
            break;
        }
    }
    let failure = intent.rollout.as_ref().unwrap().failure.join("; ");
    assert!(failure.contains(SALT), "{failure}");
    assert_eq!(intent.record.configuration(), ConfigurationHome::File);
}

#[test]
fn an_answer_of_sql_that_is_older_than_the_nodes_turns_nothing_back() {
    // Of the two rows that a server writes the first has salts of its own.
    let (mut world, mut intent) = old(&unlicensed());
    begin(&world, &mut intent);
    let mut shown_the_first = 0;
    for _ in 0..600 {
        let mut seen = world.observed.clone();
        let is_moved = seen.nodes.values().all(|node| node.phase == "moved");
        if let Some(row) = &mut seen.databases.as_mut().unwrap().configuration
            && is_moved
            && shown_the_first < 2
        {
            shown_the_first += 1;
            row.salts.insert(SALT.to_owned(), "0f".repeat(32));
            let decision = crate::plan(&intent, &seen, world.now);
            assert_eq!(decision.next, Phase::Moving, "{:?}", decision.reasons);
            intent.rollout = decision.rollout.or(intent.rollout);
            continue;
        }
        if turn(&mut world, &mut intent).next.ends_a_rollout() {
            break;
        }
    }
    let rollout = intent.rollout.unwrap();
    assert_eq!((shown_the_first, rollout.phase), (2, Phase::Done));
    assert_eq!(rollout.unproven, None);
}

#[test]
fn only_the_whole_of_a_file_proves_it() {
    let (world, _) = old(&unlicensed());
    let mut observed = world.observed.clone();
    assert!(proves(&file("a0"), &observed).is_err(), "no row");
    let mut salts = file("a0");
    let site_name = salts.remove("TeamSettings.SiteName");
    observed.databases.as_mut().unwrap().configuration = Some(crate::observed::Configuration {
        id: "r".to_owned(),
        created_at_ms: 1,
        salts,
        site_name,
    });
    assert_eq!(proves(&file("a0"), &observed), Ok(()));
    for name in file("a0").keys() {
        let mut other = file("a0");
        other.insert(name.clone(), "ff".repeat(32));
        assert!(
            proves(&other, &observed)
                .unwrap_err()
                .contains(name.as_str())
        );
        other.remove(name);
        assert!(proves(&other, &observed).is_err(), "{name} is needed");
    }
}

#[test]
fn whose_settings_count_is_not_decided_by_a_look_that_failed() {
    for field in ["groups", "instances"] {
        let (mut world, mut intent) = old(&unlicensed());
        begin(&world, &mut intent);
        let mut blind = world.observed.clone();
        blind
            .unknown
            .insert(field.to_owned(), "throttled".to_owned());
        if field == "groups" {
            blind.groups.clear();
        }
        let decision = crate::plan(&intent, &blind, world.now);
        assert_eq!(decision.next, Phase::Requested, "{field}");
        intent.rollout = decision.rollout.or(intent.rollout);
        until(&mut world, &mut intent, 60, |phase| {
            *phase == Phase::Preflight
        });
        assert!(intent.rollout.unwrap().migrator.is_some(), "{field}");
    }
}

//! What an operator reads before anything happens, word for word.

use crate::fixtures::{clustered, empty_account, epoch, ready, unlicensed, wanting};
use crate::intent::{Intent, Want};
use crate::rollout::{Ask, request};
use crate::world::World;
use crate::{forecast, forecast_rollout};

#[test]
fn the_first_up_names_everything_although_it_depends_on_each_other() {
    let text = forecast(&wanting(&clustered(1)), &empty_account(), epoch()).to_string();
    insta::assert_snapshot!(text);
}

#[test]
fn a_converged_stack_has_nothing_to_do() {
    let (world, intent) = ready(&clustered(2));
    let text = forecast(&intent, &world.observed, world.now).to_string();
    assert_eq!(text, "stack demo: nothing to do\n");
}

#[test]
fn drift_is_shown_as_change() {
    let (mut world, mut intent) = ready(&clustered(2));
    world
        .observed
        .security_groups
        .get_mut("database")
        .unwrap()
        .ingress
        .clear();
    world.observed.alarms.remove("demo-g1-cpu-high");
    intent.spec.fleet.instance_type = "m7i.xlarge".to_owned();
    intent.spec.fleet.max = 4;
    insta::assert_snapshot!(forecast(&intent, &world.observed, world.now).to_string());
}

#[test]
fn down_names_what_goes() {
    let (world, mut intent) = ready(&clustered(2));
    intent.want = Want::Down {
        delete_database: true,
        delete_files: false,
    };
    insta::assert_snapshot!(forecast(&intent, &world.observed, world.now).to_string());
}

#[test]
fn down_with_files_names_the_bucket() {
    let (world, mut intent) = ready(&unlicensed());
    intent.want = Want::Down {
        delete_database: false,
        delete_files: true,
    };
    insta::assert_snapshot!(forecast(&intent, &world.observed, world.now).to_string());
}

#[test]
fn a_rollout_to_another_place_of_files_says_from_where_to_where() {
    let (world, mut intent) = ready(&unlicensed());
    intent.spec.files.bucket = Some("theirs".to_owned());
    intent.spec.files.region = Some("eu-west-1".to_owned());
    intent.spec.files.prefix = Some("chat".to_owned());
    let ask = Ask {
        files_moved: true,
        ..Ask::default()
    };
    let rollout = request(&intent, &world.observed, &ask, world.now).unwrap();
    let text = forecast_rollout(&intent, &rollout, &world.observed, world.now).to_string();
    assert!(
        text.contains(
            "  files        bucket `demo-files-123456789012-us-east-1` → bucket `theirs` below `chat/`\n"
        ),
        "{text}"
    );
}

fn rollout(intent: &Intent, world: &World, version: &str) -> String {
    let ask = Ask {
        version: Some(version.to_owned()),
        sha256: Some("b".repeat(64)),
        ..Ask::default()
    };
    let rollout = request(intent, &world.observed, &ask, world.now).unwrap();
    forecast_rollout(intent, &rollout, &world.observed, world.now).to_string()
}

#[test]
fn a_rollout_says_its_way_and_its_way_back() {
    let (world, intent) = ready(&clustered(2));
    insta::assert_snapshot!(rollout(&intent, &world, "11.11.0"));
}

#[test]
fn what_waits_for_a_rollout_is_shown_with_the_command_to_type() {
    let (world, mut intent) = ready(&clustered(2));
    intent.spec.fleet.instance_type = "m7i.xlarge".to_owned();
    intent.spec.mattermost.version = "11.11.0".to_owned();
    let text = forecast(&intent, &world.observed, world.now).to_string();
    assert!(
        text.contains("Mattermost 11.10.0 serves, and the file says 11.11.0: write `version = \"11.10.0\"` and `sha256 = "),
        "{text}"
    );
    assert!(
        text.contains("`orchestrator rollout --mattermost 11.11.0` brings the file's"),
        "{text}"
    );
    assert!(
        text.ends_with(
            "(instance type m7i.large → m7i.xlarge): `orchestrator rollout` brings it\n"
        ),
        "{text}"
    );
}

#[test]
fn what_the_last_rollout_made_is_not_to_be_undone() {
    let (world, mut intent) = ready(&clustered(2));
    intent.spec.mattermost.version = "11.9.0".to_owned();
    let text = forecast(&intent, &world.observed, world.now).to_string();
    assert!(
        text.contains("`orchestrator rollout --mattermost 11.9.0` would go back to the older one"),
        "{text}"
    );
    assert!(!text.contains("brings it"), "{text}");
}

#[test]
fn a_rollout_to_an_older_version_says_that_it_goes_back() {
    let (world, intent) = ready(&clustered(2));
    let text = rollout(&intent, &world, "11.9.0");
    assert!(
        text.contains("11.9.0 is older than 11.10.0, which serves: this goes back"),
        "{text}"
    );
    assert!(
        !text.contains("once, by the first new node") && !text.contains("runs on it"),
        "{text}"
    );
}

#[test]
fn a_rollout_of_another_instance_type_says_so() {
    let (world, mut intent) = ready(&clustered(2));
    intent.spec.fleet.instance_type = "m7i.xlarge".to_owned();
    let rollout = request(&intent, &world.observed, &Ask::default(), world.now).unwrap();
    let text = forecast_rollout(&intent, &rollout, &world.observed, world.now).to_string();
    assert!(
        text.contains("  launch       instance type m7i.large → m7i.xlarge\n")
            && text.contains("  migration    none\n")
            && text.contains("  + Auto Scaling group  demo-g2"),
        "{text}"
    );
}

#[test]
fn a_cutover_says_its_pause() {
    let (world, intent) = ready(&unlicensed());
    insta::assert_snapshot!(rollout(&intent, &world, "11.11.0"));
}

#[test]
fn what_stands_in_the_way_is_said_before_the_start() {
    let (mut world, intent) = ready(&clustered(2));
    world.observed.databases.as_mut().unwrap().max_connections = 300;
    let text = rollout(&intent, &world, "11.11.0");
    assert!(
        text.contains("may open 431 connections") && text.contains("the database allows 300"),
        "{text}"
    );
}

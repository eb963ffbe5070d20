//! `kill -9` of the agent whenever it reports a phase: what is current is always whole, and the next
//! start completes.

use std::path::Path;

use fleet_proto::v1::{Desired, Goal, Phase};

use crate::scenario::Scenario;

/// `current` names nothing, or a release that is complete.
fn assert_whole(node: &Scenario, when: &str) {
    let current = node.path("opt/mattermost/current");
    if !current.exists() {
        assert!(!current.is_symlink(), "{when}: `current` dangles");
        return;
    }
    for part in [
        "bin/mattermost",
        "i18n/en.json",
        "templates/mail.html",
        ".release.json",
        "config",
    ] {
        assert!(current.join(part).exists(), "{when}: `{part}` is missing");
    }
}

/// Waits for the phase, or for a later one: reports are merged when they come fast.
async fn reach(node: &mut Scenario, generation: u64, phase: Phase) {
    node.orchestrator
        .until(phase.as_str_name(), |report| {
            report.generation == generation && report.phase() as i32 >= phase as i32
        })
        .await;
}

#[tokio::test]
async fn killed_at_every_phase_the_next_start_completes() {
    let mut node = Scenario::new("127.77.4.1").await;
    let phases = [
        Phase::Configured,
        Phase::Fetched,
        Phase::Verified,
        Phase::Installed,
        Phase::Starting,
        Phase::Serving,
    ];
    for (index, phase) in phases.into_iter().enumerate() {
        let generation = index as u64 + 1;
        let version = format!("11.{generation}.0");
        node.orchestrator.want(node.release(generation, &version));
        reach(&mut node, generation, phase).await;
        node.kill_agent().await;
        assert_whole(&node, phase.as_str_name());
        node.start_agent();
        node.orchestrator
            .until("serving after the kill", |report| {
                report.phase() == Phase::Serving && report.mattermost_version == version
            })
            .await;
        assert_whole(&node, "afterwards");
        let link = std::fs::read_link(node.path("opt/mattermost/current")).unwrap();
        assert_eq!(link, Path::new("releases").join(&version));
        let left: Vec<_> = std::fs::read_dir(node.path("opt/mattermost/releases"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with('.'))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
    let generation = phases.len() as u64 + 1;
    node.orchestrator.want(Desired {
        generation,
        goal: Goal::Drain.into(),
        ..Desired::default()
    });
    reach(&mut node, generation, Phase::Draining).await;
    node.kill_agent().await;
    node.start_agent();
    node.orchestrator
        .until("drained", |report| report.phase() == Phase::Drained)
        .await;
    assert!(
        tokio::net::TcpStream::connect("127.77.4.1:8065")
            .await
            .is_err()
    );
}

//! Sessions, secrets, renewal: for enrolled nodes of this stack alone.

use std::time::Duration;

use tokio_stream::StreamExt;
use tonic::Code;

use super::*;

fn prepare(version: &str) -> NodeGoal {
    NodeGoal::Prepare {
        version: version.to_owned(),
        sha256: "ab".repeat(32),
        url: "https://mirror.example/m.tar.gz".to_owned(),
        rollout: None,
        settings: std::collections::BTreeMap::new(),
        configuration: plan::ConfigurationHome::Database,
        licence: None,
        files: None,
    }
}

fn asked(generation: u64) -> v1::SecretsRequest {
    v1::SecretsRequest {
        generation,
        artefact_sha256: "ab".repeat(32),
    }
}

/// The answer to each of the three calls.
async fn codes(mut client: NodeClient<Channel>) -> [Code; 3] {
    let (_reports, receiver) = tokio::sync::mpsc::channel::<v1::NodeReport>(1);
    let reports = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let code = |refused: tonic::Status| refused.code();
    let key = KeyPair::generate().unwrap();
    [
        client
            .session(reports)
            .await
            .map_or_else(code, |_| Code::Ok),
        client
            .secrets(asked(1))
            .await
            .map_or_else(code, |_| Code::Ok),
        client
            .renew(v1::RenewRequest { csr: csr(&key) })
            .await
            .map_or_else(code, |_| Code::Ok),
    ]
}

#[tokio::test]
async fn only_enrolled_nodes_of_this_stack_are_heard() {
    let world = World::start().await;
    world.know();
    let nobody = [Code::Unauthenticated; 3];
    let anonymous = NodeClient::new(world.anonymous().await);
    assert_eq!(codes(anonymous).await, nobody, "no certificate");
    let stranger = world.client(&world.node(STACK)).await;
    assert_eq!(codes(stranger).await, nobody, "not enrolled");

    let (identity, client) = world.enrolled().await;
    let heard = codes(client.clone()).await;
    assert_eq!(
        heard,
        [Code::Ok, Code::FailedPrecondition, Code::PermissionDenied]
    );
    let foreign = world.client(&world.node("other")).await;
    assert_eq!(codes(foreign).await, nobody, "another stack");
    let operator = world.client(&world.operator()).await;
    assert_eq!(codes(operator).await, nobody, "an operator");

    world
        .core
        .store
        .revoke(&[INSTANCE.to_owned()])
        .await
        .unwrap();
    assert_eq!(
        codes(client).await,
        nobody,
        "revoked, on its old connection"
    );
    let again = world.client(&identity).await;
    assert_eq!(codes(again).await, nobody, "revoked");
}

#[tokio::test]
async fn a_certificate_of_another_ca_does_not_even_connect() {
    let (world, other) = (World::start().await, World::start().await);
    world.enrolled().await;
    let forged = other.node(STACK);
    let key = forged.key.serialize_pem();
    let config = tls::client_mutual(&world.trust(), &forged.chain, &key).unwrap();
    // TLS 1.3 tells the client after its own hand-shake: the connection or the first call fails.
    if let Ok(channel) = world.channel(config, None).await {
        let refused = NodeClient::new(channel)
            .secrets(asked(1))
            .await
            .unwrap_err();
        assert_ne!(refused.code(), Code::FailedPrecondition, "{refused:?}");
        assert_ne!(refused.code(), Code::Ok);
    }
}

#[tokio::test]
async fn secrets_wait_for_the_verified_artefact_of_that_generation() {
    let world = World::start().await;
    let (_, mut client) = world.enrolled().await;
    let refused = client.secrets(asked(0)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "no goal");
    world.give(&prepare("11.10.0")).await;
    for request in [
        asked(2),
        v1::SecretsRequest {
            artefact_sha256: "cd".repeat(32),
            ..asked(1)
        },
    ] {
        let refused = client.secrets(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "another artefact");
    }

    let mut asking = client.clone();
    let mut call = tokio::spawn(async move { asking.secrets(asked(1)).await });
    let before = [
        ("enrolled", 1),
        ("fetched", 1),
        ("verified", 0),
        ("failed", 1),
        ("serving", 2),
    ];
    for (phase, generation) in before {
        world.say(phase, generation).await;
        let early = tokio::time::timeout(Duration::from_millis(50), &mut call).await;
        assert!(
            early.is_err(),
            "answered in {phase} of {generation}: {early:?}"
        );
    }
    world.say("verified", 1).await;
    let refused = call.await.unwrap().unwrap_err();
    assert_eq!(
        refused.code(),
        Code::Unavailable,
        "no database is known yet"
    );
    world.know();
    let given = client.secrets(asked(1)).await.unwrap().into_inner();
    assert_eq!(given.database_password, PASSWORD);
    let source = &given.settings["MM_SQLSETTINGS_DATASOURCE"];
    assert!(
        source.starts_with("postgres://mattermost:"),
        "not a data source"
    );

    world.give(&prepare("11.10.1")).await;
    let refused = client.secrets(asked(1)).await.unwrap_err();
    assert_eq!(
        refused.code(),
        Code::FailedPrecondition,
        "an older generation"
    );
    world.give(&NodeGoal::Drain).await;
    let refused = client.secrets(asked(3)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "it is to leave");
}

#[tokio::test]
async fn a_certificate_is_renewed_for_the_same_key_alone() {
    let world = World::start().await;
    let (identity, mut client) = world.enrolled().await;
    let renewed = client
        .renew(v1::RenewRequest {
            csr: csr(&identity.key),
        })
        .await
        .unwrap()
        .into_inner();
    let chain = tls::certificates("the chain", &renewed.chain_pem).unwrap();
    assert_eq!(tls::peer_instance_id(&chain[0]).unwrap().as_str(), INSTANCE);
    assert_eq!(renewed.trust_pem, world.trust());
    let left = renewed.not_after - now().as_second();
    assert!((3500..=3600).contains(&left), "{left} s");
    let renewed = Identity {
        chain: renewed.chain_pem,
        ..identity
    };
    let answer = codes(world.client(&renewed).await).await;
    assert_eq!(answer[0], Code::Ok, "the new certificate is as good");

    let other = csr(&KeyPair::generate().unwrap());
    let named = CertificateParams::new(vec!["root.example".to_owned()])
        .unwrap()
        .serialize_request(&renewed.key)
        .unwrap();
    let cases = [
        (other, Code::PermissionDenied),
        (named.der().to_vec(), Code::PermissionDenied),
        (vec![0x30], Code::PermissionDenied),
        (vec![0; 4096], Code::PermissionDenied),
    ];
    for (csr, code) in cases {
        let refused = client.renew(v1::RenewRequest { csr }).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused:?}");
    }
}

#[tokio::test]
async fn a_session_brings_goals_down_and_reports_up() {
    let world = World::start().await;
    let (_, mut client) = world.enrolled().await;
    let (reports, receiver) = tokio::sync::mpsc::channel(4);
    let receiver = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut goals = client.session(receiver).await.unwrap().into_inner();
    // A goal that cannot be told completely is not told at all.
    world.give(&prepare("11.10.0")).await;
    world.know();
    let first = goals.next().await.unwrap().unwrap();
    let version = |desired: &v1::Desired| desired.artefact.as_ref().map(|it| it.version.clone());
    assert_eq!(
        (first.generation, version(&first).as_deref()),
        (1, Some("11.10.0"))
    );
    world.give(&NodeGoal::Drain).await;
    let second = goals.next().await.unwrap().unwrap();
    assert_eq!((second.generation, second.goal()), (2, v1::Goal::Drain));

    let mut changes = world.core.store.changed.subscribe();
    let report = v1::NodeReport {
        generation: 2,
        phase: v1::Phase::Draining.into(),
        note: "closing\u{1b}[31m 5 connections".to_owned(),
        ..v1::NodeReport::default()
    };
    reports.send(report).await.unwrap();
    let kept = loop {
        changes.changed().await.unwrap();
        let node = world.core.store.node(INSTANCE).await.unwrap().unwrap();
        if let Some(report) = node.report {
            break report;
        }
    };
    assert_eq!(
        (kept.phase.as_str(), kept.generation, kept.connected),
        ("draining", 2, true)
    );
    assert_eq!(kept.note, "closing[31m 5 connections");
    assert!(world.core.fleet.is_connected(INSTANCE));

    drop((reports, goals, client));
    loop {
        changes.changed().await.unwrap();
        let node = world.core.store.node(INSTANCE).await.unwrap().unwrap();
        if node.report.is_some_and(|report| !report.connected) {
            break;
        }
    }
    assert!(!world.core.fleet.is_connected(INSTANCE));
}

#[tokio::test]
async fn a_node_that_reports_too_fast_waits_and_hears_its_goal() {
    let (spec, cloud) = World::parts();
    let bounds = Bounds {
        reports: 3,
        report_refill: Duration::from_secs(3600),
        ..Bounds::default()
    };
    let world = World::with(spec, cloud, bounds).await;
    let (_, mut client) = world.enrolled().await;
    let (reports, receiver) = tokio::sync::mpsc::channel(8);
    let receiver = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut goals = client.session(receiver).await.unwrap().into_inner();
    let mut changes = world.core.store.changed.subscribe();
    for generation in 1..=5 {
        let report = v1::NodeReport {
            generation,
            ..v1::NodeReport::default()
        };
        reports.send(report).await.unwrap();
    }
    let kept = async || {
        let node = world.core.store.node(INSTANCE).await.unwrap().unwrap();
        node.report.map_or(0, |report| report.generation)
    };
    while kept().await < 3 {
        changes.changed().await.unwrap();
    }
    world.know();
    world.give(&NodeGoal::Drain).await;
    let goal = goals.next().await.unwrap().unwrap();
    assert_eq!(goal.goal(), v1::Goal::Drain);
    assert_eq!(kept().await, 3, "the others wait");
}

#[tokio::test]
async fn events_of_a_node_that_tells_too_much_are_left_out_and_that_is_said_once() {
    let world = World::start().await;
    world.enrolled().await;
    for number in 0..500 {
        let mut node = plan::observed::Node {
            phase: ["serving", "failed"][number % 2].to_owned(),
            ..plan::observed::Node::default()
        };
        world.core.note_report(INSTANCE, &mut node).await;
        world.core.store.report(INSTANCE, &node).await.unwrap();
    }
    let events = world.core.store.recent_events(1000).await.unwrap();
    let left_out = events
        .iter()
        .filter(|event| event.what == "events left out");
    assert_eq!(left_out.count(), 1, "{}", events.len());
    assert!((101..=110).contains(&events.len()), "{}", events.len());
}

/// Well below the 45 s after which systemd kills it.
const END: Duration = Duration::from_secs(20);

#[tokio::test]
async fn nobody_who_stays_connected_holds_up_the_end() {
    let world = World::start().await;
    let channel = world.anonymous().await;
    let _open = super::corpus::Dialogue::open(channel).await.unwrap();
    let _silent = tokio::net::TcpStream::connect(world.address).await.unwrap();
    let (_, mut client) = world.enrolled().await;
    let (_reports, receiver) = tokio::sync::mpsc::channel(1);
    let receiver = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let _goals = client.session(receiver).await.unwrap();
    world.core.shutdown.cancel();
    world.core.tasks.close();
    tokio::time::timeout(END, world.core.tasks.wait())
        .await
        .expect("everything ends");
}

//! The first seconds of an orchestrator, in which it does not know yet what lies in the stack's database.

use std::time::Duration;

use fleet_proto::v1::control_server::Control;
use futures_util::FutureExt;
use tonic::Code;

use super::super::control::ControlService;
use super::*;
use crate::store::tests::rollout;

const WHY: &str = "DB instance `mattermost` does not answer";

async fn starting(bounds: Bounds) -> World {
    let (spec, cloud) = World::parts();
    World::unsure(spec, cloud, bounds).await
}

fn wanted(id: &str) -> tonic::Request<v1::GetRolloutRequest> {
    tonic::Request::new(v1::GetRolloutRequest {
        id: id.to_owned(),
        request_key: String::new(),
    })
}

#[tokio::test]
async fn a_rollout_is_told_of_once_it_can_be_known() {
    let world = starting(Bounds::default()).await;
    let control = ControlService::new(Arc::clone(&world.core));
    let mut asked = control.get_rollout(wanted("r-7"));
    assert!(asked.as_mut().now_or_never().is_none(), "answered unread");
    let store = &world.core.store;
    store
        .request_rollout(&rollout(7), "key", "ops")
        .await
        .unwrap();
    store.believe_memory();
    assert_eq!(asked.await.unwrap().into_inner().id, "r-7");
    let missing = control.get_rollout(wanted("r-8")).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound, "{missing}");
}

#[tokio::test]
async fn operators_hear_what_is_waited_for() {
    let world = starting(Bounds::default()).await;
    world.core.store.doubt_memory(WHY);
    let mut control = ControlService::new(Arc::clone(&world.core));
    control.known = Duration::ZERO;
    let start = v1::StartRolloutRequest {
        request_key: "key".to_owned(),
        ..v1::StartRolloutRequest::default()
    };
    let steer = v1::SteerRolloutRequest {
        steer: v1::Steer::Pause.into(),
        ..v1::SteerRolloutRequest::default()
    };
    let refused = [
        control.get_rollout(wanted("r-7")).await.err(),
        control.get_rollout(wanted("")).await.err(),
        control
            .start_rollout(tonic::Request::new(start.clone()))
            .await
            .err(),
        control
            .steer_rollout(tonic::Request::new(steer))
            .await
            .err(),
        control
            .nodes(tonic::Request::new(v1::NodesRequest {}))
            .await
            .err(),
    ];
    for (number, status) in refused.into_iter().enumerate() {
        let status = status.unwrap_or_else(|| panic!("call {number} was answered"));
        assert_eq!(status.code(), Code::Unavailable, "call {number}");
        assert!(status.message().contains(WHY), "call {number}: {status}");
    }
    // What serves is in AWS, not in the store.
    world.core.store.believe_memory();
    let plan = control.plan_rollout(tonic::Request::new(start)).await;
    let refused = plan.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert!(refused.message().contains("first look"), "{refused}");
}

#[tokio::test]
async fn a_repeated_request_is_the_rollout_that_it_became() {
    let world = starting(Bounds::default()).await;
    let store = &world.core.store;
    store.believe_memory();
    let row = store.request_rollout(&rollout(7), "key", "ops").await;
    let to = row.unwrap().intent.to;
    let control = ControlService::new(Arc::clone(&world.core));
    let ask = async |key: &str, version: &str| {
        let request = v1::StartRolloutRequest {
            request_key: key.to_owned(),
            mattermost_version: version.to_owned(),
            ..v1::StartRolloutRequest::default()
        };
        control.start_rollout(tonic::Request::new(request)).await
    };
    for version in [to.version.as_str(), ""] {
        let again = ask("key", version).await.unwrap().into_inner();
        assert_eq!(again.id, "r-7");
    }
    let other = ask("key", "9.9.9").await.unwrap_err();
    assert_eq!(other.code(), Code::FailedPrecondition, "{other}");
    assert!(other.message().contains("r-7"), "{other}");
    assert_eq!(store.rollout_count().await.unwrap(), 1);

    let became = async |key: &str| {
        let request = v1::GetRolloutRequest {
            request_key: key.to_owned(),
            ..v1::GetRolloutRequest::default()
        };
        control.get_rollout(tonic::Request::new(request)).await
    };
    assert_eq!(became("key").await.unwrap().into_inner().id, "r-7");
    let missing = became("another").await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound, "{missing}");
}

#[tokio::test]
async fn the_status_waits_for_nothing() {
    let world = starting(Bounds::default()).await;
    world.core.store.doubt_memory(WHY);
    let control = ControlService::new(Arc::clone(&world.core));
    let status = control
        .status(tonic::Request::new(v1::StatusRequest {}))
        .now_or_never();
    let status = status.expect("it waited").unwrap().into_inner();
    assert!(status.reasons[0].contains(WHY), "{:?}", status.reasons);
}

#[tokio::test]
async fn a_node_is_asked_to_come_again_and_not_to_enrol_again() {
    let world = starting(Bounds {
        known: Duration::from_millis(1),
        ..Bounds::default()
    })
    .await;
    let identity = world.node(STACK);
    let mut client = world.client(&identity).await;
    let renewal = v1::RenewRequest {
        csr: csr(&identity.key),
    };
    let refused = client.renew(renewal.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    world.core.store.believe_memory();
    let refused = client.renew(renewal).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
}

//! Enrolment, as far as it goes without AWS.

use fleet_proto::v1::enrolment_client::EnrolmentClient;
use tokio_stream::StreamExt;
use tonic::Code;

use super::*;

/// One attempt to enrol with this answer: the nonce, and what came of it.
async fn enrol(channel: Channel, answer: v1::EnrollAnswer) -> (Vec<u8>, Code) {
    let (answers, receiver) = tokio::sync::mpsc::channel(1);
    let receiver = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut client = EnrolmentClient::new(channel);
    let mut steps = match client.enroll(receiver).await {
        Ok(steps) => steps.into_inner(),
        Err(refused) => return (Vec::new(), refused.code()),
    };
    let challenge = steps.next().await.unwrap().unwrap();
    let Some(v1::enroll_step::Step::Challenge(challenge)) = challenge.step else {
        panic!("the first step is no challenge");
    };
    answers.send(answer).await.unwrap();
    let verdict = steps.next().await.unwrap();
    let refused = verdict.expect_err("nothing that is sent here is an identity");
    assert_eq!(refused.message(), "not accepted");
    (challenge.nonce, refused.code())
}

#[tokio::test]
async fn enrolment_tells_nothing_and_slows_down_whoever_tries_on() {
    let world = World::start().await;
    let channel = world.anonymous().await;
    let key = KeyPair::generate().unwrap();
    let identity = v1::SignedRequest {
        method: "POST".to_owned(),
        url: "https://sts.us-east-1.amazonaws.com/".to_owned(),
        ..v1::SignedRequest::default()
    };
    let with_csr = v1::EnrollAnswer {
        csr: csr(&key),
        ..v1::EnrollAnswer::default()
    };
    let answers = [
        v1::EnrollAnswer::default(),
        with_csr.clone(),
        v1::EnrollAnswer {
            identity: Some(identity.clone()),
            ..v1::EnrollAnswer::default()
        },
        v1::EnrollAnswer {
            identity: Some(identity),
            ..with_csr.clone()
        },
        with_csr,
    ];
    let mut nonces = std::collections::BTreeSet::new();
    for answer in answers {
        let (nonce, code) = enrol(channel.clone(), answer).await;
        assert_eq!((nonce.len(), code), (32, Code::PermissionDenied));
        assert!(nonces.insert(nonce), "a nonce came twice");
    }
    let (_, code) = enrol(channel, v1::EnrollAnswer::default()).await;
    assert_eq!(code, Code::ResourceExhausted);
    assert_eq!(world.core.store.node(INSTANCE).await.unwrap(), None);
}

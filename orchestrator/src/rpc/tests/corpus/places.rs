//! A good certificate where its instance is not, and more of what a good one is for than a node needs.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use fleet_proto::v1::node_client::NodeClient;
use tonic::transport::Channel;

use super::super::{Identity, csr};
use super::nodes::{asked, renew, reports, secrets};
use super::stage::Stage;
use super::{Case, Heard, case};

const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 99));

pub fn cases() -> Vec<Case> {
    [of_instances(), of_addresses(), of_numbers()]
        .into_iter()
        .flatten()
        .collect()
}

/// An enrolled node whose instance looks do not show: it ended while nobody looked, or its tag was removed.
async fn hidden(stage: &Stage, id: &str) -> (Identity, NodeClient<Channel>) {
    let member = stage.member(id).await;
    stage.world.hide(id);
    member
}

fn of_instances() -> Vec<Case> {
    vec![
        case(
            "renewal for an instance that nobody sees",
            "certificate_instance",
            |stage| {
                Box::pin(async move {
                    let (identity, mut client) = hidden(stage, "i-00000000000000f01").await;
                    renew(&mut client, csr(&identity.key)).await
                })
            },
        ),
        case(
            "secrets for an instance that nobody sees",
            "certificate_instance",
            |stage| {
                Box::pin(async move {
                    let (_, mut client) = hidden(stage, "i-00000000000000f02").await;
                    secrets(&mut client, asked(1)).await
                })
            },
        ),
        case(
            "a session for an instance that nobody sees",
            "certificate_instance",
            |stage| {
                Box::pin(async move {
                    let (_, mut client) = hidden(stage, "i-00000000000000f03").await;
                    let (_open, reports) = reports();
                    Heard::Refusal(client.session(reports).await.err().unwrap())
                })
            },
        ),
        case(
            "a session whose instance is seen no more",
            "certificate_instance",
            |stage| {
                Box::pin(async move {
                    let id = "i-00000000000000f04";
                    let (_, mut client) = stage.member(id).await;
                    let (_open, reports) = reports();
                    let mut goals = client.session(reports).await.unwrap().into_inner();
                    stage.world.hide(id);
                    Heard::Refusal(goals.message().await.err().unwrap())
                })
            },
        ),
        case("renewal while nobody can look", "unavailable", |stage| {
            Box::pin(async move {
                let (identity, mut client) = stage.member("i-00000000000000f05").await;
                let looks = &stage.world.core.looks;
                let before = looks.borrow().clone();
                looks.send_modify(|look| {
                    let unknown = &mut Arc::make_mut(look).observed.unknown;
                    unknown.insert("instances".to_owned(), "throttled".to_owned());
                });
                let heard = renew(&mut client, csr(&identity.key)).await;
                looks.send_replace(before);
                heard
            })
        }),
    ]
}

fn of_addresses() -> Vec<Case> {
    vec![
        case(
            "a stolen key's secrets, at another address",
            "certificate_address",
            |stage| {
                Box::pin(async move {
                    let id = "i-00000000000000f06";
                    let (_, mut client) = stage.member(id).await;
                    stage.world.show(id, ELSEWHERE);
                    secrets(&mut client, asked(1)).await
                })
            },
        ),
        case(
            "a stolen key's session, at another address",
            "certificate_address",
            |stage| {
                Box::pin(async move {
                    let id = "i-00000000000000f07";
                    let (_, mut client) = stage.member(id).await;
                    stage.world.show(id, ELSEWHERE);
                    let (_open, reports) = reports();
                    Heard::Refusal(client.session(reports).await.err().unwrap())
                })
            },
        ),
    ]
}

fn of_numbers() -> Vec<Case> {
    vec![case("renewals without end", "call_rate", |stage| {
        Box::pin(async move {
            let (identity, mut client) = stage.member("i-00000000000000f08").await;
            loop {
                let csr = csr(&identity.key);
                let request = fleet_proto::v1::RenewRequest { csr };
                if let Err(refused) = client.renew(request).await {
                    return Heard::Refusal(refused);
                }
            }
        })
    })]
}

//! Certificates that are not, no longer, or not yet good; and what a good one does not open.

use std::time::Duration;

use fleet_proto::tls;
use fleet_proto::v1;
use fleet_proto::v1::control_client::ControlClient;
use fleet_proto::v1::node_client::NodeClient;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use time::OffsetDateTime;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::super::{Identity, STACK, csr};
use super::nodes::{asked, reports, secrets};
use super::stage::Stage;
use super::{Case, Heard, case};
use crate::authority::Authority;
use crate::reconcile::driver::now;

const ID: &str = "i-00000000000000a01";

/// A node's certificate of the right CA, good from and until so many seconds from now.
fn valid(stage: &Stage, from: i64, until: i64) -> Identity {
    valid_for(stage, ID, from, until)
}

fn valid_for(stage: &Stage, id: &str, from: i64, until: i64) -> Identity {
    let at = |seconds: i64| OffsetDateTime::from_unix_timestamp(now().as_second() + seconds);
    let mut params = named(tls::node_uri(STACK, &id.parse().unwrap()));
    params.not_before = at(from).unwrap();
    params.not_after = at(until).unwrap();
    stage.world.signed(&params)
}

fn named(uri: String) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

pub fn cases() -> Vec<Case> {
    [hand_shakes(), callers(), lives(), services()]
        .into_iter()
        .flatten()
        .collect()
}

fn hand_shakes() -> Vec<Case> {
    vec![
        case(
            "a certificate that expired ten minutes ago",
            "tls_expired",
            |stage| Box::pin(async move { stage.cut(&valid(stage, -7200, -600)).await }),
        ),
        case(
            "a certificate that expired two seconds ago",
            "tls_expired",
            |stage| Box::pin(async move { stage.cut(&valid(stage, -7200, -2)).await }),
        ),
        case("a certificate for tomorrow", "tls_not_yet_valid", |stage| {
            Box::pin(async move { stage.cut(&valid(stage, 86_400, 90_000)).await })
        }),
        case(
            "a certificate of a CA of the same name",
            "tls_unknown_ca",
            |stage| {
                Box::pin(async move {
                    let secret = Authority::generate(STACK, now()).unwrap();
                    let other = Authority::load(STACK, &secret).unwrap();
                    let key = KeyPair::generate().unwrap();
                    let request = crate::authority::Request::parse(&csr(&key)).unwrap();
                    let (chain, _) = other.node(&request, ID, now()).unwrap();
                    stage.cut(&Identity { key, chain }).await
                })
            },
        ),
        case(
            "a certificate that signed itself",
            "tls_unknown_ca",
            |stage| {
                Box::pin(async move {
                    let key = KeyPair::generate().unwrap();
                    let params = named(tls::node_uri(STACK, &ID.parse().unwrap()));
                    let chain = params.self_signed(&key).unwrap().pem();
                    stage.cut(&Identity { key, chain }).await
                })
            },
        ),
        case(
            "the orchestrator's own certificate, as a client's",
            "tls_certificate",
            |stage| {
                Box::pin(async move {
                    let authority = Authority::load(STACK, &stage.world.secret).unwrap();
                    let leaf = authority.server(now()).unwrap();
                    let key = secrecy::ExposeSecret::expose_secret(&leaf.key_pem);
                    let key = KeyPair::from_pem(key).unwrap();
                    let chain = leaf.chain_pem;
                    stage.cut(&Identity { key, chain }).await
                })
            },
        ),
        case(
            "a certificate that a node signed",
            "tls_certificate",
            |stage| {
                Box::pin(async move {
                    let node = stage.world.node(STACK);
                    let leaf_of_node = &tls::certificates("the chain", &node.chain).unwrap()[0];
                    let issuer = Issuer::from_ca_cert_der(leaf_of_node, node.key).unwrap();
                    let key = KeyPair::generate().unwrap();
                    let params = named(tls::node_uri(STACK, &ID.parse().unwrap()));
                    let chain = params.signed_by(&key, &issuer).unwrap().pem() + &node.chain;
                    stage.cut(&Identity { key, chain }).await
                })
            },
        ),
    ]
}

/// The answer to a request for secrets over a connection that shows this.
async fn refused(stage: &Stage, identity: &Identity) -> Heard {
    secrets(&mut stage.world.client(identity).await, asked(1)).await
}

fn callers() -> Vec<Case> {
    vec![
        case(
            "secrets without a certificate",
            "certificate_missing",
            |stage| {
                Box::pin(async move {
                    let mut client = NodeClient::new(stage.world.anonymous().await);
                    secrets(&mut client, asked(1)).await
                })
            },
        ),
        case(
            "a session without a certificate",
            "certificate_missing",
            |stage| {
                Box::pin(async move {
                    let mut client = NodeClient::new(stage.world.anonymous().await);
                    let (_open, reports) = reports();
                    Heard::Refusal(client.session(reports).await.err().unwrap())
                })
            },
        ),
        case(
            "renewal without a certificate",
            "certificate_missing",
            |stage| {
                Box::pin(async move {
                    let mut client = NodeClient::new(stage.world.anonymous().await);
                    let csr = csr(&KeyPair::generate().unwrap());
                    Heard::Refusal(client.renew(v1::RenewRequest { csr }).await.err().unwrap())
                })
            },
        ),
        case("an operator's certificate", "certificate_holder", |stage| {
            Box::pin(async move { refused(stage, &stage.world.operator()).await })
        }),
        case(
            "a certificate that names nobody",
            "certificate_holder",
            |stage| {
                Box::pin(async move {
                    let mut params = CertificateParams::default();
                    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
                    refused(stage, &stage.world.signed(&params)).await
                })
            },
        ),
        case(
            "a certificate that names two nodes",
            "certificate_holder",
            |stage| {
                Box::pin(async move {
                    let mut params = named(tls::node_uri(STACK, &ID.parse().unwrap()));
                    let ann = stage.machine("ann").id.parse().unwrap();
                    let second = tls::node_uri(STACK, &ann).try_into().unwrap();
                    params.subject_alt_names.push(SanType::URI(second));
                    refused(stage, &stage.world.signed(&params)).await
                })
            },
        ),
        case(
            "a certificate of another stack",
            "certificate_stack",
            |stage| Box::pin(async move { refused(stage, &stage.world.node("other")).await }),
        ),
        case(
            "a certificate of an instance that never enrolled",
            "not_enrolled",
            |stage| Box::pin(async move { refused(stage, &stage.world.node(STACK)).await }),
        ),
        case(
            "an enrolled node's name with another key",
            "certificate_key",
            |stage| {
                Box::pin(async move {
                    let id = &stage.machine("ann").id;
                    let key = KeyPair::generate().unwrap();
                    refused(stage, &stage.world.node_named(STACK, id, key)).await
                })
            },
        ),
    ]
}

fn lives() -> Vec<Case> {
    vec![
        case(
            "the certificate of an instance that is gone",
            "revoked",
            |stage| {
                Box::pin(async move {
                    let (identity, _) = stage.member("i-00000000000000b01").await;
                    stage.revoke("i-00000000000000b01").await;
                    refused(stage, &identity).await
                })
            },
        ),
        case("a session that outlives its instance", "revoked", |stage| {
            Box::pin(async move {
                let (_, mut client) = stage.member("i-00000000000000b02").await;
                let (_open, reports) = reports();
                let mut goals = client.session(reports).await.unwrap().into_inner();
                stage.revoke("i-00000000000000b02").await;
                Heard::Refusal(goals.message().await.err().unwrap())
            })
        }),
        case(
            "a call that outlives its certificate",
            "certificate_expired",
            |stage| {
                Box::pin(async move {
                    let identity = valid(stage, -60, 2);
                    stage.note_key(ID, &identity.key).await;
                    let mut client = stage.world.client(&identity).await;
                    // The connection was good, and stays; the certificate does not.
                    let end = now().as_second() + 3;
                    while now().as_second() <= end {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    secrets(&mut client, asked(1)).await
                })
            },
        ),
        case(
            "a session that outlives its certificate",
            "certificate_expired",
            |stage| {
                Box::pin(async move {
                    let id = "i-00000000000000a02";
                    let identity = valid_for(stage, id, -60, 2);
                    stage.note_key(id, &identity.key).await;
                    let mut client = stage.world.client(&identity).await;
                    let (_open, reports) = reports();
                    let mut goals = client.session(reports).await.unwrap().into_inner();
                    Heard::Refusal(goals.message().await.err().unwrap())
                })
            },
        ),
    ]
}

async fn control(channel: Channel) -> Heard {
    let mut client = ControlClient::new(channel);
    let answer = client.status(v1::StatusRequest::default()).await;
    Heard::Refusal(answer.err().unwrap())
}

fn services() -> Vec<Case> {
    vec![
        case("the operators' service, as a node", "service", |stage| {
            Box::pin(async move {
                let (identity, _) = stage.member("i-00000000000000c01").await;
                control(stage.world.shown(&identity).await.unwrap()).await
            })
        }),
        case("a watch of the server's health", "service", |stage| {
            Box::pin(async move {
                let channel = stage.world.anonymous().await;
                let mut client = HealthClient::new(channel);
                let answer = client.watch(HealthCheckRequest::default()).await;
                Heard::Refusal(answer.err().unwrap())
            })
        }),
        case("the operators' service, as nobody", "service", |stage| {
            Box::pin(async move { control(stage.world.anonymous().await).await })
        }),
        case(
            "the operators' service, with an operator's certificate",
            "service",
            |stage| {
                Box::pin(async move {
                    let channel = stage.world.shown(&stage.world.operator()).await;
                    control(channel.unwrap()).await
                })
            },
        ),
    ]
}

//! What an enrolled node asks for that is not its to have.

use fleet_proto::v1;
use fleet_proto::v1::node_client::NodeClient;
use plan::NodeGoal;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::super::{Identity, LOOPBACK, PASSWORD, STACK};
use super::forge::key_sha256;
use super::stage::Stage;
use super::{Case, Heard, case};

/// A session's reports, open as long as the sender is kept.
pub fn reports() -> (mpsc::Sender<v1::NodeReport>, ReceiverStream<v1::NodeReport>) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, ReceiverStream::new(receiver))
}

pub fn asked(generation: u64) -> v1::SecretsRequest {
    v1::SecretsRequest {
        generation,
        artefact_sha256: "ab".repeat(32),
    }
}

pub async fn secrets(client: &mut NodeClient<Channel>, request: v1::SecretsRequest) -> Heard {
    match client.secrets(request).await {
        Ok(reply) => panic!(
            "secrets were given: {} of them",
            reply.get_ref().settings.len()
        ),
        Err(status) => {
            assert!(!format!("{status:?}").contains(PASSWORD));
            Heard::Refusal(status)
        }
    }
}

fn goal(digest: &str) -> NodeGoal {
    NodeGoal::Prepare {
        version: "11.0.0".to_owned(),
        sha256: digest.repeat(32),
        url: "https://mirror.example/m.tar.gz".to_owned(),
        rollout: None,
        settings: std::collections::BTreeMap::new(),
        configuration: plan::ConfigurationHome::Database,
        licence: None,
        files: None,
    }
}

impl Stage {
    /// An enrolled node, without the way there.
    pub async fn member(&self, id: &str) -> (Identity, NodeClient<Channel>) {
        let key = KeyPair::generate().unwrap();
        self.note_key(id, &key).await;
        let identity = self.world.node_named(STACK, id, key);
        let client = self.world.client(&identity).await;
        (identity, client)
    }

    pub async fn note_key(&self, id: &str, key: &KeyPair) {
        self.world.show(id, LOOPBACK);
        self.world
            .core
            .store
            .enrol(id, &key_sha256(key))
            .await
            .unwrap();
        self.note_enrolled(id);
    }

    pub async fn revoke(&self, id: &str) {
        self.world
            .core
            .store
            .revoke(&[id.to_owned()])
            .await
            .unwrap();
    }

    async fn reported(&self, id: &str, phase: &str, generation: u64) {
        let report = plan::observed::Node {
            phase: phase.to_owned(),
            generation,
            ..plan::observed::Node::default()
        };
        self.world.core.store.report(id, &report).await.unwrap();
    }
}

pub fn cases() -> Vec<Case> {
    [of_secrets(), of_renewal()].into_iter().flatten().collect()
}

fn of_secrets() -> Vec<Case> {
    vec![
        case(
            "secrets for a node without a goal",
            "secrets_goal",
            |stage| {
                Box::pin(async move {
                    let (_, mut client) = stage.member("i-00000000000000d01").await;
                    secrets(&mut client, asked(0)).await
                })
            },
        ),
        case(
            "secrets for a node that is to leave",
            "secrets_goal",
            |stage| {
                Box::pin(async move {
                    let (_, mut client) = stage.member("i-00000000000000d02").await;
                    stage
                        .world
                        .give_to("i-00000000000000d02", &NodeGoal::Drain)
                        .await;
                    secrets(&mut client, asked(1)).await
                })
            },
        ),
        case(
            "secrets before the artefact was verified",
            "secrets_unverified",
            |stage| {
                Box::pin(async move {
                    let (_, mut client) = stage.member("i-00000000000000d03").await;
                    stage
                        .world
                        .give_to("i-00000000000000d03", &goal("ab"))
                        .await;
                    stage.reported("i-00000000000000d03", "fetched", 1).await;
                    secrets(&mut client, asked(1)).await
                })
            },
        ),
        case(
            "secrets of a node that failed",
            "secrets_unverified",
            |stage| {
                Box::pin(async move {
                    let (_, mut client) = stage.member("i-00000000000000d04").await;
                    stage
                        .world
                        .give_to("i-00000000000000d04", &goal("ab"))
                        .await;
                    stage.reported("i-00000000000000d04", "failed", 1).await;
                    secrets(&mut client, asked(1)).await
                })
            },
        ),
        case("another node's secrets", "secrets_generation", |stage| {
            Box::pin(async move {
                // The other one verified its artefact; this one has a goal of its own.
                let (_, _other) = stage.member("i-00000000000000d05").await;
                stage
                    .world
                    .give_to("i-00000000000000d05", &goal("ab"))
                    .await;
                stage.reported("i-00000000000000d05", "verified", 1).await;
                let (_, mut client) = stage.member("i-00000000000000d06").await;
                stage
                    .world
                    .give_to("i-00000000000000d06", &goal("cd"))
                    .await;
                stage.reported("i-00000000000000d06", "verified", 1).await;
                secrets(&mut client, asked(1)).await
            })
        }),
        case(
            "secrets of a generation that is over",
            "secrets_generation",
            |stage| {
                Box::pin(async move {
                    let (_, mut client) = stage.member("i-00000000000000d07").await;
                    stage
                        .world
                        .give_to("i-00000000000000d07", &goal("ab"))
                        .await;
                    stage.reported("i-00000000000000d07", "verified", 1).await;
                    stage
                        .world
                        .give_to("i-00000000000000d07", &goal("cd"))
                        .await;
                    secrets(&mut client, asked(1)).await
                })
            },
        ),
        case(
            "secrets of a generation to come",
            "secrets_generation",
            |stage| {
                Box::pin(async move {
                    let (_, mut client) = stage.member("i-00000000000000d08").await;
                    stage
                        .world
                        .give_to("i-00000000000000d08", &goal("ab"))
                        .await;
                    secrets(&mut client, asked(2)).await
                })
            },
        ),
        case(
            "secrets while the database is not known",
            "unavailable",
            |stage| {
                Box::pin(async move {
                    let (_, mut client) = stage.member("i-00000000000000d09").await;
                    stage
                        .world
                        .give_to("i-00000000000000d09", &goal("ab"))
                        .await;
                    stage.reported("i-00000000000000d09", "verified", 1).await;
                    secrets(&mut client, asked(1)).await
                })
            },
        ),
    ]
}

pub async fn renew(client: &mut NodeClient<Channel>, csr: Vec<u8>) -> Heard {
    let refused = client.renew(v1::RenewRequest { csr }).await;
    Heard::Refusal(refused.expect_err("an attacker got a certificate"))
}

fn of_renewal() -> Vec<Case> {
    vec![
        case("renewal for another key", "renewal_key", |stage| {
            Box::pin(async move {
                let (_, mut client) = stage.member("i-00000000000000e01").await;
                let other = KeyPair::generate().unwrap();
                let csr = super::forge::csr(&other, &CertificateParams::default());
                renew(&mut client, csr).await
            })
        }),
        case("renewal for a weaker kind of key", "renewal_csr", |stage| {
            Box::pin(async move {
                let (_, mut client) = stage.member("i-00000000000000e02").await;
                let other = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
                let csr = super::forge::csr(&other, &CertificateParams::default());
                renew(&mut client, csr).await
            })
        }),
        case(
            "renewal under the orchestrator's name",
            "renewal_csr",
            |stage| {
                Box::pin(async move {
                    let (identity, mut client) = stage.member("i-00000000000000e03").await;
                    let name = fleet_proto::tls::server_name(STACK);
                    let params = CertificateParams::new(vec![name]).unwrap();
                    renew(&mut client, super::forge::csr(&identity.key, &params)).await
                })
            },
        ),
        case(
            "enrolment when no certificate can be made",
            "store",
            |stage| {
                Box::pin(async move {
                    let authority = stage.world.core.authority.send_replace(None);
                    let enrol = super::enrolment::honest_from("carl");
                    let heard = stage.enrol(&enrol).await;
                    stage.world.core.authority.send_replace(authority);
                    stage.note_enrolled(&stage.machine("carl").id);
                    heard
                })
            },
        ),
    ]
}

//! What the server says of its licence, and the path that it answers below.

use fleet_proto::v1::{Desired, LicenceWanted, Phase, ServerLicence};

use crate::scenario::Scenario;

async fn started_with(address: &str, licence: &str, wanted: Option<LicenceWanted>) -> Scenario {
    let node = Scenario::new(address).await;
    let pair = ("MM_LICENSE".to_owned(), licence.to_owned());
    node.orchestrator
        .shared
        .secrets
        .lock()
        .unwrap()
        .extend([pair]);
    let order = Desired {
        licence: wanted,
        ..node.release(1, "11.10.0")
    };
    node.orchestrator.want(order);
    node
}

#[tokio::test]
async fn server_without_the_wanted_licence_is_not_verified() {
    let cases = [
        (
            "127.77.7.1",
            "damaged",
            true,
            ServerLicence::default(),
            "it says that it runs without one",
        ),
        (
            "127.77.7.2",
            "single",
            true,
            ServerLicence {
                licensed: true,
                cluster: false,
            },
            "allows no cluster",
        ),
    ];
    for (address, licence, cluster, said, words) in cases {
        let mut node = started_with(address, licence, Some(LicenceWanted { cluster })).await;
        let report = node
            .orchestrator
            .until("refused", |report| report.phase() == Phase::Failed)
            .await;
        assert_eq!(report.licence, Some(said));
        let failure = report.failure.unwrap();
        assert_eq!(
            (failure.phase(), failure.code.as_str()),
            (Phase::Starting, "licence_refused")
        );
        assert!(failure.error.contains(words), "{}", failure.error);
        assert!(failure.hint.contains("not tried again"), "{}", failure.hint);
        assert!(
            failure
                .journal
                .iter()
                .any(|line| line.contains("listening"))
        );

        // Only another order helps.
        let good = ("MM_LICENSE".to_owned(), "cluster".to_owned());
        node.orchestrator
            .shared
            .secrets
            .lock()
            .unwrap()
            .extend([good]);
        node.orchestrator.want(Desired {
            licence: Some(LicenceWanted { cluster }),
            configuration_digest: "ab".repeat(32),
            ..node.release(2, "11.10.0")
        });
        let report = node
            .orchestrator
            .until("serving", |report| report.phase() == Phase::Serving)
            .await;
        let good = ServerLicence {
            licensed: true,
            cluster: true,
        };
        assert_eq!(report.licence, Some(good));
    }
}

#[tokio::test]
async fn licence_is_reported_where_none_is_wanted_and_hinders_nobody() {
    let mut node = started_with("127.77.7.3", "", None).await;
    let report = node
        .orchestrator
        .until("serving", |report| report.phase() == Phase::Serving)
        .await;
    assert_eq!(report.licence, Some(ServerLicence::default()));
    assert_eq!(report.version_id, "11.10.0.1.abc.false");
    assert_eq!(report.mattermost_version, "11.10.0");

    let mut node = started_with("127.77.7.4", "broken", None).await;
    let report = node
        .orchestrator
        .until("serving", |report| report.phase() == Phase::Serving)
        .await;
    assert_eq!(report.licence, None);
    node.orchestrator.want(Desired {
        licence: Some(LicenceWanted { cluster: false }),
        ..node.release(2, "11.10.0")
    });
    let report = node
        .orchestrator
        .until("unknown", |report| report.phase() == Phase::Failed)
        .await;
    let failure = report.failure.unwrap();
    assert_eq!(failure.code, "licence_unknown");
    assert!(failure.error.contains("500"), "{}", failure.error);
}

#[tokio::test]
async fn server_below_a_path_is_asked_below_it() {
    let mut node = Scenario::new("127.77.7.5").await;
    let mut order = node.release(1, "11.10.0");
    let url = "https://chat.example.org/company/chat".to_owned();
    order
        .settings
        .insert("MM_SERVICESETTINGS_SITEURL".into(), url);
    "/company/chat".clone_into(&mut order.site_path);
    node.orchestrator.want(order.clone());
    let report = node
        .orchestrator
        .until("serving", |report| report.phase() == Phase::Serving)
        .await;
    assert_eq!(report.licence, Some(ServerLicence::default()));

    // Of another path it answers with the way to its own.
    if let Some(verification) = &mut order.verification {
        verification.start_timeout_s = 1;
    }
    node.orchestrator.want(Desired {
        generation: 2,
        site_path: String::new(),
        ..order
    });
    let failure = node.orchestrator.failure().await;
    assert_eq!(failure.code, "server_unhealthy");
    assert!(
        failure.error.contains("its site URL has another path"),
        "{}",
        failure.error
    );
}

//! The node's own probe of the bucket of users' files.

use std::path::Path;
use std::time::Duration;

use fleet_proto::v1::{Desired, FileStore, Goal, Phase};
use mattermost_agent::coded::Coded;
use mattermost_agent::file_store::{FileStoreError, Patience, Probe};
use mattermost_agent::wanted::{self, Wanted};

use crate::s3::{BUCKET, Bucket, Mood, REGION};
use crate::scenario::{INSTANCE, Scenario};

fn typed(node: &Scenario, wire: FileStore) -> wanted::FileStore {
    let desired = Desired {
        file_store: Some(wire),
        ..node.release(1, "11.10.0")
    };
    match Wanted::parse(&desired).unwrap() {
        Wanted::Serving(serving) => serving.file_store.unwrap(),
        other => panic!("{other:?}"),
    }
}

async fn probe(store: &wanted::FileStore, patience: Patience) -> Result<(), FileStoreError> {
    probe_trusting(store, None, patience).await
}

async fn probe_trusting(
    store: &wanted::FileStore,
    roots: Option<&Path>,
    patience: Patience,
) -> Result<(), FileStoreError> {
    let credentials = aws_credential_types::Credentials::new(
        "AKID",
        "hidden",
        Some("token".into()),
        None,
        "test",
    );
    let instance = INSTANCE.parse().unwrap();
    Probe::new(store, &instance, credentials, roots, patience)?
        .check()
        .await
}

#[tokio::test]
async fn what_is_wrong_with_a_bucket_is_told_apart() {
    let node = Scenario::before_boot("127.77.5.1").await;
    let bucket = Bucket::start().await;
    let store = typed(&node, bucket.wanted("chat/"));
    let patience = Patience {
        timeout: Duration::from_millis(300),
        attempts: 3,
        pause: Duration::from_millis(1),
    };
    let cases = [
        (Mood::Denied("PUT"), "file_store_denied", "s3:PutObject", 1),
        (Mood::Denied("GET"), "file_store_denied", "s3:GetObject", 3),
        (
            Mood::Denied("DELETE"),
            "file_store_denied",
            "s3:DeleteObject",
            3,
        ),
        (Mood::NoBucket, "file_store_bucket_missing", BUCKET, 1),
        (Mood::Elsewhere, "file_store_region", "us-west-2", 1),
        (Mood::Forgetful, "file_store_different", "does not keep", 3),
        (Mood::Silent, "file_store_timeout", "gateway endpoint", 3),
        (Mood::Busy(100), "file_store_busy", "tried again", 3),
    ];
    for (mood, code, hint, requests) in cases {
        bucket.becomes(mood);
        let before = bucket.asked().len();
        let error = probe(&store, patience).await.unwrap_err();
        assert_eq!(error.code(), code, "{mood:?}");
        assert!(error.hint().contains(hint), "{mood:?}: {}", error.hint());
        assert!(
            !format!("{error} {error:?}").contains("hidden"),
            "{error:?}"
        );
        assert_eq!(error.permanent(), mood == Mood::Elsewhere, "{mood:?}");
        assert_eq!(bucket.asked().len() - before, requests, "{mood:?}");
    }
    bucket.becomes(Mood::Good);
    probe(&store, patience).await.unwrap();
    assert_eq!(bucket.keys(), [""; 0], "nothing is left behind");
    let methods: Vec<String> = bucket.asked().into_iter().map(|one| one.method).collect();
    assert_eq!(methods[methods.len() - 3..], ["PUT", "GET", "DELETE"]);
    // What passes is tried again.
    bucket.becomes(Mood::Busy(2));
    probe(&store, patience).await.unwrap();

    let closed = FileStore {
        endpoint: "http://127.0.0.1:1".to_owned(),
        ..bucket.wanted("")
    };
    let error = probe(&typed(&node, closed), patience).await.unwrap_err();
    assert_eq!(error.code(), "file_store_unreachable");
}

#[tokio::test]
async fn store_with_a_certificate_of_its_own_needs_the_bundle() {
    let node = Scenario::before_boot("127.77.5.5").await;
    // It gives the same file to whatever is asked.
    let endpoint = node.releases.url.trim_end_matches("/mattermost.tar.gz");
    let store = FileStore {
        bucket: BUCKET.to_owned(),
        region: REGION.to_owned(),
        endpoint: endpoint.to_owned(),
        ..FileStore::default()
    };
    let store = typed(&node, store);
    let bundle = node.path("bundle.pem");
    std::fs::write(&bundle, &node.releases.trust_pem).unwrap();
    let missing = node.path("missing.pem");
    for (roots, code) in [
        (None, "file_store_untrusted"),
        (Some(&*bundle), "file_store_different"),
        (Some(&*missing), "file_store_roots"),
    ] {
        let error = probe_trusting(&store, roots, Patience::once()).await;
        assert_eq!(error.unwrap_err().code(), code);
    }
}

#[tokio::test]
async fn a_server_serves_only_when_its_node_can_use_the_bucket() {
    let mut node = Scenario::new("127.77.5.2").await;
    let bucket = Bucket::start().await;
    bucket.becomes(Mood::Denied("DELETE"));
    node.orchestrator.want(Desired {
        file_store: Some(FileStore {
            owner: "123456789012".to_owned(),
            ..bucket.wanted("chat/")
        }),
        ..node.release(1, "11.10.0")
    });
    let failure = node.orchestrator.failure().await;
    assert_eq!(
        (failure.phase(), failure.code.as_str()),
        (Phase::Starting, "file_store_denied")
    );
    let key = format!("chat/.verified/{INSTANCE}");
    let path = format!("/{BUCKET}/{key}");
    for part in [&*key, BUCKET, "AccessDenied", "403", "said by the test"] {
        assert!(failure.error.contains(part), "{part}: {}", failure.error);
    }
    assert!(failure.hint.contains("s3:DeleteObject"), "{}", failure.hint);
    assert_eq!(bucket.keys(), std::slice::from_ref(&path));

    // Healed by a person: tried again without another order.
    bucket.becomes(Mood::Good);
    let report = node
        .orchestrator
        .until("serving", |report| report.phase() == Phase::Serving)
        .await;
    assert!(report.failure.is_none());
    assert_eq!(bucket.keys(), [""; 0]);
    for one in bucket.asked() {
        assert_eq!(one.path, path);
        let header = |name: &str| one.headers[name].to_str().unwrap().to_owned();
        assert_eq!(header("x-amz-security-token"), "role-token");
        assert_eq!(header("x-amz-expected-bucket-owner"), "123456789012");
        assert!(header("authorization").contains("Credential=ASIAEXAMPLE/"));
    }
    assert!(!node.log().contains("role-secret-key") && !node.log().contains("role-token"));
}

#[tokio::test]
async fn a_prepared_node_has_tried_the_bucket_and_starts_nothing() {
    let mut node = Scenario::new("127.77.5.6").await;
    let bucket = Bucket::start().await;
    bucket.becomes(Mood::Denied("PUT"));
    let prepare = |generation, own_keys| Desired {
        goal: Goal::Prepare.into(),
        configuration_digest: format!("{generation}").repeat(64),
        file_store: Some(FileStore {
            own_keys,
            ..bucket.wanted("chat/")
        }),
        ..node.release(generation, "11.10.0")
    };
    let (with_role, with_keys) = (prepare(1, false), prepare(2, true));
    node.orchestrator.want(with_role);
    let failure = node.orchestrator.failure().await;
    assert_eq!(
        (failure.phase(), failure.code.as_str()),
        (Phase::Verified, "file_store_denied")
    );
    // Healed by a person: tried again without another order.
    bucket.becomes(Mood::Good);
    let report = node
        .orchestrator
        .until("installed", |report| report.phase() == Phase::Installed)
        .await;
    assert!(report.failure.is_none());
    assert_eq!(bucket.keys(), [""; 0], "nothing is left behind");

    // Keys of its own come with the secrets, before there is a server.
    let keys = ["ACCESSKEYID", "SECRETACCESSKEY"]
        .map(|key| (format!("MM_FILESETTINGS_AMAZONS3{key}"), "OWNKEY".into()));
    let shared = std::sync::Arc::clone(&node.orchestrator.shared);
    shared.secrets.lock().unwrap().extend(keys);
    let before = bucket.asked().len();
    node.orchestrator.want(with_keys);
    node.orchestrator
        .until("installed again", |report| {
            report.phase() == Phase::Installed && bucket.asked().len() == before + 3
        })
        .await;
    for one in &bucket.asked()[before..] {
        let authorization = one.headers["authorization"].to_str().unwrap();
        assert!(
            authorization.contains("Credential=OWNKEY/"),
            "{authorization}"
        );
    }
    assert!(!node.path("run/mattermost/server.pid").exists());
}

#[tokio::test]
async fn store_with_keys_of_its_own_is_signed_with_the_secrets() {
    let mut node = Scenario::new("127.77.5.3").await;
    let bucket = Bucket::start().await;
    let shared = std::sync::Arc::clone(&node.orchestrator.shared);
    let id = (
        "MM_FILESETTINGS_AMAZONS3ACCESSKEYID".into(),
        "OWNKEY".into(),
    );
    shared.secrets.lock().unwrap().extend([id]);
    let desired = Desired {
        file_store: Some(FileStore {
            own_keys: true,
            ..bucket.wanted("")
        }),
        ..node.release(1, "11.10.0")
    };
    node.orchestrator.want(desired.clone());
    let failure = node.orchestrator.failure().await;
    assert_eq!(failure.code, "file_store_keys_missing");
    assert!(
        failure
            .error
            .contains("MM_FILESETTINGS_AMAZONS3SECRETACCESSKEY")
    );
    assert!(bucket.asked().is_empty());

    let secret = (
        "MM_FILESETTINGS_AMAZONS3SECRETACCESSKEY".into(),
        "own-secret".into(),
    );
    shared.secrets.lock().unwrap().extend([secret]);
    node.orchestrator.want(Desired {
        generation: 2,
        configuration_digest: "ab".repeat(32),
        ..desired
    });
    node.orchestrator
        .until("serving", |report| report.phase() == Phase::Serving)
        .await;
    for one in bucket.asked() {
        let authorization = one.headers["authorization"].to_str().unwrap();
        assert!(
            authorization.contains("Credential=OWNKEY/"),
            "{authorization}"
        );
        assert!(!one.headers.contains_key("x-amz-security-token"));
        assert!(!one.headers.contains_key("x-amz-expected-bucket-owner"));
    }
    assert!(!node.log().contains("own-secret"));
}

#[tokio::test]
async fn people_are_told_why_the_server_cannot_reach_its_files() {
    let mut node = Scenario::new("127.77.5.4").await;
    let bucket = Bucket::start().await;
    node.orchestrator.want(Desired {
        file_store: Some(bucket.wanted("")),
        ..node.release(1, "11.10.0")
    });
    node.orchestrator
        .until("serving", |report| report.phase() == Phase::Serving)
        .await;
    bucket.becomes(Mood::NoBucket);
    let sick = node.path("opt/mattermost/shared/config/files-sick");
    std::fs::write(&sick, "").unwrap();
    let report = node
        .orchestrator
        .until("explained", |report| report.note.contains("NoSuchBucket"))
        .await;
    assert_eq!(report.phase(), Phase::Serving, "it serves on");
    assert!(
        report
            .note
            .contains("hint: bucket `chat-files-1` was deleted")
    );
    assert_eq!(report.health.unwrap().filestore_status, "UNHEALTHY");

    // A server that is verified anew is refused with the same reason.
    std::fs::write(node.path("opt/mattermost/shared/config/crash"), "").unwrap();
    let report = node
        .orchestrator
        .until("refused", |report| {
            let code = report.failure.as_ref().map(|failure| failure.code.as_str());
            code == Some("file_store_bucket_missing")
        })
        .await;
    assert_eq!(report.phase(), Phase::Failed);

    // The bucket is back and the server still unwell: then the fault is not the bucket's.
    bucket.becomes(Mood::Good);
    node.orchestrator
        .until("the server's own fault", |report| {
            report
                .note
                .contains("can write, read and delete in bucket `chat-files-1`")
        })
        .await;
    std::fs::remove_file(&sick).unwrap();
    let report = node
        .orchestrator
        .until("serving again", |report| report.phase() == Phase::Serving)
        .await;
    assert_eq!(report.note, "");
}

#[tokio::test]
async fn people_are_told_of_a_right_that_was_taken_away_although_the_server_is_well() {
    let mut node = Scenario::before_boot("127.77.5.7").await;
    node.arguments = vec!["--file-store-every", "1"];
    node.start_agent();
    let bucket = Bucket::start().await;
    node.orchestrator.want(Desired {
        file_store: Some(bucket.wanted("")),
        ..node.release(1, "11.10.0")
    });
    node.orchestrator
        .until("serving", |report| report.phase() == Phase::Serving)
        .await;
    bucket.becomes(Mood::Denied("PUT"));
    let report = node
        .orchestrator
        .until("told", |report| report.note.contains("AccessDenied"))
        .await;
    assert_eq!(report.phase(), Phase::Serving, "it serves on");
    assert!(report.note.contains("s3:PutObject"), "{}", report.note);
    assert_eq!(report.health.unwrap().filestore_status, "OK");
    bucket.becomes(Mood::Good);
    let report = node
        .orchestrator
        .until("well again", |report| report.note.is_empty())
        .await;
    assert_eq!(report.phase(), Phase::Serving);
}

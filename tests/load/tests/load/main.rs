//! The load generator and the chat probe against stand-in nodes in this process, real Postgres below.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on ends there, helpers included"
)]

mod world;

use std::time::Duration;

use load::{FileOptions, LastingOptions, Options, Plugin, ProbeOptions, chat_probe, start};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use standin::database::Database;
use standin::dsn::Dsn;
use standin::release::{Behaviour, Version, tls_from_pem};
use standin::scratch_postgres::loopback;
use world::{Balancer, Tree, dsn, options, url};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_run_on_a_cluster_is_clean() {
    let (tree, dsn) = (Tree::new(Behaviour::Good), dsn().await);
    let one = tree.start(&dsn, Some("blue")).await;
    let two = tree.start(&dsn, Some("blue")).await;
    let balancer = Balancer::new(&[&one, &two]).await;
    let running = start(options(&balancer.url, &dsn)).await.unwrap();
    running.mark("steady");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let snapshot = running.snapshot();
    assert_eq!(
        (snapshot.phase.as_str(), snapshot.connected),
        ("steady", 12)
    );
    assert!(snapshot.acknowledged > 10, "{snapshot:?}");
    let report = running.finish().await;
    assert!(report.is_clean(), "{report}");
    let messages = &report.messages;
    assert_eq!(messages.sent, messages.acknowledged);
    assert_eq!(messages.pushed, messages.sent * 11, "{report}");
    assert_eq!((messages.redelivered, report.sockets.sequence_gaps), (0, 0));
    assert_eq!(report.database.as_ref().unwrap().messages, messages.sent);
    assert_eq!(report.phases.len(), 2);
    assert!(report.requests.latency.p50_ms > 0.0 && messages.latency.count > 0);
    // A second run on the same server uses what is there.
    let again = start(options(&balancer.url, &dsn)).await.unwrap();
    assert!(again.finish().await.is_clean());
    one.kill().await;
    two.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn https_is_checked_against_the_named_authority() {
    let (tree, dsn) = (Tree::new(Behaviour::Good), dsn().await);
    let node = tree.start(&dsn, None).await;
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let (address, key) = (loopback(), KeyPair::generate().unwrap());
    let certificate = CertificateParams::new(vec![address.to_string()])
        .unwrap()
        .signed_by(&key, &authority)
        .unwrap();
    let tls = tls_from_pem(&certificate.pem(), &key.serialize_pem()).unwrap();
    let balancer = Balancer::with(&[&node], address, Some(tls.into())).await;
    let ca = tree.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();

    let trusting = Options {
        ca: Some(ca.clone()),
        ..options(&balancer.url, &dsn)
    };
    let running = start(trusting).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let report = running.finish().await;
    assert!(
        report.is_clean() && report.messages.acknowledged > 0,
        "{report}"
    );
    let probe = ProbeOptions {
        ca: Some(ca),
        ..ProbeOptions::default()
    };
    assert!(
        chat_probe(&balancer.url, &url(&node), &probe)
            .await
            .unwrap()
            .ok
    );
    let untrusting = start(options(&balancer.url, &dsn)).await;
    assert!(untrusting.is_err(), "an unknown authority");
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unlicensed_nodes_lose_messages_and_it_shows() {
    let (tree, dsn) = (Tree::new(Behaviour::Good), dsn().await);
    let one = tree.start(&dsn, None).await;
    let two = tree.start(&dsn, None).await;
    let balancer = Balancer::new(&[&one, &two]).await;
    let options = Options {
        settle: Duration::from_millis(500),
        ..options(&balancer.url, &dsn)
    };
    let running = start(options).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let report = running.finish().await;
    assert!(!report.is_clean());
    assert_eq!(report.requests.failed, 0, "{report}");
    assert!(report.messages.lost > 0, "{report}");
    assert!(!report.messages.examples.is_empty());
    assert_eq!(
        report.database.unwrap().missing,
        0,
        "they are stored all the same"
    );
    one.kill().await;
    two.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_node_costs_one_reconnect_and_no_message() {
    let (tree, dsn) = (Tree::new(Behaviour::Good), dsn().await);
    let one = tree.start(&dsn, Some("blue")).await;
    let two = tree.start(&dsn, Some("blue")).await;
    let balancer = Balancer::new(&[&one]).await;
    // Only WebSockets last: with no request kept alive across the switch, none is cut by it.
    let quiet = Options {
        get_rate: 0.0,
        rate: 0.0,
        ..options(&balancer.url, &dsn)
    };
    let noisy = start(quiet).await.unwrap();
    noisy.mark("rollout 1");
    balancer.point_at(&[&two]);
    one.stop().await;
    let back = async {
        while noisy.snapshot().reconnects < 12 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), back)
        .await
        .unwrap();
    let report = noisy.finish().await;
    assert!(report.is_clean(), "{report}");
    let rollout = &report.phases[1];
    assert_eq!(
        (rollout.reconnects, rollout.reconnects_per_client_max),
        (12, 1),
        "{report}"
    );
    assert_eq!(report.phases[0].reconnects, 0);
    two.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_shows_as_failures_and_catching_up() {
    let (tree, dsn) = (Tree::new(Behaviour::Good), dsn().await);
    let one = tree.start(&dsn, Some("blue")).await;
    let two = tree.start(&dsn, Some("blue")).await;
    let balancer = Balancer::new(&[&one, &two]).await;
    let options = Options {
        rate: 100.0,
        ..options(&balancer.url, &dsn)
    };
    let running = start(options).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    running.mark("killed");
    one.kill().await;
    // The balancer does not know yet.
    tokio::time::sleep(Duration::from_millis(500)).await;
    balancer.point_at(&[&two]);
    let back = async {
        while running.snapshot().connected < 12 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), back)
        .await
        .unwrap();
    let report = running.finish().await;
    assert!(!report.is_clean());
    assert!(
        report.requests.failed > 0 && report.posts.retried > 0,
        "{report}"
    );
    assert!(
        report.sockets.reconnects > 0 && report.messages.caught_up > 0,
        "{report}"
    );
    // Lost is not asserted: what the dying node acknowledged and did not pass on any more is lost to
    // those who stayed connected elsewhere, and rightly counted.
    assert_eq!(
        report.messages.abandoned, 0,
        "every retry got through: {report}"
    );
    assert_eq!(report.database.as_ref().unwrap().missing, 0);
    assert!(!report.failures.is_empty() && report.failures.len() <= 20);
    two.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_requests_are_counted_and_quoted() {
    let (tree, dsn) = (Tree::new(Behaviour::Good), dsn().await);
    let good = tree.start(&dsn, None).await;
    let bad = Tree::new(Behaviour::FailingRequests(30));
    let bad = bad.start(&dsn, None).await;
    let balancer = Balancer::new(&[&good]).await;
    let options = Options {
        post_retry: Duration::from_millis(20),
        post_attempts: 30,
        ..options(&balancer.url, &dsn)
    };
    let running = start(options).await.unwrap();
    // New connections go to the bad node once the good one has gone.
    balancer.point_at(&[&bad]);
    good.kill().await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let report = running.finish().await;
    let quoted = report
        .failures
        .iter()
        .find(|failure| failure.status == Some(500));
    assert!(
        quoted.is_some_and(|failure| failure.text.contains("app.internal.app_error")),
        "{report}"
    );
    bad.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chat_probe_tells_a_cluster_from_strangers() {
    let (tree, dsn) = (Tree::new(Behaviour::Good), dsn().await);
    let blue = tree.start(&dsn, Some("blue")).await;
    let joined = tree.start(&dsn, Some("blue")).await;
    let quarantined = tree.start(&dsn, Some("green")).await;
    let options = ProbeOptions {
        timeout: Duration::from_secs(3),
        ..ProbeOptions::default()
    };
    let good = chat_probe(&url(&blue), &url(&joined), &options)
        .await
        .unwrap();
    assert!(good.ok, "{good:?}");
    assert!(
        good.directions
            .iter()
            .all(|way| way.found_by_since && way.error.is_none())
    );
    let apart = chat_probe(&url(&blue), &url(&quarantined), &options)
        .await
        .unwrap();
    assert!(!apart.ok);
    for way in &apart.directions {
        assert!(
            !way.arrived && way.found_by_since && way.error.is_none(),
            "{way:?}"
        );
    }
    let gone = url(&joined);
    joined.kill().await;
    let gone = chat_probe(&url(&blue), &gone, &options).await.unwrap();
    assert!(
        !gone.ok && gone.directions.iter().all(|way| way.error.is_some()),
        "{gone:?}"
    );
    for node in [blue, quarantined] {
        node.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_other_users_wants_its_administrator() {
    let (tree, dsn) = (Tree::new(Behaviour::Good), dsn().await);
    let node = tree.start(&dsn, None).await;
    let mine = Options {
        admin: "somebody".to_owned(),
        ..options(&url(&node), &dsn)
    };
    drop(start(mine).await.unwrap());
    let error = start(options(&url(&node), &dsn)).await.unwrap_err();
    assert!(error.to_string().contains("load-admin"), "{error}");
    let nobody = Options::new("ftp://x");
    assert!(
        start(nobody)
            .await
            .unwrap_err()
            .to_string()
            .contains("ftp://x")
    );
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_users_make_outlives_every_node() {
    let (tree, dsn) = (Tree::new(Behaviour::Good), dsn().await);
    let bucket = tempfile::tempdir().unwrap();
    let one = tree.start_on(&dsn, Some("blue"), bucket.path()).await;
    let two = tree.start_on(&dsn, Some("blue"), bucket.path()).await;
    let balancer = Balancer::new(&[&one, &two]).await;
    let options = Options {
        rate: 10.0,
        get_rate: 5.0,
        files: Some(FileOptions {
            rate: 10.0,
            read_rate: 10.0,
            ..FileOptions::default()
        }),
        lasting: Some(LastingOptions {
            plugin: Plugin::Release(tree.tarball()),
            ..LastingOptions::default()
        }),
        ..options(&balancer.url, &dsn)
    };
    let running = start(options).await.unwrap();
    let at_start = running.verify_kept().await;
    assert!(at_start.is_kept(), "{:?}", at_start.violations());
    while running.snapshot().files < 26 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Every node is replaced by one of the next version; nothing that they had on disk is left.
    running.mark("rollout 1");
    let next = Tree::of(Version::new(11, 10, 1), Behaviour::Good);
    let three = next.start_on(&dsn, Some("blue"), bucket.path()).await;
    let four = next.start_on(&dsn, Some("blue"), bucket.path()).await;
    balancer.point_at(&[&three, &four]);
    one.stop().await;
    two.stop().await;
    drop(tree);
    let after = running.verify_kept().await;
    assert_eq!(
        after.to_string(),
        "settings kept; plugin running; link valid"
    );
    let report = running.finish().await;
    assert_eq!(report.not_kept(), Vec::<String>::new(), "{report}");
    let files = report.files.as_ref().unwrap();
    assert!(files.uploaded >= 26 && files.bytes > 6 << 20, "{report}");
    assert_eq!(report.database.as_ref().unwrap().files_missing, 0);
    three.kill().await;
    four.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_on_a_disk_of_its_own_die_with_the_node() {
    let (tree, dsn) = (Tree::new(Behaviour::Good), dsn().await);
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let one = tree.start_on(&dsn, None, here.path()).await;
    let balancer = Balancer::new(&[&one]).await;
    let options = Options {
        files: Some(FileOptions::default()),
        lasting: Some(LastingOptions::default()),
        ..options(&balancer.url, &dsn)
    };
    let running = start(options).await.unwrap();
    let two = tree.start_on(&dsn, None, there.path()).await;
    balancer.point_at(&[&two]);
    one.stop().await;
    let found = running.verify_kept().await.to_string();
    assert_eq!(
        found,
        "settings kept; plugin left out: no bundle was named; link invalid"
    );
    // A row that is not there is a loss of its own, wherever the bytes are.
    let database = Database::new(&Dsn::parse(&dsn).unwrap(), 1, 1).unwrap();
    let connection = database.connection().await.unwrap();
    connection
        .execute("DELETE FROM fileinfo", &[])
        .await
        .unwrap();
    drop(connection);
    let report = running.finish().await;
    assert!(!report.is_clean());
    let files = report.files.as_ref().unwrap();
    assert!(files.lost > 0, "{report}");
    let rows = report.database.as_ref().unwrap().files_missing;
    assert!(rows > 0 && rows <= files.posted, "{report}");
    two.kill().await;
}

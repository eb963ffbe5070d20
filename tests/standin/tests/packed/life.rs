//! From the command line to SIGTERM, and the TLS on the way to the database.

use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::StatusCode;
use standin::scratch_postgres::{ScratchPostgres, ServerTls};

use crate::support::{LIMIT, Node, Tree, dsn, furnished};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn version_touches_no_database() {
    let tree = Tree::install("11.10.0", "good");
    let (text, good) = tree
        .run(&["version"], Some("postgres://nobody@127.0.0.1:1/none"))
        .await;
    assert!(good);
    let names: Vec<&str> = text
        .lines()
        .map(|line| line.split_once(": ").unwrap().0)
        .collect();
    assert_eq!(
        names,
        [
            "Version",
            "Build Number",
            "Build Hash",
            "Build Enterprise Ready"
        ]
    );
    assert!(text.starts_with("Version: 11.10.0\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_wants_its_folders() {
    for folder in ["i18n", "templates"] {
        let tree = Tree::install("11.10.0", "good");
        std::fs::remove_dir_all(tree.path().join(folder)).unwrap();
        let mut node = Node::spawn(&tree, &dsn().await, &[]);
        assert_eq!(node.exit().await.code(), Some(1));
        assert!(node.log().contains(folder), "{}", node.log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_drains_nothing() {
    let mut node = Node::good("11.10.0", &dsn().await, &[]).await;
    let (admin, _) = furnished(&node).await;
    let mut sockets = Vec::new();
    for _ in 0..20 {
        sockets.push(admin.socket(&node).await);
    }
    let begun = Instant::now();
    node.terminate();
    assert_eq!(
        node.ping("").await.0,
        StatusCode::OK,
        "the ping never turns unhealthy first"
    );
    for socket in &mut sockets {
        assert!(socket.ends_bare().await, "no close frame");
    }
    let cut = begun.elapsed();
    assert!(
        cut < Duration::from_secs(2),
        "sockets were cut after {cut:?}"
    );
    let refused = async {
        while tokio::net::TcpStream::connect(node.address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, refused).await.unwrap();
    assert!(
        !node.is_gone(),
        "the port closes well before the process ends"
    );
    assert!(node.exit().await.success());
    let gone = begun.elapsed();
    assert!(gone > Duration::from_millis(2500), "gone after {gone:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_under_way_gets_one_second() {
    let dsn = dsn().await;
    let mut node = Node::good("11.10.0", &dsn, &[]).await;
    let (admin, channel) = furnished(&node).await;
    let database = dsn
        .rsplit('/')
        .next()
        .unwrap()
        .split('?')
        .next()
        .unwrap()
        .to_owned();
    let mut client = ScratchPostgres::shared()
        .await
        .unwrap()
        .connect(&database)
        .await
        .unwrap();
    let lock = client.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE posts IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();

    let path = format!("/api/v4/channels/{channel}/posts");
    let url = node.url(&path);
    let request = reqwest::Client::new()
        .get(url)
        .bearer_auth(&admin.token)
        .send();
    let request = tokio::spawn(request);
    let waits = async {
        let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = $1)";
        while lock
            .query_one(waiting, &[&database])
            .await
            .unwrap()
            .get::<_, i64>(0)
            == 0
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, waits).await.unwrap();
    let begun = Instant::now();
    node.terminate();
    assert!(request.await.unwrap().is_err(), "it is cut, not answered");
    let cut = begun.elapsed();
    assert!(cut >= Duration::from_secs(1), "cut after {cut:?}");
    assert!(!node.is_gone());
    assert!(node.exit().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_soon_after_the_start_takes_long_where_that_is_asked_for() {
    let tree = Tree::install("11.10.7", "slow-early-stop=5");
    let mut node = Node::spawn(&tree, &dsn().await, &[]);
    node.wait_ready().await;
    let begun = Instant::now();
    node.terminate();
    assert!(node.exit().await.success());
    let gone = begun.elapsed();
    assert!(gone > Duration::from_millis(4900), "gone after {gone:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_in_a_database_that_is_away_ends_the_start() {
    let mut postgres = ScratchPostgres::start().await.unwrap();
    let dsn = postgres.create_dsn().await.unwrap();
    postgres.pause().unwrap();
    let tree = Tree::install("11.10.0", "good");
    let mut node = Node::spawn(&tree, &dsn, &[("MM_CONFIG", &dsn)]);
    assert_eq!(node.exit().await.code(), Some(1));
    let log = node.log();
    assert!(log.contains("failed to load configuration"), "{log}");
    assert!(!log.contains("unused@"), "no password is logged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_start_takes_everybody_offline() {
    let dsn = dsn().await;
    let blue = Node::good("11.9.0", &dsn, &[]).await;
    let (admin, _) = furnished(&blue).await;
    let _socket = admin.socket(&blue).await;
    let path = "/api/v4/users/me/status";
    assert_eq!(admin.json(&blue, path).await["status"], "online");
    let green = Node::good("11.10.0", &dsn, &[]).await;
    assert_eq!(admin.json(&green, path).await["status"], "offline");
}

/// A certificate authority of a test.
pub struct Authority(pub CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn issue(&self, name: &str) -> ServerTls {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()])
            .unwrap()
            .signed_by(&key, &self.0)
            .unwrap();
        ServerTls {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_to_the_database_is_checked_as_far_as_asked() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let postgres = ScratchPostgres::start_tls(|address| authority.issue(&address.to_string()))
        .await
        .unwrap();
    let misnamed = ScratchPostgres::start_tls(|_| authority.issue("elsewhere.example"))
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ours = folder.path().join("ours.pem");
    let theirs = folder.path().join("theirs.pem");
    std::fs::write(&ours, authority.0.pem()).unwrap();
    std::fs::write(&theirs, stranger.0.pem()).unwrap();
    let tree = Tree::install("11.10.0", "good");
    for (server, mode, root, good) in [
        (&postgres, "disable", None, true),
        (&postgres, "require", None, true),
        (&postgres, "require", Some(&theirs), false),
        (&postgres, "verify-ca", Some(&theirs), false),
        (&postgres, "verify-full", Some(&theirs), false),
        (&postgres, "verify-full", Some(&ours), true),
        (&misnamed, "verify-ca", Some(&ours), true),
        (&misnamed, "verify-full", Some(&ours), false),
    ] {
        let root = root.map_or_else(String::new, |root| {
            format!("&sslrootcert={}", root.display())
        });
        let dsn = server.dsn("postgres", &format!("sslmode={mode}{root}"));
        let (_, done) = tree.run(&["db", "migrate"], Some(&dsn)).await;
        assert_eq!(done, good, "{mode}{root}");
    }
}

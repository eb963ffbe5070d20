//! A lab to test against, its API, and sessions in its databases.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use lab::api::sign_for_tests;
use lab::iam::{OPERATOR_KEY, OPERATOR_SECRET};
use lab::{Config, Lab};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_postgres::{Client, NoTls};

pub use super::answers::{code, endpoint, is_alive, pids, text};

/// The master password of every test instance.
pub const PASSWORD: &str = "correct-horse-battery";
/// Lab seconds per real second: five minutes pass in one second.
const SPEED: f64 = 300.0;
/// Real time after which a state that does not come is a failure.
const DEADLINE: Duration = Duration::from_mins(3);
/// The port that says which 127.N.0.0/16 a running test has.
const RESERVATION: u16 = 59_998;

/// A running lab.
pub struct TestLab {
    pub lab: Arc<Lab>,
    pub endpoint: SocketAddr,
    pub octet: u8,
    _directory: tempfile::TempDir,
    _reservation: TcpListener,
}

/// An error as the API answered it.
#[derive(Debug)]
pub struct Refusal {
    pub status: u16,
    pub code: String,
    pub message: String,
}

/// A 127.N.0.0/16 that no other test on this machine has, until the listener is dropped, and that
/// nobody else listens in.
fn reserve() -> (u8, TcpListener) {
    let listening = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    // Addresses stand there in the machine's byte order: 127.N.x.y as yyxxNN7F.
    let is_free = |octet: &u8| {
        !listening
            .lines()
            .filter_map(|line| line.split_whitespace().nth(1))
            .any(|local| local.get(4..8) == Some(&format!("{octet:02X}7F")))
    };
    let first = 40 + (std::process::id() % 200) as u8;
    (first..=250)
        .chain(40..first)
        .filter(is_free)
        .find_map(|octet| {
            let address = (Ipv4Addr::new(127, octet, 255, 254), RESERVATION);
            TcpListener::bind(address).ok().map(|held| (octet, held))
        })
        .expect("fewer than 200 labs run at once")
}

impl TestLab {
    pub async fn start() -> Self {
        let (octet, reservation) = reserve();
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut config = Config::new(directory.path().join("lab"));
        config.speed = SPEED;
        config.regions.truncate(1);
        config.regions[0].octet = octet;
        let (lab, endpoint) = Lab::start(config).await.expect("the lab starts");
        Self {
            lab,
            endpoint,
            octet,
            _directory: directory,
            _reservation: reservation,
        }
    }

    async fn http(&self, head: String, body: &str) -> (u16, String) {
        let mut stream = tokio::net::TcpStream::connect(self.endpoint)
            .await
            .expect("the endpoint listens");
        let request = format!(
            "{head}content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        stream
            .write_all(request.as_bytes())
            .await
            .expect("the request is sent");
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .await
            .expect("the answer is text");
        let status = answer[9..12].parse().expect("a status line");
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status, body.to_owned())
    }

    /// A call of the query protocol; the XML of its result.
    pub async fn rds(&self, action: &str, parameters: &[(&str, &str)]) -> Result<String, Refusal> {
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("Action", action)
            .append_pair("Version", "2014-10-31")
            .extend_pairs(parameters)
            .finish();
        let head = self.head(
            "rds",
            &body,
            "content-type: application/x-www-form-urlencoded\r\n",
        );
        let (status, answer) = self.http(head, &body).await;
        if status == 200 {
            return Ok(answer);
        }
        Err(Refusal {
            status,
            code: text(&answer, "Code").unwrap_or_default(),
            message: text(&answer, "Message").unwrap_or_default(),
        })
    }

    /// A call of Secrets Manager.
    pub async fn secrets(&self, action: &str, body: &Value) -> Result<Value, Refusal> {
        self.json("secretsmanager", "secretsmanager", action, body)
            .await
    }

    /// The names of the metrics that an instance has.
    pub async fn metrics(&self, id: &str) -> Vec<String> {
        let body = json!({
            "Namespace": "AWS/RDS",
            "Dimensions": [{ "Name": "DBInstanceIdentifier", "Value": id }],
        });
        let target = "GraniteServiceVersion20100801";
        let found = self.json("monitoring", target, "ListMetrics", &body).await;
        let found = found.expect("the metrics are listed");
        let metrics = found["Metrics"].as_array().cloned().unwrap_or_default();
        metrics
            .iter()
            .filter_map(|metric| metric["MetricName"].as_str().map(str::to_owned))
            .collect()
    }

    async fn json(
        &self,
        service: &str,
        target: &str,
        action: &str,
        body: &Value,
    ) -> Result<Value, Refusal> {
        let body = body.to_string();
        let extra = format!(
            "content-type: application/x-amz-json-1.1\r\nx-amz-target: {target}.{action}\r\n"
        );
        let head = self.head(service, &body, &extra);
        let (status, answer) = self.http(head, &body).await;
        let value: Value = serde_json::from_str(&answer).expect("JSON");
        if status == 200 {
            return Ok(value);
        }
        Err(Refusal {
            status,
            code: value["__type"].as_str().unwrap_or_default().to_owned(),
            message: value["message"].as_str().unwrap_or_default().to_owned(),
        })
    }

    fn head(&self, service: &str, body: &str, extra: &str) -> String {
        let keys = (OPERATOR_KEY, OPERATOR_SECRET);
        let host = self.endpoint.to_string();
        let headers = sign_for_tests(
            keys,
            ("us-east-1", service),
            &host,
            body,
            self.lab.clock.now(),
        );
        let mut head = format!("POST / HTTP/1.1\r\n{extra}");
        for (name, value) in headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        head
    }

    /// A control request.
    pub async fn control(&self, method: &str, path: &str, body: &Value) -> Value {
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.endpoint);
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let (status, answer) = self.http(head, &body).await;
        assert_eq!(status, 200, "{answer}");
        serde_json::from_str(&answer).expect("JSON")
    }

    /// Creates an instance with the members that every test needs.
    pub async fn create(&self, id: &str, more: &[(&str, &str)]) -> Result<String, Refusal> {
        let mut parameters = vec![
            ("DBInstanceIdentifier", id),
            ("Engine", "postgres"),
            ("DBInstanceClass", "db.t3.micro"),
            ("AllocatedStorage", "20"),
            ("MasterUsername", "keeper"),
            ("MasterUserPassword", PASSWORD),
            ("DBName", "mattermost"),
        ];
        parameters.extend_from_slice(more);
        self.rds("CreateDBInstance", &parameters).await
    }

    /// The instance as described.
    pub async fn describe(&self, id: &str) -> String {
        self.rds("DescribeDBInstances", &[("DBInstanceIdentifier", id)])
            .await
            .expect("the instance is described")
    }

    /// Waits until `id` is described so that `holds`; as botocore's waiter, by polling.
    pub async fn until(&self, id: &str, what: &str, holds: impl Fn(&str) -> bool) -> String {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            let xml = self.describe(id).await;
            if holds(&xml) {
                return xml;
            }
            let status = text(&xml, "DBInstanceStatus").unwrap_or_default();
            if status == "failed" || tokio::time::Instant::now() > deadline {
                let events = self.events(id).await.join("\n");
                panic!("{id} is {status}, not {what}; its events:\n{events}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits for a status.
    pub async fn until_status(&self, id: &str, status: &str) -> String {
        self.until(id, status, |xml| {
            text(xml, "DBInstanceStatus").as_deref() == Some(status)
        })
        .await
    }

    /// A lab second takes a second from here on: for what passes sooner than a loaded machine looks.
    pub fn slow_down(&self) {
        self.lab.clock.set_speed(1.0);
    }

    /// The pace of the test again.
    pub fn speed_up(&self) {
        self.lab.clock.set_speed(SPEED);
    }

    /// Waits for a status that lasts about a minute of the lab's, and leaves the clock slow in it.
    pub async fn until_status_slowly(&self, id: &str, status: &str) {
        self.lab.clock.set_speed(SPEED / 5.0);
        self.until_status(id, status).await;
        self.slow_down();
    }

    /// Waits until the instance is no longer described.
    pub async fn until_gone(&self, id: &str) {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        while self
            .rds("DescribeDBInstances", &[("DBInstanceIdentifier", id)])
            .await
            .is_ok()
        {
            assert!(
                tokio::time::Instant::now() < deadline,
                "{id} is still there"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until a snapshot is available.
    pub async fn until_snapshot(&self, id: &str) {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            let found = self
                .rds("DescribeDBSnapshots", &[("DBSnapshotIdentifier", id)])
                .await;
            let status = found.ok().and_then(|xml| text(&xml, "Status"));
            if status.as_deref() == Some("available") {
                return;
            }
            assert!(
                status.as_deref() != Some("failed") && tokio::time::Instant::now() < deadline,
                "the snapshot {id} is {status:?}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What happened to an instance, oldest first.
    pub async fn events(&self, id: &str) -> Vec<String> {
        let parameters = [("SourceIdentifier", id), ("SourceType", "db-instance")];
        let xml = self
            .rds("DescribeEvents", &parameters)
            .await
            .expect("events");
        xml.split("<Event>")
            .skip(1)
            .filter_map(|event| text(event, "Message"))
            .collect()
    }

    /// A session at the endpoint that the API shows, with TLS verified against the lab's authority.
    pub async fn session(&self, id: &str) -> Client {
        let (host, port) = endpoint(&self.describe(id).await);
        self.try_session(&host, port, PASSWORD, true)
            .await
            .unwrap_or_else(|error| panic!("no session at {host}:{port}: {error}"))
    }

    /// A session of the master user.
    pub async fn try_session(
        &self,
        host: &str,
        port: u16,
        password: &str,
        tls: bool,
    ) -> Result<Client, String> {
        let mut config = tokio_postgres::Config::new();
        config
            .host(host)
            .port(port)
            .user("keeper")
            .password(password)
            .dbname("mattermost")
            .connect_timeout(Duration::from_secs(10));
        let describe = |error: tokio_postgres::Error| {
            error
                .as_db_error()
                .map_or_else(|| format!("{error:?}"), |db| db.message().to_owned())
        };
        if tls {
            config.ssl_mode(tokio_postgres::config::SslMode::Require);
            let connector = tokio_postgres_rustls::MakeRustlsConnect::new(self.trust());
            let (client, connection) = config.connect(connector).await.map_err(describe)?;
            tokio::spawn(connection);
            Ok(client)
        } else {
            config.ssl_mode(tokio_postgres::config::SslMode::Disable);
            let (client, connection) = config.connect(NoTls).await.map_err(describe)?;
            tokio::spawn(connection);
            Ok(client)
        }
    }

    fn trust(&self) -> rustls::ClientConfig {
        use rustls_pki_types::pem::PemObject as _;
        let mut roots = rustls::RootCertStore::empty();
        let pem = self.lab.ca.pem();
        let authority = rustls_pki_types::CertificateDer::from_pem_slice(pem.as_bytes())
            .expect("a certificate");
        roots.add(authority).expect("an authority");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth()
    }

    /// A session, as soon as the endpoint takes one again.
    pub async fn session_again(&self, id: &str) -> Client {
        let (host, port) = endpoint(&self.describe(id).await);
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            match self.try_session(&host, port, PASSWORD, true).await {
                Ok(client) => return client,
                Err(error) => assert!(
                    tokio::time::Instant::now() < deadline,
                    "{host}:{port}: {error}"
                ),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The processes of all servers.
    pub async fn pids(&self) -> Vec<i32> {
        loop {
            let overview = self.control("GET", "/lab/rds", &Value::Null).await;
            if !overview.to_string().contains("\"busy\":true") {
                return pids(&overview);
            }
        }
    }
}

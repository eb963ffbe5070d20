//! A lab and signed requests to it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use lab::api::sign_for_tests;
use lab::iam::{OPERATOR_KEY, OPERATOR_SECRET};
use lab::{Config, Lab};

/// The first region of every lab here.
pub const EAST: &str = "us-east-1";
/// The second.
pub const WEST: &str = "us-west-2";
/// Real time in which whatever a test waits for must have happened; everything takes far less.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a request answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    /// The text of the first element of that name.
    pub fn text(&self, name: &str) -> String {
        self.texts(name).into_iter().next().unwrap_or_default()
    }

    /// The texts of all elements of that name, in order.
    pub fn texts(&self, name: &str) -> Vec<String> {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let mut rest = self.body.as_str();
        let mut texts = Vec::new();
        while let Some(start) = rest.find(&open) {
            let inner = &rest[start + open.len()..];
            let Some(end) = inner.find(&close) else { break };
            texts.push(inner[..end].to_owned());
            rest = &inner[end..];
        }
        texts
    }
}

/// A lab whose addresses no other test uses.
pub struct World {
    pub lab: Arc<Lab>,
    pub address: SocketAddr,
    pub directory: tempfile::TempDir,
}

impl World {
    /// The regions' addresses are 127.OCTET and the next.
    pub async fn start(octet: u8, speed: f64) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut config = Config::new(directory.path().join("lab"));
        config.speed = speed;
        // These clients ask as fast as they can, repeat nothing, and some tests hold the clock.
        config.throttling = false;
        for (index, region) in config.regions.iter_mut().enumerate() {
            region.octet = octet + index as u8;
        }
        config.launcher = Some(PathBuf::from(env!("CARGO_BIN_EXE_lab")));
        let (lab, address) = Lab::start(config).await.expect("the lab starts");
        Self {
            lab,
            address,
            directory,
        }
    }

    /// An image with nothing in it.
    pub async fn empty_image(&self) -> String {
        lab::ec2::register_image(&self.lab, EAST, "empty", None, Vec::new())
            .await
            .expect("an image")
    }

    /// An image whose agent is this shell script.
    pub async fn image_with_agent(&self, script: &str) -> String {
        let tree = self.directory.path().join("tree");
        write_agent(&tree, script);
        lab::ec2::register_image(&self.lab, EAST, "agent", Some(&tree), Vec::new())
            .await
            .expect("an image")
    }

    /// A call by the operator in the first region.
    pub async fn ec2(&self, action: &str, pairs: &[(&str, &str)]) -> Answer {
        self.call(EAST, "ec2", action, pairs).await
    }

    /// A call by the operator.
    pub async fn call(
        &self,
        region: &str,
        service: &str,
        action: &str,
        pairs: &[(&str, &str)],
    ) -> Answer {
        let key = (OPERATOR_KEY, OPERATOR_SECRET);
        signed(self.address, key, None, (region, service), action, pairs).await
    }

    /// A call that must succeed.
    pub async fn ok(&self, action: &str, pairs: &[(&str, &str)]) -> Answer {
        let answer = self.ec2(action, pairs).await;
        assert_eq!(answer.status, 200, "{action}: {}", answer.body);
        answer
    }

    /// A call that must be refused so.
    pub async fn refused(&self, status: u16, code: &str, action: &str, pairs: &[(&str, &str)]) {
        let answer = self.ec2(action, pairs).await;
        assert_eq!(
            (answer.status, answer.text("Code").as_str()),
            (status, code),
            "{action}: {}",
            answer.body
        );
    }

    /// A request to the control endpoint that must succeed.
    pub async fn control(&self, method: Method, path: &str, body: serde_json::Value) -> String {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}/lab/{path}", self.address))
            .body(Full::new(Bytes::from(body.to_string())))
            .expect("a request");
        let answer = send(request).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.body
    }

    /// Waits until an instance is in a state.
    pub async fn until_state(&self, region: &str, id: &str, state: &str) {
        until(&format!("{id} is {state}"), || {
            lab::ec2::instance(&self.lab, region, id)
                .is_some_and(|instance| instance.state == state)
        })
        .await;
    }

    /// One instance of an image, running.
    pub async fn run(&self, image: &str, more: &[(&str, &str)]) -> String {
        let mut pairs = vec![("ImageId", image), ("MinCount", "1"), ("MaxCount", "1")];
        pairs.extend_from_slice(more);
        let id = self.ok("RunInstances", &pairs).await.text("instanceId");
        self.until_state(EAST, &id, "running").await;
        id
    }

    /// The root directory of an instance.
    pub fn root(&self, id: &str) -> PathBuf {
        self.lab
            .config
            .directory
            .join("instances")
            .join(id)
            .join("root")
    }
}

/// Lays out a tree with a shell script as its agent.
pub fn write_agent(tree: &Path, script: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let path = tree.join("usr/bin/mattermost-agent");
    std::fs::create_dir_all(path.parent().expect("it has one")).expect("a directory");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
}

/// A signed call with any key.
pub async fn signed(
    address: SocketAddr,
    key: (&str, &str),
    token: Option<&str>,
    scope: (&str, &str),
    action: &str,
    pairs: &[(&str, &str)],
) -> Answer {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("Action", action);
    form.append_pair("Version", "2016-11-15");
    for (name, value) in pairs {
        form.append_pair(name, value);
    }
    let body = form.finish();
    let now = lab::Clock::new(1.0).now();
    let headers = sign_for_tests(key, scope, &address.to_string(), &body, now);
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(format!("http://{address}/"));
    for (name, value) in headers {
        request = request.header(name, value);
    }
    if let Some(token) = token {
        request = request.header("x-amz-security-token", token);
    }
    send(
        request
            .body(Full::new(Bytes::from(body)))
            .expect("a request"),
    )
    .await
}

/// Sends a request and reads the answer.
pub async fn send(request: Request<Full<Bytes>>) -> Answer {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let response = client.request(request).await.expect("an answer");
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("a body");
    Answer {
        status,
        body: String::from_utf8_lossy(&body.to_bytes()).into_owned(),
    }
}

/// Waits until something is true.
pub async fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    let began = tokio::time::Instant::now();
    while !is_true() {
        assert!(began.elapsed() < PATIENCE, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether a process runs (a zombie does not).
pub fn runs(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        let state = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().next());
        !matches!(state, Some("Z" | "X") | None)
    })
}

/// The process id in a file that a script writes.
pub async fn pid_in(path: &Path) -> i32 {
    let mut pid = None;
    until(&format!("a process id in {}", path.display()), || {
        pid = std::fs::read_to_string(path)
            .ok()
            .and_then(|text| text.trim().parse().ok());
        pid.is_some()
    })
    .await;
    pid.expect("waited for")
}

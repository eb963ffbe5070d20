//! A node: an unpacked release, its process, and clients for it.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use flate2::read::GzDecoder;
use futures_util::StreamExt as _;
use reqwest::{Response, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use standin::release::{Behaviour, Version, pack};
use standin::scratch_postgres::{ScratchPostgres, loopback};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Long enough for the slowest machine; nothing waits that long when all is well.
pub const LIMIT: Duration = Duration::from_secs(30);

/// An unpacked release.
pub struct Tree {
    pub directory: TempDir,
}

impl Tree {
    /// Packs the binary as a version and unpacks the tarball, as an installer does.
    pub fn install(version: &str, behaviour: &str) -> Self {
        let version: Version = version.parse().unwrap();
        let behaviour: Behaviour = behaviour.parse().unwrap();
        let directory = TempDir::new().unwrap();
        let binary = Path::new(env!("CARGO_BIN_EXE_mattermost"));
        let packed = pack(binary, version, behaviour, directory.path()).unwrap();
        let tarball = std::fs::File::open(&packed.file).unwrap();
        tar::Archive::new(GzDecoder::new(tarball))
            .unpack(directory.path())
            .unwrap();
        std::fs::remove_file(packed.file).unwrap();
        Self { directory }
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("mattermost")
    }

    /// The server's command line, in the release's folder and without any outside setting.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.path().join("bin/mattermost"));
        command
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .stdin(Stdio::null());
        command
    }

    /// Runs a command of the binary to its end; stdout and whether it succeeded.
    pub async fn run(&self, arguments: &[&str], dsn: Option<&str>) -> (String, bool) {
        let mut command = self.command(arguments);
        if let Some(dsn) = dsn {
            command.env("MM_SQLSETTINGS_DATASOURCE", dsn);
        }
        let output = tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (text, output.status.success())
    }
}

/// A running server process.
pub struct Node {
    child: Child,
    ready: tokio::net::UnixDatagram,
    pub address: SocketAddr,
    log: PathBuf,
    tree: Option<Tree>,
}

impl Node {
    /// Starts the process and does not wait.
    pub fn spawn(tree: &Tree, dsn: &str, settings: &[(&str, &str)]) -> Self {
        let address = SocketAddr::new(loopback(), 8065);
        let socket = tree.directory.path().join(format!("{address}.notify"));
        let ready = UnixDatagram::bind(&socket).unwrap();
        ready.set_nonblocking(true).unwrap();
        let log = tree.directory.path().join(format!("{address}.log"));
        let child = tree
            .command(&[])
            .env("NOTIFY_SOCKET", &socket)
            .env("MM_SQLSETTINGS_DATASOURCE", dsn)
            .env("MM_SERVICESETTINGS_LISTENADDRESS", address.to_string())
            .envs(settings.iter().copied())
            .stdout(std::fs::File::create(&log).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            ready: tokio::net::UnixDatagram::from_std(ready).unwrap(),
            address,
            log,
            tree: None,
        }
    }

    /// Starts a good release and waits for `READY=1`.
    pub async fn good(version: &str, dsn: &str, settings: &[(&str, &str)]) -> Self {
        let tree = Tree::install(version, "good");
        let mut node = Self::spawn(&tree, dsn, settings);
        node.wait_ready().await;
        node.tree = Some(tree);
        node
    }

    pub async fn wait_ready(&mut self) {
        assert!(
            self.ready_within(LIMIT).await,
            "no READY=1; log: {}",
            self.log()
        );
    }

    pub async fn ready_within(&mut self, limit: Duration) -> bool {
        let mut buffer = [0; 256];
        match tokio::time::timeout(limit, self.ready.recv(&mut buffer)).await {
            Err(_) => false,
            Ok(length) => buffer[..length.unwrap()].starts_with(b"READY=1"),
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    pub fn ip(&self) -> IpAddr {
        self.address.ip()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn terminate(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).unwrap();
    }

    pub fn is_gone(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub async fn exit(&mut self) -> ExitStatus {
        let waiting = async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(LIMIT, waiting).await.unwrap()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub async fn get(&self, path: &str) -> Response {
        reqwest::get(self.url(path)).await.unwrap()
    }

    pub async fn ping(&self, query: &str) -> (StatusCode, Value) {
        let response = self.get(&format!("/api/v4/system/ping{query}")).await;
        (response.status(), response.json().await.unwrap())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Only now: the process ran from it.
        drop(self.tree.take());
    }
}

/// A logged-in user, who may speak to any node.
#[derive(Clone, Debug)]
pub struct User {
    pub token: String,
    pub id: String,
}

pub const PASSWORD: &str = "Password-1";

async fn send(node: &Node, path: &str, token: Option<&str>, body: &Value) -> Response {
    let mut request = reqwest::Client::new().post(node.url(path)).json(body);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    request.send().await.unwrap()
}

pub async fn sign_up(node: &Node, name: &str) -> Response {
    let body = json!({
        "email": format!("{name}@example.com"), "username": name, "password": PASSWORD,
    });
    send(node, "/api/v4/users", None, &body).await
}

pub async fn login(node: &Node, name: &str) -> User {
    let body = json!({ "login_id": name, "password": PASSWORD });
    let response = send(node, "/api/v4/users/login", None, &body).await;
    assert_eq!(response.status(), StatusCode::OK);
    let token = response.headers()["token"].to_str().unwrap().to_owned();
    let user: Value = response.json().await.unwrap();
    let id = user["id"].as_str().unwrap().to_owned();
    User { token, id }
}

impl User {
    pub async fn post(&self, node: &Node, path: &str, body: &Value) -> Response {
        send(node, path, Some(&self.token), body).await
    }

    /// A form, already written with its boundary.
    pub async fn send_form(
        &self,
        node: &Node,
        path: &str,
        boundary: &str,
        body: Vec<u8>,
    ) -> Response {
        let request = reqwest::Client::new()
            .post(node.url(path))
            .header(
                "content-type",
                format!("multipart/form-data; boundary={boundary}"),
            )
            .body(body);
        request.bearer_auth(&self.token).send().await.unwrap()
    }

    pub async fn send_bytes(&self, node: &Node, path: &str, body: Vec<u8>) -> Response {
        let request = reqwest::Client::new().post(node.url(path)).body(body);
        request.bearer_auth(&self.token).send().await.unwrap()
    }

    pub async fn put(&self, node: &Node, path: &str, body: &Value) -> Response {
        let request = reqwest::Client::new().put(node.url(path)).json(body);
        request.bearer_auth(&self.token).send().await.unwrap()
    }

    pub async fn created(&self, node: &Node, path: &str, body: &Value) -> Value {
        let response = self.post(node, path, body).await;
        assert_eq!(response.status(), StatusCode::CREATED, "{path} {body}");
        response.json().await.unwrap()
    }

    pub async fn get(&self, node: &Node, path: &str) -> Response {
        let request = reqwest::Client::new().get(node.url(path));
        request.bearer_auth(&self.token).send().await.unwrap()
    }

    pub async fn json(&self, node: &Node, path: &str) -> Value {
        let response = self.get(node, path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.json().await.unwrap()
    }

    pub async fn message(&self, node: &Node, channel: &str, text: &str, pending: &str) -> Value {
        let body = json!({ "channel_id": channel, "message": text, "pending_post_id": pending });
        self.created(node, "/api/v4/posts", &body).await
    }

    pub async fn socket(&self, node: &Node) -> Socket {
        let mut socket = Socket::open(node, Some(&self.token)).await;
        let hello = socket.event("hello").await;
        assert_eq!(hello["seq"], 0);
        socket
    }
}

/// An administrator with a team and a channel.
pub async fn furnished(node: &Node) -> (User, String) {
    let first = sign_up(node, "admin").await;
    assert_eq!(first.status(), StatusCode::CREATED);
    let user: Value = first.json().await.unwrap();
    assert_eq!(user["roles"], "system_admin system_user");
    let admin = login(node, "admin").await;
    let team = json!({ "name": "team", "display_name": "Team", "type": "O" });
    let team = admin.created(node, "/api/v4/teams", &team).await;
    let channel =
        json!({ "team_id": team["id"], "name": "lobby", "display_name": "Lobby", "type": "O" });
    let channel = admin.created(node, "/api/v4/channels", &channel).await;
    (admin, channel["id"].as_str().unwrap().to_owned())
}

/// A WebSocket client.
pub struct Socket(pub WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    pub async fn open(node: &Node, token: Option<&str>) -> Self {
        let url = format!("ws://{}/api/v4/websocket", node.address);
        let mut request = url.into_client_request().unwrap();
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().unwrap();
            request.headers_mut().insert("authorization", value);
        }
        let stream = TcpStream::connect(node.address).await.unwrap();
        let (socket, response) =
            tokio_tungstenite::client_async(request, MaybeTlsStream::Plain(stream))
                .await
                .unwrap();
        assert!(response.headers().contains_key("x-version-id"));
        Self(socket)
    }

    /// The next text frame; none at the end of the stream.
    pub async fn next(&mut self) -> Option<Value> {
        let text = async {
            loop {
                match self.0.next().await? {
                    Ok(Message::Text(text)) => return Some(serde_json::from_str(&text).unwrap()),
                    Ok(_) => {}
                    Err(_) => return None,
                }
            }
        };
        tokio::time::timeout(LIMIT, text).await.unwrap()
    }

    /// The next event of a kind.
    pub async fn event(&mut self, kind: &str) -> Value {
        loop {
            let event = self.next().await.expect("the connection ended");
            if event["event"] == kind {
                return event;
            }
        }
    }

    /// The message of the next `posted`.
    pub async fn posted(&mut self) -> String {
        let event = self.event("posted").await;
        let post: Value = serde_json::from_str(event["data"]["post"].as_str().unwrap()).unwrap();
        post["message"].as_str().unwrap().to_owned()
    }

    /// Whether the stream ends without a close frame.
    pub async fn ends_bare(&mut self) -> bool {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Close(_))) => return false,
                Some(Ok(_)) => {}
                Some(Err(SocketError::Protocol(_) | SocketError::Io(_))) | None => return true,
                Some(Err(_)) => return false,
            }
        }
    }
}

/// A database of the shared server.
pub async fn dsn() -> String {
    ScratchPostgres::shared_dsn().await.unwrap()
}

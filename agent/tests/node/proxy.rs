//! Releases through a proxy, as the agent's environment says; everything else goes its own way.

use std::sync::{Arc, Mutex};

use fleet_proto::v1::Phase;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::scenario::Scenario;

/// Knows `CONNECT` alone.
struct Proxy {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    async fn start(lets_through: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(tunnel(client, lets_through, Arc::clone(&seen)));
            }
        });
        Self { url, asked, task }
    }
}

async fn tunnel(client: TcpStream, lets_through: bool, seen: Arc<Mutex<Vec<String>>>) {
    let mut client = BufReader::new(client);
    let mut first = String::new();
    let mut line = String::new();
    while client.read_line(&mut line).await.is_ok_and(|read| read > 2) {
        if first.is_empty() {
            first.clone_from(&line);
        }
        line.clear();
    }
    let target = match first.split_whitespace().collect::<Vec<_>>()[..] {
        ["CONNECT", target, _] => target.to_owned(),
        _ => format!("not CONNECT: {first}"),
    };
    seen.lock().unwrap().push(target.clone());
    if !lets_through {
        let refusal = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n";
        let _ = client.write_all(refusal).await;
        return;
    }
    let Ok(mut server) = TcpStream::connect(&target).await else {
        return;
    };
    let _ = client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
    let _ = copy_bidirectional(&mut client, &mut server).await;
}

/// A node whose agent has these variables.
async fn node(address: &str, environment: Vec<(&'static str, String)>) -> Scenario {
    let mut node = Scenario::before_boot(address).await;
    node.environment = environment;
    node.start_agent();
    node
}

fn host(node: &Scenario) -> String {
    let rest = node.releases.url.strip_prefix("https://").unwrap();
    rest.split('/').next().unwrap().to_owned()
}

#[tokio::test]
async fn only_the_release_goes_through_the_proxy() {
    let proxy = Proxy::start(true).await;
    let mut node = node("127.77.6.1", vec![("HTTPS_PROXY", proxy.url.clone())]).await;
    node.orchestrator.want(node.release(1, "11.10.0"));
    node.orchestrator
        .until("serving", |report| report.phase() == Phase::Serving)
        .await;
    let mut asked = proxy.asked.lock().unwrap().clone();
    asked.dedup();
    assert_eq!(asked, [host(&node)]);
}

#[tokio::test]
async fn hosts_without_proxy_are_asked_directly() {
    let proxy = Proxy::start(false).await;
    let environment = vec![
        ("HTTPS_PROXY", proxy.url.clone()),
        ("NO_PROXY", "example.org,127.0.0.0/8".to_owned()),
    ];
    let mut node = node("127.77.6.2", environment).await;
    node.orchestrator.want(node.release(1, "11.10.0"));
    node.orchestrator
        .until("serving", |report| report.phase() == Phase::Serving)
        .await;
    assert!(proxy.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn proxy_that_refuses_is_named() {
    let proxy = Proxy::start(false).await;
    let mut node = node("127.77.6.3", vec![("HTTPS_PROXY", proxy.url.clone())]).await;
    node.orchestrator.want(node.release(1, "11.10.0"));
    let failure = node.orchestrator.failure().await;
    assert_eq!(failure.code, "source_unreachable");
    assert!(failure.hint.contains("HTTPS_PROXY"), "{failure:?}");
    assert!(!node.path("opt/mattermost/current").exists());
}

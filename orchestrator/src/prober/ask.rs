//! One asking: a connection, the certificate, full ping with the version, a WebSocket's hand-shake, a file of the web
//! application; each answer bounded in time and size.

use std::error::Error as StdError;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use http::{HeaderMap, StatusCode, header};
use plan::ProbePlace;
use plan::observed::{PROBE_HEADER, ProbeOutcome, ProbePart};
use reqwest::{Client, Response};
use tokio::net::TcpStream;

use crate::trust::with_roots;

/// Until a connection counts as none.
const CONNECT: Duration = Duration::from_secs(3);
/// Until an answer counts as none: the load balancer's own question of a target waits as long.
const ANSWER: Duration = Duration::from_secs(5);
/// The web application's page has some kilobytes, the ping's answer some hundred bytes.
const BODY: usize = 256 * 1024;
/// As every server of Mattermost names itself.
const VERSION: &str = "x-version-id";
const PING: &str = "/api/v4/system/ping?get_server_status=true";
const WEBSOCKET: &str = "/api/v4/websocket";

/// What came of it.
#[derive(Debug)]
pub(super) struct Answer {
    pub outcome: ProbeOutcome,
    /// HTTP requests that were sent.
    pub requests: u64,
}

/// Keeps the client for one address: what it trusts is read once.
#[derive(Debug)]
pub(super) struct Asker {
    trust: String,
    client: Option<(ProbePlace, SocketAddr, Client)>,
}

/// Why an asking ended early.
#[derive(Debug)]
struct Failed {
    what: ProbePart,
    text: String,
    status: Option<u16>,
}

impl Failed {
    fn new(what: ProbePart, text: impl Into<String>) -> Self {
        Self {
            what,
            text: text.into(),
            status: None,
        }
    }

    fn answered(what: ProbePart, status: StatusCode, wanted: &str) -> Self {
        Self {
            what,
            text: format!("it answers {}, not {wanted}", status.as_u16()),
            status: Some(status.as_u16()),
        }
    }
}

impl Asker {
    /// Trusts the system's roots and these (PEM, may be empty).
    pub fn new(trust: &str) -> Self {
        Self {
            trust: trust.to_owned(),
            client: None,
        }
    }

    /// Asks everything, in order, until something does not answer as it should.
    pub async fn ask(&mut self, place: &ProbePlace, token: Option<&str>) -> Answer {
        let address = match connect(place).await {
            Ok(address) => address,
            Err(text) => {
                return Answer {
                    outcome: ProbeOutcome::Unreachable { text },
                    requests: 0,
                };
            }
        };
        let client = match self.client(place, address) {
            Ok(client) => client.clone(),
            Err(text) => return failed(Failed::new(ProbePart::Certificate, text), 0),
        };
        let mut way = Way {
            client,
            place,
            token,
            requests: 0,
        };
        match way.ask().await {
            Ok(version) => Answer {
                outcome: ProbeOutcome::Passed { version },
                requests: way.requests,
            },
            Err(error) => failed(error, way.requests),
        }
    }

    fn client(&mut self, place: &ProbePlace, address: SocketAddr) -> Result<&Client, String> {
        let is_known = self
            .client
            .as_ref()
            .is_some_and(|(of, at, _)| of == place && *at == address);
        if !is_known {
            let client = self.build(place, address)?;
            self.client = Some((place.clone(), address, client));
        }
        match &self.client {
            Some((_, _, client)) => Ok(client),
            None => Err("no client".to_owned()),
        }
    }

    fn build(&self, place: &ProbePlace, address: SocketAddr) -> Result<Client, String> {
        let words = |error: reqwest::Error| crate::chain(&error);
        let url = reqwest::Url::parse(&url(place, "/"))
            .map_err(|error| format!("`{}` is no host: {error}", place.host))?;
        let mut client = Client::builder()
            .no_proxy()
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            // Every asking sees the certificate and gets a target of its own.
            .pool_max_idle_per_host(0)
            .user_agent("mattermost-orchestrator");
        if let Some(name) = url.domain() {
            client = client.resolve(name, address);
        }
        let client = with_roots(client, &self.trust).map_err(words)?;
        client.build().map_err(words)
    }
}

fn failed(error: Failed, requests: u64) -> Answer {
    Answer {
        outcome: ProbeOutcome::Failed {
            what: error.what,
            text: error.text,
            status: error.status,
        },
        requests,
    }
}

/// The first address of the load balancer that takes a connection.
async fn connect(place: &ProbePlace) -> Result<SocketAddr, String> {
    let (name, port) = (place.name.as_str(), place.port);
    let connected = async {
        let stream = TcpStream::connect((name, port)).await?;
        stream.peer_addr()
    };
    match tokio::time::timeout(CONNECT, connected).await {
        Ok(Ok(address)) => Ok(address),
        Ok(Err(error)) => Err(format!("no connection to `{name}:{port}`: {error}")),
        Err(_) => Err(format!(
            "no connection to `{name}:{port}` within {} s",
            CONNECT.as_secs()
        )),
    }
}

/// The address of a path below the site's, with the site's name. The port is the listener's.
fn url(place: &ProbePlace, path: &str) -> String {
    let scheme = if place.tls { "https" } else { "http" };
    let default = if place.tls { 443 } else { 80 };
    let host = without_port(&place.host);
    let port = if place.port == default {
        String::new()
    } else {
        format!(":{}", place.port)
    };
    format!("{scheme}://{host}{port}{path}")
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// One asking under way.
struct Way<'a> {
    client: Client,
    place: &'a ProbePlace,
    token: Option<&'a str>,
    requests: u64,
}

impl Way<'_> {
    /// Answers with the version that the ping's answer names.
    async fn ask(&mut self) -> Result<String, Failed> {
        let version = self.ping().await?;
        self.websocket().await?;
        self.asset().await?;
        Ok(version)
    }

    async fn get(
        &mut self,
        what: ProbePart,
        path: &str,
        more: HeaderMap,
    ) -> Result<Response, Failed> {
        let mut request = self.client.get(url(self.place, path)).headers(more);
        if self.place.host.contains(':') {
            request = request.header(header::HOST, &self.place.host);
        }
        if let Some(token) = self.token {
            request = request.header(PROBE_HEADER, token);
        }
        self.requests += 1;
        let answer = request.send().await;
        answer.map_err(|error| {
            let error = error.without_url();
            let part = if error.is_connect() && self.place.tls {
                ProbePart::Certificate
            } else {
                what
            };
            Failed::new(part, chain(&error))
        })
    }

    async fn ping(&mut self) -> Result<String, Failed> {
        let path = format!("{}{PING}", self.place.path);
        let answer = self.get(ProbePart::Ping, &path, HeaderMap::new()).await?;
        if answer.status() != StatusCode::OK {
            return Err(Failed::answered(ProbePart::Ping, answer.status(), "200"));
        }
        let version = answer
            .headers()
            .get(VERSION)
            .and_then(|value| value.to_str().ok())
            .map(bounded);
        let said: serde_json::Value = serde_json::from_slice(&body(ProbePart::Ping, answer).await?)
            .map_err(|_| Failed::new(ProbePart::Ping, "its answer is no JSON"))?;
        for part in ["status", "database_status", "filestore_status"] {
            match said.get(part).and_then(|value| value.as_str()) {
                Some("OK") => {}
                Some(other) => {
                    return Err(Failed::new(
                        ProbePart::Ping,
                        format!("`{part}` is `{}`", bounded(other)),
                    ));
                }
                None => {
                    return Err(Failed::new(
                        ProbePart::Ping,
                        format!("its answer has no `{part}`"),
                    ));
                }
            }
        }
        version.ok_or_else(|| Failed::new(ProbePart::Version, "no `X-Version-Id` in the answer"))
    }

    /// A hand-shake is one request; the connection ends with its answer, before a session is asked for.
    async fn websocket(&mut self) -> Result<(), Failed> {
        let path = format!("{}{WEBSOCKET}", self.place.path);
        let mut key = [0; 16];
        rand::fill(&mut key);
        let key = base64::engine::general_purpose::STANDARD.encode(key);
        let mut more = HeaderMap::new();
        for (name, value) in [
            (header::CONNECTION, "Upgrade"),
            (header::UPGRADE, "websocket"),
            (header::SEC_WEBSOCKET_VERSION, "13"),
            (header::SEC_WEBSOCKET_KEY, key.as_str()),
        ] {
            let value = header::HeaderValue::from_str(value)
                .map_err(|error| Failed::new(ProbePart::WebSocket, error.to_string()))?;
            more.insert(name, value);
        }
        let answer = self.get(ProbePart::WebSocket, &path, more).await?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            Ok(())
        } else {
            Err(Failed::answered(
                ProbePart::WebSocket,
                answer.status(),
                "101",
            ))
        }
    }

    /// The page, and the first file that it names; a byte of that is enough.
    async fn asset(&mut self) -> Result<(), Failed> {
        const WHAT: ProbePart = ProbePart::Asset;
        let page = self
            .get(WHAT, &format!("{}/", self.place.path), HeaderMap::new())
            .await?;
        if page.status() != StatusCode::OK {
            return Err(Failed::answered(WHAT, page.status(), "200"));
        }
        let page = body(WHAT, page).await?;
        let below = format!("{}/static/", self.place.path);
        let Some(path) = first_file(&String::from_utf8_lossy(&page), &below) else {
            return Err(Failed::new(
                WHAT,
                format!("the page names no file below `{below}`"),
            ));
        };
        let mut more = HeaderMap::new();
        more.insert(header::RANGE, header::HeaderValue::from_static("bytes=0-0"));
        let file = self.get(WHAT, &path, more).await?;
        if matches!(file.status(), StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
            Ok(())
        } else {
            Err(Failed::answered(WHAT, file.status(), "200"))
        }
    }
}

/// The first path in quotes that begins so.
pub(super) fn first_file(page: &str, below: &str) -> Option<String> {
    page.split(['"', '\''])
        .find(|text| text.starts_with(below) && text.len() > below.len())
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()))
        .map(|text| text.split(['?', '#']).next().unwrap_or(text).to_owned())
}

/// A body of at most [`BODY`] bytes.
async fn body(what: ProbePart, mut answer: Response) -> Result<Vec<u8>, Failed> {
    let mut bytes = Vec::new();
    loop {
        match answer.chunk().await {
            Ok(Some(chunk)) if bytes.len() + chunk.len() <= BODY => bytes.extend_from_slice(&chunk),
            Ok(Some(_)) => {
                return Err(Failed::new(
                    what,
                    format!("its answer exceeds {BODY} bytes"),
                ));
            }
            Ok(None) => return Ok(bytes),
            Err(error) => return Err(Failed::new(what, chain(&error.without_url()))),
        }
    }
}

/// What a server said, for people.
fn bounded(text: &str) -> String {
    text.chars()
        .filter(|letter| !letter.is_control())
        .take(100)
        .collect()
}

/// The last cause says what is wrong with a certificate; the ones before only that something is.
fn chain(error: &dyn StdError) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    bounded(&last.to_string())
}

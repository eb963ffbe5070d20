//! The instance metadata service: one listener for each running instance, where the runtime puts it.
//! IMDSv2 only: a request without a token is answered 401.
//!
//! With processes the same listener has the role's credentials as containers get them, at an address with a
//! secret in it ([`crate::runtime::Machine::credentials_address`]): a server that runs in the instance finds
//! them there, because nothing answers for it at 169.254.169.254.

mod content;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use rand::Rng as _;
use subtle::ConstantTimeEq as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Lab;
use crate::runtime::{self, CREDENTIALS_PATH, Machine};

const TOKEN: &str = "x-aws-ec2-metadata-token";
const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
/// Longest life of a token, in seconds (EC2 user guide, "Use IMDSv2").
const MAX_TTL: i64 = 21_600;

/// The listeners, by instance id.
#[derive(Debug, Default)]
pub struct Imds(Mutex<BTreeMap<String, Listener>>);

#[derive(Debug)]
struct Listener {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Imds {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Listener>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A secret for an address, from the operating system: the lab's own ids can be foretold.
pub(crate) fn new_secret() -> String {
    let mut bytes = [0_u8; 24];
    rand::rng().fill_bytes(&mut bytes);
    hex::encode(bytes)
}

/// What one listener serves.
struct Server {
    lab: Arc<Lab>,
    region: String,
    instance_id: String,
    /// Of the container credentials; none with machines, which have the metadata service where it belongs.
    secret: Option<String>,
    tokens: Mutex<BTreeMap<String, Timestamp>>,
}

/// Starts an instance's metadata service; nothing happens when it serves already.
pub(crate) async fn start(lab: &Arc<Lab>, region: &str, machine: &Machine) -> io::Result<()> {
    if lab.ec2.imds.lock().contains_key(&machine.id) {
        return Ok(());
    }
    let listener = lab.ec2.runtime.metadata_listener(machine).await?;
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let server = Arc::new(Server {
        lab: Arc::clone(lab),
        region: region.to_owned(),
        instance_id: machine.id.clone(),
        secret: (lab.config.runtime == runtime::Kind::Process)
            .then(|| machine.credentials_secret.clone()),
        tokens: Mutex::default(),
    });
    let stop = lab.shutdown.child_token();
    let tasks = TaskTracker::new();
    tasks.spawn(serve(server, listener, stop.clone(), tasks.clone()));
    lab.ec2
        .imds
        .lock()
        .insert(machine.id.clone(), Listener { stop, tasks });
    Ok(())
}

/// Ends an instance's metadata service; returns when its port is free.
pub(crate) async fn stop(lab: &Lab, instance_id: &str) {
    let listener = lab.ec2.imds.lock().remove(instance_id);
    if let Some(listener) = listener {
        listener.stop.cancel();
        listener.tasks.close();
        listener.tasks.wait().await;
    }
}

/// Ends all of them.
pub(crate) async fn stop_all(lab: &Lab) {
    let ids: Vec<String> = lab.ec2.imds.lock().keys().cloned().collect();
    for id in ids {
        stop(lab, &id).await;
    }
}

async fn serve(
    server: Arc<Server>,
    listener: TcpListener,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else { continue };
        let server = Arc::clone(&server);
        let stop = stop.clone();
        tasks.spawn(async move {
            let service = service_fn(move |request| {
                let answer = server.answer(&request);
                async move { Ok::<_, std::convert::Infallible>(answer) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                _ = connection => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

type Answer = Response<Full<Bytes>>;

fn answer(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain"),
    );
    headers.insert(http::header::SERVER, HeaderValue::from_static("EC2ws"));
    response
}

impl Server {
    fn answer(&self, request: &Request<Incoming>) -> Answer {
        if let (Some(secret), Some(sent)) = (
            &self.secret,
            request.uri().path().strip_prefix(CREDENTIALS_PATH),
        ) {
            return self.container_credentials(secret, sent);
        }
        let endpoint_off = {
            let region = self.lab.ec2.region(&self.region).ok();
            let metadata = region
                .as_ref()
                .and_then(|region| region.instances.get(&self.instance_id))
                .and_then(|instance| instance.data.metadata.as_ref());
            metadata.is_some_and(|options| options.http_endpoint.as_deref() == Some("disabled"))
        };
        if endpoint_off {
            return answer(StatusCode::FORBIDDEN, "");
        }
        let path = request.uri().path();
        let headers = request.headers();
        match *request.method() {
            Method::PUT if path.trim_end_matches('/') == "/latest/api/token" => self.issue(headers),
            Method::PUT => answer(StatusCode::NOT_FOUND, ""),
            Method::GET | Method::HEAD => {
                let Some(left) = self.token_left(headers) else {
                    return answer(StatusCode::UNAUTHORIZED, "");
                };
                let mut response =
                    match content::get(&self.lab, &self.region, &self.instance_id, path) {
                        Some(body) => answer(StatusCode::OK, body),
                        None => answer(StatusCode::NOT_FOUND, ""),
                    };
                response.headers_mut().insert(TTL, HeaderValue::from(left));
                response
            }
            _ => answer(StatusCode::METHOD_NOT_ALLOWED, ""),
        }
    }

    /// The role's credentials as ECS answers them (ECS developer guide, "Task IAM role"): 404 for who does
    /// not know the secret, and for an instance without a role.
    fn container_credentials(&self, secret: &str, sent: &str) -> Answer {
        let known = bool::from(secret.as_bytes().ct_eq(sent.as_bytes()));
        let found = known
            .then(|| content::container_credentials(&self.lab, &self.region, &self.instance_id))
            .flatten();
        match found {
            None => answer(StatusCode::NOT_FOUND, ""),
            Some(body) => {
                let mut response = answer(StatusCode::OK, body);
                response.headers_mut().insert(
                    http::header::CONTENT_TYPE,
                    HeaderValue::from_static("application/json"),
                );
                response
            }
        }
    }

    /// A new token. A request that came through a proxy gets none, as with AWS.
    fn issue(&self, headers: &HeaderMap) -> Answer {
        if headers.contains_key("x-forwarded-for") {
            return answer(StatusCode::FORBIDDEN, "");
        }
        let ttl = headers
            .get(TTL)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.trim().parse::<i64>().ok())
            .filter(|ttl| (1..=MAX_TTL).contains(ttl));
        let Some(ttl) = ttl else {
            return answer(StatusCode::BAD_REQUEST, "");
        };
        let token = format!("AQAE{}==", self.lab.ids.hex(48));
        let now = self.lab.clock.now();
        {
            let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
            tokens.retain(|_, expires| *expires > now);
            tokens.insert(token.clone(), now + SignedDuration::from_secs(ttl));
        }
        let mut response = answer(StatusCode::OK, token);
        response.headers_mut().insert(TTL, HeaderValue::from(ttl));
        response
    }

    /// Seconds that the request's token has left; none without a valid one.
    fn token_left(&self, headers: &HeaderMap) -> Option<i64> {
        let token = headers.get(TOKEN)?.to_str().ok()?;
        let now = self.lab.clock.now();
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let expires = tokens.get(token)?;
        (*expires > now).then(|| expires.as_second() - now.as_second())
    }
}

//! A request to its target, and the answer back.
//!
//! A pooled connection that the target has closed meanwhile is not the client's concern: as long as
//! nothing of the request was written it is sent on another connection. Once something was written
//! there is no second try: an ALB answers 502, and so does the lab.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderName, HeaderValue, SET_COOKIE, UPGRADE};
use http::{HeaderMap, Request, Response, StatusCode, Uri, Version};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::upgrade::OnUpgrade;
use tokio::time::Instant;

use super::answer::{self, Body};
use super::backend::{Backend, InFlight, NoConnection, Upstream};
use super::route::Choice;
use super::{Busy, Client, tunnel};

/// Headers that belong to one connection and not to the message (RFC 9110, 7.6.1).
const PER_CONNECTION: [HeaderName; 6] = [
    http::header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    http::header::TE,
    http::header::TRANSFER_ENCODING,
    http::header::UPGRADE,
];

/// A request's body on its way to the target; knows when it has left.
#[derive(Debug)]
pub(super) struct Upload {
    inner: Incoming,
    done: Arc<AtomicBool>,
}

impl Upload {
    fn new(inner: Incoming) -> (Self, Arc<AtomicBool>) {
        let done = Arc::new(AtomicBool::new(inner.is_end_stream()));
        let upload = Self {
            inner,
            done: Arc::clone(&done),
        };
        (upload, done)
    }
}

impl hyper::body::Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if frame.is_none() || self.inner.is_end_stream() {
            self.done.store(true, Ordering::Release);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// An answer's body on its way to the client. When it has been read to its end the connection goes
/// back to the pool; when it is dropped before, the connection is closed.
struct Download {
    inner: Incoming,
    ended: bool,
    uploaded: Arc<AtomicBool>,
    upstream: Option<Upstream>,
    backend: Arc<Backend>,
    _flight: InFlight,
    _busy: Busy,
}

impl hyper::body::Body for Download {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        self.ended |= frame.is_none();
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        let complete = self.ended || self.inner.is_end_stream();
        if let Some(upstream) = self.upstream.take()
            && complete
            && self.uploaded.load(Ordering::Acquire)
        {
            self.backend.put(upstream);
        }
    }
}

/// Sends the request to the chosen target.
pub(super) async fn forward(
    client: Client,
    choice: Choice,
    busy: Busy,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let wants_upgrade = is_websocket(&request);
    let upgrade = wants_upgrade.then(|| hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    let (upload, uploaded) = Upload::new(body);
    let mut outgoing = Request::new(upload);
    *outgoing.method_mut() = parts.method;
    *outgoing.uri_mut() = origin_form(&parts.uri);
    *outgoing.headers_mut() = request_headers(&client, &choice, parts.headers, &parts.uri);
    if wants_upgrade {
        let headers = outgoing.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    let recorder = &client.place.shared.recorder;
    let failed = |status| {
        recorder.own_answer(Some(&choice.group), status);
        answer::error(status)
    };
    let (upstream, result, sent) = match send(&client, &choice.backend, outgoing).await {
        Ok(sent) => sent,
        Err(no_connection) => {
            recorder.refused(&choice.group);
            return failed(match no_connection {
                NoConnection::Refused => 502,
                NoConnection::TimedOut => 504,
            });
        }
    };
    let response = match result {
        Ok(response) => response,
        Err(error) => {
            log::debug!("target {}: {error}", choice.backend.address);
            return failed(
                match (upstream.ended_idle(), uploaded.load(Ordering::Acquire)) {
                    (true, true) => 504,
                    // The client stopped sending: "HTTP 408: the client did not send data before the
                    // idle timeout period expired".
                    (true, false) => 408,
                    (false, _) => 502,
                },
            );
        }
    };
    recorder.answered(&choice.group, response.status().as_u16(), sent.elapsed());
    match upgrade {
        Some(upgrade) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            switch(client, choice, upstream, upgrade, response)
        }
        _ => stream_back(choice, upstream, uploaded, busy, response),
    }
}

type Sent = (Upstream, Result<Response<Incoming>, hyper::Error>, Instant);

/// On pooled connections until one takes the request, then on a fresh one.
async fn send(
    client: &Client,
    backend: &Backend,
    mut request: Request<Upload>,
) -> Result<Sent, NoConnection> {
    let (lab, shared) = (&client.place.lab, &client.place.shared);
    loop {
        let (mut upstream, fresh) = match backend.take().await {
            Some(upstream) => (upstream, false),
            None => (backend.connect(lab, shared, client.local.ip()).await?, true),
        };
        upstream.activity.touch();
        let sent = Instant::now();
        let mut failure = match upstream.sender.try_send_request(request).await {
            Ok(response) => return Ok((upstream, Ok(response), sent)),
            Err(failure) => failure,
        };
        match failure.take_message() {
            Some(unsent) if !fresh => request = unsent,
            _ => return Ok((upstream, Err(failure.into_error()), sent)),
        }
    }
}

fn stream_back(
    choice: Choice,
    upstream: Upstream,
    uploaded: Arc<AtomicBool>,
    busy: Busy,
    response: Response<Incoming>,
) -> Response<Body> {
    let (mut parts, inner) = response.into_parts();
    drop_per_connection(&mut parts.headers);
    parts.version = Version::default();
    for cookie in choice.cookies {
        parts.headers.append(SET_COOKIE, cookie);
    }
    let download = Download {
        inner,
        ended: false,
        uploaded,
        upstream: Some(upstream),
        backend: choice.backend,
        _flight: choice.flight,
        _busy: busy,
    };
    Response::from_parts(parts, download.boxed_unsync())
}

/// Both sides agreed to speak WebSocket: from here on bytes are passed and not looked at.
fn switch(
    client: Client,
    choice: Choice,
    upstream: Upstream,
    upgrade: OnUpgrade,
    mut response: Response<Incoming>,
) -> Response<Body> {
    let from_target = hyper::upgrade::on(&mut response);
    let (mut parts, _) = response.into_parts();
    for cookie in &choice.cookies {
        parts.headers.append(SET_COOKIE, cookie.clone());
    }
    let lab = Arc::clone(&client.place.lab);
    lab.spawn(tunnel::carry(
        client,
        choice,
        upstream.activity,
        upgrade,
        from_target,
    ));
    Response::from_parts(parts, answer::full(Bytes::new()))
}

/// An HTTP/1.1 request to switch to WebSocket; an ALB passes no other upgrade on.
fn is_websocket(request: &Request<Incoming>) -> bool {
    let has = |name: &HeaderName, token: &str| {
        request
            .headers()
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|part| part.trim().eq_ignore_ascii_case(token))
    };
    request.version() == Version::HTTP_11
        && has(&CONNECTION, "upgrade")
        && has(&UPGRADE, "websocket")
}

fn origin_form(uri: &Uri) -> Uri {
    uri.path_and_query()
        .cloned()
        .map_or_else(|| Uri::from_static("/"), Uri::from)
}

fn drop_per_connection(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&PER_CONNECTION) {
        headers.remove(name);
    }
}

fn request_headers(
    client: &Client,
    choice: &Choice,
    mut headers: HeaderMap,
    uri: &Uri,
) -> HeaderMap {
    drop_per_connection(&mut headers);
    // HTTP/2 has the host in `:authority`.
    if let Some(authority) = uri.authority()
        && !headers.contains_key(HOST)
        && let Ok(value) = HeaderValue::from_str(authority.as_str())
    {
        headers.insert(HOST, value);
    }
    let forwarded_for = HeaderName::from_static("x-forwarded-for");
    match choice.headers.forwarded_for.as_str() {
        "preserve" => {}
        "remove" => {
            headers.remove(&forwarded_for);
        }
        _ => {
            let mut hops: Vec<String> = headers
                .get_all(&forwarded_for)
                .iter()
                .filter_map(|value| value.to_str().ok())
                .map(str::to_owned)
                .collect();
            hops.push(if choice.headers.client_port {
                client.peer.to_string()
            } else {
                client.peer.ip().to_string()
            });
            set(&mut headers, forwarded_for, &hops.join(", "));
        }
    }
    let protocol = if client.tls { "https" } else { "http" };
    set(
        &mut headers,
        HeaderName::from_static("x-forwarded-proto"),
        protocol,
    );
    let port = client.place.port.to_string();
    set(
        &mut headers,
        HeaderName::from_static("x-forwarded-port"),
        &port,
    );
    let trace = HeaderName::from_static("x-amzn-trace-id");
    if !headers.contains_key(&trace) {
        let (now, id) = (client.place.lab.clock.now(), client.place.lab.ids.hex(24));
        set(
            &mut headers,
            trace,
            &format!("Root=1-{:08x}-{id}", now.as_second()),
        );
    }
    headers
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

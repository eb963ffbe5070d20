//! What the nodes' port serves. A call for anything else, the operators' service above all, is refused
//! by name like every other.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use fleet_proto::tls::Peer;
use futures_util::future::Either;
use tonic::body::Body;

use super::denied::Denied;
use crate::core::Core;

/// Names calls for services and methods that this port does not have: the operators', above all.
#[derive(Clone)]
pub struct Served<S> {
    inner: S,
    core: Arc<Core>,
}

impl<S> Served<S> {
    /// Around the router.
    pub fn new(inner: S, core: Arc<Core>) -> Self {
        Self { inner, core }
    }
}

/// Paths that are served to nodes.
const PATHS: [&str; 4] = [
    "/fleet.v1.Enrolment/Enroll",
    "/fleet.v1.Node/Session",
    "/fleet.v1.Node/Secrets",
    "/fleet.v1.Node/Renew",
];

impl<S, B> tower::Service<http::Request<B>> for Served<S>
where
    S: tower::Service<http::Request<B>, Response = http::Response<Body>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Self::Response, Self::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        if PATHS.contains(&request.uri().path()) {
            return Either::Left(self.inner.call(request));
        }
        let check = Denied::Service;
        let from = request
            .extensions()
            .get::<Peer>()
            .map_or_else(String::new, |peer| peer.address.to_string());
        log::warn!("call of {from} refused by check `{check}`");
        self.core.metrics.denied(check);
        Either::Right(ready(Ok(check.status().into_http())))
    }
}

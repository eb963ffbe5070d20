//! JSON bodies, read whatever content type the client names, as the real server reads them.

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::failure::Failure;

/// In a handler's arguments: the body, parsed; 400 otherwise.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|_| Failure::invalid("body"))?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|_| Failure::invalid("body"))
    }
}

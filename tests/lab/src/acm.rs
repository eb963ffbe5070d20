//! Stub: to be written.
use crate::Lab;
use crate::api::{ApiError, Call, Reply};
use http::Method;
use serde_json::Value;
use std::sync::Arc;

/// State.
#[derive(Debug, Default)]
pub struct Acm;

/// Starts the service's tasks.
pub fn start(_lab: &Arc<Lab>) {}

/// Answers a call.
pub async fn dispatch(_lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    Err(ApiError::invalid_action(&call.action))
}

/// The service's part of the control endpoint.
pub async fn control(
    _lab: &Arc<Lab>,
    method: &Method,
    path: &[&str],
    _body: Value,
) -> Result<Value, String> {
    Err(format!("there is no {method} {path:?}"))
}

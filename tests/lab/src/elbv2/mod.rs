//! Stub: to be written.
use crate::Lab;
use crate::api::{ApiError, Call, Reply};
use http::Method;
use serde_json::Value;
use std::sync::Arc;

/// State.
#[derive(Debug, Default)]
pub struct Elbv2;

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

/// Whether a target group exists: none yet.
pub fn target_group_exists(_lab: &Lab, _region: &str, _arn: &str) -> bool {
    false
}

/// Registers a target: there is no target group yet.
pub async fn register(_lab: &Arc<Lab>, _region: &str, _arn: &str, _id: &str, _port: Option<u16>) {}

/// Deregisters a target: there is no target group yet.
pub async fn deregister(_lab: &Arc<Lab>, _region: &str, _arn: &str, _id: &str) {}

/// The health of a target: there is no target group yet.
pub fn target_state(_lab: &Lab, _region: &str, _arn: &str, _id: &str) -> Option<String> {
    None
}

//! IAM's API: roles and instance profiles, as far as EC2 and STS use them.

use std::sync::Arc;

use crate::Lab;
use crate::api::{ApiError, Call, Reply};

/// Answers an IAM call.
pub async fn dispatch(_lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    Err(ApiError::invalid_action(&call.action))
}

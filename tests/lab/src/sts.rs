//! STS: `GetCallerIdentity`, which any valid signature may ask.

use std::sync::Arc;

use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};

/// Answers an STS call.
pub fn dispatch(_lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    match call.action.as_str() {
        "GetCallerIdentity" => {
            call.params.finish()?;
            let caller = &call.caller;
            Ok(Xml::new()
                .text("Arn", &caller.arn)
                .text("UserId", &caller.user_id)
                .text("Account", &caller.account)
                .into())
        }
        action => Err(ApiError::invalid_action(action)),
    }
}

//! The API's errors, in Mattermost's shape.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::database::DatabaseError;
use crate::ids;

/// An error answer.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    id: &'static str,
    message: String,
}

impl Failure {
    pub(super) fn new(status: StatusCode, id: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            id,
            message: message.into(),
        }
    }

    pub(super) fn bad_request(id: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, id, message)
    }

    /// A body or a path that lacks something.
    pub(super) fn invalid(parameter: &str) -> Self {
        Self::bad_request(
            "api.context.invalid_body_param.app_error",
            format!("Invalid or missing {parameter} in request."),
        )
    }

    /// No session, or one that is over.
    pub(super) fn no_session() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "api.context.session_expired.app_error",
            "Invalid or expired session, please login again.",
        )
    }

    pub(super) fn forbidden() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "api.context.permissions.app_error",
            "You do not have the appropriate permissions.",
        )
    }

    pub(super) fn not_found(id: &'static str, what: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            id,
            format!("Unable to find the existing {what}."),
        )
    }
}

impl From<DatabaseError> for Failure {
    fn from(error: DatabaseError) -> Self {
        log::error!("A query failed: {}", chain(&error));
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "app.sql.internal.app_error",
            "The database does not answer.",
        )
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        DatabaseError::from(error).into()
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = json!({
            "id": self.id,
            "message": self.message,
            "detailed_error": "",
            "request_id": ids::new_id(),
            "status_code": self.status.as_u16(),
        });
        (self.status, Json(body)).into_response()
    }
}

/// An error with its sources, for the log.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

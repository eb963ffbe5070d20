//! AWS errors: a code, a message, an HTTP status.

/// An error as AWS would answer it. The code is what clients decide by; it is AWS's own word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// For example `InvalidInstanceID.NotFound`.
    pub code: String,
    /// A sentence that names the thing.
    pub message: String,
    /// 400 for most; 403, 404, 409, 412, 500, 503 where AWS uses them.
    pub status: u16,
}

impl ApiError {
    /// An error with status 400.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            status: 400,
        }
    }

    /// The same with another HTTP status.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// A required parameter is not there.
    pub fn missing(name: &str) -> Self {
        Self::new(
            "MissingParameter",
            format!("The request must contain the parameter {name}"),
        )
    }

    /// A value that AWS would refuse, or that the lab does not implement: named, never ignored.
    pub fn invalid_value(name: &str, value: &str, why: &str) -> Self {
        Self::new(
            "InvalidParameterValue",
            format!("Value ({value}) for parameter {name} is invalid. {why}"),
        )
    }

    /// An action that the lab does not have.
    pub fn invalid_action(action: &str) -> Self {
        Self::new(
            "InvalidAction",
            format!("The action {action} is not valid for this web service."),
        )
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for ApiError {}

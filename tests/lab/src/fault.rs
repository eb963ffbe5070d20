//! Faults on demand: what AWS does on a bad day, set through the control endpoint.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::api::ApiError;

/// One fault, applied to calls that match.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Credential-scope name of the service; none matches all.
    #[serde(default)]
    pub service: Option<String>,
    /// Action; none matches all.
    #[serde(default)]
    pub action: Option<String>,
    /// What happens.
    pub effect: Effect,
    /// How many matching calls it hits before it is gone.
    #[serde(default = "once")]
    pub times: u32,
}

fn once() -> u32 {
    1
}

/// What a fault does to a call.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// The service's own word for too many calls ([`crate::throttle::refusal`]), nothing done.
    Throttle,
    /// 500 `InternalError` (`InternalFailure`), nothing done.
    Internal,
    /// Any error by code, nothing done.
    Error {
        /// AWS's code.
        code: String,
        /// The sentence.
        message: String,
    },
    /// The call is carried out; its answer never arrives (the connection is cut).
    LoseAnswer,
    /// The answer comes late by this many real milliseconds.
    Delay(u64),
}

/// What the server must do with a call.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Answer this instead of doing anything.
    pub refuse: Option<ApiError>,
    /// Do it, then cut the connection.
    pub lose_answer: bool,
    /// Wait first.
    pub delay: Duration,
}

/// The faults that wait for their calls.
#[derive(Debug, Default)]
pub struct Faults {
    queue: Mutex<VecDeque<Fault>>,
}

impl Faults {
    /// Adds a fault.
    pub fn add(&self, fault: Fault) {
        self.queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(fault);
    }

    /// Removes all.
    pub fn clear(&self) {
        self.queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// Takes what applies to this call.
    pub fn take(&self, service: &str, action: &str) -> Verdict {
        let mut verdict = Verdict::default();
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        for fault in queue.iter_mut() {
            let matches = fault.service.as_deref().is_none_or(|name| name == service)
                && fault.action.as_deref().is_none_or(|name| name == action);
            if !matches || fault.times == 0 {
                continue;
            }
            fault.times -= 1;
            match &fault.effect {
                Effect::Throttle => {
                    verdict.refuse = Some(crate::throttle::refusal(service));
                }
                Effect::Internal => {
                    let code = match service {
                        "ec2" | "s3" => "InternalError",
                        "kms" => "KMSInternalException",
                        _ => "InternalFailure",
                    };
                    verdict.refuse =
                        Some(ApiError::new(code, "An internal error has occurred").status(500));
                }
                Effect::Error { code, message } => {
                    verdict.refuse = Some(ApiError::new(code.clone(), message.clone()));
                }
                Effect::LoseAnswer => verdict.lose_answer = true,
                Effect::Delay(milliseconds) => {
                    verdict.delay += Duration::from_millis(*milliseconds);
                }
            }
        }
        queue.retain(|fault| fault.times > 0);
        verdict
    }
}

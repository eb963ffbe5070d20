//! A target's health as a state machine: what one check, passed or failed, makes of it.
//!
//! ```text
//!             registered            one check passes
//!  Registering ------> Checking ------------------------> Healthy
//!                         |                               ^     |
//!                         | unhealthy      healthy        |     | unhealthy
//!                         | threshold      threshold      |     | threshold
//!                         +------------> Unhealthy -------+ <---+
//!
//!  any --deregistered--> Draining --delay over--> (gone)
//!  any --no listener names the group--> Unused --named again--> Registering
//! ```

use std::time::Duration;

use crate::api::{ApiError, Params, Xml};

/// Why a check failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// A code that the matcher does not have.
    Code(u16),
    /// No answer in time.
    Timeout,
    /// No connection, or an answer that is no HTTP.
    Broken,
}

/// Why a target gets no traffic though it is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unused {
    /// No listener or rule names the target group.
    NotInUse,
    /// The load balancer has no subnet in the target's zone.
    ZoneNotEnabled,
    /// The instance is stopped.
    Stopped,
}

/// What is true of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// Not yet known to all load balancer nodes.
    Registering,
    /// Checked, not yet judged; so many failures in a row so far.
    Checking { failures: u32 },
    /// Takes requests; so many failures in a row so far.
    Healthy { failures: u32 },
    /// Takes none (unless no target is healthy); so many passes in a row so far.
    Unhealthy { passes: u32, last: Failure },
    /// Deregistered; ends what is under way.
    Draining,
    /// Registered without use.
    Unused(Unused),
}

impl Health {
    /// AWS's state, reason and description.
    pub fn words(&self) -> (&'static str, Option<&'static str>, Option<String>) {
        let (state, reason, text) = match self {
            Self::Registering => (
                "initial",
                "Elb.RegistrationInProgress",
                "Target registration is in progress",
            ),
            Self::Checking { .. } => (
                "initial",
                "Elb.InitialHealthChecking",
                "Initial health checks in progress",
            ),
            Self::Healthy { .. } => return ("healthy", None, None),
            Self::Unhealthy { last, .. } => match last {
                Failure::Code(code) => {
                    return (
                        "unhealthy",
                        Some("Target.ResponseCodeMismatch"),
                        Some(format!("Health checks failed with these codes: [{code}]")),
                    );
                }
                Failure::Timeout => ("unhealthy", "Target.Timeout", "Request timed out"),
                Failure::Broken => (
                    "unhealthy",
                    "Target.FailedHealthChecks",
                    "Health checks failed",
                ),
            },
            Self::Draining => (
                "draining",
                "Target.DeregistrationInProgress",
                "Target deregistration is in progress",
            ),
            Self::Unused(Unused::NotInUse) => (
                "unused",
                "Target.NotInUse",
                "Target group is not configured to receive traffic from the load balancer",
            ),
            Self::Unused(Unused::ZoneNotEnabled) => (
                "unused",
                "Target.NotInUse",
                "Target is in an Availability Zone that is not enabled for the load balancer",
            ),
            Self::Unused(Unused::Stopped) => (
                "unused",
                "Target.InvalidState",
                "Target is in the stopped state",
            ),
        };
        (state, Some(reason), Some(text.to_owned()))
    }

    /// After a check.
    #[must_use]
    pub fn after(self, outcome: Result<(), Failure>, check: &HealthCheck) -> Self {
        match (self, outcome) {
            (Self::Registering | Self::Checking { .. } | Self::Healthy { .. }, Ok(())) => {
                Self::Healthy { failures: 0 }
            }
            (Self::Registering, Err(last)) => {
                Self::Checking { failures: 0 }.after(Err(last), check)
            }
            (Self::Checking { failures }, Err(last)) => {
                let failures = failures + 1;
                if failures >= check.unhealthy_threshold {
                    Self::Unhealthy { passes: 0, last }
                } else {
                    Self::Checking { failures }
                }
            }
            (Self::Healthy { failures }, Err(last)) => {
                let failures = failures + 1;
                if failures >= check.unhealthy_threshold {
                    Self::Unhealthy { passes: 0, last }
                } else {
                    Self::Healthy { failures }
                }
            }
            (Self::Unhealthy { passes, last }, Ok(())) => {
                let passes = passes + 1;
                if passes >= check.healthy_threshold {
                    Self::Healthy { failures: 0 }
                } else {
                    Self::Unhealthy { passes, last }
                }
            }
            (Self::Unhealthy { .. }, Err(last)) => Self::Unhealthy { passes: 0, last },
            (Self::Unused(Unused::Stopped), outcome) => {
                Self::Checking { failures: 0 }.after(outcome, check)
            }
            (Self::Draining, _) => Self::Draining,
            (Self::Unused(why), _) => Self::Unused(why),
        }
    }

    /// Whether it takes new requests in the ordinary case.
    pub fn is_healthy(&self) -> bool {
        matches!(self, Self::Healthy { .. })
    }

    /// Whether it takes new requests when no target is healthy.
    pub fn may_fail_open(&self) -> bool {
        !matches!(self, Self::Draining | Self::Unused(_))
    }
}

/// A target group's health check settings. Seconds are lab seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HealthCheck {
    /// Begins with `/`.
    pub path: String,
    /// None is `traffic-port`.
    pub port: Option<u16>,
    /// 5 to 300.
    pub interval: u32,
    /// 2 to 120, not above the interval.
    pub timeout: u32,
    /// 2 to 10.
    pub healthy_threshold: u32,
    /// 2 to 10.
    pub unhealthy_threshold: u32,
    /// As given: `200`, `200,202`, `200-299`.
    pub matcher: String,
}

impl Default for HealthCheck {
    /// AWS's defaults for HTTP. The API reference says a timeout of 6 seconds, the user guide and
    /// real answers 5; the answers count.
    fn default() -> Self {
        Self {
            path: "/".to_owned(),
            port: None,
            interval: 30,
            timeout: 5,
            healthy_threshold: 5,
            unhealthy_threshold: 2,
            matcher: "200".to_owned(),
        }
    }
}

impl HealthCheck {
    /// These settings with what a call gives.
    pub fn parse(mut self, params: &Params) -> Result<Self, ApiError> {
        if let Some(protocol) = params.opt("HealthCheckProtocol").filter(|it| it != "HTTP") {
            return Err(ApiError::invalid_value(
                "HealthCheckProtocol",
                &protocol,
                "The lab checks targets by HTTP.",
            ));
        }
        if params.opt_bool("HealthCheckEnabled")? == Some(false) {
            return Err(ApiError::new(
                "InvalidConfigurationRequest",
                "Health check enabled must be true for target groups with target type 'instance' or 'ip'",
            ));
        }
        if let Some(path) = params.opt("HealthCheckPath") {
            if !path.starts_with('/') || path.len() > 1024 {
                return Err(invalid(format!(
                    "Health check path '{path}' must begin with a '/' character and have at most 1024 characters"
                )));
            }
            self.path = path;
        }
        if let Some(port) = params.opt("HealthCheckPort") {
            self.port = if port == "traffic-port" {
                None
            } else {
                Some(port.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
                    invalid(format!(
                        "Health check port '{port}' must be 'traffic-port' or in the range 1-65535"
                    ))
                })?)
            };
        }
        let number = |name: &str, range: std::ops::RangeInclusive<i64>, old: u32| match params
            .opt_int(name)?
        {
            None => Ok(old),
            Some(value) if range.contains(&value) => Ok(value as u32),
            Some(value) => Err(invalid(format!(
                "{name} '{value}' must be between {} and {}",
                range.start(),
                range.end()
            ))),
        };
        self.interval = number("HealthCheckIntervalSeconds", 5..=300, self.interval)?;
        self.timeout = number("HealthCheckTimeoutSeconds", 2..=120, self.timeout)?;
        self.healthy_threshold = number("HealthyThresholdCount", 2..=10, self.healthy_threshold)?;
        self.unhealthy_threshold =
            number("UnhealthyThresholdCount", 2..=10, self.unhealthy_threshold)?;
        if self.timeout >= self.interval {
            return Err(invalid(format!(
                "Health check timeout '{}' must be smaller than the interval '{}'",
                self.timeout, self.interval
            )));
        }
        if let Some(matcher) = params.sub("Matcher") {
            let codes = matcher.str("HttpCode")?;
            if codes_of(&codes).is_none() {
                return Err(invalid(format!(
                    "Health check matcher HTTP code '{codes}' must be values or ranges within 200-499, for example '200', '200,202' or '200-299'"
                )));
            }
            self.matcher = codes;
        }
        Ok(self)
    }

    /// Whether a status code passes.
    pub fn matches(&self, code: u16) -> bool {
        codes_of(&self.matcher).is_some_and(|ranges| {
            ranges
                .iter()
                .any(|(low, high)| (*low..=*high).contains(&code))
        })
    }

    /// Lab time between checks.
    pub fn interval(&self) -> Duration {
        Duration::from_secs(u64::from(self.interval))
    }

    /// Lab time that a target has for its answer.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(u64::from(self.timeout))
    }

    /// `HealthCheckPort` as AWS shows it.
    pub fn port_text(&self) -> String {
        self.port
            .map_or_else(|| "traffic-port".to_owned(), |port| port.to_string())
    }

    /// The members that describe it in a target group.
    pub fn xml(&self) -> Xml {
        Xml::new()
            .text("HealthCheckProtocol", "HTTP")
            .text("HealthCheckPort", self.port_text())
            .text("HealthCheckEnabled", true)
            .text("HealthCheckIntervalSeconds", self.interval)
            .text("HealthCheckTimeoutSeconds", self.timeout)
            .text("HealthyThresholdCount", self.healthy_threshold)
            .text("UnhealthyThresholdCount", self.unhealthy_threshold)
            .text("HealthCheckPath", &self.path)
            .child("Matcher", Xml::new().text("HttpCode", &self.matcher))
    }
}

/// The ranges that a matcher names; none when it is not one.
fn codes_of(matcher: &str) -> Option<Vec<(u16, u16)>> {
    matcher
        .split(',')
        .map(|part| {
            let (low, high) = part.split_once('-').unwrap_or((part, part));
            let (low, high) = (low.trim().parse().ok()?, high.trim().parse().ok()?);
            (200 <= low && low <= high && high <= 499).then_some((low, high))
        })
        .collect()
}

fn invalid(message: String) -> ApiError {
    ApiError::new("ValidationError", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `+` passes, `-` answers 503; the state's initial after each.
    fn story(start: Health, checks: &str) -> String {
        let check = HealthCheck {
            healthy_threshold: 3,
            unhealthy_threshold: 2,
            ..HealthCheck::default()
        };
        let mut health = start;
        let mut seen = String::new();
        for outcome in checks.chars() {
            let outcome = if outcome == '+' {
                Ok(())
            } else {
                Err(Failure::Code(503))
            };
            health = health.after(outcome, &check);
            seen.push(match health {
                Health::Registering => 'r',
                Health::Checking { .. } => 'c',
                Health::Healthy { .. } => 'H',
                Health::Unhealthy { .. } => 'U',
                Health::Draining => 'd',
                Health::Unused(_) => '0',
            });
        }
        seen
    }

    #[test]
    fn thresholds() {
        for (start, checks, expected) in [
            (Health::Registering, "+", "H"),
            (Health::Registering, "-+", "cH"),
            (Health::Registering, "--", "cU"),
            (Health::Healthy { failures: 0 }, "-+-+--", "HHHHHU"),
            (Health::Healthy { failures: 0 }, "--++-+++", "HUUUUUUH"),
            (Health::Draining, "+-", "dd"),
            (Health::Unused(Unused::NotInUse), "+-", "00"),
            (Health::Unused(Unused::Stopped), "+", "H"),
        ] {
            assert_eq!(story(start.clone(), checks), expected, "{start:?} {checks}");
        }
    }

    #[test]
    fn matchers() {
        let check = |matcher: &str| HealthCheck {
            matcher: matcher.to_owned(),
            ..HealthCheck::default()
        };
        assert!(check("200").matches(200) && !check("200").matches(204));
        assert!(check("200,302").matches(302) && !check("200,302").matches(301));
        assert!(check("200-299").matches(250) && !check("200-299").matches(300));
        for bad in ["", "abc", "100", "200-", "300-200", "200-600"] {
            assert!(codes_of(bad).is_none(), "{bad}");
        }
    }
}

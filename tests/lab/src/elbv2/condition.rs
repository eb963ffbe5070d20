//! When a rule applies: conditions over host, path, headers, method, query and source.

use std::net::IpAddr;

use http::HeaderMap;
use ipnet::IpNet;

use crate::api::{ApiError, Params, Xml};
use crate::wildcard;

/// One condition; any of its values will do. A rule applies when all of its conditions hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// Patterns over the host name, case-insensitive.
    Host(Vec<String>),
    /// Patterns over the path, case-sensitive.
    Path(Vec<String>),
    /// Patterns over a header's values, case-insensitive.
    Header { name: String, values: Vec<String> },
    /// Exact methods.
    Method(Vec<String>),
    /// Patterns over query keys (any key when none) and values, case-insensitive.
    Query(Vec<(Option<String>, String)>),
    /// Blocks of source addresses.
    SourceIp(Vec<IpNet>),
}

/// What conditions look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    /// Without the port.
    pub host: &'a str,
    pub path: &'a str,
    pub query: &'a str,
    pub method: &'a str,
    pub headers: &'a HeaderMap,
    pub source: IpAddr,
}

/// Condition values of a rule ("Quotas for your Application Load Balancers").
const MAX_VALUES: usize = 5;
/// Characters of a header's name (*API* `HttpHeaderConditionConfig`).
const MAX_HEADER_NAME: usize = 40;

/// No wildcard, not longer, and not the one that has a condition of its own (*API* `HttpHeaderConditionConfig`).
fn header_name(name: &str) -> Result<(), ApiError> {
    let is_token = http::HeaderName::from_bytes(name.as_bytes()).is_ok() && !name.contains('*');
    if !is_token || name.len() > MAX_HEADER_NAME || name.eq_ignore_ascii_case("host") {
        return Err(invalid(format!(
            "The HTTP header name '{name}' is not valid: at most {MAX_HEADER_NAME} characters of a header's name, no wildcard, and not 'Host', which has 'host-header'"
        )));
    }
    Ok(())
}

impl Condition {
    /// The conditions of a call.
    pub fn parse_all(params: &Params) -> Result<Vec<Self>, ApiError> {
        let conditions: Vec<Self> = params
            .structs("Conditions")
            .iter()
            .map(Self::parse)
            .collect::<Result<_, _>>()?;
        if conditions.is_empty() {
            return Err(ApiError::new(
                "ValidationError",
                "A condition must be specified",
            ));
        }
        let values: usize = conditions.iter().map(Self::values).sum();
        if values > MAX_VALUES {
            return Err(invalid(format!(
                "The conditions have {values} values; a rule may have {MAX_VALUES}"
            )));
        }
        Ok(conditions)
    }

    fn parse(params: &Params) -> Result<Self, ApiError> {
        let field = params.str("Field")?;
        let values = |config: &str| -> Result<Vec<String>, ApiError> {
            let mut values = params.list("Values");
            if let Some(config) = params.sub(config) {
                values.extend(config.list("Values"));
            }
            // DescribeRules gives a value in both places, and clients send back what they read.
            values.sort();
            values.dedup();
            match values.iter().find(|value| value.len() > 128) {
                _ if values.is_empty() => Err(invalid(format!(
                    "A condition on '{field}' must have a value"
                ))),
                Some(long) => Err(invalid(format!(
                    "The condition value '{long}' has more than 128 characters"
                ))),
                None => Ok(values),
            }
        };
        match field.as_str() {
            "host-header" => values("HostHeaderConfig").map(Self::Host),
            "path-pattern" => values("PathPatternConfig").map(Self::Path),
            "http-request-method" => values("HttpRequestMethodConfig").map(Self::Method),
            "http-header" => {
                let name = params
                    .sub("HttpHeaderConfig")
                    .ok_or_else(|| ApiError::missing("HttpHeaderConfig"))?
                    .str("HttpHeaderName")?;
                header_name(&name)?;
                let values = values("HttpHeaderConfig")?;
                Ok(Self::Header { name, values })
            }
            "source-ip" => values("SourceIpConfig")?
                .iter()
                .map(|block| {
                    block
                        .parse()
                        .map_err(|_| invalid(format!("'{block}' is not a valid CIDR block")))
                })
                .collect::<Result<_, _>>()
                .map(Self::SourceIp),
            "query-string" => {
                let pairs = params
                    .sub("QueryStringConfig")
                    .map(|config| config.structs("Values"))
                    .unwrap_or_default();
                if pairs.is_empty() {
                    return Err(invalid(
                        "A condition on 'query-string' must have a value".to_owned(),
                    ));
                }
                pairs
                    .iter()
                    .map(|pair| Ok((pair.opt("Key"), pair.str("Value")?)))
                    .collect::<Result<_, _>>()
                    .map(Self::Query)
            }
            other => Err(invalid(format!(
                "Condition field '{other}' must be one of [host-header, path-pattern, http-header, http-request-method, query-string, source-ip]"
            ))),
        }
    }

    fn values(&self) -> usize {
        match self {
            Self::Host(values)
            | Self::Path(values)
            | Self::Method(values)
            | Self::Header { values, .. } => values.len(),
            Self::Query(values) => values.len(),
            Self::SourceIp(values) => values.len(),
        }
    }

    /// Whether it holds.
    pub fn holds(&self, request: &Request<'_>) -> bool {
        match self {
            Self::Host(patterns) => any(patterns, |pattern| insensitive(pattern, request.host)),
            Self::Path(patterns) => {
                any(patterns, |pattern| wildcard::matches(pattern, request.path))
            }
            Self::Method(methods) => any(methods, |method| method == request.method),
            Self::Header { name, values } => request
                .headers
                .get_all(name.as_str())
                .iter()
                .filter_map(|value| value.to_str().ok())
                .any(|value| any(values, |pattern| insensitive(pattern, value))),
            Self::Query(pairs) => {
                let sent: Vec<(String, String)> = form_urlencoded::parse(request.query.as_bytes())
                    .into_owned()
                    .collect();
                pairs.iter().any(|(key, value)| {
                    sent.iter().any(|(sent_key, sent_value)| {
                        key.as_ref().is_none_or(|key| insensitive(key, sent_key))
                            && insensitive(value, sent_value)
                    })
                })
            }
            Self::SourceIp(blocks) => blocks.iter().any(|block| block.contains(&request.source)),
        }
    }

    /// The members of a `RuleCondition`.
    pub fn xml(&self) -> Xml {
        let list =
            |values: &[String]| Xml::new().list("Values", "member", values.iter().map(Xml::value));
        let both = |field: &str, config: &str, values: &[String]| {
            Xml::new()
                .text("Field", field)
                .then(list(values))
                .child(config, list(values))
        };
        match self {
            Self::Host(values) => both("host-header", "HostHeaderConfig", values),
            Self::Path(values) => both("path-pattern", "PathPatternConfig", values),
            Self::Method(values) => Xml::new()
                .text("Field", "http-request-method")
                .child("HttpRequestMethodConfig", list(values)),
            Self::Header { name, values } => Xml::new().text("Field", "http-header").child(
                "HttpHeaderConfig",
                Xml::new().text("HttpHeaderName", name).then(list(values)),
            ),
            Self::SourceIp(blocks) => Xml::new().text("Field", "source-ip").child(
                "SourceIpConfig",
                Xml::new().list("Values", "member", blocks.iter().map(Xml::value)),
            ),
            Self::Query(pairs) => Xml::new().text("Field", "query-string").child(
                "QueryStringConfig",
                Xml::new().list(
                    "Values",
                    "member",
                    pairs.iter().map(|(key, value)| {
                        Xml::new().opt("Key", key.as_ref()).text("Value", value)
                    }),
                ),
            ),
        }
    }
}

fn any(values: &[String], test: impl Fn(&str) -> bool) -> bool {
    values.iter().any(|value| test(value))
}

fn insensitive(pattern: &str, text: &str) -> bool {
    wildcard::matches(&pattern.to_ascii_lowercase(), &text.to_ascii_lowercase())
}

fn invalid(message: String) -> ApiError {
    ApiError::new("ValidationError", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_hold_for_their_part_of_the_request() {
        let mut headers = HeaderMap::new();
        headers.insert("x-color", "Green".parse().unwrap());
        let request = Request {
            host: "Chat.Example.com",
            path: "/api/v4/websocket",
            query: "version=2&x=y",
            method: "GET",
            headers: &headers,
            source: "127.32.0.9".parse().unwrap(),
        };
        let text = |values: &[&str]| values.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        for (condition, expected) in [
            (Condition::Host(text(&["chat.*"])), true),
            (Condition::Host(text(&["other.*"])), false),
            (Condition::Path(text(&["/nope", "/api/*"])), true),
            (Condition::Method(text(&["POST"])), false),
            (
                Condition::Header {
                    name: "X-Color".to_owned(),
                    values: text(&["gr*"]),
                },
                true,
            ),
            (
                Condition::Query(vec![(Some("version".to_owned()), "2".to_owned())]),
                true,
            ),
            (Condition::Query(vec![(None, "Y".to_owned())]), true),
            (
                Condition::Query(vec![(Some("z".to_owned()), "*".to_owned())]),
                false,
            ),
            (
                Condition::SourceIp(vec!["127.32.0.0/16".parse().unwrap()]),
                true,
            ),
            (
                Condition::SourceIp(vec!["10.0.0.0/8".parse().unwrap()]),
                false,
            ),
        ] {
            assert_eq!(condition.holds(&request), expected, "{condition:?}");
        }
    }
}

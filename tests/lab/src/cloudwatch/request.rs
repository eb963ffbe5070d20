//! Reading what CloudWatch's calls send.

use std::collections::BTreeMap;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::metrics::{MetricKey, Statistic};
use crate::api::{ApiError, Params};

/// The units of CloudWatch.
const UNITS: [&str; 27] = [
    "Seconds",
    "Microseconds",
    "Milliseconds",
    "Bytes",
    "Kilobytes",
    "Megabytes",
    "Gigabytes",
    "Terabytes",
    "Bits",
    "Kilobits",
    "Megabits",
    "Gigabits",
    "Terabits",
    "Percent",
    "Count",
    "Bytes/Second",
    "Kilobytes/Second",
    "Megabytes/Second",
    "Gigabytes/Second",
    "Terabytes/Second",
    "Bits/Second",
    "Kilobits/Second",
    "Megabits/Second",
    "Gigabits/Second",
    "Terabits/Second",
    "Count/Second",
    "None",
];

/// CloudWatch's `ValidationError`.
pub fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("ValidationError", message)
}

/// A required text.
pub fn required(params: &Params, name: &str) -> Result<String, ApiError> {
    params
        .opt(name)
        .filter(|text| !text.is_empty())
        .ok_or_else(|| {
            ApiError::new(
                "MissingParameter",
                format!("The parameter {name} is required."),
            )
        })
}

/// One word of a fixed set.
pub fn word<T: FromStr>(name: &str, text: &str, known: &str) -> Result<T, ApiError> {
    text.parse().map_err(|_| {
        invalid(format!(
            "The value {text} for parameter {name} is not valid; valid are: {known}"
        ))
    })
}

/// `Dimensions`: at most 30, each with name and value.
pub fn dimensions(params: &Params) -> Result<BTreeMap<String, String>, ApiError> {
    let mut found = BTreeMap::new();
    for entry in params.structs("Dimensions") {
        found.insert(required(&entry, "Name")?, required(&entry, "Value")?);
    }
    if found.len() > 30 {
        return Err(invalid("A metric can have at most 30 dimensions"));
    }
    Ok(found)
}

/// Namespace, name and dimensions.
pub fn metric(params: &Params) -> Result<MetricKey, ApiError> {
    Ok(MetricKey {
        namespace: required(params, "Namespace")?,
        name: required(params, "MetricName")?,
        dimensions: dimensions(params)?,
    })
}

/// A unit, when sent.
pub fn unit(params: &Params) -> Result<Option<String>, ApiError> {
    match params.opt("Unit") {
        Some(unit) if !UNITS.contains(&unit.as_str()) => Err(invalid(format!(
            "The value {unit} for parameter Unit is not valid"
        ))),
        unit => Ok(unit),
    }
}

/// A period: 1, 5, 10, 20, 30 or a multiple of 60 (lab) seconds.
pub fn period(seconds: i64) -> Result<i64, ApiError> {
    if [1, 5, 10, 20, 30].contains(&seconds) || (seconds > 0 && seconds % 60 == 0) {
        return Ok(seconds);
    }
    Err(ApiError::new(
        "InvalidParameterValue",
        format!(
            "The value {seconds} for parameter Period must be 1, 5, 10, 20, 30 or a multiple of 60."
        ),
    ))
}

/// A statistic by name.
pub fn statistic(name: &str, text: &str) -> Result<Statistic, ApiError> {
    Statistic::parse(text).ok_or_else(|| {
        ApiError::new(
            "InvalidParameterValue",
            format!(
                "The value {text} for parameter {name} is not supported; the lab knows SampleCount, Average, Sum, Minimum, Maximum and percentiles such as p95."
            ),
        )
    })
}

/// Where a page begins, from `NextToken`.
pub fn page_from(params: &Params) -> Result<usize, ApiError> {
    match params.opt("NextToken") {
        None => Ok(0),
        Some(token) => URL_SAFE_NO_PAD
            .decode(&token)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .and_then(|text| text.strip_prefix("from:")?.parse().ok())
            .ok_or_else(|| {
                ApiError::new(
                    "InvalidNextToken",
                    format!("The token {token} is not valid."),
                )
            }),
    }
}

/// The token of the page that begins there.
pub fn token(from: usize) -> String {
    URL_SAFE_NO_PAD.encode(format!("from:{from}"))
}

/// `MaxRecords` or its like, within bounds.
pub fn page_size(
    params: &Params,
    name: &str,
    default: usize,
    most: usize,
) -> Result<usize, ApiError> {
    match params.opt_int(name)? {
        None => Ok(default),
        Some(number) if (1..=most as i64).contains(&number) => Ok(number as usize),
        Some(number) => Err(invalid(format!(
            "The value {number} for parameter {name} must be from 1 to {most}"
        ))),
    }
}

/// One page of a list, with the token of the next.
pub fn cut<T>(entries: Vec<T>, from: usize, size: usize) -> (Vec<T>, Option<String>) {
    let end = from.saturating_add(size);
    let more = entries.len() > end;
    let page = entries.into_iter().skip(from).take(size).collect();
    (page, more.then(|| token(end)))
}

/// `Tags`.
pub fn tags(params: &Params) -> Result<BTreeMap<String, String>, ApiError> {
    params
        .structs("Tags")
        .iter()
        .map(|tag| Ok((required(tag, "Key")?, tag.opt("Value").unwrap_or_default())))
        .collect()
}

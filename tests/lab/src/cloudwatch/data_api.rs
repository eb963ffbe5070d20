//! Metrics in, and the list of what there is.

use std::sync::Arc;

use jiff::Timestamp;

use super::cbor::Map;
use super::metrics::{MetricKey, Sample};
use super::request::{self, cut, dimensions, invalid, page_from, required};
use crate::Lab;
use crate::api::{ApiError, Call, Params, Reply};

/// PutMetricData: "up to 1000 different metrics" in a request, "up to 150 values" in a datum.
const MAX_DATA: usize = 1000;
const MAX_VALUES: usize = 150;
/// ListMetrics answers at most 500 at a time.
const LIST_PAGE: usize = 500;

/// `PutMetricData`.
pub fn put(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let namespace = required(&call.params, "Namespace")?;
    if namespace.starts_with("AWS/") {
        return Err(ApiError::new(
            "InvalidParameterValue",
            "The value AWS/ for parameter Namespace is invalid.",
        ));
    }
    let data = call.params.structs("MetricData");
    if data.is_empty() {
        return Err(ApiError::new(
            "MissingParameter",
            "The parameter MetricData is required.",
        ));
    }
    if data.len() > MAX_DATA {
        return Err(invalid(format!(
            "MetricData can have at most {MAX_DATA} members"
        )));
    }
    let now = lab.clock.now();
    let mut samples = Vec::new();
    for datum in &data {
        let key = MetricKey {
            namespace: namespace.clone(),
            name: required(datum, "MetricName")?,
            dimensions: dimensions(datum)?,
        };
        let at = datum.opt_time("Timestamp")?.unwrap_or(now);
        let unit = request::unit(datum)?.unwrap_or_else(|| "None".to_owned());
        datum.accept(&["StorageResolution"]);
        samples.push((key, unit, datum_samples(datum, at)?));
    }
    call.params.finish()?;
    lab.cloudwatch.region(&call.region, |regional| {
        for (key, unit, samples) in samples {
            let series = regional.series.entry(key).or_default();
            for sample in samples {
                series.push(sample, &unit);
            }
        }
    });
    Ok(Map::new().into())
}

/// A datum is a value, a set of values with counts, or a statistic set: exactly one of them.
fn datum_samples(datum: &Params, at: Timestamp) -> Result<Vec<Sample>, ApiError> {
    let combination = |text: &str| ApiError::new("InvalidParameterCombination", text);
    let number = |text: &str| -> Result<f64, ApiError> {
        text.parse::<f64>()
            .ok()
            .filter(|value| value.is_finite())
            .ok_or_else(|| {
                ApiError::new(
                    "InvalidParameterValue",
                    format!("The value {text} for parameter Value is not a finite number."),
                )
            })
    };
    let value = datum.opt("Value");
    let values = datum.list("Values");
    let counts = datum.list("Counts");
    let set = datum.sub("StatisticValues");
    let kinds =
        usize::from(value.is_some()) + usize::from(!values.is_empty()) + usize::from(set.is_some());
    if kinds != 1 {
        return Err(combination(
            "Exactly one of the parameters Value, Values and StatisticValues must be specified.",
        ));
    }
    if let Some(value) = value {
        return Ok(vec![Sample::of(at, number(&value)?)]);
    }
    if let Some(set) = set {
        let part = |name: &str| number(&required(&set, name)?);
        let sample = Sample {
            at,
            count: part("SampleCount")?,
            sum: part("Sum")?,
            min: part("Minimum")?,
            max: part("Maximum")?,
        };
        if sample.count <= 0.0 || sample.min > sample.max {
            return Err(combination(
                "StatisticValues must have a SampleCount above 0 and a Minimum not above the Maximum.",
            ));
        }
        return Ok(vec![sample]);
    }
    if values.len() > MAX_VALUES || (!counts.is_empty() && counts.len() != values.len()) {
        return Err(combination(
            "The parameters Values and Counts must have the same length, at most 150.",
        ));
    }
    values
        .iter()
        .enumerate()
        .map(|(index, text)| {
            let value = number(text)?;
            let count = counts.get(index).map_or(Ok(1.0), |count| number(count))?;
            Ok(Sample {
                at,
                count,
                sum: value * count,
                min: value,
                max: value,
            })
        })
        .collect()
}

/// `ListMetrics`.
pub fn list(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let (namespace, name) = (p.opt("Namespace"), p.opt("MetricName"));
    let wanted = p
        .structs("Dimensions")
        .iter()
        .map(|entry| Ok((required(entry, "Name")?, entry.opt("Value"))))
        .collect::<Result<Vec<_>, ApiError>>()?;
    let recent = match p.opt("RecentlyActive").as_deref() {
        None => None,
        Some("PT3H") => Some(lab.clock.real(std::time::Duration::from_hours(3))),
        Some(other) => {
            return Err(invalid(format!(
                "The value {other} for parameter RecentlyActive is not valid; the only one is PT3H"
            )));
        }
    };
    p.accept(&["IncludeLinkedAccounts"]);
    let from = page_from(p)?;
    p.finish()?;
    let now = lab.clock.now();
    let found = lab.cloudwatch.region(&call.region, |regional| {
        regional
            .series
            .iter()
            .filter(|(key, series)| {
                namespace
                    .as_ref()
                    .is_none_or(|namespace| *namespace == key.namespace)
                    && name.as_ref().is_none_or(|name| *name == key.name)
                    && wanted.iter().all(|(name, value)| {
                        key.dimensions
                            .get(name)
                            .is_some_and(|own| value.as_ref().is_none_or(|value| value == own))
                    })
                    && recent.is_none_or(|recent| {
                        series.latest().is_some_and(|at| {
                            std::time::Duration::try_from(now.duration_since(at))
                                .is_ok_and(|age| age <= recent)
                        })
                    })
            })
            .map(|(key, _)| {
                Map::new()
                    .put("Namespace", key.namespace.as_str())
                    .put("MetricName", key.name.as_str())
                    .list(
                        "Dimensions",
                        key.dimensions.iter().map(|(name, value)| {
                            Map::new()
                                .put("Name", name.as_str())
                                .put("Value", value.as_str())
                        }),
                    )
            })
            .collect::<Vec<_>>()
    });
    let (page, next) = cut(found, from, LIST_PAGE);
    Ok(Map::new()
        .list("Metrics", page)
        .opt("NextToken", next)
        .into())
}

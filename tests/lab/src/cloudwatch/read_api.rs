//! Metrics out.

use std::sync::Arc;

use ciborium::Value;
use jiff::Timestamp;

use super::cbor::{Map, time};
use super::metrics::{MetricKey, Statistic, bucket_of, start_of};
use super::request::{self, invalid, metric, page_from, page_size, required, statistic, token};
use crate::Lab;
use crate::api::{ApiError, Call, Params, Reply};

/// Data points that GetMetricData answers at once at most, and unless told otherwise.
const MAX_POINTS: usize = 100_800;
/// Queries of one GetMetricData.
const MAX_QUERIES: usize = 500;
/// Data points that GetMetricStatistics answers at most.
const MAX_STATISTICS_POINTS: usize = 1440;

fn span(p: &Params) -> Result<(Timestamp, Timestamp), ApiError> {
    let moment = |name: &str| {
        p.opt_time(name)?.ok_or_else(|| {
            ApiError::new(
                "MissingParameter",
                format!("The parameter {name} is required."),
            )
        })
    };
    let (start, end) = (moment("StartTime")?, moment("EndTime")?);
    if start >= end {
        return Err(invalid(
            "The parameter StartTime must be less than the parameter EndTime.",
        ));
    }
    Ok((start, end))
}

struct Query {
    id: String,
    key: MetricKey,
    statistic: Statistic,
    period: i64,
    unit: Option<String>,
    label: Option<String>,
    shown: bool,
}

fn queries(p: &Params) -> Result<Vec<Query>, ApiError> {
    let sent = p.structs("MetricDataQueries");
    if sent.is_empty() || sent.len() > MAX_QUERIES {
        return Err(invalid(format!(
            "MetricDataQueries must have from 1 to {MAX_QUERIES} members"
        )));
    }
    let mut parsed: Vec<Query> = Vec::new();
    for query in &sent {
        let id = required(query, "Id")?;
        let fits = id.starts_with(|first: char| first.is_ascii_lowercase())
            && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !fits {
            return Err(invalid(format!(
                "The value {id} for parameter MetricDataQueries.Id must begin with a lowercase letter and have letters, digits and underscores only"
            )));
        }
        if parsed.iter().any(|other| other.id == id) {
            return Err(invalid(format!(
                "The values for parameter id in MetricDataQueries are not unique: {id}"
            )));
        }
        if query.has("Expression") {
            return Err(invalid(format!(
                "Error in expression '{id}': metric math is not implemented by the lab; ask for a MetricStat"
            )));
        }
        let stat = query.sub("MetricStat").ok_or_else(|| {
            invalid(format!(
                "MetricDataQueries `{id}` must have a MetricStat or an Expression"
            ))
        })?;
        let of = stat
            .sub("Metric")
            .ok_or_else(|| invalid(format!("MetricDataQueries `{id}` must have a Metric")))?;
        let period = stat.opt_int("Period")?.ok_or_else(|| {
            ApiError::new("MissingParameter", "The parameter Period is required.")
        })?;
        parsed.push(Query {
            key: metric(&of)?,
            statistic: statistic("MetricStat.Stat", &required(&stat, "Stat")?)?,
            period: request::period(period)?,
            unit: request::unit(&stat)?,
            label: query.opt("Label"),
            shown: query.opt_bool("ReturnData")?.unwrap_or(true),
            id,
        });
    }
    Ok(parsed)
}

/// The points of a query between two moments, oldest first.
fn points(
    lab: &Lab,
    region: &str,
    query: &Query,
    (start, end): (Timestamp, Timestamp),
) -> Vec<(Timestamp, f64)> {
    let bucket = query.period as f64 / lab.clock.speed();
    let from = bucket_of(start, bucket);
    // The bucket that begins exactly at the end is not part of it.
    let last = bucket_of(end, bucket);
    let to = if start_of(last, bucket) < end {
        last + 1
    } else {
        last
    };
    lab.cloudwatch.region(region, |regional| {
        let Some(series) = regional.series.get(&query.key) else {
            return Vec::new();
        };
        if query.unit.as_ref().is_some_and(|unit| *unit != series.unit) {
            return Vec::new();
        }
        series
            .buckets(bucket, from, to)
            .into_iter()
            .filter_map(|(index, samples)| {
                Some((start_of(index, bucket), query.statistic.of(&samples)?))
            })
            .collect()
    })
}

/// `GetMetricData`. The token counts the points already answered, over all queries in their order.
pub fn data(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let queries = queries(p)?;
    let span = span(p)?;
    let descending = match p.opt("ScanBy").as_deref() {
        None | Some("TimestampDescending") => true,
        Some("TimestampAscending") => false,
        Some(other) => {
            return Err(invalid(format!(
                "The value {other} for parameter ScanBy is not valid; valid are: TimestampDescending, TimestampAscending"
            )));
        }
    };
    let size = page_size(p, "MaxDatapoints", MAX_POINTS, MAX_POINTS)?;
    let from = page_from(p)?;
    if let Some(options) = p.sub("LabelOptions") {
        options.accept(&["Timezone"]);
    }
    p.finish()?;
    let mut skip = from;
    let mut room = size;
    let mut more = false;
    let mut results = Vec::new();
    for query in queries.iter().filter(|query| query.shown) {
        let mut found = points(lab, &call.region, query, span);
        if descending {
            found.reverse();
        }
        let skipped = skip.min(found.len());
        skip -= skipped;
        let rest = found.len() - skipped;
        let taken: Vec<_> = found.into_iter().skip(skipped).take(room).collect();
        room -= taken.len();
        let partial = taken.len() < rest;
        more |= partial;
        let label = query.label.as_deref().unwrap_or(&query.key.name);
        results.push(
            Map::new()
                .put("Id", query.id.as_str())
                .put("Label", label)
                .list("Timestamps", taken.iter().map(|(at, _)| time(*at)))
                .list("Values", taken.iter().map(|(_, value)| *value))
                .put(
                    "StatusCode",
                    if partial { "PartialData" } else { "Complete" },
                ),
        );
    }
    Ok(Map::new()
        .list("MetricDataResults", results)
        .list("Messages", Vec::<Value>::new())
        .opt("NextToken", more.then(|| token(from + size)))
        .into())
}

/// `GetMetricStatistics`.
pub fn statistics(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let key = metric(p)?;
    let span = span(p)?;
    let period =
        request::period(p.opt_int("Period")?.ok_or_else(|| {
            ApiError::new("MissingParameter", "The parameter Period is required.")
        })?)?;
    let unit = request::unit(p)?;
    let (plain, extended) = (p.list("Statistics"), p.list("ExtendedStatistics"));
    if plain.is_empty() && extended.is_empty() {
        return Err(ApiError::new(
            "InvalidParameterCombination",
            "At least one of the parameters Statistics and ExtendedStatistics must be specified.",
        ));
    }
    let parse = |names: &[String], parameter: &str| {
        names
            .iter()
            .map(|name| Ok((name.clone(), statistic(parameter, name)?)))
            .collect::<Result<Vec<_>, ApiError>>()
    };
    let (plain, extended) = (
        parse(&plain, "Statistics")?,
        parse(&extended, "ExtendedStatistics")?,
    );
    p.finish()?;
    let unit_shown = lab.cloudwatch.region(&call.region, |regional| {
        regional.series.get(&key).map(|series| series.unit.clone())
    });
    let mut query = Query {
        id: String::new(),
        key,
        statistic: Statistic::SampleCount,
        period,
        unit,
        label: None,
        shown: true,
    };
    let times: Vec<Timestamp> = points(lab, &call.region, &query, span)
        .into_iter()
        .map(|(at, _)| at)
        .collect();
    if times.len() > MAX_STATISTICS_POINTS {
        return Err(ApiError::new(
            "InvalidParameterCombination",
            format!(
                "You have requested up to {} datapoints, which exceeds the limit of {MAX_STATISTICS_POINTS}. You may reduce the datapoints requested by increasing Period, or decreasing the time range.",
                times.len()
            ),
        ));
    }
    let mut columns = |named: &[(String, Statistic)]| {
        named
            .iter()
            .map(|(name, statistic)| {
                query.statistic = *statistic;
                let column: std::collections::BTreeMap<_, _> =
                    points(lab, &call.region, &query, span)
                        .into_iter()
                        .collect();
                (name.clone(), column)
            })
            .collect::<Vec<_>>()
    };
    let (plain, extended) = (columns(&plain), columns(&extended));
    let unit = unit_shown.unwrap_or_else(|| "None".to_owned());
    let rows = times.iter().map(|at| {
        let mut row = Map::new().time("Timestamp", *at).put("Unit", unit.as_str());
        for (name, column) in &plain {
            row = row.opt(name, column.get(at).copied());
        }
        if !extended.is_empty() {
            let mut inner = Map::new();
            for (name, column) in &extended {
                inner = inner.opt(name, column.get(at).copied());
            }
            row = row.put("ExtendedStatistics", inner);
        }
        row
    });
    Ok(Map::new()
        .put("Label", query.key.name.as_str())
        .list("Datapoints", rows)
        .into())
}

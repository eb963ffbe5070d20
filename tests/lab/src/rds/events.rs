//! Events, as `DescribeEvents` tells them: what a person reads when something is odd.

use std::time::Duration;

use super::model::{Event, Region};
use super::page;
use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};

/// RDS keeps events for 14 days (DescribeEvents); this many are more than a lab makes in that time.
const KEPT: usize = 10_000;
/// Without a time range `DescribeEvents` looks back this many minutes.
const DEFAULT_MINUTES: i64 = 60;

/// Records an event of an instance.
pub fn instance(
    lab: &Lab,
    region: &str,
    id: &str,
    categories: &[&'static str],
    message: impl Into<String>,
) {
    record(
        lab,
        region,
        ("db-instance", "db"),
        id,
        categories,
        message.into(),
    );
}

/// Records an event of a snapshot.
pub fn snapshot(
    lab: &Lab,
    region: &str,
    id: &str,
    categories: &[&'static str],
    message: impl Into<String>,
) {
    record(
        lab,
        region,
        ("db-snapshot", "snapshot"),
        id,
        categories,
        message.into(),
    );
}

/// Records an event of a parameter group.
pub fn parameter_group(lab: &Lab, region: &str, name: &str, message: impl Into<String>) {
    let categories = &["configuration change"];
    record(
        lab,
        region,
        ("db-parameter-group", "pg"),
        name,
        categories,
        message.into(),
    );
}

fn record(
    lab: &Lab,
    region: &str,
    (source_type, resource): (&'static str, &str),
    source: &str,
    categories: &[&'static str],
    message: String,
) {
    log::info!("{region} {source_type} {source}: {message}");
    let event = Event {
        at: lab.clock.now(),
        source_type,
        source: source.to_owned(),
        arn: super::arn(region, resource, source),
        categories: categories.to_vec(),
        message,
    };
    lab.rds.with(region, |state: &mut Region| {
        if state.events.len() == KEPT {
            state.events.pop_front();
        }
        state.events.push_back(event);
    });
}

/// `DescribeEvents`.
pub fn describe(lab: &Lab, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let source = p.opt("SourceIdentifier");
    let source_type = p.opt("SourceType");
    let categories = p.list("EventCategories");
    let now = lab.clock.now();
    let (start, end) = (p.opt_time("StartTime")?, p.opt_time("EndTime")?);
    let minutes = p.opt_int("Duration")?;
    super::refuse_filters(p, &[])?;
    let paging = page::Request::read(p)?;
    p.finish()?;
    if source.is_some() && source_type.is_none() {
        return Err(ApiError::new(
            "InvalidParameterCombination",
            "If SourceIdentifier is supplied, SourceType must also be provided.",
        ));
    }
    if let Some(kind) = &source_type
        && !["db-instance", "db-snapshot", "db-parameter-group"].contains(&kind.as_str())
    {
        return Err(ApiError::invalid_value(
            "SourceType",
            kind,
            "The lab has db-instance, db-snapshot and db-parameter-group.",
        ));
    }
    let span = |minutes: i64| Duration::from_secs(minutes.max(0).unsigned_abs() * 60);
    let start = start.unwrap_or_else(|| {
        let back = span(minutes.unwrap_or(DEFAULT_MINUTES));
        end.unwrap_or(now).checked_sub(back).unwrap_or(now)
    });
    let end = end.unwrap_or(now);
    let events: Vec<Event> = lab.rds.with(&call.region, |state| {
        state
            .events
            .iter()
            .filter(|event| event.at >= start && event.at <= end)
            .filter(|event| {
                source_type
                    .as_deref()
                    .is_none_or(|kind| kind == event.source_type)
            })
            .filter(|event| source.as_deref().is_none_or(|id| id == event.source))
            .filter(|event| {
                categories.is_empty()
                    || event
                        .categories
                        .iter()
                        .any(|category| categories.iter().any(|wanted| wanted == category))
            })
            .cloned()
            .collect()
    });
    let (shown, marker) = paging.cut(events);
    Ok(Xml::new()
        .opt("Marker", marker)
        .list(
            "Events",
            "Event",
            shown.into_iter().map(|event| {
                Xml::new()
                    .text("SourceIdentifier", event.source)
                    .text("SourceType", event.source_type)
                    .text("Message", event.message)
                    .list(
                        "EventCategories",
                        "EventCategory",
                        event.categories.into_iter().map(Xml::value),
                    )
                    .time("Date", event.at)
                    .text("SourceArn", event.arn)
            }),
        )
        .into())
}

//! `DescribeDBParameters`: every parameter, and where its value comes from.

use super::page;
use super::parameter_groups::{ensure_default, missing};
use super::parameters::Specification;
use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};

/// `DescribeDBParameters`.
pub async fn describe(lab: &Lab, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let name = p.str("DBParameterGroupName")?.to_ascii_lowercase();
    let source = p.opt("Source");
    let filters = super::refuse_filters(p, &["parameter-name"])?;
    let paging = page::Request::read(p)?;
    p.finish()?;
    if let Some(source) = &source
        && !["user", "system", "engine-default"].contains(&source.as_str())
    {
        return Err(ApiError::invalid_value(
            "Source",
            source,
            "Valid values are user, system and engine-default.",
        ));
    }
    let engine = lab.rds.engine(lab).await?;
    ensure_default(lab, &engine, &call.region);
    let values = lab
        .rds
        .with(&call.region, |state| {
            state
                .parameter_groups
                .get(&name)
                .map(|group| group.values.clone())
        })
        .ok_or_else(|| missing(&name))?;
    let all: Vec<(&str, Xml)> = engine
        .specifications
        .iter()
        .filter(|known| filters.iter().all(|(_, names)| names.contains(&known.name)))
        .map(|known| shown(known, values.get(&known.name)))
        .filter(|(from, _)| source.as_deref().is_none_or(|wanted| wanted == *from))
        .collect();
    let (shown, marker) = paging.cut(all);
    Ok(Xml::new()
        .list(
            "Parameters",
            "Parameter",
            shown.into_iter().map(|(_, xml)| xml),
        )
        .opt("Marker", marker)
        .into())
}

/// A parameter and where its value comes from.
fn shown(known: &Specification, set: Option<&(String, String)>) -> (&'static str, Xml) {
    let (source, value) = match (set, known.system_value) {
        // Set to what the family has anyway: RDS does not call that a user's value.
        (Some((value, _)), Some(default)) if value == default => ("system", Some(default)),
        (Some((value, _)), _) => ("user", Some(value.as_str())),
        (None, Some(value)) => ("system", Some(value)),
        (None, None) => ("engine-default", None),
    };
    let allowed = Some(known.allowed.as_str()).filter(|allowed| !allowed.is_empty());
    let method = set.map_or("pending-reboot", |(_, method)| method);
    let xml = Xml::new()
        .text("ParameterName", &known.name)
        .opt("ParameterValue", value)
        .text("Description", &known.description)
        .text("Source", source)
        .text(
            "ApplyType",
            if known.is_static { "static" } else { "dynamic" },
        )
        .text("DataType", known.data_type)
        .opt("AllowedValues", allowed)
        .text("IsModifiable", known.modifiable)
        .text("ApplyMethod", method);
    (source, xml)
}

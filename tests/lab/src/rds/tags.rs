//! Tags of instances, snapshots and groups, by ARN.

use super::model::{Region, Tags};
use super::{not_found, render};
use crate::Lab;
use crate::api::{ApiError, Call, Params, Reply, Xml};
use crate::iam::ACCOUNT;

/// Reads `Tags`.
pub fn read(params: &Params) -> Result<Tags, ApiError> {
    params
        .structs("Tags")
        .iter()
        .map(|tag| {
            let key = tag.str("Key")?;
            if key.starts_with("aws:") || key.is_empty() || key.len() > 128 {
                return Err(ApiError::new(
                    "InvalidParameterValue",
                    format!("Invalid tag key: `{key}`: it has 1 to 128 characters and does not begin with `aws:`"),
                ));
            }
            Ok((key, tag.opt("Value").unwrap_or_default()))
        })
        .collect()
}

/// The tags of what an ARN names, for policies; none when it does not exist.
pub(crate) fn tags_by_arn(lab: &Lab, region: &str, arn: &str) -> Tags {
    lab.rds.with(region, |state| {
        of(state, region, arn)
            .map(|tags| tags.clone())
            .unwrap_or_default()
    })
}

/// The tags of the resource that an ARN names.
fn of<'a>(state: &'a mut Region, region: &str, arn: &str) -> Result<&'a mut Tags, ApiError> {
    let prefix = format!("arn:aws:rds:{region}:{ACCOUNT}:");
    let (kind, name) = arn
        .strip_prefix(&prefix)
        .and_then(|rest| rest.split_once(':'))
        .ok_or_else(|| {
            ApiError::new(
                "InvalidParameterValue",
                format!("Invalid resource name: {arn}; it must begin with {prefix}"),
            )
        })?;
    let missing = |code: &str, what: &str| not_found(code, &format!("{what} {name} not found."));
    match kind {
        "db" => state
            .instances
            .get_mut(name)
            .map(|instance| &mut instance.tags)
            .ok_or_else(|| missing("DBInstanceNotFound", "DBInstance")),
        "snapshot" => state
            .snapshots
            .get_mut(name)
            .map(|snapshot| &mut snapshot.tags)
            .ok_or_else(|| missing("DBSnapshotNotFound", "DBSnapshot")),
        "subgrp" => state
            .subnet_groups
            .get_mut(name)
            .map(|group| &mut group.tags)
            .ok_or_else(|| missing("DBSubnetGroupNotFoundFault", "DBSubnetGroup")),
        "pg" => state
            .parameter_groups
            .get_mut(name)
            .map(|group| &mut group.tags)
            .ok_or_else(|| missing("DBParameterGroupNotFound", "DBParameterGroup")),
        _ => Err(ApiError::new(
            "InvalidParameterValue",
            format!("Invalid resource name: {arn}: the lab has db, snapshot, subgrp and pg"),
        )),
    }
}

/// `AddTagsToResource`.
pub fn add(lab: &Lab, call: &Call) -> Result<Reply, ApiError> {
    let arn = call.params.str("ResourceName")?;
    let tags = read(&call.params)?;
    call.params.finish()?;
    lab.rds.with(&call.region, |state| {
        let known = of(state, &call.region, &arn)?;
        for (key, value) in tags {
            known.retain(|(old, _)| *old != key);
            known.push((key, value));
        }
        Ok(Xml::new().into())
    })
}

/// `RemoveTagsFromResource`.
pub fn remove(lab: &Lab, call: &Call) -> Result<Reply, ApiError> {
    let arn = call.params.str("ResourceName")?;
    let keys = call.params.list("TagKeys");
    call.params.finish()?;
    lab.rds.with(&call.region, |state| {
        of(state, &call.region, &arn)?.retain(|(key, _)| !keys.contains(key));
        Ok(Xml::new().into())
    })
}

/// `ListTagsForResource`.
pub fn list(lab: &Lab, call: &Call) -> Result<Reply, ApiError> {
    let arn = call.params.str("ResourceName")?;
    super::refuse_filters(&call.params, &[])?;
    call.params.finish()?;
    lab.rds.with(&call.region, |state| {
        of(state, &call.region, &arn).map(|tags| render::tags(Xml::new(), tags).into())
    })
}

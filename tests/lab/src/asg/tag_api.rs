//! Tags of groups. Changing one does not touch running instances; later launches get it.

use std::sync::Arc;

use super::group_api::tag_xml;
use super::model::Tag;
use super::page::{Page, filters};
use super::parse::{self, invalid};
use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};

/// AWS's quota of tags on a resource.
const MAX_TAGS: usize = 50;

fn entries(call: &Call) -> Result<Vec<(String, String, Tag)>, ApiError> {
    let entries = call
        .params
        .structs("Tags")
        .iter()
        .map(|entry| {
            let (group, key, tag) = parse::tag(entry)?;
            let group = group.ok_or_else(|| {
                invalid(format!(
                    "Tag `{key}`: ResourceId (the group's name) must be specified"
                ))
            })?;
            Ok((group, key, tag))
        })
        .collect::<Result<Vec<_>, ApiError>>()?;
    call.params.finish()?;
    if entries.is_empty() {
        return Err(invalid("At least one Tag must be specified"));
    }
    Ok(entries)
}

/// `CreateOrUpdateTags`: all or nothing.
pub fn put(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let entries = entries(call)?;
    let mut state = lab.asg.lock();
    for (group, key, _) in &entries {
        let found = state
            .groups
            .get(&(call.region.clone(), group.clone()))
            .ok_or_else(|| parse::no_group(group))?;
        if found.tags.len() >= MAX_TAGS && !found.tags.contains_key(key) {
            return Err(ApiError::new(
                "LimitExceeded",
                format!("Group {group} has {MAX_TAGS} tags already"),
            ));
        }
    }
    for (group, key, tag) in entries {
        if let Some(group) = state.groups.get_mut(&(call.region.clone(), group)) {
            group.tags.insert(key, tag);
        }
    }
    Ok(Xml::new().into())
}

/// `DeleteTags`.
pub fn delete(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let entries = entries(call)?;
    let mut state = lab.asg.lock();
    for (group, key, _) in entries {
        state
            .groups
            .get_mut(&(call.region.clone(), group.clone()))
            .ok_or_else(|| parse::no_group(&group))?
            .tags
            .remove(&key);
    }
    Ok(Xml::new().into())
}

/// `DescribeTags`.
pub fn describe(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let wanted = filters(
        &call.params,
        &["auto-scaling-group", "key", "value", "propagate-at-launch"],
    )?;
    let page = Page::parse(&call.params, 50, 100)?;
    call.params.finish()?;
    let state = lab.asg.lock();
    let found: Vec<Xml> = state
        .groups
        .iter()
        .filter(|((region, _), _)| *region == call.region)
        .flat_map(|((_, name), group)| group.tags.iter().map(move |(key, tag)| (name, key, tag)))
        .filter(|(group, key, tag)| {
            wanted.iter().all(|(filter, values)| {
                let text = match filter.as_str() {
                    "auto-scaling-group" => (*group).clone(),
                    "key" => (*key).clone(),
                    "value" => tag.value.clone(),
                    _ => tag.propagate.to_string(),
                };
                values.contains(&text)
            })
        })
        .map(|(group, key, tag)| tag_xml(group, key, tag))
        .collect();
    let (found, token) = page.cut(found);
    Ok(Xml::new()
        .list("Tags", "member", found)
        .opt("NextToken", token)
        .into())
}

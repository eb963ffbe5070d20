//! DB parameter groups, and how a change reaches the servers that run with one.
//!
//! A dynamic parameter with `immediate` is in the server within seconds (`applying`, then
//! `in-sync`); a static one, or `pending-reboot`, waits for the next restart.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::engine::Engine;
use super::model::{Instance, ParameterGroup};
use super::parameters::Specification;
use super::{bad_combination, events, lifecycle, names, nodes, not_found, page, render, tags};
use crate::Lab;
use crate::api::{ApiError, Call, Params, Reply, Xml};

/// A dynamic change reaches the server within this.
const APPLYING: Duration = Duration::from_secs(20);
/// "A maximum of 20 parameters can be modified in a single request."
const MOST_PARAMETERS: usize = 20;

/// No group of that name.
pub fn missing(name: &str) -> ApiError {
    not_found(
        "DBParameterGroupNotFound",
        &format!("DBParameterGroup not found: {name}"),
    )
}

/// The default group of the installed engine exists from the beginning.
pub fn ensure_default(lab: &Lab, engine: &Engine, region: &str) {
    let family = format!("postgres{}", engine.major);
    let name = format!("default.{family}");
    lab.rds.with(region, |state| {
        state
            .parameter_groups
            .entry(name.clone())
            .or_insert_with(|| ParameterGroup {
                name,
                description: format!("Default parameter group for {family}"),
                family,
                values: BTreeMap::new(),
                tags: Vec::new(),
            });
    });
}

/// `CreateDBParameterGroup`.
pub async fn create(lab: &Lab, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let name = names::identifier("DBParameterGroupName", &p.str("DBParameterGroupName")?)?;
    let family = p.str("DBParameterGroupFamily")?;
    let description = p.str("Description")?;
    let tags = tags::read(p)?;
    p.finish()?;
    let engine = lab.rds.engine(lab).await?;
    if family != format!("postgres{}", engine.major) {
        return Err(ApiError::new(
            "InvalidParameterValue",
            format!(
                "ParameterGroupFamily {family} is not a valid parameter group family; the lab has postgres{}.",
                engine.major
            ),
        ));
    }
    let group = ParameterGroup {
        name: name.clone(),
        family,
        description,
        values: BTreeMap::new(),
        tags,
    };
    let xml = render::parameter_group(&call.region, &group);
    lab.rds.with(&call.region, |state| {
        if state.parameter_groups.contains_key(&name) {
            return Err(ApiError::new(
                "DBParameterGroupAlreadyExists",
                format!("Parameter group {name} already exists"),
            ));
        }
        state.parameter_groups.insert(name, group);
        Ok(())
    })?;
    Ok(Xml::new().child("DBParameterGroup", xml).into())
}

fn own_group(call: &Call) -> Result<String, ApiError> {
    let name = call
        .params
        .str("DBParameterGroupName")?
        .to_ascii_lowercase();
    if name.starts_with("default.") {
        return Err(ApiError::new(
            "InvalidDBParameterGroupState",
            format!("Default parameter groups cannot be modified or deleted: {name}"),
        ));
    }
    Ok(name)
}

/// One parameter of a request: its specification, value and apply method.
fn parameter<'a>(
    engine: &'a Engine,
    p: &Params,
    with_value: bool,
) -> Result<(&'a Specification, String, String), ApiError> {
    let name = p.str("ParameterName")?;
    let value = if with_value {
        p.str("ParameterValue")?
    } else {
        p.opt("ParameterValue").unwrap_or_default()
    };
    let method = p
        .opt("ApplyMethod")
        .unwrap_or_else(|| "pending-reboot".to_owned());
    let specification = engine
        .specifications
        .iter()
        .find(|known| known.name == name)
        .ok_or_else(|| {
            ApiError::new(
                "InvalidParameterValue",
                format!("Could not find parameter with name: {name}"),
            )
        })?;
    if !specification.modifiable {
        return Err(ApiError::new(
            "InvalidParameterValue",
            format!("The parameter {name} cannot be modified."),
        ));
    }
    if !matches!(method.as_str(), "immediate" | "pending-reboot") {
        return Err(ApiError::new(
            "InvalidParameterValue",
            format!(
                "Invalid ApplyMethod: {method}. Valid values are immediate and pending-reboot."
            ),
        ));
    }
    if specification.is_static && method == "immediate" {
        return Err(bad_combination(format!(
            "cannot use immediate apply method for static parameter {name}"
        )));
    }
    if with_value {
        specification.check(&value)?;
    }
    Ok((specification, value, method))
}

/// `ModifyDBParameterGroup`.
pub async fn modify(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let name = own_group(call)?;
    let engine = lab.rds.engine(lab).await?;
    let wanted = call
        .params
        .structs("Parameters")
        .iter()
        .map(|p| {
            parameter(&engine, p, true).map(|(s, value, method)| (s.name.clone(), value, method))
        })
        .collect::<Result<Vec<_>, _>>()?;
    call.params.finish()?;
    if wanted.is_empty() || wanted.len() > MOST_PARAMETERS {
        return Err(ApiError::new(
            "InvalidParameterValue",
            format!(
                "Between 1 and {MOST_PARAMETERS} parameters can be modified in a single request, not {}.",
                wanted.len()
            ),
        ));
    }
    lab.rds.with(&call.region, |state| {
        let group = state
            .parameter_groups
            .get_mut(&name)
            .ok_or_else(|| missing(&name))?;
        for (parameter, value, method) in &wanted {
            group
                .values
                .insert(parameter.clone(), (value.clone(), method.clone()));
        }
        Ok(())
    })?;
    for (parameter, value, method) in &wanted {
        let message =
            format!("Updated parameter {parameter} to {value} with apply method {method}");
        events::parameter_group(lab, &call.region, &name, message);
    }
    let waits = wanted
        .iter()
        .any(|(_, _, method)| method == "pending-reboot");
    let now = wanted.iter().any(|(_, _, method)| method == "immediate");
    spread(lab, &engine, &call.region, &name, now, waits);
    Ok(Xml::new().text("DBParameterGroupName", &name).into())
}

/// `ResetDBParameterGroup`.
pub async fn reset(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let name = own_group(call)?;
    let engine = lab.rds.engine(lab).await?;
    let all = call.params.opt_bool("ResetAllParameters")?.unwrap_or(false);
    let wanted = call
        .params
        .structs("Parameters")
        .iter()
        .map(|p| parameter(&engine, p, false).map(|(s, _, method)| (s.name.clone(), method)))
        .collect::<Result<Vec<_>, _>>()?;
    call.params.finish()?;
    if all != wanted.is_empty() {
        return Err(bad_combination(
            "Either ResetAllParameters or a list of parameters must be given.",
        ));
    }
    let reset = lab.rds.with(&call.region, |state| {
        let group = state
            .parameter_groups
            .get_mut(&name)
            .ok_or_else(|| missing(&name))?;
        if all {
            return Ok(std::mem::take(&mut group.values).into_keys().collect());
        }
        for (parameter, _) in &wanted {
            group.values.remove(parameter);
        }
        Ok(wanted
            .iter()
            .map(|(name, _)| name.clone())
            .collect::<Vec<_>>())
    })?;
    let is_static = |name: &String| {
        engine
            .specifications
            .iter()
            .any(|known| known.name == *name && known.is_static)
    };
    let waits = reset.iter().any(is_static) || wanted.iter().any(|(_, m)| m == "pending-reboot");
    let now = reset.iter().any(|name| !is_static(name));
    events::parameter_group(
        lab,
        &call.region,
        &name,
        "Reset parameters to their defaults",
    );
    spread(lab, &engine, &call.region, &name, now, waits);
    Ok(Xml::new().text("DBParameterGroupName", &name).into())
}

/// Tells the instances that run with the group.
fn spread(lab: &Arc<Lab>, engine: &Arc<Engine>, region: &str, name: &str, now: bool, waits: bool) {
    let users: Vec<Instance> = lab.rds.with(region, |state| {
        state
            .instances
            .values_mut()
            .filter(|instance| instance.running_group == name && instance.parameter_group == name)
            .map(|instance| {
                if waits {
                    instance.parameter_status = "pending-reboot";
                } else if instance.parameter_status == "in-sync" {
                    instance.parameter_status = "applying";
                }
                instance.clone()
            })
            .collect()
    });
    if !now {
        return;
    }
    for instance in users {
        let (lab2, engine, region) = (Arc::clone(lab), Arc::clone(engine), region.to_owned());
        let id = instance.id.clone();
        lifecycle::spawn(lab, &instance.clone(), async move {
            lab2.clock.sleep(APPLYING).await;
            let mut machine = instance.machine.lock().await;
            let standby = machine
                .standby
                .as_ref()
                .is_some_and(super::postgres::Node::is_up);
            let done =
                nodes::reconfigure_primary(&lab2, &engine, &region, &id, &mut machine, standby);
            if let Err(error) = done {
                log::warn!("{region} DB instance {id}: its parameters wait: {error}");
            }
            lab2.rds.edit(&region, &id, |instance| {
                if instance.parameter_status == "applying" {
                    instance.parameter_status = "in-sync";
                }
            });
        });
    }
}

/// `DeleteDBParameterGroup`.
pub fn delete(lab: &Lab, call: &Call) -> Result<Reply, ApiError> {
    let name = own_group(call)?;
    call.params.finish()?;
    lab.rds.with(&call.region, |state| {
        if !state.parameter_groups.contains_key(&name) {
            return Err(missing(&name));
        }
        let user = state
            .instances
            .values()
            .find(|instance| instance.parameter_group == name || instance.running_group == name);
        if let Some(user) = user {
            return Err(ApiError::new(
                "InvalidDBParameterGroupState",
                format!("One or more database instances are still members of this parameter group {name}, so the group cannot be deleted: {}", user.id),
            ));
        }
        state.parameter_groups.remove(&name);
        Ok(Xml::new().into())
    })
}

/// `DescribeDBParameterGroups`.
pub async fn describe(lab: &Lab, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let name = p
        .opt("DBParameterGroupName")
        .map(|n| n.to_ascii_lowercase());
    super::refuse_filters(p, &[])?;
    let paging = page::Request::read(p)?;
    p.finish()?;
    let engine = lab.rds.engine(lab).await?;
    ensure_default(lab, &engine, &call.region);
    let groups: Vec<ParameterGroup> = lab.rds.with(&call.region, |state| {
        state
            .parameter_groups
            .values()
            .filter(|group| name.as_deref().is_none_or(|wanted| wanted == group.name))
            .cloned()
            .collect()
    });
    if let Some(name) = name
        && groups.is_empty()
    {
        return Err(missing(&name));
    }
    let (shown, marker) = paging.cut(groups);
    Ok(Xml::new()
        .opt("Marker", marker)
        .list(
            "DBParameterGroups",
            "DBParameterGroup",
            shown
                .iter()
                .map(|group| render::parameter_group(&call.region, group)),
        )
        .into())
}

//! Launch templates and their versions.

mod describe;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Lab;
use crate::api::{ApiError, Call, Params, Reply, Xml};

use super::launch::{digest_of, repeated};
use super::launch_data::{LaunchData, parse_tag_specifications, tags_for};
use super::proceed;
use super::state::{Regional, Remembered, Template, TemplateVersion};
use super::tags::tag_set;

pub(crate) use describe::{describe, describe_versions};

fn no_template_id(id: &str) -> ApiError {
    ApiError::new(
        "InvalidLaunchTemplateId.NotFound",
        format!("The specified launch template, with template ID {id}, does not exist."),
    )
}

fn no_template_name(name: &str) -> ApiError {
    ApiError::new(
        "InvalidLaunchTemplateName.NotFoundException",
        format!("The specified launch template, with template name {name}, does not exist."),
    )
}

fn no_version(version: &str, id: &str) -> ApiError {
    ApiError::new(
        "InvalidLaunchTemplateId.VersionNotFound",
        format!(
            "Could not find launch template version {version} for launch template with ID {id}."
        ),
    )
}

/// A template by id or by name; exactly one must be given.
fn find<'a>(
    region: &'a Regional,
    id: Option<&str>,
    name: Option<&str>,
) -> Result<&'a Template, ApiError> {
    match (id, name) {
        (Some(id), None) => region.templates.get(id).ok_or_else(|| no_template_id(id)),
        (None, Some(name)) => region
            .templates
            .values()
            .find(|template| template.name == name)
            .ok_or_else(|| no_template_name(name)),
        (None, None) => Err(ApiError::new(
            "MissingParameter",
            "Either a launch template ID or a launch template name must be specified in the request",
        )),
        (Some(_), Some(_)) => Err(ApiError::new(
            "InvalidParameterCombination",
            "Both a launch template ID and a launch template name were specified; give one",
        )),
    }
}

/// The number that `$Latest`, `$Default` or a number means.
fn number(template: &Template, version: &str) -> Result<i64, ApiError> {
    match version {
        "$Latest" => Ok(template
            .versions
            .keys()
            .next_back()
            .copied()
            .unwrap_or(template.default_version)),
        "$Default" | "" => Ok(template.default_version),
        text => {
            let parsed: i64 = text.parse().map_err(|_| {
                ApiError::new(
                    "InvalidLaunchTemplateVersion.Malformed",
                    format!("Invalid launch template version: {text}. It must be a number, $Latest or $Default."),
                )
            })?;
            if template.versions.contains_key(&parsed) {
                Ok(parsed)
            } else {
                Err(no_version(text, &template.id))
            }
        }
    }
}

/// Id, name, version number and data of a template's version.
pub(crate) fn resolve(
    lab: &Lab,
    region: &str,
    id: Option<&str>,
    name: Option<&str>,
    version: &str,
) -> Result<(String, String, i64, LaunchData), ApiError> {
    let region = lab.ec2.region(region)?;
    let template = find(&region, id, name)?;
    let number = number(template, version)?;
    let data = template
        .versions
        .get(&number)
        .map(|version| version.data.clone())
        .ok_or_else(|| no_version(version, &template.id))?;
    Ok((template.id.clone(), template.name.clone(), number, data))
}

fn reference(p: &Params) -> (Option<String>, Option<String>) {
    (p.opt("LaunchTemplateId"), p.opt("LaunchTemplateName"))
}

fn data_of(p: &Params) -> Result<LaunchData, ApiError> {
    match p.sub("LaunchTemplateData") {
        Some(data) => LaunchData::parse(&data),
        None => Err(ApiError::new(
            "MissingParameter",
            "The request must contain the parameter LaunchTemplateData",
        )),
    }
}

fn template_xml(region: &Regional, template: &Template) -> Xml {
    Xml::new()
        .text("launchTemplateId", &template.id)
        .text("launchTemplateName", &template.name)
        .time("createTime", template.created)
        .text("createdBy", &template.created_by)
        .text("defaultVersionNumber", template.default_version)
        .text("latestVersionNumber", template.latest_version)
        .list("tagSet", "item", tag_set(&region.tags_of(&template.id)))
}

fn version_xml(template: &Template, number: i64, version: &TemplateVersion) -> Xml {
    Xml::new()
        .text("launchTemplateId", &template.id)
        .text("launchTemplateName", &template.name)
        .text("versionNumber", number)
        .opt("versionDescription", version.description.as_ref())
        .time("createTime", version.created)
        .text("createdBy", &version.created_by)
        .text("defaultVersion", number == template.default_version)
        .child("launchTemplateData", version.data.xml())
}

fn check_name(name: &str) -> Result<(), ApiError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-().@/_".contains(c);
    if (3..=128).contains(&name.len()) && name.chars().all(allowed) {
        return Ok(());
    }
    Err(ApiError::new(
        "InvalidLaunchTemplateName.MalformedException",
        format!(
            "A launch template name must be between 3 and 128 characters, and may contain letters, numbers and the characters -().@/_ (not '{name}')"
        ),
    ))
}

/// CreateLaunchTemplate.
pub(crate) fn create(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let name = p.str("LaunchTemplateName")?;
    check_name(&name)?;
    let description = p.opt("VersionDescription");
    let data = data_of(p)?;
    let tags = tags_for(
        &parse_tag_specifications(p, &["launch-template"])?,
        "launch-template",
    );
    let token = p.opt("ClientToken");
    proceed(p)?;
    let id = lab.ids.ec2("lt");
    super::faults::hide(lab, &call.region, &id);
    let mut region = lab.ec2.region(&call.region)?;
    let parameters = digest_of(&[&name, &format!("{description:?}{data:?}{tags:?}")]);
    if let Some(token) = &token
        && let Some(made) = repeated(&region, "CreateLaunchTemplate", token, &parameters)?
        && let Some(template) = made.first().and_then(|id| region.templates.get(id))
    {
        return Ok(Xml::new()
            .child("launchTemplate", template_xml(&region, template))
            .into());
    }
    if region.templates.values().any(|known| known.name == name) {
        return Err(ApiError::new(
            "InvalidLaunchTemplateName.AlreadyExistsException",
            format!("Launch template name already in use: {name}"),
        ));
    }
    let now = lab.clock.now();
    let version = TemplateVersion {
        description,
        created: now,
        created_by: call.caller.arn.clone(),
        data,
    };
    let template = Template {
        id,
        name,
        created: now,
        created_by: call.caller.arn.clone(),
        default_version: 1,
        latest_version: 1,
        versions: BTreeMap::from([(1, version)]),
    };
    if !tags.is_empty() {
        region
            .tags
            .insert(template.id.clone(), tags.into_iter().collect());
    }
    if let Some(token) = token {
        region.tokens.insert(
            ("CreateLaunchTemplate", token),
            Remembered {
                parameters,
                made: vec![template.id.clone()],
            },
        );
    }
    let xml = template_xml(&region, &template);
    region.templates.insert(template.id.clone(), template);
    Ok(Xml::new().child("launchTemplate", xml).into())
}

/// CreateLaunchTemplateVersion: inherits from SourceVersion when one is given.
pub(crate) fn create_version(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let (id, name) = reference(p);
    let source = p.opt("SourceVersion");
    let description = p.opt("VersionDescription");
    let data = data_of(p)?;
    let token = p.opt("ClientToken");
    p.opt_bool("ResolveAlias")?;
    proceed(p)?;
    let mut region = lab.ec2.region(&call.region)?;
    let template = find(&region, id.as_deref(), name.as_deref())?;
    let id = template.id.clone();
    let parameters = digest_of(&[&id, &format!("{source:?}{description:?}{data:?}")]);
    if let Some(token) = &token
        && let Some(made) = repeated(&region, "CreateLaunchTemplateVersion", token, &parameters)?
        && let Some(known) = made.first().and_then(|number| number.parse().ok())
        && let Some(version) = template.versions.get(&known)
    {
        return Ok(Xml::new()
            .child(
                "launchTemplateVersion",
                version_xml(template, known, version),
            )
            .into());
    }
    let data = match source {
        None => data,
        Some(source) => {
            let source = number(template, &source)?;
            let base = template
                .versions
                .get(&source)
                .ok_or_else(|| no_version(&source.to_string(), &id))?;
            data.over(&base.data)
        }
    };
    let version = TemplateVersion {
        description,
        created: lab.clock.now(),
        created_by: call.caller.arn.clone(),
        data,
    };
    let template = region
        .templates
        .get_mut(&id)
        .ok_or_else(|| no_template_id(&id))?;
    template.latest_version += 1;
    let number = template.latest_version;
    let xml = version_xml(template, number, &version);
    template.versions.insert(number, version);
    if let Some(token) = token {
        region.tokens.insert(
            ("CreateLaunchTemplateVersion", token),
            Remembered {
                parameters,
                made: vec![number.to_string()],
            },
        );
    }
    Ok(Xml::new().child("launchTemplateVersion", xml).into())
}

/// ModifyLaunchTemplate: the default version.
pub(crate) fn modify(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let (id, name) = reference(p);
    // botocore's model names the member DefaultVersion and sends SetDefaultVersion.
    let version = p.str("SetDefaultVersion")?;
    p.accept(&["ClientToken"]);
    proceed(p)?;
    let mut region = lab.ec2.region(&call.region)?;
    let template = find(&region, id.as_deref(), name.as_deref())?;
    let (id, number) = (template.id.clone(), number(template, &version)?);
    if let Some(template) = region.templates.get_mut(&id) {
        template.default_version = number;
    }
    let xml = template_xml(&region, &region.templates[&id]);
    Ok(Xml::new().child("launchTemplate", xml).into())
}

/// DeleteLaunchTemplate.
pub(crate) fn delete(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let (id, name) = reference(p);
    proceed(p)?;
    let mut region = lab.ec2.region(&call.region)?;
    let id = find(&region, id.as_deref(), name.as_deref())?.id.clone();
    let xml = template_xml(&region, &region.templates[&id]);
    region.templates.remove(&id);
    region.tags.remove(&id);
    Ok(Xml::new().child("launchTemplate", xml).into())
}

/// DeleteLaunchTemplateVersions: each by itself; the default version stays.
pub(crate) fn delete_versions(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let (id, name) = reference(p);
    let versions = p.list("LaunchTemplateVersion");
    if versions.is_empty() {
        return Err(ApiError::missing("LaunchTemplateVersion"));
    }
    proceed(p)?;
    let mut region = lab.ec2.region(&call.region)?;
    let id = find(&region, id.as_deref(), name.as_deref())?.id.clone();
    let template = region
        .templates
        .get_mut(&id)
        .ok_or_else(|| no_template_id(&id))?;
    let (mut deleted, mut refused) = (Vec::new(), Vec::new());
    for text in versions {
        let entry = |number: i64| {
            Xml::new()
                .text("launchTemplateId", &template.id)
                .text("launchTemplateName", &template.name)
                .text("versionNumber", number)
        };
        let number: i64 = text.parse().map_err(|_| {
            ApiError::invalid_value(
                "LaunchTemplateVersion",
                &text,
                "It must be a version number.",
            )
        })?;
        let error = if number == template.default_version {
            Some((
                "unexpectedError",
                format!("Version {number} is the default version and cannot be deleted"),
            ))
        } else if template.versions.contains_key(&number) {
            None
        } else {
            Some((
                "launchTemplateVersionDoesNotExist",
                format!("Version {number} does not exist"),
            ))
        };
        match error {
            None => {
                deleted.push(entry(number));
                template.versions.remove(&number);
            }
            Some((code, message)) => {
                let error = Xml::new().text("code", code).text("message", message);
                refused.push(entry(number).child("responseError", error));
            }
        }
    }
    Ok(Xml::new()
        .list(
            "successfullyDeletedLaunchTemplateVersionSet",
            "item",
            deleted,
        )
        .list(
            "unsuccessfullyDeletedLaunchTemplateVersionSet",
            "item",
            refused,
        )
        .into())
}

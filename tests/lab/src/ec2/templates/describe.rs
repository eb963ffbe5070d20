//! DescribeLaunchTemplates and DescribeLaunchTemplateVersions.

use std::sync::Arc;

use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};
use crate::ec2::filter::{Filters, Page};
use crate::ec2::launch_data::ProfileReference;
use crate::ec2::proceed;
use crate::ec2::state::Template;

use super::{find, no_template_id, number, reference, template_xml, version_xml};

/// DescribeLaunchTemplates.
pub(crate) fn describe(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let (ids, names) = (p.list("LaunchTemplateId"), p.list("LaunchTemplateName"));
    let filters = Filters::parse(p, &["create-time", "launch-template-name"])?;
    let page = Page::parse(p, 1, 200)?;
    proceed(p)?;
    let region = lab.ec2.region(&call.region)?;
    for id in &ids {
        find(&region, Some(id), None)?;
        if region.hidden.contains(id) {
            return Err(no_template_id(id));
        }
    }
    for name in &names {
        find(&region, None, Some(name))?;
    }
    let mut entries = Vec::new();
    for template in region.templates.values() {
        let named = ids.is_empty() && names.is_empty()
            || ids.contains(&template.id)
            || names.contains(&template.name);
        let fields = vec![
            ("create-time", template.created.to_string()),
            ("launch-template-name", template.name.clone()),
        ];
        if named
            && !region.hidden.contains(&template.id)
            && filters.pass(&fields, &region.tags_of(&template.id))
        {
            entries.push((template.id.clone(), template_xml(&region, template)));
        }
    }
    let (entries, token) = page.cut(entries);
    Ok(Xml::new()
        .list("launchTemplates", "item", entries)
        .opt("nextToken", token)
        .into())
}

/// DescribeLaunchTemplateVersions: of one template, or the latest or default versions of all.
pub(crate) fn describe_versions(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let p = &call.params;
    let (id, name) = reference(p);
    let wanted = p.list("LaunchTemplateVersion");
    let (least, most) = (p.opt_int("MinVersion")?, p.opt_int("MaxVersion")?);
    let filters = Filters::parse(
        p,
        &[
            "create-time",
            "ebs-optimized",
            "iam-instance-profile",
            "image-id",
            "instance-type",
            "is-default-version",
        ],
    )?;
    let page = Page::parse(p, 1, 200)?;
    p.opt_bool("ResolveAlias")?;
    proceed(p)?;
    let region = lab.ec2.region(&call.region)?;
    let templates: Vec<&Template> = if id.is_none() && name.is_none() {
        if wanted.is_empty() || wanted.iter().any(|version| !version.starts_with('$')) {
            return Err(ApiError::new(
                "MissingParameter",
                "Without a launch template, Versions must be $Latest, $Default or both",
            ));
        }
        region.templates.values().collect()
    } else {
        vec![find(&region, id.as_deref(), name.as_deref())?]
    };
    let mut entries = Vec::new();
    for template in templates {
        let numbers = wanted
            .iter()
            .map(|version| number(template, version))
            .collect::<Result<Vec<_>, _>>()?;
        for (&number, version) in &template.versions {
            let named = numbers.is_empty() || numbers.contains(&number);
            let within =
                least.is_none_or(|least| number >= least) && most.is_none_or(|most| number <= most);
            let is_default = number == template.default_version;
            let mut fields = vec![
                ("create-time", version.created.to_string()),
                ("is-default-version", is_default.to_string()),
            ];
            let data = &version.data;
            fields.extend(data.image_id.clone().map(|value| ("image-id", value)));
            fields.extend(
                data.instance_type
                    .clone()
                    .map(|value| ("instance-type", value)),
            );
            fields.extend(
                data.ebs_optimized
                    .map(|value| ("ebs-optimized", value.to_string())),
            );
            if let Some(ProfileReference::Arn(arn)) = &data.profile {
                fields.push(("iam-instance-profile", arn.clone()));
            }
            if named && within && filters.pass(&fields, &region.tags_of(&template.id)) {
                // The newest first, as AWS lists them.
                let key = format!("{} {:010}", template.id, i64::from(u32::MAX) - number);
                entries.push((key, version_xml(template, number, version)));
            }
        }
    }
    let (entries, token) = page.cut(entries);
    Ok(Xml::new()
        .list("launchTemplateVersionSet", "item", entries)
        .opt("nextToken", token)
        .into())
}

//! The stack's launch template. Versions are found again by their description: the digest of their content.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{
    LaunchTemplateHttpTokensState, LaunchTemplateIamInstanceProfileSpecificationRequest,
    LaunchTemplateInstanceMetadataEndpointState, LaunchTemplateInstanceMetadataOptionsRequest,
    LaunchTemplateTagSpecificationRequest, LaunchTemplateVersion, LaunchTemplatesMonitoring,
    LaunchTemplatesMonitoringRequest, RequestLaunchTemplateData, ResourceType,
    ResponseLaunchTemplateData,
};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use plan::action::TemplateContent;
use plan::observed::{Template, TemplateVersion};

use super::{filter, tag_list, tag_specification, tags_of};
use crate::apply::Outcome;
use crate::connect::Cloud;
use crate::error::{Called, EffectError, Failure, ReadError};
use crate::token::client_token;

/// A template without its versions.
struct Head {
    id: String,
    default_version: i64,
    tags: plan::observed::Tags,
}

impl Cloud {
    /// The template of that name with all its versions.
    pub(crate) async fn observe_template(&self, name: &str) -> Result<Option<Template>, ReadError> {
        let Some(head) = self.template_head(name).await? else {
            return Ok(None);
        };
        let versions = self.template_versions(&head.id).await?;
        Ok(Some(Template {
            name: name.to_owned(),
            versions: versions
                .iter()
                .filter_map(|version| Some((number(version)?, seen(version))))
                .collect(),
            id: head.id,
            tags: head.tags,
        }))
    }

    async fn template_head(&self, name: &str) -> Result<Option<Head>, Failure> {
        let answer = self
            .look()
            .ec2
            .describe_launch_templates()
            .filters(filter("launch-template-name", name))
            .send()
            .await
            .called("ec2:DescribeLaunchTemplates")?;
        answer
            .launch_templates()
            .first()
            .map(|template| {
                Ok(Head {
                    id: template
                        .launch_template_id()
                        .ok_or_else(|| {
                            Failure::incomplete("ec2:DescribeLaunchTemplates", "LaunchTemplateId")
                        })?
                        .to_owned(),
                    default_version: template.default_version_number().unwrap_or(1),
                    tags: tags_of(template.tags()),
                })
            })
            .transpose()
    }

    async fn template_versions(&self, id: &str) -> Result<Vec<LaunchTemplateVersion>, Failure> {
        self.look()
            .ec2
            .describe_launch_template_versions()
            .launch_template_id(id)
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
            .await
            .called("ec2:DescribeLaunchTemplateVersions")
    }

    /// A version with this content, described by `digest`; the template itself when it is the first.
    pub(crate) async fn ensure_template_version(
        &self,
        name: &str,
        digest: &str,
        content: &TemplateContent,
    ) -> Result<Outcome, EffectError> {
        let data = self.template_data(content);
        let head = match self.template_head(name).await? {
            Some(head) => head,
            None => match self.create_template(name, digest, &data).await? {
                None => return Ok(Outcome::Changed),
                Some(head) => head,
            },
        };
        self.check_ours(name, &head.tags)?;
        let versions = self.template_versions(&head.id).await?;
        if versions
            .iter()
            .any(|version| version.version_description() == Some(digest))
        {
            return Ok(Outcome::Unchanged);
        }
        // The template's id is in the token: after the template was deleted and made again, the
        // token of its predecessor must not answer for it.
        self.act()
            .ec2
            .create_launch_template_version()
            .launch_template_id(&head.id)
            .version_description(digest)
            .launch_template_data(data)
            .client_token(client_token(&[self.stack(), &head.id, digest]))
            .send()
            .await
            .called("ec2:CreateLaunchTemplateVersion")?;
        Ok(Outcome::Changed)
    }

    /// Creates the template with its first version; `Some` when another one was faster.
    async fn create_template(
        &self,
        name: &str,
        digest: &str,
        data: &RequestLaunchTemplateData,
    ) -> Result<Option<Head>, EffectError> {
        let answer = self
            .act()
            .ec2
            .create_launch_template()
            .launch_template_name(name)
            .version_description(digest)
            .launch_template_data(data.clone())
            .tag_specifications(tag_specification(
                ResourceType::LaunchTemplate,
                &self.our_tags([("Name", name)]),
            ))
            .send()
            .await
            .called("ec2:CreateLaunchTemplate");
        match answer {
            Ok(_) => Ok(None),
            Err(failure) if failure.is("InvalidLaunchTemplateName.AlreadyExists") => self
                .template_head(name)
                .await?
                .map(Some)
                .ok_or_else(|| EffectError::invisible("ec2:CreateLaunchTemplate", name)),
            Err(failure) => Err(failure.into()),
        }
    }

    /// What every node gets: the content, IMDSv2 only and from the node itself only, one-minute
    /// metrics, tags; a key pair only where one is named.
    fn template_data(&self, content: &TemplateContent) -> RequestLaunchTemplateData {
        let tags = self.our_tags(
            content
                .tags
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str())),
        );
        let tagged = |kind: ResourceType| {
            LaunchTemplateTagSpecificationRequest::builder()
                .resource_type(kind)
                .set_tags(Some(tag_list(&tags)))
                .build()
        };
        RequestLaunchTemplateData::builder()
            .image_id(&content.image_id)
            .instance_type(content.instance_type.as_str().into())
            .iam_instance_profile(
                LaunchTemplateIamInstanceProfileSpecificationRequest::builder()
                    .name(&content.instance_profile)
                    .build(),
            )
            .set_key_name(content.key_pair.clone())
            .set_security_group_ids(Some(content.security_groups.iter().cloned().collect()))
            .user_data(BASE64_STANDARD.encode(&content.user_data))
            .monitoring(
                LaunchTemplatesMonitoringRequest::builder()
                    .enabled(true)
                    .build(),
            )
            .metadata_options(
                LaunchTemplateInstanceMetadataOptionsRequest::builder()
                    .http_endpoint(LaunchTemplateInstanceMetadataEndpointState::Enabled)
                    .http_tokens(LaunchTemplateHttpTokensState::Required)
                    .http_put_response_hop_limit(1)
                    .build(),
            )
            .tag_specifications(tagged(ResourceType::Instance))
            .tag_specifications(tagged(ResourceType::Volume))
            .build()
    }

    /// Deletes versions. When the default version is among them, the highest of the others becomes it.
    pub(crate) async fn delete_template_versions(
        &self,
        name: &str,
        numbers: &BTreeSet<u64>,
    ) -> Result<Outcome, EffectError> {
        let Some(head) = self.template_head(name).await? else {
            return Ok(Outcome::Unchanged);
        };
        self.check_ours(name, &head.tags)?;
        let there: BTreeMap<u64, bool> = self
            .template_versions(&head.id)
            .await?
            .iter()
            .filter_map(|version| {
                let number = number(version)?;
                Some((number, version.default_version().unwrap_or(false)))
            })
            .collect();
        let doomed: Vec<String> = there
            .keys()
            .filter(|number| numbers.contains(number))
            .map(u64::to_string)
            .collect();
        if doomed.is_empty() {
            return Ok(Outcome::Unchanged);
        }
        let default = u64::try_from(head.default_version).unwrap_or(1);
        if numbers.contains(&default) {
            let Some(heir) = there.keys().rev().find(|number| !numbers.contains(number)) else {
                return Err(EffectError::refused(
                    "ec2:DeleteLaunchTemplateVersions",
                    "DefaultVersion",
                    format!("every version of `{name}` would go; delete the template instead"),
                ));
            };
            self.act()
                .ec2
                .modify_launch_template()
                .launch_template_id(&head.id)
                .default_version(heir.to_string())
                .send()
                .await
                .called("ec2:ModifyLaunchTemplate")?;
        }
        let answer = self
            .act()
            .ec2
            .delete_launch_template_versions()
            .launch_template_id(&head.id)
            .set_versions(Some(doomed))
            .send()
            .await
            .called("ec2:DeleteLaunchTemplateVersions")?;
        let refused = answer
            .unsuccessfully_deleted_launch_template_versions()
            .iter()
            .filter_map(|version| version.response_error())
            .find(|error| {
                error
                    .code()
                    .is_some_and(|code| code.as_str() != "launchTemplateVersionDoesNotExist")
            });
        match refused {
            None => Ok(Outcome::Changed),
            Some(error) => Err(EffectError::refused(
                "ec2:DeleteLaunchTemplateVersions",
                error.code().map_or("unknown", |code| code.as_str()),
                error.message().unwrap_or("no message"),
            )),
        }
    }

    /// Deletes the template with all its versions.
    pub(crate) async fn delete_template(&self, name: &str) -> Result<Outcome, EffectError> {
        let Some(head) = self.template_head(name).await? else {
            return Ok(Outcome::Unchanged);
        };
        self.check_ours(name, &head.tags)?;
        let answer = self
            .act()
            .ec2
            .delete_launch_template()
            .launch_template_id(&head.id)
            .send()
            .await
            .called("ec2:DeleteLaunchTemplate");
        Outcome::gone(
            answer.map(drop),
            &[
                "InvalidLaunchTemplateId.NotFound",
                "InvalidLaunchTemplateName.NotFound",
            ],
        )
    }
}

fn number(version: &LaunchTemplateVersion) -> Option<u64> {
    version
        .version_number()
        .and_then(|number| u64::try_from(number).ok())
}

fn seen(version: &LaunchTemplateVersion) -> TemplateVersion {
    let empty = ResponseLaunchTemplateData::builder().build();
    let data = version.launch_template_data().unwrap_or(&empty);
    TemplateVersion {
        image_id: data.image_id().unwrap_or("").to_owned(),
        instance_type: data
            .instance_type()
            .map_or("", |kind| kind.as_str())
            .to_owned(),
        security_groups: data.security_group_ids().iter().cloned().collect(),
        instance_profile: data
            .iam_instance_profile()
            .and_then(|profile| profile.name())
            .unwrap_or("")
            .to_owned(),
        key_pair: data.key_name().map(str::to_owned),
        monitoring: data
            .monitoring()
            .and_then(LaunchTemplatesMonitoring::enabled)
            .unwrap_or(false),
        imdsv2: data
            .metadata_options()
            .and_then(|options| options.http_tokens())
            .is_some_and(|tokens| tokens.as_str() == "required"),
        user_data: data.user_data().map(decode).unwrap_or_default(),
        description: version.version_description().unwrap_or("").to_owned(),
    }
}

/// User data as text. What is not Base64 or not UTF-8 was not written by us: carried as it came, so
/// that it differs from what is wanted.
fn decode(encoded: &str) -> String {
    BASE64_STANDARD
        .decode(encoded)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .unwrap_or_else(|| encoded.to_owned())
}

//! What a version of the launch template holds.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::observed::Tags;

/// Content of a template version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateContent {
    /// AMI.
    pub image_id: String,
    /// Instance type.
    pub instance_type: String,
    /// Instance profile.
    pub instance_profile: String,
    /// Key pair. Without one the digest is what it was before there was such a thing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_pair: Option<String>,
    /// Security groups.
    pub security_groups: BTreeSet<String>,
    /// User data, not encoded; never a secret.
    pub user_data: String,
    /// Tags of the instances.
    pub tags: Tags,
}

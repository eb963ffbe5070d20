//! What a region encrypts its volumes with unless a launch says otherwise, and who must be let use that key.

use std::sync::Arc;

use crate::Lab;
use crate::api::{ApiError, Call, Reply, Xml};
use crate::iam::{ACCOUNT, Caller};
use crate::kms;

use super::proceed;
use super::state::{Instance, Regional};

/// The key that AWS manages for the account.
const MANAGED: &str = "alias/aws/ebs";
/// Whose rights count when Auto Scaling launches.
const AUTO_SCALING: &str =
    "aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling";

/// A region's settings; as in a new account by default.
#[derive(Clone, Debug, Default)]
pub(crate) struct EbsDefaults {
    pub encrypted: bool,
    /// ARN of the account's own key. None: the one that AWS manages.
    pub key: Option<String>,
}

/// GetEbsEncryptionByDefault.
pub(crate) fn encryption(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    proceed(&call.params)?;
    let region = lab.ec2.region(&call.region)?;
    Ok(Xml::new()
        .text("ebsEncryptionByDefault", region.ebs_defaults.encrypted)
        .into())
}

/// EnableEbsEncryptionByDefault, DisableEbsEncryptionByDefault.
pub(crate) fn encrypt(lab: &Arc<Lab>, call: &Call, encrypted: bool) -> Result<Reply, ApiError> {
    proceed(&call.params)?;
    lab.ec2.region(&call.region)?.ebs_defaults.encrypted = encrypted;
    Ok(Xml::new().text("ebsEncryptionByDefault", encrypted).into())
}

/// GetEbsDefaultKmsKeyId.
pub(crate) fn key(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    proceed(&call.params)?;
    let region = lab.ec2.region(&call.region)?;
    Ok(shown(&region))
}

/// ModifyEbsDefaultKmsKeyId.
pub(crate) fn set_key(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    let name = call.params.str("KmsKeyId")?;
    proceed(&call.params)?;
    let arn = kms::arn_of(lab, &call.region, &name).ok_or_else(|| {
        ApiError::new(
            "InvalidParameterValue",
            format!("The KMS key '{name}' does not exist"),
        )
    })?;
    let mut region = lab.ec2.region(&call.region)?;
    region.ebs_defaults.key = Some(arn);
    Ok(shown(&region))
}

/// ResetEbsDefaultKmsKeyId.
pub(crate) fn reset_key(lab: &Arc<Lab>, call: &Call) -> Result<Reply, ApiError> {
    proceed(&call.params)?;
    let mut region = lab.ec2.region(&call.region)?;
    region.ebs_defaults.key = None;
    Ok(shown(&region))
}

fn shown(region: &Regional) -> Reply {
    let key = region.ebs_defaults.key.as_deref().unwrap_or(MANAGED);
    Xml::new().text("kmsKeyId", key).into()
}

/// Whether the instance's volume cannot be made: Auto Scaling launched it, the region encrypts with a key of
/// the account's own, and neither the key's policy nor a grant lets Auto Scaling's role use it.
pub(crate) fn refuses(lab: &Lab, region_name: &str, instance: &Instance) -> bool {
    let Ok(region) = lab.ec2.region(region_name) else {
        return false;
    };
    let tags = region.tags_of(&instance.id);
    let EbsDefaults { encrypted, key } = region.ebs_defaults.clone();
    drop(region);
    let (true, true, Some(key)) = (
        encrypted,
        tags.contains_key("aws:autoscaling:groupName"),
        key,
    ) else {
        return false;
    };
    let role = Caller {
        arn: format!("arn:aws:iam::{ACCOUNT}:role/{AUTO_SCALING}"),
        user_id: "AROALABAUTOSCALING".to_owned(),
        account: ACCOUNT.to_owned(),
        instance_id: None,
        role: Some(AUTO_SCALING.to_owned()),
    };
    // EC2 makes grants of its own from the role's rights, for the volume.
    ["GenerateDataKeyWithoutPlaintext", "CreateGrant"]
        .iter()
        .any(|action| {
            kms::use_key(lab, Some(&role), ("ec2", region_name), &key, action, &[]).is_err()
        })
}

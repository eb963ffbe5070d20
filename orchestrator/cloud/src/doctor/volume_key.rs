//! The key that EC2 encrypts volumes with unless a launch says otherwise.

use crate::connect::Cloud;
use crate::error::{Called, ReadError};

/// The key that AWS manages, by its alias: every service of the account may use it.
const MANAGED: &str = "alias/aws/ebs";

impl Cloud {
    /// The account's own key that volumes of the home region are encrypted with by default. None: they are not
    /// encrypted by default, or with the key that AWS manages.
    pub async fn default_volume_key(&self) -> Result<Option<String>, ReadError> {
        let ec2 = &self.look().ec2;
        let by_default = ec2
            .get_ebs_encryption_by_default()
            .send()
            .await
            .called("ec2:GetEbsEncryptionByDefault")?;
        if !by_default.ebs_encryption_by_default().unwrap_or(false) {
            return Ok(None);
        }
        let key = ec2
            .get_ebs_default_kms_key_id()
            .send()
            .await
            .called("ec2:GetEbsDefaultKmsKeyId")?;
        Ok(key
            .kms_key_id()
            .filter(|key| !key.ends_with(MANAGED))
            .map(str::to_owned))
    }
}

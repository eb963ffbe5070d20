//! Key pairs: the account's own, by name.

use super::filter;
use crate::connect::Cloud;
use crate::error::{Called, ReadError};

impl Cloud {
    /// Whether the home region has a key pair of this name.
    pub async fn has_key_pair(&self, name: &str) -> Result<bool, ReadError> {
        // A filter, not a name: of one that is not there the answer is empty, not an error. Filters know wildcards.
        let found = self
            .look()
            .ec2
            .describe_key_pairs()
            .filters(filter("key-name", name))
            .send()
            .await
            .called("ec2:DescribeKeyPairs")?;
        Ok(found
            .key_pairs()
            .iter()
            .any(|pair| pair.key_name() == Some(name)))
    }
}

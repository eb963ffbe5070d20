//! The place of users' files as a node's server reaches it: tried for `doctor`, counted before a move.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Builder, Credentials};
use plan::files::BucketHome;
use secrecy::{ExposeSecret, SecretString};

use crate::connect::Cloud;
use crate::error::{Called, ReadError};

/// Keys of an S3-compatible store.
#[derive(Clone, Debug)]
pub struct StoreKeys {
    /// The id.
    pub access_key: SecretString,
    /// The secret half.
    pub secret_key: SecretString,
}

/// What was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreProbe {
    /// Endpoint and bucket.
    pub place: String,
    /// Keys that were listed below the prefix: none or one.
    pub found: usize,
}

impl Cloud {
    /// Lists one key of the bucket at its endpoint, with these keys or with our own credentials.
    pub async fn probe_store(
        &self,
        home: &BucketHome,
        keys: Option<&StoreKeys>,
    ) -> Result<StoreProbe, ReadError> {
        let answer = self
            .store_client(home, keys)
            .list_objects_v2()
            .bucket(&home.bucket)
            .prefix(&home.prefix)
            .max_keys(1)
            .send()
            .await
            .called("s3:ListBucket")?;
        Ok(StoreProbe {
            place: format!(
                "`{}` at {}",
                home.bucket,
                home.endpoint.as_deref().unwrap_or("AWS")
            ),
            found: answer.contents().len(),
        })
    }

    /// A client for the place, with these keys or with our own credentials.
    pub(super) fn store_client(&self, home: &BucketHome, keys: Option<&StoreKeys>) -> Client {
        if home.endpoint.is_none() && keys.is_none() {
            return self.s3_in(&home.region);
        }
        let mut config = Builder::from(self.config())
            .region(aws_sdk_s3::config::Region::new(home.region.clone()))
            // A name of an endpoint need not resolve with the bucket's name before it.
            .force_path_style(home.endpoint.is_some());
        if let Some(endpoint) = &home.endpoint {
            config = config.endpoint_url(endpoint);
        }
        if let Some(keys) = keys {
            config = config.credentials_provider(Credentials::new(
                keys.access_key.expose_secret(),
                keys.secret_key.expose_secret(),
                None,
                None,
                "files",
            ));
        }
        Client::from_conf(config.build())
    }
}

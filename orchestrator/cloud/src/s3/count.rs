//! How many objects lie in a place, counted by listing: bounded, for a bucket may hold millions.

use aws_sdk_s3::types::EncodingType;
use plan::files::{BucketHome, Counted};

use super::StoreKeys;
use crate::connect::Cloud;
use crate::error::{Called, ReadError};

/// Below a prefix, the folder of the agents' own tries.
const TRIES: &str = ".verified/";
/// No key sorts behind a prefix with this behind it and begins with the prefix.
const LAST: char = '\u{10FFFF}';

impl Cloud {
    /// Counts objects below the home's prefix, the agents' own tries and what lies below `without` left out. At most
    /// about `most` of those that count are listed: a page has 1,000. What does not count is passed over, however
    /// much of it there is.
    pub async fn count_objects(
        &self,
        home: &BucketHome,
        keys: Option<&StoreKeys>,
        without: Option<&str>,
        most: u64,
    ) -> Result<Counted, ReadError> {
        let client = self.store_client(home, keys);
        let tries = format!("{}{TRIES}", home.prefix);
        let left_out = |key: &str| {
            let folders = [Some(&*tries), without];
            folders
                .into_iter()
                .flatten()
                .find(|it| key.starts_with(*it))
        };
        let (mut objects, mut bytes) = (0, 0);
        let (mut next, mut after) = (None, None);
        loop {
            let page = client
                .list_objects_v2()
                .bucket(&home.bucket)
                .prefix(&home.prefix)
                // Some characters of keys are none of XML's. Those of prefixes stay as they are.
                .encoding_type(EncodingType::Url)
                .set_expected_bucket_owner(home.owner.clone())
                .set_continuation_token(next.take())
                .set_start_after(after.take())
                .send()
                .await
                .called("s3:ListBucket")?;
            for object in page.contents() {
                if left_out(object.key().unwrap_or_default()).is_some() {
                    continue;
                }
                objects += 1;
                bytes += object
                    .size()
                    .and_then(|it| u64::try_from(it).ok())
                    .unwrap_or(0);
            }
            next = page.next_continuation_token().map(str::to_owned);
            let more = next.is_some();
            if !more || objects >= most {
                return Ok(Counted::Objects {
                    objects,
                    bytes,
                    more,
                });
            }
            let last = page.contents().last().and_then(|object| object.key());
            if let Some(folder) = last.and_then(left_out) {
                (next, after) = (None, Some(format!("{folder}{LAST}")));
            }
        }
    }
}

//! `ListObjectsV2`, `ListObjects`, `ListObjectVersions`.

#![expect(
    clippy::wildcard_imports,
    reason = "the wire's names, an input and an output an action"
)]

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::S3Request;
use s3s::dto::*;

use super::access::Exchange;
use super::buckets::owner;
use super::objects::{checksum_type, stamp};
use super::pages::{self, Filter, Page, page};
use super::state::{Bucket as Kept, Content, Version};
use crate::api::ApiError;

/// What stays as it is with `encoding-type=url`.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'*')
    .remove(b'/');

/// How keys are written in an answer.
#[derive(Clone, Copy)]
pub(super) struct Spelling(bool);

impl Spelling {
    pub fn of(encoding: Option<&EncodingType>) -> Result<Self, ApiError> {
        match encoding.map(EncodingType::as_str) {
            None => Ok(Self(false)),
            Some(EncodingType::URL) => Ok(Self(true)),
            Some(_) => Err(ApiError::new(
                "InvalidArgument",
                "Invalid Encoding Method specified in Request",
            )),
        }
    }

    pub fn of_text(self, text: &str) -> String {
        if self.0 {
            utf8_percent_encode(text, PLAIN).to_string()
        } else {
            text.to_owned()
        }
    }

    pub fn prefixes(self, prefixes: Vec<String>) -> Vec<CommonPrefix> {
        prefixes
            .into_iter()
            .map(|prefix| CommonPrefix {
                prefix: Some(self.of_text(&prefix)),
            })
            .collect()
    }
}

/// What both calls list.
fn present(bucket: &Kept) -> impl Iterator<Item = (&String, (&String, &Version))> {
    bucket.objects.iter().filter_map(|(key, versions)| {
        let last = versions.last().filter(|it| it.content.is_some())?;
        Some((key, (key, last)))
    })
}

fn entry((key, version): (&String, &Version), spelling: Spelling, with_owner: bool) -> Object {
    let content = version.content.as_ref();
    let checksum = content.and_then(|it| it.checksum.as_ref());
    Object {
        checksum_algorithm: checksum
            .map(|it| vec![ChecksumAlgorithm::from_static(it.algorithm.name())]),
        checksum_type: checksum.map(|it| checksum_type(it.full_object)),
        e_tag: content.map(|it| ETag::Strong(it.etag.clone())),
        key: Some(spelling.of_text(key)),
        last_modified: Some(stamp(version.modified)),
        owner: with_owner.then(owner),
        size: content.map(|it| it.size as i64),
        storage_class: Some(ObjectStorageClass::from(storage_class(content))),
        ..Object::default()
    }
}

pub(super) fn storage_class(content: Option<&Content>) -> String {
    let class = content.and_then(|it| it.about.storage_class.clone());
    class.unwrap_or_else(|| "STANDARD".to_owned())
}

pub(super) fn objects_v2(
    exchange: &Arc<Exchange>,
    request: S3Request<ListObjectsV2Input>,
) -> Result<ListObjectsV2Output, ApiError> {
    let input = request.input;
    let spelling = Spelling::of(input.encoding_type.as_ref())?;
    let most = pages::most(input.max_keys)?;
    let prefix = input.prefix.unwrap_or_default();
    let token = input
        .continuation_token
        .as_deref()
        .map(from_token)
        .transpose()?;
    let after = token.as_ref().or(input.start_after.as_ref());
    let state = exchange.lab.s3.lock();
    let bucket = state.bucket(&input.bucket)?;
    let Page {
        entries,
        prefixes,
        next,
    } = page(
        present(bucket),
        Filter {
            prefix: &prefix,
            delimiter: pages::delimiter(input.delimiter.as_ref()),
            after: after.map(String::as_str),
            most: most as usize,
        },
    );
    let with_owner = input.fetch_owner.unwrap_or(false);
    Ok(ListObjectsV2Output {
        name: Some(input.bucket),
        prefix: Some(spelling.of_text(&prefix)),
        max_keys: Some(most),
        key_count: Some((entries.len() + prefixes.len()) as i32),
        continuation_token: input.continuation_token,
        is_truncated: Some(next.is_some()),
        next_continuation_token: next.map(|it| URL_SAFE_NO_PAD.encode(it)),
        contents: Some(
            entries
                .into_iter()
                .map(|it| entry(it, spelling, with_owner))
                .collect(),
        ),
        common_prefixes: Some(spelling.prefixes(prefixes)),
        delimiter: input.delimiter.map(|it| spelling.of_text(&it)),
        encoding_type: input.encoding_type,
        start_after: input.start_after.map(|it| spelling.of_text(&it)),
        request_charged: None,
    })
}

fn from_token(token: &str) -> Result<String, ApiError> {
    let text = URL_SAFE_NO_PAD.decode(token).ok();
    text.and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| {
            ApiError::new(
                "InvalidArgument",
                "The continuation token provided is incorrect",
            )
        })
}

pub(super) fn objects(
    exchange: &Arc<Exchange>,
    request: S3Request<ListObjectsInput>,
) -> Result<ListObjectsOutput, ApiError> {
    let input = request.input;
    let spelling = Spelling::of(input.encoding_type.as_ref())?;
    let most = pages::most(input.max_keys)?;
    let prefix = input.prefix.unwrap_or_default();
    let state = exchange.lab.s3.lock();
    let bucket = state.bucket(&input.bucket)?;
    let page = page(
        present(bucket),
        Filter {
            prefix: &prefix,
            delimiter: pages::delimiter(input.delimiter.as_ref()),
            after: input.marker.as_deref(),
            most: most as usize,
        },
    );
    Ok(ListObjectsOutput {
        name: Some(input.bucket),
        prefix: Some(spelling.of_text(&prefix)),
        marker: Some(
            input
                .marker
                .map(|it| spelling.of_text(&it))
                .unwrap_or_default(),
        ),
        max_keys: Some(most),
        is_truncated: Some(page.next.is_some()),
        // "This element is returned only if you have the delimiter request parameter specified."
        next_marker: page
            .next
            .filter(|_| input.delimiter.is_some())
            .map(|it| spelling.of_text(&it)),
        contents: Some(
            page.entries
                .into_iter()
                .map(|it| entry(it, spelling, true))
                .collect(),
        ),
        common_prefixes: Some(spelling.prefixes(page.prefixes)),
        delimiter: input.delimiter.map(|it| spelling.of_text(&it)),
        encoding_type: input.encoding_type,
        request_charged: None,
    })
}

/// One version of the list, newest first within a key.
struct Listed<'a> {
    key: &'a String,
    version: &'a Version,
    latest: bool,
}

fn all_versions(bucket: &Kept) -> Vec<Listed<'_>> {
    let keys = bucket.objects.iter();
    keys.flat_map(|(key, versions)| {
        let newest_first = versions.iter().rev().enumerate();
        newest_first.map(move |(age, version)| Listed {
            key,
            version,
            latest: age == 0,
        })
    })
    .collect()
}

/// The versions behind the two markers.
fn behind<'a>(
    all: Vec<Listed<'a>>,
    key: Option<&str>,
    version: Option<&str>,
) -> Result<Vec<Listed<'a>>, ApiError> {
    match (key, version) {
        (None, None) => Ok(all),
        (None, Some(_)) => Err(ApiError::new(
            "InvalidArgument",
            "A version-id marker cannot be specified without a key marker.",
        )),
        (Some(key), None) => Ok(all.into_iter().filter(|it| it.key.as_str() > key).collect()),
        (Some(key), Some(version)) => {
            let at = all
                .iter()
                .position(|it| it.key == key && it.version.id == version);
            Ok(match at {
                Some(at) => all.into_iter().skip(at + 1).collect(),
                // It was removed meanwhile: from the key on.
                None => all
                    .into_iter()
                    .filter(|it| it.key.as_str() >= key)
                    .collect(),
            })
        }
    }
}

/// Versions and common prefixes up to `most`, and the two markers of the next page.
type VersionPage<'a> = (
    Vec<Listed<'a>>,
    Vec<String>,
    Option<(String, Option<String>)>,
);

fn version_page<'a>(
    all: Vec<Listed<'a>>,
    prefix: &str,
    delimiter: Option<&str>,
    after: Option<&str>,
    most: usize,
) -> VersionPage<'a> {
    let (mut shown, mut prefixes): (Vec<Listed<'a>>, Vec<String>) = (Vec::new(), Vec::new());
    let mut last = None;
    for listed in all {
        let Some(rest) = listed.key.strip_prefix(prefix) else {
            continue;
        };
        let common = delimiter.and_then(|delimiter| {
            let at = rest.find(delimiter)? + delimiter.len();
            Some(listed.key[..prefix.len() + at].to_owned())
        });
        let repeated =
            common.is_some() && (common.as_ref() == prefixes.last() || common.as_deref() == after);
        if repeated {
            continue;
        }
        if shown.len() + prefixes.len() >= most {
            return (shown, prefixes, last);
        }
        match common {
            Some(common) => {
                last = Some((common.clone(), None));
                prefixes.push(common);
            }
            None => {
                last = Some((listed.key.clone(), Some(listed.version.id.clone())));
                shown.push(listed);
            }
        }
    }
    (shown, prefixes, None)
}

pub(super) fn versions(
    exchange: &Arc<Exchange>,
    request: S3Request<ListObjectVersionsInput>,
) -> Result<ListObjectVersionsOutput, ApiError> {
    let input = request.input;
    let spelling = Spelling::of(input.encoding_type.as_ref())?;
    let most = pages::most(input.max_keys)?;
    let prefix = input.prefix.unwrap_or_default();
    let state = exchange.lab.s3.lock();
    let bucket = state.bucket(&input.bucket)?;
    let after = input.key_marker.as_deref().filter(|it| !it.is_empty());
    let version_marker = input
        .version_id_marker
        .as_deref()
        .filter(|it| !it.is_empty());
    let all = behind(all_versions(bucket), after, version_marker)?;
    let delimiter = pages::delimiter(input.delimiter.as_ref());
    let (shown, prefixes, next) = version_page(all, &prefix, delimiter, after, most as usize);
    let (mut versions, mut markers) = (Vec::new(), Vec::new());
    for listed in shown {
        if listed.version.content.is_some() {
            versions.push(version_entry(&listed, spelling));
        } else {
            markers.push(DeleteMarkerEntry {
                is_latest: Some(listed.latest),
                key: Some(spelling.of_text(listed.key)),
                last_modified: Some(stamp(listed.version.modified)),
                owner: Some(owner()),
                version_id: Some(listed.version.id.clone()),
            });
        }
    }
    Ok(ListObjectVersionsOutput {
        common_prefixes: Some(spelling.prefixes(prefixes)),
        delete_markers: Some(markers),
        delimiter: input.delimiter.map(|it| spelling.of_text(&it)),
        encoding_type: input.encoding_type,
        is_truncated: Some(next.is_some()),
        key_marker: Some(
            input
                .key_marker
                .map(|it| spelling.of_text(&it))
                .unwrap_or_default(),
        ),
        max_keys: Some(most),
        name: Some(input.bucket),
        next_key_marker: next.as_ref().map(|(key, _)| spelling.of_text(key)),
        next_version_id_marker: next.and_then(|(_, version)| version),
        prefix: Some(spelling.of_text(&prefix)),
        request_charged: None,
        version_id_marker: Some(input.version_id_marker.unwrap_or_default()),
        versions: Some(versions),
    })
}

fn version_entry(listed: &Listed<'_>, spelling: Spelling) -> ObjectVersion {
    let object = entry((listed.key, listed.version), spelling, true);
    ObjectVersion {
        checksum_algorithm: object.checksum_algorithm,
        checksum_type: object.checksum_type,
        e_tag: object.e_tag,
        is_latest: Some(listed.latest),
        key: object.key,
        last_modified: object.last_modified,
        owner: object.owner,
        restore_status: None,
        size: object.size,
        storage_class: Some(ObjectVersionStorageClass::from(storage_class(
            listed.version.content.as_ref(),
        ))),
        version_id: Some(listed.version.id.clone()),
    }
}

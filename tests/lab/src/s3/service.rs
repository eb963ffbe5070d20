//! One method an action: from the wire's crate to the module that carries it out.

#![expect(
    clippy::wildcard_imports,
    reason = "the wire's names, an input and an output an action"
)]

use std::sync::Arc;

use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result};

use super::access::Exchange;
use super::wire::refuse;
use super::{
    buckets, complete, copies, listing, multipart, objects, reads, settings, tagging, uploads,
};
use crate::api::ApiError;

/// The lab's S3, for one request.
pub(super) struct Service(pub Arc<Exchange>);

/// What a handler gives: an output, or one with a status of its own.
trait Answered<T> {
    fn answered(self) -> S3Response<T>;
}

impl<T> Answered<T> for S3Response<T> {
    fn answered(self) -> S3Response<T> {
        self
    }
}

macro_rules! output {
    ($($output:ident)*) => {
        $(impl Answered<$output> for $output {
            fn answered(self) -> S3Response<$output> {
                S3Response::new(self)
            }
        })*
    };
}

fn ended<T, A: Answered<T>>(done: Result<A, ApiError>) -> S3Result<S3Response<T>> {
    done.map(Answered::answered).map_err(|error| {
        log::debug!("s3: {error}");
        refuse(error)
    })
}

/// `now` is carried out at once, `later` is awaited.
macro_rules! actions {
    (@done now $call:expr) => { $call };
    (@done later $call:expr) => { $call.await };
    ($($when:ident $method:ident($input:ident) -> $output:ident: $handler:path;)*) => {
        #[async_trait::async_trait]
        impl S3 for Service {
            $(async fn $method(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                ended(actions!(@done $when $handler(&self.0, request)))
            })*
        }
    };
}

output! {
    AbortMultipartUploadOutput CompleteMultipartUploadOutput CopyObjectOutput CreateMultipartUploadOutput
    DeleteBucketLifecycleOutput DeleteBucketOutput DeleteBucketOwnershipControlsOutput
    DeleteBucketPolicyOutput DeleteBucketTaggingOutput DeleteObjectOutput DeleteObjectTaggingOutput
    DeleteObjectsOutput DeletePublicAccessBlockOutput GetBucketLifecycleConfigurationOutput
    GetBucketLocationOutput GetBucketOwnershipControlsOutput GetBucketPolicyOutput
    GetBucketPolicyStatusOutput GetBucketTaggingOutput GetBucketVersioningOutput GetObjectTaggingOutput
    GetPublicAccessBlockOutput HeadBucketOutput ListBucketsOutput ListMultipartUploadsOutput
    ListObjectVersionsOutput ListObjectsOutput ListObjectsV2Output ListPartsOutput
    PutBucketLifecycleConfigurationOutput PutBucketOwnershipControlsOutput PutBucketPolicyOutput
    PutBucketTaggingOutput PutBucketVersioningOutput PutObjectTaggingOutput PutPublicAccessBlockOutput
    UploadPartCopyOutput UploadPartOutput
}

actions! {
    now list_buckets(ListBucketsInput) -> ListBucketsOutput: buckets::list;
    now head_bucket(HeadBucketInput) -> HeadBucketOutput: buckets::head;
    now get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput: buckets::location;
    now delete_bucket(DeleteBucketInput) -> DeleteBucketOutput: buckets::delete;
    now get_public_access_block(GetPublicAccessBlockInput) -> GetPublicAccessBlockOutput: settings::get_public_access_block;
    now put_public_access_block(PutPublicAccessBlockInput) -> PutPublicAccessBlockOutput: settings::put_public_access_block;
    now delete_public_access_block(DeletePublicAccessBlockInput) -> DeletePublicAccessBlockOutput: settings::delete_public_access_block;
    now get_bucket_ownership_controls(GetBucketOwnershipControlsInput) -> GetBucketOwnershipControlsOutput: settings::get_ownership;
    now put_bucket_ownership_controls(PutBucketOwnershipControlsInput) -> PutBucketOwnershipControlsOutput: settings::put_ownership;
    now delete_bucket_ownership_controls(DeleteBucketOwnershipControlsInput) -> DeleteBucketOwnershipControlsOutput: settings::delete_ownership;
    now get_bucket_versioning(GetBucketVersioningInput) -> GetBucketVersioningOutput: settings::get_versioning;
    now put_bucket_versioning(PutBucketVersioningInput) -> PutBucketVersioningOutput: settings::put_versioning;
    now get_bucket_lifecycle_configuration(GetBucketLifecycleConfigurationInput) -> GetBucketLifecycleConfigurationOutput: settings::get_lifecycle;
    now put_bucket_lifecycle_configuration(PutBucketLifecycleConfigurationInput) -> PutBucketLifecycleConfigurationOutput: settings::put_lifecycle;
    now delete_bucket_lifecycle(DeleteBucketLifecycleInput) -> DeleteBucketLifecycleOutput: settings::delete_lifecycle;
    now get_bucket_policy(GetBucketPolicyInput) -> GetBucketPolicyOutput: settings::get_policy;
    now get_bucket_policy_status(GetBucketPolicyStatusInput) -> GetBucketPolicyStatusOutput: settings::get_policy_status;
    now put_bucket_policy(PutBucketPolicyInput) -> PutBucketPolicyOutput: settings::put_policy;
    now delete_bucket_policy(DeleteBucketPolicyInput) -> DeleteBucketPolicyOutput: settings::delete_policy;
    now get_bucket_tagging(GetBucketTaggingInput) -> GetBucketTaggingOutput: settings::get_tagging;
    now put_bucket_tagging(PutBucketTaggingInput) -> PutBucketTaggingOutput: settings::put_tagging;
    now delete_bucket_tagging(DeleteBucketTaggingInput) -> DeleteBucketTaggingOutput: settings::delete_tagging;
    now list_objects(ListObjectsInput) -> ListObjectsOutput: listing::objects;
    now list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output: listing::objects_v2;
    now list_object_versions(ListObjectVersionsInput) -> ListObjectVersionsOutput: listing::versions;
    later put_object(PutObjectInput) -> PutObjectOutput: objects::put;
    now get_object(GetObjectInput) -> GetObjectOutput: reads::get;
    now head_object(HeadObjectInput) -> HeadObjectOutput: reads::head;
    now delete_object(DeleteObjectInput) -> DeleteObjectOutput: objects::delete;
    now delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput: objects::delete_many;
    later copy_object(CopyObjectInput) -> CopyObjectOutput: copies::copy;
    now get_object_tagging(GetObjectTaggingInput) -> GetObjectTaggingOutput: tagging::get;
    now put_object_tagging(PutObjectTaggingInput) -> PutObjectTaggingOutput: tagging::put;
    now delete_object_tagging(DeleteObjectTaggingInput) -> DeleteObjectTaggingOutput: tagging::delete;
    now create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput: multipart::create;
    later upload_part(UploadPartInput) -> UploadPartOutput: multipart::upload_part;
    later upload_part_copy(UploadPartCopyInput) -> UploadPartCopyOutput: multipart::upload_part_copy;
    later complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput: complete::complete;
    now abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput: multipart::abort;
    now list_multipart_uploads(ListMultipartUploadsInput) -> ListMultipartUploadsOutput: uploads::list;
    now list_parts(ListPartsInput) -> ListPartsOutput: uploads::parts;
}

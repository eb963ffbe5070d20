//! The actions whose documents have members that the wire's crate does not know yet: the tags of
//! `CreateBucket`, the blocked kinds of a bucket's encryption.

use std::sync::Arc;

use http::{Extensions, HeaderMap, HeaderValue, Method, Uri};
use http_body_util::{BodyExt as _, Limited};
use s3s::route::S3Route;
use s3s::{Body, S3Request, S3Response, S3Result};

use super::access::Exchange;
use super::blob::broken;
use super::encryption::BucketEncryption;
use super::wire::refuse;
use super::{create_bucket, no_such_bucket};
use crate::api::ApiError;

/// Both documents are far smaller.
const LARGEST: usize = 64 * 1024;

pub(super) struct Extra(pub Arc<Exchange>);

impl Extra {
    /// The action, when it is one of these.
    fn action(&self, method: &Method, uri: &Uri) -> Option<&'static str> {
        if self.0.target.key.is_some() || self.0.target.bucket.is_none() {
            return None;
        }
        let query = uri.query().unwrap_or_default();
        let names: Vec<String> = form_urlencoded::parse(query.as_bytes())
            .map(|(name, _)| name.into_owned())
            .filter(|name| name != "x-id" && !name.to_ascii_lowercase().starts_with("x-amz-"))
            .collect();
        match (method.as_str(), names.as_slice()) {
            ("PUT", []) => Some("CreateBucket"),
            ("PUT", [name]) if name == "encryption" => Some("PutBucketEncryption"),
            ("GET", [name]) if name == "encryption" => Some("GetBucketEncryption"),
            ("DELETE", [name]) if name == "encryption" => Some("DeleteBucketEncryption"),
            _ => None,
        }
    }

    async fn carry_out(&self, request: S3Request<Body>) -> Result<S3Response<Body>, ApiError> {
        let action = self
            .action(&request.method, &request.uri)
            .unwrap_or_default();
        let body = Limited::new(request.input, LARGEST)
            .collect()
            .await
            .map_err(|error| broken(&error.to_string()))?
            .to_bytes();
        let bucket = self.0.target.bucket.as_deref().unwrap_or_default();
        let empty = |status: u16| {
            let status = http::StatusCode::from_u16(status).unwrap_or_default();
            S3Response::with_status(Body::empty(), status)
        };
        match action {
            "CreateBucket" => {
                create_bucket::create(&self.0, bucket, &request.headers, &body)?;
                let mut response = empty(200);
                for (name, value) in [
                    ("location", format!("/{bucket}")),
                    ("x-amz-bucket-arn", format!("arn:aws:s3:::{bucket}")),
                ] {
                    if let Ok(value) = value.parse() {
                        response.headers.insert(name, value);
                    }
                }
                Ok(response)
            }
            "PutBucketEncryption" => {
                let encryption = BucketEncryption::parse(&body)?;
                let mut state = self.0.lab.s3.lock();
                state.set_encryption(bucket, Some(encryption))?;
                Ok(empty(200))
            }
            "DeleteBucketEncryption" => {
                self.0.lab.s3.lock().set_encryption(bucket, None)?;
                Ok(empty(204))
            }
            "GetBucketEncryption" => {
                let text = self.0.lab.s3.lock().bucket(bucket)?.encryption.render();
                let mut response = S3Response::new(Body::from(text));
                response
                    .headers
                    .insert("content-type", HeaderValue::from_static("application/xml"));
                Ok(response)
            }
            _ => Err(no_such_bucket(bucket)),
        }
    }
}

#[async_trait::async_trait]
impl S3Route for Extra {
    fn is_match(&self, method: &Method, uri: &Uri, _: &HeaderMap, _: &mut Extensions) -> bool {
        self.action(method, uri).is_some()
    }

    async fn check_access(&self, request: &mut S3Request<Body>) -> S3Result<()> {
        let action = self
            .action(&request.method, &request.uri)
            .unwrap_or_default();
        let admitted = self.0.admit(action, &request.headers, &request.uri).await;
        admitted.map_err(|error| {
            log::debug!("s3 {action}: {error}");
            refuse(error)
        })
    }

    async fn call(&self, request: S3Request<Body>) -> S3Result<S3Response<Body>> {
        self.carry_out(request).await.map_err(refuse)
    }
}

//! Files in a bucket, the way Mattermost's client (minio-go) keeps them there.
//!
//! * Every write is a multipart upload, because the server does not know a stream's length.
//! * At an Amazon endpoint the bucket stands in the host's name, which is the region's dual-stack one;
//!   anywhere else it stands in the path.
//! * The region is asked of nobody: without one it is `us-east-1`.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{Client, Method, Response, StatusCode};

use super::FileError;
use super::credentials::Provider;
use super::signature::sign;
use super::wire::{Ask, elements};
use crate::settings::S3Settings;

/// How often a request is tried, when the service is overloaded or does not answer.
const TRIES: u32 = 3;
/// The wait before the second try; the third waits twice as long.
const BACK_OFF: Duration = Duration::from_millis(200);

/// A bucket.
#[derive(Debug)]
pub(crate) struct S3 {
    settings: S3Settings,
    region: String,
    /// Scheme, host, and the bucket where it stands in the path; without a slash at the end.
    base: String,
    host: String,
    provider: Provider,
    client: Client,
}

impl S3 {
    pub(super) fn new(settings: S3Settings) -> Result<Self, FileError> {
        let client = Client::builder()
            .timeout(settings.timeout)
            .no_proxy()
            .build()
            .map_err(FileError::Unreachable)?;
        let region = if settings.region.is_empty() {
            "us-east-1".to_owned()
        } else {
            settings.region.clone()
        };
        let scheme = if settings.tls { "https" } else { "http" };
        let amazon =
            settings.endpoint.starts_with("s3") && settings.endpoint.ends_with(".amazonaws.com");
        let dotted = settings.tls && settings.bucket.contains('.');
        let (host, path) = match (amazon, dotted) {
            (true, false) => (
                format!("{}.s3.dualstack.{region}.amazonaws.com", settings.bucket),
                String::new(),
            ),
            (true, true) => (
                format!("s3.dualstack.{region}.amazonaws.com"),
                format!("/{}", settings.bucket),
            ),
            (false, _) => (settings.endpoint.clone(), format!("/{}", settings.bucket)),
        };
        Ok(Self {
            base: format!("{scheme}://{host}{path}"),
            host,
            region,
            provider: Provider::new(settings.keys.clone()),
            client,
            settings,
        })
    }

    pub(super) async fn test(&self) -> Result<(), FileError> {
        if self.settings.prefix.is_empty() {
            self.send(&Ask::new("HeadBucket", Method::HEAD, "")).await?;
            return Ok(());
        }
        let ask = Ask::new("ListObjectsV2", Method::GET, "")
            .query("list-type", "2")
            .query("max-keys", "1")
            .query("prefix", &self.settings.prefix);
        self.send(&ask).await?;
        Ok(())
    }

    pub(super) async fn make_bucket(&self) -> Result<(), FileError> {
        let mut ask = Ask::new("CreateBucket", Method::PUT, "");
        if self.region != "us-east-1" {
            ask = ask.body(format!(
                "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                 <LocationConstraint>{}</LocationConstraint></CreateBucketConfiguration>",
                self.region
            ));
        }
        self.send(&ask).await?;
        Ok(())
    }

    pub(super) async fn read(&self, path: &str) -> Result<Bytes, FileError> {
        let key = self.key(path);
        let answer = self.send(&Ask::new("GetObject", Method::GET, &key)).await?;
        answer.bytes().await.map_err(FileError::Unreachable)
    }

    pub(super) async fn remove(&self, path: &str) -> Result<(), FileError> {
        let key = self.key(path);
        let ask = Ask::new("DeleteObject", Method::DELETE, &key);
        match self.send(&ask).await {
            Ok(_) | Err(FileError::Missing(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn list(&self, folder: &str) -> Result<Vec<String>, FileError> {
        let mut paths = Vec::new();
        let mut next = None;
        loop {
            let mut ask = Ask::new("ListObjectsV2", Method::GET, "");
            if let Some(token) = next.take() {
                ask = ask.query("continuation-token", token);
            }
            ask = ask
                .query("delimiter", "/")
                .query("list-type", "2")
                .query("prefix", self.key(&format!("{folder}/")));
            let page = text(self.send(&ask).await?).await?;
            let keys = elements(&page, "Key");
            paths.extend(
                keys.iter()
                    .filter_map(|key| key.strip_prefix(&self.settings.prefix))
                    .map(str::to_owned),
            );
            next = elements(&page, "NextContinuationToken").pop();
            if next.is_none() {
                return Ok(paths);
            }
        }
    }

    /// One upload in parts. A failed one is aborted, so that nothing unseen is paid for.
    pub(super) async fn write(&self, path: &str, bytes: Bytes) -> Result<(), FileError> {
        let key = self.key(path);
        let mut begin = Ask::new("CreateMultipartUpload", Method::POST, &key).query("uploads", "");
        begin
            .headers
            .push(("content-type", "binary/octet-stream".to_owned()));
        if self.settings.encrypt {
            begin
                .headers
                .push(("x-amz-server-side-encryption", "AES256".to_owned()));
        }
        let answer = text(self.send(&begin).await?).await?;
        let upload = elements(&answer, "UploadId")
            .pop()
            .ok_or(FileError::Answer("CreateMultipartUpload"))?;
        let done = self.upload(&key, &upload, bytes).await;
        if done.is_err() {
            let abort = Ask::new("AbortMultipartUpload", Method::DELETE, &key);
            let aborted = self.send(&abort.query("uploadId", upload.as_str())).await;
            if let Err(error) = aborted {
                log::warn!("An upload was left unfinished in the bucket: {error}");
            }
        }
        done
    }

    async fn upload(&self, key: &str, upload: &str, mut bytes: Bytes) -> Result<(), FileError> {
        let mut parts = String::new();
        let mut number = 1;
        loop {
            let part = bytes.split_to(bytes.len().min(self.settings.part_size));
            let ask = Ask::new("UploadPart", Method::PUT, key)
                .query("partNumber", number.to_string())
                .query("uploadId", upload)
                .body(part);
            let answer = self.send(&ask).await?;
            let tag = answer
                .headers()
                .get("etag")
                .and_then(|tag| tag.to_str().ok())
                .ok_or(FileError::Answer("UploadPart"))?;
            let tag = tag.replace('"', "&quot;");
            parts.extend([
                "<Part><PartNumber>",
                &number.to_string(),
                "</PartNumber><ETag>",
                &tag,
                "</ETag></Part>",
            ]);
            if bytes.is_empty() {
                break;
            }
            number += 1;
        }
        let complete = Ask::new("CompleteMultipartUpload", Method::POST, key)
            .query("uploadId", upload)
            .body(format!(
                "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{parts}</CompleteMultipartUpload>"
            ));
        let answer = text(self.send(&complete).await?).await?;
        // This call answers 200 before it knows; an error then stands in the body.
        if answer.contains("<Error>") {
            return Err(FileError::Refused {
                operation: "CompleteMultipartUpload",
                key: key.to_owned(),
                status: 200,
                code: elements(&answer, "Code").pop().unwrap_or_default(),
            });
        }
        Ok(())
    }

    fn key(&self, path: &str) -> String {
        format!("{}{path}", self.settings.prefix)
    }

    async fn send(&self, ask: &Ask<'_>) -> Result<Response, FileError> {
        let mut tried = 1;
        loop {
            let error = match self.send_once(ask).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let again = match &error {
                FileError::Unreachable(_) => true,
                FileError::Refused { status, code, .. } => {
                    let expired = matches!(code.as_str(), "ExpiredToken" | "InvalidAccessKeyId");
                    if expired {
                        self.provider.forget().await;
                    }
                    expired || *status >= 500
                }
                _ => false,
            };
            if !again || tried == TRIES {
                return Err(error);
            }
            tokio::time::sleep(BACK_OFF * tried).await;
            tried += 1;
        }
    }

    async fn send_once(&self, ask: &Ask<'_>) -> Result<Response, FileError> {
        let credentials = self.provider.get(&self.client).await?;
        let url = ask.url(&self.base);
        let mut headers = vec![("host", self.host.clone())];
        headers.extend(ask.headers.iter().cloned());
        let method = ask.method.as_str();
        let signed = sign(
            method,
            &url,
            &headers,
            &ask.body,
            &self.region,
            &credentials,
        )?;
        let mut request = self.client.request(ask.method.clone(), &url);
        for (name, value) in &ask.headers {
            request = request.header(*name, value);
        }
        for (name, value) in signed {
            request = request.header(name, value);
        }
        let answer = request
            .body(ask.body.clone())
            .send()
            .await
            .map_err(FileError::Unreachable)?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        Err(self.refusal(ask, answer).await)
    }

    async fn refusal(&self, ask: &Ask<'_>, answer: Response) -> FileError {
        let status = answer.status();
        let body = answer.text().await.unwrap_or_default();
        let code = elements(&body, "Code").into_iter().next();
        let code = code.unwrap_or_default();
        match (status, code.as_str(), ask.operation) {
            (_, "NoSuchBucket", _) | (StatusCode::NOT_FOUND, _, "HeadBucket") => {
                FileError::NoBucket(self.settings.bucket.clone())
            }
            (StatusCode::NOT_FOUND, _, "GetObject" | "DeleteObject") => {
                FileError::Missing(ask.key.to_owned())
            }
            _ => FileError::Refused {
                operation: ask.operation,
                key: if ask.key.is_empty() {
                    self.settings.bucket.clone()
                } else {
                    ask.key.to_owned()
                },
                status: status.as_u16(),
                code,
            },
        }
    }
}

async fn text(answer: Response) -> Result<String, FileError> {
    answer.text().await.map_err(FileError::Unreachable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(endpoint: &str, bucket: &str) -> S3Settings {
        S3Settings {
            bucket: bucket.to_owned(),
            region: "eu-central-1".to_owned(),
            prefix: "chat/".to_owned(),
            endpoint: endpoint.to_owned(),
            tls: true,
            keys: None,
            encrypt: false,
            part_size: 5 << 20,
            timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn the_bucket_stands_where_the_real_client_puts_it() {
        for (endpoint, bucket, base) in [
            (
                "s3.eu-central-1.amazonaws.com",
                "files",
                "https://files.s3.dualstack.eu-central-1.amazonaws.com",
            ),
            (
                "s3.amazonaws.com",
                "my.files",
                "https://s3.dualstack.eu-central-1.amazonaws.com/my.files",
            ),
            ("127.0.0.1:9000", "files", "https://127.0.0.1:9000/files"),
            ("minio.example", "files", "https://minio.example/files"),
        ] {
            let store = S3::new(settings(endpoint, bucket)).unwrap();
            assert_eq!(store.base, base, "{endpoint}");
        }
    }
}

//! Bytes in files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use s3s::dto::StreamingBlob;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};
use tokio_stream::wrappers::ReceiverStream;

use super::digest::Digests;
use crate::api::ApiError;

/// Bytes that are read from a file at once.
const CHUNK: usize = 128 * 1024;
/// Chunks that wait for a slow reader.
const AHEAD: usize = 4;

/// A file that is written once, and removed when nothing refers to it any more.
#[derive(Debug)]
pub(super) struct Blob {
    path: PathBuf,
    pub size: u64,
}

impl Drop for Blob {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            log::warn!("`{}` cannot be removed: {error}", self.path.display());
        }
    }
}

/// Writes a request's body into a new file below `directory` and counts and digests it on the way. Nothing
/// is left behind on an error.
pub(super) async fn write(
    directory: &Path,
    name: &str,
    body: Option<StreamingBlob>,
    digests: &mut Digests,
) -> Result<Arc<Blob>, ApiError> {
    let mut blob = Blob {
        path: directory.join(name),
        size: 0,
    };
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        log::error!("s3: a file for an object cannot be {what}: {error}");
        ApiError::new(
            "InternalError",
            "We encountered an internal error. Please try again.",
        )
        .status(500)
    };
    let mut file = File::create(&blob.path)
        .await
        .map_err(|error| failed("made", &error))?;
    if let Some(mut body) = body {
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|error| broken(&error.to_string()))?;
            digests.update(&chunk);
            blob.size += chunk.len() as u64;
            file.write_all(&chunk)
                .await
                .map_err(|error| failed("written", &error))?;
        }
    }
    file.flush()
        .await
        .map_err(|error| failed("written", &error))?;
    Ok(Arc::new(blob))
}

/// What a body's end means that did not come as it was signed. The crate tells it by text alone.
pub(super) fn broken(what: &str) -> ApiError {
    if what.contains("Sha256Mismatch") {
        return ApiError::new(
            "XAmzContentSHA256Mismatch",
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        );
    }
    if what.contains("SignatureMismatch") {
        return ApiError::new(
            "SignatureDoesNotMatch",
            "The signature of a chunk does not match the signature you provided.",
        )
        .status(403);
    }
    ApiError::new(
        "IncompleteBody",
        "You did not provide the number of bytes specified by the Content-Length HTTP header.",
    )
}

/// The bytes `start..end` of files put one behind the other, as a stream that a slow reader holds up.
pub(super) fn read(blobs: Vec<Arc<Blob>>, start: u64, end: u64) -> StreamingBlob {
    let (sender, receiver) = tokio::sync::mpsc::channel::<std::io::Result<Bytes>>(AHEAD);
    tokio::spawn(async move {
        let mut position = 0;
        for blob in blobs {
            let (from, to) = (start.max(position), end.min(position + blob.size));
            if from < to {
                let range = (from - position, to - from);
                if let Err(error) = read_one(&blob, range, &sender).await {
                    // Who stopped reading needs no error.
                    let _ = sender.send(Err(error)).await;
                    return;
                }
            }
            position += blob.size;
        }
    });
    StreamingBlob::wrap(ReceiverStream::new(receiver))
}

async fn read_one(
    blob: &Blob,
    (offset, length): (u64, u64),
    sender: &tokio::sync::mpsc::Sender<std::io::Result<Bytes>>,
) -> std::io::Result<()> {
    let mut file = File::open(&blob.path).await?;
    file.seek(std::io::SeekFrom::Start(offset)).await?;
    let mut file = file.take(length);
    loop {
        let mut chunk = bytes::BytesMut::with_capacity(CHUNK);
        if file.read_buf(&mut chunk).await? == 0 {
            return Ok(());
        }
        if sender.send(Ok(chunk.freeze())).await.is_err() {
            return Ok(());
        }
    }
}

/// Digests of files put one behind the other.
pub(super) async fn digest(blobs: &[Arc<Blob>], digests: &mut Digests) -> Result<(), ApiError> {
    let size = blobs.iter().map(|blob| blob.size).sum();
    let mut stream = read(blobs.to_vec(), 0, size);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| {
            log::error!("s3: an object's file cannot be read: {error}");
            ApiError::new("InternalError", "We encountered an internal error.").status(500)
        })?;
        digests.update(&chunk);
    }
    Ok(())
}

//! The file store: a directory, or a bucket.

mod credentials;
mod local;
mod s3;
mod signature;
mod wire;

use bytes::Bytes;

use crate::settings::FileSettings;
use local::Local;
use s3::S3;

/// Why the file store does not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// There is no such file.
    #[error("there is no file `{0}`")]
    Missing(String),
    /// There is no such bucket.
    #[error("no such bucket: `{0}`")]
    NoBucket(String),
    /// The directory.
    #[error("the file store cannot use `{path}`")]
    Local {
        /// The file or directory.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The bucket's service answered with an error.
    #[error("S3 refused `{operation}` of `{key}`: {status} `{code}`")]
    Refused {
        /// `PutObject`, …
        operation: &'static str,
        /// The object's key, or the bucket.
        key: String,
        /// The HTTP status.
        status: u16,
        /// The code in the answer's body; empty when it has none.
        code: String,
    },
    /// The bucket's service did not answer.
    #[error("S3 does not answer")]
    Unreachable(#[source] reqwest::Error),
    /// The answer is not what S3 answers.
    #[error("S3's answer to `{0}` is not understood")]
    Answer(&'static str),
    /// There is nothing to sign with.
    #[error("no credentials for S3: {0}")]
    Credentials(String),
    /// The request cannot be signed.
    #[error("the request to S3 cannot be signed: {0}")]
    Sign(String),
}

/// A file store.
#[derive(Debug)]
pub(crate) enum FileStore {
    Local(Local),
    S3(Box<S3>),
}

impl FileStore {
    /// From the settings; nothing is tried yet.
    pub(crate) fn new(settings: &FileSettings) -> Result<Self, FileError> {
        Ok(match settings {
            FileSettings::Local(directory) => Self::Local(Local::new(directory.clone())),
            FileSettings::S3(settings) => Self::S3(Box::new(S3::new((**settings).clone())?)),
        })
    }

    /// Whether the store can be used. A directory is written to; of a bucket it is only asked whether
    /// it is there, or whether its prefix can be listed.
    pub(crate) async fn test(&self) -> Result<(), FileError> {
        match self {
            Self::Local(store) => store.test().await,
            Self::S3(store) => store.test().await,
        }
    }

    /// At a start: as `test`, and a bucket that is not there is made, if the role may.
    pub(crate) async fn prepare(&self) -> Result<(), FileError> {
        match (self, self.test().await) {
            (Self::S3(store), Err(FileError::NoBucket(_))) => store.make_bucket().await,
            (_, tested) => tested,
        }
    }

    /// A file's bytes.
    pub(crate) async fn read(&self, path: &str) -> Result<Bytes, FileError> {
        match self {
            Self::Local(store) => store.read(path).await,
            Self::S3(store) => store.read(path).await,
        }
    }

    /// Writes a file, replacing an earlier one.
    pub(crate) async fn write(&self, path: &str, bytes: Bytes) -> Result<(), FileError> {
        match self {
            Self::Local(store) => store.write(path, bytes).await,
            Self::S3(store) => store.write(path, bytes).await,
        }
    }

    /// Removes a file; one that is not there is removed already.
    pub(crate) async fn remove(&self, path: &str) -> Result<(), FileError> {
        match self {
            Self::Local(store) => store.remove(path).await,
            Self::S3(store) => store.remove(path).await,
        }
    }

    /// The paths of the files directly in a folder.
    pub(crate) async fn list(&self, folder: &str) -> Result<Vec<String>, FileError> {
        match self {
            Self::Local(store) => store.list(folder).await,
            Self::S3(store) => store.list(folder).await,
        }
    }
}

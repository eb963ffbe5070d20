//! Files in a directory.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use tokio::fs;
use tokio::io::AsyncWriteExt as _;

use super::FileError;

/// What is written to see whether one may write.
const TEST_FILE: &str = "testfile";

#[derive(Debug)]
pub(crate) struct Local {
    directory: PathBuf,
}

impl Local {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    pub(super) async fn test(&self) -> Result<(), FileError> {
        self.write(TEST_FILE, Bytes::from_static(b"testingwrite"))
            .await?;
        // Another node, or another ping, may have removed it meanwhile.
        self.remove(TEST_FILE).await
    }

    pub(super) async fn read(&self, path: &str) -> Result<Bytes, FileError> {
        let full = self.directory.join(path);
        match fs::read(&full).await {
            Ok(bytes) => Ok(bytes.into()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(FileError::Missing(path.to_owned()))
            }
            Err(source) => Err(failed(&full, source)),
        }
    }

    pub(super) async fn write(&self, path: &str, bytes: Bytes) -> Result<(), FileError> {
        let full = self.directory.join(path);
        let folder = full.parent().unwrap_or(&self.directory);
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o750);
        builder
            .create(folder)
            .await
            .map_err(|source| failed(folder, source))?;
        let written = async {
            let mut options = fs::OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&full).await?;
            file.write_all(&bytes).await?;
            file.flush().await
        };
        written.await.map_err(|source| failed(&full, source))
    }

    pub(super) async fn remove(&self, path: &str) -> Result<(), FileError> {
        let full = self.directory.join(path);
        match fs::remove_file(&full).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(&full, error)),
            _ => Ok(()),
        }
    }

    pub(super) async fn list(&self, folder: &str) -> Result<Vec<String>, FileError> {
        let full = self.directory.join(folder);
        let mut entries = match fs::read_dir(&full).await {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(failed(&full, source)),
        };
        let mut paths = Vec::new();
        loop {
            let entry = entries.next_entry().await;
            let Some(entry) = entry.map_err(|source| failed(&full, source))? else {
                break;
            };
            let is_file = entry.file_type().await.is_ok_and(|kind| kind.is_file());
            if is_file && let Some(name) = entry.file_name().to_str() {
                paths.push(format!("{folder}/{name}"));
            }
        }
        paths.sort();
        Ok(paths)
    }
}

fn failed(path: &Path, source: std::io::Error) -> FileError {
    FileError::Local {
        path: path.to_owned(),
        source,
    }
}

//! Where the tarball comes from when the image has it.

use std::path::{Path, PathBuf};

use tokio::fs::File;
use tokio::io::AsyncReadExt;

use super::error::InstallError;
use super::pipeline::Pipeline;
use crate::disk::at;
use crate::layout::Layout;
use crate::wanted::Artefact;

/// One read from the cache.
const READ: usize = 256 * 1024;

/// The image's copies, likeliest first. The digest decides, not the name.
pub fn cached(layout: &Layout, artefact: &Artefact) -> Vec<PathBuf> {
    let arch = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    };
    let version = &artefact.version;
    [
        format!("mattermost-{}.tar.gz", artefact.sha256),
        format!("mattermost-{version}-linux-{arch}.tar.gz"),
        format!("mattermost-team-{version}-linux-{arch}.tar.gz"),
        format!("mattermost-{version}.tar.gz"),
    ]
    .into_iter()
    .map(|name| layout.cache().join(name))
    .filter(|path| path.is_file())
    .collect()
}

/// The detached signature that came with the image's copy.
pub fn signature_beside(copy: &Path) -> Option<PathBuf> {
    let mut name = copy.as_os_str().to_owned();
    name.push(".sig");
    let path = PathBuf::from(name);
    path.is_file().then_some(path)
}

/// A file into the pipeline.
pub async fn read_file(path: &Path, pipeline: &Pipeline) -> Result<(), InstallError> {
    let mut file = File::open(path).await.map_err(at("open", path))?;
    loop {
        let mut buffer = bytes::BytesMut::with_capacity(READ);
        let length = file.read_buf(&mut buffer).await.map_err(at("read", path))?;
        if length == 0 || !pipeline.push(buffer.freeze()).await {
            return Ok(());
        }
    }
}

//! Plugin bundles that a Mattermost tarball carries (`prepackaged_plugins/….tar.gz`).

use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

/// The folder of a release that holds them.
const FOLDER: &str = "prepackaged_plugins";
/// A larger one is not looked at: what is chosen is held in memory.
const LIMIT: u64 = 256 * 1024 * 1024;

/// A plugin's bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// The file's name.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// A tarball that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the plugins in the tarball `{tarball}` cannot be read")]
pub struct BundleError {
    /// The tarball.
    pub tarball: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// The smallest bundle that a release's tarball (`.tar.gz`) carries; none when it carries none. The
/// tarball is read once, to its end.
pub fn smallest_bundle(tarball: &Path) -> Result<Option<Bundle>, BundleError> {
    search(tarball).map_err(|source| BundleError {
        tarball: tarball.to_path_buf(),
        source,
    })
}

fn search(tarball: &Path) -> io::Result<Option<Bundle>> {
    let file = BufReader::with_capacity(1 << 20, File::open(tarball)?);
    let mut archive = tar::Archive::new(GzDecoder::new(file));
    let mut smallest: Option<Bundle> = None;
    for entry in archive.entries()? {
        let mut entry = entry?;
        let size = entry.size();
        let limit = smallest
            .as_ref()
            .map_or(LIMIT, |bundle| bundle.bytes.len() as u64);
        let Some(name) = bundle_name(&entry.path()?) else {
            continue;
        };
        if !entry.header().entry_type().is_file() || size >= limit {
            continue;
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        smallest = Some(Bundle { name, bytes });
    }
    Ok(smallest)
}

/// The name of a bundle directly in the folder; signatures beside it are none.
fn bundle_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let is_inside = path.parent()?.file_name()? == FOLDER;
    (is_inside && name.ends_with(".tar.gz")).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn tarball(folder: &Path, files: &[(&str, usize)]) -> PathBuf {
        let path = folder.join("release.tar.gz");
        let packed = GzEncoder::new(File::create(&path).unwrap(), Compression::fast());
        let mut archive = tar::Builder::new(packed);
        for (name, size) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(*size as u64);
            let content = vec![b'x'; *size];
            archive
                .append_data(&mut header, name, content.as_slice())
                .unwrap();
        }
        archive.into_inner().unwrap().finish().unwrap();
        path
    }

    #[test]
    fn the_smallest_bundle_is_found_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = tarball(
            folder.path(),
            &[
                ("mattermost/bin/mattermost", 10),
                ("mattermost/prepackaged_plugins/big-v1.tar.gz", 900),
                ("mattermost/prepackaged_plugins/small-v2.tar.gz", 40),
                ("mattermost/prepackaged_plugins/small-v2.tar.gz.sig", 5),
                ("mattermost/prepackaged_plugins/middle-v1.tar.gz", 400),
                ("mattermost/client/other.tar.gz", 3),
            ],
        );
        let found = smallest_bundle(&path).unwrap().unwrap();
        assert_eq!(
            (found.name.as_str(), found.bytes.len()),
            ("small-v2.tar.gz", 40)
        );
        let path = tarball(folder.path(), &[("mattermost/bin/mattermost", 10)]);
        assert_eq!(smallest_bundle(&path).unwrap(), None);
    }

    #[test]
    fn what_is_no_tarball_is_said_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broken.tar.gz");
        std::fs::write(&path, "no").unwrap();
        for path in [path, folder.path().join("absent.tar.gz")] {
            let error = smallest_bundle(&path).unwrap_err();
            assert!(
                error.to_string().contains(path.to_str().unwrap()),
                "{error}"
            );
        }
    }
}

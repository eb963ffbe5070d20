//! The files of an image whose tree is a stack of layers, read without mounting it.
//!
//! A layer is the upper folder of an overlay (kernel documentation, "Overlay Filesystem"): a character
//! device 0/0 says that what has its name below is gone, and a folder with `trusted.overlay.opaque` hides
//! all that is below it.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// One file, folder or link of an image.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where it lies on this machine.
    pub file: PathBuf,
    /// As the file system has it; of a link, its own.
    pub metadata: Metadata,
}

impl Entry {
    /// Permissions, with the set-id and sticky bits.
    pub fn mode(&self) -> u32 {
        self.metadata.mode() & 0o7777
    }

    /// Where a link leads.
    pub fn target(&self) -> Option<PathBuf> {
        fs::read_link(&self.file).ok()
    }

    /// Whether it is what `other` is: kind, mode, owner, and content or target.
    pub fn is_like(&self, other: &Self) -> io::Result<bool> {
        let (own, theirs) = (&self.metadata, &other.metadata);
        if own.file_type() != theirs.file_type()
            || self.mode() != other.mode()
            || (own.uid(), own.gid()) != (theirs.uid(), theirs.gid())
        {
            return Ok(false);
        }
        if own.is_symlink() {
            return Ok(self.target() == other.target());
        }
        if !own.is_file() || self.file == other.file {
            return Ok(true);
        }
        Ok(own.len() == theirs.len() && fs::read(&self.file)? == fs::read(&other.file)?)
    }
}

/// All entries by their path in the image, without a leading slash.
pub type Entries = BTreeMap<PathBuf, Entry>;

/// Reads a stack, its uppermost layer first.
pub fn read(layers: &[PathBuf]) -> io::Result<Entries> {
    let mut entries = Entries::new();
    for layer in layers.iter().rev() {
        add(layer, Path::new(""), &mut entries)?;
    }
    Ok(entries)
}

fn add(layer: &Path, below: &Path, entries: &mut Entries) -> io::Result<()> {
    for found in fs::read_dir(layer.join(below))? {
        let found = found?;
        let path = below.join(found.file_name());
        let metadata = found.metadata()?;
        let kind = metadata.file_type();
        if kind.is_char_device() && metadata.rdev() == 0 {
            remove(entries, &path);
            continue;
        }
        if !kind.is_dir() || is_opaque(&found.path())? {
            // A file in a folder's place hides what was in the folder too.
            remove(entries, &path);
        }
        let entry = Entry {
            file: found.path(),
            metadata,
        };
        entries.insert(path.clone(), entry);
        if kind.is_dir() {
            add(layer, &path, entries)?;
        }
    }
    Ok(())
}

fn remove(entries: &mut Entries, path: &Path) {
    if entries.remove(path).is_some() {
        entries.retain(|known, _| !known.starts_with(path));
    }
}

fn is_opaque(folder: &Path) -> io::Result<bool> {
    let mut value = [0_u8; 1];
    match rustix::fs::lgetxattr(folder, "trusted.overlay.opaque", &mut value) {
        Ok(length) => Ok(length == 1 && value == *b"y"),
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upper_layers_win_and_whole_paths_are_compared() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let (upper, lower) = (directory.path().join("u"), directory.path().join("l"));
        for (file, text) in [
            (lower.join("etc/kept"), "1"),
            (lower.join("etc/changed"), "1"),
            (lower.join("etc/folder/file"), "1"),
            (upper.join("etc/changed"), "22"),
            (upper.join("etc/folder-2"), ""),
        ] {
            fs::create_dir_all(file.parent().unwrap_or(&file))?;
            fs::write(file, text)?;
        }
        let merged = read(&[upper.clone(), lower.clone()])?;
        let base = read(&[lower])?;
        let paths: Vec<_> = merged
            .keys()
            .map(|path| path.display().to_string())
            .collect();
        assert_eq!(
            paths,
            [
                "etc",
                "etc/changed",
                "etc/folder",
                "etc/folder/file",
                "etc/folder-2",
                "etc/kept"
            ]
        );
        let same = |path: &str| merged[Path::new(path)].is_like(&base[Path::new(path)]);
        assert!(same("etc/kept")?);
        assert!(!same("etc/changed")?);
        let mut gone = merged;
        remove(&mut gone, Path::new("etc/folder"));
        assert!(gone.contains_key(Path::new("etc/folder-2")));
        assert!(!gone.contains_key(Path::new("etc/folder/file")));
        Ok(())
    }
}

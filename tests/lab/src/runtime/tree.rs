//! The file tree of an image, and its copies in the instances' roots.
//!
//! A tree belongs to those who hold it: snapshots (those of an image's copies in other regions too) and
//! instances. When the last lets go, the files are removed.
//!
//! The process runtime copies a tree. In a root, a file that nobody may write, and everything below
//! `usr/`, is hard-linked (an instance replaces such a file, it does not write into it); the rest is
//! copied, with the kernel's own reflink where the file system has it. Symbolic links are kept as they
//! are, sockets and pipes are left out, devices are refused.
//!
//! The machine runtime stacks trees: an instance's root is an overlay above all [`Tree::layers`], and the
//! image of an instance is a layer with what it changed, above those that it began with.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file tree of an image.
#[derive(Debug)]
pub struct Tree {
    path: PathBuf,
    /// Whether the files are the lab's own, and end with the tree.
    owned: bool,
    /// What lies under this layer.
    below: Option<Arc<Tree>>,
}

impl Tree {
    /// A copy of `from` at `to`, which must not exist.
    pub fn take(from: &Path, to: PathBuf) -> io::Result<Self> {
        copy_tree(from, &to, false)?;
        Ok(Self {
            path: to,
            owned: true,
            below: None,
        })
    }

    /// Files that somebody else keeps, and does not change meanwhile.
    pub fn borrowed(path: PathBuf) -> Self {
        Self {
            path,
            owned: false,
            below: None,
        }
    }

    /// A layer of the lab's own above another tree.
    pub fn layer(path: PathBuf, below: Option<Arc<Tree>>) -> Self {
        Self {
            path,
            owned: true,
            below,
        }
    }

    /// Where the files are; of a stack, the uppermost ones.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All layers, the uppermost first.
    pub fn layers(&self) -> Vec<&Path> {
        let mut layers = vec![self.path()];
        let mut below = self.below.as_deref();
        while let Some(tree) = below {
            layers.push(tree.path());
            below = tree.below.as_deref();
        }
        layers
    }

    /// Lays out a root.
    pub fn copy_to(&self, root: &Path) -> io::Result<()> {
        copy_tree(&self.path, root, true)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        if self.owned
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            log::warn!("`{}` cannot be removed: {error}", self.path.display());
        }
    }
}

/// Copies `from` to `to`, which must not exist. A failed copy leaves nothing at `to`.
fn copy_tree(from: &Path, to: &Path, link: bool) -> io::Result<()> {
    let name = to.file_name().map(std::ffi::OsStr::to_os_string);
    let (Some(parent), Some(mut name)) = (to.parent(), name) else {
        return Err(io::Error::other("the target has no parent directory"));
    };
    name.push(".partial");
    let partial = parent.join(name);
    fs::create_dir_all(parent)?;
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    let result =
        copy_directory(from, &partial, link, false).and_then(|()| fs::rename(&partial, to));
    if result.is_err() {
        let _ = fs::remove_dir_all(&partial);
    }
    result
}

fn copy_directory(from: &Path, to: &Path, link: bool, below_usr: bool) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            let usr = below_usr || entry.file_name() == "usr";
            copy_directory(&source, &target, link, usr)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&source)?, &target)?;
        } else if kind.is_file() {
            let read_only = entry.metadata()?.permissions().mode() & 0o222 == 0;
            let linked =
                link && (below_usr || read_only) && fs::hard_link(&source, &target).is_ok();
            if !linked {
                fs::copy(&source, &target)?;
            }
        } else if kind.is_socket() || kind.is_fifo() {
            // Whoever made it makes it again at its next start.
        } else {
            return Err(io::Error::other(format!(
                "`{}` is a device",
                source.display()
            )));
        }
    }
    fs::set_permissions(to, fs::metadata(from)?.permissions())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn read_only_files_are_shared_and_others_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let from = directory.path().join("from");
        fs::create_dir_all(from.join("usr/bin")).unwrap();
        fs::create_dir_all(from.join("var/cache")).unwrap();
        fs::write(from.join("usr/bin/program"), "p").unwrap();
        fs::write(from.join("var/cache/release"), "r").unwrap();
        fs::write(from.join("var/state"), "s").unwrap();
        let cache = from.join("var/cache/release");
        fs::set_permissions(&cache, fs::Permissions::from_mode(0o444)).unwrap();
        std::os::unix::fs::symlink("../usr", from.join("var/link")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(from.join("var/socket")).unwrap();
        let to = directory.path().join("to");

        copy_tree(&from, &to, true).unwrap();

        let inode = |path: &Path| fs::metadata(path).unwrap().ino();
        for (path, shared) in [
            ("usr/bin/program", true),
            ("var/cache/release", true),
            ("var/state", false),
        ] {
            let same = inode(&from.join(path)) == inode(&to.join(path));
            assert_eq!(same, shared, "{path}");
        }
        assert_eq!(
            fs::read_link(to.join("var/link")).unwrap(),
            Path::new("../usr")
        );
        assert!(!to.join("var/socket").exists());
        assert!(
            copy_tree(&from, &to, true).is_err(),
            "an existing target is refused"
        );
        assert!(!directory.path().join("to.partial").exists());
    }
}

//! From a tar stream to a tree, entry by entry. Every name, link and mode is checked before anything
//! is written, because the digest is known only at the end.
//!
//! What makes the link rule sound: a target may climb with leading `..` only, from a directory that
//! is a real one, and must end inside; nothing is ever written below a link. So by induction every
//! link resolves inside the tree.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use tar::{Archive, EntryType, Header};

use super::error::{ArchiveError, InstallError};
use super::names::{NAME_BYTES, components, stays_inside};
use crate::disk::at;
use crate::steps::{Step, reached};

/// Of a pax header; it holds a name and some times.
const PAX_BYTES: u64 = 64 * 1024;
/// Between archive and file.
const BUFFER: usize = 128 * 1024;

/// How much may come out.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// File contents.
    pub bytes: u64,
    /// Entries of any kind, implied directories included.
    pub files: u64,
}

/// What came out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// File contents.
    pub bytes: u64,
    /// Entries.
    pub files: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Directory,
    File,
    Link,
}

/// Names that extension headers gave to the next entry.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

struct Unpacker<'a> {
    root: &'a Path,
    limits: Limits,
    seen: HashMap<PathBuf, Kind>,
    top: Option<String>,
    done: Unpacked,
    buffer: Vec<u8>,
}

/// Unpacks the one top-level folder of the stream into `root`, which is an empty directory.
/// `failing` learns of an error while the stream is still open.
pub fn unpack(
    mut stream: impl Read,
    root: &Path,
    limits: Limits,
    failing: impl FnOnce(&InstallError),
) -> Result<Unpacked, InstallError> {
    unpack_all(&mut stream, root, limits).inspect_err(failing)
}

fn unpack_all(
    stream: &mut impl Read,
    root: &Path,
    limits: Limits,
) -> Result<Unpacked, InstallError> {
    let mut unpacker = Unpacker {
        root,
        limits,
        seen: HashMap::new(),
        top: None,
        done: Unpacked::default(),
        buffer: vec![0; BUFFER],
    };
    let mut archive = Archive::new(stream);
    let mut extension = Extension::default();
    // Raw: the crate would read the names in extension headers without a limit.
    for entry in archive.entries().map_err(damaged)?.raw(true) {
        let mut entry = entry.map_err(damaged)?;
        let header = entry.header().clone();
        match header.entry_type() {
            EntryType::GNULongName => extension.path = Some(long_name(&mut entry)?),
            EntryType::GNULongLink => extension.link = Some(long_name(&mut entry)?),
            EntryType::XHeader => pax(&mut entry, &mut extension)?,
            // git archive and others put a comment there; it must not name anything.
            EntryType::XGlobalHeader => {
                let mut named = Extension::default();
                pax(&mut entry, &mut named)?;
                if named.path.is_some() || named.link.is_some() {
                    return Err(unsupported("pax global header", "names for all entries").into());
                }
            }
            _ => unpacker.entry(&header, std::mem::take(&mut extension), &mut entry)?,
        }
    }
    rest_is_padding(archive.into_inner(), &mut unpacker.buffer)?;
    if unpacker.top.is_none() {
        return Err(ArchiveError::Missing("mattermost/").into());
    }
    reached(Step::Unpacked);
    Ok(unpacker.done)
}

fn unsupported(name: &str, what: &'static str) -> ArchiveError {
    ArchiveError::Unsupported(name.to_owned(), what)
}

/// Errors of reading the stream. One of our own, from the inflating side, comes through unchanged.
fn damaged(error: io::Error) -> InstallError {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return ArchiveError::Truncated.into();
    }
    match error.downcast::<InstallError>() {
        Ok(own) => own,
        Err(error) => ArchiveError::Tar(error.to_string()).into(),
    }
}

fn long_name(entry: &mut impl Read) -> Result<Vec<u8>, InstallError> {
    let mut name = bounded(
        entry,
        NAME_BYTES as u64 + 1,
        ArchiveError::NameTooLong(NAME_BYTES),
    )?;
    while name.last() == Some(&0) {
        name.pop();
    }
    Ok(name)
}

fn bounded(
    entry: &mut impl Read,
    limit: u64,
    otherwise: ArchiveError,
) -> Result<Vec<u8>, InstallError> {
    let mut bytes = Vec::new();
    entry
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(damaged)?;
    if bytes.len() as u64 > limit {
        return Err(otherwise.into());
    }
    Ok(bytes)
}

fn pax(entry: &mut impl Read, extension: &mut Extension) -> Result<(), InstallError> {
    let bytes = bounded(
        entry,
        PAX_BYTES,
        ArchiveError::NameTooLong(PAX_BYTES as usize),
    )?;
    for record in tar::PaxExtensions::new(&bytes) {
        let record = record.map_err(damaged)?;
        match record.key_bytes() {
            b"path" => extension.path = Some(record.value_bytes().to_vec()),
            b"linkpath" => extension.link = Some(record.value_bytes().to_vec()),
            // Two sizes are two archives, depending on who reads.
            b"size" => return Err(unsupported("pax header", "a size record").into()),
            key if key.starts_with(b"GNU.sparse") => {
                return Err(unsupported("pax header", "a sparse file").into());
            }
            _ => {}
        }
    }
    Ok(())
}

fn rest_is_padding(mut stream: impl Read, buffer: &mut [u8]) -> Result<(), InstallError> {
    loop {
        match stream.read(buffer).map_err(damaged)? {
            0 => return Ok(()),
            length if buffer[..length].iter().all(|&byte| byte == 0) => {}
            _ => return Err(ArchiveError::TrailingGarbage("bytes in the archive").into()),
        }
    }
}

impl Unpacker<'_> {
    fn entry(
        &mut self,
        header: &Header,
        extension: Extension,
        content: &mut impl Read,
    ) -> Result<(), InstallError> {
        let name = extension
            .path
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let shown = String::from_utf8_lossy(&name).into_owned();
        let parts = components(&name)?;
        let Some((top, inner)) = parts.split_first() else {
            return Ok(()); // "./": the archive's own folder
        };
        let known = self.top.get_or_insert_with(|| (*top).to_owned());
        if known != top {
            return Err(ArchiveError::TwoRoots(shown).into());
        }
        let mode = header.mode().map_err(damaged)?;
        let directory = match header.entry_type() {
            EntryType::Directory => true,
            EntryType::Regular | EntryType::Continuous => name.ends_with(b"/"),
            EntryType::Symlink | EntryType::Link => false,
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                return Err(ArchiveError::Device(shown).into());
            }
            EntryType::GNUSparse => return Err(unsupported(&shown, "a sparse file").into()),
            _ => return Err(unsupported(&shown, "an unknown type").into()),
        };
        if mode & 0o7000 != 0 {
            return Err(ArchiveError::Privileged(shown).into());
        }
        if inner.is_empty() {
            if directory {
                return Ok(());
            }
            return Err(ArchiveError::TwoRoots(shown).into());
        }
        let path: PathBuf = inner.iter().collect();
        self.ensure_parents(&path, &shown)?;
        match (directory, self.seen.get(&path)) {
            (true, Some(Kind::Directory)) => return Ok(()),
            (_, Some(_)) => return Err(ArchiveError::Duplicate(shown).into()),
            (_, None) => {}
        }
        if directory {
            return self.directory(&path);
        }
        let link = || -> Vec<u8> {
            extension
                .link
                .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned))
                .unwrap_or_default()
        };
        match header.entry_type() {
            EntryType::Symlink => self.symbolic_link(&path, &shown, &link()),
            EntryType::Link => self.hard_link(&path, &shown, &link()),
            _ => self.file(&path, header.size().map_err(damaged)?, mode, content),
        }
    }

    fn count(&mut self, path: &Path, kind: Kind) -> Result<(), ArchiveError> {
        self.done.files += 1;
        if self.done.files > self.limits.files {
            return Err(ArchiveError::TooManyFiles(self.limits.files));
        }
        self.seen.insert(path.to_owned(), kind);
        Ok(())
    }

    fn ensure_parents(&mut self, path: &Path, shown: &str) -> Result<(), InstallError> {
        let Some(parent) = path.parent().filter(|parent| *parent != Path::new("")) else {
            return Ok(());
        };
        match self.seen.get(parent) {
            Some(Kind::Directory) => Ok(()),
            Some(_) => Err(ArchiveError::ThroughLink(shown.to_owned()).into()),
            None => {
                self.ensure_parents(parent, shown)?;
                self.directory(parent)
            }
        }
    }

    fn directory(&mut self, path: &Path) -> Result<(), InstallError> {
        self.count(path, Kind::Directory)?;
        let path = self.root.join(path);
        fs::create_dir(&path)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
            .map_err(at("create directory", &path))?;
        Ok(())
    }

    fn symbolic_link(
        &mut self,
        path: &Path,
        shown: &str,
        target: &[u8],
    ) -> Result<(), InstallError> {
        let depth = path.components().count() - 1;
        let target = std::str::from_utf8(target).map_err(|_| ArchiveError::NameNotText)?;
        if target.len() > NAME_BYTES {
            return Err(ArchiveError::NameTooLong(NAME_BYTES).into());
        }
        if !stays_inside(target, depth) {
            return Err(ArchiveError::LinkLeaves(shown.to_owned()).into());
        }
        self.count(path, Kind::Link)?;
        let path = self.root.join(path);
        symlink(target, &path).map_err(at("create link", &path))?;
        Ok(())
    }

    fn hard_link(&mut self, path: &Path, shown: &str, target: &[u8]) -> Result<(), InstallError> {
        let parts = components(target).map_err(|_| ArchiveError::LinkLeaves(shown.to_owned()))?;
        let known = parts.split_first().and_then(|(top, inner)| {
            let target: PathBuf = inner.iter().collect();
            (self.top.as_deref() == Some(*top) && self.seen.get(&target) == Some(&Kind::File))
                .then_some(target)
        });
        let Some(target) = known else {
            return Err(ArchiveError::HardLink(shown.to_owned()).into());
        };
        self.count(path, Kind::File)?;
        let path = self.root.join(path);
        fs::hard_link(self.root.join(target), &path).map_err(at("create link", &path))?;
        Ok(())
    }

    fn file(
        &mut self,
        path: &Path,
        size: u64,
        mode: u32,
        content: &mut impl Read,
    ) -> Result<(), InstallError> {
        let total = self.done.bytes.saturating_add(size);
        if total > self.limits.bytes {
            return Err(ArchiveError::TooManyBytes(self.limits.bytes).into());
        }
        self.count(path, Kind::File)?;
        let path = self.root.join(path);
        // The release belongs to root and is read by the server: nobody but root writes.
        let mode = if mode & 0o111 == 0 { 0o644 } else { 0o755 };
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(at("create", &path))?;
        // Whatever the umask of the agent, which writes secrets: the server must read its release.
        file.set_permissions(fs::Permissions::from_mode(mode))
            .map_err(at("set the mode of", &path))?;
        let mut left = size;
        while left > 0 {
            let want = self.buffer.len().min(left as usize);
            let length = content.read(&mut self.buffer[..want]).map_err(damaged)?;
            if length == 0 {
                return Err(ArchiveError::Truncated.into());
            }
            file.write_all(&self.buffer[..length])
                .map_err(at("write", &path))?;
            left -= length as u64;
        }
        if self.done.bytes == 0 {
            reached(Step::FileWritten);
        }
        self.done.bytes = total;
        Ok(())
    }
}

//! Every way in which a release can be refused, each by its name.

use std::path::PathBuf;

use crate::coded::Coded;
use crate::disk::DiskError;
use crate::wanted::{Digest, Version};

/// What is wrong with one entry, or with the archive as a whole.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// Compressed stream damaged.
    #[error("it is not a gzip stream, or damaged: {0}")]
    Gzip(String),
    /// Archive structure damaged.
    #[error("it is not a tar archive, or damaged: {0}")]
    Tar(String),
    /// Ends too early.
    #[error("it ends in the middle of an entry")]
    Truncated,
    /// Bytes after its end.
    #[error("there are {0} after its end")]
    TrailingGarbage(&'static str),
    /// Leading `/`.
    #[error("`{0}` is an absolute path")]
    Absolute(String),
    /// `..` in a name.
    #[error("`{0}` leads out of the tree by `..`")]
    Traversal(String),
    /// A link to somewhere outside.
    #[error("link `{0}` leaves the tree")]
    LinkLeaves(String),
    /// An entry below a link or a file.
    #[error("`{0}` lies below something that is not a directory")]
    ThroughLink(String),
    /// A hard link to something that did not come before it.
    #[error("hard link `{0}` names no file that came before it")]
    HardLink(String),
    /// Device node, FIFO or socket.
    #[error("`{0}` is a device node, FIFO or socket")]
    Device(String),
    /// Sparse files and other extensions.
    #[error("`{0}` uses a kind of entry that releases do not have ({1})")]
    Unsupported(String, &'static str),
    /// Privileged mode bits.
    #[error("`{0}` has setuid, setgid or sticky bits")]
    Privileged(String),
    /// More bytes than allowed.
    #[error("it unpacks to more than {0} bytes")]
    TooManyBytes(u64),
    /// More entries than allowed.
    #[error("it holds more than {0} files")]
    TooManyFiles(u64),
    /// More than one top-level folder, or a file beside it.
    #[error("`{0}` lies beside the one top-level folder")]
    TwoRoots(String),
    /// The same name twice.
    #[error("`{0}` is there twice")]
    Duplicate(String),
    /// A name that is too long.
    #[error("a name is longer than {0} bytes")]
    NameTooLong(usize),
    /// A name that is no text, or has control characters.
    #[error("a name is not plain UTF-8 text")]
    NameNotText,
    /// What a release must have.
    #[error("`{0}` is missing")]
    Missing(&'static str),
}

impl ArchiveError {
    /// The stream is damaged rather than hostile: the digest says whether it is the right one at all.
    pub(super) fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Gzip(_) | Self::Tar(_) | Self::Truncated | Self::TrailingGarbage(_)
        )
    }
}

/// Why a release is not installed. Nothing of it is left on disk.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The server cannot be reached.
    #[error("cannot reach the release server for `{url}`")]
    Unreachable {
        /// Without query.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// Its certificate is not trusted.
    #[error("the release server's certificate for `{url}` is not trusted")]
    Untrusted {
        /// Without query.
        url: String,
        /// rustls's words.
        #[source]
        source: reqwest::Error,
    },
    /// It redirects to plain HTTP, or in circles.
    #[error("the release server redirects `{url}` to where this agent does not follow")]
    Redirect {
        /// Without query.
        url: String,
        /// Where to.
        #[source]
        source: reqwest::Error,
    },
    /// It answers something else.
    #[error("the release server answered `{url}` with {status}")]
    Status {
        /// Without query.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// The transfer broke, again and again.
    #[error("the transfer of `{url}` broke after {received} bytes, {attempts} times in a row")]
    Broken {
        /// Without query.
        url: String,
        /// So far.
        received: u64,
        /// In a row without progress.
        attempts: u32,
    },
    /// Too slow to ever finish.
    #[error("the transfer of `{url}` is slower than {floor} bytes/s")]
    TooSlow {
        /// Without query.
        url: String,
        /// Bytes per second.
        floor: u64,
    },
    /// The file changed while it was fetched in parts.
    #[error("`{url}` changed while it was being fetched: {what}")]
    Changed {
        /// Without query.
        url: String,
        /// What differs.
        what: String,
    },
    /// More or fewer bytes than announced.
    #[error("`{url}` gave {received} bytes and had announced {announced}")]
    Length {
        /// Without query.
        url: String,
        /// Got.
        received: u64,
        /// Content-Length.
        announced: u64,
    },
    /// More bytes than the unpacked tree may have.
    #[error("`{url}` is larger than {limit} bytes")]
    TooLarge {
        /// Without query.
        url: String,
        /// The limit.
        limit: u64,
    },
    /// The extra roots are unusable, or the client cannot be built.
    #[error("the client for the release server cannot be set up")]
    Client(#[source] reqwest::Error),
    /// The tarball is another one.
    #[error("the tarball's SHA-256 is {found}; {expected} was asked for")]
    Digest {
        /// Of what came.
        found: Digest,
        /// As desired.
        expected: Digest,
    },
    /// The tarball is refused.
    #[error("the archive is refused: {0}")]
    Archive(#[from] ArchiveError),
    /// Signature.
    #[error(transparent)]
    Signature(#[from] super::signature::SignatureError),
    /// No room.
    #[error("`{path}` has {available} bytes free; {needed} are needed")]
    NoSpace {
        /// Where.
        path: PathBuf,
        /// Free for root.
        available: u64,
        /// Needed.
        needed: u64,
    },
    /// No inodes.
    #[error("`{path}` has {available} inodes free; {needed} are needed")]
    NoInodes {
        /// Where.
        path: PathBuf,
        /// Free.
        available: u64,
        /// Needed.
        needed: u64,
    },
    /// The disk filled up meanwhile.
    #[error("the disk is full")]
    DiskFull(#[source] DiskError),
    /// Any other disk trouble.
    #[error("the release cannot be written")]
    Disk(#[source] DiskError),
    /// A folder that the image makes for the server's account.
    #[error("`{0}` is missing")]
    NoShared(PathBuf),
    /// `mattermost version` does not run.
    #[error("`mattermost version` of the new release does not run: {0}")]
    DoesNotRun(String),
    /// It says another version.
    #[error("the new release says that it is version `{found}`; {expected} was asked for")]
    WrongVersion {
        /// What it printed.
        found: String,
        /// As desired.
        expected: Version,
    },
    /// A worker thread is gone.
    #[error("the install was interrupted")]
    Interrupted,
}

impl InstallError {
    /// As [`ArchiveError::is_damage`].
    pub(super) fn is_damage(&self) -> bool {
        matches!(self, Self::Archive(error) if error.is_damage())
    }
}

impl From<DiskError> for InstallError {
    fn from(error: DiskError) -> Self {
        if error.is_full() {
            Self::DiskFull(error)
        } else {
            Self::Disk(error)
        }
    }
}

impl Coded for InstallError {
    fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "source_unreachable",
            Self::Untrusted { .. } => "source_untrusted",
            Self::Redirect { .. } => "source_redirect",
            Self::Status { .. } => "source_status",
            Self::Broken { .. } => "source_broken",
            Self::TooSlow { .. } => "source_too_slow",
            Self::Changed { .. } => "source_changed",
            Self::Length { .. } => "source_length",
            Self::TooLarge { .. } => "source_too_large",
            Self::Client(_) => "source_client",
            Self::Digest { .. } => "digest_mismatch",
            Self::Archive(error) => error.code(),
            Self::Signature(error) => error.code(),
            Self::NoSpace { .. } => "disk_space",
            Self::NoInodes { .. } => "disk_inodes",
            Self::DiskFull(_) => "disk_full",
            Self::Disk(_) => "disk",
            Self::NoShared(_) => "shared_missing",
            Self::DoesNotRun(_) => "release_does_not_run",
            Self::WrongVersion { .. } => "version_mismatch",
            Self::Interrupted => "interrupted",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Signature(error) => error.hint(),
            Self::Unreachable { .. } => {
                "check the route, the security group's egress and HTTPS_PROXY; or put the tarball \
                 into the image's cache"
            }
            Self::Untrusted { .. } => "give the mirror's CA in the specification",
            Self::Redirect { .. } => "only https:// is followed, and at most 5 times",
            Self::Status {
                status: 403 | 404, ..
            } => "check version and URL in the specification",
            Self::Digest { .. } => {
                "compare the pinned digest with the one that Mattermost publishes; do not simply \
                 take the new one"
            }
            Self::NoSpace { .. } | Self::NoInodes { .. } | Self::DiskFull(_) => {
                "give the launch template a larger root volume"
            }
            Self::WrongVersion { .. } => {
                "version and digest in the specification do not belong together"
            }
            Self::NoShared(_) => "the image's tmpfiles.d makes it: run systemd-tmpfiles --create",
            Self::DoesNotRun(_) => "the release may be for another architecture",
            _ => "",
        }
        .to_owned()
    }

    fn permanent(&self) -> bool {
        if let Self::Signature(error) = self {
            return error.permanent();
        }
        matches!(
            self,
            Self::Redirect { .. }
                | Self::TooLarge { .. }
                | Self::Client(_)
                | Self::Digest { .. }
                | Self::Archive(_)
                | Self::WrongVersion { .. }
        )
    }
}

impl ArchiveError {
    fn code(&self) -> &'static str {
        match self {
            Self::Gzip(_) => "archive_gzip",
            Self::Tar(_) => "archive_tar",
            Self::Truncated => "archive_truncated",
            Self::TrailingGarbage(_) => "archive_trailing_garbage",
            Self::Absolute(_) => "archive_absolute_path",
            Self::Traversal(_) => "archive_traversal",
            Self::LinkLeaves(_) => "archive_link_leaves",
            Self::ThroughLink(_) => "archive_through_link",
            Self::HardLink(_) => "archive_hard_link",
            Self::Device(_) => "archive_device",
            Self::Unsupported(..) => "archive_unsupported",
            Self::Privileged(_) => "archive_privileged",
            Self::TooManyBytes(_) => "archive_too_many_bytes",
            Self::TooManyFiles(_) => "archive_too_many_files",
            Self::TwoRoots(_) => "archive_two_roots",
            Self::Duplicate(_) => "archive_duplicate",
            Self::NameTooLong(_) => "archive_name_too_long",
            Self::NameNotText => "archive_name_not_text",
            Self::Missing(_) => "archive_incomplete",
        }
    }
}

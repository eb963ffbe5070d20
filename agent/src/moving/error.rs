//! Why users' files or the server's settings are not where they should be yet.

use std::path::PathBuf;

use crate::coded::Coded;
use crate::disk::DiskError;
use crate::file_store::FileStoreError;

/// The longest key that S3 takes, in bytes.
pub(super) const LONGEST_KEY: usize = 1024;
/// The largest object that S3 takes in one request, in bytes.
pub(super) const LARGEST: u64 = 5 << 30;

/// The named kinds. Names of users' files are shown: the operator has to find them.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// Reading the node's disk, or writing the ledger.
    #[error("the files on this node cannot be read")]
    Disk(#[from] DiskError),
    /// A symbolic link: what it points to may lie anywhere.
    #[error("`{}` is a symbolic link", .0.display())]
    Link(PathBuf),
    /// A device, a socket, a pipe.
    #[error("`{}` is neither a file nor a folder", .0.display())]
    Special(PathBuf),
    /// Not UTF-8.
    #[error("the name of `{}` is no text that can be a key", .0.display())]
    Name(PathBuf),
    /// Its key has more bytes than S3 takes.
    #[error("`{}` would have a key of {bytes} bytes; S3 takes {LONGEST_KEY}", .path.display())]
    LongKey {
        /// Which file.
        path: PathBuf,
        /// Of the key.
        bytes: usize,
    },
    /// More than one request can carry.
    #[error("`{}` has {size} bytes; this agent sends files of up to {LARGEST}", .path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// Bytes.
        size: u64,
        /// Below the prefix.
        key: String,
    },
    /// Something writes although the server is stopped.
    #[error("`{}` changed while it was copied, although the server is stopped", .0.display())]
    Changing(PathBuf),
    /// The bucket has another object there, which no agent put.
    #[error("the bucket has another object at `{0}`, which is not this stack's")]
    Occupied(String),
    /// Written, and not there as written.
    #[error("`{0}` is not in the bucket as it was written")]
    Different(String),
    /// The two listings.
    #[error("the listing of this node ({here}) is not the bucket's ({there})")]
    Unequal {
        /// Digest of this node's.
        here: String,
        /// Of the bucket's.
        there: String,
    },
    /// The bucket.
    #[error("the bucket for users' files")]
    Store(#[from] FileStoreError),
    /// The thread that reads ended early.
    #[error("reading the files on this node was interrupted")]
    Interrupted,
    /// `config.json` is not what a server writes.
    #[error("`{}` is not a server's configuration: {reason}", .path.display())]
    Configuration {
        /// Where.
        path: PathBuf,
        /// Without any value of it.
        reason: String,
    },
    /// The server keeps its files in a bucket that the System Console named.
    #[error(
        "the server keeps its files in bucket `{0}`, as set in the System Console, not on this node"
    )]
    OtherBucket(String),
    /// The local socket.
    #[error("the server's local socket `{}` does not answer", .path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The server would not.
    #[error(
        "the server answered {status} (`{id}`) to the move of its configuration into the database"
    )]
    Refused {
        /// Of HTTP.
        status: u16,
        /// The server's word for it; its sentence may hold the data source.
        id: String,
    },
    /// The salts changed under our hands.
    #[error("`{name}` of `{}` changed while it was moved into the database", .path.display())]
    Unstable {
        /// Which value.
        name: String,
        /// Of which file.
        path: PathBuf,
    },
    /// There is no data source to move the configuration to.
    #[error(
        "the data source is not among the secrets: where the configuration should go is not known"
    )]
    NoDataSource,
}

impl Coded for MoveError {
    fn code(&self) -> &'static str {
        match self {
            Self::Disk(_) => "files_unreadable",
            Self::Link(_) | Self::Special(_) => "files_special",
            Self::Name(_) | Self::LongKey { .. } => "files_name",
            Self::TooLarge { .. } => "files_too_large",
            Self::Changing(_) => "files_changing",
            Self::Occupied(_) => "files_occupied",
            Self::Different(_) | Self::Unequal { .. } => "files_different",
            Self::Store(error) => error.code(),
            Self::Interrupted => "files_interrupted",
            Self::Configuration { .. } => "configuration_file",
            Self::OtherBucket(_) => "files_other_bucket",
            Self::Socket { .. } => "configuration_socket",
            Self::Refused { .. } => "configuration_refused",
            Self::Unstable { .. } => "configuration_unstable",
            Self::NoDataSource => "data_source_missing",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Link(_) => "put the files themselves there, or remove the link".to_owned(),
            Self::Special(_) => "remove it: no Mattermost server makes such a thing".to_owned(),
            Self::Name(_) | Self::LongKey { .. } => {
                "rename or remove it: no Mattermost server makes such a name".to_owned()
            }
            Self::TooLarge { key, .. } => format!(
                "copy it by hand to `{key}` below the prefix (`aws s3 cp`), or remove it if it is an old export; \
                 what is there already is compared and not sent"
            ),
            Self::Changing(_) => "which other process on the node writes there?".to_owned(),
            Self::Occupied(_) => {
                "give `[files]` a `prefix` of its own, or remove the object".to_owned()
            }
            Self::Different(_) | Self::Unequal { .. } => {
                "another program writes into the bucket, or the store does not keep what it takes"
                    .to_owned()
            }
            Self::Store(error) => error.hint(),
            Self::OtherBucket(_) => {
                "name that bucket, and its prefix, in `[files]`: then nothing is copied".to_owned()
            }
            Self::Refused { .. } => "the server's log on the node has the reason".to_owned(),
            Self::Disk(_) => {
                "the agent reads the server's folders: is its unit the one of this version?"
                    .to_owned()
            }
            Self::Interrupted
            | Self::Configuration { .. }
            | Self::Socket { .. }
            | Self::Unstable { .. }
            | Self::NoDataSource => String::new(),
        }
    }

    /// What a person has to change on the node or in the bucket is not tried again unasked.
    fn permanent(&self) -> bool {
        match self {
            Self::Store(error) => error.permanent(),
            Self::Disk(_) | Self::Interrupted | Self::Socket { .. } => false,
            _ => true,
        }
    }
}

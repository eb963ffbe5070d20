//! The points at which a crash leaves the node differently: one after every effect of an install, an
//! activation, a migration and a drain that the next start finds on disk, in the database or running.
//!
//! Each is logged. A test can watch them, and kills the agent at every one of them in turn; a step
//! that is added here without a case there does not compile.

use std::sync::OnceLock;

/// Declares the steps, all of them in one list.
macro_rules! steps {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// What was just done.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Step {
            $($(#[doc = $doc])* $name,)*
        }

        impl Step {
            /// In the order of a node's life.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// For people and tests.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

steps! {
    /// What an interrupted install left behind is gone.
    LeftoversRemoved,
    /// The directory to unpack into is there, empty.
    PartialMade,
    /// The first file of an archive that nobody has verified yet is written.
    FileWritten,
    /// The whole tree is.
    Unpacked,
    /// Digest, signature and archive are right.
    Verified,
    /// The new server said its version.
    VersionAsked,
    /// The folders that outlive versions are there.
    SharedMade,
    /// The tree links to them.
    SharedLinked,
    /// The tree says what it is.
    Marked,
    /// All of it is on the platter.
    Synced,
    /// It is a release.
    Published,
    /// It took the place of another tree of the same version.
    Exchanged,
    /// The file with the database's roots is written.
    DatabaseRootsWritten,
    /// The file with the database's password is written.
    PasswordWritten,
    /// The environment file is written.
    EnvironmentWritten,
    /// Nothing is in the way of the migration, which comes next.
    MigrationDue,
    /// It ran; nothing says so yet.
    Migrated,
    /// It is recorded.
    MigrationRecorded,
    /// It failed instead, and that is recorded.
    MigrationFailed,
    /// A link is made beside the one that it is going to replace.
    LinkMade,
    /// `previous` is the release that is going to be replaced.
    PreviousPointed,
    /// `current` is the new release; the old server runs.
    CurrentPointed,
    /// What is recorded of the old server is gone; the new one comes next.
    StartDue,
    /// The new server was started; nothing says so yet.
    Restarted,
    /// The start is recorded.
    StartRecorded,
    /// The server said that it is ready.
    Ready,
    /// The node's own object lies in the bucket of users' files, to be read and deleted.
    FileStored,
    /// It is verified: it serves.
    Serving,
    /// An old release is out of sight, and there.
    Retired,
    /// Old releases are gone.
    Pruned,
    /// A drain began.
    Draining,
    /// Clients' connections are closed.
    ConnectionsClosed,
    /// The server is stopped.
    Stopped,
    /// A move: nothing says any more which server runs; it is started on `config.json` next.
    MoverDue,
    /// That server runs, for itself alone.
    MoverStarted,
    /// Its settings are in the database.
    ConfigurationMoved,
    /// It is stopped again.
    MoverStopped,
    /// A file of users' is in the bucket; nothing says so yet.
    FileCopied,
    /// All of them are, and that is recorded.
    FilesRecorded,
    /// All of it is where it lasts.
    Moved,
}

type Observer = Box<dyn Fn(Step) + Send + Sync>;

static OBSERVER: OnceLock<Observer> = OnceLock::new();

/// Watches the steps of this process. The first observer stays.
pub fn observe(observer: impl Fn(Step) + Send + Sync + 'static) {
    let _ = OBSERVER.set(Box::new(observer));
}

/// Says that a step was done.
pub(crate) fn reached(step: Step) {
    log::trace!("step: {}", step.name());
    if let Some(observer) = OBSERVER.get() {
        observer(step);
    }
}

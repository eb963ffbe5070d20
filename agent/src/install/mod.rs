//! Install: one pass, nothing trusted early.
//!
//! ```text
//!   cache or HTTPS -> pipeline -> releases/.partial-<sha>  --all verified-->  releases/<version>
//!                                     | anything else                              | switch
//!                                     v                                            v
//!                                  removed                                 current -> releases/<version>
//! ```
//!
//! A crash at any point leaves `current` on a whole release; a partial tree is removed by the next
//! install. Only one install runs at a time, also when its caller went away in the middle.

mod client;
mod download;
mod error;
mod names;
mod part;
mod pipeline;
mod release;
mod signature;
mod signer;
mod source;
mod unpack;

#[cfg(test)]
pub(crate) mod tests;

use std::path::Path;
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

pub use download::Patience;
pub use error::{ArchiveError, InstallError};
pub use release::{Installed, activate, active, installed};
pub use signature::SignatureError;

use crate::disk::{DiskError, at, ensure_directory, remove_tree};
use crate::layout::Layout;
use crate::service::Service;
use crate::steps::{Step as Done, reached};
use crate::wanted::{Artefact, Version};
use pipeline::{Passed, Pipeline};
use signature::Checker;
use unpack::Limits;

/// How far an install got; each is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Every byte is here.
    Fetched,
    /// Digest, signature and archive are right.
    Verified,
}

/// A tree is needed about this many times the tarball's size; real releases need 2.5 times.
const UNPACKED_PER_PACKED: u64 = 4;

/// Installs releases, one at a time.
#[derive(Clone)]
pub struct Installer {
    layout: Layout,
    service: Arc<dyn Service>,
    patience: Patience,
    lock: Arc<Mutex<()>>,
}

impl Installer {
    /// Below a root, for the server of that service.
    pub fn new(layout: &Layout, service: Arc<dyn Service>) -> Self {
        Self {
            layout: layout.clone(),
            service,
            patience: Patience::default(),
            lock: Arc::new(Mutex::new(())),
        }
    }

    /// With another patience towards servers.
    #[must_use]
    pub fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// Ensures that the release is there, verified; does nothing when it is.
    pub async fn ensure_installed(
        &self,
        artefact: &Artefact,
        step: impl Fn(Step) + Send + Sync,
    ) -> Result<Installed, InstallError> {
        let lock = Arc::new(Arc::clone(&self.lock).lock_owned().await);
        if let Some(there) = installed(&self.layout, &artefact.version)?
            && there.sha256 == artefact.sha256.to_string()
        {
            release::ensure_shared(&self.layout, &*self.service)?;
            return Ok(there);
        }
        let releases = self.layout.releases();
        ensure_directory(&releases, 0o755)?;
        release::remove_leftovers(&self.layout)?;
        reached(Done::LeftoversRemoved);
        let partial = releases.join(format!(".partial-{}", artefact.sha256));
        let result = self.fill(artefact, &partial, &lock, &step).await;
        if result.is_err() {
            // The stages ended before their error arrived here: nobody writes any more.
            remove_tree(&partial)?;
        }
        result
    }

    /// Removes releases that are neither current nor previous nor `keep`.
    pub async fn prune(&self, keep: &Version) -> Result<(), DiskError> {
        // An install whose caller went away may still be writing.
        let _lock = self.lock.lock().await;
        release::prune(&self.layout, keep)
    }

    async fn fill(
        &self,
        artefact: &Artefact,
        partial: &Path,
        lock: &Arc<OwnedMutexGuard<()>>,
        step: &(impl Fn(Step) + Send + Sync),
    ) -> Result<Installed, InstallError> {
        let mut passed = None;
        for path in source::cached(&self.layout, artefact) {
            let size = std::fs::metadata(&path).map_err(at("read", &path))?.len();
            self.check_space(artefact, Some(size))?;
            let checker = self.checker(artefact, Some(&path)).await?;
            let pipeline = Self::start(artefact, partial, checker, lock)?;
            let read = source::read_file(&path, &pipeline).await;
            let found = pipeline.finish().await?;
            read?;
            if found.digest == artefact.sha256 {
                passed = Some(found);
                break;
            }
            log::warn!(
                "`{}` has SHA-256 {}: not what is wanted",
                path.display(),
                found.digest
            );
        }
        let passed = match passed {
            Some(passed) => passed,
            None => self.download(artefact, partial, lock).await?,
        };
        step(Step::Fetched);
        verdict(artefact, passed)?;
        reached(Done::Verified);
        step(Step::Verified);
        release::complete(&self.layout, artefact, partial, &*self.service, lock).await
    }

    /// Follows the signature, when one is asked for: from beside the image's copy, else by HTTPS.
    async fn checker(
        &self,
        artefact: &Artefact,
        copy: Option<&Path>,
    ) -> Result<Option<Checker>, InstallError> {
        let Some(wanted) = &artefact.signature else {
            return Ok(None);
        };
        let beside = copy.and_then(source::signature_beside);
        let bytes = match beside {
            Some(path) => std::fs::read(&path).map_err(at("read", &path))?,
            None => {
                client::fetch(artefact, &wanted.url, signature::MAX_BYTES, self.patience).await?
            }
        };
        Ok(Some(Checker::new(wanted, &bytes)?))
    }

    fn start(
        artefact: &Artefact,
        partial: &Path,
        checker: Option<Checker>,
        lock: &Arc<OwnedMutexGuard<()>>,
    ) -> Result<Pipeline, InstallError> {
        remove_tree(partial)?;
        ensure_directory(partial, 0o755)?;
        reached(Done::PartialMade);
        let limits = Limits {
            bytes: artefact.max_bytes,
            files: artefact.max_files,
        };
        Ok(Pipeline::start(
            partial.to_owned(),
            limits,
            checker,
            Arc::clone(lock),
        ))
    }

    async fn download(
        &self,
        artefact: &Artefact,
        partial: &Path,
        lock: &Arc<OwnedMutexGuard<()>>,
    ) -> Result<Passed, InstallError> {
        let room = |packed| self.check_space(artefact, packed);
        let checker = self.checker(artefact, None).await?;
        let pipeline = Self::start(artefact, partial, checker, lock)?;
        let transfer = download::download(artefact, self.patience, &room, &pipeline).await;
        let passed = pipeline.finish().await?;
        match (transfer, &passed.tree) {
            // What the archive is refused for is the cause; the transfer only stopped.
            (Err(error), Err(InstallError::Archive(refused))) if refused.is_damage() => Err(error),
            (Err(error), Ok(_)) => Err(error),
            _ => Ok(passed),
        }
    }

    /// Before the first byte is written.
    fn check_space(&self, artefact: &Artefact, packed: Option<u64>) -> Result<(), InstallError> {
        let path = self.layout.releases();
        let free = rustix::fs::statvfs(&path)
            .map_err(|error| at("read the free space of", &path)(error.into()))?;
        let available = free.f_bavail.saturating_mul(free.f_frsize);
        let needed = packed.map_or(artefact.max_bytes, |size| {
            size.saturating_mul(UNPACKED_PER_PACKED)
                .min(artefact.max_bytes)
        });
        if available < needed {
            return Err(InstallError::NoSpace {
                path,
                available,
                needed,
            });
        }
        // File systems without a fixed number of inodes say 0 of 0.
        if free.f_files > 0 && free.f_favail < artefact.max_files {
            return Err(InstallError::NoInodes {
                path,
                available: free.f_favail,
                needed: artefact.max_files,
            });
        }
        Ok(())
    }
}

/// A hostile archive is named as what it is, whatever its digest; a damaged one is first of all not
/// the one that was asked for.
fn verdict(artefact: &Artefact, passed: Passed) -> Result<(), InstallError> {
    let wrong_digest = || InstallError::Digest {
        found: passed.digest,
        expected: artefact.sha256,
    };
    let right = passed.digest == artefact.sha256;
    match passed.tree {
        Err(InstallError::Archive(refused)) if refused.is_damage() && !right => {
            return Err(wrong_digest());
        }
        Err(error) => return Err(error),
        Ok(_) if !right => return Err(wrong_digest()),
        Ok(_) => {}
    }
    passed.signature?;
    Ok(())
}

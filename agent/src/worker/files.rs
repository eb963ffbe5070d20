//! The node's own look at the bucket of users' files: before a server counts as verified, and when the
//! server says that its file store is not well, to tell people why.

use fleet_proto::v1::Phase;

use super::{Failed, Worker};
use crate::environment::Environment;
use crate::file_store::{FileStoreError, Patience, Probe};
use crate::service::ServiceError;
use crate::wanted::{FileStore, Serving};

impl Worker {
    /// Writes, reads and deletes an object of this node; nothing is asked where files live on the node.
    pub(super) async fn prove_file_store(
        &self,
        wanted: &Serving,
        patience: Patience,
    ) -> Result<(), Failed> {
        let failed = || Failed::at(Phase::Starting);
        let Some(store) = &wanted.file_store else {
            return Ok(());
        };
        let bucket = || store.bucket.clone();
        let credentials = if store.own_keys {
            Environment::read(&self.layout)
                .map_err(Failed::at(Phase::Starting))?
                .ok_or(ServiceError::NoEnvironment)
                .map_err(Failed::at(Phase::Starting))?
                .file_store_keys()
                .map_err(|name| FileStoreError::NoKeys {
                    bucket: bucket(),
                    name,
                })
        } else {
            let found = self.imds.credentials().await;
            found.map_err(|source| FileStoreError::Credentials(bucket(), source))
        };
        Probe::new(
            store,
            &self.instance.id,
            credentials.map_err(failed())?,
            self.file_store_roots.as_deref(),
            patience,
        )
        .map_err(failed())?
        .check()
        .await
        .map_err(failed())
    }

    /// The server calls its file store unhealthy: what the node itself finds is the error, or the note.
    pub(super) async fn explain_file_store(
        &self,
        wanted: &Serving,
        patience: Patience,
    ) -> Result<(), Failed> {
        self.prove_file_store(wanted, patience).await?;
        self.reporter.note(match &wanted.file_store {
            Some(FileStore { bucket, .. }) => format!(
                "the server calls its file store unhealthy, and this node can write, read and delete in \
                 bucket `{bucket}`: the server's settings or its way to S3 differ"
            ),
            None => "the server calls its file store unhealthy: files live on this node".to_owned(),
        });
        Ok(())
    }
}

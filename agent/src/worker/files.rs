//! The node's own probe of the bucket of users' files: before a prepared node counts as installed, before a
//! server counts as verified, and when the server says that its file store is not well, to tell people why.

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
        let Some(store) = &wanted.file_store else {
            return Ok(());
        };
        let environment = if store.own_keys {
            let there = Environment::read(&self.layout).map_err(Failed::at(Phase::Starting))?;
            let there = there.ok_or(ServiceError::NoEnvironment);
            Some(there.map_err(Failed::at(Phase::Starting))?)
        } else {
            None
        };
        self.probe_file_store(store, environment.as_ref(), patience)
            .await
            .map_err(Failed::at(Phase::Starting))
    }

    /// The same of a node that is prepared and starts no server yet. The phase of its failure is the one
    /// before `Installed`, which it does not reach.
    pub(super) async fn prove_file_store_before_start(
        &self,
        wanted: &Serving,
    ) -> Result<(), Failed> {
        let Some(store) = &wanted.file_store else {
            return Ok(());
        };
        let environment = if store.own_keys {
            Some(self.environment(wanted).await?)
        } else {
            None
        };
        self.probe_file_store(store, environment.as_ref(), Patience::default())
            .await
            .map_err(Failed::at(Phase::Verified))
    }

    /// With the keys of the environment, or with the role's.
    async fn probe_file_store(
        &self,
        store: &FileStore,
        keys: Option<&Environment>,
        patience: Patience,
    ) -> Result<(), FileStoreError> {
        let bucket = || store.bucket.clone();
        let credentials = match keys {
            Some(environment) => {
                environment
                    .file_store_keys()
                    .map_err(|name| FileStoreError::NoKeys {
                        bucket: bucket(),
                        name,
                    })?
            }
            None => self
                .imds
                .credentials()
                .await
                .map_err(|source| FileStoreError::Credentials(bucket(), source))?,
        };
        Probe::new(
            store,
            &self.instance.id,
            credentials,
            self.file_store_roots.as_deref(),
            patience,
        )?
        .check()
        .await
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

//! The bucket when a stack goes: kept, unless its name was typed.

use std::io::IsTerminal;

use anyhow::Context;
use plan::spec::FileStore;
use plan::{Spec, Want};

use super::super::{Exit, output};
use super::Args;

/// What becomes of users' files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Files {
    /// They lie on nodes' disks and go with them.
    Local,
    /// In a bucket that the specification names: not ours.
    Named(String),
    /// In the stack's own bucket, which stays. None: its name could not be told, for want of the account.
    Kept(Option<String>),
    /// In the stack's own bucket, which goes.
    Deleted(String),
}

impl Files {
    /// As the specification and the flags say.
    pub async fn of(spec: &Spec, args: &Args) -> anyhow::Result<Self> {
        if let Some(named) = &spec.files.bucket {
            return Ok(Self::Named(named.clone()));
        }
        if spec.files.store == FileStore::Local {
            return Ok(Self::Local);
        }
        let deletes = args.delete_files.is_some();
        let core = crate::host::core(spec.clone(), Want::Up).await?;
        let bucket = match core.account().await {
            Ok(account) => spec.files_bucket(&account),
            Err(error) if deletes => {
                return Err(error)
                    .context("the bucket's name has the account in it; asking which it is");
            }
            Err(_) => None,
        };
        Ok(match bucket {
            Some(bucket) if deletes => Self::Deleted(bucket),
            bucket => Self::Kept(bucket),
        })
    }

    /// Whether the bucket goes.
    pub fn deletes(&self) -> bool {
        matches!(self, Self::Deleted(_))
    }

    /// The bucket that stays, when one does.
    pub fn kept(&self) -> Option<&str> {
        match self {
            Self::Named(bucket) | Self::Kept(Some(bucket)) => Some(bucket),
            Self::Local | Self::Kept(None) | Self::Deleted(_) => None,
        }
    }

    /// Has the bucket's name typed, or compares the one that was given. An exit: it ends here.
    pub fn confirm(&self, args: &Args) -> anyhow::Result<Option<Exit>> {
        let Some(given) = &args.delete_files else {
            return Ok(None);
        };
        let bucket = match self {
            Self::Deleted(bucket) => bucket,
            Self::Named(bucket) => {
                output::talk(&format!(
                    "refused: bucket `{bucket}` is named in the specification, so it is not the stack's: `down` never deletes it\nhint: leave --delete-files out"
                ));
                return Ok(Some(Exit::Refused));
            }
            Self::Local | Self::Kept(_) => {
                output::talk("refused: the stack has no bucket\nhint: leave --delete-files out");
                return Ok(Some(Exit::Refused));
            }
        };
        let typed = if given.is_empty() && !args.yes && std::io::stdin().is_terminal() {
            output::talk(&format!(
                "This deletes every version of every file that users uploaded; nothing brings them back. Type the name of the bucket, {bucket}, to go on:"
            ));
            let mut line = String::new();
            std::io::stdin().read_line(&mut line)?;
            line.trim().to_owned()
        } else {
            given.clone()
        };
        if typed == *bucket {
            return Ok(None);
        }
        output::talk(&format!(
            "not the bucket's name; nothing was touched\nhint: --delete-files={bucket}"
        ));
        Ok(Some(Exit::Refused))
    }

    /// What became of them, for the end. `lost`: they were not in a bucket yet, but on the nodes.
    pub fn summary(&self, lost: bool) -> String {
        if let (true, Some(bucket)) = (lost, self.kept()) {
            return format!(
                "users' files lay on the nodes and are gone with them; bucket `{bucket}` stays as it is"
            );
        }
        match self {
            Self::Kept(None) if lost => {
                "users' files lay on the nodes and are gone with them".to_owned()
            }
            Self::Local => "users' files lay on the nodes' disks and are gone with them".to_owned(),
            Self::Named(bucket) => format!("users' files stay in bucket `{bucket}`"),
            Self::Kept(Some(bucket)) => format!(
                "users' files stay in bucket `{bucket}`: `orchestrator up` finds them again, `orchestrator down --delete-files` deletes them"
            ),
            Self::Kept(None) => "users' files stay in the stack's bucket".to_owned(),
            Self::Deleted(bucket) => format!("bucket `{bucket}` is deleted, with every file in it"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(delete_files: Option<&str>) -> Args {
        Args {
            delete_database: false,
            lose_files: false,
            delete_files: delete_files.map(str::to_owned),
            yes: true,
        }
    }

    #[test]
    fn a_bucket_goes_only_by_its_own_name() {
        let own = Files::Deleted("demo-files-1-us-east-1".to_owned());
        let asks = |files: &Files, given: Option<&str>| files.confirm(&args(given)).unwrap();
        assert_eq!(asks(&own, Some("demo-files-1-us-east-1")), None);
        for wrong in ["", "demo", "demo-files-2-us-east-1"] {
            assert_eq!(asks(&own, Some(wrong)), Some(Exit::Refused), "{wrong}");
        }
        let named = Files::Named("theirs".to_owned());
        assert_eq!(asks(&named, Some("theirs")), Some(Exit::Refused));
        assert!(!named.deletes());
        assert_eq!(asks(&named, None), None);
        assert_eq!(named.kept(), Some("theirs"));
    }

    #[test]
    fn files_that_were_never_in_the_bucket_are_not_said_to_stay_there() {
        for files in [
            Files::Named("theirs".to_owned()),
            Files::Kept(Some("ours".to_owned())),
            Files::Kept(None),
        ] {
            assert!(files.summary(false).contains("users' files stay in"));
            assert!(files.summary(true).contains("gone with them"), "{files:?}");
        }
    }
}

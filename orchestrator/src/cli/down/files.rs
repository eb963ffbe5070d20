//! The bucket when a stack goes: kept, unless its name was typed.

use std::io::IsTerminal;

use anyhow::Context;
use plan::spec::{FileStore, Names};
use plan::{FilesHome, Spec};

use super::super::{Exit, output};
use super::Args;
use super::nodes::Before;

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
    /// As record, specification and flags say.
    pub async fn of(spec: &Spec, args: &Args, before: &Before) -> anyhow::Result<Self> {
        let deletes = args.delete_files.is_some();
        let account = match before.core.account().await {
            Ok(account) => Some(account),
            Err(error) if deletes && spec.files.is_own_bucket() => {
                return Err(error)
                    .context("the bucket's name has the account in it; asking which it is");
            }
            Err(_) => None,
        };
        Ok(Self::judged(
            spec,
            deletes,
            account.as_deref(),
            before.home.as_ref(),
        ))
    }

    /// `home`: where the record says that they live, which an edit of the file does not change.
    fn judged(spec: &Spec, deletes: bool, account: Option<&str>, home: Option<&FilesHome>) -> Self {
        let own = spec.files.is_own_bucket();
        let wanted = account.and_then(|account| spec.files_bucket(account));
        if deletes && own {
            return wanted.map_or(Self::Kept(None), Self::Deleted);
        }
        if let (false, Some(FilesHome::S3(home))) = (deletes, home)
            && !(own && wanted.as_ref().is_none_or(|wanted| *wanted == home.bucket))
        {
            return Self::Named(home.bucket.clone());
        }
        match (&spec.files.bucket, spec.files.store) {
            (Some(named), _) => Self::Named(named.clone()),
            (None, FileStore::Local) => Self::Local,
            (None, FileStore::S3) => Self::Kept(wanted),
        }
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

    /// For the question: what stays of the stack, and what goes.
    pub fn stays(&self, names: &Names, delete_database: bool) -> String {
        let (stack, database) = (names.stack(), names.database());
        let first = if delete_database {
            format!(
                "This removes stack `{stack}` and its database `{database}` (a final snapshot is kept)."
            )
        } else {
            format!("This removes stack `{stack}`. Its database `{database}` stays.")
        };
        match self {
            Self::Local => first,
            Self::Named(bucket) | Self::Kept(Some(bucket)) => {
                format!("{first} Bucket `{bucket}` for users' files stays.")
            }
            Self::Kept(None) => format!("{first} The stack's bucket for users' files stays."),
            Self::Deleted(bucket) => {
                format!("{first} Bucket `{bucket}` goes, with every version of every file.")
            }
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
    use plan::BucketHome;
    use plan::spec::{Answers, template};

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

    fn spec(files: &str) -> Spec {
        let text = template(&Answers::default())
            .replace("store = \"s3\"", files)
            .replace("accept_losing_files = false", "");
        Spec::parse(&text, "test.toml").unwrap()
    }

    const OWN: &str = "mattermost-files-1-us-east-1";

    fn bucket(name: &str) -> FilesHome {
        FilesHome::S3(BucketHome {
            bucket: name.to_owned(),
            ..BucketHome::default()
        })
    }

    #[test]
    fn the_question_names_what_stays() {
        let spec = spec("store = \"s3\"");
        let says = |files: &Files, database| files.stays(&spec.names(), database);
        let kept = Files::judged(&spec, false, Some("1"), Some(&bucket(OWN)));
        assert_eq!(kept, Files::Kept(Some(OWN.to_owned())));
        let text = says(&kept, false);
        assert!(
            text.contains("database `mattermost-db` stays")
                && text.contains(&format!("Bucket `{OWN}` for users' files stays")),
            "{text}"
        );
        let text = says(&Files::judged(&spec, true, Some("1"), None), true);
        assert!(
            text.contains("and its database `mattermost-db`")
                && text.contains(&format!("Bucket `{OWN}` goes")),
            "{text}"
        );
        assert!(!says(&Files::Local, false).contains("ucket"));
    }

    #[test]
    fn what_stays_is_what_the_record_says_not_an_edited_file() {
        let local = spec("store = \"local\"\naccept_losing_files = true");
        let named = spec("bucket = \"theirs\"");
        for spec in [&local, &named] {
            let files = Files::judged(spec, false, Some("1"), Some(&bucket(OWN)));
            assert_eq!(files, Files::Named(OWN.to_owned()));
        }
        let home = Some(&FilesHome::Local);
        assert_eq!(Files::judged(&local, false, Some("1"), home), Files::Local);
        assert_eq!(
            Files::judged(&named, false, None, None),
            Files::Named("theirs".to_owned())
        );
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

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
    /// The stack's own bucket should go, and is not there.
    Absent(String),
    /// The stack's own bucket should go, and is there, but `[files]` says that files live elsewhere.
    Unmeant(String),
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
        let files = Self::judged(spec, deletes, account.as_deref(), before.home.as_ref());
        let (true, Some(account)) = (deletes, account) else {
            return Ok(files);
        };
        let region = spec.home_region();
        let own = spec.names().files_bucket(&account, &region);
        let there = before
            .core
            .cloud
            .bucket_is_owned_by(&own, &region, &account)
            .await
            .with_context(|| format!("asking whether bucket `{own}` is there"))?;
        Ok(files.looked_for(own, there))
    }

    /// After a look for the stack's own bucket, which is to go.
    fn looked_for(self, own: String, there: bool) -> Self {
        match self {
            Self::Deleted(bucket) if !there => Self::Absent(bucket),
            Self::Local | Self::Named(_) if there && self.kept() != Some(&*own) => {
                Self::Unmeant(own)
            }
            files => files,
        }
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
        self.deleted().is_some()
    }

    /// The bucket that goes, also when it was not there at first.
    pub fn deleted(&self) -> Option<&str> {
        match self {
            Self::Deleted(bucket) | Self::Absent(bucket) => Some(bucket),
            Self::Local | Self::Named(_) | Self::Kept(_) | Self::Unmeant(_) => None,
        }
    }

    /// The bucket that stays, when one does.
    pub fn kept(&self) -> Option<&str> {
        match self {
            Self::Named(bucket) | Self::Kept(Some(bucket)) | Self::Unmeant(bucket) => Some(bucket),
            Self::Local | Self::Kept(None) | Self::Deleted(_) | Self::Absent(_) => None,
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
            Self::Named(bucket) | Self::Kept(Some(bucket)) | Self::Unmeant(bucket) => {
                format!("{first} Bucket `{bucket}` for users' files stays.")
            }
            Self::Kept(None) => format!("{first} The stack's bucket for users' files stays."),
            Self::Deleted(bucket) => {
                format!("{first} Bucket `{bucket}` goes, with every version of every file.")
            }
            Self::Absent(bucket) => format!("{first} Bucket `{bucket}` is not there."),
        }
    }

    /// Has the bucket's name typed, or compares the one that was given. An exit: it ends here.
    pub fn confirm(&self, args: &Args) -> anyhow::Result<Option<Exit>> {
        let Some(given) = &args.delete_files else {
            return Ok(None);
        };
        let bucket = match self {
            Self::Deleted(bucket) | Self::Absent(bucket) => bucket,
            Self::Unmeant(bucket) => {
                output::talk(&format!(
                    "refused: bucket `{bucket}` is the stack's own, but `[files]` says that users' files live elsewhere, so `down` does not delete it\nhint: leave --delete-files out, and the bucket stays; or take `bucket`, `region` and `store = \"local\"` out of `[files]`, and ask again"
                ));
                return Ok(Some(Exit::Refused));
            }
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
            Self::Named(bucket) | Self::Unmeant(bucket) => {
                format!("users' files stay in bucket `{bucket}`")
            }
            Self::Kept(Some(bucket)) => format!(
                "users' files stay in bucket `{bucket}`: `orchestrator up` finds them again, `orchestrator down --delete-files` deletes them"
            ),
            Self::Kept(None) => "users' files stay in the stack's bucket".to_owned(),
            Self::Deleted(bucket) => format!("bucket `{bucket}` is deleted, with every file in it"),
            Self::Absent(bucket) => {
                format!("bucket `{bucket}` was not there: nothing of it was deleted")
            }
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
    fn only_a_bucket_that_is_there_is_said_to_be_deleted() {
        let own = || OWN.to_owned();
        let absent = Files::Deleted(own()).looked_for(own(), false);
        assert_eq!(absent, Files::Absent(own()));
        let text = absent.summary(false);
        assert!(text.contains("was not there"), "{text}");
        assert!(absent.deletes() && Files::Deleted(own()).looked_for(own(), true).deletes());
        // The file says now that files live elsewhere: the bucket is not called absent, nor touched.
        for elsewhere in [Files::Local, Files::Named("theirs".to_owned())] {
            assert_eq!(elsewhere.clone().looked_for(own(), false), elsewhere);
            let unmeant = elsewhere.looked_for(own(), true);
            assert_eq!(unmeant, Files::Unmeant(own()));
            let exit = unmeant.confirm(&args(Some(OWN))).unwrap();
            assert_eq!(exit, Some(Exit::Refused));
            assert!(!unmeant.deletes() && unmeant.kept() == Some(OWN));
        }
        let named = Files::Named(own());
        assert_eq!(named.clone().looked_for(own(), true), named);
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

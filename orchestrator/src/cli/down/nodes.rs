//! What lies on the nodes alone when a stack goes: read before anything is asked or touched.

use std::sync::Arc;

use plan::{FilesHome, LostWithNodes, Spec, Want};

use super::super::{Exit, output};
use crate::core::Core;
use crate::reconcile;

/// One look at the stack and its record.
pub struct Before {
    /// What goes with the nodes.
    pub on_nodes: OnNodes,
    /// Where the record says that users' files live. None: nothing served yet, or it could not be read.
    pub home: Option<FilesHome>,
    /// What looked.
    pub core: Arc<Core>,
}

/// What goes with the nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnNodes {
    /// Nothing that lasts lies on them, or there are none.
    Nothing,
    /// A stack that was not moved, or one with `store = "local"`.
    Lost(LostWithNodes),
    /// There are nodes, and what is recorded of the stack cannot be read.
    Unknown(String),
}

impl Before {
    /// Looks at the stack and its record.
    pub async fn read(spec: &Spec) -> anyhow::Result<Self> {
        let want = Want::Down {
            delete_database: false,
            delete_files: false,
        };
        let core = crate::host::core(spec.clone(), want).await?;
        let (on_nodes, home) = match reconcile::read(&core).await {
            Ok((intent, observed)) => {
                let lost = plan::lost_with_nodes(&intent, &observed);
                let on_nodes = match (core.store.doubt(), lost) {
                    (_, Some(lost)) => OnNodes::Lost(lost),
                    (Some(why), None) if plan::has_nodes(&intent, &observed) => {
                        OnNodes::Unknown(why)
                    }
                    (_, None) => OnNodes::Nothing,
                };
                (on_nodes, intent.record.proven.as_ref().map(FilesHome::of))
            }
            Err(error) => (OnNodes::Unknown(crate::chain(&error)), None),
        };
        Ok(Self {
            on_nodes,
            home,
            core,
        })
    }
}

impl OnNodes {
    /// Says what would be lost. An exit: it ends here, because nobody said that it may be.
    pub fn confirm(&self, may_be_lost: bool) -> Option<Exit> {
        let (says, hint) = match self {
            Self::Nothing => return None,
            Self::Lost(lost) if lost.as_specified => (
                lost.what.to_owned(),
                "give `[files]` a bucket, and `orchestrator move` brings them there, while `orchestrator serve` runs; `orchestrator down --lose-files` gives them up",
            ),
            Self::Lost(lost) => (
                lost.what.to_owned(),
                "`orchestrator move` brings them to where they last, while `orchestrator serve` runs; `orchestrator down --lose-files` gives them up",
            ),
            Self::Unknown(why) => (
                format!(
                    "whether users' files or settings lie on the nodes alone is not known: {why}"
                ),
                "`orchestrator down --lose-files` goes on whatever lies there",
            ),
        };
        if may_be_lost {
            output::talk(&says);
            return None;
        }
        output::talk(&format!(
            "refused: {says}; nothing was touched\nhint: {hint}"
        ));
        Some(Exit::Refused)
    }

    /// Users' files go with the nodes.
    pub fn loses_files(&self) -> bool {
        matches!(self, Self::Lost(lost) if lost.files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_says_so_loses_what_lies_on_nodes() {
        let lost = OnNodes::Lost(LostWithNodes {
            what: "files lie on the nodes",
            files: true,
            as_specified: false,
        });
        let local = OnNodes::Lost(LostWithNodes {
            what: "files lie on the nodes",
            files: true,
            as_specified: true,
        });
        let unknown = OnNodes::Unknown("the database does not answer".to_owned());
        for loses in [&lost, &local, &unknown] {
            assert_eq!(loses.confirm(false), Some(Exit::Refused));
            assert_eq!(loses.confirm(true), None);
        }
        assert_eq!(OnNodes::Nothing.confirm(false), None);
        assert!(lost.loses_files() && !unknown.loses_files());
    }
}

//! What lies on the nodes alone when a stack goes: read before anything is asked or touched.

use plan::{LostWithNodes, Spec, Want};

use super::super::{Exit, output};
use crate::reconcile;

/// What goes with the nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnNodes {
    /// Nothing that lasts lies on them, or there are none.
    Nothing,
    /// A stack that was not moved.
    Lost(LostWithNodes),
    /// There are nodes, and what is recorded of the stack cannot be read.
    Unknown(String),
}

impl OnNodes {
    /// Looks at the stack and its record.
    pub async fn read(spec: &Spec) -> anyhow::Result<Self> {
        let want = Want::Down {
            delete_database: false,
            delete_files: false,
        };
        let core = crate::host::core(spec.clone(), want).await?;
        let (intent, observed) = match reconcile::read(&core).await {
            Ok(read) => read,
            Err(error) => return Ok(Self::Unknown(crate::chain(&error))),
        };
        let doubt = core.store.doubt();
        Ok(match (doubt, plan::lost_with_nodes(&intent, &observed)) {
            (_, Some(lost)) => Self::Lost(lost),
            (Some(why), None) if plan::has_nodes(&intent, &observed) => Self::Unknown(why),
            (_, None) => Self::Nothing,
        })
    }

    /// Says what would be lost. An exit: it ends here, because nobody said that it may be.
    pub fn confirm(&self, may_be_lost: bool) -> Option<Exit> {
        let (says, hint) = match self {
            Self::Nothing => return None,
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
        });
        let unknown = OnNodes::Unknown("the database does not answer".to_owned());
        for loses in [&lost, &unknown] {
            assert_eq!(loses.confirm(false), Some(Exit::Refused));
            assert_eq!(loses.confirm(true), None);
        }
        assert_eq!(OnNodes::Nothing.confirm(false), None);
        assert!(lost.loses_files() && !unknown.loses_files());
    }
}

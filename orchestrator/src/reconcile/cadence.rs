//! How much of what AWS answered before counts in a pass. Pure.
//!
//! ```text
//!   first pass, taken lease, begun rollout, asked for  ->  ANEW       everything is asked
//!   a rollout, or the stack is not as it should be     ->  BUSY       whatever changes by itself is asked
//!   nothing to do since the last pass                  ->  quiet      what is older than the file's ages is asked
//!   another orchestrator holds the lease               ->  following  who is a node; the rest rarely
//! ```
//!
//! Whatever is decided from kept answers is decided once more from new ones before anything is done ([`acts`]).

use cloud::{Ages, Reading};
use plan::intent::Phase;
use plan::{Decision, Want};

use crate::store::{Epoch, Snapshot};

/// What somebody who waits for a pass needs of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asks {
    /// Rises with each request for a pass that reads everything.
    pub anew: u64,
    /// Rises with each request for one that knows who is a node.
    pub members: u64,
}

/// What a pass is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Situation {
    /// The lease, when this process has it.
    pub held: Option<Epoch>,
    /// The rollout that is under way.
    pub rollout: Option<String>,
    /// The stack is being taken down.
    pub down: bool,
    /// Another orchestrator gave nodes goals.
    pub news: bool,
    pub asks: Asks,
}

/// What the pass before left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Before {
    pub situation: Situation,
    /// It was this orchestrator's to decide, and there was nothing to do.
    pub quiet: bool,
}

/// How old answers may be in this pass.
pub(super) fn reading(before: Option<&Before>, now: &Situation, ages: Ages) -> Reading {
    let widened = |reading: Reading| match now.rollout {
        Some(_) => reading.wide(),
        None => reading,
    };
    let Some(before) = before else {
        return widened(Reading::ANEW);
    };
    let was = &before.situation;
    if now.asks.anew != was.asks.anew {
        return widened(Reading::ANEW);
    }
    let members = now.asks.members != was.asks.members;
    if now.held.is_none() {
        let following = Reading::following(ages);
        return match (now.news, members) {
            (true, _) => following.state_anew(),
            (false, true) => following.members_anew(),
            (false, false) => following,
        };
    }
    if now.held != was.held || (now.rollout.is_some() && now.rollout != was.rollout) {
        return widened(Reading::ANEW);
    }
    if !before.quiet || now.rollout.is_some() || now.down {
        return widened(Reading::BUSY);
    }
    let quiet = Reading::quiet(ages);
    if members { quiet.members_anew() } else { quiet }
}

/// What a pass of this process is about.
pub(super) fn situation(
    want: Want,
    held: Option<Epoch>,
    snapshot: &Snapshot,
    news: bool,
    asks: Asks,
) -> Situation {
    let rollout = snapshot.rollout.iter();
    let live = rollout.filter(|rollout| !rollout.phase.ends_a_rollout());
    Situation {
        held,
        rollout: live.map(|rollout| rollout.id.clone()).next(),
        down: matches!(want, Want::Down { .. }),
        news,
        asks,
    }
}

/// Whether the decision does anything to AWS, to the record or to a node.
pub(super) fn acts(decision: &Decision, snapshot: &Snapshot) -> bool {
    let told = |(instance, goal): (&String, &plan::NodeGoal)| {
        let row = snapshot.nodes.get(instance);
        row.is_some_and(|row| row.goal.as_ref() != Some(goal))
    };
    !decision.actions.is_empty()
        || decision.record.is_some()
        || decision.rollout.is_some()
        || decision.nodes.iter().any(told)
}

/// Whether all is as it should be, so that the next pass may take kept answers.
pub(super) fn is_quiet(decision: &Decision, snapshot: &Snapshot) -> bool {
    decision.next == Phase::Ready && !acts(decision, snapshot)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const AGES: Ages = Ages {
        state: Duration::from_secs(60),
        settings: Duration::from_secs(900),
    };

    fn holding() -> Situation {
        Situation {
            held: Some(Epoch(7)),
            rollout: None,
            down: false,
            news: false,
            asks: Asks::default(),
        }
    }

    #[test]
    fn what_is_told_written_or_made_is_never_decided_from_old_answers() {
        let nothing = Decision {
            next: Phase::Ready,
            actions: Vec::new(),
            nodes: [("i-1".to_owned(), plan::NodeGoal::Drain)].into(),
            restarts_held: false,
            requeue: plan::Requeue::After(15_000),
            reasons: Vec::new(),
            record: None,
            rollout: None,
        };
        let row = |goal| crate::store::NodeRow {
            goal,
            ..crate::store::NodeRow::default()
        };
        let told = Snapshot {
            nodes: [("i-1".to_owned(), row(Some(plan::NodeGoal::Drain)))].into(),
            ..Snapshot::default()
        };
        let untold = Snapshot {
            nodes: [("i-1".to_owned(), row(None))].into(),
            ..Snapshot::default()
        };
        let action = plan::Action::DeleteAlarm {
            name: "chat-g1-out".to_owned(),
        };
        let acting = Decision {
            actions: vec![action],
            ..nothing.clone()
        };
        let recording = Decision {
            record: Some(plan::intent::Record::default()),
            ..nothing.clone()
        };
        let waiting = Decision {
            next: Phase::Stuck {
                reason: "a person".to_owned(),
            },
            ..nothing.clone()
        };
        for (what, decision, snapshot, does, quiet) in [
            ("nothing", &nothing, &told, false, true),
            ("a node gets a goal", &nothing, &untold, true, false),
            ("an effect", &acting, &told, true, false),
            ("the record", &recording, &told, true, false),
            ("a person is awaited", &waiting, &told, false, false),
        ] {
            assert_eq!(acts(decision, snapshot), does, "{what}");
            assert_eq!(is_quiet(decision, snapshot), quiet, "{what}");
        }
    }

    #[test]
    fn each_situation_after_each_other_one() {
        let with = |change: fn(&mut Situation)| {
            let mut situation = holding();
            change(&mut situation);
            situation
        };
        let rollout = with(|it| it.rollout = Some("r-3".to_owned()));
        let other = with(|it| it.rollout = Some("r-4".to_owned()));
        let following = with(|it| it.held = None);
        let again = with(|it| it.held = Some(Epoch(8)));
        let news = with(|it| (it.held, it.news) = (None, true));
        let anew = with(|it| it.asks.anew = 1);
        let members = with(|it| it.asks.members = 1);
        let waited = with(|it| (it.held, it.asks.members) = (None, 1));
        let down = with(|it| it.down = true);
        let quiet = Reading::quiet(AGES);
        let follow = Reading::following(AGES);
        for (what, before, is_quiet, now, expected) in [
            ("quiet stays quiet", &holding(), true, &holding(), quiet),
            (
                "something was done",
                &holding(),
                false,
                &holding(),
                Reading::BUSY,
            ),
            (
                "a rollout begins",
                &holding(),
                true,
                &rollout,
                Reading::ANEW.wide(),
            ),
            (
                "it goes on",
                &rollout,
                false,
                &rollout,
                Reading::BUSY.wide(),
            ),
            (
                "the next one",
                &rollout,
                false,
                &other,
                Reading::ANEW.wide(),
            ),
            ("it ended", &rollout, false, &holding(), Reading::BUSY),
            (
                "the lease is taken",
                &following,
                false,
                &holding(),
                Reading::ANEW,
            ),
            (
                "lost and taken back",
                &holding(),
                true,
                &again,
                Reading::ANEW,
            ),
            ("the lease is lost", &holding(), true, &following, follow),
            ("following", &following, false, &following, follow),
            (
                "goals of others",
                &following,
                false,
                &news,
                follow.state_anew(),
            ),
            (
                "an unknown instance there",
                &following,
                false,
                &waited,
                follow.members_anew(),
            ),
            (
                "an unknown instance",
                &holding(),
                true,
                &members,
                quiet.members_anew(),
            ),
            (
                "an unknown instance, busy",
                &holding(),
                false,
                &members,
                Reading::BUSY,
            ),
            ("asked for", &holding(), true, &anew, Reading::ANEW),
            ("asked for once", &anew, true, &anew, quiet),
            ("taken down", &down, true, &down, Reading::BUSY),
        ] {
            let before = Before {
                situation: before.clone(),
                quiet: is_quiet,
            };
            assert_eq!(reading(Some(&before), now, AGES), expected, "{what}");
        }
        for first in [&holding(), &following] {
            assert_eq!(reading(None, first, AGES), Reading::ANEW);
        }
    }
}

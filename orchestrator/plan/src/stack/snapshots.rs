//! Snapshots that rollouts took before they migrated: the newest few are kept.
//!
//! None goes while it may be the way back: not in a rollout, and not while the group that its rollout replaced
//! is still kept. Snapshots that somebody else took, and the final ones of `down`, are nobody's affair here.

use crate::action::Action;
use crate::draft::Draft;
use crate::view::View;

/// Deletes those of which enough newer ones are there. Called without a rollout under way, after the
/// janitor of groups.
pub(super) fn janitor(view: &View<'_>, draft: &mut Draft) {
    // Without a record it is not known which groups are kept; a failed read may hide newer snapshots.
    if view.record().proven.is_none() || view.unknown("db_snapshots").is_some() {
        return;
    }
    // As the leftovers have just found it: what is released now keeps nothing any more.
    let retained = draft.record.retained.iter();
    let retained: Vec<u64> = retained
        .filter_map(|kept| view.names.group_generation(&kept.group))
        .collect();
    let taken: Vec<(u64, &str)> = view
        .observed
        .db_snapshots
        .values()
        .filter(|seen| view.is_ours(&seen.tags))
        .filter_map(|seen| {
            let generation = view.names.rollout_snapshot_generation(&seen.id)?;
            Some((generation, seen.status.as_str()))
        })
        .collect();
    let kept = usize::from(view.spec().database.rollout_snapshots);
    for generation in superfluous(taken, kept, &retained) {
        let id = view.names.rollout_snapshot(generation);
        let what = format!("DB snapshot `{id}` is no longer kept");
        draft.set(view, "snapshots", &what, Action::DeleteDbSnapshot { id });
    }
}

/// Of snapshots by their rollout's generation, with their status: those older than the newest `kept` that
/// are `available`. `retained` are the generations of groups that are still kept: the rollout that replaced
/// one is of a later generation, and its snapshot goes with that group.
fn superfluous(mut taken: Vec<(u64, &str)>, kept: usize, retained: &[u64]) -> Vec<u64> {
    taken.sort_unstable();
    let available = taken.iter().filter(|(_, status)| *status == "available");
    let Some((oldest_kept, _)) = available.rev().nth(kept.saturating_sub(1)).copied() else {
        return Vec::new();
    };
    let released = |generation: u64| retained.iter().all(|group| generation <= *group);
    taken
        .into_iter()
        .filter(|(_, status)| matches!(*status, "available" | "failed"))
        .map(|(generation, _)| generation)
        .filter(|generation| *generation < oldest_kept && released(*generation))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::superfluous;

    #[test]
    fn the_newest_are_kept_and_none_that_is_a_way_back() {
        let all = |generations: &[u64]| -> Vec<(u64, &'static str)> {
            generations.iter().map(|one| (*one, "available")).collect()
        };
        let with = |generation, status| {
            let mut taken = all(&[2, 3, 5, 7]);
            taken.retain(|(one, _)| *one != generation);
            taken.push((generation, status));
            taken
        };
        for (case, taken, kept, retained, expected) in [
            ("none", vec![], 2, vec![], vec![]),
            ("not more than are kept", all(&[2, 3]), 2, vec![], vec![]),
            ("older ones", all(&[2, 3, 5, 7]), 2, vec![], vec![2, 3]),
            (
                "all but the newest",
                all(&[7, 2, 5, 3]),
                1,
                vec![],
                vec![2, 3, 5],
            ),
            (
                "the last group is kept",
                all(&[2, 3, 5, 7]),
                1,
                vec![5],
                vec![2, 3, 5],
            ),
            // Group 4 was replaced by rollout 5 at the earliest.
            (
                "and the one before it",
                all(&[2, 3, 5, 7]),
                1,
                vec![5, 4],
                vec![2, 3],
            ),
            (
                "every group is kept",
                all(&[2, 3, 5, 7]),
                1,
                vec![1],
                vec![],
            ),
            (
                "one that is being made does not count",
                with(7, "creating"),
                2,
                vec![],
                vec![2],
            ),
            ("nor one that failed", with(7, "failed"), 2, vec![], vec![2]),
            (
                "an old one that failed goes",
                with(2, "failed"),
                2,
                vec![],
                vec![2, 3],
            ),
            (
                "one that goes is left alone",
                with(2, "deleting"),
                2,
                vec![],
                vec![3],
            ),
            (
                "one in a state that AWS may add",
                with(3, "copying"),
                2,
                vec![],
                vec![2],
            ),
        ] {
            assert_eq!(superfluous(taken, kept, &retained), expected, "{case}");
        }
    }
}

//! The rule of the listener that leads the orchestrator's own probes to green.

use super::{Judge, Verdict};
use crate::observed::{PART_TAG, PROBE_PART};

/// Hexadecimal digits of a token.
const TOKEN: usize = 64;

impl Judge<'_> {
    /// For the live rollout's token, which nobody guesses, and to its green alone: no user comes there.
    pub(super) fn leads_to_green(&self, token: &str, target_group: &str) -> Verdict {
        let live = self.intent.live_rollout();
        let Some(rollout) = live.filter(|rollout| {
            let probe = rollout.probe.as_ref();
            probe.is_some_and(|probe| probe.token == token)
        }) else {
            return Err((
                "not_probed",
                "no rollout that is under way has this token".to_owned(),
            ));
        };
        if token.len() != TOKEN || !token.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err((
                "guessable",
                format!("the token is not of {TOKEN} hexadecimal digits"),
            ));
        }
        let names = self.intent.spec.names();
        let green = names.target_group(rollout.blue_slot.other());
        let seen = self.observed.target_groups.get(&green);
        self.tagged(seen.map(|seen| &seen.tags), &green)?;
        if seen.is_some_and(|seen| seen.arn == target_group) {
            Ok(())
        } else {
            Err((
                "not_green",
                format!("`{target_group}` is not `{green}`, which green is in"),
            ))
        }
    }

    /// A rule of ours for probes: other rules of the listener are somebody else's.
    pub(super) fn for_probes(&self, arn: &str) -> Verdict {
        let seen = self.observed.rules.get(arn);
        self.tagged(seen.map(|seen| &seen.tags), arn)?;
        let part = seen.and_then(|seen| seen.tags.get(PART_TAG));
        if part.is_some_and(|part| part == PROBE_PART) {
            Ok(())
        } else {
            Err((
                "not_for_probes",
                format!("`{arn}` is no rule for probes of green"),
            ))
        }
    }
}

//! A rollout before it begins: which way, what it costs, what the way back is.

use jiff::Timestamp;

use super::{Course, Forecast};
use crate::files::{FilesHome, LOSES};
use crate::intent::{Intent, Mode, Phase, RolloutIntent};
use crate::moving::{destination, differing};
use crate::observed::{Observed, ProbeOutcome};
use crate::rollout::{connection_budget, not_probed, why_no_log, word};
use crate::stack::{launch_differences, proven_version};
use crate::versions::{Skew, is_older};
use crate::view::{View, live_members};

/// Seconds of a cutover's pause without the migration. Seen on a real server: gone after 3 to 4 s, up after 4 s
/// with an empty database and up to a minute with plugins; the target group's interval is 10 s; a listener takes
/// some seconds.
const SWITCH_SECONDS: u32 = 5 + 60 + 10 + 5;
/// Seconds that a stop and two starts of a move take, as a rule.
const MOVE_SECONDS: u32 = 120;
/// Seconds that a snapshot of a database takes at least; the first one of a big database takes much more.
const SNAPSHOT_SECONDS: u32 = 180;

/// What `rollout` would do: the row as [`crate::rollout::request`] made it, run through the model.
pub fn forecast_rollout(
    intent: &Intent,
    rollout: &RolloutIntent,
    observed: &Observed,
    now: Timestamp,
) -> Forecast {
    let mut with = intent.clone();
    with.rollout = Some(rollout.clone());
    let view = View::new(&with, observed, now);
    let mut facts = facts(&view, rollout);
    let mut notes = Vec::new();
    if rollout.mode == Mode::Move {
        notes.extend(moving_notes(&view, rollout));
    }
    match connection_budget(&view, rollout) {
        Ok(Some((needed, limit))) => {
            facts.push(fact("connections", format!("{needed} at most of {limit}")));
        }
        Ok(None) => notes.push(
            "the database could not be looked into: its connections are not counted".to_owned(),
        ),
        Err(text) => notes.push(text),
    }
    notes.extend(unprobed(rollout, observed));
    let mut course = Course::new(&with, observed, now);
    // The model's users are quiet enough; how they really are is seen in the steps.
    course.intent.spec.rollout.quiet_is_fine = true;
    course.intent.spec.rollout.manual_promote = false;
    let last = course.run(Phase::ends_a_rollout);
    let done = course
        .intent
        .rollout
        .as_ref()
        .is_some_and(|rollout| rollout.failure.is_empty())
        && last.ended;
    if !done {
        let failure = course
            .intent
            .rollout
            .iter()
            .flat_map(|rollout| rollout.failure.clone());
        notes.extend(failure);
        if !last.ended {
            notes.extend(last.reasons);
        }
    }
    notes.extend(suspension(&view, rollout));
    notes.dedup();
    Forecast {
        title: format!("rollout {}", rollout.id),
        facts,
        changes: course.changes,
        notes,
        reaches_its_end: done,
    }
}

/// Why green will not be asked for through the load balancer before users are, as far as is known beforehand.
fn unprobed(rollout: &RolloutIntent, observed: &Observed) -> Option<String> {
    rollout.probe.as_ref()?;
    let seen = observed.probes.users.as_ref()?;
    let (why, quiet) = match &seen.outcome {
        ProbeOutcome::Passed { .. } => return None,
        ProbeOutcome::Failed { what, text, .. } => (
            format!(
                "what serves now does not pass, either: {}: {text}",
                what.words()
            ),
            "",
        ),
        ProbeOutcome::Unreachable { text } => (
            format!("this host does not reach it: {text}"),
            "; windows with too few requests of users stay open",
        ),
    };
    Some(format!("{}{quiet}", not_probed(&why)))
}

/// Whose settings are the stack's afterwards, and what comes with the copy.
fn moving_notes(view: &View<'_>, rollout: &RolloutIntent) -> Vec<String> {
    let name = rollout.blue_group.clone().unwrap_or_else(|| view.owner());
    let members = view
        .group(&name)
        .map_or_else(Vec::new, |group| live_members(view, group));
    let Some(chosen) = members.first() else {
        return Vec::new();
    };
    let mut notes = differing(chosen, &view.observed.nodes, &members);
    if members.len() > 1 && destination(&rollout.from, &rollout.to).is_some() {
        notes.push(
            "of files with the same name on several nodes the one that was changed last is kept"
                .to_owned(),
        );
    }
    notes
}

fn fact(heading: &str, text: impl Into<String>) -> (String, String) {
    (heading.to_owned(), text.into())
}

fn facts(view: &View<'_>, rollout: &RolloutIntent) -> Vec<(String, String)> {
    let (from, to) = (&rollout.from, &rollout.to);
    let limits = &view.spec().rollout;
    let migrates = from.version != to.version;
    let changed = |one: &str, other: &str| {
        if one == other {
            format!("{one} (unchanged)")
        } else {
            format!("{one} → {other}")
        }
    };
    let tables = &view.spec().mattermost.versions;
    let distance = tables.skew(&from.version, &to.version);
    let mut facts = vec![
        fact("Mattermost", changed(&from.version, &to.version)),
        fact("image", changed(&from.image_id, &to.image_id)),
    ];
    let notes = tables.notes_between(&from.version, &to.version);
    if !notes.is_empty() {
        let text = format!("read the upgrade notes of {} first", notes.join(", "));
        facts.push(fact("notes", text));
    }
    if from.settings != to.settings {
        let names: std::collections::BTreeSet<&String> = from
            .settings
            .iter()
            .chain(&to.settings)
            .filter(|(key, _)| from.settings.get(*key) != to.settings.get(*key))
            .map(|(key, _)| key)
            .collect();
        let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
        facts.push(fact("settings", names.join(", ")));
    }
    let (files, after) = (FilesHome::of(from), FilesHome::of(to));
    if !files.is_same_place(&after) {
        let text = format!("{} → {}", files.words(), after.words());
        facts.push(fact("files", text));
    }
    if after == FilesHome::Local {
        let text = format!("{LOSES}; `rollout` wants --lose-files");
        facts.push(fact("FILES LOST", text));
    } else if files == FilesHome::Local && rollout.mode != Mode::Move {
        let text = format!(
            "{LOSES}, unless somebody copied them; `orchestrator move` brings them, `rollout` wants --lose-files"
        );
        facts.push(fact("FILES LOST", text));
    }
    if let Some(version) = proven_version(view.record(), view.observed) {
        let differs = launch_differences(&view.spec().fleet, version);
        if !differs.is_empty() {
            facts.push(fact("launch", differs.join(", ")));
        }
    }
    facts.push(fact(
        "way",
        match rollout.mode {
            Mode::Overlap => {
                let steps: Vec<String> = limits
                    .weights
                    .iter()
                    .map(|weight| format!("{weight} %"))
                    .collect();
                format!(
                    "both colours at once, traffic in steps of {}",
                    steps.join(", ")
                )
            }
            Mode::Move => "the same nodes: files are copied while the servers run; then, behind the maintenance page, the rest of them, and settings go from config.json into the database".to_owned(),
            Mode::Cutover
                if matches!(
                    distance,
                    Ok(Skew::SameWindow | Skew::NextExtendedSupport)
                ) =>
            {
                "cutover: versions this far apart must not run together".to_owned()
            }
            Mode::Cutover => {
                "cutover: without a cluster licence both colours must not run at once".to_owned()
            }
        },
    ));
    facts.push(fact(
        "migration",
        if !migrates {
            "none".to_owned()
        } else if is_older(&rollout.to.version, &rollout.from.version) {
            format!(
                "{} is older than {}, which serves: this goes back, and the schema stays as it is",
                rollout.to.version, rollout.from.version
            )
        } else {
            migration(view, rollout)
        },
    ));
    facts.push(fact("pause", pause(view, rollout, migrates)));
    let starts = "every server start shows all users as offline for a moment";
    facts.push(fact("presence", starts));
    let steps = if rollout.mode == Mode::Overlap {
        limits.weights.len() as u32
    } else {
        1
    };
    if rollout.mode == Mode::Move {
        facts.push(fact(
            "way back",
            format!(
                "until `{}` by itself: servers start as they were, and nothing is changed",
                word(&Phase::Reopened)
            ),
        ));
        return facts;
    }
    let watched = limits
        .step_seconds
        .saturating_add(limits.metrics_delay_seconds)
        .saturating_mul(steps)
        .saturating_add(limits.bake_seconds)
        .saturating_add(limits.metrics_delay_seconds);
    let bake = if limits.manual_promote {
        ", then `orchestrator rollout promote`"
    } else {
        ""
    };
    facts.push(fact(
        "watched",
        format!("{} at least{bake}", duration(watched)),
    ));
    facts.push(fact(
        "way back",
        way_back(view, rollout, migrates, distance.as_ref().ok()),
    ));
    facts
}

/// What the snapshot does to users. User guide, "Creating a DB snapshot for a Single-AZ DB instance": I/O is
/// suspended for seconds to minutes, by size and class; Multi-AZ takes it from the standby.
fn suspension(view: &View<'_>, rollout: &RolloutIntent) -> Option<String> {
    let primary = view.primary()?;
    let migrates = rollout.from.version != rollout.to.version;
    (migrates && !primary.multi_az).then(|| {
        format!(
            "`{}` is Single-AZ: while RDS makes the snapshot it suspends I/O, and the chat with it, for seconds to minutes; `database.multi_az = true` avoids that",
            primary.id
        )
    })
}

/// Once, and what the database can be brought back to.
fn migration(view: &View<'_>, rollout: &RolloutIntent) -> String {
    let snapshot = view.names.rollout_snapshot(rollout.generation);
    match (why_no_log(view), rollout.mode) {
        (None, Mode::Overlap) => format!(
            "once, by the first new node; the database can be brought back to the second before it, and to the snapshot {snapshot}"
        ),
        (None, _) => format!(
            "once, by the first new node; the database can be brought back to the second before it: {} stopped then, so no message is lost",
            rollout.from.version
        ),
        (Some(why), _) => {
            format!("once, by the first new node, after the snapshot {snapshot}: {why}")
        }
    }
}

fn pause(view: &View<'_>, rollout: &RolloutIntent, migrates: bool) -> String {
    let switch = "stop 5 s, start up to 1 min, health check 10 s, listener 5 s";
    match (rollout.mode, migrates, why_no_log(view)) {
        (Mode::Overlap, ..) => "none".to_owned(),
        (Mode::Move, ..) => format!(
            "about {}, and what the copy of changed files takes: servers stop, one starts for a moment, all start",
            duration(MOVE_SECONDS)
        ),
        (Mode::Cutover, false, _) => format!("about {}: {switch}", duration(SWITCH_SECONDS)),
        (Mode::Cutover, true, None) => format!(
            "about {} and the migration: {switch}",
            duration(SWITCH_SECONDS)
        ),
        (Mode::Cutover, true, Some(_)) => format!(
            "about {} and the migration: {switch}, and a snapshot in it, {} at least",
            duration(SWITCH_SECONDS + SNAPSHOT_SECONDS),
            duration(SNAPSHOT_SECONDS)
        ),
    }
}

fn way_back(
    view: &View<'_>,
    rollout: &RolloutIntent,
    migrates: bool,
    distance: Option<&Skew>,
) -> String {
    let promoted = word(&Phase::Promoted);
    let forward = migrates && !is_older(&rollout.to.version, &rollout.from.version);
    let schema = match (forward, distance) {
        (false, _) => String::new(),
        (true, Some(Skew::Neighbours | Skew::SameWindow)) => {
            format!("; the schema stays, {} runs on it", rollout.from.version)
        }
        (true, _) => {
            let point = why_no_log(view).map_or_else(
                || "the second before the migration".to_owned(),
                |_| {
                    format!(
                        "the snapshot {}",
                        view.names.rollout_snapshot(rollout.generation)
                    )
                },
            );
            format!(
                "; once migrated, {} does not run on the schema: the way back is {point}, and what was written after it is lost",
                rollout.from.version
            )
        }
    };
    format!("until `{promoted}` by itself, in seconds{schema}; after it another rollout")
}

/// `1 h 5 min`, `45 s`.
fn duration(seconds: u32) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, 0) => format!("{minutes} min"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, 0, _) => format!("{hours} h"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

//! From an operator's wish to a rollout's row, or to the reason why it cannot be.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::files::{self, FilesHome};
use crate::intent::{Intent, Mode, Phase, RestorePoint, RolloutIntent, Target, Want};
use crate::moving::{self, too_old, unmoved};
use crate::observed::Observed;
use crate::spec::is_version;
use crate::stack::{launch_differences, proven_version};
use crate::versions::Skew;

/// What the operator names; the rest stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Mattermost's version.
    pub version: Option<String>,
    /// SHA-256 of its tarball; else the specification's.
    pub sha256: Option<String>,
    /// Where it lies; else as the specification says.
    pub url: Option<String>,
    /// AMI in the home region.
    pub image_id: Option<String>,
    /// Users' files were copied to where the specification says that they live. From a node's disk only with
    /// `lose_files`: a move brings them.
    #[serde(default)]
    pub files_moved: bool,
    /// With files on the node's disk: they may go with the node. With `files_moved`: what is not in the new place
    /// may be lost.
    #[serde(default)]
    pub lose_files: bool,
    /// Not a rollout: what lives on the nodes is brought to where it lasts.
    #[serde(default)]
    pub moves: bool,
}

/// Why a rollout is not begun. Exit code 3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{text}")]
pub struct Refused {
    /// Stable word.
    pub code: String,
    /// The sentence, and what would be right.
    pub text: String,
}

fn refused<T>(code: &str, text: impl Into<String>) -> Result<T, Refused> {
    Err(Refused {
        code: code.to_owned(),
        text: text.into(),
    })
}

/// The row of a new rollout. Without a wish of the operator's it brings what the specification says now of
/// launch parameters and settings.
pub fn request(
    intent: &Intent,
    observed: &Observed,
    ask: &Ask,
    now: Timestamp,
) -> Result<RolloutIntent, Refused> {
    let record = &intent.record;
    if intent.want != Want::Up {
        return refused("going_down", "the stack is being removed");
    }
    if let Some(live) = intent.live_rollout() {
        return refused(
            "rollout_is_live",
            format!(
                "rollout {} is under way: wait for its end, or `orchestrator rollout abort`",
                live.id
            ),
        );
    }
    let Some(from) = record.proven.clone() else {
        return refused(
            "nothing_proven",
            "nothing serves yet that one could come back to: `orchestrator up` first",
        );
    };
    if ask.moves {
        return moving(intent, observed, from, now);
    }
    if let Some(unmoved) = unmoved(record, &intent.spec)
        && (unmoved.configuration || !(ask.files_moved && ask.lose_files))
    {
        let mut text = unmoved.words();
        if !unmoved.configuration && ask.files_moved {
            text.push_str(
                ". `--files-moved` brings nothing from a node's disk; with `--lose-files` besides, what is not in the new place is given up",
            );
        }
        return refused("not_moved", text);
    }
    let to = target(intent, observed, &from, ask)?;
    let serving = Target {
        template_version: None,
        // A target from before `[files]` may say the same in other words.
        files: from.files.clone().or_else(|| {
            let to = to.files.clone();
            to.filter(|to| FilesHome::of(&from).is_same_place(to))
        }),
        ..from.clone()
    };
    if serving == to {
        launches_otherwise(intent, observed, &from)?;
    }
    let homes = (FilesHome::of(&from), FilesHome::of(&to));
    if let Some((code, text)) = files::refusal(&homes.0, &homes.1, ask.files_moved, ask.lose_files)
    {
        return refused(code, text);
    }
    let tables = &intent.spec.mattermost.versions;
    let skew = tables
        .skew(&from.version, &to.version)
        .or_else(|text| refused("version_skew", text))?;
    Ok(row(intent, mode(intent, skew), from, to, now))
}

/// The row of a move.
fn moving(
    intent: &Intent,
    observed: &Observed,
    from: Target,
    now: Timestamp,
) -> Result<RolloutIntent, Refused> {
    let Some(unmoved) = unmoved(&intent.record, &intent.spec) else {
        return refused(
            "nothing_to_move",
            "settings live in the database and files where `[files]` says already: nothing is to be moved",
        );
    };
    let Some(wanted) = FilesHome::wanted(&intent.spec, observed.account.as_deref()) else {
        return refused(
            "account_unknown",
            "the account, and with it the bucket of users' files, could not be read yet: ask again",
        );
    };
    let old = too_old(intent, observed);
    if !old.is_empty() {
        return refused(
            "agent_too_old",
            format!(
                "the agents of {} are of a version that cannot move files or settings, or have not called: install this version's package on them (the server goes on running), and ask again",
                old.join(", ")
            ),
        );
    }
    let home = FilesHome::of(&from);
    let files = if unmoved.files || home.is_same_place(&wanted) {
        wanted
    } else {
        home.clone()
    };
    // Files of one bucket are not copied into another.
    if let (FilesHome::S3(_), Some((code, text))) =
        (&home, files::refusal(&home, &files, false, true))
    {
        return refused(code, text);
    }
    let to = moving::target(&from, files);
    Ok(row(intent, Mode::Move, from, to, now))
}

/// A rollout that nothing was done of.
fn row(intent: &Intent, mode: Mode, from: Target, to: Target, now: Timestamp) -> RolloutIntent {
    let record = &intent.record;
    let generation = record.generation.max(1) + 1;
    RolloutIntent {
        id: format!("r-{generation}"),
        generation,
        mode,
        from,
        to,
        phase: Phase::Requested,
        entered: now,
        requested: now,
        paused: false,
        paused_since: None,
        paused_seconds: 0,
        promote: false,
        abort: false,
        failure: Vec::new(),
        migrator: None,
        migrations: None,
        pinned: None,
        bad_windows: 0,
        windows: 0,
        verified: std::collections::BTreeSet::new(),
        joined: std::collections::BTreeSet::new(),
        blue_group: record.group.clone(),
        blue_slot: record.slot,
        failed: std::collections::BTreeSet::new(),
        failures: std::collections::BTreeMap::new(),
        migrations_before: record.migrations,
        history: Vec::new(),
        watch: None,
        unproven: None,
        restore: RestorePoint::Snapshot,
        probe: None,
    }
}

/// New nodes of the same target would be launched otherwise than those that serve.
fn launches_otherwise(intent: &Intent, observed: &Observed, from: &Target) -> Result<(), Refused> {
    let Some(version) = proven_version(&intent.record, observed) else {
        return refused(
            "launch_unknown",
            format!(
                "what serves is launched from a version of `{}` that is not visible (yet): ask again, or name `--mattermost` or `--image`",
                intent.spec.names().template()
            ),
        );
    };
    if launch_differences(&intent.spec.fleet, version).is_empty() {
        return refused(
            "nothing_to_do",
            format!(
                "Mattermost {} on {}, {} with the specification's settings, is what serves already; `--mattermost` and `--image` name something else",
                from.version, from.image_id, version.instance_type
            ),
        );
    }
    Ok(())
}

fn target(
    intent: &Intent,
    observed: &Observed,
    from: &Target,
    ask: &Ask,
) -> Result<Target, Refused> {
    let spec = &intent.spec;
    let Some(files) = FilesHome::wanted(spec, observed.account.as_deref()) else {
        return refused(
            "account_unknown",
            "the account, and with it the bucket of users' files, could not be read yet: ask again",
        );
    };
    let version = ask.version.clone().unwrap_or_else(|| from.version.clone());
    if !is_version(&version) {
        return refused(
            "version",
            format!("`{version}` is not a version of the form `11.10.0`"),
        );
    }
    let known = if version == from.version {
        Some(from.sha256.as_str())
    } else {
        spec.digest_of(&version)
    };
    let sha256 = ask.sha256.as_deref().or(known).map(str::to_ascii_lowercase);
    let Some(sha256) = sha256 else {
        return refused(
            "digest",
            format!(
                "the digest of {version} is not known: give `--sha256`, or list it in `[mattermost.releases]`"
            ),
        );
    };
    if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return refused("digest", "the SHA-256 needs 64 hexadecimal digits");
    }
    let same = version == from.version && sha256 == from.sha256;
    let url = ask.url.clone().unwrap_or_else(|| {
        if same {
            from.url.clone()
        } else {
            spec.artefact_url(&version)
        }
    });
    if !url.starts_with("https://") {
        return refused("url", format!("`{url}` is not an HTTPS address"));
    }
    Ok(Target {
        image_id: ask
            .image_id
            .clone()
            .unwrap_or_else(|| from.image_id.clone()),
        template_version: None,
        version,
        sha256,
        url,
        settings: spec.mattermost.settings.clone(),
        files: Some(files),
    })
}

fn mode(intent: &Intent, skew: Skew) -> Mode {
    let ours = &intent.spec.mattermost;
    if (ours.cluster || ours.accept_unlicensed_nodes) && skew == Skew::Neighbours {
        Mode::Overlap
    } else {
        Mode::Cutover
    }
}

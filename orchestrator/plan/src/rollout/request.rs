//! From an operator's wish to a rollout's row, or to the reason why it cannot be.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::files::{self, FilesHome};
use crate::intent::{Intent, Mode, Phase, RolloutIntent, Target, Want};
use crate::moving::{self, too_old, unmoved};
use crate::observed::Observed;
use crate::spec::is_version;
use crate::stack::{launch_differences, proven_version};

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
    /// Users' files were copied to where the specification says that they live.
    #[serde(default)]
    pub files_moved: bool,
    /// With files on the node's disk: they may go with the node.
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
        && (unmoved.configuration || !ask.files_moved)
    {
        return refused("not_moved", unmoved.words());
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
    let skew = skew(&from.version, &to.version).or_else(|text| refused("version_skew", text))?;
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
        window: None,
        unproven: None,
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

/// How far two versions are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skew {
    /// One minor release at most: both may share a cluster and a schema for the time of an upgrade.
    Neighbours,
    /// From one extended support release to the next: a cutover only.
    ExtendedSupport,
}

/// Extended support releases in their order (mattermost.md; Mattermost's release policy).
const ESR: [(u32, u32); 8] = [
    (7, 1),
    (7, 8),
    (8, 1),
    (9, 5),
    (9, 11),
    (10, 5),
    (10, 11),
    (11, 7),
];
/// Last minor release of a major version: the next one is its neighbour.
const LAST_MINOR: [(u32, u32); 4] = [(7, 10), (8, 1), (9, 11), (10, 12)];

/// Whether one may go from one version to the other, or why not.
pub fn skew(from: &str, to: &str) -> Result<Skew, String> {
    let (Some(from_minor), Some(to_minor)) = (minor_of(from), minor_of(to)) else {
        return Err(format!("`{from}` or `{to}` is not a version"));
    };
    if from_minor == to_minor || is_next(from_minor, to_minor) || is_next(to_minor, from_minor) {
        return Ok(Skew::Neighbours);
    }
    let place = |version| ESR.iter().position(|esr| *esr == version);
    if let (Some(one), Some(other)) = (place(from_minor), place(to_minor))
        && other == one + 1
    {
        return Ok(Skew::ExtendedSupport);
    }
    if to_minor < from_minor {
        return Err(format!(
            "{to} is more than one minor release older than {from}: the schema does not go back; the way back is the snapshot"
        ));
    }
    let hint = ESR
        .iter()
        .find(|esr| **esr > from_minor && **esr <= to_minor)
        .filter(|_| place(from_minor).is_some())
        .map_or_else(
            || format!("go by {}.{}", from_minor.0, from_minor.1 + 1),
            |esr| {
                format!(
                    "go by {}.{}, the next extended support release",
                    esr.0, esr.1
                )
            },
        );
    Err(format!(
        "{to} is more than one minor release from {from}: {hint}"
    ))
}

fn minor_of(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    let minor = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next()?.parse::<u32>().ok()?;
    Some(minor)
}

fn is_next(one: (u32, u32), other: (u32, u32)) -> bool {
    other == (one.0, one.1 + 1) || (LAST_MINOR.contains(&one) && other == (one.0 + 1, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_one_minor_apart_or_one_esr_apart() {
        for (from, to, expected) in [
            ("11.10.0", "11.10.3", Some(Skew::Neighbours)),
            ("11.10.0", "11.11.0", Some(Skew::Neighbours)),
            ("11.11.0", "11.10.0", Some(Skew::Neighbours)),
            ("10.12.1", "11.0.0", Some(Skew::Neighbours)),
            ("10.11.4", "11.7.9", Some(Skew::ExtendedSupport)),
            ("10.5.0", "11.7.9", None),
            ("11.1.0", "11.4.0", None),
            ("11.7.9", "10.11.4", None),
            ("11.7", "11.8.0", None),
        ] {
            assert_eq!(skew(from, to).ok(), expected, "{from} -> {to}");
        }
        assert_eq!(
            skew("10.11.0", "11.9.0").unwrap_err(),
            "11.9.0 is more than one minor release from 10.11.0: go by 11.7, the next extended support release"
        );
    }
}

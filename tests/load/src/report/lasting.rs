//! What became of files, settings, plugin and public link.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Latency;

/// Something that was wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileTrouble {
    /// Milliseconds after the start.
    pub at_ms: u64,
    /// The phase it was found in.
    pub phase: String,
    /// The file's id on the server.
    pub id: String,
    /// Its size when it was uploaded, in bytes.
    pub size: u64,
    /// What was found instead of it.
    pub what: String,
    /// The header `X-Version-Id` of the answer: version, build and settings of the node that gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

impl fmt::Display for FileTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at_s = self.at_ms as f64 / 1000.0;
        write!(
            f,
            "file {} ({} bytes) at {at_s:.1} s in `{}`: {}",
            self.id, self.size, self.phase, self.what
        )?;
        match &self.version {
            Some(version) => write!(f, " (X-Version-Id {version})"),
            None => Ok(()),
        }
    }
}

/// Files. Each uploaded one is `lost`, `late`, `corrupt`, or as it was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FilesReport {
    /// Whose upload the server acknowledged.
    pub uploaded: u64,
    /// Of those, the ones in a message that was acknowledged too.
    pub posted: u64,
    /// Whose uploader gave up after the last try.
    pub abandoned: u64,
    /// The uploaded ones' bytes.
    pub bytes: u64,
    /// Reads that told something of a file, the last one of each included.
    pub reads: u64,
    /// Uploaded, and not there in the end, or not to be read.
    pub lost: u64,
    /// Missing at some time, and there in the end.
    pub late: u64,
    /// Other bytes than were uploaded, at any time.
    pub corrupt: u64,
    /// Uploads, each as long as its file is large.
    pub upload: Latency,
    /// Reads, likewise.
    pub download: Latency,
    /// The first things that were wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<FileTrouble>,
}

impl FilesReport {
    /// Something was uploaded, and all of it was there whenever it was read.
    pub fn is_kept(&self) -> bool {
        self.uploaded > 0 && [self.lost, self.late, self.corrupt] == [0; 3]
    }

    /// And every upload was taken: none was given up, as in a cutover's pause that outlasts its tries.
    pub fn is_clean(&self) -> bool {
        self.is_kept() && self.abandoned == 0
    }

    /// How much was done, for people.
    pub(super) fn effort(&self) -> String {
        format!(
            "{:.1} MB uploaded, p95 {:.1} ms; {} times read, p95 {:.1} ms",
            self.bytes as f64 / 1e6,
            self.upload.p95_ms,
            self.reads,
            self.download.p95_ms
        )
    }
}

impl fmt::Display for FilesReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "files: {} uploaded, {} lost", self.uploaded, self.lost)?;
        for (count, word) in [
            (self.late, "late"),
            (self.corrupt, "corrupt"),
            (self.abandoned, "abandoned"),
        ] {
            if count > 0 {
                write!(f, ", {count} {word}")?;
            }
        }
        Ok(())
    }
}

/// Whether something that was made is as it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", content = "why", rename_all = "kebab-case")]
pub enum Verdict {
    /// It is.
    Kept,
    /// It is not, or could not be made.
    Broken(String),
    /// It was not made, and nobody asked for it.
    LeftOut(String),
}

impl Verdict {
    /// Nothing is wrong with it.
    pub fn is_kept(&self) -> bool {
        !matches!(self, Self::Broken(_))
    }

    /// In the words of its subject.
    fn words(&self, subject: &str, kept: &str, broken: &str) -> String {
        match self {
            Self::Kept => format!("{subject} {kept}"),
            Self::Broken(_) => format!("{subject} {broken}"),
            Self::LeftOut(why) => format!("{subject} left out: {why}"),
        }
    }
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Milliseconds after the start.
    pub at_ms: u64,
    /// The phase it was made in.
    pub phase: String,
    /// Whether `SiteName` is what the run set.
    pub settings: Verdict,
    /// Whether the plugin runs.
    pub plugin: Verdict,
    /// Whether the public link gives the file to whoever has it.
    pub link: Verdict,
}

impl Checkpoint {
    /// Nothing is broken.
    pub fn is_kept(&self) -> bool {
        let all = [&self.settings, &self.plugin, &self.link];
        all.iter().all(|verdict| verdict.is_kept())
    }

    /// What is broken, a line each.
    pub fn violations(&self) -> Vec<String> {
        let all = [
            ("settings", &self.settings),
            ("plugin", &self.plugin),
            ("link", &self.link),
        ];
        let broken = all.into_iter().filter_map(|(subject, verdict)| {
            let Verdict::Broken(why) = verdict else {
                return None;
            };
            let at_s = self.at_ms as f64 / 1000.0;
            Some(format!(
                "{subject} at {at_s:.1} s in `{}`: {why}",
                self.phase
            ))
        });
        broken.collect()
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}; {}; {}",
            self.settings.words("settings", "kept", "lost"),
            self.plugin.words("plugin", "running", "not running"),
            self.link.words("link", "valid", "invalid")
        )
    }
}

/// What an administrator made, and all checks of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastingReport {
    /// The `SiteName` that was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site_name: Option<String>,
    /// The plugin that was installed, by id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// In order, the last one at the end of the run.
    pub checks: Vec<Checkpoint>,
}

impl LastingReport {
    /// Everything was as it should be, at each check.
    pub fn is_clean(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(Checkpoint::is_kept)
    }

    /// The first thing that was broken about a subject; what the last check found when nothing was.
    fn over_all(&self, subject: fn(&Checkpoint) -> &Verdict) -> Verdict {
        let broken = self.checks.iter().map(subject).find(|one| !one.is_kept());
        let found = broken.or_else(|| self.checks.last().map(subject));
        let never = || Verdict::Broken("it was never checked".to_owned());
        found.cloned().unwrap_or_else(never)
    }
}

impl fmt::Display for LastingReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Checkpoint {
            at_ms: 0,
            phase: String::new(),
            settings: self.over_all(|check| &check.settings),
            plugin: self.over_all(|check| &check.plugin),
            link: self.over_all(|check| &check.link),
        }
        .fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(plugin: Verdict) -> Checkpoint {
        Checkpoint {
            at_ms: 1500,
            phase: "rollout 1".to_owned(),
            settings: Verdict::Kept,
            plugin,
            link: Verdict::Kept,
        }
    }

    #[test]
    fn what_was_broken_once_stays_broken() {
        let mut lasting = LastingReport::default();
        assert!(!lasting.is_clean(), "what nobody looked at is not proven");
        lasting.checks = vec![check(Verdict::Kept)];
        assert_eq!(
            lasting.to_string(),
            "settings kept; plugin running; link valid"
        );
        let broken = Verdict::Broken("no node knows it".to_owned());
        lasting.checks = vec![check(broken), check(Verdict::Kept)];
        assert!(!lasting.is_clean());
        assert_eq!(
            lasting.to_string(),
            "settings kept; plugin not running; link valid"
        );
        assert_eq!(
            lasting.checks[0].violations(),
            ["plugin at 1.5 s in `rollout 1`: no node knows it"]
        );
        let left_out = Verdict::LeftOut("the tarball carries none".to_owned());
        lasting.checks = vec![check(left_out)];
        assert!(lasting.is_clean());
        assert_eq!(
            lasting.to_string(),
            "settings kept; plugin left out: the tarball carries none; link valid"
        );
    }

    #[test]
    fn files_are_clean_when_there_were_some_and_each_was_always_there() {
        let good = FilesReport {
            uploaded: 3,
            ..FilesReport::default()
        };
        assert!(good.is_clean() && !FilesReport::default().is_clean());
        assert_eq!(good.to_string(), "files: 3 uploaded, 0 lost");
        let bad = |change: fn(&mut FilesReport)| {
            let mut bad = good.clone();
            change(&mut bad);
            assert!(!bad.is_clean());
            bad.to_string()
        };
        assert_eq!(bad(|files| files.lost = 1), "files: 3 uploaded, 1 lost");
        assert_eq!(
            bad(|files| (files.late, files.corrupt) = (1, 2)),
            "files: 3 uploaded, 0 lost, 1 late, 2 corrupt"
        );
        assert_eq!(
            bad(|files| files.abandoned = 1),
            "files: 3 uploaded, 0 lost, 1 abandoned"
        );
    }
}

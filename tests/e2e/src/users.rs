//! Users of a stage: few, with what must outlive every node.

use anyhow::{Context as _, ensure};
use load::{Checkpoint, Report, Running, Snapshot, Verdict};

use crate::Stage;

/// How much they do.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Messages a second.
    pub rate: f64,
    /// Requests a second.
    pub get_rate: f64,
    /// Uploads and reads of files.
    pub files: load::FileOptions,
}

/// Files as few as these users upload, and none of them large: what differs is the caller's.
pub fn small_files() -> load::FileOptions {
    load::FileOptions {
        largest: 20_000,
        large_every: 0,
        ..load::FileOptions::default()
    }
}

/// Users at work. Whether what they made is there is asked by [`Users::kept`] and [`Users::finish`] alone:
/// both fail when something of it was never made.
#[derive(Debug)]
pub struct Users(Running);

/// Two users who upload and read all the time, and an administrator who made what must last: `SiteName`, a
/// plugin, a public link. Small and few, for other tests run beside this one, and what is asked is whether
/// all of it is there.
pub async fn start(stage: &Stage, url: &str, pace: Pace) -> anyhow::Result<Users> {
    let mut options = load::Options::new(url);
    (options.clients, options.users) = (2, 2);
    (options.rate, options.get_rate) = (pace.rate, pace.get_rate);
    options.files = Some(pace.files);
    let release = stage.releases.get(&stage.versions[0])?;
    options.lasting = Some(load::LastingOptions {
        plugin: load::Plugin::Release(release.file.clone()),
        ..load::LastingOptions::default()
    });
    Ok(Users(load::start(options).await?))
}

impl Users {
    /// How it stands.
    pub fn snapshot(&self) -> Snapshot {
        self.0.snapshot()
    }

    /// Fails unless setting, plugin and link are there now, and each file was whenever it was read.
    pub async fn kept(&self, when: &str) -> anyhow::Result<()> {
        all_kept(&self.0.verify_kept().await).with_context(|| when.to_owned())?;
        let troubled = self.0.snapshot().files_troubled;
        ensure!(troubled == 0, "{when}: {troubled} files were missing");
        Ok(())
    }

    /// Lets them go. Fails unless files were uploaded and each is there in the end, and setting, plugin and
    /// link were whenever somebody looked, which somebody did at least twice: at the start and now.
    pub async fn finish(self) -> anyhow::Result<Report> {
        let report = self.0.finish().await;
        let wrong = report.not_kept();
        ensure!(wrong.is_empty(), "{:?}: {wrong:?}", report.kept());
        let files = report.files.as_ref().context("no files were wanted")?;
        ensure!(files.is_kept(), "{files}");
        let lasting = report.lasting.as_ref().context("nothing was to last")?;
        ensure!(lasting.checks.len() > 1, "nobody looked: {lasting}");
        lasting.checks.iter().try_for_each(all_kept)?;
        Ok(report)
    }
}

/// Fails unless setting, plugin and link were made and are as they were made. What was left out proves nothing
/// here, since the stand-in's tarball carries a plugin.
fn all_kept(found: &Checkpoint) -> anyhow::Result<()> {
    let all = [&found.settings, &found.plugin, &found.link];
    let kept = all.iter().all(|verdict| **verdict == Verdict::Kept);
    ensure!(kept, "in `{}`: {found}: {all:?}", found.phase);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_out_is_not_kept() {
        let good = Checkpoint {
            at_ms: 1,
            phase: "start".to_owned(),
            settings: Verdict::Kept,
            plugin: Verdict::Kept,
            link: Verdict::Kept,
        };
        all_kept(&good).unwrap();
        let without = || Verdict::LeftOut("the tarball carries none".to_owned());
        for change in [
            |found: &mut Checkpoint, verdict| found.settings = verdict,
            |found: &mut Checkpoint, verdict| found.plugin = verdict,
            |found: &mut Checkpoint, verdict| found.link = verdict,
        ] {
            let mut found = good.clone();
            change(&mut found, without());
            assert!(found.is_kept());
            let error = all_kept(&found).unwrap_err().to_string();
            assert!(error.contains("the tarball carries none"), "{error}");
        }
    }
}

//! Users of a stage: few, with what must outlive every node.

use crate::Stage;

/// How much they do.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Messages a second.
    pub rate: f64,
    /// Requests a second.
    pub get_rate: f64,
    /// Uploads and reads of files; their sizes are small here, whatever it says.
    pub files: load::FileOptions,
}

/// Two users who upload and read all the time, and an administrator who made what must last: `SiteName`, a
/// plugin, a public link. Small and few, for other tests run beside this one, and what is asked is whether
/// all of it is there.
pub async fn start(stage: &Stage, url: &str, pace: Pace) -> anyhow::Result<load::Running> {
    let mut options = load::Options::new(url);
    (options.clients, options.users) = (2, 2);
    (options.rate, options.get_rate) = (pace.rate, pace.get_rate);
    options.files = Some(load::FileOptions {
        largest: 20_000,
        large_every: 0,
        ..pace.files
    });
    let release = stage.releases.get(&stage.versions[0])?;
    options.lasting = Some(load::LastingOptions {
        plugin: load::Plugin::Release(release.file.clone()),
        ..load::LastingOptions::default()
    });
    Ok(load::start(options).await?)
}

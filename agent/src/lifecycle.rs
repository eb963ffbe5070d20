//! Whether Auto Scaling wants this instance gone, as its metadata says.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::imds::Imds;
use crate::report::Reporter;

/// The termination hook gives minutes; a poll is one local request.
const INTERVAL: Duration = Duration::from_secs(5);

/// Polls until stopped; puts `terminating` into the report and the watch. A state that goes back
/// (the termination was abandoned) is followed, too.
pub async fn watch(
    imds: Arc<Imds>,
    reporter: Reporter,
    terminating: watch::Sender<bool>,
    stop: CancellationToken,
) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        match imds.target_lifecycle_state().await {
            Ok(state) => {
                failing = false;
                let now = state.as_deref() == Some("Terminated");
                if terminating.send_if_modified(|was| std::mem::replace(was, now) != now) && now {
                    log::info!("this instance is being terminated");
                }
                reporter.update(|report| report.terminating = now);
            }
            Err(error) if !failing => {
                failing = true;
                log::warn!("cannot read the lifecycle state: {error}");
            }
            Err(_) => {}
        }
    }
}

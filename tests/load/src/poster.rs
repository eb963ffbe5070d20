//! Posts at the wanted rate, each retried with its `pending_post_id` as a client retries.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::timed;
use crate::meter::Kind;
use crate::run::Shared;

/// Requests under way at once, at most; a server that hangs stops the sending, not the machine.
pub(crate) const AT_ONCE: usize = 512;

/// Calls `each` at a rate until stopped, at most so many at once, then waits for what is under way.
pub(crate) async fn at_rate<F: Future<Output = ()> + Send + 'static>(
    rate: f64,
    at_once: usize,
    stop: CancellationToken,
    mut each: impl FnMut() -> F + Send,
) {
    if rate <= 0.0 {
        return;
    }
    let mut ticks = interval(Duration::from_secs_f64(1.0 / rate));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (places, tasks) = (Arc::new(Semaphore::new(at_once)), TaskTracker::new());
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => break,
        }
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            () = stop.cancelled() => break,
        };
        let task = each();
        tasks.spawn(async move {
            task.await;
            drop(place);
        });
    }
    tasks.close();
    tasks.wait().await;
}

/// Posts until stopped.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let rate = shared.options.rate;
    at_rate(rate, AT_ONCE, stop, || {
        let shared = Arc::clone(&shared);
        async move {
            let sender = rand::rng().random_range(0..shared.options.clients);
            post(&shared, sender, &[]).await;
        }
    })
    .await;
}

/// One message, with files by their ids, until it is acknowledged or given up; says whether it is
/// acknowledged.
pub(crate) async fn post(shared: &Shared, sender: usize, files: &[&str]) -> bool {
    let marker = shared.ledger().send(sender, shared.now());
    let pending = format!("{}:{marker}:{}", shared.run, uuid::Uuid::new_v4());
    let body = json!({
        "channel_id": shared.channel,
        "message": shared.message(marker),
        "pending_post_id": pending,
        "file_ids": files,
    });
    let mut wait = shared.options.post_retry;
    for attempt in 1..=shared.options.post_attempts {
        let call = shared.user(sender).post("/api/v4/posts", &body);
        let (result, latency) = timed(call).await;
        let now = shared.now();
        match result {
            Ok(post) => {
                shared.meter().completed(Kind::Post, latency);
                let id = post["id"].as_str().unwrap_or_default();
                shared.ledger().acknowledge(marker, id);
                shared.changed.notify_waiters();
                return true;
            }
            Err(error) => shared.meter().failed(Kind::Post, &error, now),
        }
        if attempt < shared.options.post_attempts {
            shared.meter().retried(Kind::Post);
            tokio::time::sleep(wait).await;
            wait = wait.saturating_mul(2);
        }
    }
    shared.ledger().abandon(marker);
    shared.changed.notify_waiters();
    false
}

//! Plain GET requests, as a browser makes them beside the chat.

use std::sync::Arc;

use rand::RngExt as _;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::api::timed;
use crate::meter::Kind;
use crate::poster::{AT_ONCE, at_rate};
use crate::run::Shared;

/// Gets until stopped.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let rate = shared.options.get_rate;
    let paths: Arc<[String]> = [
        "/".to_owned(),
        "/api/v4/users/me".to_owned(),
        "/api/v4/config/client?format=old".to_owned(),
        format!("/api/v4/channels/{}", shared.channel),
        format!(
            "/api/v4/channels/{}/posts?page=0&per_page=30",
            shared.channel
        ),
    ]
    .into();
    at_rate(rate, AT_ONCE, stop, || {
        let (shared, paths) = (Arc::clone(&shared), Arc::clone(&paths));
        async move {
            let (client, path) = {
                let mut rng = rand::rng();
                let client = rng.random_range(0..shared.options.clients);
                (client, rng.random_range(0..paths.len()))
            };
            get(&shared, client, &paths[path]).await;
        }
    })
    .await;
}

/// One GET of a client. Without an answer it is tried once more, for that is what every browser
/// does; with a wrong one, or none again, it failed.
pub(crate) async fn get(shared: &Shared, client: usize, path: &str) -> Option<Value> {
    let user = shared.user(client);
    let (mut result, mut latency) = timed(user.get(path)).await;
    if result.as_ref().is_err_and(crate::ApiError::is_unanswered) {
        shared.meter().retried(Kind::Get);
        (result, latency) = timed(user.get(path)).await;
    }
    let now = shared.now();
    match result {
        Ok(value) => {
            shared.meter().completed(Kind::Get, latency);
            Some(value)
        }
        Err(error) => {
            shared.meter().failed(Kind::Get, &error, now);
            None
        }
    }
}

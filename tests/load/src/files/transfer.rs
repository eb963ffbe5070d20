//! Uploads, reads while the run goes, and the last read of each file.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use rand::RngExt as _;
use tokio_util::sync::CancellationToken;

use super::Content;
use crate::api::{ApiError, Downloaded, timed};
use crate::form::Form;
use crate::meter::Kind;
use crate::poster::{at_rate, post};
use crate::run::Shared;

/// Uploads under way at once, at most: each holds its file in memory.
const UPLOADS_AT_ONCE: usize = 8;
/// Reads under way at once, at most; they hold no more than a piece each.
const READS_AT_ONCE: usize = 32;
/// In the end every file is read: so many at once.
const LAST_READS_AT_ONCE: usize = 8;

/// A file that the server acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Uploaded {
    pub(crate) id: String,
    pub(crate) size: u64,
    pub(crate) sha256: [u8; 32],
    /// Whether the message that carries it is acknowledged too.
    pub(crate) is_posted: bool,
}

/// Uploads until stopped, or until there are as many files as wanted.
pub(crate) async fn upload(shared: Arc<Shared>, stop: CancellationToken) {
    let rate = shared.file_options().rate;
    at_rate(rate, UPLOADS_AT_ONCE, stop, || {
        let shared = Arc::clone(&shared);
        async move {
            let client = rand::rng().random_range(0..shared.options.clients);
            // What went wrong is counted with the requests.
            drop(upload_one(&shared, client).await);
        }
    })
    .await;
}

/// One file and the message that carries it, each tried as a client tries. None when there are enough
/// files; the last try's error when none was acknowledged.
pub(crate) async fn upload_one(
    shared: &Shared,
    client: usize,
) -> Option<Result<Uploaded, ApiError>> {
    let number = shared.files().begin()?;
    let content = Content::of(&shared.run, number, shared.file_options());
    let fields = [("channel_id", shared.channel.as_str())];
    let form = Form::new(&fields, ("files", &content.name), &content.bytes);
    let (size, sha256) = (content.bytes.len() as u64, content.sha256);
    drop(content);
    let id = match send(shared, client, &form).await {
        Ok(id) => id,
        Err(error) => {
            shared.files().abandon();
            return Some(Err(error));
        }
    };
    let index = shared.files().acknowledge(&id, size, sha256, client);
    let is_posted = post(shared, client, &[&id]).await;
    if is_posted {
        shared.files().posted(index);
    }
    Some(Ok(Uploaded {
        id,
        size,
        sha256,
        is_posted,
    }))
}

/// Sends a file until it is acknowledged or given up; answers its id. A try whose answer is lost may
/// leave a file that nobody knows: it harms nobody.
async fn send(shared: &Shared, client: usize, form: &Form) -> Result<String, ApiError> {
    let path = "/api/v4/files";
    let mut wait = shared.options.post_retry;
    let mut attempt = 1;
    loop {
        let (result, latency) = timed(shared.user(client).upload(path, form)).await;
        let id = result.and_then(|answer| {
            let id = answer["file_infos"][0]["id"].as_str();
            let lacking = "the answer names no file in `file_infos`";
            id.map(str::to_owned)
                .ok_or_else(|| ApiError::incomplete("POST", path, lacking))
        });
        let now = shared.now();
        match id {
            Ok(id) => {
                shared.meter().completed(Kind::Upload, latency);
                return Ok(id);
            }
            Err(error) => {
                shared.meter().failed(Kind::Upload, &error, now);
                if attempt >= shared.options.post_attempts {
                    return Err(error);
                }
            }
        }
        attempt += 1;
        shared.meter().retried(Kind::Upload);
        tokio::time::sleep(wait).await;
        wait = wait.saturating_mul(2);
    }
}

/// Reads files, each time any, until stopped.
pub(crate) async fn read(shared: Arc<Shared>, stop: CancellationToken) {
    let rate = shared.file_options().read_rate;
    at_rate(rate, READS_AT_ONCE, stop, || {
        let shared = Arc::clone(&shared);
        async move {
            let count = shared.files().len();
            if count > 0 {
                let index = rand::rng().random_range(0..count);
                // What was found stands in the book.
                drop(read_one(&shared, index).await);
            }
        }
    })
    .await;
}

/// Reads the file of a place, as any client that may, and writes down what came.
async fn read_one(shared: &Shared, index: usize) -> Result<(), ApiError> {
    let Some(target) = shared.files().target(index) else {
        return Ok(());
    };
    let anybody = || rand::rng().random_range(0..shared.options.clients);
    let client = target.only.unwrap_or_else(anybody);
    let found = download(shared, client, &target.path()).await;
    let (now, phase) = (shared.now(), shared.meter().phase_name().to_owned());
    match found {
        Ok(found) => {
            shared.files().arrived(index, &found, now, &phase);
            Ok(())
        }
        Err(error) => {
            shared.files().failed(index, &error, now, &phase);
            Err(error)
        }
    }
}

/// One read, tried once more when no answer came or broke off, as with every GET.
async fn download(shared: &Shared, client: usize, path: &str) -> Result<Downloaded, ApiError> {
    let user = shared.user(client);
    let (mut result, mut latency) = timed(user.download(path)).await;
    if result.as_ref().is_err_and(ApiError::is_unanswered) {
        shared.meter().retried(Kind::Download);
        (result, latency) = timed(user.download(path)).await;
    }
    let now = shared.now();
    match &result {
        Ok(_) => shared.meter().completed(Kind::Download, latency),
        Err(error) => shared.meter().failed(Kind::Download, error, now),
    }
    result
}

/// Reads each file once more, and insists as long as the answer tells nothing of the file. What has
/// not been read when the time is over counts as lost.
pub(crate) async fn read_back(shared: &Shared, limit: Duration) {
    let count = {
        let mut files = shared.files();
        files.before_the_last_read();
        files.len()
    };
    let reads: Vec<_> = (0..count).map(|index| last_read(shared, index)).collect();
    let all = stream::iter(reads)
        .buffer_unordered(LAST_READS_AT_ONCE)
        .collect::<()>();
    if tokio::time::timeout(limit, all).await.is_err() {
        let (now, phase) = (shared.now(), shared.meter().phase_name().to_owned());
        let mut files = shared.files();
        for index in 0..count {
            files.unread(index, "the time for it was over", now, &phase);
        }
    }
}

async fn last_read(shared: &Shared, index: usize) {
    let mut wait = shared.options.post_retry;
    for attempt in 1..=shared.options.post_attempts {
        let Err(error) = read_one(shared, index).await else {
            return;
        };
        if matches!(error.status, Some(404 | 410)) {
            return;
        }
        if attempt == shared.options.post_attempts {
            let (now, phase) = (shared.now(), shared.meter().phase_name().to_owned());
            shared
                .files()
                .unread(index, &error.to_string(), now, &phase);
            return;
        }
        tokio::time::sleep(wait).await;
        wait = wait.saturating_mul(2);
    }
}

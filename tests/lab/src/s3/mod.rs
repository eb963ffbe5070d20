//! S3: buckets with their settings, objects with their versions, unfinished uploads.
//!
//! ```text
//!  HTTP ── wire: whose key, whose session token ──► the crate `s3s`: SigV4, chunks, XML
//!                                                     │        │
//!                       access: faults, region, owner,┘        └► service: one method an action
//!                       policies (table, authorize)                  │
//!                                                                     ▼
//!     create_bucket, encryption      buckets, settings, objects, copies, listing, multipart, tags
//!     (what s3s's model lacks)                                        │
//!                                                       state (memory) + blob (files)
//!                                                                     ▲
//!                                                  lifecycle: by the lab's clock
//! ```
//!
//! Invariants:
//! * An object's bytes are a file below `s3/` in the lab's directory, written once and removed with the last
//!   version that uses it; all else is in memory, as with the lab's other services.
//! * Names are global: one table for all regions. A bucket is answered by its own region only.
//! * Every call is judged before its handler runs, by the caller's policies and by the bucket's.
//!
//! docs/lab/s3.md lists what is claimed and what is simplified.

mod access;
mod blob;
mod buckets;
mod complete;
mod conditions;
mod copies;
mod create_bucket;
mod digest;
mod encryption;
mod lifecycle;
mod listing;
mod multipart;
mod objects;
mod pages;
mod reads;
mod route;
mod service;
mod settings;
mod state;
mod table;
mod tagging;
mod uploads;
mod versions;
mod wire;
mod xml_tree;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::Lab;
use crate::api::ApiError;
use crate::clock::Clock;
use state::State;
pub(crate) use wire::{answer, is_addressed};

/// The buckets of the account, and those names that others have.
#[derive(Debug)]
pub struct S3Store {
    state: Mutex<State>,
    /// Where the bytes lie.
    directory: PathBuf,
    /// Seconds by which S3's clock is ahead of the lab's.
    ahead: AtomicU64,
}

impl S3Store {
    /// For a lab in `directory`; makes `s3` in it, empty.
    pub fn new(directory: &Path) -> std::io::Result<Self> {
        let directory = directory.join("s3");
        match std::fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => std::fs::create_dir_all(&directory)?,
        }
        Ok(Self {
            state: Mutex::default(),
            directory,
            ahead: AtomicU64::new(0),
        })
    }

    /// S3's clock, by which the life-cycle counts: lab time, and what [`control`] put it ahead by.
    fn now(&self, clock: &Clock) -> Duration {
        clock.lab_time() + Duration::from_secs(self.ahead.load(Ordering::Relaxed))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts what the clock moves: the life-cycle of objects.
pub(crate) fn start(lab: &Arc<Lab>) {
    lab.spawn(lifecycle::run(Arc::clone(lab)));
}

/// The lab's own calls about S3.
///
/// | request | does |
/// |---|---|
/// | `GET /lab/s3` | buckets with region, and numbers of versions, markers, uploads |
/// | `POST /lab/s3/foreign {"bucket": NAME}` | lets a name belong to another account |
/// | `POST /lab/s3/names {"held_for": SECONDS}` | how long a deleted bucket's name answers `OperationAborted`, in lab time; 0 frees those that are held, too |
/// | `POST /lab/s3/lifecycle {"days": N}` | puts S3's clock N days ahead and applies the rules at once |
/// | `POST /lab/s3/transport {"secure": false}` | lets requests count as sent without TLS, or with it again |
pub(crate) fn control(
    lab: &Lab,
    method: &Method,
    path: &[&str],
    body: &Value,
) -> Result<Value, String> {
    match (method.as_str(), path) {
        ("GET", []) => Ok(lab.s3.lock().show()),
        ("POST", ["foreign"]) => {
            let name = body["bucket"].as_str().ok_or("`bucket` must be a name")?;
            let mut state = lab.s3.lock();
            if state.buckets.contains_key(name) {
                return Err(format!("`{name}` is a bucket of this account"));
            }
            state.foreign.insert(name.to_owned());
            Ok(json!({}))
        }
        ("POST", ["names"]) => {
            let seconds = body["held_for"]
                .as_u64()
                .ok_or("`held_for` must be a number of seconds")?;
            let mut state = lab.s3.lock();
            state.name_held_for = Duration::from_secs(seconds);
            if seconds == 0 {
                state.held.clear();
            }
            Ok(json!({}))
        }
        ("POST", ["lifecycle"]) => {
            let days = body["days"].as_u64().ok_or("`days` must be a number")?;
            let seconds = days * lifecycle::DAY.as_secs();
            lab.s3.ahead.fetch_add(seconds, Ordering::Relaxed);
            Ok(lifecycle::apply(lab))
        }
        ("POST", ["transport"]) => {
            let secure = body["secure"]
                .as_bool()
                .ok_or("`secure` must be true or false")?;
            lab.s3.lock().plain = !secure;
            Ok(json!({}))
        }
        _ => Err(format!("there is no `{method} /lab/s3/{}`", path.join("/"))),
    }
}

fn no_such_bucket(name: &str) -> ApiError {
    let message = format!("The specified bucket does not exist: {name}");
    ApiError::new("NoSuchBucket", message).status(404)
}

fn no_such_key(key: &str) -> ApiError {
    let message = format!("The specified key does not exist: {key}");
    ApiError::new("NoSuchKey", message).status(404)
}

/// What the lab does not have is refused, never ignored; [`wire`] logs it.
fn not_implemented(what: &str) -> ApiError {
    let message = format!(
        "A header or query you provided implies functionality that is not implemented: {what}"
    );
    ApiError::new("NotImplemented", message).status(501)
}

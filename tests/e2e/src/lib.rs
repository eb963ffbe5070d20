//! A stage for the whole product: a lab, an image with the agent in it, releases behind HTTPS, a
//! specification, and the orchestrator as an operator runs it: by its command line.
//!
//! Nothing here is known to the product. It is told the lab's endpoint by `AWS_ENDPOINT_URL`, which
//! every AWS SDK and tool understands, and everything else by its specification.

pub mod database;
pub mod earlier;
pub mod fleet;
pub mod image;
pub mod orchestrator;
pub mod packer;
pub mod processes;
pub mod region;
pub mod releases;
pub mod report;
pub mod role;
pub mod search;
pub mod secrets;
pub mod stage;
pub mod timeline;
pub mod users;

pub use database::Database;
pub use orchestrator::{Ended, Orchestrator};
pub use releases::{Release, Releases};
pub use stage::{Options, Runtime, Stage};
pub use timeline::Timeline;

/// Where this build's binaries lie: beside the folder of the running test's own.
///
/// # Panics
/// When this is no test that cargo built.
#[must_use]
pub fn binaries() -> std::path::PathBuf {
    let own = std::env::current_exe().expect("a running test has a path");
    own.parent()
        .and_then(|deps| deps.parent())
        .expect("target/<profile>/deps/<test>")
        .to_owned()
}

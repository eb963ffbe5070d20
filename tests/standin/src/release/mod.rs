//! Releases: what stands in one, how it is packed, how it is served.

mod manifest;
mod pack;
mod serve;

pub use manifest::{Behaviour, Manifest, ManifestError, Version};
pub use pack::{PackError, Packed, pack};
pub use serve::{ServeError, serve_releases, tls_from_files, tls_from_pem};

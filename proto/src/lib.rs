//! What nodes, orchestrators and operators say to each other: messages, ids, TLS, reconnecting.
//!
//! The messages are generated from `proto/fleet/v1/*.proto` and committed; a test regenerates and
//! compares. Nothing here knows AWS, SQL or the planner.

pub mod backoff;
pub mod id;
pub mod tls;

/// The generated messages and services.
#[expect(
    clippy::pedantic,
    clippy::allow_attributes,
    missing_docs,
    reason = "generated; the documentation is in the .proto files"
)]
pub mod v1 {
    include!("gen/fleet.v1.rs");
}

/// The descriptors of all services, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!("gen/descriptors.bin");

//! What comes in by gRPC: nodes over TLS, operators over a Unix socket. It writes intent and reports
//! into the store and rings the loop; it never acts on the world itself.

mod addresses;
mod bounds;
mod checks;
mod control;
mod denied;
mod enrolment;
mod limit;
mod node;
mod place;
mod served;
mod server;
mod sessions;
#[cfg(test)]
mod tests;

pub use addresses::Addresses;
pub use bounds::Bounds;
pub use checks::Refused;
pub use denied::Denied;
pub use enrolment::EnrolmentService;
pub use limit::{Granted, Quota};
pub use server::{serve_nodes, serve_operators, within_grace};
pub use sessions::hold as hold_sessions;

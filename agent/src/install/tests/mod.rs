//! What must be refused, each by its name, without a trace, while the old release stays current.

mod archives;
mod fixture;
pub mod fuzz;
mod gnupg;
mod headers;
mod ranges;
mod release_server;
mod servers;
mod signatures;
mod trees;

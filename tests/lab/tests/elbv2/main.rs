//! The load balancer judged from outside: real clients, real backends, the API over the wire.

#![expect(
    clippy::unwrap_used,
    reason = "in tests a failed expectation is a failed test"
)]

mod api;
mod backend;
mod client;
mod header_rule;
mod health;
mod metrics;
mod proxy;
mod routing;
mod support;
mod tls;

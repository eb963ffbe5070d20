//! The load balancer judged from outside: real clients, real backends, the API over the wire.

mod api;
mod health;
mod proxy;
mod routing;
mod support;
mod tls;

//! EC2, the instances' runtime, their metadata service and IAM, from outside: signed requests over HTTP
//! to a lab, and processes that really run.

mod api;
mod images;
mod machines;
mod metadata;
mod policies;
mod refusals;
mod services;
mod session;
mod support;

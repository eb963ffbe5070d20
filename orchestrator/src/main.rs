//! `orchestrator`: everything around the nodes of a Mattermost stack on AWS.
//!
//! ```text
//!   cli -> host -> core <- reconcile (the loop), rpc (nodes, operators), console (metrics, page)
//!                   |
//!          store (SQL)   cloud (AWS)   plan (decisions, pure)
//! ```

mod authority;
mod cli;
mod console;
mod core;
mod desired;
mod files;
mod fleet;
mod host;
mod licence;
mod logging;
mod metrics;
mod prober;
mod reconcile;
mod report;
mod rpc;
mod status;
mod store;
mod trust;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}

/// An error with its causes in one line: logged once, where it is handled.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// The node's signed request as `cloud` takes it.
fn cloud_request(request: fleet_proto::v1::SignedRequest) -> cloud::SignedRequest {
    cloud::SignedRequest {
        method: request.method,
        url: request.url,
        headers: request
            .headers
            .into_iter()
            .map(|header| (header.name, header.value))
            .collect(),
        body: request.body,
    }
}

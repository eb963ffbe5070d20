//! The one HTTPS client of an install: what it follows, what it trusts, and what its errors are called.

use reqwest::{Certificate, Client, Url, redirect};

use super::download::Patience;
use super::error::InstallError;

use crate::wanted::Artefact;

const REDIRECTS: usize = 5;

/// HTTPS only, proxies from the environment, the mirror's roots added.
pub fn client(artefact: &Artefact, patience: Patience) -> Result<Client, InstallError> {
    let follow = redirect::Policy::custom(|attempt| {
        if attempt.url().scheme() != "https" {
            attempt.error("it is not https://")
        } else if attempt.previous().len() > REDIRECTS {
            attempt.error("too many redirects")
        } else {
            attempt.follow()
        }
    });
    let mut client = Client::builder()
        .redirect(follow)
        // Over HTTP/2 all ranges would share one connection, and its pace.
        .http1_only()
        .connect_timeout(patience.stall)
        .read_timeout(patience.stall)
        .user_agent(concat!("mattermost-agent/", env!("CARGO_PKG_VERSION")));
    if !artefact.trust_pem.is_empty() {
        let roots = Certificate::from_pem_bundle(artefact.trust_pem.as_bytes())
            .map_err(InstallError::Client)?;
        client = client.tls_certs_merge(roots);
    }
    client.build().map_err(InstallError::Client)
}

/// For people: without the query, which may hold a grant.
pub fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.to_string()
}

/// Why there was no answer.
pub fn unsent(url: &str, source: reqwest::Error) -> InstallError {
    let url = url.to_owned();
    if source.is_redirect() {
        let source = source.without_url();
        InstallError::Redirect { url, source }
    } else if crate::coded::certificate_error(&source).is_some() {
        let source = source.without_url();
        InstallError::Untrusted { url, source }
    } else if source.is_builder() {
        InstallError::Client(source.without_url())
    } else {
        let source = source.without_url();
        InstallError::Unreachable { url, source }
    }
}

/// Whether another try would meet the same.
pub fn lasting(source: &reqwest::Error) -> bool {
    source.is_redirect() || source.is_builder() || crate::coded::certificate_error(source).is_some()
}

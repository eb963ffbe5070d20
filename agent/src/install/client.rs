//! The one HTTPS client of an install: what it follows, what it trusts, and what its errors are called.

use futures_util::StreamExt;
use reqwest::header::ACCEPT_ENCODING;
use reqwest::{Certificate, Client, StatusCode, Url, redirect};

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

/// A small file, whole: the signature beside a release.
pub async fn fetch(
    artefact: &Artefact,
    url: &Url,
    limit: u64,
    patience: Patience,
) -> Result<Vec<u8>, InstallError> {
    let client = client(artefact, patience)?;
    let shown = shown(url);
    let mut pause = patience.pause;
    for attempt in 1.. {
        let error = match fetch_once(&client, url, &shown, limit).await {
            Ok(bytes) => return Ok(bytes),
            Err((error, again)) if !again || attempt >= patience.attempts => return Err(error),
            Err((error, _)) => error,
        };
        log::warn!("{}: trying again", crate::coded::chain(&error));
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    Err(InstallError::Interrupted)
}

/// With whether another try could help.
async fn fetch_once(
    client: &Client,
    url: &Url,
    shown: &str,
    limit: u64,
) -> Result<Vec<u8>, (InstallError, bool)> {
    let request = client.get(url.clone()).header(ACCEPT_ENCODING, "identity");
    let answer = request.send().await.map_err(|source| {
        let again = !lasting(&source);
        (unsent(shown, source), again)
    })?;
    let status = answer.status();
    if status != StatusCode::OK {
        let again = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        let (url, status) = (shown.to_owned(), status.as_u16());
        return Err((InstallError::Status { url, status }, again));
    }
    let mut stream = answer.bytes_stream();
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|source| (unsent(shown, source), true))?;
        if bytes.len() as u64 + piece.len() as u64 > limit {
            let url = shown.to_owned();
            return Err((InstallError::TooLarge { url, limit }, false));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

//! What a client of HTTPS trusts besides the system's roots.

use reqwest::{Certificate, ClientBuilder};

/// A client that trusts these roots (PEM, may be empty), too.
pub fn with_roots(client: ClientBuilder, pem: &str) -> reqwest::Result<ClientBuilder> {
    if pem.is_empty() {
        return Ok(client);
    }
    Ok(client.tls_certs_merge(Certificate::from_pem_bundle(pem.as_bytes())?))
}

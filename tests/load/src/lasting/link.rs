//! A public link: whoever has it gets the file, without a login.

use super::asking::{Asking, Found};
use crate::api::{Api, ApiError};
use crate::files::upload_one;
use crate::report::Verdict;
use crate::run::Shared;

/// The client that uploads the file and makes its link.
const OWNER: usize = 0;

/// A link, and what it leads to.
pub(crate) struct Link {
    /// Below the address of the run.
    path: String,
    size: u64,
    sha256: [u8; 32],
}

/// Uploads and posts a file, and makes its link.
pub(super) async fn make(shared: &Shared, asking: Asking) -> Result<Link, String> {
    let file = match upload_one(shared, OWNER).await {
        Some(Ok(file)) if file.is_posted => file,
        Some(Ok(_)) => return Err("its file could not be posted".to_owned()),
        Some(Err(error)) => return Err(format!("its file could not be uploaded: {error}")),
        None => return Err("the limit allows no file".to_owned()),
    };
    let path = format!("/api/v4/files/{}/link", file.id);
    let made = asking.insist(|| shared.user(OWNER).get(&path));
    let link = made.await.map_err(|error: ApiError| {
        let hint = if matches!(error.status, Some(403 | 501)) {
            "; the server needs `FileSettings.EnablePublicLink` on"
        } else {
            ""
        };
        format!("it could not be made: {error}{hint}")
    })?;
    let path = link["link"].as_str();
    let path = path.and_then(|link| shared.user(OWNER).path_of(link));
    Ok(Link {
        path: path.ok_or("the answer names no URL in `link`")?,
        size: file.size,
        sha256: file.sha256,
    })
}

/// Whether it gives the file's bytes. Where it is not valid, a real server redirects to a page that says so.
pub(super) async fn check(anybody: &Api, link: &Link, asking: Asking) -> Verdict {
    let ask = || async move {
        match anybody.download(&link.path).await {
            Ok(found) if (found.size, found.sha256) == (link.size, link.sha256) => Found::Right,
            Ok(found) => Found::Wrong(format!(
                "it gives {} other bytes than the {} of its file",
                found.size, link.size
            )),
            Err(error) => Found::from_error(&without_hash(error)),
        }
    };
    asking.verdict(ask).await
}

/// The link's hash opens the file: it stands in no report. A connection's error names the URL too.
fn without_hash(mut error: ApiError) -> ApiError {
    if let Some((path, query)) = error.path.split_once('?') {
        error.text = error.text.replace(query, "…");
        error.path = path.to_owned();
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_link_is_not_told() {
        let path = "/files/abc/public?h=secret";
        let text = format!("error for url (http://127.0.0.1{path})");
        let error = without_hash(ApiError::incomplete("GET", path, &text)).to_string();
        assert!(error.contains("/files/abc/public"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

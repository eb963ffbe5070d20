//! Everything outside of the API: the web application's page and its files, and the path of the site URL.

use std::path::{Component, Path as FilePath, PathBuf};
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse as _, Response};

use super::node::Node;

/// What a page refers to while it is not rewritten for a path.
const ROOT_STATIC: &str = "/static/";

/// The page, whatever the path; only `GET` is known.
pub(super) async fn page(State(node): State<Arc<Node>>, method: Method) -> Response {
    if method != Method::GET {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    match tokio::fs::read_to_string(node.tree.join("client/root.html")).await {
        Ok(page) => (
            [(header::CACHE_CONTROL, "no-cache, max-age=31556926, public")],
            Html(page),
        )
            .into_response(),
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}

/// `/static/…`: a file of `client`, or of a plugin's web part below `plugins/`.
pub(super) async fn asset(State(node): State<Arc<Node>>, Path(path): Path<String>) -> Response {
    let full = match path.strip_prefix("plugins/") {
        Some(rest) => inside(&node.settings.plugins.client_directory, rest),
        None => inside(&node.tree.join("client"), &path),
    };
    let Some(full) = full else {
        return StatusCode::NOT_FOUND.into_response();
    };
    match tokio::fs::read(&full).await {
        Ok(bytes) => {
            let kind = match full.extension().and_then(|extension| extension.to_str()) {
                Some("js") => "text/javascript; charset=utf-8",
                Some("css") => "text/css; charset=utf-8",
                Some("json") => "application/json",
                Some("html") => "text/html; charset=utf-8",
                _ => "application/octet-stream",
            };
            let headers = [
                (header::CONTENT_TYPE, kind),
                (header::CACHE_CONTROL, "max-age=31556926, public"),
            ];
            (headers, bytes).into_response()
        }
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}

fn inside(folder: &FilePath, path: &str) -> Option<PathBuf> {
    let path = FilePath::new(path);
    let plain = path
        .components()
        .all(|component| matches!(component, Component::Normal(_)));
    plain.then(|| folder.join(path))
}

/// Outside of the site URL's path: into it.
pub(super) fn redirect(subpath: &str, uri: &Uri) -> Response {
    let query = uri
        .query()
        .map_or_else(String::new, |query| format!("?{query}"));
    let to = format!("{subpath}{}{query}", uri.path());
    (StatusCode::FOUND, [(header::LOCATION, to)]).into_response()
}

/// At a start: the page's references lead below the site URL's path. The file is written in any case.
pub(super) fn rewrite_page(tree: &FilePath, subpath: &str) -> std::io::Result<()> {
    let path = tree.join("client/root.html");
    let page = std::fs::read_to_string(&path)?;
    // The page says itself which path it was rewritten for.
    let marker = "window.publicPath='";
    let was = page
        .split_once(marker)
        .and_then(|(_, rest)| rest.split_once('\''))
        .map_or(ROOT_STATIC, |(was, _)| was);
    let wanted = format!("{subpath}{ROOT_STATIC}");
    let mut new = page.replace(&format!("\"{was}"), &format!("\"{wanted}"));
    new = new.replace(&format!("<script>{marker}{was}'</script>"), "");
    if !subpath.is_empty() {
        let script = format!("</style><script>{marker}{wanted}'</script>");
        new = new.replacen("</style>", &script, 1);
    }
    std::fs::write(&path, new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_rewritten_for_a_path_and_back() {
        let tree = tempfile::tempdir().unwrap();
        let path = tree.path().join("client/root.html");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let page = "<style>x</style><script src=\"/static/main.js\"></script>";
        std::fs::write(&path, page).unwrap();
        let read = || std::fs::read_to_string(&path).unwrap();
        rewrite_page(tree.path(), "/chat").unwrap();
        let below = read();
        assert!(below.contains("src=\"/chat/static/main.js\""), "{below}");
        assert!(
            below.contains("window.publicPath='/chat/static/'"),
            "{below}"
        );
        rewrite_page(tree.path(), "/chat").unwrap();
        assert_eq!(read(), below, "twice is once");
        rewrite_page(tree.path(), "").unwrap();
        assert_eq!(read(), page);
    }

    #[test]
    fn nothing_outside_of_the_folder_is_served() {
        let folder = FilePath::new("/client");
        assert_eq!(inside(folder, "a/b.js"), Some("/client/a/b.js".into()));
        for path in ["../config/config.json", "a/../../x", "/etc/passwd"] {
            assert_eq!(inside(folder, path), None, "{path}");
        }
    }
}

//! `doctor`'s look at the release: whether its address, and its signature's, answer. Nothing of it is downloaded.

use std::time::Duration;

use plan::Spec;
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Client, StatusCode, Url};

use super::{Check, Outcome};
use crate::trust::with_roots;

/// The longest that a release server may take to begin its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a server said when it was asked for the first byte of a file.
#[derive(Debug)]
enum Answer {
    /// It has the file; its size in bytes where it says so.
    There(Option<u64>),
    /// It has not, or does not give it.
    Refused(StatusCode),
    /// It has a fault of its own, or is not to be reached.
    Silent(String),
}

/// The tarball of `mattermost.version`, and its signature where one is asked for.
pub(super) async fn release(spec: &Spec) -> Vec<Check> {
    let version = &spec.mattermost.version;
    let tarball = spec.artefact_url(version);
    let signature = spec.signature_url(version, &tarball);
    let files = [("release", Some(tarball)), ("signature", signature)];
    let client = match client(spec.mattermost.trust_file.as_deref()) {
        Ok(client) => client,
        Err(why) => return vec![Check::new("release", Outcome::Fail, why)],
    };
    let mut checks = Vec::new();
    for (name, url) in files {
        let Some(url) = url else { continue };
        let answer = ask(&client, &url).await;
        checks.push(judge(name, &shown(&url), answer));
    }
    checks
}

/// A client that trusts what the system trusts, and the roots of `mattermost.trust_file`.
fn client(trust_file: Option<&str>) -> Result<Client, String> {
    let mut builder = Client::builder().timeout(PATIENCE);
    if let Some(file) = trust_file {
        let wrong = |why: String| {
            format!(
                "`{file}` of `mattermost.trust_file`: {why}: it holds the PEM of the mirror's roots"
            )
        };
        let pem = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
        builder = with_roots(builder, &pem).map_err(|error| wrong(error.to_string()))?;
    }
    builder.build().map_err(|error| crate::chain(&error))
}

/// Asks for one byte: not every server answers `HEAD`.
async fn ask(client: &Client, url: &str) -> Answer {
    let answer = client.get(url).header(RANGE, "bytes=0-0").send().await;
    let answer = match answer {
        Ok(answer) => answer,
        // What is in the address besides host and path may be a token.
        Err(error) => return Answer::Silent(crate::chain(&error.without_url())),
    };
    let status = answer.status();
    if status.is_success() {
        let range = answer.headers().get(CONTENT_RANGE);
        let size = range
            .and_then(|range| range.to_str().ok()?.rsplit_once('/')?.1.parse().ok())
            .or_else(|| (status == StatusCode::OK).then(|| answer.content_length())?);
        Answer::There(size)
    } else if status.is_client_error() {
        Answer::Refused(status)
    } else {
        Answer::Silent(format!("it answers {status}"))
    }
}

fn judge(name: &str, url: &str, answer: Answer) -> Check {
    let (outcome, detail) = match answer {
        Answer::There(size) => {
            let size = size.map_or(String::new(), |bytes| {
                format!(", {} kB", bytes.div_ceil(1000))
            });
            (
                Outcome::Ok,
                format!(
                    "`{url}` is there{size}; every node compares what it fetches with the file's digest"
                ),
            )
        }
        Answer::Refused(status) => (
            Outcome::Fail,
            format!(
                "`{url}` answers {status}: correct `mattermost.version`, `mattermost.edition` or `mattermost.url`"
            ),
        ),
        Answer::Silent(why) => (
            Outcome::Warn,
            format!(
                "`{url}` does not answer this host: {why}. Nodes fetch it from their own subnets, which cannot be tried from here"
            ),
        ),
    };
    Check::new(name, outcome, detail)
}

/// The address without what may be secret in it.
fn shown(url: &str) -> String {
    let Ok(mut url) = Url::parse(url) else {
        return "the release's address".to_owned();
    };
    // Both fail for addresses that have no host, and those have neither.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

#[cfg(test)]
mod tests {
    use std::future::IntoFuture as _;

    use axum::Router;
    use axum::http::HeaderMap;
    use axum::routing::get;

    use super::*;

    /// A server with one release of 1,234 bytes of which it gives what is asked for.
    async fn server() -> String {
        let part = |headers: HeaderMap| async move {
            assert_eq!(headers.get("range").unwrap(), "bytes=0-0");
            (
                axum::http::StatusCode::PARTIAL_CONTENT,
                [("content-range", "bytes 0-0/1234")],
                "x",
            )
        };
        let app = Router::new().route("/there.tar.gz", get(part)).route(
            "/broken",
            get(|| async { axum::http::StatusCode::BAD_GATEWAY }),
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(axum::serve(listener, app).into_future());
        format!("http://{address}")
    }

    #[tokio::test]
    async fn a_release_that_is_not_there_fails_and_a_silent_server_warns() {
        let server = server().await;
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nobody = format!("http://{}/x", closed.local_addr().unwrap());
        drop(closed);
        let client = client(None).unwrap();
        for (url, outcome, says) in [
            (
                format!("{server}/there.tar.gz?token=s3cret"),
                Outcome::Ok,
                "is there, 2 kB",
            ),
            (
                format!("{server}/gone?token=s3cret"),
                Outcome::Fail,
                "404 Not Found: correct `mattermost.version`",
            ),
            (
                format!("{server}/broken?token=s3cret"),
                Outcome::Warn,
                "it answers 502",
            ),
            (
                format!("{nobody}?token=s3cret"),
                Outcome::Warn,
                "does not answer this host",
            ),
        ] {
            let check = judge("release", &shown(&url), ask(&client, &url).await);
            assert_eq!(check.result, outcome, "{}", check.detail);
            assert!(check.detail.contains(says), "{}", check.detail);
            assert!(!check.detail.contains("s3cret"), "{}", check.detail);
        }
    }

    #[test]
    fn roots_that_cannot_be_read_are_named_with_their_field() {
        let why = client(Some("/nowhere/roots.pem")).unwrap_err();
        assert!(
            why.starts_with("`/nowhere/roots.pem` of `mattermost.trust_file`"),
            "{why}"
        );
    }
}

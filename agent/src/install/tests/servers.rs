//! Hostile, broken and clumsy release servers, over real TLS.

use std::time::Duration;

use futures_util::StreamExt;
use rcgen::SanType;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::fixture::{NEW, Node, Tar};
use super::release_server::{Do, Server};
use crate::wanted::Artefact;

pub fn tarball() -> Vec<u8> {
    // Incompressible, so that it is long enough to break in the middle.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let noise: Vec<u8> = (0..230_000)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect();
    Tar::good(NEW).file("mattermost/noise", &noise).packed()
}

pub fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut all = format!("HTTP/1.1 {status}\r\nconnection: close\r\n{headers}\r\n").into_bytes();
    all.extend_from_slice(body);
    all
}

pub fn ok(length: usize, more: &str, body: &[u8]) -> Vec<u8> {
    answer(
        "200 OK",
        &format!("content-length: {length}\r\n{more}"),
        body,
    )
}

fn part(from: usize, total: usize, more: &str, body: &[u8]) -> Vec<u8> {
    let headers = format!(
        "content-length: {}\r\ncontent-range: bytes {from}-{}/{total}\r\n{more}",
        total - from,
        total - 1
    );
    answer("206 Partial Content", &headers, body)
}

#[tokio::test]
async fn broken_transfers_go_on_where_they_broke() {
    let all = tarball();
    let (n, half) = (all.len(), all.len() / 2);
    let etag = "etag: \"one\"\r\n";
    let cases = [
        (
            "with ranges",
            vec![
                Do::Say(ok(n, etag, &all[..half])),
                Do::Say(part(half, n, etag, &all[half..])),
            ],
        ),
        (
            "in three parts, with a refusal between",
            vec![
                Do::Say(ok(n, etag, &all[..1000])),
                Do::Say(answer(
                    "503 Service Unavailable",
                    "content-length: 0\r\n",
                    b"",
                )),
                Do::Stall(part(1000, n, etag, &all[1000..half])),
                Do::Say(part(half, n, etag, &all[half..])),
            ],
        ),
        (
            "without ranges",
            vec![Do::Say(ok(n, "", &all[..half])), Do::Say(ok(n, "", &all))],
        ),
    ];
    for (case, answers) in cases {
        let node = Node::new().await;
        let server = Server::new(answers).await;
        node.install(&server.artefact(&all))
            .await
            .unwrap_or_else(|error| panic!("{case}: {error}"));
        let asked = server.asked.lock().unwrap();
        assert_eq!(asked[0].range, "bytes=0-65535", "{case}");
        assert!(asked[1].range.starts_with("bytes="), "{case}");
    }
}

/// Each on a node and a server of its own, some at once: most of the time is waiting.
pub async fn all_refused(all: &[u8], cases: Vec<(&str, Vec<Do>, &str)>) {
    let one = async |(case, answers, code): (&str, Vec<Do>, &str)| {
        let node = Node::new().await;
        let server = Server::new(answers).await;
        let artefact = server.artefact(all);
        let result = tokio::time::timeout(Duration::from_secs(60), node.install(&artefact));
        let error = result.await.expect(case).expect_err(case);
        assert!(
            error.starts_with(&format!("{code}:")),
            "{case}: expected {code}, got {error}"
        );
        node.assert_untouched(case);
    };
    let mut cases = futures_util::stream::iter(cases)
        .map(one)
        .buffer_unordered(8);
    while cases.next().await.is_some() {}
}

#[tokio::test]
async fn bad_servers_are_refused_by_name_without_a_trace() {
    let all = tarball();
    let (n, half) = (all.len(), all.len() / 2);
    let etag = "etag: \"one\"\r\n";
    let broken = || Do::Say(ok(n, etag, &all[..half]));
    let redirect = |to: &str| {
        Do::Say(answer(
            "302 Found",
            &format!("location: {to}\r\ncontent-length: 0\r\n"),
            b"",
        ))
    };
    let other = [all.clone(), vec![0]].concat();
    let cases = vec![
        (
            "not found",
            vec![Do::Say(answer(
                "404 Not Found",
                "content-length: 0\r\n",
                b"",
            ))],
            "source_status",
        ),
        (
            "server error",
            vec![Do::Say(answer("500 Oops", "content-length: 0\r\n", b""))],
            "source_status",
        ),
        (
            "redirect to HTTP",
            vec![redirect("http://127.0.0.1:1/x")],
            "source_redirect",
        ),
        (
            "redirect to a file",
            vec![redirect("file:///etc/passwd")],
            "source_status",
        ),
        (
            "redirect in a circle",
            vec![redirect("/m.tar.gz")],
            "source_redirect",
        ),
        (
            "other ETag in the second part",
            vec![
                broken(),
                Do::Say(part(half, n, "etag: \"two\"\r\n", &all[half..])),
            ],
            "source_changed",
        ),
        (
            "other length in the second part",
            vec![broken(), Do::Say(part(half, n + 1, etag, &all[half..]))],
            "source_changed",
        ),
        (
            "other place in the second part",
            vec![broken(), Do::Say(part(half - 1, n, etag, &all[half - 1..]))],
            "source_changed",
        ),
        (
            "unusable Content-Range",
            vec![
                broken(),
                Do::Say(answer(
                    "206 Partial Content",
                    "content-range: lines 1-2/3\r\n",
                    b"",
                )),
            ],
            "source_changed",
        ),
        (
            "shorter meanwhile",
            vec![
                broken(),
                Do::Say(answer(
                    "416 Range Not Satisfiable",
                    "content-length: 0\r\n",
                    b"",
                )),
            ],
            "source_changed",
        ),
        (
            "gone meanwhile",
            vec![
                broken(),
                Do::Say(answer("404 Not Found", "content-length: 0\r\n", b"")),
            ],
            "source_status",
        ),
        (
            "never completes",
            vec![broken(), Do::Say(part(half, n, etag, b"")[..80].to_vec())],
            "source_broken",
        ),
        (
            "announces more than it has",
            vec![Do::Say(ok(n + 9, "", &all))],
            "source_broken",
        ),
        ("silent", vec![Do::Stall(Vec::new())], "source_unreachable"),
        (
            "stalls for ever",
            vec![Do::Stall(ok(n, "", &all[..half]))],
            "source_broken",
        ),
        (
            "drips for ever",
            vec![Do::Drip(answer("200 OK", "", b""))],
            "source_too_slow",
        ),
        (
            "floods for ever",
            vec![Do::Flood(answer("200 OK", "", &all[..half]))],
            "source_too_large",
        ),
        (
            "announces too much",
            vec![Do::Say(ok(1 << 40, "", b""))],
            "source_too_large",
        ),
        (
            "not HTTP",
            vec![Do::Say(b"220 ftp ready\r\n".to_vec())],
            "source_unreachable",
        ),
        (
            "other bytes",
            vec![Do::Say(ok(other.len(), "", &other))],
            "digest_mismatch",
        ),
        (
            "an error page",
            vec![Do::Say(ok(9, "", b"not found"))],
            "digest_mismatch",
        ),
        ("nothing", vec![Do::Say(ok(0, "", b""))], "digest_mismatch"),
        (
            "truncated and sure of it",
            vec![Do::Say(ok(half, "", &all[..half]))],
            "digest_mismatch",
        ),
    ];
    all_refused(&all, cases).await;
}

#[tokio::test]
async fn only_trusted_servers_are_spoken_to() {
    let all = tarball();
    let node = Node::new().await;
    let good = || vec![Do::Say(ok(all.len(), "", &all))];
    let server = Server::new(good()).await;
    let untrusted = Artefact {
        trust_pem: String::new(),
        ..server.artefact(&all)
    };
    let other = Server::named(
        SanType::DnsName("other.example.org".try_into().unwrap()),
        good(),
    )
    .await;
    let refused = {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/m", closed.local_addr().unwrap())
            .parse()
            .unwrap();
        Artefact {
            url,
            ..server.artefact(&all)
        }
    };
    let expired = Server::expired(good()).await;
    // Answers everything with a line of plain text.
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let no_tls = Artefact {
        url: format!("https://{}/m", plain.local_addr().unwrap())
            .parse()
            .unwrap(),
        ..server.artefact(&all)
    };
    let speaking = tokio::spawn(async move {
        loop {
            let (mut tcp, _) = plain.accept().await.unwrap();
            let _ = tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let broken_roots = Artefact {
        trust_pem: "-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----".into(),
        ..server.artefact(&all)
    };
    let cases = [
        ("unknown CA", untrusted, "source_untrusted"),
        ("other name", other.artefact(&all), "source_untrusted"),
        ("expired", expired.artefact(&all), "source_untrusted"),
        ("no TLS", no_tls, "source_unreachable"),
        ("nobody listens", refused, "source_unreachable"),
        ("broken roots", broken_roots, "source_client"),
    ];
    for (case, artefact, code) in cases {
        let error = node.install(&artefact).await.expect_err(case);
        assert!(
            error.starts_with(&format!("{code}:")),
            "{case}: expected {code}, got {error}"
        );
        node.assert_untouched(case);
    }
    speaking.abort();
}

#[tokio::test]
async fn disk_is_looked_at_before_the_first_byte() {
    let all = tarball();
    let node = Node::new().await;
    let server = Server::new(vec![Do::Flood(answer("200 OK", "", b""))]).await;
    let cases = [
        (
            "bytes",
            Artefact {
                max_bytes: u64::MAX,
                ..server.artefact(&all)
            },
            "disk_space",
        ),
        (
            "inodes",
            Artefact {
                max_files: u64::MAX,
                max_bytes: 1 << 20,
                ..server.artefact(&all)
            },
            "disk_inodes",
        ),
    ];
    for (case, artefact, code) in cases {
        let error = node.install(&artefact).await.expect_err(case);
        assert!(error.starts_with(&format!("{code}:")), "{case}: {error}");
        node.assert_untouched(case);
    }
}

/// Dropped in the middle and started again at once: the second finds nobody writing, and completes.
#[tokio::test]
async fn install_that_was_dropped_in_the_middle_starts_over() {
    let all = tarball();
    let node = Node::new().await;
    let half = all.len() / 2;
    let stalling = Server::new(vec![Do::Stall(ok(all.len(), "", &all[..half]))]).await;
    for _ in 0..5 {
        let artefact = stalling.artefact(&all);
        let dropped =
            tokio::time::timeout(Duration::from_millis(100), node.install(&artefact)).await;
        assert!(dropped.is_err());
    }
    let server = Server::new(vec![Do::Say(ok(all.len(), "", &all))]).await;
    node.install(&server.artefact(&all)).await.unwrap();
}

//! Several ranges at once: from servers that keep to the rules, and from others.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Barrier;

use super::fixture::Node;
use super::release_server::{Asked, Do, Server};
use super::servers::{all_refused, answer, ok, tarball};

const ONE: &str = "etag: \"one\"\r\n";

/// What was asked for, as a good server answers it; `more` are headers.
fn range(all: &[u8], asked: &Asked, more: &str) -> Vec<u8> {
    let (from, last) = asked.bytes();
    let last = last.min(all.len() - 1);
    part(all, (from, last), all.len(), more)
}

fn part(all: &[u8], (from, last): (usize, usize), total: usize, more: &str) -> Vec<u8> {
    let body = &all[from..=last];
    let headers = format!(
        "content-length: {}\r\ncontent-range: bytes {from}-{last}/{total}\r\n{more}",
        body.len()
    );
    answer("206 Partial Content", &headers, body)
}

fn by(decide: impl Fn(&Asked) -> Do + Send + Sync + 'static) -> Vec<Do> {
    vec![Do::By(Arc::new(decide))]
}

/// Each of the later parts is answered only when all three were asked for, the last one first.
#[tokio::test]
async fn parts_are_fetched_at_once_and_come_out_in_order() {
    let all = tarball();
    let barrier = Arc::new(Barrier::new(3));
    let served = all.clone();
    let server = Server::new(by(move |asked| {
        let say = Do::Say(range(&served, asked, ONE));
        match asked.turn {
            0 => say,
            _ => Do::Together(Arc::clone(&barrier), Box::new(say)),
        }
    }))
    .await;
    let node = Node::new().await;
    let artefact = server.artefact(&all);
    tokio::time::timeout(Duration::from_secs(60), node.install(&artefact))
        .await
        .expect("the parts were not asked for at once")
        .unwrap();
    let asked = server.asked.lock().unwrap();
    assert_eq!(asked.len(), 4, "{asked:?}");
    assert_eq!(asked[0].if_range, "");
    assert!(asked[1..].iter().all(|one| one.if_range == "\"one\""));
    let mut starts: Vec<_> = asked.iter().map(|one| one.bytes().0).collect();
    starts.sort_unstable();
    assert_eq!(starts, [0, 65_536, 131_072, 196_608]);
}

#[tokio::test]
async fn parts_that_break_go_on_where_they_broke() {
    let all = tarball();
    let served = all.clone();
    let server = Server::new(by(move |asked| {
        let (from, last) = asked.bytes();
        let say = range(&served, asked, ONE);
        match asked.turn {
            // Breaks in the middle of its body, by closing or by silence.
            1 => Do::Say(say[..say.len() - 10_000].to_vec()),
            2 => Do::Stall(say[..say.len() - 20_000].to_vec()),
            3 => Do::Say(answer("503 Busy", "content-length: 0\r\n", b"")),
            // A server may give less than was asked for.
            4 => {
                let last = (from + 999).min(last).min(served.len() - 1);
                Do::Say(part(&served, (from, last), served.len(), ONE))
            }
            _ => Do::Say(say),
        }
    }))
    .await;
    let node = Node::new().await;
    node.install(&server.artefact(&all)).await.unwrap();
    let asked = server.asked.lock().unwrap();
    assert!(asked.len() > 7, "{asked:?}");
}

/// Where two answers cannot be told to be of the same file there is one stream after the first part.
#[tokio::test]
async fn without_a_strong_etag_there_is_one_stream() {
    let all = tarball();
    for etag in ["", "etag: W/\"weak\"\r\n"] {
        let served = all.clone();
        let server = Server::new(by(move |asked| Do::Say(range(&served, asked, etag)))).await;
        let node = Node::new().await;
        node.install(&server.artefact(&all)).await.unwrap();
        let asked = server.asked.lock().unwrap();
        let ranges: Vec<_> = asked.iter().map(Asked::bytes).collect();
        assert_eq!(ranges, [(0, 65_535), (65_536, all.len() - 1)]);
    }
}

/// A server whose first answer is good, and any later one what the case says.
fn later(all: &[u8], then: impl Fn(&[u8], &Asked) -> Do + Send + Sync + 'static) -> Vec<Do> {
    let all = all.to_vec();
    by(move |asked| match asked.turn {
        0 => Do::Say(range(&all, asked, ONE)),
        _ => then(&all, asked),
    })
}

#[tokio::test]
async fn files_that_change_between_ranges_are_refused_by_name() {
    let all = tarball();
    let two = "etag: \"two\"\r\n";
    let cases: Vec<(&str, Vec<Do>, &str)> = vec![
        (
            "another file, as If-Range has it",
            later(&all, move |all, _| Do::Say(ok(all.len(), two, all))),
            "source_changed",
        ),
        (
            "a part of another file",
            later(&all, move |all, asked| Do::Say(range(all, asked, two))),
            "source_changed",
        ),
        (
            "one part of another file",
            later(&all, move |all, asked| {
                let third = asked.bytes().0 == 131_072;
                Do::Say(range(all, asked, if third { two } else { ONE }))
            }),
            "source_changed",
        ),
        (
            "no ETag any more",
            later(&all, |all, asked| Do::Say(range(all, asked, ""))),
            "source_changed",
        ),
        (
            "longer",
            later(&all, |all, asked| {
                let (from, last) = asked.bytes();
                let last = last.min(all.len() - 1);
                Do::Say(part(all, (from, last), all.len() + 1, ONE))
            }),
            "source_changed",
        ),
        (
            "shorter",
            later(&all, |_, _| {
                Do::Say(answer("416 Range", "content-length: 0\r\n", b""))
            }),
            "source_changed",
        ),
        (
            "elsewhere",
            later(&all, |all, asked| {
                let (from, last) = asked.bytes();
                let last = last.min(all.len() - 1);
                Do::Say(part(all, (from - 1, last), all.len(), ONE))
            }),
            "source_changed",
        ),
        (
            "in several bodies",
            later(&all, |all, _| {
                let kind = format!("content-type: multipart/byteranges; boundary=b\r\n{ONE}");
                Do::Say(answer("206 Partial Content", &kind, &all[..9]))
            }),
            "source_changed",
        ),
        (
            "length and range differ",
            later(&all, |all, asked| {
                let (from, _) = asked.bytes();
                let headers = format!(
                    "content-length: 9\r\ncontent-range: bytes {from}-{}/{}\r\n{ONE}",
                    from + 99,
                    all.len()
                );
                Do::Say(answer("206 Partial Content", &headers, &all[..9]))
            }),
            "source_length",
        ),
        (
            "other bytes under the same ETag",
            later(&all, |all, asked| {
                let other: Vec<u8> = all.iter().map(|byte| byte ^ 1).collect();
                Do::Say(range(&other, asked, ONE))
            }),
            "digest_mismatch",
        ),
        (
            "gone",
            later(&all, |_, _| {
                Do::Say(answer("404 Not Found", "content-length: 0\r\n", b""))
            }),
            "source_status",
        ),
        (
            "silent",
            later(&all, |_, _| Do::Stall(Vec::new())),
            "source_broken",
        ),
        (
            "one part drips for ever",
            later(&all, |all, asked| {
                let say = range(all, asked, ONE);
                match asked.bytes().0 {
                    65_536 => Do::Drip(say[..say.len() - 60_000].to_vec()),
                    _ => Do::Say(say),
                }
            }),
            "source_too_slow",
        ),
    ];
    all_refused(&all, cases).await;
}

/// A server that does not keep to the range, but to the ETag: what comes before and after is skipped.
#[tokio::test]
async fn whole_files_are_cut_to_the_part_that_was_asked_for() {
    let all = tarball();
    let server = Server::new(later(&all, |all, _| Do::Say(ok(all.len(), ONE, all)))).await;
    let node = Node::new().await;
    node.install(&server.artefact(&all)).await.unwrap();
}

/// A server that knows ranges and does not say how long the file is: each part is asked for until there
/// is nothing more.
#[tokio::test]
async fn a_file_of_unknown_length_is_fetched_to_its_end() {
    let all = tarball();
    // The last part is just a whole one (of an archive that is cut), or a short one.
    for parts in [3, all.len() / 65_536 + 1] {
        let served = all[..all.len().min(parts * 65_536)].to_vec();
        let length = served.len();
        let bytes = served.clone();
        let server = Server::new(by(move |asked| {
            let (from, last) = asked.bytes();
            if from >= bytes.len() {
                return Do::Say(answer("416 Range", "content-length: 0\r\n", b""));
            }
            let last = last.min(bytes.len() - 1);
            let headers = format!(
                "content-length: {}\r\ncontent-range: bytes {from}-{last}/*\r\n{ONE}",
                last + 1 - from
            );
            Do::Say(answer("206 Partial Content", &headers, &bytes[from..=last]))
        }))
        .await;
        let node = Node::new().await;
        let result = node.install(&server.artefact(&served)).await;
        let asked = server.asked.lock().unwrap();
        assert_eq!(asked.last().unwrap().bytes().0, length, "{asked:?}");
        if length == all.len() {
            result.unwrap();
        } else {
            // Not by its digest: all of it came.
            assert!(result.unwrap_err().starts_with("archive_"));
        }
    }
}

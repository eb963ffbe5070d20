//! Hostile, damaged and wrong archives.

use std::io::Write as _;
use std::path::Path;

use tar::EntryType;

use super::fixture::{MAX_BYTES, MAX_FILES, NEW, Node, Tar, gzip, release};
use super::headers;

fn good() -> Tar {
    Tar::good(NEW)
}

fn cut(bytes: &[u8], length: usize) -> Vec<u8> {
    bytes[..length].to_vec()
}

fn with(mut bytes: Vec<u8>, more: &[u8]) -> Vec<u8> {
    bytes.extend_from_slice(more);
    bytes
}

fn flipped(mut bytes: Vec<u8>, from_end: usize) -> Vec<u8> {
    let at = bytes.len() - from_end;
    bytes[at] ^= 0xff;
    bytes
}

/// A gzip header whose file name never ends.
fn named_without_end() -> Vec<u8> {
    let mut bytes = vec![0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 255];
    bytes.resize(1 << 20, b'n');
    bytes
}

/// Name, tarball, the word that it must be refused with. The digest is right in every case.
fn cases() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let many = (0..=MAX_FILES).fold(good(), |tar, n| tar.file(&format!("mattermost/f{n}"), b""));
    let many_implied = good().entry(
        b"long",
        EntryType::GNULongName,
        0o644,
        "",
        format!("mattermost/{}x", "a/".repeat(MAX_FILES as usize + 1)).as_bytes(),
    );
    let big = vec![0; MAX_BYTES as usize + 1];
    vec![
        (
            "absolute path",
            good().file("/etc/cron.d/x", b"x").packed(),
            "archive_absolute_path",
        ),
        (
            "leading ..",
            good().file("../x", b"x").packed(),
            "archive_traversal",
        ),
        (
            "inner ..",
            good().file("mattermost/a/../../../x", b"x").packed(),
            "archive_traversal",
        ),
        (
            "harmless ..",
            good().file("mattermost/a/../x", b"x").packed(),
            "archive_traversal",
        ),
        (
            "absolute link",
            good().link("mattermost/l", "/etc").packed(),
            "archive_link_leaves",
        ),
        (
            "climbing link",
            good().link("mattermost/l", "../x").packed(),
            "archive_link_leaves",
        ),
        (
            "link down and up",
            good().link("mattermost/a/b/l", "c/../../../../x").packed(),
            "archive_link_leaves",
        ),
        (
            "empty link",
            good().link("mattermost/l", "").packed(),
            "archive_link_leaves",
        ),
        (
            "below a link",
            good()
                .link("mattermost/l", "bin")
                .file("mattermost/l/x", b"x")
                .packed(),
            "archive_through_link",
        ),
        (
            "below a file",
            good()
                .file("mattermost/f", b"x")
                .file("mattermost/f/x", b"x")
                .packed(),
            "archive_through_link",
        ),
        (
            "file over a link",
            good()
                .link("mattermost/l", "bin")
                .file("mattermost/l", b"x")
                .packed(),
            "archive_duplicate",
        ),
        (
            "hard link to /etc/passwd",
            good().hard_link("mattermost/h", "/etc/passwd").packed(),
            "archive_link_leaves",
        ),
        (
            "hard link by ..",
            good()
                .hard_link("mattermost/h", "mattermost/../../x")
                .packed(),
            "archive_link_leaves",
        ),
        (
            "hard link to nothing",
            good().hard_link("mattermost/h", "mattermost/none").packed(),
            "archive_hard_link",
        ),
        (
            "hard link to a link",
            good()
                .link("mattermost/l", "bin")
                .hard_link("mattermost/h", "mattermost/l")
                .packed(),
            "archive_hard_link",
        ),
        (
            "hard link to another tree",
            good()
                .hard_link("mattermost/h", "other/bin/mattermost")
                .packed(),
            "archive_hard_link",
        ),
        (
            "character device",
            good().kind("mattermost/c", EntryType::Char).packed(),
            "archive_device",
        ),
        (
            "block device",
            good().kind("mattermost/b", EntryType::Block).packed(),
            "archive_device",
        ),
        (
            "FIFO",
            good().kind("mattermost/p", EntryType::Fifo).packed(),
            "archive_device",
        ),
        (
            "setuid",
            good().mode("mattermost/s", 0o4755).packed(),
            "archive_privileged",
        ),
        (
            "setgid",
            good().mode("mattermost/s", 0o2755).packed(),
            "archive_privileged",
        ),
        (
            "sticky",
            good().mode("mattermost/s", 0o1755).packed(),
            "archive_privileged",
        ),
        (
            "bomb by size",
            good().file("mattermost/big", &big).packed(),
            "archive_too_many_bytes",
        ),
        (
            "bomb by promise",
            gzip(&good().announcing("mattermost/big", 1 << 50).0),
            "archive_too_many_bytes",
        ),
        ("bomb by count", many.packed(), "archive_too_many_files"),
        (
            "bomb by implied folders",
            many_implied.file("short", b"").packed(),
            "archive_too_many_files",
        ),
        (
            "bomb of padding",
            gzip(&with(good().end(), &vec![0; 4 << 20])),
            "archive_too_many_bytes",
        ),
        (
            "two roots",
            good().file("other/x", b"x").packed(),
            "archive_two_roots",
        ),
        (
            "file beside the root",
            good().file("README", b"x").packed(),
            "archive_two_roots",
        ),
        (
            "root is a file",
            Tar::default().file("mattermost", b"x").packed(),
            "archive_two_roots",
        ),
        (
            "root is a link",
            Tar::default().link("mattermost", "bin").packed(),
            "archive_two_roots",
        ),
        (
            "same name twice",
            good()
                .file("mattermost/a", b"1")
                .file("mattermost/a", b"2")
                .packed(),
            "archive_duplicate",
        ),
        (
            "same name by detour",
            good()
                .file("mattermost/a", b"1")
                .file("./mattermost//./a", b"2")
                .packed(),
            "archive_duplicate",
        ),
        (
            "folder over a file",
            good()
                .file("mattermost/a", b"1")
                .kind("mattermost/a", EntryType::Directory)
                .packed(),
            "archive_duplicate",
        ),
        (
            "truncated gzip",
            cut(&release(NEW), 100),
            "archive_truncated",
        ),
        (
            "truncated tar",
            gzip(&cut(&good().file("mattermost/z", &[7; 4096]).0, 5000)),
            "archive_truncated",
        ),
        (
            "bytes after gzip",
            with(release(NEW), b"garbage"),
            "archive_trailing_garbage",
        ),
        (
            "second gzip member",
            with(release(NEW), &release(NEW)),
            "archive_trailing_garbage",
        ),
        (
            "bytes after tar",
            gzip(&with(good().end(), b"garbage")),
            "archive_trailing_garbage",
        ),
        (
            "bad header checksum",
            gzip(&flipped(good().file("mattermost/x", b"").0, 500)),
            "archive_tar",
        ),
        (
            "not gzip",
            b"just some text, not an archive".to_vec(),
            "archive_gzip",
        ),
        ("gzip name without end", named_without_end(), "archive_gzip"),
        ("gzip checksum", flipped(release(NEW), 6), "archive_gzip"),
        ("empty file", Vec::new(), "archive_truncated"),
        ("empty archive", gzip(&[0; 1024]), "archive_incomplete"),
        (
            "no binary",
            Tar::default()
                .file("mattermost/i18n/e", b"")
                .file("mattermost/templates/t", b"")
                .packed(),
            "archive_incomplete",
        ),
        (
            "no templates",
            Tar::default()
                .file("mattermost/bin/mattermost", b"")
                .file("mattermost/i18n/e", b"")
                .packed(),
            "archive_incomplete",
        ),
        (
            "a link where a shared folder's link goes",
            good().link("mattermost/client", "plugins").packed(),
            "archive_through_link",
        ),
        (
            "a file where a shared folder's link goes",
            good().file("mattermost/client", b"").packed(),
            "archive_through_link",
        ),
        ("other version", release("3.0.0"), "version_mismatch"),
        (
            "version as prefix",
            release("2.0.0-rc1"),
            "version_mismatch",
        ),
        ("no version", release(""), "version_mismatch"),
    ]
}

#[tokio::test]
async fn hostile_archives_are_refused_by_name_without_a_trace() {
    let node = Node::new().await;
    let mut count = 0;
    for (case, bytes, code) in cases().into_iter().chain(headers::cases()) {
        let error = node.install_bytes(NEW, &bytes).await.expect_err(case);
        assert!(
            error.starts_with(&format!("{code}:")),
            "{case}: expected {code}, got {error}"
        );
        node.assert_untouched(case);
        count += 1;
    }
    // Past the test harness, which keeps what tests print that pass.
    let _ = writeln!(
        std::io::stderr(),
        "hostile archives: {count}, each refused by its name"
    );
    assert!(count >= 30, "{count} archives");
    assert!(!Path::new("/etc/cron.d/x").exists());
    // After all that, a good one still installs.
    node.install_bytes(NEW, &release(NEW)).await.unwrap();
}

#[tokio::test]
async fn other_bytes_than_asked_for_are_a_wrong_digest_however_they_are_broken() {
    let node = Node::new().await;
    let wanted = super::fixture::artefact(NEW, &release(NEW));
    let cached = node.layout.cache().join(format!("mattermost-{NEW}.tar.gz"));
    for (case, bytes) in [
        ("another release", release("9.9.9")),
        ("truncated", cut(&release(NEW), 90)),
        ("text", b"404 not found".to_vec()),
    ] {
        std::fs::write(&cached, bytes).unwrap();
        // A wrong copy in the cache is passed over for the server, which nobody reaches here.
        let error = node.install(&wanted).await.expect_err(case);
        assert!(error.starts_with("source_unreachable:"), "{case}: {error}");
        node.assert_untouched(case);
    }
}

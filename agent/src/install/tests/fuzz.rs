//! Archives that nobody thought of: good ones, mutated. Whatever comes, the answer is a tree within
//! its limits or a named error; never a panic, never a byte outside, never a link that leads out.
//!
//! Says how many it tried; `PROPTEST_CASES` sets another number.

use std::cell::Cell;
use std::io::Write;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tar::EntryType;

use super::fixture::{NEW, Tar, gzip};
use crate::install::pipeline::inflated;
use crate::install::unpack::{Limits, unpack};

const LIMITS: Limits = Limits {
    bytes: 16 << 10,
    files: 40,
};

/// Archives that use everything that the reader knows.
fn seeds() -> Vec<Vec<u8>> {
    vec![
        Tar::good(NEW).end(),
        Tar::good(NEW)
            .kind("mattermost/d/", EntryType::Directory)
            .link("mattermost/d/l", "../i18n/en.json")
            .hard_link("mattermost/h", "mattermost/i18n/en.json")
            .end(),
        Tar::good(NEW)
            .pax(EntryType::XGlobalHeader, &[("comment", "c")])
            .pax(
                EntryType::XHeader,
                &[("path", "mattermost/p/q"), ("mtime", "1.5")],
            )
            .file("s", b"short")
            .end(),
        Tar::default()
            .entry(
                b"l",
                EntryType::GNULongName,
                0o644,
                "",
                b"mattermost/long/name\0",
            )
            .entry(b"k", EntryType::GNULongLink, 0o644, "", b"name\0")
            .link("s", "x")
            .file("mattermost/big", &[7; 9000])
            .end(),
    ]
}

/// One change to an archive.
#[derive(Clone, Debug)]
enum Change {
    Byte(usize, u8),
    /// A whole field of the header that is nearest, and its checksum mended: past the first check.
    Field(usize, usize, Vec<u8>),
    Cut(usize),
    Block(usize, usize),
    Drop(usize),
}

fn change() -> impl Strategy<Value = Change> {
    // Offset and length of name, mode, size, type, link, magic, prefix.
    let field = prop_oneof![
        Just((0, 100)),
        Just((100, 8)),
        Just((124, 12)),
        Just((156, 1)),
        Just((157, 100)),
        Just((257, 8)),
        Just((345, 155)),
    ];
    let text = prop_oneof![
        "[a-c./]{0,20}".prop_map(String::into_bytes),
        "mattermost(/[a-c.]{0,3}){0,4}".prop_map(String::into_bytes),
        "[0-7]{1,11}".prop_map(String::into_bytes),
        vec(any::<u8>(), 0..20),
    ];
    prop_oneof![
        2 => (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        6 => (any::<usize>(), field, text).prop_map(|(block, (at, length), mut text)| {
            text.truncate(length);
            Change::Field(block, at, text)
        }),
        1 => any::<usize>().prop_map(Change::Cut),
        1 => (any::<usize>(), any::<usize>()).prop_map(|(from, to)| Change::Block(from, to)),
        1 => any::<usize>().prop_map(Change::Drop),
    ]
}

fn apply(tar: &mut Vec<u8>, change: &Change) {
    let blocks = tar.len() / 512;
    if blocks == 0 {
        return;
    }
    match change {
        Change::Byte(at, byte) => {
            let at = at % tar.len();
            tar[at] = *byte;
        }
        Change::Field(block, at, text) => {
            let start = (block % blocks) * 512;
            tar[start + at..start + at + text.len()].copy_from_slice(text);
            let mut header = tar::Header::from_byte_slice(&tar[start..start + 512]).clone();
            header.set_cksum();
            tar[start..start + 512].copy_from_slice(header.as_bytes());
        }
        Change::Cut(at) => tar.truncate(at % tar.len()),
        Change::Block(from, to) => {
            let from = (from % blocks) * 512;
            let block = tar[from..from + 512].to_vec();
            let to = (to % (blocks + 1)) * 512;
            tar.splice(to..to, block);
        }
        Change::Drop(block) => {
            let start = (block % blocks) * 512;
            tar.drain(start..start + 512);
        }
    }
}

/// Runs so many cases, fewer or more as the environment says, and says how many it were.
pub fn run<S: Strategy>(
    what: &str,
    cases: u32,
    strategy: &S,
    test: impl Fn(S::Value) -> Result<(), TestCaseError>,
) where
    S::Value: std::fmt::Debug,
{
    let cases = match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default().cases,
        None => cases,
    };
    let mut runner = TestRunner::new(ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let executed = Cell::new(0_u32);
    let result = runner.run(strategy, |value| {
        executed.set(executed.get() + 1);
        test(value)
    });
    // Not through `print!`, which is swallowed when a test passes.
    let _ = writeln!(std::io::stderr(), "{what}: {} executions", executed.get());
    result.unwrap_or_else(|error| panic!("{what}: {error}"));
}

/// What is on disk: nothing beside the tree, nothing that leads out of it, no more than is allowed.
fn check_tree(outer: &Path, tree: &Path) -> Result<(), TestCaseError> {
    prop_assert_eq!(std::fs::read_dir(outer).unwrap().count(), 1);
    let mut open = vec![tree.to_owned()];
    let (mut files, mut bytes) = (0, 0);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            files += 1;
            if metadata.is_symlink() {
                if let Ok(real) = path.canonicalize() {
                    prop_assert!(real.starts_with(tree), "{path:?} leads to {real:?}");
                }
            } else if metadata.is_dir() {
                open.push(path);
            } else {
                prop_assert!(
                    metadata.is_file(),
                    "{path:?} is a {:?}",
                    metadata.file_type()
                );
                // A hard link's bytes are there once.
                bytes += metadata.len() / std::os::unix::fs::MetadataExt::nlink(&metadata);
            }
        }
    }
    prop_assert!(files <= LIMITS.files, "{files} files");
    prop_assert!(bytes <= LIMITS.bytes, "{bytes} bytes");
    Ok(())
}

#[test]
fn mutated_archives_stay_in_their_tree_and_limits() {
    let seeds = seeds();
    let strategy = (0..seeds.len(), vec(change(), 1..6));
    let root = tempfile::tempdir().unwrap();
    let outer = root.path().canonicalize().unwrap().join("outer");
    run("mutated archives", 4000, &strategy, |(seed, changes)| {
        let mut tar = seeds[seed].clone();
        for change in &changes {
            apply(&mut tar, change);
        }
        let tree = outer.join("tree");
        let _ = std::fs::remove_dir_all(&outer);
        std::fs::create_dir_all(&tree).unwrap();
        let _ = unpack(tar.as_slice(), &tree, LIMITS, |_| {});
        check_tree(&outer, &tree)
    });
}

#[test]
fn mutated_gzip_streams_give_blocks_or_a_named_error() {
    let packed = gzip(&seeds().concat());
    let strategy = vec((any::<usize>(), any::<u8>()), 0..4);
    let limit = 1 << 20;
    let run_one = |(changes, cut): (Vec<(usize, u8)>, usize)| {
        let mut bytes = packed.clone();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        bytes.truncate(cut % (bytes.len() + 1));
        let out: u64 = inflated(bytes.into(), limit)
            .into_iter()
            .filter_map(Result::ok)
            .map(|block| block.len() as u64)
            .sum();
        prop_assert!(out <= limit);
        Ok(())
    };
    run(
        "mutated gzip streams",
        4000,
        &(strategy, any::<usize>()),
        run_one,
    );
}

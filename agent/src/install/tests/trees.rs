//! What comes out of an archive: a good one becomes a release; of any other, nothing leaves the tree.

use std::os::unix::fs::PermissionsExt;

use proptest::collection::vec;
use proptest::prelude::*;
use tar::EntryType;

use super::fixture::{NEW, Node, OLD, Tar};
use super::fuzz::run;
use crate::install::unpack::{Limits, unpack};

#[tokio::test]
async fn good_archive_becomes_a_readable_release_with_shared_folders() {
    let node = Node::new().await;
    let tar = Tar::good(NEW)
        .kind("mattermost/", EntryType::Directory)
        .mode("mattermost/bin/mmctl", 0o700)
        .mode("mattermost/secret", 0o600)
        .link("mattermost/client/current", "../i18n/en.json")
        .hard_link("mattermost/copy", "mattermost/i18n/en.json")
        .pax(EntryType::XGlobalHeader, &[("comment", "made by git")])
        .pax(
            EntryType::XHeader,
            &[("path", "mattermost/fonts/ä.woff"), ("mtime", "1.5")],
        )
        .file("short", b"font");
    let installed = node.install_bytes(NEW, &tar.packed()).await.unwrap();
    assert_eq!(installed.version, NEW);
    let release = node.layout.release(NEW);
    let mode = |path: &str| {
        std::fs::symlink_metadata(release.join(path))
            .unwrap()
            .permissions()
            .mode()
            & 0o7777
    };
    assert_eq!(mode("bin/mmctl"), 0o755);
    assert_eq!(mode("secret"), 0o644);
    assert_eq!(mode("bin"), 0o755);
    assert_eq!(
        std::fs::read(release.join("fonts/ä.woff")).unwrap(),
        b"font"
    );
    assert_eq!(
        std::fs::read(release.join("client/current")).unwrap(),
        b"[]"
    );
    assert_eq!(std::fs::read(release.join("copy")).unwrap(), b"[]");
    for (inside, shared) in crate::layout::SHARED {
        std::fs::write(release.join(inside).join("kept"), inside).unwrap();
        let kept = node.layout.shared(shared).join("kept");
        assert_eq!(std::fs::read_to_string(kept).unwrap(), inside);
    }
    // What the old release brought is not overwritten by the new one's default.
    assert!(node.layout.shared("config").join("config.json").exists());
}

#[tokio::test]
async fn same_version_from_another_tarball_replaces_it_in_one_step() {
    let node = Node::new().await;
    let other = Tar::good(OLD).file("mattermost/fixed", b"1").packed();
    node.install_bytes(OLD, &other).await.unwrap();
    assert!(node.layout.current().join("fixed").exists());
    node.assert_untouched("replaced");
}

/// A file, folder, link or hard link of any name to anywhere.
type Odd = (String, u8, String);

/// Whatever the names, kinds and links: nothing appears outside, no link resolves outside.
fn stays_inside(entries: &[Odd]) -> Result<(), TestCaseError> {
    let root = tempfile::tempdir().unwrap();
    let tree = root.path().join("outer/inner/tree");
    std::fs::create_dir_all(&tree).unwrap();
    let tar = entries
        .iter()
        .fold(Tar::default(), |tar, (name, kind, target)| {
            let name = format!("mattermost/{name}");
            match kind {
                0 => tar.file(&name, b"content"),
                1 => tar.kind(&name, EntryType::Directory),
                2 => tar.link(&name, target),
                _ => tar.hard_link(&name, &format!("mattermost/{target}")),
            }
        });
    let limits = Limits {
        bytes: 1 << 20,
        files: 100,
    };
    let _ = unpack(tar.end().as_slice(), &tree, limits, |_| {});
    let inside = tree.canonicalize().unwrap();
    let mut open = vec![tree.clone()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if let Ok(real) = path.canonicalize() {
                prop_assert!(
                    real.starts_with(&inside),
                    "{} -> {}",
                    path.display(),
                    real.display()
                );
            }
            if path.symlink_metadata().unwrap().is_dir() {
                open.push(path);
            }
        }
    }
    let beside = std::fs::read_dir(root.path().join("outer/inner")).unwrap();
    prop_assert_eq!(beside.count(), 1);
    Ok(())
}

#[test]
fn nothing_leaves_the_tree() {
    let entry = ("[a-c./]{1,12}", 0..4_u8, "[a-c./]{0,12}");
    run("odd archives", 400, &vec(entry, 0..12), |entries| {
        stays_inside(&entries)
    });
}

/// Arbitrary damage to a good archive: never a panic. What is then on disk, `fuzz.rs` looks at.
#[test]
fn damage_is_an_error_or_harmless() {
    let good = Tar::good(NEW).file("mattermost/z", &[7; 1024]).end();
    let limits = Limits {
        bytes: 4096,
        files: 20,
    };
    let strategy = (0..5000_usize, any::<u8>(), 0..6000_usize);
    let run_one = |(at, byte, length): (usize, u8, usize)| {
        let root = tempfile::tempdir().unwrap();
        let mut bytes = good.clone();
        let at = at % bytes.len();
        bytes[at] = byte;
        bytes.truncate(length.max(1));
        let _ = unpack(bytes.as_slice(), root.path(), limits, |_| {});
        Ok(())
    };
    run("damaged archives", 256, &strategy, run_one);
}

//! Passes over a real folder into a bucket in memory.

#![expect(
    clippy::unwrap_used,
    reason = "all of this is test code, also where no `#[test]` stands above it"
)]

mod configuration;

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use mattermost_agent::coded::Coded;
use mattermost_agent::file_store::FileStoreError;
use mattermost_agent::moving::{Bucket, Copied, Local, MoveError, Object, Pass, copy};
use sha2::{Digest, Sha256};

/// An object and its content.
type Held = (Object, Vec<u8>);

#[derive(Default)]
struct Memory {
    objects: Mutex<BTreeMap<String, Held>>,
    puts: AtomicU64,
    reads: AtomicU64,
    /// It keeps no SHA-256, as some stores.
    forgets: AtomicBool,
    /// It keeps other bytes than it is given.
    lies: AtomicBool,
    /// It does not take this key.
    refuses: Mutex<&'static str>,
}

impl Memory {
    fn there(&self, key: &str, content: &[u8], modified_ms: Option<i64>) {
        let object = Object {
            size: content.len() as u64,
            sha256: Some(Sha256::digest(content).into()),
            modified_ms,
        };
        let mut objects = self.objects.lock().unwrap();
        objects.insert(key.to_owned(), (object, content.to_vec()));
    }

    fn content(&self, key: &str) -> Option<Vec<u8>> {
        let objects = self.objects.lock().unwrap();
        objects.get(key).map(|(_, content)| content.clone())
    }

    fn keys(&self) -> Vec<String> {
        self.objects.lock().unwrap().keys().cloned().collect()
    }
}

#[async_trait]
impl Bucket for Memory {
    async fn look(&self, key: &str) -> Result<Option<Object>, FileStoreError> {
        let found = self
            .objects
            .lock()
            .unwrap()
            .get(key)
            .map(|(object, _)| object.clone());
        Ok(found.map(|object| Object {
            sha256: object
                .sha256
                .filter(|_| !self.forgets.load(Ordering::Relaxed)),
            ..object
        }))
    }

    async fn digest(&self, key: &str) -> Result<[u8; 32], FileStoreError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        Ok(Sha256::digest(self.content(key).unwrap_or_default()).into())
    }

    async fn put(&self, file: &Local) -> Result<Option<()>, FileStoreError> {
        if *self.refuses.lock().unwrap() == file.key {
            return Err(FileStoreError::NoKeys {
                bucket: "bucket".to_owned(),
                name: "KEY",
            });
        }
        let mut content = std::fs::read(&file.path).unwrap();
        let found: [u8; 32] = Sha256::digest(&content).into();
        if found != file.sha256 {
            return Ok(None);
        }
        if self.lies.load(Ordering::Relaxed) {
            content.reverse();
        }
        self.puts.fetch_add(1, Ordering::Relaxed);
        self.there(&file.key, &content, Some(file.modified_ms()));
        Ok(Some(()))
    }

    async fn delete(&self, key: &str) -> Result<(), FileStoreError> {
        self.objects.lock().unwrap().remove(key);
        Ok(())
    }
}

struct Node {
    folder: tempfile::TempDir,
    bucket: Memory,
}

impl Node {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        Self {
            folder,
            bucket: Memory::default(),
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn write(&self, key: &str, content: &[u8]) {
        let path = self.data().join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    async fn pass_to(&self, destination: &str, alone: bool) -> Result<Copied, MoveError> {
        let pass = Pass {
            root: &self.data(),
            ledger: &self.folder.path().join("moved.jsonl"),
            destination,
            still: true,
            alone,
        };
        copy(pass, &self.bucket, |_| {}).await
    }

    async fn pass(&self) -> Result<Copied, MoveError> {
        self.pass_to("bucket", true).await
    }
}

/// Names whose order differs between a walk by folders and by keys.
const FILES: [&str; 6] = [
    "a/b/picture.png",
    "a-b/file",
    "a.txt",
    "plugins/com.example.tar.gz",
    "users/ü/profile.png",
    "z",
];

fn filled() -> Node {
    let node = Node::new();
    for (number, key) in FILES.iter().enumerate() {
        node.write(key, &vec![u8::try_from(number).unwrap(); 1000 * number]);
    }
    node
}

#[tokio::test]
async fn everything_arrives_and_both_listings_agree() {
    let node = filled();
    let copied = node.pass().await.unwrap();
    assert_eq!((copied.files, copied.sent, copied.bytes), (6, 6, 15_000));
    assert_eq!(copied.digest, copied.bucket_digest);
    let mut sorted = FILES.map(str::to_owned).to_vec();
    sorted.sort();
    assert_eq!(node.bucket.keys(), sorted);
    for key in FILES {
        let here = std::fs::read(node.data().join(key)).unwrap();
        assert_eq!(node.bucket.content(key), Some(here), "{key}");
    }
}

/// The ledger is read beside the walk: both in the byte order of keys, not in that of folders.
#[tokio::test]
async fn files_come_in_the_order_of_their_keys() {
    let node = filled();
    node.pass().await.unwrap();
    let text = std::fs::read_to_string(node.folder.path().join("moved.jsonl")).unwrap();
    let keys: Vec<String> = text
        .lines()
        .skip(1)
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["key"].to_string())
        .collect();
    let mut sorted = keys.clone();
    sorted.sort();
    assert_eq!(keys, sorted);
    assert_eq!(keys.len(), FILES.len());
}

#[tokio::test]
async fn a_second_pass_sends_what_changed_and_nothing_else() {
    let node = filled();
    let first = node.pass().await.unwrap();
    let second = node.pass().await.unwrap();
    assert_eq!((second.files, second.sent), (6, 0));
    assert_eq!(second.digest, first.digest);
    node.write("z", b"other");
    node.write("zz", b"new");
    std::fs::remove_file(node.data().join("plugins/com.example.tar.gz")).unwrap();
    let third = node.pass().await.unwrap();
    assert_eq!((third.files, third.sent, third.removed), (6, 2, 1));
    assert_eq!(node.bucket.content("z").unwrap(), b"other");
    assert!(node.bucket.content("plugins/com.example.tar.gz").is_none());
    assert_ne!(third.digest, first.digest);
}

#[tokio::test]
async fn what_was_sent_before_the_ledger_was_lost_is_not_sent_again() {
    let node = filled();
    let first = node.pass().await.unwrap();
    std::fs::remove_file(node.folder.path().join("moved.jsonl")).unwrap();
    let again = node.pass().await.unwrap();
    assert_eq!((again.files, again.sent), (6, 0));
    assert_eq!(again.digest, first.digest);
}

#[tokio::test]
async fn a_damaged_ledger_or_one_of_another_bucket_knows_nothing() {
    let node = filled();
    node.pass().await.unwrap();
    let ledger = node.folder.path().join("moved.jsonl");
    let text = std::fs::read_to_string(&ledger).unwrap();
    std::fs::write(&ledger, text.replace("\"z\"", "\"0\"")).unwrap();
    // Read as vanished it would be removed from the bucket.
    assert_eq!(node.pass().await.unwrap().removed, 0);
    node.bucket.objects.lock().unwrap().clear();
    let copied = node.pass_to("another", true).await.unwrap();
    assert_eq!((copied.sent, copied.removed), (6, 0));
}

#[tokio::test]
async fn a_store_that_keeps_no_digest_is_read() {
    let node = filled();
    node.bucket.forgets.store(true, Ordering::Relaxed);
    let copied = node.pass().await.unwrap();
    assert_eq!(copied.digest, copied.bucket_digest);
    assert_eq!(node.bucket.reads.load(Ordering::Relaxed), 6);
}

#[tokio::test]
async fn a_store_that_keeps_other_bytes_is_found_out() {
    for forgets in [false, true] {
        let node = Node::new();
        node.write("a", b"abc");
        node.bucket.lies.store(true, Ordering::Relaxed);
        node.bucket.forgets.store(forgets, Ordering::Relaxed);
        let error = node.pass().await.unwrap_err();
        assert_eq!(error.code(), "files_different", "{error}");
    }
}

#[tokio::test]
async fn an_object_of_others_is_not_written_over() {
    let node = filled();
    node.bucket.there("a.txt", b"theirs", None);
    let error = node.pass().await.unwrap_err();
    assert_eq!(error.code(), "files_occupied");
    assert!(error.to_string().contains("a.txt") && error.permanent());
    assert_eq!(node.bucket.content("a.txt").unwrap(), b"theirs");
}

#[tokio::test]
async fn of_two_nodes_files_the_newer_stays() {
    let node = filled();
    node.bucket.there("a.txt", b"older", Some(1));
    node.bucket.there("z", b"newer", Some(i64::MAX));
    let copied = node.pass_to("bucket", false).await.unwrap();
    assert_eq!((copied.files, copied.superseded), (5, 1));
    assert_ne!(node.bucket.content("a.txt").unwrap(), b"older");
    assert_eq!(node.bucket.content("z").unwrap(), b"newer");
}

#[tokio::test]
async fn what_a_pass_that_failed_had_copied_is_known_to_the_next() {
    let node = filled();
    *node.bucket.refuses.lock().unwrap() = "users/ü/profile.png";
    node.pass().await.unwrap_err();
    let plugin = "plugins/com.example.tar.gz";
    assert!(node.bucket.content(plugin).is_some());
    // A pass that fails earlier forgets nothing of it.
    *node.bucket.refuses.lock().unwrap() = "a.txt";
    node.write("a.txt", b"other");
    node.pass().await.unwrap_err();
    std::fs::remove_file(node.data().join(plugin)).unwrap();
    *node.bucket.refuses.lock().unwrap() = "";
    let copied = node.pass().await.unwrap();
    assert_eq!((copied.files, copied.removed), (5, 1));
    assert_eq!(
        node.bucket.content(plugin),
        None,
        "it would be installed again"
    );
}

#[tokio::test]
async fn with_other_nodes_nothing_is_removed() {
    let node = filled();
    node.pass_to("bucket", false).await.unwrap();
    std::fs::remove_file(node.data().join("z")).unwrap();
    let copied = node.pass_to("bucket", false).await.unwrap();
    assert_eq!((copied.files, copied.removed), (5, 0));
    assert!(node.bucket.content("z").is_some());
}

/// Puts something there that is no plain file.
type Spoil = fn(PathBuf);

#[tokio::test]
async fn what_is_no_plain_file_is_named() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let link = |data: PathBuf| symlink("/etc/hostname", data.join("link")).unwrap();
    let folder_link = |data: PathBuf| symlink("/etc", data.join("link")).unwrap();
    let socket = |data: PathBuf| {
        drop(std::os::unix::net::UnixListener::bind(data.join("link")).unwrap());
    };
    let bytes = |data: PathBuf| std::fs::write(data.join(OsStr::from_bytes(b"\xff")), "x").unwrap();
    let long = |data: PathBuf| {
        let deep = (0..5).fold(data, |path, _| path.join("x".repeat(250)));
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(deep.join("file"), "x").unwrap();
    };
    let cases: [(Spoil, &str); 5] = [
        (link, "files_special"),
        (folder_link, "files_special"),
        (socket, "files_special"),
        (bytes, "files_name"),
        (long, "files_name"),
    ];
    for (number, (make, code)) in cases.into_iter().enumerate() {
        let node = filled();
        make(node.data());
        let error = node.pass().await.unwrap_err();
        assert_eq!(error.code(), code, "case {number}: {error}");
        assert!(error.permanent());
    }
}

/// Users name files, and S3 takes every name.
#[tokio::test]
async fn a_name_with_control_characters_is_copied_as_it_is() {
    let node = filled();
    for name in ["a\nb", "a\u{1}b\r"] {
        std::fs::write(node.data().join(name), name).unwrap();
    }
    node.pass().await.unwrap();
    for name in ["a\nb", "a\u{1}b\r"] {
        assert_eq!(node.bucket.content(name).as_deref(), Some(name.as_bytes()));
    }
}

#[tokio::test]
async fn a_node_without_files_has_moved_them_all() {
    let node = Node::new();
    std::fs::remove_dir(node.data()).unwrap();
    let copied = node.pass().await.unwrap();
    assert_eq!((copied.files, copied.removed), (0, 0));
    assert_eq!(copied.digest, copied.bucket_digest);
}

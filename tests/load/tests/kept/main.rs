//! What is lost is noticed: files, settings, plugin and public link against a server that loses them.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on ends there, helpers included"
)]

mod fake;
mod handlers;

use std::path::PathBuf;
use std::time::Duration;

use fake::{Fake, Fault};
use load::{
    Backoff, FileOptions, LastingOptions, Options, Plugin, Report, Running, Verdict, start,
};
use tempfile::TempDir;

fn bundle(folder: &TempDir) -> PathBuf {
    let path = folder.path().join("example.tar.gz");
    std::fs::write(&path, "com.example.plugin").unwrap();
    path
}

fn options(url: &str, bundle: PathBuf) -> Options {
    Options {
        clients: 3,
        users: 3,
        rate: 10.0,
        get_rate: 5.0,
        post_retry: Duration::from_millis(20),
        settle: Duration::from_secs(5),
        backoff: Backoff {
            minimum: Duration::from_millis(100),
            jitter: Duration::from_millis(100),
            ..Backoff::default()
        },
        files: Some(FileOptions {
            rate: 40.0,
            read_rate: 100.0,
            largest: 20_000,
            large: 300_000,
            limit: 30,
            ..FileOptions::default()
        }),
        lasting: Some(LastingOptions {
            plugin: Plugin::Bundle(bundle),
            patience: Duration::from_millis(600),
            ..LastingOptions::default()
        }),
        ..Options::new(url)
    }
}

/// A program may do it in a task of its own.
fn is_send(_: &impl Send) {}

/// Until something is so; a test's own limit is no measure of anything.
async fn until(running: &Running, so: impl Fn(&load::Snapshot) -> bool) {
    let waiting = async {
        while !so(&running.snapshot()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting)
        .await
        .unwrap();
}

/// A whole run with something between its files' upload and its end.
async fn run(between: impl AsyncFnOnce(&Fake, &Running)) -> Report {
    let folder = TempDir::new().unwrap();
    let server = fake::start().await;
    let running = start(options(&server.url, bundle(&folder))).await.unwrap();
    until(&running, |snapshot| snapshot.files == 30).await;
    running.mark("after");
    between(&server.fake, &running).await;
    running.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_is_said_in_one_line() {
    let report = run(async |fake, running| {
        assert!(running.verify_kept().await.is_kept());
        let world = fake.world();
        assert!(
            world
                .forms
                .iter()
                .all(|form| form == &["channel_id", "files"]),
            "a file wants its channel first"
        );
        assert!(world.files.values().any(|file| file.bytes.len() == 300_000));
        assert!(world.files.values().all(|file| !file.bytes.is_empty()));
    })
    .await;
    assert!(report.is_clean(), "{report}");
    let line = "files: 30 uploaded, 0 lost; settings kept; plugin running; link valid";
    assert_eq!(report.kept().unwrap(), line);
    assert!(report.to_string().lines().any(|found| found == line));
    let files = report.files.as_ref().unwrap();
    assert_eq!((files.posted, files.abandoned), (30, 0), "{report}");
    assert!(files.reads >= 30, "each was read back: {report}");
    let lasting = report.lasting.as_ref().unwrap();
    assert_eq!(lasting.plugin.as_deref(), Some("com.example.plugin"));
    assert_eq!(
        lasting.checks.len(),
        3,
        "at the start, on demand, in the end"
    );
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
    assert!(!json.contains("?h="), "the link's hash opens the file");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_gone_are_lost() {
    let report = run(async |fake, _| fake.cause(Fault::LoseFiles)).await;
    assert!(!report.is_clean());
    let files = report.files.as_ref().unwrap();
    assert_eq!((files.uploaded, files.lost), (30, 30), "{report}");
    let trouble = files.troubles.first().unwrap();
    assert_eq!(trouble.version.as_deref(), Some("11.10.0.fake.hash.true"));
    assert_eq!(trouble.phase, "after");
    let line = report.kept().unwrap();
    assert!(
        line.starts_with(
            "files: 30 uploaded, 30 lost; settings kept; plugin running; link invalid"
        ),
        "{line}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_one_node_has_are_late_at_best() {
    let report = run(async |fake, running| {
        fake.cause(Fault::LoseEveryOther);
        until(running, |snapshot| snapshot.files_troubled > 3).await;
        fake.heal();
    })
    .await;
    assert!(!report.is_clean());
    let files = report.files.as_ref().unwrap();
    assert!(files.lost == 0 && files.late > 3, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_bytes_are_corrupt_even_when_they_are_right_later() {
    let report = run(async |fake, running| {
        fake.cause(Fault::CorruptFiles);
        until(running, |snapshot| snapshot.files_troubled > 0).await;
        let found = running.verify_kept().await;
        assert!(
            matches!(&found.link, Verdict::Broken(why) if why.contains("other bytes")),
            "{found}"
        );
        fake.heal();
    })
    .await;
    assert!(!report.is_clean());
    assert_eq!(report.requests.failed, 0, "nothing else shows it: {report}");
    let files = report.files.as_ref().unwrap();
    assert!(files.corrupt > 0 && files.lost == 0, "{report}");
    assert!(files.troubles[0].what.contains("SHA-256"), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_or_refused_read_is_a_failed_request_and_no_lost_file() {
    let report = run(async |fake, running| {
        for fault in [Fault::CutFiles, Fault::Unavailable(30)] {
            let before = running.snapshot().requests.failed;
            fake.cause(fault);
            until(running, |snapshot| snapshot.requests.failed > before + 5).await;
            fake.heal();
        }
    })
    .await;
    assert!(
        report.requests.failed > 10 && report.requests.retried > 0,
        "{report}"
    );
    assert_eq!(report.not_kept(), Vec::<String>::new(), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_in_the_end_counts_as_lost() {
    let report = run(async |fake, _| fake.cause(Fault::CutFiles)).await;
    let files = report.files.as_ref().unwrap();
    assert_eq!(files.lost, 30, "{report}");
    assert!(files.troubles[0].what.contains("not read back"), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_plugin_and_link_are_each_missed() {
    for (fault, line, why) in [
        (
            Fault::ForgetSettings,
            "settings lost; plugin running; link valid",
            "`SiteName` is `Mattermost` instead of `Load ",
        ),
        (
            Fault::StopPlugin,
            "settings kept; plugin not running; link valid",
            "failed to start on node `two`",
        ),
        (
            Fault::ChangeSalt,
            "settings kept; plugin running; link invalid",
            "303",
        ),
    ] {
        let report = run(async |fake, running| {
            fake.cause(fault);
            let found = running.verify_kept().await;
            assert!(!found.is_kept(), "{fault:?}");
            assert_eq!(found.to_string(), line);
        })
        .await;
        assert!(!report.is_clean(), "{fault:?}");
        assert!(report.kept().unwrap().ends_with(line), "{report}");
        let broken = report.not_kept();
        assert!(broken[0].contains(why), "{fault:?}: {broken:?}");
        assert!(broken[0].contains("in `after`"), "{broken:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_broken_at_one_checkpoint_stays_in_the_verdict() {
    let report = run(async |fake, running| {
        let name = fake.world().site_name.clone();
        fake.cause(Fault::ForgetSettings);
        assert!(!running.verify_kept().await.is_kept());
        fake.world().site_name = name;
        assert!(running.verify_kept().await.is_kept());
    })
    .await;
    assert!(!report.is_clean());
    assert!(report.kept().unwrap().contains("settings lost"), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_no_plugin_is_told_what_it_lacks() {
    let folder = TempDir::new().unwrap();
    let server = fake::start().await;
    server.fake.cause(Fault::RefusePlugin);
    let running = start(options(&server.url, bundle(&folder))).await.unwrap();
    let report = running.finish().await;
    assert!(!report.is_clean());
    let broken = report.not_kept();
    assert!(
        broken[0].contains("example.tar.gz") && broken[0].contains("EnableUploads"),
        "{broken:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_asked_for_is_left_out_and_changes_nothing() {
    let server = fake::start().await;
    let plain = Options {
        files: None,
        lasting: None,
        ..options(&server.url, PathBuf::new())
    };
    let starting = start(plain);
    is_send(&starting);
    let running = starting.await.unwrap();
    let checking = running.verify_kept();
    is_send(&checking);
    assert!(checking.await.is_kept());
    let finishing = running.finish();
    is_send(&finishing);
    let report = finishing.await;
    assert!(report.is_clean() && report.kept().is_none(), "{report}");
    let world = server.fake.world();
    assert!(world.files.is_empty() && world.plugin.is_none());
    assert_eq!(world.site_name, "Mattermost");
}

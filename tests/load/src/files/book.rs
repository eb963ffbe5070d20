//! Which files were acknowledged, and what came of each. Pure: time comes in as milliseconds since the
//! run's start.

use crate::api::{ApiError, Downloaded};
use crate::report::{FileTrouble, FilesReport, Latency};

/// The first so many troubles are kept whole.
const KEPT: usize = 20;

/// The end of a file: what the last read found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Ending {
    /// Nobody looked, or nobody got an answer: as good as lost.
    #[default]
    Unread,
    Gone,
    There,
}

#[derive(Clone, Debug)]
struct Entry {
    id: Box<str>,
    size: u64,
    sha256: [u8; 32],
    /// The client whose user may read it before it is posted.
    uploader: usize,
    posted: bool,
    /// It was missing at some time.
    missed: bool,
    /// Other bytes came at some time.
    corrupt: bool,
    ending: Ending,
}

/// A file to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) index: usize,
    pub(crate) id: String,
    /// Only this client may read it; none when it is posted.
    pub(crate) only: Option<usize>,
}

impl Target {
    pub(crate) fn path(&self) -> String {
        format!("/api/v4/files/{}", self.id)
    }
}

/// The book of a run. What is wrong with a file is told once, when it is first seen.
#[derive(Clone, Debug)]
pub(crate) struct FileBook {
    limit: usize,
    entries: Vec<Entry>,
    begun: u64,
    abandoned: u64,
    bytes: u64,
    reads: u64,
    troubles: Vec<FileTrouble>,
}

impl FileBook {
    /// For at most so many files.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            entries: Vec::new(),
            begun: 0,
            abandoned: 0,
            bytes: 0,
            reads: 0,
            troubles: Vec::new(),
        }
    }

    /// An upload begins; answers its number, none when there are enough files.
    pub(crate) fn begin(&mut self) -> Option<u64> {
        let number = self.begun;
        if number - self.abandoned >= self.limit as u64 {
            return None;
        }
        self.begun += 1;
        Some(number)
    }

    /// Its uploader gave up: nobody is owed it.
    pub(crate) fn abandon(&mut self) {
        self.abandoned += 1;
    }

    /// The server acknowledged the upload. Answers the file's place.
    pub(crate) fn acknowledge(
        &mut self,
        id: &str,
        size: u64,
        sha256: [u8; 32],
        uploader: usize,
    ) -> usize {
        self.bytes += size;
        self.entries.push(Entry {
            id: id.into(),
            size,
            sha256,
            uploader,
            posted: false,
            missed: false,
            corrupt: false,
            ending: Ending::Unread,
        });
        self.entries.len() - 1
    }

    /// A message with it is acknowledged: all of the channel may read it.
    pub(crate) fn posted(&mut self, index: usize) {
        self.entries[index].posted = true;
    }

    /// How many were acknowledged.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The file of a place.
    pub(crate) fn target(&self, index: usize) -> Option<Target> {
        self.entries.get(index).map(|entry| Target {
            index,
            id: entry.id.to_string(),
            only: (!entry.posted).then_some(entry.uploader),
        })
    }

    /// A read ended with bytes.
    pub(crate) fn arrived(&mut self, index: usize, found: &Downloaded, now: u64, phase: &str) {
        self.reads += 1;
        let entry = &mut self.entries[index];
        entry.ending = Ending::There;
        if (entry.size, entry.sha256) == (found.size, found.sha256) {
            return;
        }
        if std::mem::replace(&mut entry.corrupt, true) {
            return;
        }
        let what = format!(
            "{} bytes of SHA-256 {} instead of {} bytes of {}",
            found.size,
            short(&found.sha256),
            entry.size,
            short(&entry.sha256)
        );
        self.trouble(index, what, found.version.clone(), now, phase);
    }

    /// A read ended without: the server says that there is no such file. Anything else that went wrong
    /// tells nothing of the file, and is a failed request only.
    pub(crate) fn failed(&mut self, index: usize, error: &ApiError, now: u64, phase: &str) {
        let Some(status @ (404 | 410)) = error.status else {
            return;
        };
        self.reads += 1;
        let entry = &mut self.entries[index];
        entry.ending = Ending::Gone;
        if std::mem::replace(&mut entry.missed, true) {
            return;
        }
        let what = format!("{status}: {}", error.text);
        self.trouble(index, what, error.version.clone(), now, phase);
    }

    /// The last read of all is over, and nothing told whether the file is there.
    pub(crate) fn unread(&mut self, index: usize, why: &str, now: u64, phase: &str) {
        if self.entries[index].ending == Ending::Unread {
            self.trouble(index, format!("not read back: {why}"), None, now, phase);
        }
    }

    /// What was found so far says nothing of how it ends: forgotten before the last read.
    pub(crate) fn before_the_last_read(&mut self) {
        for entry in &mut self.entries {
            entry.ending = Ending::Unread;
        }
    }

    fn trouble(&mut self, index: usize, what: String, version: Option<String>, at: u64, on: &str) {
        if self.troubles.len() < KEPT {
            let entry = &self.entries[index];
            self.troubles.push(FileTrouble {
                at_ms: at,
                phase: on.to_owned(),
                id: entry.id.to_string(),
                size: entry.size,
                what,
                version,
            });
        }
    }

    /// The files in messages that were acknowledged, by id.
    pub(crate) fn posted_ids(&self) -> Vec<String> {
        let posted = self.entries.iter().filter(|entry| entry.posted);
        posted.map(|entry| entry.id.to_string()).collect()
    }

    /// Files that were missing or wrong at some time.
    pub(crate) fn troubled(&self) -> u64 {
        let troubled = self.entries.iter();
        let troubled = troubled.filter(|entry| entry.missed || entry.corrupt);
        troubled.count() as u64
    }

    /// What came of them; valid after each was read for the last time.
    pub(crate) fn report(&self, upload: Latency, download: Latency) -> FilesReport {
        let mut report = FilesReport {
            uploaded: self.entries.len() as u64,
            abandoned: self.abandoned,
            bytes: self.bytes,
            reads: self.reads,
            upload,
            download,
            troubles: self.troubles.clone(),
            ..FilesReport::default()
        };
        for entry in &self.entries {
            report.posted += u64::from(entry.posted);
            if entry.corrupt {
                report.corrupt += 1;
            } else if entry.ending != Ending::There {
                report.lost += 1;
            } else if entry.missed {
                report.late += 1;
            }
        }
        report
    }
}

/// Enough of a digest to tell it from another.
fn short(sha256: &[u8; 32]) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for byte in &sha256[..6] {
        let _ = write!(text, "{byte:02x}");
    }
    text + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(sha256: u8) -> Downloaded {
        Downloaded {
            size: 5,
            sha256: [sha256; 32],
            version: Some("11.10.0.x".to_owned()),
        }
    }

    fn missing() -> ApiError {
        ApiError {
            status: Some(404),
            version: Some("11.10.1.y".to_owned()),
            ..ApiError::incomplete("GET", "/api/v4/files/x", "no such file")
        }
    }

    #[test]
    fn each_file_has_one_fate() {
        let mut book = FileBook::new(10);
        for (number, id) in ["kept", "late", "lost", "corrupt", "unread"]
            .iter()
            .enumerate()
        {
            assert_eq!(book.begin(), Some(number as u64));
            book.acknowledge(id, 5, [7; 32], 0);
        }
        for index in 0..5 {
            book.arrived(index, &found(7), 10, "start");
        }
        book.failed(1, &missing(), 20, "rollout");
        book.failed(1, &missing(), 21, "rollout");
        book.arrived(3, &found(8), 30, "rollout");
        book.before_the_last_read();
        for index in [0, 1, 3] {
            book.arrived(index, &found(7), 40, "after");
        }
        book.failed(2, &missing(), 50, "after");
        let report = book.report(Latency::default(), Latency::default());
        let counts = (report.uploaded, report.lost, report.late, report.corrupt);
        assert_eq!(counts, (5, 2, 1, 1), "what nobody could read is lost");
        let versions: Vec<_> = report
            .troubles
            .iter()
            .map(|trouble| (trouble.id.as_str(), trouble.version.as_deref().unwrap()))
            .collect();
        assert_eq!(
            versions,
            [
                ("late", "11.10.1.y"),
                ("corrupt", "11.10.0.x"),
                ("lost", "11.10.1.y")
            ]
        );
        assert_eq!(book.troubled(), 3);
    }

    #[test]
    fn a_server_that_cannot_answer_has_lost_nothing() {
        let mut book = FileBook::new(1);
        book.acknowledge("one", 5, [7; 32], 0);
        for status in [None, Some(500), Some(503)] {
            let error = ApiError {
                status,
                ..missing()
            };
            book.failed(0, &error, 10, "start");
        }
        assert_eq!(book.troubled(), 0);
        book.unread(0, "503", 20, "after");
        let report = book.report(Latency::default(), Latency::default());
        assert_eq!(
            (report.lost, report.troubles.len()),
            (1, 1),
            "but at the end it counts as lost"
        );
    }

    #[test]
    fn the_limit_counts_what_is_there() {
        let mut book = FileBook::new(2);
        assert_eq!(
            (book.begin(), book.begin(), book.begin()),
            (Some(0), Some(1), None)
        );
        book.abandon();
        assert_eq!((book.begin(), book.begin()), (Some(2), None));
    }

    #[test]
    fn only_its_uploader_reads_what_is_not_posted() {
        let mut book = FileBook::new(1);
        let index = book.acknowledge("one", 5, [7; 32], 3);
        assert_eq!(book.target(index).unwrap().only, Some(3));
        book.posted(index);
        assert_eq!(book.target(index).unwrap().only, None);
        assert_eq!(book.posted_ids(), ["one"]);
        assert_eq!(book.target(index + 1), None);
    }
}

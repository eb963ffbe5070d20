//! A process's output: the last lines in memory, all of it in a file of bounded size.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// Lines kept for a failure report.
const LINES: usize = 200;
/// Of one line; what is longer is cut into several.
const LINE_BYTES: usize = 8 * 1024;
/// Of the log file; one older file of the same size is kept.
const FILE_BYTES: u64 = 8 * 1024 * 1024;

#[derive(Debug, Default)]
struct Log {
    lines: VecDeque<String>,
    path: Option<PathBuf>,
    file: Option<File>,
    written: u64,
}

/// Shared by the readers of a process and whoever wants its last lines.
#[derive(Clone, Debug, Default)]
pub struct Output {
    log: Arc<Mutex<Log>>,
}

impl Output {
    /// In memory only.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appended to a file as well; a file that cannot be written is reported once and done without.
    pub fn with_file(path: PathBuf) -> Self {
        let output = Self::new();
        output.with(|log| {
            log.path = Some(path);
            log.open();
        });
        output
    }

    fn with<T>(&self, action: impl FnOnce(&mut Log) -> T) -> T {
        action(&mut self.log.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The newest lines, oldest first.
    pub fn last(&self, count: usize) -> Vec<String> {
        self.with(|log| {
            let skip = log.lines.len().saturating_sub(count);
            log.lines.iter().skip(skip).cloned().collect()
        })
    }

    /// One line, as if the process had said it.
    pub fn push(&self, line: String) {
        self.with(|log| log.push(line));
    }

    /// Reads until the process closes the stream.
    pub async fn follow(self, stream: impl AsyncRead + Unpin) {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        loop {
            let (end, used) = match reader.fill_buf().await {
                Ok([]) | Err(_) => break,
                Ok(bytes) => {
                    let end = bytes.iter().position(|&byte| byte == b'\n');
                    line.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
                    let used = end.map_or(bytes.len(), |at| at + 1);
                    (end.is_some() || line.len() >= LINE_BYTES, used)
                }
            };
            reader.consume(used);
            if end {
                self.push(String::from_utf8_lossy(&line).into_owned());
                line.clear();
            }
        }
        if !line.is_empty() {
            self.push(String::from_utf8_lossy(&line).into_owned());
        }
    }
}

impl Log {
    fn push(&mut self, line: String) {
        if self.written > FILE_BYTES
            && let Some(path) = &self.path
        {
            let _ = std::fs::rename(path, path.with_extension("log.old"));
            self.open();
        }
        if let Some(file) = &mut self.file {
            if let Err(error) = writeln!(file, "{line}") {
                log::warn!("the server's output is no longer written to a file: {error}");
                self.file = None;
            }
            self.written += line.len() as u64 + 1;
        }
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    fn open(&mut self) {
        let Some(path) = &self.path else { return };
        match OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o640)
            .open(path)
        {
            Ok(file) => {
                self.written = file.metadata().map_or(0, |metadata| metadata.len());
                self.file = Some(file);
            }
            Err(error) => {
                log::warn!("cannot open `{}`: {error}", path.display());
                self.file = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keeps_the_last_lines_and_cuts_long_ones() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("server.log");
        let output = Output::with_file(path.clone());
        let lines: Vec<String> = (0..300).map(|number| format!("line {number}\n")).collect();
        let mut text = lines.concat();
        text.push_str(&"x".repeat(3 * LINE_BYTES));
        output.clone().follow(text.as_bytes()).await;
        assert!(
            output
                .last(1000)
                .iter()
                .all(|line| line.len() <= 2 * LINE_BYTES)
        );
        assert_eq!(output.last(1000).len(), LINES);
        assert!(output.last(1).concat().starts_with('x'));
        assert!(
            std::fs::read_to_string(path)
                .unwrap()
                .starts_with("line 0\n")
        );
    }
}

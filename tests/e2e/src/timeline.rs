//! The time line that a stranger reads while the demo runs.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::Instant;

use owo_colors::{OwoColorize, Stream};

/// Prints steps with the time since the beginning. Also keeps them, for the report.
#[derive(Debug)]
pub struct Timeline {
    began: Instant,
    steps: Mutex<Vec<(String, f64)>>,
}

impl Default for Timeline {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            steps: Mutex::new(Vec::new()),
        }
    }
}

impl Timeline {
    fn write(text: &str) {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{text}");
        if !std::io::stdout().is_terminal() {
            let _ = out.flush();
        }
    }

    fn at(&self) -> String {
        let seconds = self.began.elapsed().as_secs_f64();
        format!("{:>2}:{:04.1}", (seconds / 60.0) as u64, seconds % 60.0)
    }

    /// A new chapter.
    pub fn step(&self, title: &str) {
        if let Ok(mut steps) = self.steps.lock() {
            steps.push((title.to_owned(), self.began.elapsed().as_secs_f64()));
        }
        Self::write(&format!(
            "\n{}  {}",
            self.at(),
            title.if_supports_color(Stream::Stdout, |text| text.bold())
        ));
    }

    /// Something that happened in it.
    pub fn note(&self, text: &str) {
        for line in text.lines() {
            Self::write(&format!("{}    {line}", self.at()));
        }
    }

    /// Something good to know that was checked.
    pub fn proof(&self, text: &str) {
        let mark = "ok"
            .if_supports_color(Stream::Stdout, |mark| mark.green())
            .to_string();
        Self::write(&format!("{}  {mark} {text}", self.at()));
    }

    /// How long each chapter took, in seconds.
    pub fn durations(&self) -> Vec<(String, f64)> {
        let now = self.began.elapsed().as_secs_f64();
        let Ok(steps) = self.steps.lock() else {
            return Vec::new();
        };
        let ends = steps.iter().skip(1).map(|(_, at)| *at).chain([now]);
        steps
            .iter()
            .zip(ends)
            .map(|((title, from), to)| (title.clone(), to - from))
            .collect()
    }

    /// Seconds since the beginning.
    pub fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }
}

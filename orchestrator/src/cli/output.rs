//! Printing: the one place that writes to the terminal.

use std::io::{IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use owo_colors::{OwoColorize, Stream};

/// Data, on stdout.
pub fn data(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}", text.trim_end_matches('\n'));
}

/// Data as JSON, on stdout.
pub fn json(value: &impl serde::Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => data(&text),
        Err(error) => error_text(&format!("the result cannot be written as JSON: {error}")),
    }
}

/// Talk, on stderr.
pub fn talk(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// An error with its causes.
pub fn error(error: &anyhow::Error) {
    error_text(&format!("{error:#}"));
}

fn error_text(text: &str) {
    let word = "error:";
    talk(&format!(
        "{} {text}",
        word.if_supports_color(Stream::Stderr, |word| word.red())
    ));
}

/// A table for people.
pub fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(header.iter().copied());
    if std::io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    for row in rows {
        table.add_row(row);
    }
    table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Whether a person watches stderr.
pub fn terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// A duration as people say it.
pub fn duration(milliseconds: i64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0..=9 => format!("{}.{} s", seconds, milliseconds % 1000 / 100),
        10..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn durations_read_well() {
        for (milliseconds, text) in [
            (0, "0.0 s"),
            (1250, "1.2 s"),
            (61_000, "61 s"),
            (125_000, "2 min 5 s"),
            (7_500_000, "2 h 5 min"),
        ] {
            assert_eq!(super::duration(milliseconds), text);
        }
    }
}

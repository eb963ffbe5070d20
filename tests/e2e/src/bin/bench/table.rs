//! The table: what was measured, beside what was promised or what it is compared with.

use std::io::Write;

/// Rows, printed at the end, so that progress and result do not mix.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<[String; 4]>,
    notes: Vec<String>,
}

impl Table {
    /// A measured value against a number; the ratio is the first over the second.
    pub fn compare(&mut self, what: &str, unit: &str, value: f64, than: (&str, f64)) {
        let (name, other) = than;
        let ratio = if other > 0.0 {
            format!("{:.2}", value / other)
        } else {
            String::new()
        };
        self.rows.push([
            what.to_owned(),
            format!("{} {unit}", number(value)),
            format!("{name} {} {unit}", number(other)),
            ratio,
        ]);
        self.tell();
    }

    /// A measured value by itself.
    pub fn value(&mut self, what: &str, unit: &str, value: f64) {
        self.rows.push([
            what.to_owned(),
            format!("{} {unit}", number(value)),
            String::new(),
            String::new(),
        ]);
        self.tell();
    }

    /// A remark below the table.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// The newest row at once: the whole takes minutes.
    fn tell(&self) {
        if let Some([what, value, ..]) = self.rows.last() {
            progress(&format!("{what}: {value}"));
        }
    }

    /// Everything, on stdout.
    pub fn print(&self) {
        let heads = ["measured", "value", "beside", "ratio"].map(str::to_owned);
        let mut widths = heads.clone().map(|head| head.chars().count());
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let [a, b, c, d] = widths;
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out);
        for [what, value, beside, ratio] in std::iter::once(&heads).chain(&self.rows) {
            let line = format!("{what:<a$}  {value:>b$}  {beside:<c$}  {ratio:>d$}");
            let _ = writeln!(out, "{}", line.trim_end());
        }
        let _ = writeln!(out);
        for note in &self.notes {
            let _ = writeln!(out, "note: {note}");
        }
    }
}

/// Three digits that say something.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// What happens, on stderr.
pub fn progress(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// The middle one of some durations, in seconds.
pub fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied().unwrap_or_default()
}

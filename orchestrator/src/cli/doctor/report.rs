//! What `doctor` says at the end: problems first and in full, of what is fine the names alone.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Check, Outcome, Part};

/// Columns that text is broken at: a terminal's that nobody widened.
const WIDTH: usize = 80;
/// How far below its check a detail begins.
const INDENT: usize = 6;

/// So many fine checks of a part are named; of more, which are permissions and quotas, the number says enough.
const NAMED: usize = 10;

/// A check as programs read it.
#[derive(Serialize)]
pub(super) struct Row<'a> {
    part: Part,
    #[serde(flatten)]
    check: &'a Check,
}

pub(super) fn rows(checks: &[(Part, Check)]) -> Vec<Row<'_>> {
    checks
        .iter()
        .map(|(part, check)| Row { part: *part, check })
        .collect()
}

/// All of it, for people.
pub(super) fn text(checks: &[(Part, Check)]) -> String {
    let mut text = String::new();
    for outcome in [Outcome::Fail, Outcome::Warn, Outcome::Skip] {
        for (part, check) in checks.iter().filter(|(_, check)| check.result == outcome) {
            let _ = writeln!(
                text,
                "{:<5} {} ({})",
                outcome.word(),
                check.name,
                part.name()
            );
            for line in check.detail.lines() {
                text.push_str(&wrapped(line, INDENT));
            }
        }
    }
    for part in Part::ALL {
        let fine: Vec<&str> = checks
            .iter()
            .filter(|(of, check)| *of == part && check.result == Outcome::Ok)
            .map(|(_, check)| &*check.name)
            .collect();
        if !fine.is_empty() {
            let names = match fine.len() {
                0..=NAMED => fine.join(", "),
                more => format!("{more} (`--output json` names them)"),
            };
            let names = format!("{}: {names}", part.name());
            let lines = wrapped(&names, INDENT);
            let _ = write!(text, "{:<5} {}", Outcome::Ok.word(), lines.trim_start());
        }
    }
    text
}

/// The last line.
pub(super) fn verdict(checks: &[(Part, Check)]) -> String {
    let count = |outcome| {
        checks
            .iter()
            .filter(|(_, check)| check.result == outcome)
            .count()
    };
    let (failed, warned, skipped) = (
        count(Outcome::Fail),
        count(Outcome::Warn),
        count(Outcome::Skip),
    );
    let mut text = match failed {
        0 => format!("no check of {} failed", checks.len()),
        1 => format!("1 check of {} failed", checks.len()),
        _ => format!("{failed} checks of {} failed", checks.len()),
    };
    match warned {
        0 => {}
        1 => text.push_str(", 1 warning"),
        _ => {
            let _ = write!(text, ", {warned} warnings");
        }
    }
    if skipped > 0 {
        let _ = write!(text, ", {skipped} not looked at");
    }
    text
}

/// A text in lines of [`WIDTH`] columns, each so far in. Words are not broken: commands are to be copied.
fn wrapped(text: &str, indent: usize) -> String {
    let (mut lines, mut column) = (String::new(), 0);
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column == 0 {
            let _ = write!(lines, "{:indent$}", "");
            column = indent;
        } else if column + 1 + length > WIDTH {
            let _ = write!(lines, "\n{:indent$}", "");
            column = indent;
        } else {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += length;
    }
    lines.push('\n');
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_come_first_and_what_is_fine_is_named() {
        let long = "word ".repeat(30);
        let checks = [
            (Part::Account, Check::new("credentials", Outcome::Ok, "arn")),
            (
                Part::Files,
                Check::new("files rights", Outcome::Skip, "not looked at"),
            ),
            (
                Part::Permissions,
                Check::new("may ec2:DescribeVpcs", Outcome::Ok, ""),
            ),
            (
                Part::Permissions,
                Check::new("may ec2:DescribeImages", Outcome::Ok, ""),
            ),
            (Part::Nodes, Check::new("licence", Outcome::Warn, "none")),
            (
                Part::Network,
                Check::new("network", Outcome::Fail, format!("{long}\nhint: `a b`")),
            ),
        ];
        let told = text(&checks);
        let lines: Vec<&str> = told.lines().collect();
        assert!(
            lines.iter().all(|line| line.chars().count() <= WIDTH),
            "{told}"
        );
        assert_eq!(lines[0], "fail  network (network)");
        assert!(lines[1].starts_with("      word"), "{told}");
        assert!(lines.contains(&"      hint: `a b`"), "{told}");
        assert_eq!(
            lines[lines.len() - 6..],
            [
                "warn  licence (nodes)",
                "      none",
                "skip  files rights (files)",
                "      not looked at",
                "ok    account: credentials",
                "ok    permissions: may ec2:DescribeVpcs, may ec2:DescribeImages"
            ]
        );
        assert_eq!(
            verdict(&checks),
            "1 check of 6 failed, 1 warning, 1 not looked at"
        );
    }

    #[test]
    fn programs_read_part_and_result_as_words() {
        let checks = [(
            Part::LoadBalancer,
            Check::new("certificate", Outcome::Warn, "none"),
        )];
        let json = serde_json::to_value(rows(&checks)).unwrap();
        assert_eq!(
            json,
            serde_json::json!([{ "part": "load_balancer", "check": "certificate", "result": "warn", "detail": "none" }])
        );
    }
}

//! Specifications that nobody meant: the template, mutated as people and machines mutate files. The
//! answer is a valid specification, or problems that all name a line of the file; never a panic.
//!
//! Says how many it tried; `PROPTEST_CASES` sets another number.

use std::cell::Cell;
use std::io::Write;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;

const CASES: u32 = 2000;

#[derive(Clone, Debug)]
enum Change {
    /// A comment becomes a line that counts, or the other way round.
    Comment(usize),
    /// Another value behind the `=`.
    Value(usize, String),
    /// Another key before it.
    Key(usize, String),
    Twice(usize, usize),
    Drop(usize),
    Char(usize, char),
    Cut(usize),
}

fn change() -> impl Strategy<Value = Change> {
    let value = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| number.to_string()),
        any::<bool>().prop_map(|it| it.to_string()),
        "\"[ -!#-\\[\\]-~]{0,80}\"",
        "\"(ami-|sg-|https://|arn:aws:)[a-z0-9:./{}-]{0,40}\"",
        vec(any::<i16>(), 0..5).prop_map(|all| format!("{all:?}")),
        "\\{ [a-z_]{1,9} = [0-9\"a-z]{0,5} \\}",
        "[0-9]{4}-[0-9]{2}-[0-9]{2}",
        any::<String>(),
    ];
    prop_oneof![
        4 => any::<usize>().prop_map(Change::Comment),
        8 => (any::<usize>(), value).prop_map(|(line, value)| Change::Value(line, value)),
        2 => (any::<usize>(), "[a-zA-Z_.\"]{0,20}").prop_map(|(line, key)| Change::Key(line, key)),
        1 => (any::<usize>(), any::<usize>()).prop_map(|(from, to)| Change::Twice(from, to)),
        1 => any::<usize>().prop_map(Change::Drop),
        2 => (any::<usize>(), any::<char>()).prop_map(|(at, it)| Change::Char(at, it)),
        1 => any::<usize>().prop_map(Change::Cut),
    ]
}

fn apply(text: &str, change: &Change) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if lines.is_empty() {
        return String::new();
    }
    let count = lines.len();
    match change {
        Change::Comment(line) => {
            let line = &mut lines[line % count];
            *line = match line.strip_prefix("# ") {
                Some(rest) => rest.to_owned(),
                None => format!("# {line}"),
            };
        }
        Change::Value(line, value) => {
            let line = &mut lines[line % count];
            if let Some((key, _)) = line.split_once('=') {
                *line = format!("{key}= {value}");
            }
        }
        Change::Key(line, key) => {
            let line = &mut lines[line % count];
            if let Some((_, value)) = line.split_once('=') {
                *line = format!("{key} ={value}");
            }
        }
        Change::Twice(from, to) => {
            let line = lines[from % count].clone();
            lines.insert(to % (count + 1), line);
        }
        Change::Drop(line) => {
            lines.remove(line % count);
        }
        Change::Char(at, it) => {
            let mut all: Vec<char> = text.chars().collect();
            let at = at % all.len();
            all[at] = *it;
            return all.into_iter().collect();
        }
        Change::Cut(at) => {
            let all: Vec<char> = text.chars().collect();
            return all[..at % all.len()].iter().collect();
        }
    }
    lines.join("\n")
}

#[test]
fn mutated_files_are_valid_or_refused_by_line() {
    let seed = template(&Answers::default());
    let cases = match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default().cases,
        None => CASES,
    };
    let mut runner = TestRunner::new(ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let (executed, valid) = (Cell::new(0), Cell::new(0));
    let result = runner.run(&vec(change(), 1..8), |changes| {
        executed.set(executed.get() + 1);
        let text = changes
            .iter()
            .fold(seed.clone(), |text, change| apply(&text, change));
        match Spec::parse(&text, "f") {
            Ok(spec) => {
                valid.set(valid.get() + 1);
                // What counts as valid can be used: nothing of it panics.
                prop_assert!(!spec.home_region().is_empty());
                prop_assert!(spec.regions().contains(&spec.home_region()));
                prop_assert!(
                    spec.artefact_url(&spec.mattermost.version)
                        .starts_with("https://")
                );
                let _ = spec.names().group(0);
            }
            Err(error) => {
                prop_assert!(!error.problems.is_empty());
                let lines = text.lines().count().max(1);
                for problem in &error.problems {
                    prop_assert!((1..=lines + 1).contains(&problem.line), "{problem:?}");
                    prop_assert!(!problem.message.is_empty());
                }
                let _ = error.to_string();
            }
        }
        Ok(())
    });
    // Not through `print!`, which is swallowed when a test passes.
    let _ = writeln!(
        std::io::stderr(),
        "mutated specifications: {} executions, {} of them valid",
        executed.get(),
        valid.get()
    );
    result.unwrap_or_else(|error| panic!("{error}"));
}

//! From the file's text to a [`Spec`] that is valid, or to every reason why it is not.
//!
//! ```text
//!   text -> TOML with spans -> structure (against the schema) -> types -> checks of meaning -> Spec
//!                 \                  \                                        \
//!                  syntax errors      unknown, missing, wrong type             ranges, forms, contradictions
//! ```
//!
//! All problems of a file are told at once, each with line, key, value and what would be right.

use std::fmt;

use schemars::schema_for;
use toml::de::DeTable;

use super::structure::{Document, line_of};
use super::template::{Answers, template};
use super::{Spec, checks};

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Dotted path; empty for a mistake of syntax.
    pub key: String,
    /// What stands there, unless it is missing or may be secret.
    pub value: Option<String>,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// Everything that is wrong with a file, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct SpecError {
    /// The file's name, as the user gave it.
    pub file: String,
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}:{}: ", self.file, problem.line)?;
            match (&problem.value, problem.key.as_str()) {
                (_, "") => write!(f, "{}", problem.message)?,
                (Some(value), key) => write!(f, "`{key} = {value}` {}", problem.message)?,
                (None, key) => write!(f, "`{key}` {}", problem.message)?,
            }
        }
        Ok(())
    }
}

impl Spec {
    /// Reads a specification. `file_name` is for messages only.
    pub fn parse(text: &str, file_name: &str) -> Result<Self, SpecError> {
        let (table, syntax) = DeTable::parse_recoverable(text);
        if !syntax.is_empty() {
            return Err(SpecError {
                file: file_name.to_owned(),
                problems: syntax
                    .iter()
                    .map(|error| syntax_problem(text, error))
                    .collect(),
            });
        }
        let schema = Self::json_schema();
        let example = example();
        let mut document = Document::default();
        let sound = document.table(text, &schema, &schema, "", table.get_ref(), Some(&example));
        match serde_json::from_value::<Self>(sound) {
            Ok(mut spec) => {
                checks::normalise(&mut spec);
                checks::check(&spec, &mut document);
                if document.problems.is_empty() {
                    return Ok(spec);
                }
            }
            // The schema is derived from the types, so this is a last resort: said, not swallowed.
            Err(error) => document.refuse("", error.to_string()),
        }
        let mut problems = document.problems;
        problems.sort_by(|one, other| (one.line, &one.key).cmp(&(other.line, &other.key)));
        Err(SpecError {
            file: file_name.to_owned(),
            problems,
        })
    }

    /// JSON Schema of the file, for editors.
    pub fn json_schema() -> serde_json::Value {
        schema_for!(Self).to_value()
    }
}

fn syntax_problem(text: &str, error: &toml::de::Error) -> Problem {
    Problem {
        line: error.span().map_or(1, |span| line_of(text, span.start)),
        key: String::new(),
        value: None,
        message: format!("this is not TOML: {}", error.message()),
    }
}

/// The template's own values: what a missing key is shown with.
fn example() -> serde_json::Value {
    toml::from_str(&template(&Answers::default())).expect("the template is TOML: a test parses it")
}

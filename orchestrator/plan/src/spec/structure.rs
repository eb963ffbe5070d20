//! The file's structure against the types' own JSON schema: unknown keys, missing keys, wrong types.
//!
//! serde stops at the first mistake; a person wants all of them. So the document is walked along the
//! schema, what is sound is kept as JSON, and what is not is noted with its line and left out.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use toml::de::{DeTable, DeValue};

use super::parse::Problem;
use super::secret_ref::{self, SecretRef};
use super::secret_words::may_be_secret;

/// In the place of a value that may be a secret.
const HIDDEN: &str = "(not shown)";

/// Where a key stands and what it was given, for messages.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub line: usize,
    pub value: String,
}

/// The document, as far as it is sound.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// By dotted path; array elements as `path[0]`.
    pub places: BTreeMap<String, Place>,
    /// Paths about which something was said already.
    pub spoiled: BTreeSet<String>,
    pub problems: Vec<Problem>,
}

impl Document {
    /// Notes a problem at a path, at the line of the nearest thing that stands in the file.
    pub fn refuse(&mut self, path: &str, message: impl Into<String>) {
        self.refuse_as(path, false, message.into());
    }

    /// The same for a value that may be a secret: it is not shown.
    pub fn refuse_hidden(&mut self, path: &str, message: impl Into<String>) {
        self.refuse_as(path, true, message.into());
    }

    fn refuse_as(&mut self, path: &str, hidden: bool, message: String) {
        if ancestors(path).any(|part| self.spoiled.contains(part)) {
            return;
        }
        let line = ancestors(path)
            .find_map(|part| self.places.get(part))
            .map_or(1, |place| place.line);
        let given = self.places.get(path).map(|place| place.value.as_str());
        let value = if hidden { Some(HIDDEN) } else { given };
        let value = value.filter(|value| !value.is_empty()).map(str::to_owned);
        self.problems.push(Problem {
            line,
            key: path.to_owned(),
            value,
            message,
        });
    }

    fn spoil(&mut self, path: &str, message: impl Into<String>) {
        self.refuse(path, message);
        self.spoiled.insert(path.to_owned());
    }

    /// Walks a table along its schema and returns the sound part; what is missing or unsound and
    /// required is taken from `example`, so that everything else can still be judged.
    pub fn table(
        &mut self,
        text: &str,
        root: &Value,
        schema: &Value,
        path: &str,
        table: &DeTable<'_>,
        example: Option<&Value>,
    ) -> Value {
        let schema = resolve(root, schema);
        let properties = schema.get("properties").and_then(Value::as_object);
        let free = schema.get("additionalProperties").filter(|v| v.is_object());
        let mut sound = serde_json::Map::new();
        for (key, value) in table {
            let name: &str = key.get_ref();
            let inner = join(path, name);
            self.places.insert(
                inner.clone(),
                Place {
                    line: line_of(text, key.span().start),
                    value: shown(text, &inner, value),
                },
            );
            let Some(expected) = properties.and_then(|known| known.get(name)).or(free) else {
                let known: Vec<&str> = properties
                    .map(|known| known.keys().map(String::as_str).collect())
                    .unwrap_or_default();
                self.spoil(&inner, unknown_key(name, &known));
                continue;
            };
            let example = example.and_then(|example| example.get(name));
            if let Some(value) = self.value(text, root, expected, &inner, value, example) {
                sound.insert(name.to_owned(), value);
            }
        }
        let required = schema.get("required").and_then(Value::as_array);
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            if sound.contains_key(name) {
                continue;
            }
            let inner = join(path, name);
            let example = example.and_then(|example| example.get(name));
            if !self.places.contains_key(&inner) {
                let what = match example {
                    Some(Value::Object(_)) => format!("is missing: add the table `[{inner}]`"),
                    Some(example) => {
                        format!("is missing: give it, for example `{name} = {example}`")
                    }
                    None => "is missing".to_owned(),
                };
                self.spoil(&inner, what);
            }
            if let Some(example) = example {
                sound.insert(name.to_owned(), example.clone());
            }
        }
        Value::Object(sound)
    }

    fn value(
        &mut self,
        text: &str,
        root: &Value,
        schema: &Value,
        path: &str,
        value: &toml::Spanned<DeValue<'_>>,
        example: Option<&Value>,
    ) -> Option<Value> {
        let schema = resolve(root, schema);
        match (expected(schema), value.get_ref()) {
            ("object", DeValue::Table(table)) => {
                Some(self.table(text, root, schema, path, table, example))
            }
            ("array", DeValue::Array(items)) => {
                let inner = schema.get("items").unwrap_or(&Value::Null);
                let mut sound = Vec::new();
                for (index, item) in items.iter().enumerate() {
                    let path = format!("{path}[{index}]");
                    self.places.insert(
                        path.clone(),
                        Place {
                            line: line_of(text, item.span().start),
                            value: shown(text, &path, item),
                        },
                    );
                    sound.extend(self.value(text, root, inner, &path, item, None));
                }
                Some(Value::Array(sound))
            }
            ("string", DeValue::String(string)) if is_reference(schema) => {
                match SecretRef::parse(string) {
                    Ok(_) => Some(Value::String(string.to_string())),
                    Err(error) => {
                        self.refuse_hidden(path, error.to_string());
                        self.spoiled.insert(path.to_owned());
                        None
                    }
                }
            }
            ("string", DeValue::String(string)) => {
                let words = allowed_words(schema);
                if words.is_empty() || words.contains(&string.as_ref()) {
                    return Some(Value::String(string.to_string()));
                }
                let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
                self.spoil(path, format!("is none of {}", words.join(", ")));
                None
            }
            ("boolean", DeValue::Boolean(flag)) => Some(Value::Bool(*flag)),
            ("integer", DeValue::Integer(digits)) => {
                let most = match schema.get("format").and_then(Value::as_str) {
                    Some("uint8") => i64::from(u8::MAX),
                    Some("uint16") => i64::from(u16::MAX),
                    _ => i64::from(u32::MAX),
                };
                match i64::from_str_radix(&digits.as_str().replace('_', ""), digits.radix()) {
                    Ok(number) if (0..=most).contains(&number) => Some(Value::from(number)),
                    _ => {
                        self.spoil(
                            path,
                            format!("is out of range: give a number from 0 to {most}"),
                        );
                        None
                    }
                }
            }
            (wanted, found) => {
                let wanted = match wanted {
                    "object" => "a table",
                    "array" => "a list `[…]`",
                    "string" => "a text in quotes",
                    "boolean" => "`true` or `false`",
                    _ => "a whole number",
                };
                let kind = found.type_str();
                let article = if kind.starts_with(['a', 'e', 'i', 'o', 'u']) {
                    "an"
                } else {
                    "a"
                };
                self.spoil(path, format!("is {article} {kind}: give {wanted}"));
                None
            }
        }
    }
}

/// `a.b[0]` and everything it lies in, innermost first.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    let mut next = Some(path);
    std::iter::from_fn(move || {
        let here = next?;
        next = here.rfind(['.', '[']).map(|cut| &here[..cut]);
        Some(here)
    })
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// Follows `$ref`, `allOf` of one and `anyOf` with null.
fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let mut here = schema;
    for _ in 0..8 {
        if let Some(name) = here.get("$ref").and_then(Value::as_str) {
            let name = name.rsplit('/').next().unwrap_or_default();
            match root.get("$defs").and_then(|defs| defs.get(name)) {
                Some(target) => here = target,
                None => return here,
            }
        } else if let Some(one) = here
            .get("anyOf")
            .or_else(|| here.get("allOf"))
            .and_then(Value::as_array)
            .and_then(|all| {
                all.iter()
                    .find(|one| one.get("type") != Some(&Value::from("null")))
            })
        {
            here = one;
        } else {
            return here;
        }
    }
    here
}

/// The schema's type; a list of types with `null` is an optional value.
fn expected(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(kind)) => kind,
        Some(Value::Array(kinds)) => kinds
            .iter()
            .filter_map(Value::as_str)
            .find(|kind| *kind != "null")
            .unwrap_or("string"),
        // An enumeration with a text for each word.
        _ => "string",
    }
}

/// Whether a text must be a reference to a secret.
fn is_reference(schema: &Value) -> bool {
    schema.get("format").and_then(Value::as_str) == Some(secret_ref::FORMAT)
}

fn allowed_words(schema: &Value) -> Vec<&str> {
    let direct = schema.get("enum").and_then(Value::as_array);
    let described = schema.get("oneOf").and_then(Value::as_array);
    direct
        .into_iter()
        .flatten()
        .chain(
            described
                .into_iter()
                .flatten()
                .filter_map(|one| one.get("const")),
        )
        .filter_map(Value::as_str)
        .collect()
}

fn unknown_key(name: &str, known: &[&str]) -> String {
    let near = known
        .iter()
        .map(|candidate| (distance(name, candidate), *candidate))
        .min();
    match near {
        Some((distance, candidate)) if distance <= 1 + name.len() / 4 => {
            format!("is not known here: did you mean `{candidate}`?")
        }
        _ => format!("is not known here: known are {}", known.join(", ")),
    }
}

/// Levenshtein's distance.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

/// Line of a byte offset, from 1.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text.bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
        + 1
}

/// A scalar as the file has it, cut to one line of 60 characters, unless it may be a secret; nothing for a
/// table.
fn shown(text: &str, path: &str, value: &toml::Spanned<DeValue<'_>>) -> String {
    if value.get_ref().is_table() {
        return String::new();
    }
    let raw = text.get(value.span()).unwrap_or_default();
    if may_be_secret(path, raw) {
        return HIDDEN.to_owned();
    }
    let line: String = raw.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() > 60 {
        let cut: String = line.chars().take(59).collect();
        format!("{cut}…")
    } else {
        line
    }
}

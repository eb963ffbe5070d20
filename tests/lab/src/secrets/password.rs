//! `GetRandomPassword`: random from the operating system, never from the lab's seed.

use rand::RngExt as _;
use serde_json::{Value, json};

use super::invalid_parameter;
use crate::api::{ApiError, Call};

const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const DIGITS: &str = "0123456789";
const PUNCTUATION: &str = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
/// Without `PasswordLength`.
const DEFAULT_LENGTH: i64 = 32;
const LONGEST: i64 = 4096;

/// `GetRandomPassword`.
pub fn random(call: &Call) -> Result<Value, ApiError> {
    let p = &call.params;
    let length = p.opt_int("PasswordLength")?.unwrap_or(DEFAULT_LENGTH);
    let excluded = p.opt("ExcludeCharacters").unwrap_or_default();
    let without = |name: &str| p.opt_bool(name).map(|flag| flag.unwrap_or(false));
    let mut kinds: Vec<Vec<char>> = Vec::new();
    for (kind, left_out) in [
        (LOWER, without("ExcludeLowercase")?),
        (UPPER, without("ExcludeUppercase")?),
        (DIGITS, without("ExcludeNumbers")?),
        (PUNCTUATION, without("ExcludePunctuation")?),
        (" ", !without("IncludeSpace")?),
    ] {
        let letters: Vec<char> = kind.chars().filter(|c| !excluded.contains(*c)).collect();
        if !left_out && !letters.is_empty() {
            kinds.push(letters);
        }
    }
    let each = p.opt_bool("RequireEachIncludedType")?.unwrap_or(true);
    p.finish()?;
    if !(1..=LONGEST).contains(&length) {
        return Err(invalid_parameter(format!(
            "Invalid PasswordLength: {length}. It must be between 1 and {LONGEST}."
        )));
    }
    let length = length as usize;
    if kinds.is_empty() || (each && kinds.len() > length) {
        return Err(invalid_parameter(
            "The password length is too short for its required types, or no characters are left.",
        ));
    }
    Ok(json!({ "RandomPassword": make(&kinds, length, each) }))
}

/// A password of letters of `kinds`; with `each`, one of every kind at a random place.
pub fn make(kinds: &[Vec<char>], length: usize, each: bool) -> String {
    let mut random = rand::rng();
    let mut pick = |letters: &[char]| letters[random.random_range(0..letters.len())];
    let all: Vec<char> = kinds.concat();
    let mut letters: Vec<char> = (0..length).map(|_| pick(&all)).collect();
    if each {
        for (at, kind) in kinds.iter().enumerate() {
            letters[at] = pick(kind);
        }
        // Shuffle (Fisher and Yates), so that the required ones stand anywhere.
        for at in (1..letters.len()).rev() {
            letters.swap(at, random.random_range(0..=at));
        }
    }
    letters.into_iter().collect()
}

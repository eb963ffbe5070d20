//! Paging by `MaxRecords` and `Marker`, as every RDS list has it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::api::{ApiError, Params};

/// RDS: "Default: 100. Constraints: Minimum 20, maximum 100."
const MOST: i64 = 100;
const LEAST: i64 = 20;

/// Where to begin and how much to show.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    start: usize,
    count: usize,
}

impl Request {
    /// Reads the two parameters.
    pub fn read(params: &Params) -> Result<Self, ApiError> {
        let count = params.opt_int("MaxRecords")?.unwrap_or(MOST);
        if !(LEAST..=MOST).contains(&count) {
            return Err(ApiError::new(
                "InvalidParameterValue",
                format!("Invalid value {count} for MaxRecords. Must be between {LEAST} and {MOST}"),
            ));
        }
        let start = match params.opt("Marker").filter(|marker| !marker.is_empty()) {
            None => 0,
            Some(marker) => decode(&marker)
                .ok_or_else(|| ApiError::new("InvalidParameterValue", "Invalid Marker"))?,
        };
        Ok(Self {
            start,
            count: count as usize,
        })
    }

    /// This page of `all`, and the marker of the next one.
    pub fn cut<T>(self, all: Vec<T>) -> (Vec<T>, Option<String>) {
        let next = self.start + self.count;
        let marker = (all.len() > next).then(|| STANDARD.encode(format!("from:{next}")));
        let shown = all.into_iter().skip(self.start).take(self.count).collect();
        (shown, marker)
    }
}

fn decode(marker: &str) -> Option<usize> {
    let bytes = STANDARD.decode(marker).ok()?;
    String::from_utf8(bytes)
        .ok()?
        .strip_prefix("from:")?
        .parse()
        .ok()
}

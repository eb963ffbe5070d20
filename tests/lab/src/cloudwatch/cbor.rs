//! CBOR replies, built member by member in the order given.

use ciborium::Value;
use jiff::Timestamp;

use crate::api::Reply;

/// A structure of a reply.
#[derive(Clone, Debug, Default)]
pub struct Map(Vec<(Value, Value)>);

impl Map {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Any value.
    #[must_use]
    pub fn put(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.push((name.into(), value.into()));
        self
    }

    /// A value, when there is one; a member without one is left out.
    #[must_use]
    pub fn opt(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.put(name, value),
            None => self,
        }
    }

    /// A moment: tag 1 over seconds since 1970, with decimals.
    #[must_use]
    pub fn time(self, name: &str, at: Timestamp) -> Self {
        self.put(name, time(at))
    }

    /// A list.
    #[must_use]
    pub fn list<T: Into<Value>>(self, name: &str, entries: impl IntoIterator<Item = T>) -> Self {
        self.put(
            name,
            Value::Array(entries.into_iter().map(Into::into).collect()),
        )
    }
}

/// A moment as smithy-rpc-v2-cbor writes it.
pub fn time(at: Timestamp) -> Value {
    Value::Tag(1, Box::new(Value::Float(at.as_millisecond() as f64 / 1e3)))
}

impl From<Map> for Value {
    fn from(map: Map) -> Self {
        Self::Map(map.0)
    }
}

impl From<Map> for Reply {
    fn from(map: Map) -> Self {
        Self::Cbor(map.into())
    }
}

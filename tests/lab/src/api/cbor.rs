//! CBOR's values as JSON's, in which parameters are read.

use serde_json::Value;

/// Whatever JSON has no value for is null; a tag is left out.
pub(super) fn cbor_to_json(value: ciborium::Value) -> Value {
    use ciborium::Value as C;
    match value {
        C::Integer(number) => i64::try_from(number).map_or(Value::Null, Value::from),
        C::Float(number) => Value::from(number),
        C::Text(text) => Value::String(text),
        C::Bool(flag) => Value::Bool(flag),
        C::Tag(_, inner) => cbor_to_json(*inner),
        C::Array(items) => Value::Array(items.into_iter().map(cbor_to_json).collect()),
        C::Map(entries) => Value::Object(
            entries
                .into_iter()
                .filter_map(|(key, inner)| {
                    key.into_text().ok().map(|key| (key, cbor_to_json(inner)))
                })
                .collect(),
        ),
        _ => Value::Null,
    }
}

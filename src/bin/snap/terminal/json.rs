//! JSON output: fields without a value are left out instead of null.

use serde_json::{Map, Value};

/// Removes all nulls from a value.
pub(crate) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(object(map)),
        Value::Array(list) => list.into_iter().filter(|value| !value.is_null()).map(without_nulls).collect(),
        other => other,
    }
}

/// Like [`without_nulls`], for an object.
pub(crate) fn object(map: Map<String, Value>) -> Map<String, Value> {
    let pairs = map.into_iter().filter(|(_, value)| !value.is_null());
    pairs.map(|(name, value)| (name, without_nulls(value))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::without_nulls;

    #[test]
    fn json_nulls_are_dropped_at_any_depth_and_order_kept() {
        let value = json!({"a": null, "z": [null, {"b": null, "c": 0}], "d": {"e": null}, "f": ""});
        assert_eq!(without_nulls(value).to_string(), r#"{"z":[{"c":0}],"d":{},"f":""}"#);
    }
}

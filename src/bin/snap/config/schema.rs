//! Generates a JSON schema of the configuration's keys, for editors.

use serde_json::{Map, Value, json};

use super::keys::{self, Key, Kind};

/// Returns the schema; JSON Schema draft 2020-12.
pub(crate) fn schema() -> Value {
    let mut whole = object(keys::TOP);
    if let Some(map) = whole.as_object_mut() {
        map.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
        map.insert("title".to_owned(), "snap.toml".into());
    }
    whole
}

fn object(keys: &[Key]) -> Value {
    let mut properties = Map::new();
    for key in keys {
        let mut value = of(&key.kind);
        if let Some(map) = value.as_object_mut() {
            map.insert("description".to_owned(), key.help.into());
            if let Some(default) = default(key) {
                map.insert("default".to_owned(), default);
            }
        }
        properties.insert(key.name.to_owned(), value);
    }
    json!({"type": "object", "additionalProperties": false, "properties": properties})
}

/// Returns the default of a key. Defaults are written so that they are both valid JSON and TOML.
fn default(key: &Key) -> Option<Value> {
    serde_json::from_str(key.default).ok()
}

fn of(kind: &Kind) -> Value {
    match kind {
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Threads => json!({"type": "integer", "minimum": 1, "maximum": 1024}),
        Kind::Nice => json!({"type": "integer", "minimum": 0, "maximum": 19}),
        Kind::Window => json!({"type": "string", "pattern": "^[0-9]{1,2}:[0-9]{1,2}-[0-9]{1,2}:[0-9]{1,2}$"}),
        Kind::Number => json!({"type": "integer", "minimum": 0}),
        Kind::Count | Kind::Level | Kind::Size | Kind::Rate | Kind::Line => {
            json!({"type": ["integer", "string"]})
        }
        Kind::Duration | Kind::Time => {
            json!({"type": "string", "pattern": "^([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$"})
        }
        Kind::Share | Kind::Reread => json!({"type": "string", "pattern": "^(off|[0-9]+([.][0-9])?%)$"}),
        Kind::Choice(words) => json!({"type": "string", "enum": words}),
        Kind::List(kind) => {
            let item = of(kind);
            json!({"oneOf": [item, {"type": "array", "items": item}]})
        }
        Kind::Table(keys) => object(keys),
        Kind::Named(keys) => json!({"type": "object", "additionalProperties": object(keys)}),
        _ => json!({"type": "string"}),
    }
}

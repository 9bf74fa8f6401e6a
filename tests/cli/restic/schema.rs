//! The shape of a JSON response: its keys and the types of their values, without values.

use std::collections::BTreeMap;

use serde_json::Value;

/// Keys that only restic has, and only sometimes: snap does not record the patterns of a snapshot.
const LACKING: [&str; 1] = ["excludes"];

/// The type of a value; for an array, the union of its items.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Shape {
    /// `string`, `number`, `bool`, `null`, `object`, `array`.
    types: std::collections::BTreeSet<&'static str>,
    keys: BTreeMap<String, Shape>,
    items: Option<Box<Shape>>,
}

impl Shape {
    pub(super) fn add(&mut self, value: &Value) {
        let name = match value {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(items) => {
                let shape = self.items.get_or_insert_default();
                items.iter().for_each(|item| shape.add(item));
                "array"
            }
            Value::Object(map) => {
                for (key, value) in map.iter().filter(|(key, _)| !LACKING.contains(&key.as_str())) {
                    self.keys.entry(key.clone()).or_default().add(value);
                }
                "object"
            }
        };
        self.types.insert(name);
    }

    pub(super) fn text(&self) -> String {
        let mut text = self.types.iter().copied().collect::<Vec<_>>().join("|");
        if !self.keys.is_empty() {
            let keys = self.keys.iter().map(|(key, shape)| format!("{key}:{}", shape.text()));
            text += &format!("{{{}}}", keys.collect::<Vec<_>>().join(","));
        }
        if let Some(items) = &self.items {
            text += &format!("[{}]", items.text());
        }
        text
    }
}

/// Returns the shape of what a run printed: of one value, or of its lines by their message type. Lines of
/// progress depend on timing, and are left out.
pub(super) fn of(stdout: &[u8]) -> String {
    let text = String::from_utf8_lossy(stdout);
    if let Ok(value) = serde_json::from_str::<Value>(&text)
        && !text.trim_start().starts_with("{\"message_type")
    {
        let mut shape = Shape::default();
        shape.add(&value);
        return shape.text();
    }
    let mut kinds: BTreeMap<String, Shape> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let Ok(value) = serde_json::from_str::<Value>(line) else { return "text".to_owned() };
        let kind = value["message_type"].as_str().unwrap_or_default().to_owned();
        let is_progress = kind == "status" || kind == "verbose_status";
        if !is_progress {
            kinds.entry(kind).or_default().add(&value);
        }
    }
    let kinds = kinds.iter().map(|(kind, shape)| format!("{kind}={}", shape.text()));
    kinds.collect::<Vec<_>>().join(" ")
}

//! Help on what concerns several verbs. Pages of the manual are printed as they stand.

use super::environment;

/// What can be asked for.
pub(super) const NAMES: [&str; 4] = ["environment", "patterns", "selectors", "terminal"];

/// The text of a topic.
pub(super) fn text(name: &str) -> Option<String> {
    match name {
        "environment" => Some(environment::text()),
        "patterns" => Some(include_str!("../../../../docs/patterns.md").to_owned()),
        "selectors" => Some(include_str!("../../../../docs/selectors.md").to_owned()),
        "terminal" => Some(include_str!("../../../../docs/terminal.md").to_owned()),
        _ => None,
    }
}

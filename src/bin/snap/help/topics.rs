//! Help topics that concern several verbs: the table of variables, and pages of `docs/`.

use super::environment;

/// Names of the topics.
pub(super) const NAMES: [&str; 4] = ["environment", "patterns", "selectors", "terminal"];

/// Returns the text of a topic.
pub(super) fn text(name: &str) -> Option<String> {
    match name {
        "environment" => Some(environment::text()),
        "patterns" => Some(include_str!("../../../../docs/patterns.md").to_owned()),
        "selectors" => Some(include_str!("../../../../docs/selectors.md").to_owned()),
        "terminal" => Some(include_str!("../../../../docs/terminal.md").to_owned()),
        _ => None,
    }
}

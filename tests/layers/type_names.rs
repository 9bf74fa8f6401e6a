//! The names of the types of the library: each is there once.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::sources;

/// What an operation takes and gives has the same name in each: its module is the rest of its name.
const OF_EACH_OP: &[&str] = &["Options", "Report", "Item"];

#[test]
fn a_public_type_of_the_library_has_a_name_of_its_own() {
    let mut homes: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for (file, code) in sources().into_iter().filter(|(file, _)| !file.starts_with("bin")) {
        for name in code.lines().filter_map(public_type) {
            homes.entry(name.to_owned()).or_default().push(file.clone());
        }
    }
    assert!(homes.len() > 300, "{} types were found", homes.len());
    for (name, files) in homes {
        let of_ops = OF_EACH_OP.contains(&&*name) && files.iter().all(|file| file.starts_with("ops"));
        assert!(of_ops || files.len() == 1, "{name} is the name of several types: {files:?}");
    }
}

/// The type that a line begins to define, if others may name it.
pub(super) fn public_type(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix("pub ")?;
    let name = ["struct ", "enum ", "trait ", "type "].iter().find_map(|kind| rest.strip_prefix(kind))?;
    name.split(|c: char| !c.is_alphanumeric() && c != '_').next()
}

#[test]
fn only_public_types_are_found() {
    assert_eq!(public_type("    pub struct Key(u8);"), Some("Key"));
    assert_eq!(public_type("pub enum Kind<'a> {"), Some("Kind"));
    assert_eq!(public_type("pub(crate) struct Key;"), None);
    assert_eq!(public_type("pub fn key() {"), None);
}

//! Files in an import cycle cannot be read one after the other. A folder's `mod.rs` and its own files may
//! import each other, because they are one module.

use std::collections::{BTreeMap, BTreeSet};

use super::{sources, src};

/// A file by its module path; those of the program begin with `bin::`.
type Imports = BTreeMap<String, BTreeSet<String>>;

#[test]
fn no_files_import_each_other() {
    assert_eq!(circles(&imports()), [], "import cycles, each by its first file and the number of its files");
}

#[test]
fn import_cycle_is_found_and_a_module_with_children_is_none() {
    let of = |pairs: &[(&str, &str)]| {
        let mut imports = Imports::new();
        for (from, to) in pairs {
            imports.entry((*from).to_owned()).or_default().insert((*to).to_owned());
            imports.entry((*to).to_owned()).or_default();
        }
        circles(&imports)
    };
    assert_eq!(of(&[("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")]), [("a".to_owned(), 3)]);
    assert_eq!(of(&[("a", "a::b"), ("a::b", "a")]), []);
    assert_eq!(of(&[("a", "b"), ("b", "c")]), []);
}

#[test]
fn leaves_of_a_use_are_found_in_braces() {
    let leaves = leaves("crate::a::{b::{C, d}, e}");
    assert_eq!(leaves, ["crate::a::b::C", "crate::a::b::d", "crate::a::e"]);
}

/// Which file imports which.
fn imports() -> Imports {
    let files: Vec<(String, String)> =
        sources().into_iter().map(|(path, code)| (module(&path), code)).collect();
    let names: BTreeSet<String> = files.iter().map(|(name, _)| name.clone()).collect();
    let mut imports = Imports::new();
    for (name, code) in &files {
        let uses = code.split("use ").skip(1).filter_map(|rest| rest.split_once(';').map(|(path, _)| path));
        let used = uses.flat_map(leaves).filter_map(|path| target(name, &path, &names));
        imports.insert(name.clone(), used.filter(|used| used != name).collect());
    }
    assert!(imports.len() > 300, "{} has fewer files than that", src().display());
    imports
}

fn module(path: &std::path::Path) -> String {
    let text = path.with_extension("").to_string_lossy().replace('/', "::");
    let text = text.replace("bin::snap", "bin");
    text.trim_end_matches("::mod").trim_end_matches("::main").to_owned()
}

/// The paths that a `use` names, with braces expanded.
fn leaves(path: &str) -> Vec<String> {
    let path: String = path.split_whitespace().collect();
    let Some((before, inner)) = path.split_once('{') else { return vec![path] };
    let inner = inner.rsplit_once('}').map_or(inner, |(inner, _)| inner);
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.extend(leaves(&format!("{before}{}", &inner[start..at])));
                start = at + 1;
            }
            _ => {}
        }
    }
    found.retain(|path| path != before);
    found
}

/// The file that a path refers to, if it belongs to this crate.
fn target(from: &str, path: &str, names: &BTreeSet<String>) -> Option<String> {
    let mut parts: Vec<&str> = path.split("::").collect();
    let first = *parts.first()?;
    let is_program = from == "bin" || from.starts_with("bin::");
    let mut base: Vec<&str> = match first {
        "crate" if is_program => vec!["bin"],
        "crate" => Vec::new(),
        "super" | "self" => from.split("::").collect(),
        _ => return None,
    };
    while parts.first() == Some(&"super") {
        base.pop();
        parts.remove(0);
    }
    let rest = parts.into_iter().filter(|part| !["crate", "self"].contains(part));
    let whole: Vec<&str> = base.into_iter().chain(rest).collect();
    (1..=whole.len()).rev().map(|len| whole[..len].join("::")).find(|name| names.contains(name))
}

/// The cycles, each by its first file and their number (Tarjan's strongly connected components, computed by
/// reachability: a few hundred files need nothing faster).
fn circles(imports: &Imports) -> Vec<(String, usize)> {
    let is_own = |a: &str, b: &str| b.starts_with(&format!("{a}::")) || a.starts_with(&format!("{b}::"));
    let reach = |from: &String| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(file) = open.pop() {
            for next in imports.get(file).into_iter().flatten().filter(|next| !is_own(file, next)) {
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&String, BTreeSet<&String>> =
        imports.keys().map(|file| (file, reach(file))).collect();
    let mut found = Vec::new();
    for (file, from) in &reached {
        let circle: Vec<&&String> =
            from.iter().filter(|other| reached.get(*other).is_some_and(|back| back.contains(file))).collect();
        if circle.len() > 1 && circle.first().is_some_and(|first| first == &file) {
            found.push(((*file).clone(), circle.len()));
        }
    }
    found
}

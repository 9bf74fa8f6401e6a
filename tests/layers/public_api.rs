//! The public API, compared with `tests/golden/public-api.txt`: nothing becomes public, or changes, unnoticed.
//! `SNAP_BLESS=1 cargo test --test layers public_api` writes the list anew.
//!
//! The source is formatted, so its lines say where an item begins and ends, and no parser is needed.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::src;

/// Where an item is defined: its file below `src`, and its name there.
type Home = (String, String);

#[test]
fn the_public_api_is_what_the_list_says() {
    let found = list();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/public-api.txt");
    if std::env::var_os("SNAP_BLESS").is_some() {
        fs::write(&file, &found).unwrap();
    }
    let known = fs::read_to_string(&file).unwrap_or_default();
    let differs = |(a, b): &(&str, &str)| a != b;
    let first = found.lines().zip(known.lines()).find(differs);
    assert!(found == known, "the public API differs from {}: {first:?}", file.display());
}

fn list() -> String {
    let mut text = String::new();
    let items = exported("lib.rs");
    assert!(items.len() > 80, "{} items were found", items.len());
    let code = library();
    for (name, path) in items {
        let (file, own) = home(&code, &path);
        let renamed = if own == name { String::new() } else { format!(" (`{own}` there)") };
        writeln!(text, "\n# {name}: {file}{renamed}").unwrap();
        definition(&mut text, &code[&file], &own);
        for (other, code) in &code {
            // Another type of this name has methods of its own.
            let is_another =
                || code.lines().any(|line| defines(line, &own)) || ["Options", "Report"].contains(&&*own);
            if *other == file || !is_another() {
                methods(&mut text, code, &own);
            }
        }
    }
    text
}

/// Every file of the library by its name.
fn library() -> BTreeMap<String, String> {
    let mut code = BTreeMap::new();
    super::walk(&src(), &mut |path, text| {
        let name = path.strip_prefix(src()).unwrap().display().to_string();
        if !name.starts_with("bin") {
            let lines = text.split("#[cfg(test)]").next().unwrap().lines();
            let lines = lines.filter(|line| !line.trim_start().starts_with("//"));
            code.insert(name, lines.collect::<Vec<_>>().join("\n"));
        }
    });
    code
}

/// The names that a file exports from elsewhere, each with its path.
fn exported(file: &str) -> BTreeMap<String, Vec<String>> {
    let code = fs::read_to_string(src().join(file)).unwrap();
    let mut found = BTreeMap::new();
    for text in code.replace("\n    pub use ", "\npub use ").split("\npub use ").skip(1) {
        let text: String = text.split(';').next().unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        leaves("", &text, &mut |leaf| {
            let (path, name) = leaf.split_once(" as ").unwrap_or((leaf, leaf.rsplit("::").next().unwrap()));
            let path = path.strip_prefix("crate::").unwrap_or(path);
            found.insert(name.to_owned(), path.split("::").map(str::to_owned).collect());
        });
    }
    found
}

/// Calls `each` for every path of a tree of imports: of `a::{b, c::{d}}` for `a::b` and `a::c::d`.
fn leaves(prefix: &str, tree: &str, each: &mut dyn FnMut(&str)) {
    let Some((path, inner)) = tree.split_once('{') else { return each(&format!("{prefix}{}", tree.trim())) };
    let prefix = format!("{prefix}{}", path.trim());
    let (mut depth, mut start) = (0, 0);
    let inner = inner.trim_end().strip_suffix('}').unwrap();
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let part = inner[start..at].trim();
                if !part.is_empty() {
                    leaves(&prefix, part, each);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// Follows a path through what modules export to the definition.
fn home(code: &BTreeMap<String, String>, path: &[String]) -> Home {
    let (name, module) = path.split_last().unwrap();
    let module = module.join("/");
    let file = [format!("{module}.rs"), format!("{module}/mod.rs")];
    let file = file.iter().find(|file| code.contains_key(*file)).unwrap();
    let exported = exported(file);
    match exported.get(name) {
        // A module may name its children without itself.
        Some(path) if code.keys().any(|file| file.starts_with(path[0].as_str())) => home(code, path),
        Some(path) => home(code, &[module.split('/').map(str::to_owned).collect(), path.clone()].concat()),
        None => (file.clone(), name.clone()),
    }
}

/// The public item that a line begins to define.
fn defined(line: &str) -> Option<&str> {
    let name = line.strip_prefix("pub const ").or_else(|| line.strip_prefix("pub fn "));
    name.and_then(|name| name.split(|c: char| !c.is_alphanumeric() && c != '_').next())
        .or_else(|| line.starts_with("pub ").then(|| super::type_names::public_type(line)).flatten())
}

/// Whether a line begins to define a type of this name, public or not.
fn defines(line: &str, name: &str) -> bool {
    let kind = ["struct ", "enum ", "trait ", "type "].iter().find_map(|kind| line.split_once(kind));
    kind.is_some_and(|(before, rest)| {
        (before.is_empty() || before.starts_with("pub"))
            && rest.split(|c: char| !c.is_alphanumeric() && c != '_').next() == Some(name)
    })
}

/// Writes what others see of an item: its attributes, its head, and its public fields, variants or methods.
fn definition(text: &mut String, code: &str, name: &str) {
    let lines: Vec<&str> = code.lines().collect();
    // A macro makes the ids.
    let Some(at) = lines.iter().position(|line| defined(line) == Some(name)) else { return };
    let above = lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
    above.filter(|line| line.contains("derive") || line.contains("non_exhaustive")).for_each(|line| {
        writeln!(text, "{line}").unwrap();
    });
    writeln!(text, "{}", lines[at]).unwrap();
    if !lines[at].ends_with('{') {
        return;
    }
    let (is_struct, is_trait) = (lines[at].starts_with("pub struct"), lines[at].starts_with("pub trait"));
    let mut within_attribute = false;
    for line in lines[at + 1..].iter().take_while(|line| **line != "}") {
        within_attribute |= line.trim_start().starts_with("#[");
        let is_head = line.starts_with("    ") && !line.starts_with("     ") && *line != "    }";
        if !within_attribute && (!is_struct || line.starts_with("    pub ")) && (!is_trait || is_head) {
            writeln!(text, "{}", if is_trait { line.trim_end_matches(" {") } else { line }).unwrap();
        }
        within_attribute &= !line.ends_with(']');
    }
}

/// Writes the public methods of a type that a file has, and the traits that it implements for it.
fn methods(text: &mut String, code: &str, name: &str) {
    let lines: Vec<&str> = code.lines().collect();
    let mut of_it = false;
    for (at, line) in lines.iter().enumerate() {
        if line.starts_with("impl") {
            let head = line.trim_end_matches(['{', '}', ' ']);
            let subject = head.rsplit(" for ").next().unwrap().trim_start_matches("impl");
            let subject = if subject.starts_with('<') {
                subject.split_once("> ").map_or("", |it| it.1)
            } else {
                subject
            };
            of_it = subject.trim().split(['<', ' ']).next() == Some(name);
            if of_it && head.contains(" for ") {
                writeln!(text, "{head}").unwrap();
                of_it = false;
            }
        }
        of_it &= *line != "}";
        let is_method = of_it && line.starts_with("    pub ");
        let hidden = lines[..at]
            .iter()
            .rev()
            .take_while(|line| line.starts_with("    #["))
            .any(|line| line.contains("hidden"));
        if is_method && !hidden {
            let end = lines[at..]
                .iter()
                .position(|line| line.ends_with('{') || line.ends_with(';') || line.ends_with('}'));
            let head: Vec<&str> = lines[at..=at + end.unwrap()].iter().map(|line| line.trim()).collect();
            writeln!(
                text,
                "    {}",
                head.join(" ").split(" {").next().unwrap().replace("( ", "(").replace(", )", ")")
            )
            .unwrap();
        }
    }
}

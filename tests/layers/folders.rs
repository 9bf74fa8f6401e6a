//! How many files a folder may have, and which words identifiers may not contain.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::sources;

/// More files than this in one folder are a list that nobody reads.
const MOST: usize = 14;

/// Former terms, each with the standard term that replaced it: docs/glossary.md.
const DENIED: &[(&str, &str)] = &[
    ("sieve", "Bloom filter"),
    ("shelf", "catalog"),
    ("sight", "repository state"),
    ("mender", "pack healer"),
    ("patience", "retry policy"),
    ("untold", "unchanged directory"),
    ("tale", "notification"),
    ("desk", "session pool"),
    ("journal", "run log"),
];

#[test]
fn a_folder_holds_few_files_but_where_each_verb_has_one() {
    let mut folders: BTreeMap<PathBuf, usize> = BTreeMap::new();
    for (file, _) in sources() {
        let folder = file.parent().unwrap().to_owned();
        *folders.entry(folder).or_default() += 1;
    }
    for (folder, files) in folders {
        let per_verb = ["ops", "bin/snap/commands"].iter().any(|verbs| folder.ends_with(verbs));
        assert!(per_verb || files <= MOST, "{} holds {files} files", folder.display());
    }
}

#[test]
fn identifiers_use_standard_terms() {
    for (file, code) in sources() {
        for line in code.lines() {
            for (word, term) in DENIED {
                assert!(
                    !names(line).any(|name| name == *word),
                    "{}: {word} is a {term}: {line}",
                    file.display()
                );
            }
        }
    }
}

#[test]
fn words_in_texts_are_not_names() {
    assert_eq!(names("let sight = \"tale\"; // desk").collect::<Vec<_>>(), ["let", "sight"]);
    assert_eq!(names("fn put_desk(Sieve)").collect::<Vec<_>>(), ["fn", "put", "desk", "sieve"]);
}

/// The words of the identifiers in a line of code, without string literals and comments.
fn names(line: &str) -> impl Iterator<Item = String> {
    let code = line.split("//").next().unwrap_or_default();
    let outside: Vec<&str> = code.split('"').step_by(2).collect();
    let text = outside.join(" ");
    let words: Vec<String> = text
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    words.into_iter()
}

//! The form of the documents.

use std::fs;
use std::path::{Path, PathBuf};

/// The maximum number of columns in a line.
const WIDEST: usize = 100;

/// All documents except generated ones.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [root.to_owned(), root.join("docs"), root.join("docs/decisions"), root.join("packaging")];
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let files =
        files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|end| end == "md"));
    files.filter(|path| !path.ends_with("docs/cli.md")).collect()
}

#[test]
fn lines_of_documents_have_at_most_100_columns() {
    let mut wide = Vec::new();
    for path in documents() {
        let mut is_block = false;
        for (number, line) in (1..).zip(fs::read_to_string(&path).unwrap().lines()) {
            is_block ^= line.trim_start().starts_with("```");
            // Tables have a line for each row, and a link cannot be broken.
            let is_exempt = is_block || line.starts_with('|') || line.contains("](");
            if !is_exempt && line.chars().count() > WIDEST {
                wide.push(format!("{}:{number}", path.display()));
            }
        }
    }
    assert!(wide.is_empty(), "wider than {WIDEST} columns: {wide:#?}");
}

//! Tests that every verb and flag in the documentation exists.

use std::fs;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;

use super::command;

fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    // The reference is generated from the program itself.
    let is_written =
        |path: &PathBuf| path.extension().is_some_and(|end| end == "md") && !path.ends_with("docs/cli.md");
    let mut pages: Vec<PathBuf> = docs.filter(is_written).collect();
    pages.push(root.join("README.md"));
    pages
}

/// Returns the command lines of a page: lines of code blocks, and code spans.
fn lines_of(page: &str) -> Vec<String> {
    let (mut found, mut inside) = (Vec::new(), false);
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if inside {
            let line = line.trim_start().trim_start_matches("$ ");
            // The time fields of a crontab line may precede the command.
            let line = line
                .find("snap ")
                .filter(|at| !line[..*at].contains(char::is_alphabetic))
                .map(|at| &line[at..]);
            found.extend(line.map(str::to_owned));
        } else {
            let spans = line.split('`').skip(1).step_by(2);
            found.extend(spans.filter(|span| span.starts_with("snap ")).map(str::to_owned));
        }
    }
    found
}

/// Returns the words up to a shell operator, a comment or an ellipsis, without quotes.
fn words_of(line: &str) -> Vec<String> {
    let ends = |word: &&str| {
        !matches!(*word, "|" | "&&" | "||" | ">" | ">>" | "<" | "#" | "..." | "\\" | ";" | "--")
    };
    let word =
        |word: &str| word.trim_matches(['"', '\'', ';', ')', '[', ']']).trim_end_matches("...").to_owned();
    line.split_whitespace().take_while(ends).map(word).filter(|word| !word.is_empty()).collect()
}

#[test]
#[cfg_attr(
    not(all(feature = "serve", feature = "mount", feature = "browse")),
    ignore = "they tell of all verbs"
)]
fn every_command_line_in_the_documents_is_one_that_snap_has() {
    let (mut number, mut wrong) = (0, Vec::new());
    for page in pages() {
        for line in lines_of(&fs::read_to_string(&page).unwrap()) {
            let words = words_of(&line);
            // A placeholder for any verb.
            if words.get(1).is_none_or(|word| word.bytes().all(|byte| byte.is_ascii_uppercase())) {
                continue;
            }
            number += 1;
            let Err(err) = command().try_get_matches_from(&words) else { continue };
            if matches!(err.kind(), ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand) {
                wrong.push(format!(
                    "{}: `{line}`: {}",
                    page.display(),
                    err.to_string().lines().next().unwrap()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(number > 200, "only {number} command lines were found");
}

//! The library does not know the command line.

use std::path::Path;

use crate::sources;

/// Texts that name an option of another program.
const OF_OTHERS: &[&str] = &["--no-verify-upload"];

/// Returns the string literals of code without comments.
fn literals(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut text: Option<String> = None;
    let mut letters = code.chars();
    while let Some(letter) = letters.next() {
        match (&mut text, letter) {
            (Some(_), '"') => found.extend(text.take()),
            (Some(text), '\\') => text.extend(letters.next().filter(|next| *next != '\n')),
            (Some(text), _) => text.push(letter),
            (None, '"') => text = Some(String::new()),
            // `'"'`, which is not a string.
            (None, '\'') if letters.as_str().starts_with("\"'") => _ = letters.nth(1),
            (None, '\'') if letters.as_str().starts_with("\\\"'") => _ = letters.nth(2),
            (None, _) => {}
        }
    }
    found
}

fn names_command_line(text: &str) -> bool {
    let is_option =
        |part: &str| part.starts_with("--") && part.chars().nth(2).is_some_and(char::is_alphabetic);
    let mut parts = text
        .split([' ', '(', '`', '\'', '"'])
        .filter(|part| !OF_OTHERS.iter().any(|one| part.starts_with(one)));
    text.contains("`snap ") || parts.any(is_option)
}

#[test]
fn no_message_of_the_library_names_a_verb_or_an_option() {
    let found: Vec<String> = sources()
        .iter()
        .filter(|(file, _)| !file.starts_with("bin"))
        .flat_map(|(file, code)| {
            literals(code)
                .into_iter()
                .filter(|text| names_command_line(text))
                .map(move |text| said(file, &text))
        })
        .collect();
    assert!(found.is_empty(), "name operations and options as rustdoc does: {found:#?}");
}

fn said(file: &Path, text: &str) -> String {
    format!("{}: {text}", file.display())
}

#[test]
fn verbs_and_options_in_texts_are_found() {
    let code = "let a = '\"';\nf(\"run `snap gc`\", \"\\\"--as\\\" x\", \"--\", \"a--b\", \"start --no-verify-upload;\")";
    let texts = literals(code);
    assert_eq!(texts.len(), 5, "{texts:?}");
    let named: Vec<bool> = texts.iter().map(|text| names_command_line(text)).collect();
    assert_eq!(named, [true, true, false, false, false]);
}

//! The command line of this process for audit records.

use std::sync::OnceLock;

use crate::process::program_name;
use crate::terminal::output;

/// Maximum length of the recorded command line.
const MAX_BYTES: usize = 1000;
/// Flags whose values may hold secrets.
const SECRET_FLAGS: [&str; 3] = ["--password-command", "--to-password-command", "--from-password-command"];

/// Returns the command line without passwords.
pub(crate) fn text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
        of_words(program_name::name(), words)
    })
}

fn of_words(name: &str, words: impl Iterator<Item = String>) -> String {
    let mut text = name.to_owned();
    let mut is_secret = false;
    for word in words {
        let flag = word.split('=').next().unwrap_or_default();
        let hides = SECRET_FLAGS.contains(&flag);
        let shown = match (is_secret, hides && word.contains('=')) {
            (true, _) => "(hidden)".to_owned(),
            (false, true) => format!("{flag}=(hidden)"),
            (false, false) => output::redacted(&word),
        };
        is_secret = !is_secret && hides && !word.contains('=');
        text.push(' ');
        text.push_str(&quoted(&shown));
    }
    if text.len() > MAX_BYTES {
        let end = (0..=MAX_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push_str(" ...");
    }
    text
}

/// Quotes a word that a shell would split.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=,@%+~()".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_kept_without_its_secrets() {
        let of = |text: &str| of_words("snap", text.split(' ').map(str::to_owned));
        assert_eq!(of("forget --keep-last 3"), "snap forget --keep-last 3");
        assert_eq!(
            of("-r rest:http://anna:hush@host/repo gc --password-command x;y"),
            "snap -r rest:http://(hidden)@host/repo gc --password-command (hidden)"
        );
        assert_eq!(of("gc --password-command=hush -q"), "snap gc --password-command=(hidden) -q");
        assert_eq!(of_words("snap", ["tag", "a b", ""].map(str::to_owned).into_iter()), "snap tag 'a b' ''");
        assert!(of(&"x".repeat(5000)).len() < 1010);
    }
}

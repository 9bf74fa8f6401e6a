//! A script of command lines, and restic 0.19.1's results: exit codes, and keys and types of JSON. The
//! results are committed (`tests/golden/restic-0.19.1.txt`). If that version of restic is found (in PATH, or
//! by SNAP_TEST_RESTIC), it runs the same script, and with SNAP_BLESS=1 writes its results again.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Door, schema};
use crate::support::skipped;

/// Command lines; `$1` is the id of the oldest snapshot, `$2` of the next. A line with `!` changes the
/// sources.
const SCRIPT: &str = include_str!("script.txt");
const GOLDEN: &str = "tests/golden/restic-0.19.1.txt";

/// Where snap answers differently, and why that is right.
const DIFFERENT: &[(&str, &str)] = &[
    ("stats --mode blobs-per-file", "refused by name: chunks are counted by raw-data"),
    ("list blobs", "refused by name: names of chunks say nothing to callers"),
    ("cat masterkey", "refused by name: another key of another format"),
    ("ls latest --ncdu", "refused by name: `snap du` shows what fills a snapshot"),
    ("recover", "refused by name: nothing is lost that `snap undelete` does not bring back"),
    ("features", "refused by name: there are none"),
    ("options", "refused by name: there are none"),
    ("generate --bash-completion /dev/null", "refused by name: `snap completions` writes snap's"),
    ("find --tree abcd", "refused by name"),
    ("find --blob abcd", "refused by name"),
    ("check --tag none", "refused by name: all snapshots are checked together"),
    ("backup src --with-atime", "refused by name: no access times are kept"),
    ("forget --unsafe-allow-remove-all --tag none", "refused by name: rules leave the newest of each source"),
    ("restore latest --target out/x --iinclude A", "refused by name: case counts"),
    ("backup src --dry-run --json", "no snapshot is made, so it has no id"),
    ("snapshots latest --json", "a stream's parent is one of its own name: restic takes any of the host"),
    ("key list --json", "this repository has no encryption, so it has no keys"),
];

fn lines() -> impl Iterator<Item = &'static str> {
    SCRIPT.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Runs the script, and returns one line for each command line.
fn answers(door: &Door) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for line in lines() {
        if let Some(change) = line.strip_prefix("! ") {
            let (name, text) = change.split_once(' ').unwrap();
            door.sandbox.write(&[(name, text)]);
            continue;
        }
        let ids = if line.contains('$') { door.ids() } else { Vec::new() };
        let word = |word: &str| match word.strip_prefix('$') {
            Some(rest) => {
                let (number, path) = rest.split_once(':').unwrap_or((rest, ""));
                let id = &ids[number.parse::<usize>().unwrap() - 1];
                if path.is_empty() { id.clone() } else { format!("{id}:{path}") }
            }
            None => word.trim_matches('\'').to_owned(),
        };
        let words: Vec<String> = line.split(' ').map(word).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let outcome = door.run(&words);
        let shape = if line.contains("--json") { schema::of(&outcome.stdout) } else { String::new() };
        all.push((line.to_owned(), format!("{} {shape}", outcome.code).trim_end().to_owned()));
    }
    all
}

fn golden() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(GOLDEN)).unwrap();
    let pairs: Vec<&str> = text.lines().collect();
    pairs.chunks(2).map(|pair| (pair[0].to_owned(), pair[1].trim_start().to_owned())).collect()
}

fn restic() -> Option<PathBuf> {
    let named = std::env::var_os("SNAP_TEST_RESTIC").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = named
        .or_else(|| std::env::split_paths(&path).map(|dir| dir.join("restic")).find(|one| one.is_file()))?;
    let version = Command::new(&found).arg("version").output().ok()?.stdout;
    version.starts_with(b"restic 0.19.1 compiled with go").then_some(found)
}

fn compare(answers: &[(String, String)]) {
    let golden = golden();
    assert_eq!(answers.len(), golden.len(), "{GOLDEN}: SNAP_BLESS=1 writes it anew");
    let mut wrong = Vec::new();
    for ((line, answer), (of, wanted)) in answers.iter().zip(&golden) {
        assert_eq!(line, of, "{GOLDEN}: SNAP_BLESS=1 writes it anew");
        if answer != wanted {
            wrong.push(format!("restic {line}\n  wanted {wanted}\n  got    {answer}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), golden.len(), wrong.join("\n"));
}

fn prepared(door: &Door) {
    door.sandbox.write(&[("a.txt", "hello\n"), ("sub/b.txt", "b\n"), ("sub/deep/c", "c\n")]);
    std::os::unix::fs::symlink("a.txt", door.sandbox.src().join("link")).unwrap();
}

#[test]
fn snap_answers_as_restic_except_for_listed_differences() {
    let door = Door::bare();
    prepared(&door);
    let golden = golden();
    let mut answers = answers(&door);
    for (line, answer) in &mut answers {
        let is_listed = DIFFERENT.iter().any(|(known, _)| known == line);
        let wanted = golden.iter().find(|(of, _)| of == line).map(|(_, wanted)| wanted.clone());
        // A difference that no longer exists must not stay in the list.
        if is_listed {
            assert_ne!(Some(&*answer), wanted.as_ref(), "restic {line}: take it off the list");
            *answer = wanted.unwrap_or_default();
        }
    }
    for (known, _) in DIFFERENT {
        assert!(answers.iter().any(|(line, _)| line == known), "no line of the script is: {known}");
    }
    compare(&answers);
}

#[test]
fn restic_itself_gives_the_recorded_answers() {
    let Some(restic) = restic() else {
        return skipped("no restic 0.19.1 is found: its answers are those that were written down");
    };
    let door = Door { other: Some(restic), ..Door::bare() };
    prepared(&door);
    let answers = answers(&door);
    if std::env::var_os("SNAP_BLESS").is_some() {
        let text: String = answers.iter().map(|(line, answer)| format!("{line}\n    {answer}\n")).collect();
        std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(GOLDEN), text).unwrap();
    }
    compare(&answers);
}

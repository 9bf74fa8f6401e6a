//! The blocks of the pages in `docs/`: commands are run unchanged, and the output is compared with the page.

mod machines;
mod migrating;
mod transcripts;

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::guide::run_script;
use crate::support::Sandbox;

/// Where scripts find the repository of a sandbox.
const REPOSITORY: &str = "export SNAP_REPO=$HOME/../repo SNAP_PASSWORD=try";

/// The kind of each block of a page, in order. The README, the guide and the page on the legacy script have
/// their own tests (`guide.rs`). The reference of commands is generated from the program, whose own tests
/// parse its examples.
const PAGES: [(&str, &[&str]); 29] = [
    ("README.md", &[]),
    // Output of a run that raises an alarm: `alarms.rs` has such runs.
    ("alarms.md", &["of a run", "of a run"]),
    ("architecture.md", &["drawing", "drawing", "drawing", "drawing", "drawing", "drawing", "drawing"]),
    ("archives.md", &["run"]),
    ("browse.md", &[]),
    ("clients.md", &["run"]),
    ("concurrency.md", &[]),
    ("configuration.md", &["run"]),
    ("copies.md", &["run", "run"]),
    ("format.md", &["drawing", "drawing"]),
    ("glossary.md", &[]),
    ("history.md", &["run"]),
    ("migrating.md", &["run", "run", "run", "run", "run"]),
    ("mount.md", &["run"]),
    ("patterns.md", &[]),
    ("performance.md", &[]),
    ("platforms.md", &[]),
    ("reliability.md", &[]),
    // A policy for S3, and a line for sshd, which `tests/storages/sftp.rs` uses.
    ("remote.md", &["run", "run", "run", "of a server", "of a server"]),
    ("repair.md", &[]),
    ("restic.md", &[]),
    ("restore.md", &[]),
    ("retention.md", &["run", "run", "of a run"]),
    ("schedule.md", &["run", "run"]),
    ("selectors.md", &["run", "run"]),
    ("serve.md", &["run", "run"]),
    ("status.md", &["run", "run", "run"]),
    // A line on a terminal, which a test of `progress/line.rs` draws.
    ("terminal.md", &["of a terminal", "run"]),
    ("threat-model.md", &[]),
];

fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)).unwrap()
}

/// Returns the block of a page with this number, without its mark.
fn block(name: &str, number: usize) -> String {
    let page = page(name);
    let block = page.split("```").skip(1).step_by(2).nth(number).unwrap();
    block.split_once('\n').unwrap().1.to_owned()
}

#[test]
fn every_block_of_the_pages_is_run_or_is_no_command() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut found: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.retain(|name| {
        name.ends_with(".md") && !["cli.md", "guide.md", "from-the-old-script.md"].contains(&name.as_str())
    });
    found.sort();
    assert_eq!(found, PAGES.map(|(name, _)| name));
    for (name, kinds) in PAGES {
        let page = page(name);
        let blocks: Vec<&str> = page.split("```").skip(1).step_by(2).collect();
        assert_eq!(blocks.len(), kinds.len(), "docs/{name}: a block more or less: run it in tests/cli/pages");
        for (block, kind) in blocks.iter().zip(kinds) {
            let commands = block.contains("snap ") || block.contains("$ ");
            assert!(*kind != "drawing" || !block.contains("$ "), "docs/{name}: {block}");
            assert!(*kind == "run" || !commands || *kind == "drawing", "docs/{name}: {block}");
        }
    }
}

/// Splits a block into commands and the output shown below each.
fn steps(block: &str) -> Vec<(&str, Vec<&str>)> {
    let mut steps: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push((command, Vec::new())),
            (None, Some((_, shown))) => shown.push(line),
            (None, None) => panic!("no command before {line}"),
        }
    }
    steps
}

/// Replaces ids, numbers, sizes and durations, which differ each time.
fn shape(line: &str) -> String {
    let is_other = |word: &str| {
        let is_id = word.len() >= 8 && word.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_id || !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
    };
    let mut shape = String::new();
    for run in line.split_inclusive(|byte: char| !byte.is_ascii_alphanumeric()) {
        let word = run.trim_end_matches(|byte: char| !byte.is_ascii_alphanumeric());
        shape += match word {
            _ if is_other(word) => "#",
            "KiB" | "MiB" | "GiB" | "TiB" => "B",
            _ => word,
        };
        shape += &run[word.len()..];
    }
    let mut shape = shape.split_whitespace().collect::<Vec<_>>().join(" ").replace("#.#", "#");
    for unit in ["d", "h", "min", "s"] {
        shape = shape.replace(&format!("# {unit} "), "AGE ");
    }
    // The time until a disk is full differs on each machine.
    shape = shape.replace("more than # years", "about # years");
    while shape.contains("AGE AGE") {
        shape = shape.replace("AGE AGE", "AGE");
    }
    shape
}

/// Runs the commands of a block after `before` in the sandbox, with some words of the page replaced. The
/// output of each must have the shape of what the page shows.
fn transcribe(sandbox: &Sandbox, before: &str, block: &str, places: &[(&str, &str)]) {
    let steps = steps(block);
    let mut script = format!("{before}\n");
    for (number, (command, _)) in steps.iter().enumerate() {
        writeln!(script, "echo '=== {number}'\n{command}").unwrap();
    }
    for (shown, real) in places {
        script = script.replace(shown, real);
    }
    let all = run_script(&sandbox.path("home"), &format!("set +x; exec 2>&1\n{script}"));
    let mut told = all.split("=== ").skip(1);
    for (command, shown) in steps {
        let mut told = told.next().unwrap_or_else(|| panic!("`{command}` was not reached: {all}")).to_owned();
        for (shown, real) in places.iter().rev() {
            told = told.replace(real, shown);
        }
        // The shell's own last message is on the other stream.
        let told: Vec<String> = told.lines().skip(1).filter(|line| *line != "+ set +x").map(shape).collect();
        let shown: Vec<String> = shown.into_iter().map(shape).collect();
        assert_eq!(told, shown, "`{command}` prints something else than its page shows: {all}");
    }
}

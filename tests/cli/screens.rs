//! Output on a pseudo-terminal and in a pipe, as snapshots: `INSTA_UPDATE=always` rewrites them. Ids, times,
//! durations, sizes that depend on the machine and the directory of the sandbox are normalized.
#![allow(clippy::unwrap_used)]

use std::fs;

use regex::Regex;

use crate::snapshots::assert_unchanged;
use crate::support::terminal::Terminal;
use crate::support::{PASSWORD, Sandbox};

const WIDE: (u16, u16) = (200, 24);
const USUAL: (u16, u16) = (80, 24);
const NARROW: (u16, u16) = (50, 24);

/// Two snapshots, between which one file changed and one was deleted.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write(&[
        ("documents/letters/november.txt", "first"),
        ("documents/gone.txt", "x"),
        ("top.txt", "top"),
    ]);
    std::os::unix::fs::symlink("top.txt", sandbox.src().join("link")).unwrap();
    sandbox.ok(&["backup", "--host", "laptop", "--tag", "weekly,before-the-upgrade", "src"]);
    sandbox.write(&[("documents/letters/november.txt", "second, longer")]);
    fs::remove_file(sandbox.src().join("documents/gone.txt")).unwrap();
    sandbox.ok(&["backup", "--host", "laptop", "--description", "after the move", "src"]);
    sandbox
}

/// Returns the screen after a command.
fn screen(sandbox: &Sandbox, size: (u16, u16), vars: &[(&str, &str)], args: &[&str]) -> String {
    let home = sandbox.path("home");
    let mut all = vec![
        ("HOME", home.to_str().unwrap()),
        ("SNAP_PASSWORD", PASSWORD),
        ("TZ", "UTC"),
        ("SNAP_PAGER", "cat"),
    ];
    all.extend(vars);
    let args = [&["-r", "repo"], args].concat();
    let (code, text) = Terminal::start(&sandbox.path(""), size, &all, &args).finish();
    format!("{text}\nexit {code}\n")
}

/// Replaces what depends on the run by as many characters.
fn alike(text: &str) -> String {
    let hashes = |found: &regex::Captures<'_>| {
        let alike = |c: char| if c.is_ascii_digit() { '#' } else { c };
        found.get(0).map_or("", |all| all.as_str()).chars().map(alike).collect::<String>()
    };
    // Whether a just written file is read again depends on timing.
    let mut text = text.to_owned();
    for (pattern, wanted) in [
        (r"\b[0-9a-f]{8}\b", Some("id-of-it")),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", Some("2026-01-02 03:04:05")),
        (r"\d+\.\d\d s\b", Some("0.12 s")),
        (r"ratio \d+\.\d+", Some("ratio 1.00")),
        (r"(?m)^(added|holds|read): .*$", None),
        (r"\d+\.\d [KMGT]iB|\d{3} B", None),
        // The last column. Where it is cut depends on the path of the sandbox.
        (r"(?m) +/[^\s…]*/src\b| +/(tmp|var)[^\s…]*…", Some("  PLACE")),
        (r"(?m)^([dlrwx-]{10}) \S+ +\S+ +", Some("$1 user group ")),
    ] {
        let pattern = Regex::new(pattern).unwrap();
        text = match wanted {
            Some(wanted) => pattern.replace_all(&text, wanted).into_owned(),
            None => pattern.replace_all(&text, hashes).into_owned(),
        };
    }
    // Sizes on one machine may have more digits than on another.
    Regex::new(r" *#+(\.#)? [KMGT]?i?B").unwrap().replace_all(&text, " #.# KiB").into_owned()
}

fn golden(name: &str, text: &str) {
    assert_unchanged("screens", name, &alike(text));
}

#[test]
fn lists_fit_the_window() {
    let sandbox = sandbox();
    for (size, of) in [(NARROW, "50"), (USUAL, "80"), (WIDE, "200")] {
        for (name, args) in [
            ("snapshots", &["snapshots"][..]),
            ("compact", &["snapshots", "--compact"]),
            ("ls", &["ls", "latest"]),
            ("ls-long", &["ls", "-l", "latest", "src"]),
            ("diff", &["diff", "latest~1", "latest"]),
            ("history", &["history", "src/documents/letters/november.txt"]),
            ("du", &["du", "latest", "--depth", "2"]),
            ("find", &["find", "november*"]),
        ] {
            let text = screen(&sandbox, size, &[], args);
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
            // Sentences and names are never cut.
            let is_table = ["snapshots", "compact", "du"].contains(&name);
            assert!(widest <= usize::from(size.0) || !is_table, "{text}");
            golden(&format!("{name}-{of}"), &text);
        }
    }
}

#[test]
fn backup_and_restore_print_a_summary() {
    let sandbox = sandbox();
    for (size, of) in [(NARROW, "50"), (USUAL, "80"), (WIDE, "200")] {
        sandbox.write(&[("top.txt", of)]);
        let backup = screen(&sandbox, size, &[], &["backup", "--host", "laptop", "src"]);
        golden(&format!("backup-{of}"), &backup);
        let out = format!("out/{of}");
        golden(&format!("restore-{of}"), &screen(&sandbox, size, &[], &["restore", "latest", "-t", &out]));
    }
}

/// `docs/cli.md` covers all commands and flags. This shows how a terminal displays them.
#[test]
fn help_fits_the_window() {
    let sandbox = sandbox();
    for (name, args) in [
        ("help", &["--help"][..]),
        ("help-backup", &["backup", "-h"]),
        ("help-backup-long", &["backup", "--help"]),
        ("help-restore", &["restore", "-h"]),
        ("help-key", &["key", "--help"]),
    ] {
        assert_unchanged("help", name, &screen(&sandbox, (80, 300), &[], args));
    }
}

#[test]
fn errors_include_advice() {
    let sandbox = sandbox();
    for (name, args) in [
        ("error-path", &["cat", "latest:src/nope"][..]),
        ("error-snapshot", &["ls", "2001-01-01"]),
        ("error-host", &["snapshots", "--host", "labtop"]),
        ("error-verb", &["extract"]),
        ("error-flag", &["backup", "--exclude-from", "x", "src"]),
    ] {
        golden(name, &screen(&sandbox, USUAL, &[], args));
    }
}

#[test]
fn a_dumb_terminal_and_a_pipe_get_plain_text() {
    let sandbox = sandbox();
    let dumb = [("TERM", "dumb")];
    sandbox.write(&[("top.txt", "dumb")]);
    golden("backup-dumb", &screen(&sandbox, USUAL, &dumb, &["backup", "--host", "laptop", "src"]));
    golden("diff-dumb", &screen(&sandbox, USUAL, &dumb, &["diff", "latest~1", "latest"]));
    sandbox.write(&[("top.txt", "piped")]);
    for (name, args) in [
        ("backup-piped", &["backup", "--host", "laptop", "src"][..]),
        ("snapshots-piped", &["snapshots"]),
        ("diff-piped", &["diff", "latest~1", "latest"]),
        ("ls-piped", &["ls", "latest"]),
    ] {
        let outcome = sandbox.ok(args);
        let text = format!("{}--- standard error\n{}", outcome.text(), outcome.stderr);
        assert!(!text.contains('\x1b'), "{text:?}");
        golden(name, &text);
    }
}

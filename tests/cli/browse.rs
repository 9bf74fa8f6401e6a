//! `snap browse` on a pseudo-terminal.
#![allow(clippy::unwrap_used)]

use std::fs;

use crate::support::Sandbox;
use crate::support::terminal::Terminal;

/// Two snapshots, between which one file changed and one was added.
fn sandbox() -> Sandbox {
    let sandbox =
        Sandbox::with_tree(&[("docs/plan.txt", "first"), ("docs/list.txt", "same"), ("top.txt", "top")]);
    sandbox.backup(&[]);
    sandbox.write(&[("docs/plan.txt", "second, longer"), ("docs/new.txt", "new")]);
    sandbox.backup(&[]);
    sandbox
}

fn browse(sandbox: &Sandbox, size: (u16, u16)) -> Terminal {
    let home = sandbox.path("");
    let vars = [("HOME", home.to_str().unwrap()), ("SNAP_PASSWORD", "try"), ("TZ", "UTC")];
    let mut terminal = Terminal::start(&home, size, &vars, &["-r", "repo", "browse"]);
    terminal.wait_for("2 snapshots");
    terminal
}

#[test]
fn a_directory_is_walked_and_a_file_is_read_in_80_columns() {
    let sandbox = sandbox();
    let mut terminal = browse(&sandbox, (80, 24));
    let list = terminal.text();
    assert!(list.contains("incremental") && list.contains("? help"), "{list}");
    terminal.send("\r");
    terminal.wait_for("src/");
    terminal.send("\r");
    let top = terminal.wait_for("top.txt");
    assert!(top.contains("docs/"), "{top}");
    terminal.send("\r");
    let docs = terminal.wait_for("plan.txt");
    assert!(docs.contains("/src/docs") && docs.contains("new.txt"), "{docs}");
    // list.txt, new.txt, plan.txt.
    terminal.send("jj\r");
    terminal.wait_for("second, longer");
    terminal.send("hh");
    let back = terminal.wait_until("the directory above", |text| text.contains("top.txt"));
    assert!(back.lines().all(|line| line.chars().count() <= 80), "{back}");
    terminal.send("q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn a_window_that_needs_more_memory_than_there_is_is_refused() {
    let sandbox = sandbox();
    let home = sandbox.path("");
    let vars = [("HOME", home.to_str().unwrap()), ("SNAP_PASSWORD", "try")];
    let args = ["-r", "repo", "browse"];
    let (code, text) = Terminal::start(&home, (60_000, 20), &vars, &args).finish();
    assert!(code == 1 && text.contains("which is too large"), "{code}: {text}");
    // Including a window that becomes larger than needed.
    let mut terminal = browse(&sandbox, (80, 24));
    terminal.resize(60_000, 20);
    let (code, _) = terminal.finish();
    assert_eq!(code, 1);
}

#[test]
fn versions_are_listed_and_an_old_one_is_restored() {
    let sandbox = sandbox();
    let mut terminal = browse(&sandbox, (80, 24));
    terminal.send("/plan\r");
    terminal.wait_for("src/docs/plan.txt");
    terminal.send("v");
    terminal.wait_for("2 versions of src/docs/plan.txt");
    // The newest version comes first.
    terminal.send("jr");
    terminal.wait_for("restore src/docs/plan.txt below this directory");
    terminal.send(&"\x7f".repeat("./restored".len()));
    terminal.send("old\r");
    terminal.wait_for("restored 1 file");
    assert_eq!(fs::read_to_string(sandbox.path("old/src/docs/plan.txt")).unwrap(), "first");
    // The second time, existing files are kept, and this is reported.
    terminal.send("kr");
    terminal.wait_for("below this directory");
    terminal.send(&"\x7f".repeat("./restored".len()));
    terminal.send("old\r");
    terminal.wait_for("already and kept");
    assert_eq!(fs::read_to_string(sandbox.path("old/src/docs/plan.txt")).unwrap(), "first");
    terminal.send("q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn two_snapshots_are_compared_and_a_small_window_is_enough() {
    let sandbox = sandbox();
    let mut terminal = browse(&sandbox, (80, 24));
    terminal.send("d");
    let diff = terminal.wait_for("differences");
    assert!(diff.contains("M") && diff.contains("docs/plan.txt") && diff.contains("docs/new.txt"), "{diff}");
    terminal.resize(40, 8);
    terminal.send("?");
    terminal.wait_for("move");
    terminal.send("x");
    terminal.wait_for("docs/new.txt");
    terminal.send("\x1b");
    terminal.wait_for("2 snapshots");
    terminal.send("\x03");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn browse_without_a_terminal_names_alternatives() {
    let sandbox = Sandbox::with_tree(&[("a", "a")]);
    let refused = sandbox.snap(&["browse"]).expect(2);
    assert!(refused.stderr.contains("snap ls"), "{}", refused.stderr);
}

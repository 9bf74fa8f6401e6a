//! Prompts on a terminal.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::{PASSWORD, Sandbox};

/// Runs snap on a terminal on which `typed` is typed. Returns what was shown, and the exit code.
fn at_a_terminal(sandbox: &Sandbox, args: &str, typed: &str) -> Option<(String, i32)> {
    if Command::new("script").arg("--version").output().is_err() {
        crate::support::skipped("no script(1): nothing is typed at a terminal");
        return None;
    }
    let line = format!("{} -r repo {args}", env!("CARGO_BIN_EXE_snap"));
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).current_dir(sandbox.path("")).env_clear();
    command.env("HOME", sandbox.path("")).env("PATH", std::env::var_os("PATH")?);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    Some((String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code().unwrap()))
}

#[test]
fn a_password_may_be_typed_three_times() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    let Some((shown, code)) = at_a_terminal(&sandbox, "snapshots", &format!("no\nno\n{PASSWORD}\n")) else {
        return;
    };
    assert!(code == 0 && shown.contains("1 snapshot"), "{code}: {shown}");
    let repo = sandbox.path("repo").canonicalize().unwrap();
    let prompt = format!("password for the repository at {}: ", repo.display());
    assert_eq!(shown.matches(&prompt).count(), 3, "{shown}");
    assert_eq!(shown.matches("wrong password; ").count(), 2, "{shown}");

    let (shown, code) = at_a_terminal(&sandbox, "snapshots", &format!("no\nno\nno\n{PASSWORD}\n")).unwrap();
    assert!(code == 12 && shown.contains("snap: wrong password"), "{code}: {shown}");
}

#[test]
fn init_asks_only_if_it_creates_a_repository() {
    let sandbox = Sandbox::new();
    let Some((shown, code)) = at_a_terminal(&sandbox, "init", "") else { return };
    assert!(
        code == 1 && shown.contains("one exists already") && !shown.contains("new password"),
        "{code}: {shown}"
    );
}

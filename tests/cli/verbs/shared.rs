//! A repository that several users write to, and output for terminals, pipes and programs.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::support::{Outcome, PASSWORD, Sandbox, chmod, files_below, finish, skipped};

const GROUP: u32 = 54321;

/// As a user who is in the group, with a strict umask.
fn run_as(sandbox: &Sandbox, user: u32, args: &[&str]) -> Outcome {
    let own = sandbox.path(&format!("own-{user}"));
    fs::create_dir_all(&own).unwrap();
    std::os::unix::fs::chown(&own, Some(user), Some(user)).unwrap();
    let program = sandbox.path("snap");
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "umask 077; exec \"$0\" \"$@\""]).arg(program).args(["-r", "shared"]).args(args);
    command.env_clear().env("HOME", &own).env("SNAP_PASSWORD", PASSWORD).current_dir(sandbox.path(""));
    // The group is the second one of both users: their files belong to their own group at first.
    command.uid(user).gid(GROUP);
    finish(command, b"")
}

#[test]
fn members_of_a_group_share_a_repository_that_was_made_for_them() {
    if !rustix::process::geteuid().is_root() {
        return skipped("only root can be two users");
    }
    let sandbox = Sandbox::bare();
    sandbox.write(&[("a", "1")]);
    chmod(&sandbox.path(""), 0o755);
    fs::copy(env!("CARGO_BIN_EXE_snap"), sandbox.path("snap")).unwrap();
    chmod(&sandbox.path("snap"), 0o755);
    let shared = sandbox.path("shared");
    fs::create_dir(&shared).unwrap();
    std::os::unix::fs::chown(&shared, None, Some(GROUP)).unwrap();
    chmod(&shared, 0o2770);
    run_as(&sandbox, 12345, &["init"]).expect(0);
    for (user, text) in [(12345, "1"), (12346, "two"), (12345, "three")] {
        sandbox.write(&[("a", text)]);
        run_as(&sandbox, user, &["backup", "src"]).expect(0);
    }
    for user in [12345, 12346] {
        let list = run_as(&sandbox, user, &["snapshots"]).expect(0);
        assert!(list.text().contains("3 snapshots"), "{}", list.text());
        run_as(&sandbox, user, &["check", "--read-data"]).expect(0);
        run_as(&sandbox, user, &["forget", "latest~1"]).expect(0);
        run_as(&sandbox, user, &["gc", "--empty-trash"]).expect(0);
        sandbox.write(&[("a", &format!("more of {user}"))]);
        run_as(&sandbox, user, &["backup", "src"]).expect(0);
    }
    for file in files_below(&shared) {
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert!(mode & 0o007 == 0, "{}: {mode:o}", file.display());
    }
    // A user outside the group has no access.
    let mut command = Command::new(sandbox.path("snap"));
    command.args(["-r", "shared", "snapshots"]).env_clear().env("SNAP_PASSWORD", PASSWORD);
    command.current_dir(sandbox.path("")).uid(12347).gid(12347);
    assert_ne!(finish(command, b"").code, 0);
}

#[test]
fn a_repository_of_one_s_own_stays_so() {
    let sandbox = Sandbox::bare();
    sandbox.write(&[("a", "1")]);
    fs::create_dir(sandbox.path("repo")).unwrap();
    chmod(&sandbox.path("repo"), 0o755);
    sandbox.ok(&["init"]);
    sandbox.backup(&[]);
    for file in files_below(&sandbox.path("repo")) {
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert!(mode & 0o077 == 0, "{}: {mode:o}", file.display());
    }
}

/// The output of a run whose standard output and error are a terminal; `None` without the program `script`.
fn on_terminal(sandbox: &Sandbox, args: &str) -> Option<Vec<u8>> {
    in_shell(sandbox, &format!("{} -r repo {args}", env!("CARGO_BIN_EXE_snap")))
}

fn in_shell(sandbox: &Sandbox, line: &str) -> Option<Vec<u8>> {
    let mut command = Command::new("script");
    command.args(["-q", "-e", "-c", line, "/dev/null"]).current_dir(sandbox.path(""));
    command.env("SNAP_PASSWORD", PASSWORD).env("SNAP_CACHE_DIR", sandbox.cache());
    command.env("SNAP_STATE_DIR", sandbox.state()).env("PAGER", "cat");
    if command.get_program().is_empty() || Command::new("script").arg("--version").output().is_err() {
        skipped("no `script`, which makes a terminal");
        return None;
    }
    Some(finish(command, b"").expect_one_of(&[0, 1, 3]).stdout)
}

const NAME: &[u8] = b"esc\x1b]0;pwned\x07\x1b[2J \xc2\x9b31m \xe2\x80\xaefdp.exe\n\x7f\xff";

/// All commands that show names, tags, hosts, descriptions or paths.
const SHOWING: &[&str] = &[
    "ls latest",
    "ls -R -l latest",
    "ls -R -0 latest",
    "find 'esc*'",
    "find -l 'esc*'",
    "find -0 'esc*'",
    "diff latest~1 latest",
    "diff -0 latest~1 latest",
    "snapshots",
    "snapshots --compact",
    "snapshots --group-by host,tags",
    "forget -n --keep-last 1",
    "check",
    "key list",
    "history 'src/plain'",
    "du latest",
    "stats",
    "status",
    "backup -vv src",
    "restore latest --target out -v -n",
    "--json snapshots",
    "--json ls -R latest",
    "ls latest:none",
];

/// The second snapshot has hostile text in every field.
fn with_hostile_names(sandbox: &Sandbox) {
    sandbox.write(&[("plain", "1")]);
    sandbox.backup(&[]);
    fs::write(sandbox.src().join(OsStr::from_bytes(NAME)), "x").unwrap();
    std::os::unix::fs::symlink(OsStr::from_bytes(NAME), sandbox.src().join("link")).unwrap();
    let evil = "\u{1b}[45m\u{202e}\u{9b}\u{7f}";
    let mut command = sandbox.command(&["backup", "src", "--tag", evil, "--host", evil]);
    command.args(["--description", evil]);
    finish(command, b"").expect(0);
}

fn assert_tame(out: Vec<u8>, story: &str) {
    // Progress bars and colours are drawn by the program itself; no other sequences are allowed.
    let text = String::from_utf8(out).unwrap_or_else(|err| panic!("{story}: not UTF-8: {err}"));
    for bad in ["\u{1b}]", "\u{1b}[2J ", "\u{1b}[45m", "\u{9b}", "\u{7f}", "\u{202e}", "\u{7}", "\0"] {
        assert!(!text.contains(bad), "{story}: {bad:?} in {text:?}");
    }
}

#[test]
fn windows_of_every_width_show_every_list_and_nothing_raw() {
    let sandbox = Sandbox::open();
    with_hostile_names(&sandbox);
    for columns in [1, 3, 31, 300] {
        let mut lines = format!("stty cols {columns} rows 5\n");
        for args in SHOWING {
            // A program that panics exits with 101.
            lines += &format!("{} -r repo {args}\n", env!("CARGO_BIN_EXE_snap"));
            lines += "case $? in 0|1|3) ;; *) echo ENDED BADLY;; esac\n";
        }
        let Some(out) = in_shell(&sandbox, &lines) else { return };
        let text = String::from_utf8_lossy(&out).into_owned();
        assert!(!text.contains("ENDED BADLY"), "{columns}: {text}");
        assert_tame(out, &format!("{columns} columns"));
    }
}

#[test]
fn terminals_get_escapes_and_pipes_get_raw_names() {
    let sandbox = Sandbox::new();
    with_hostile_names(&sandbox);
    for args in SHOWING {
        let Some(out) = on_terminal(&sandbox, args) else { return };
        assert_tame(out, args);
    }
    // Of the three snapshots the first has no such name; the last one was made on the terminal.
    let has = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|found| found == part);
    for (args, before, after) in [
        (&["ls", "-R", "latest"][..], &b"src/"[..], &b"\n"[..]),
        (&["ls", "-R", "-0", "latest"], b"src/", b"\0"),
        (&["find", "-q", "esc*"], b"src/", b"\n"),
        (&["find", "-0", "esc*"], b"src/", b"\0"),
        (&["diff", "latest~2", "latest"], b"+    src/", b"\n"),
        (&["diff", "-0", "latest~2", "latest"], b"+    src/", b"\0"),
    ] {
        let out = sandbox.ok(args).stdout;
        assert!(has(&out, &[before, NAME, after].concat()), "{args:?}: {}", String::from_utf8_lossy(&out));
    }
    assert_eq!(sandbox.ok(&["find", "-0", "plain"]).stdout, b"src/plain\0", "each path once, and no sums");
    sandbox.snap(&["ls", "-0", "--json", "latest"]).expect(2);
}

#[test]
fn short_id_prefix_works_and_ambiguous_ones_list_matches() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    // Of more than sixteen ids two begin with the same digit.
    for number in 0..17 {
        sandbox.write(&[("a", &number.to_string())]);
        sandbox.backup(&[]);
    }
    let ids: Vec<String> = sandbox.snapshot_names().into_iter().collect();
    let with = |digit: char| ids.iter().filter(|id| id.starts_with(digit)).collect::<Vec<_>>();
    let digits = || "0123456789abcdef".chars();
    let many = digits().find(|digit| with(*digit).len() > 1).unwrap();
    for verb in [vec!["ls"], vec!["forget"], vec!["repair", "snapshots", "-n"]] {
        let refused = sandbox.snap(&[&verb[..], &[&many.to_string()]].concat());
        assert_ne!(refused.code, 0);
        for id in with(many) {
            assert!(refused.stderr.contains(&id[..12]), "{verb:?} {many}: {}", refused.stderr);
        }
    }
    if let Some(one) = digits().find(|digit| with(*digit).len() == 1) {
        sandbox.ok(&["ls", &one.to_string()]);
        // It may be the newest.
        sandbox.ok(&["forget", "--allow-remove-all", &one.to_string().to_uppercase()]);
        sandbox.ok(&["undelete", &one.to_string()]);
    }
}

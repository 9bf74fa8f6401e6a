//! Features of a terminal: the progress line, colours, the pager, Ctrl-C.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::thread;
use std::time::Duration;

use crate::support::terminal::Terminal;
use crate::support::{PASSWORD, Random, Sandbox, sftp};

fn start(sandbox: &Sandbox, size: (u16, u16), vars: &[(&str, &str)], args: &[&str]) -> Terminal {
    let home = sandbox.path("home");
    let mut all = vec![("HOME", home.to_str().unwrap()), ("SNAP_PASSWORD", PASSWORD), ("TZ", "UTC")];
    all.extend(vars);
    Terminal::start(&sandbox.path(""), size, &all, args)
}

/// A remote repository, and a restore from it that takes minutes.
fn slow_restore(sandbox: &Sandbox, size: (u16, u16)) -> Option<Terminal> {
    let ssh = sftp::server()?;
    fs::write(sandbox.src().join("one"), Random::new(1).bytes(6 << 20)).unwrap();
    fs::write(sandbox.src().join("two"), Random::new(2).bytes(6 << 20)).unwrap();
    sandbox.backup(&[]);
    let url = format!("sftp://me@nowhere{}", sandbox.path("repo").display());
    let vars =
        [("SNAP_SSH_COMMAND", ssh.as_str()), ("PATH", "/usr/bin:/bin"), ("SNAP_LIMIT_DOWNLOAD", "200K")];
    let args = ["-r", &url, "restore", "latest", "--target", "out/it", "--include", "*"];
    Some(start(sandbox, size, &vars, &args))
}

#[test]
fn the_bar_fits_the_window_and_follows_it() {
    let sandbox = Sandbox::new();
    let Some(mut terminal) = slow_restore(&sandbox, (100, 24)) else { return };
    let has = |text: &str, words: &[&str]| words.iter().all(|word| text.contains(word));
    // A partial restore is counted as well, so there is a total.
    let wide = terminal.wait_until("a bar", |text| {
        has(text, &["restore ", "%", "[", " of 12.0 MiB", "/s"]) && text.contains("left")
    });
    assert!(wide.lines().all(|line| line.chars().count() <= 100), "{wide}");
    terminal.resize(50, 24);
    let narrow = terminal
        .wait_until("a shorter bar", |text| has(text, &["%", " of 12.0 MiB"]) && !text.contains("/s"));
    let bar = narrow.lines().find(|line| line.contains('%')).unwrap();
    assert!(bar.chars().count() <= 50, "{narrow}");
    terminal.resize(100, 24);
    terminal.wait_until("the bar as before", |text| has(text, &["%", "[", " of 12.0 MiB", "/s"]));
    terminal.send("\x03");
    terminal.wait_for("press Ctrl-C again to stop now");
    terminal.send("\x03");
    assert_eq!(terminal.end(), 130);
}

#[test]
fn first_ctrl_c_says_how_to_continue() {
    let sandbox = Sandbox::new();
    let Some(mut terminal) = slow_restore(&sandbox, (80, 24)) else { return };
    terminal.wait_for("12.0 MiB");
    terminal.send("\x03");
    terminal.wait_for("stopping after the files that are being written; press Ctrl-C again to stop now");
    let (code, text) = terminal.finish();
    assert_eq!(code, 130, "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("snap: stopping after"), "nothing of the bar is left: {text}");
    assert!(
        text.contains("snap: interrupted\n") && text.contains("run the command again to continue"),
        "{text}"
    );
}

#[test]
fn an_interrupted_backup_saves_what_there_is() {
    let sandbox = Sandbox::new();
    let file = sandbox.src().join("big");
    fs::write(&file, Random::new(1).bytes(64 << 20)).unwrap();
    let Some(ssh) = sftp::server() else { return };
    let url = format!("sftp://me@nowhere{}", sandbox.path("repo").display());
    let vars = [("SNAP_SSH_COMMAND", ssh.as_str()), ("PATH", "/usr/bin:/bin"), ("SNAP_LIMIT_UPLOAD", "500K")];
    let mut terminal = start(&sandbox, (80, 24), &vars, &["-r", &url, "backup", "src"]);
    terminal.wait_for("of 64.0 MiB");
    terminal.send("\x03");
    terminal.wait_for("saving what was read so far; press Ctrl-C again to stop now");
    terminal.send("\x03");
    let (code, text) = terminal.finish();
    assert_eq!(code, 130, "{text}");
    assert!(
        text.ends_with("to stop now\n^C") || text.trim_end().ends_with("to stop now"),
        "a clean line: {text}"
    );
}

#[test]
fn colours_are_on_in_terminals_and_off_elsewhere() {
    let sandbox = Sandbox::with_tree(&[("d/a", "1"), ("b", "2")]);
    sandbox.backup(&[]);
    sandbox.write(&[("b", "3"), ("new", "x")]);
    fs::remove_file(sandbox.src().join("d/a")).unwrap();
    sandbox.backup(&[]);
    let red = vt100::Color::Idx(1);
    for (vars, is_coloured) in [
        (&[][..], true),
        (&[("NO_COLOR", "1")], false),
        (&[("TERM", "dumb")], false),
        (&[("NO_COLOR", "")], true),
    ] {
        let mut terminal = start(&sandbox, (80, 24), vars, &["-r", "repo", "diff", "latest~1", "latest"]);
        terminal.wait_for("metadata changed");
        let expected = if is_coloured { red } else { vt100::Color::Default };
        assert_eq!(terminal.colour_of("-    src/d/a"), expected, "{vars:?}");
        assert_eq!(terminal.end(), 0);
        let mut terminal = start(&sandbox, (80, 24), vars, &["-r", "repo", "ls", "nope"]);
        terminal.wait_for("hint:");
        assert_eq!(terminal.colour_of("no snapshot for"), expected, "{vars:?}");
        assert_eq!(terminal.end(), 1);
    }
}

#[test]
fn pager_shows_only_lists_longer_than_the_window() {
    let sandbox = Sandbox::new();
    let many: Vec<String> = (0..40).map(|number| format!("file{number:02}")).collect();
    let tree: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "x")).collect();
    sandbox.write(&tree);
    sandbox.backup(&[]);
    let pager = ("SNAP_PAGER", "sed s/^/paged:/");
    let path = ("PATH", "/usr/bin:/bin");
    let screen = |vars: &[(&str, &str)], rows: u16, args: &[&str]| {
        let args = [&["-r", "repo"], args].concat();
        let (code, text) = start(&sandbox, (80, rows), vars, &args).finish();
        assert_eq!(code, 0, "{text}");
        text
    };
    let long = screen(&[path, pager], 24, &["ls", "latest"]);
    assert!(long.contains("paged:src/file39") && !long.contains("\nsrc/"), "{long}");
    let short = screen(&[path, pager], 60, &["ls", "latest"]);
    assert!(short.contains("src/file39") && !short.contains("paged"), "{short}");
    // The last match has no newline of its own to lose.
    for off in [("SNAP_PAGER", ""), ("SNAP_PAGER", "cat"), ("TERM", "dumb")] {
        let vars = [path, ("PAGER", "sed s/^/paged:/"), off];
        let plain = screen(&vars, 24, &["ls", "latest"]);
        assert!(plain.contains("src/file39") && !plain.contains("paged"), "{off:?}: {plain}");
    }
    let shell = screen(&[path, ("PAGER", "sed 's/^/shell: /' | tail -n 1")], 24, &["ls", "latest"]);
    assert!(shell.contains("shell: src/file39") && !shell.contains("file38"), "{shell}");
    // A pager that cannot be run is reported, and the list is printed all the same.
    let none = screen(&[path, ("PAGER", "no-such-pager -x")], 60, &["snapshots"]);
    assert!(!none.contains("pager"), "nobody asked for it: {none}");
    let none = screen(&[path, ("PAGER", "no-such-pager -x")], 24, &["ls", "latest"]);
    assert!(none.contains("src/file39"), "{none}");
    // In a pipe there is none.
    let mut command = sandbox.command(&["ls", "latest"]);
    command.env(pager.0, pager.1).env("PATH", path.1);
    assert!(!crate::support::finish(command, b"").expect(0).text().contains("paged"));
}

#[test]
fn leaving_the_pager_is_no_failure() {
    let sandbox = Sandbox::new();
    let many: Vec<String> = (0..3000).map(|number| format!("a-file-with-a-long-name-{number:04}")).collect();
    let tree: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "x")).collect();
    sandbox.write(&tree);
    sandbox.backup(&[]);
    let vars = [("PATH", "/usr/bin:/bin"), ("PAGER", "head -n 3")];
    let (code, text) = start(&sandbox, (80, 24), &vars, &["-r", "repo", "ls", "latest"]).finish();
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("src/a-file-with-a-long-name-0001"), "{text}");
}

#[test]
fn ctrl_c_saves_no_partial_stream_and_exits_130() {
    // The command is ended by the signal, or succeeds.
    for script in ["sleep 300", "trap : INT; while ! test -e told; do sleep 0.1; done; exit 0"] {
        let sandbox = Sandbox::new();
        let script = format!("echo half; touch started; {script}");
        let args = ["-r", "repo", "backup", "--stdin-from-command", "--", "/bin/sh", "-c", &script];
        let mut terminal = start(&sandbox, (80, 24), &[("PATH", "/usr/bin:/bin")], &args);
        let started = sandbox.path("started");
        terminal.wait_until("the command", |_| started.exists());
        // A signal that comes while the shell starts its next command may be lost.
        thread::sleep(Duration::from_millis(300));
        terminal.send("\x03");
        // The end of the command may be seen before the signal.
        terminal.wait_until("an answer", |text| {
            let is_told = text.contains("an incomplete stream is not saved; press Ctrl-C again to stop now");
            is_told || text.contains("snap: interrupted")
        });
        fs::write(sandbox.path("told"), "").unwrap();
        let (code, text) = terminal.finish();
        assert_eq!(code, 130, "{script}: {text}");
        assert!(text.contains("snap: interrupted"), "{script}: {text}");
        assert!(sandbox.snapshot_names().is_empty(), "{script}: {text}");
    }
}

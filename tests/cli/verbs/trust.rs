//! Trust in configuration files and passwords, and the environment of user commands.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::support::{Outcome, PASSWORD, Sandbox, chmod, finish};

/// Without a configuration or a password of the sandbox.
fn bare(sandbox: &Sandbox, args: &[&str]) -> Command {
    let mut command = sandbox.bin();
    for name in ["SNAP_CONFIG", "SNAP_PASSWORD"] {
        command.env_remove(name);
    }
    command.env("PATH", "/usr/bin:/bin").env("HOME", sandbox.path("home")).args(args);
    command
}

fn run(sandbox: &Sandbox, args: &[&str]) -> Outcome {
    finish(bare(sandbox, args), b"")
}

#[test]
fn a_file_in_the_working_directory_runs_nothing() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    let trap = sandbox.path("trap");
    let file = format!(
        "[repositories.r]\nlocation = \"repo\"\npassword-command = \"touch {0}; echo {PASSWORD}\"\n\
         [sets.s]\nrepository = \"r\"\nsources = [\"src\"]\nhooks = {{ before = \"touch {0}\" }}\n\
         notify = {{ command = \"touch {0}\", on = [\"failure\", \"success\"] }}\n",
        trap.display()
    );
    fs::write(sandbox.path("snap.toml"), file).unwrap();
    for args in [
        vec!["backup"],
        vec!["backup", "--set", "s"],
        vec!["-r", "r", "snapshots"],
        vec!["-r", "repo", "snapshots"],
        vec!["snapshots"],
        vec!["config", "check"],
        vec!["config", "test-notify"],
        vec!["schedule", "run"],
        vec!["status"],
    ] {
        let outcome = run(&sandbox, &args);
        assert!(!trap.exists(), "{args:?} ran a command of ./snap.toml");
        assert_ne!(outcome.code, 0, "{args:?}: {}", outcome.all());
        assert!(outcome.stderr.contains("--config ./snap.toml"), "{args:?}: {}", outcome.stderr);
    }
    run(&sandbox, &["--config", "snap.toml", "-r", "r", "snapshots"]).expect(0);
    assert!(trap.exists(), "who names the file means what it says");
}

#[test]
fn user_configuration_precedes_one_in_the_working_directory() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    let own = sandbox.path("home/.config/snap/snap.toml");
    fs::create_dir_all(own.parent().unwrap()).unwrap();
    let repo = sandbox.path("repo");
    let file = format!("[repositories.mine]\nlocation = {repo:?}\npassword-command = \"echo {PASSWORD}\"\n");
    fs::write(&own, file).unwrap();
    fs::write(sandbox.path("snap.toml"), "not even TOML").unwrap();
    let outcome = run(&sandbox, &["-r", "mine", "snapshots"]).expect(0);
    assert_eq!(outcome.stderr, "");
}

#[test]
fn root_takes_no_file_that_others_may_change_or_replace() {
    if !rustix::process::geteuid().is_root() {
        return crate::support::skipped("only root is refused");
    }
    let sandbox = Sandbox::bare();
    let own = sandbox.path("home/.config/snap/snap.toml");
    fs::create_dir_all(own.parent().unwrap()).unwrap();
    fs::write(&own, "cache-dir = \"/nowhere\"\n").unwrap();
    let named = own.to_str().unwrap();
    let check = |code| {
        for args in [vec!["config", "check"], vec!["--config", named, "config", "check"]] {
            let outcome = run(&sandbox, &args).expect(code);
            assert!(code == 0 || outcome.stderr.contains("commands to run"), "{}", outcome.stderr);
        }
    };
    chmod(&own, 0o644);
    check(0);
    chmod(&own, 0o664);
    check(1);
    chmod(&own, 0o646);
    check(1);
    chmod(&own, 0o644);
    let folder = sandbox.path("home/.config");
    for (mode, code) in [(0o777, 1), (0o757, 1), (0o755, 0), (0o1777, 0)] {
        chmod(&folder, mode);
        check(code);
    }
    chmod(&folder, 0o755);
    std::os::unix::fs::chown(&folder, Some(12345), None).unwrap();
    check(1);
    // Root may trust the owner of the file, and then that user's directories, but only if the file is named.
    std::os::unix::fs::chown(&own, Some(12345), None).unwrap();
    std::os::unix::fs::chown(own.parent().unwrap(), Some(12345), None).unwrap();
    run(&sandbox, &["config", "check"]).expect(1);
    run(&sandbox, &["--config", named, "config", "check"]).expect(0);
}

#[test]
fn password_flag_precedes_every_variable() {
    let sandbox = Sandbox::new();
    for (name, text) in [("right", PASSWORD), ("wrong", "wrong")] {
        fs::write(sandbox.path(name), text).unwrap();
        chmod(&sandbox.path(name), 0o600);
    }
    let run = |flags: &[&str], variables: &[(&str, &str)]| {
        let mut command = bare(&sandbox, &["-r", "repo", "snapshots"]);
        command.args(flags).envs(variables.iter().copied());
        finish(command, b"").code
    };
    let (right, wrong) = ("echo try", "echo wrong");
    let all_wrong =
        [("SNAP_PASSWORD", "wrong"), ("SNAP_PASSWORD_FILE", "wrong"), ("SNAP_PASSWORD_COMMAND", wrong)];
    let all_right =
        [("SNAP_PASSWORD", PASSWORD), ("SNAP_PASSWORD_FILE", "right"), ("SNAP_PASSWORD_COMMAND", right)];
    for (good, bad) in [
        (["--password-command", right], ["--password-command", wrong]),
        (["--password-file", "right"], ["--password-file", "wrong"]),
    ] {
        assert_eq!(run(&good, &all_wrong), 0, "{good:?}");
        assert_eq!(run(&bad, &all_right), 12, "{bad:?}");
    }
    // Among the variables, the password itself comes first, then the file.
    for first in 0..3 {
        let mut variables = all_wrong;
        variables[first] = all_right[first];
        assert_eq!(run(&[], &variables[first..]), 0, "{variables:?}");
        assert_eq!(run(&[], &[&[all_wrong[first]], &all_right[first + 1..]].concat()), 12);
    }
    // As a Windows editor writes it.
    fs::write(sandbox.path("windows"), format!("\u{feff}{PASSWORD}\r\n")).unwrap();
    assert_eq!(run(&["--password-file", "windows"], &[]), 0);
    assert_eq!(run(&["--password-file", "right", "--password-command", right], &[]), 2);
    assert_eq!(run(&["--password-file", ""], &all_right), 2);
}

#[test]
fn password_source_without_a_password_exits_12() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("empty"), "\n").unwrap();
    fs::write(sandbox.path("bytes"), [0xff, 0xfe]).unwrap();
    for flags in [
        ["--password-file", "none"],
        ["--password-file", "empty"],
        ["--password-file", "bytes"],
        ["--password-file", "src"],
        ["--password-file", "/dev/zero"],
        ["--password-command", "exit 3"],
        ["--password-command", "true"],
        ["--password-command", "no-such-program-anywhere"],
        ["--password-command", "printf '\\377'"],
    ] {
        let mut command = bare(&sandbox, &["-r", "repo", "snapshots"]);
        command.args(flags);
        let outcome = finish(command, b"").expect(12);
        assert!(outcome.stderr.contains("cannot get the password from"), "{}", outcome.stderr);
    }
}

#[test]
fn started_programs_get_no_password_in_their_environment() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    let file = "[repositories.r]\nlocation = \"repo\"\n[sets.s]\nrepository = \"r\"\nsources = [\"src\"]\n\
         hooks = { before = \"env > hook\", finally = \"env >> hook\" }\n\
         notify = { command = \"env > receiver\", on = \"success\" }\n";
    fs::write(sandbox.path("snap.toml"), file).unwrap();
    let secret = |command: &mut Command| {
        let of_others =
            ["RESTIC_PASSWORD", "RESTIC_PASSWORD_COMMAND", "RESTIC_FROM_PASSWORD", "BORG_PASSPHRASE"];
        for name in
            ["SNAP_NEW_PASSWORD", "SNAP_TO_PASSWORD", "SNAP_REST_PASSWORD"].into_iter().chain(of_others)
        {
            command.env(name, "hunter2");
        }
    };
    let mut command = bare(&sandbox, &["--config", "snap.toml", "backup", "--set", "s"]);
    secret(&mut command);
    command.env("SNAP_PASSWORD", PASSWORD);
    finish(command, b"").expect(0);
    let mut command =
        bare(&sandbox, &["-r", "repo", "--password-command", "env > asked; echo try", "snapshots"]);
    secret(&mut command);
    command.env("SNAP_PASSWORD", "hunter2");
    finish(command, b"").expect(0);
    for args in [
        &["-r", "sftp://host/place", "--ssh-command", "env > ssh; false", "snapshots"][..],
        &["-r", "repo", "backup", "--stdin-from-command", "--", "sh", "-c", "env > source; echo x"],
    ] {
        let mut command = bare(&sandbox, args);
        secret(&mut command);
        command.env("SNAP_PASSWORD", PASSWORD);
        assert!(matches!(finish(command, b"").code, 0 | 1), "{args:?}");
    }
    for name in ["hook", "receiver", "asked", "ssh", "source"] {
        let text = fs::read_to_string(sandbox.path(name)).unwrap();
        assert!(text.contains("PATH="), "{text}");
        for secret in ["SNAP_PASSWORD=", "hunter2"] {
            assert!(!text.contains(secret), "{name}: {text}");
        }
    }
}

#[test]
fn unknown_repository_name_is_not_a_directory() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    fs::create_dir(sandbox.path("mian")).unwrap();
    fs::write(sandbox.path("snap.toml"), "[repositories.main]\nlocation = \"repo\"\n").unwrap();
    let run = |args: &[&str]| {
        let mut command = bare(&sandbox, &["--config", "snap.toml"]);
        command.env("SNAP_PASSWORD", PASSWORD).args(args);
        finish(command, b"")
    };
    run(&["-r", "main", "snapshots"]).expect(0);
    run(&["-r", "./repo", "snapshots"]).expect(0);
    run(&["-r", "repo", "snapshots"]).expect(0);
    for args in [
        vec!["-r", "mian", "backup", "--init", "src"],
        vec!["-r", "mian", "init"],
        vec!["-r", "mian", "snapshots"],
        vec!["-r", "main", "copy", "--to", "mian"],
        vec!["-r", "main", "sync", "--init", "--to", "mian"],
    ] {
        let outcome = run(&args);
        assert!(
            outcome.code == 2 && outcome.stderr.contains("did you mean `main`"),
            "{args:?}: {}",
            outcome.all()
        );
    }
    assert_eq!(fs::read_dir(sandbox.path("mian")).unwrap().count(), 0);
}

#[test]
fn running_process_leaves_no_core_and_hides_its_memory() {
    if !rustix::process::geteuid().is_root() {
        return crate::support::skipped("only root can be another user");
    }
    let sandbox = Sandbox::bare();
    let own = sandbox.path("own");
    fs::create_dir(&own).unwrap();
    std::os::unix::fs::chown(&own, Some(12345), Some(12345)).unwrap();
    chmod(&sandbox.path(""), 0o755);
    fs::copy(env!("CARGO_BIN_EXE_snap"), sandbox.path("snap")).unwrap();
    chmod(&sandbox.path("snap"), 0o755);
    // The command runs while the program waits for it, and finds the program as its parent.
    let look = "cat /proc/$PPID/limits > limits; stat -c %u /proc/$PPID/mem > owner; echo try";
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "ulimit -c unlimited; exec \"$0\" \"$@\""]).arg(sandbox.path("snap"));
    command.args(["-r", "repo", "--password-command", look, "init"]).env_clear();
    command.env("HOME", &own).env("PATH", "/usr/bin:/bin").current_dir(&own).uid(12345).gid(12345);
    finish(command, b"").expect(0);
    let read = |name| fs::read_to_string(own.join(name)).unwrap();
    let limits = read("limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    // The memory files of a process that may not be dumped belong to root.
    assert_eq!(read("owner").trim(), "0");
}

#[test]
fn a_repository_without_encryption_is_warned_of_once() {
    let mut sandbox = Sandbox::bare();
    sandbox.set_password(None);
    sandbox.write(&[("a", "1")]);
    let run = |args: &[&str]| {
        let mut command = bare(&sandbox, args);
        command.env("INCREMENTAL_BACKUP_PATH", sandbox.path("old")).env("APP_DATA_PATH", sandbox.path("src"));
        finish(command, b"").expect_one_of(&[0, 3])
    };
    let told = |outcome: Outcome| outcome.all().contains("not encrypted");
    assert!(told(run(&["backup"])), "when it is made");
    for args in [vec!["backup"], vec!["-q", "backup"], vec!["snapshots"], vec!["-q", "snapshots"]] {
        assert!(!told(run(&args)), "{args:?}");
    }
    fs::remove_dir_all(sandbox.state()).unwrap();
    assert!(!told(run(&["--insecure-no-password", "snapshots"])), "who says so knows it");
    assert!(told(run(&["-q", "snapshots"])), "a machine that has not said so says so once");
    assert!(!told(run(&["snapshots"])));
    let mode = fs::metadata(sandbox.state()).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
}

//! What `snap schedule install` writes is valid for systemd and cron.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::{REPO, command, place};
use crate::support::finish;

#[test]
fn units_are_valid_for_systemd() {
    let sandbox = place(&format!("{REPO}[sets.docs]\nsources = \"docs\"\n[profiles.\"night\"]\n"));
    let odd = sandbox.path("100% \"odd\" $HOME.toml");
    fs::copy(sandbox.path("snap.toml"), &odd).unwrap();
    let odd = odd.to_str().unwrap();
    let there =
        Command::new("systemd-analyze").arg("--version").output().is_ok_and(|output| output.status.success());
    if !there {
        crate::support::skipped("systemd-analyze is not there: the units are not verified");
    }
    for args in [&["--system"][..], &["--user"], &["--system", "--daemon"], &["--user", "--daemon"]] {
        let start = ["--config", odd, "-P", "night", "schedule", "install", "--systemd", "-n"];
        let mut command = command(&sandbox, &[&start[..], args].concat());
        command.env("HOME", sandbox.path("home"));
        let text = finish(command, b"").expect(0).text();
        let folder = sandbox.path("units");
        fs::create_dir_all(&folder).unwrap();
        let mut files = Vec::new();
        for part in text.split("# /").skip(1) {
            let (name, unit) = part.split_once('\n').unwrap();
            let file = folder.join(Path::new(name).file_name().unwrap());
            let unit: String =
                unit.lines().filter(|line| !line.starts_with("# ")).map(|line| format!("{line}\n")).collect();
            fs::write(&file, unit).unwrap();
            files.push(file);
        }
        assert_eq!(files.len(), if args.contains(&"--daemon") { 1 } else { 2 }, "{text}");
        assert!(
            text.contains("snap-backup-night")
                && text.contains(if args[0] == "--user" { "systemctl --user" } else { "systemctl " })
        );
        if there {
            let mut verify = Command::new("systemd-analyze");
            verify
                .args([if args[0] == "--user" { "--user" } else { "--system" }, "verify", "--man=no"])
                .args(&files);
            let output = verify.env("XDG_RUNTIME_DIR", &folder).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let ours: Vec<&str> = said.lines().filter(|line| line.contains("snap")).collect();
            assert!(output.status.success() && ours.is_empty(), "{said}");
        }
        fs::remove_dir_all(folder).unwrap();
    }
}

#[test]
fn schedule_that_the_system_rejects_is_not_installed() {
    let sandbox = place("");
    fs::remove_file(sandbox.path("snap.toml")).unwrap();
    let mut command = command(&sandbox, &["schedule", "install", "-n"]);
    command.env("APP_DATA_PATH", "docs");
    let refused = finish(command, b"").expect(2);
    assert!(refused.stderr.contains("only a snap.toml can be installed"), "{}", refused.stderr);
}

#[test]
fn the_crontab_gets_one_line_and_loses_only_that() {
    let sandbox = place(&format!("{REPO}[sets.docs]\nsources = \"docs\"\n"));
    fs::create_dir(sandbox.path("bin")).unwrap();
    let script =
        "#!/bin/sh\ncd \"$(dirname \"$0\")\"\ncase $1 in -l) test -e tab && cat tab;; -) cat > tab;; esac\n";
    fs::write(sandbox.path("bin/crontab"), script).unwrap();
    fs::set_permissions(sandbox.path("bin/crontab"), fs::Permissions::from_mode(0o755)).unwrap();
    let call = |args: &[&str]| {
        let mut command = command(&sandbox, args);
        command.env("PATH", format!("{}:/usr/bin:/bin", sandbox.path("bin").display()));
        finish(command, b"").expect(0)
    };
    let tab = || fs::read_to_string(sandbox.path("bin/tab")).unwrap_or_default();
    call(&["schedule", "install", "--cron", "-n"]);
    assert_eq!(tab(), "");
    fs::write(sandbox.path("bin/tab"), "0 4 * * * mine\n").unwrap();
    call(&["schedule", "install", "--cron"]);
    let installed = tab();
    assert_eq!((installed.lines().count(), installed.lines().next()), (2, Some("0 4 * * * mine")));
    let again = call(&["schedule", "install", "--cron"]);
    assert!(again.text().contains("has this line already"), "{}", again.all());
    assert_eq!(tab(), installed);
    // The command line in the crontab works.
    let line = installed.lines().last().unwrap().strip_prefix("*/5 * * * * ").unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).env_clear().env("SNAP_STATE_DIR", sandbox.state());
    finish(shell, b"").expect(0);
    for expected in ["", "has no such line"] {
        let removed = call(&["schedule", "remove", "--cron"]);
        assert!(removed.text().contains(expected), "{}", removed.all());
        assert_eq!(tab(), "0 4 * * * mine\n");
    }
}

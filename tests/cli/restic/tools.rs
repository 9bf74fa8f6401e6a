//! Published programs that call restic, unchanged, with a `restic` in PATH that is snap. Each needs a Python
//! that has it, as `.ci/run` installs one.

use std::process::Command;

use super::Door;
use crate::support::{Outcome, finish, skipped};

/// Every call of resticpy except those about restic's own files.
const RESTICPY: &str = r#"
import os, restic
restic.repository, restic.password_file, restic.use_cache = "repo", "pw", False
assert restic.version()["restic_version"] == "0.19.1"
assert len(restic.init()) == 64
made = restic.backup(paths=["src"], tags=["x"])
assert made["files_new"] == 1 and len(made["snapshot_id"]) == 64, made
[snapshot] = restic.snapshots()
assert snapshot["id"] == made["snapshot_id"] and snapshot["tags"] == ["x"], snapshot
assert restic.snapshots(group_by=["host"])[0]["group_key"]["hostname"]
assert restic.stats(mode="raw-data")["snapshots_count"] == 1
restic.check(read_data=True)
assert restic.find("a.txt")[0]["hits"] == 1
restic.restore(snapshot_id="latest", target_dir="out")
assert open("out/src/a.txt").read() == "hello\n"
restic.unlock()
assert restic.cat.config()["version"] == 2
assert restic.key.list()[0]["current"]
restic.rewrite(exclude=["nothing"], forget=True)
assert restic.forget(keep_last=1, prune=True)[0]["keep"][0]["id"] == made["snapshot_id"]
try:
    restic.self_update()
    raise SystemExit("self-update is refused")
except restic.errors.ResticFailedError:
    pass
print("all well")
"#;

/// Creates the repository, backs up, forgets and checks, as its configuration says.
const RUNRESTIC: &str = r#"
name = "all"
repositories = ["repo"]
[environment]
RESTIC_PASSWORD_FILE = "pw"
[backup]
sources = ["src"]
[prune]
keep-last = 1
[check]
checks = ["read-data"]
"#;

fn has(module: &str) -> bool {
    let mut python = Command::new("python3");
    python.args(["-c", &format!("import {module}")]);
    let is_there = finish(python, b"").code == 0;
    if !is_there {
        skipped(&format!("python3 has no {module}: no program of others is tried with it"));
    }
    is_there
}

fn door() -> Door {
    let door = Door::bare();
    door.sandbox.write(&[("a.txt", "hello\n")]);
    std::fs::write(door.sandbox.path("pw"), "secret\n").unwrap();
    door
}

/// Runs Python next to `src/`, with snap as the only `restic` in PATH.
fn python(door: &Door, args: &[&str]) -> Outcome {
    let mut command = Command::new("python3");
    let path = format!("{}:{}", door.sandbox.path("bin").display(), std::env::var("PATH").unwrap());
    command
        .args(args)
        .current_dir(door.sandbox.path(""))
        .env("PATH", path)
        .env("HOME", door.sandbox.path("home"));
    finish(command, b"")
}

#[test]
fn resticpy_finds_what_it_looks_for() {
    if has("restic.internal") {
        let outcome = python(&door(), &["-c", RESTICPY]).expect(0);
        assert_eq!(outcome.text(), "all well\n", "{}", outcome.stderr);
    }
}

#[test]
fn runrestic_runs_its_actions() {
    if !has("runrestic") {
        return;
    }
    let door = door();
    std::fs::write(door.sandbox.path("runrestic.toml"), RUNRESTIC).unwrap();
    let run = "from runrestic.runrestic.runrestic import runrestic; runrestic()";
    for action in ["init", "backup", "prune", "check", "stats"] {
        let outcome = python(&door, &["-c", run, "-c", "runrestic.toml", action]).expect(0);
        assert!(!outcome.all().contains("Traceback"), "{action}: {}", outcome.all());
    }
}

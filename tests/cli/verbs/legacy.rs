//! Only the variables of the legacy script are set.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::dates::{days, redate};
use crate::support::{Outcome, Sandbox, assert_same, copy_tree, finish};

const REPO: &str = "backups/incremental";

/// `data/` and `uploads/`, no `logs/`, and the files of the script.
fn old_place() -> Sandbox {
    let mut sandbox = Sandbox::bare();
    sandbox.set_password(None);
    for (name, text) in [
        ("data/db.json", "{}"),
        ("uploads/deep/picture", "pixels"),
        ("backups/incremental/metadata.json", "{\"backups\": []}"),
        ("backups/incremental/full_2026-01-04T01-00-00-000Z.tar.gz", "an old archive"),
    ] {
        let path = sandbox.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    sandbox
}

fn run(sandbox: &Sandbox, variables: &[(&str, &str)], args: &[&str]) -> Outcome {
    let mut command = sandbox.bin();
    command.args(args).envs(variables.iter().copied());
    finish(command, b"")
}

const ONE: &[(&str, &str)] = &[("BACKUP_RETENTION_DAYS", "10")];

fn list(sandbox: &Sandbox) -> Vec<Value> {
    run(sandbox, ONE, &["snapshots", "--json"]).expect(0).json().as_array().unwrap().clone()
}

fn ids(sandbox: &Sandbox) -> Vec<String> {
    list(sandbox).iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn one_variable_is_enough_to_back_up_and_restore() {
    let sandbox = old_place();
    let first = run(&sandbox, &[("APP_DATA_PATH", "./data")], &["backup"]).expect(0);
    assert!(first.stderr.contains("warning: logs: No such file"), "{}", first.stderr);
    assert!(first.stderr.contains("is not encrypted"), "{}", first.stderr);
    fs::write(sandbox.path("data/db.json"), "{\"more\": 1}").unwrap();
    let second = run(&sandbox, &[("LOGS_PATH", "./logs")], &["backup"]).expect(0);
    assert!(!second.stderr.contains("is not encrypted"), "it was said before: {}", second.stderr);
    let kinds: Vec<_> = list(&sandbox).iter().map(|one| one["kind"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds, ["full", "incremental"], "a missing source made another set");

    let restored = run(&sandbox, ONE, &["restore", "latest", "--target", "out/x"]).expect(0);
    assert!(!restored.stderr.contains("is not encrypted"), "it was said before: {}", restored.stderr);
    for name in ["data", "uploads"] {
        assert_same(&sandbox.path(name), &sandbox.path("out/x").join(name));
    }
    let old = sandbox.path(REPO).join("full_2026-01-04T01-00-00-000Z.tar.gz");
    assert_eq!(fs::read(old).unwrap(), b"an old archive");
}

#[test]
fn paths_are_where_the_variables_say() {
    let sandbox = old_place();
    copy_tree(&sandbox.path("data"), &sandbox.path("elsewhere"));
    fs::create_dir(sandbox.path("logs here")).unwrap();
    let variables = [
        ("INCREMENTAL_BACKUP_PATH", "store"),
        ("APP_DATA_PATH", "elsewhere"),
        ("UPLOADS_PATH", "gone"),
        ("LOGS_PATH", "logs here"),
    ];
    let outcome = run(&sandbox, &variables, &["backup"]).expect(0);
    assert!(outcome.stderr.contains("gone: No such file"), "{}", outcome.stderr);
    assert!(sandbox.path("store/config").is_dir() && !sandbox.path(REPO).join("config").exists());
    let names = run(&sandbox, &variables, &["ls", "-R", "latest"]).expect(0).text();
    assert_eq!(names.lines().collect::<Vec<_>>(), ["elsewhere", "elsewhere/db.json", "logs here"]);
}

#[test]
fn empty_source_next_to_an_optional_one_is_a_backup() {
    let sandbox = Sandbox::bare();
    fs::create_dir(sandbox.path("data")).unwrap();
    run(&sandbox, &[("APP_DATA_PATH", "./data"), ("SNAP_PASSWORD", "x")], &["backup"]).expect(0);
}

#[test]
fn no_source_at_all_is_no_backup() {
    let mut sandbox = Sandbox::bare();
    sandbox.set_password(None);
    run(&sandbox, ONE, &["backup"]).expect(1);
}

#[test]
fn unreadable_source_still_exits_3() {
    let sandbox = old_place();
    fs::remove_dir_all(sandbox.path("uploads")).unwrap();
    // Nobody can follow it, not even root.
    std::os::unix::fs::symlink("loop", sandbox.path("loop")).unwrap();
    run(&sandbox, &[("LOGS_PATH", "loop/x")], &["backup"]).expect(3);
}

#[test]
fn legacy_repository_with_a_password_is_encrypted() {
    let mut sandbox = old_place();
    sandbox.set_password(Some("secret"));
    let outcome = run(&sandbox, ONE, &["backup"]).expect(0);
    assert!(!outcome.stderr.contains("is not encrypted"), "{}", outcome.stderr);
    sandbox.set_password(None);
    run(&sandbox, ONE, &["snapshots"]).expect(12);
}

#[test]
fn own_flags_and_variables_win() {
    let sandbox = old_place();
    sandbox.write(&[("a", "1")]);
    // A repository that snap's own flag names is not created without a request.
    run(&sandbox, ONE, &["-r", "repo", "backup"]).expect(10);
    run(&sandbox, ONE, &["-r", "repo", "init", "--no-encryption"]).expect(0);
    let outcome = run(&sandbox, ONE, &["-r", "repo", "backup", "src"]).expect(0);
    assert!(!outcome.stderr.contains("is not encrypted"), "{}", outcome.stderr);
    let names = run(&sandbox, ONE, &["-r", "repo", "ls", "-R", "latest"]).expect(0).text();
    assert_eq!(names.lines().collect::<Vec<_>>(), ["src", "src/a"]);
    run(&sandbox, &[("LOGS_PATH", "x"), ("SNAP_REPO", "repo")], &["backup"]).expect(0);
    assert!(!sandbox.path(REPO).join("config").exists());
    // A named source that is missing is one that somebody requested.
    run(&sandbox, ONE, &["backup", "src", "gone"]).expect(3);
}

#[test]
fn no_other_verb_makes_the_repository_and_a_dry_run_does_not() {
    let sandbox = old_place();
    for verb in [&["snapshots"][..], &["restore", "latest", "--target", "out/x"]] {
        run(&sandbox, ONE, verb).expect(10);
    }
    // Where there is no repository yet, there is nothing to clean up.
    run(&sandbox, ONE, &["cleanup"]).expect(0);
    run(&sandbox, ONE, &["backup", "--dry-run"]).expect(2);
    assert!(!sandbox.path(REPO).join("config").exists());
}

/// A full 40 days ago, incrementals after it, a full 20 days ago, a differential and an incremental after it.
fn years_work(sandbox: &Sandbox) -> Vec<String> {
    let line = [
        (40, "--full"),
        (39, "--incremental"),
        (25, "--incremental"),
        (20, "--full"),
        (18, "--differential"),
        (3, "--incremental"),
    ];
    let made = line.into_iter().map(|(age, kind)| {
        fs::write(sandbox.path("data/db.json"), format!("{age}")).unwrap();
        let before: BTreeSet<String> = snapshot_names(sandbox);
        run(sandbox, ONE, &["backup", kind]).expect(0);
        let made = snapshot_names(sandbox).difference(&before).next().unwrap().clone();
        copy_tree(&sandbox.path("data"), &sandbox.path(&format!("copy-{age}")));
        redate(&sandbox.path(REPO), None, &made, days(-age))
    });
    made.collect()
}

fn snapshot_names(sandbox: &Sandbox) -> BTreeSet<String> {
    let Ok(folder) = fs::read_dir(sandbox.path(REPO).join("snapshots")) else { return BTreeSet::new() };
    folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn assert_data(sandbox: &Sandbox, id: &str, copy: &Path) {
    let target = sandbox.new_target();
    run(sandbox, ONE, &["restore", id, "--target", target.to_str().unwrap()]).expect(0);
    assert_eq!(fs::read(target.join("data/db.json")).unwrap(), fs::read(copy.join("db.json")).unwrap());
}

#[test]
fn cleanup_keeps_fulls_and_recent_states_and_they_restore() {
    let sandbox = old_place();
    let made = years_work(&sandbox);
    let dry = run(&sandbox, ONE, &["cleanup", "-n"]).expect(0);
    assert!(dry.text().contains("keep 4 of 6"), "{}", dry.all());
    assert_eq!(ids(&sandbox), made);
    run(&sandbox, ONE, &["cleanup", "--empty-trash", "--max-unused", "0"]).expect(0);
    // The differential is 18 days old, but it was current until 3 days ago.
    assert_eq!(ids(&sandbox), [&made[0], &made[3], &made[4], &made[5]].map(String::clone));
    for (at, age) in [(0, 40), (3, 20), (4, 18), (5, 3)] {
        assert_data(&sandbox, &made[at], &sandbox.path(&format!("copy-{age}")));
    }
    run(&sandbox, ONE, &["cleanup", "--keep-full", "1", "--empty-trash"]).expect(0);
    assert_eq!(ids(&sandbox), [&made[3], &made[4], &made[5]].map(String::clone));
    run(&sandbox, &[("BACKUP_RETENTION_DAYS", "2")], &["cleanup", "--keep-full", "0"]).expect(0);
    assert_eq!(ids(&sandbox), made[5..]);
    run(&sandbox, ONE, &["check", "--read-data"]).expect(0);
}

#[test]
fn seven_days_are_assumed_only_for_the_scripts_own_repository() {
    let sandbox = old_place();
    let made = years_work(&sandbox);
    let logs = [("LOGS_PATH", "./logs")];
    let named = [&["-r", REPO][..], &["cleanup"]].concat();
    run(&sandbox, &logs, &named).expect(22);
    assert_eq!(ids(&sandbox), made);
    run(&sandbox, &logs, &["cleanup"]).expect(0);
    assert_eq!(ids(&sandbox).len(), 4);
    // The given days apply wherever the repository is named.
    run(&sandbox, &[("BACKUP_RETENTION_DAYS", "1")], &named).expect(0);
    assert_eq!(ids(&sandbox).len(), 3);
    // An own rule replaces them.
    run(&sandbox, ONE, &["cleanup", "--keep-last", "1"]).expect(0);
    assert_eq!(ids(&sandbox), made[5..]);
    run(&sandbox, &[("BACKUP_RETENTION_DAYS", "soon")], &["cleanup"]).expect(2);
}

//! The configuration file, and the precedence of flags and variables.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::{Outcome, Sandbox, assert_same, finish};

const FILE: &str = r#"
[repositories.main]
location = "store"
password-file = "password"
init = true
[repositories.other]
location = "other"
password-command = "echo other-secret"
init = true
[defaults]
repository = "main"
[sets.docs]
sources = ["docs"]
exclude = ["*.tmp"]
tags = ["d"]
keep = { last = 1 }
[sets.music]
sources = ["music"]
repository = "other"
kind = "full"
[profiles.swapped.sets.docs]
repository = "other"
"#;

/// `snap.toml`, two sets and a password file; no variables are set.
fn place(file: &str) -> Sandbox {
    let mut sandbox = Sandbox::bare();
    sandbox.set_password(None);
    for (name, text) in [
        ("snap.toml", file),
        ("password", "main-secret\n"),
        ("docs/a", "one"),
        ("docs/b.tmp", "two"),
        ("music/song", "la"),
        ("elsewhere/x", ""),
    ] {
        let path = sandbox.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }
    fs::set_permissions(sandbox.path("password"), fs::Permissions::from_mode(0o600)).unwrap();
    sandbox
}

/// Without -r and without a password, as a user with a file calls it.
fn run(sandbox: &Sandbox, args: &[&str]) -> Outcome {
    let mut command = sandbox.bin();
    command.env_remove("SNAP_REPO").args(args);
    finish(command, b"")
}

fn times(sandbox: &Sandbox, repo: &str) -> usize {
    run(sandbox, &["-r", repo, "snapshots", "--json"]).expect(0).json().as_array().unwrap().len()
}

#[test]
fn a_backup_without_paths_saves_every_set_to_its_repository() {
    let sandbox = place(FILE);
    let outcome = run(&sandbox, &["backup"]).expect(0);
    assert!(
        outcome.text().contains("set docs") && outcome.text().contains("set music"),
        "{}",
        outcome.text()
    );
    assert_eq!((times(&sandbox, "main"), times(&sandbox, "other")), (1, 1));
    let docs = run(&sandbox, &["-r", "main", "snapshots", "--json"]).expect(0).json();
    assert_eq!(docs[0]["tags"], serde_json::json!(["d"]));
    assert_eq!(docs[0]["paths"], serde_json::json!([sandbox.path("docs")]));
    let names = run(&sandbox, &["-r", "main", "ls", "-R", "latest"]).expect(0).text();
    assert!(names.contains("docs/a") && !names.contains("b.tmp"), "{names}");
    let target = sandbox.path("out/x");
    run(&sandbox, &["-r", "other", "restore", "latest", "--target", target.to_str().unwrap()]).expect(0);
    let stored = target.join(sandbox.path("music").strip_prefix("/").unwrap());
    assert_same(&sandbox.path("music"), &stored);
}

#[test]
fn the_working_directory_changes_nothing() {
    let sandbox = place(FILE);
    let run_in = |dir: &str| {
        let mut command = sandbox.bin();
        let file = sandbox.path("snap.toml");
        command.env_remove("SNAP_REPO").current_dir(sandbox.path(dir)).env("SNAP_CONFIG", file);
        finish(
            {
                command.args(["backup", "--set", "docs", "--json"]);
                command
            },
            b"",
        )
        .expect(0)
        .summary()
    };
    let first = run_in("elsewhere");
    assert_eq!((first["kind"].as_str(), first["set"].as_str()), (Some("full"), Some("docs")));
    let second = run_in("docs");
    assert!(second["snapshot_id"].is_null(), "the same set was another one from another directory: {second}");
}

#[test]
fn flag_precedes_variable_profile_file_and_legacy_variables() {
    let sandbox = place(FILE);
    let saved_to = |args: &[&str], variables: &[(&str, &str)]| {
        // This machine's records are removed with it.
        let _ = fs::remove_dir_all(sandbox.state());
        for repo in ["store", "other", "flag", "variable", "old"] {
            let _ = fs::remove_dir_all(sandbox.path(repo));
        }
        let mut command = sandbox.bin();
        command.env_remove("SNAP_REPO").args(args).args(["backup", "--init", "--set", "docs"]);
        command.envs(variables.iter().copied());
        finish(command, b"").expect(0);
        let made: Vec<&str> = ["store", "other", "flag", "variable", "old"]
            .into_iter()
            .filter(|repo| sandbox.path(repo).join("config").exists())
            .collect();
        made.join(" ")
    };
    let old = ("INCREMENTAL_BACKUP_PATH", "old");
    let variable = [("SNAP_REPO", "./variable"), ("SNAP_PASSWORD", "x"), old];
    assert_eq!(saved_to(&["-P", "swapped", "-r", "./flag"], &variable), "flag");
    assert_eq!(saved_to(&["-P", "swapped"], &variable), "variable");
    assert_eq!(saved_to(&["-P", "swapped"], &[old]), "other");
    assert_eq!(saved_to(&[], &[("SNAP_PROFILE", "swapped"), old]), "other");
    assert_eq!(saved_to(&[], &[old]), "store");
    fs::remove_file(sandbox.path("snap.toml")).unwrap();
    let mut command = sandbox.bin();
    command.env_remove("SNAP_REPO").args(["backup"]).env(old.0, old.1).env("APP_DATA_PATH", "docs");
    finish(command, b"").expect(0);
    assert!(sandbox.path("old/config").exists());
}

#[test]
fn password_variable_precedes_the_file() {
    let sandbox = place(FILE);
    run(&sandbox, &["backup", "--set", "docs"]).expect(0);
    let mut command = sandbox.bin();
    command.env_remove("SNAP_REPO").env("SNAP_PASSWORD", "wrong").args(["-r", "main", "snapshots"]);
    finish(command, b"").expect(12);
    // A repository that is not in the file gets none of its passwords.
    run(&sandbox, &["-r", "./elsewhere/repo", "init"]).expect(2);
}

#[test]
fn one_failing_set_does_not_stop_the_others() {
    let sandbox = place(&FILE.replace("[\"docs\"]", "[\"gone\"]"));
    let outcome = run(&sandbox, &["backup"]).expect(1);
    assert!(outcome.stderr.contains("snap: docs: nothing was backed up"), "{}", outcome.stderr);
    assert_eq!(times(&sandbox, "other"), 1);
}

#[test]
fn retention_of_a_set_touches_no_other() {
    let sandbox = place(FILE);
    let text = "[sets.both]\nsources = [\"docs\", \"music\"]\nrepository = \"main\"\n";
    fs::write(sandbox.path("snap.toml"), format!("{FILE}{text}")).unwrap();
    for round in ["1", "2", "3"] {
        fs::write(sandbox.path("docs/a"), round).unwrap();
        run(&sandbox, &["backup", "--set", "docs", "--set", "both"]).expect(0);
    }
    assert_eq!(times(&sandbox, "main"), 6);
    run(&sandbox, &["cleanup"]).expect(0);
    let left = run(&sandbox, &["-r", "main", "snapshots", "--json"]).expect(0).json();
    let of = |n: usize| {
        left.as_array().unwrap().iter().filter(|one| one["paths"].as_array().unwrap().len() == n).count()
    };
    assert_eq!((of(1), of(2)), (1, 3), "keep.last of docs is for docs only");
    run(&sandbox, &["forget", "--set", "both"]).expect(22);
    run(&sandbox, &["forget", "--set", "both", "--keep-last", "2"]).expect(0);
    assert_eq!(times(&sandbox, "main"), 3);
    run(&sandbox, &["check", "--set", "docs", "--set", "both"]).expect(0);
}

#[test]
fn dry_run_of_forget_with_prune_counts_all_sets_and_collects_once() {
    let sandbox = place(FILE);
    let text = "[sets.both]\nsources = [\"docs\", \"music\"]\nrepository = \"main\"\n";
    fs::write(sandbox.path("snap.toml"), format!("{FILE}{text}")).unwrap();
    for round in ["1", "2", "3"] {
        fs::write(sandbox.path("docs/a"), round).unwrap();
        run(&sandbox, &["backup", "--set", "docs", "--set", "both"]).expect(0);
    }
    let forget = ["forget", "--set", "docs", "--set", "both", "--keep-last", "1", "--prune", "--json"];
    let in_trash = |args: &[&str]| {
        let text = run(&sandbox, args).expect(0).text();
        let values = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        values.filter_map(|value| value["snapshots_in_trash"].as_u64()).collect::<Vec<_>>()
    };
    assert_eq!(in_trash(&[&forget[..], &["-n"]].concat()), [4], "two of each set");
    assert_eq!(times(&sandbox, "main"), 6);
    assert_eq!(in_trash(&forget), [4]);
    assert_eq!(times(&sandbox, "main"), 2);
}

#[test]
fn cleanup_collects_after_a_set_that_is_skipped() {
    let text = "[sets.songs]\nsources = [\"music\"]\nkeep = { last = 1 }\n\
                [sets.docs.hooks]\ncondition = \"exit 1\"\njobs = [\"cleanup\"]\n";
    let sandbox = place(&format!("{FILE}{text}"));
    for round in ["1", "2"] {
        fs::write(sandbox.path("music/song"), round).unwrap();
        run(&sandbox, &["backup", "--set", "songs"]).expect(0);
    }
    let outcome = run(&sandbox, &["cleanup", "--set", "docs", "--set", "songs"]).expect(75);
    assert!(outcome.text().contains("in the trash"), "{}", outcome.all());
    assert_eq!(times(&sandbox, "main"), 1);
}

#[test]
fn invalid_configuration_stops_every_command() {
    let sandbox = place("[sets.docs]\nsources = [\"docs\"]\nexlude = \"x\"\nmax-age = \"long\"\n");
    let outcome = run(&sandbox, &["backup"]).expect(2);
    assert!(
        outcome
            .stderr
            .contains("snap.toml:3:1: unknown key `exlude` in [sets.docs]: did you mean `exclude`?")
    );
    assert!(outcome.stderr.contains("1 more"), "{}", outcome.stderr);
    let outcome = run(&sandbox, &["config", "check"]).expect(2);
    assert!(outcome.stderr.contains(":3:1:") && outcome.stderr.contains(":4:11:"), "{}", outcome.stderr);
    run(&sandbox, &["config", "schema"]).expect(0).json();
    run(&sandbox, &["--config", "nowhere.toml", "snapshots"]).expect(1);
    run(&sandbox, &["--config", "", "-P", "x", "snapshots"]).expect(2);
}

#[test]
fn config_show_names_sources_and_no_secrets() {
    let secret =
        "\n[sets.docs.notify]\nwebhook = \"https://hook/main-secret\"\nping = \"https://ping/${KEY}\"\n";
    let text =
        format!("{FILE}{secret}[repositories.web]\nlocation = \"rest:https://me:other-secret@host/x\"\n");
    let sandbox = place(&text);
    let mut command = sandbox.bin();
    command.env_remove("SNAP_REPO").env("SNAP_PASSWORD", "main-secret").env("KEY", "main-secret");
    command.args(["-P", "swapped", "config", "show"]);
    let shown = finish(command, b"").expect(0);
    let all = shown.all();
    assert!(!all.contains("main-secret") && !all.contains("other-secret"), "{all}");
    let line =
        |key: &str| all.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{key}: {all}"));
    assert!(
        line("sets.docs.repository").ends_with("\"other\"  # profile swapped, line 22")
            || line("sets.docs.repository").contains("profile swapped"),
        "{all}"
    );
    assert!(
        line("sets.docs.exclude ").contains("[\"*.tmp\"]")
            && line("sets.docs.exclude ").contains("# line 14"),
        "{all}"
    );
    assert!(
        line("sets.docs.kind").contains("\"incremental\"") && line("sets.docs.kind").contains("# default"),
        "{all}"
    );
    assert!(line("password ").contains("(hidden)") && line("password ").contains("SNAP_PASSWORD"), "{all}");
}

#[test]
fn a_password_file_that_everybody_may_read_is_warned_of() {
    let sandbox = place(FILE);
    let warned =
        |outcome: &Outcome| outcome.stderr.contains("password file") && outcome.stderr.contains("chmod 600");
    assert!(!warned(&run(&sandbox, &["backup", "--set", "docs"]).expect(0)));
    fs::set_permissions(sandbox.path("password"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(warned(&run(&sandbox, &["-r", "main", "snapshots"]).expect(0)));
    assert!(warned(&run(&sandbox, &["config", "check"]).expect(0)));
}

#[test]
fn configuration_that_others_can_write_is_refused() {
    let sandbox = place(FILE);
    let own = sandbox.path("home/.config/snap/snap.toml");
    fs::create_dir_all(own.parent().unwrap()).unwrap();
    fs::rename(sandbox.path("snap.toml"), &own).unwrap();
    let check = |args: &[&str]| {
        let mut command = sandbox.bin();
        command.env("HOME", sandbox.path("home")).args(args).args(["config", "check"]);
        finish(command, b"")
    };
    check(&[]).expect(0);
    fs::set_permissions(&own, fs::Permissions::from_mode(0o666)).unwrap();
    let outcome = check(&[]).expect(1);
    assert!(outcome.stderr.contains("--config"), "{}", outcome.stderr);
    // Root refuses any file that somebody else could replace, even if named: it could make root run commands.
    let code = if rustix::process::geteuid().is_root() { 1 } else { 0 };
    check(&["--config", own.to_str().unwrap()]).expect(code);
}

#[test]
fn config_init_writes_a_valid_file_and_replaces_none() {
    let sandbox = Sandbox::bare();
    let file = sandbox.path("new/snap.toml");
    run(&sandbox, &["config", "init", "--output", file.to_str().unwrap()]).expect(0);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    run(&sandbox, &["--config", file.to_str().unwrap(), "config", "check"]).expect(0);
    run(&sandbox, &["config", "init", "--output", file.to_str().unwrap()]).expect(1);
}

/// A key that the page does not name cannot be found by users.
#[test]
fn the_page_names_every_key() {
    fn names(schema: &serde_json::Value, found: &mut Vec<String>) {
        for (name, value) in schema["properties"].as_object().into_iter().flatten() {
            found.push(name.clone());
            names(value, found);
            names(&value["additionalProperties"], found);
        }
    }
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md")).unwrap();
    let mut found = Vec::new();
    names(&Sandbox::bare().snap(&["config", "schema"]).expect(0).json(), &mut found);
    assert!(found.len() > 50, "{found:?}");
    for name in found {
        assert!(page.contains(&format!("`{name}`")), "docs/configuration.md does not name {name}");
    }
}

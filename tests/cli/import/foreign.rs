//! Repositories of restic and borg become snapshots. Stand-in programs show how snap handles their output;
//! the real ones, if they are installed, show that an imported snapshot equals what they restore.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Outcome, Sandbox, finish, skipped};

/// A program that pretends to be restic, with snapshots `1` and `2` of the directories of these names.
const RESTIC: &str = r#"#!/bin/sh
env >> ENVIRONMENT
case $1 in
    version) echo 'restic 0.19.1 compiled with go1.26.4 on linux/amd64' ;;
    snapshots) cat listed ;;
    dump)
        for word; do case $word in 1*) dir=1 ;; 2*) dir=2 ;; esac; done
        tar -C "$dir" -cf - .
        [ ! -e fails ] || { echo 'Fatal: pack is damaged' >&2; exit 1; } ;;
    *) echo "unknown command $1" >&2; exit 1 ;;
esac
"#;

fn listed() -> String {
    let one = |number: &str, host: &str| {
        format!(
            r#"{{"time":"2024-01-0{number}T03:04:05.123456789+01:00","paths":["/home/me"],"hostname":"{host}","username":"me",
            "tags":["daily"],"id":"{}","short_id":"{}"}}"#,
            number.repeat(64),
            number.repeat(8),
        )
    };
    format!("[{},{}]", one("2", "two"), one("1", "one"))
}

/// A sandbox with such a program in `bin/`.
fn with_stand_in() -> Sandbox {
    let sandbox = Sandbox::new();
    for number in ["1", "2"] {
        let dir = sandbox.path(number).join("home/me");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("file"), number).unwrap();
    }
    fs::write(sandbox.path("listed"), listed()).unwrap();
    program(&sandbox.path("bin/restic"), RESTIC);
    sandbox
}

fn program(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn import(sandbox: &Sandbox, args: &[&str]) -> Outcome {
    let path = format!("{}:/usr/bin:/bin", sandbox.path("bin").display());
    let mut command = sandbox.command(&[&["import"], args].concat());
    command.env("PATH", path).env("RESTIC_PASSWORD", "other").env("TMPDIR", sandbox.path("out"));
    finish(command, b"")
}

fn snapshots(sandbox: &Sandbox) -> Vec<Value> {
    sandbox.ok(&["snapshots", "--json"]).json().as_array().unwrap().clone()
}

#[test]
fn restic_import_keeps_attributes_and_imports_once() {
    let sandbox = with_stand_in();
    let plan = import(&sandbox, &["restic", "other", "-n"]).expect(0).text();
    assert!(plan.contains("11111111 of one  would be imported"), "{plan}");
    assert!(plan.contains("2 snapshots would be saved, 0 were there already"), "{plan}");
    assert!(snapshots(&sandbox).is_empty());

    let summary = import(&sandbox, &["restic", "other", "--via", "tar", "--json"]).expect(0).summary();
    assert_eq!((&summary["imported"], &summary["skipped"]), (&2.into(), &0.into()));
    let made = snapshots(&sandbox);
    let of = |name: &str| made.iter().map(|one| one[name].clone()).collect::<Vec<_>>();
    assert_eq!(of("hostname"), ["one", "two"], "oldest first");
    assert_eq!(made[0]["time"].as_str().unwrap(), "2024-01-01T02:04:05.123456789Z");
    assert_eq!(made[0]["username"], "me");
    assert_eq!(made[0]["tags"], serde_json::json!(["daily"]));
    let restored = sandbox.restore("latest", &[]);
    assert_eq!(fs::read(restored.join("home/me/file")).unwrap(), b"2");

    let again =
        import(&sandbox, &["restic", "other", "--via", "tar", "--json", "--verify"]).expect(0).summary();
    assert_eq!((&again["imported"], &again["skipped"]), (&0.into(), &2.into()));
    assert_eq!((&again["verified"], &again["differences"]), (&2.into(), &0.into()));
    fs::write(sandbox.path("2/home/me/file"), "changed").unwrap();
    let verified = import(&sandbox, &["restic", "other", "--via", "tar", "--json", "--verify"]).expect(3);
    assert_eq!(verified.summary()["differences"], 1);
    assert_eq!(snapshots(&sandbox).len(), 2);
}

#[test]
fn the_other_program_gets_its_own_password_and_not_that_of_snap() {
    let sandbox = with_stand_in();
    import(&sandbox, &["restic", "other", "--via", "tar"]).expect(0);
    let environment = fs::read_to_string(sandbox.path("ENVIRONMENT")).unwrap();
    assert!(environment.contains("RESTIC_PASSWORD=other"));
    assert!(!environment.contains("SNAP_PASSWORD"));
}

#[test]
fn an_archive_whose_program_fails_at_its_end_is_no_snapshot() {
    let sandbox = with_stand_in();
    File::create(sandbox.path("fails")).unwrap();
    let failed = import(&sandbox, &["restic", "other", "--via", "tar"]).expect(1);
    assert!(failed.stderr.contains("pack is damaged"), "{}", failed.stderr);
    assert!(snapshots(&sandbox).is_empty());
    fs::remove_file(sandbox.path("fails")).unwrap();
    import(&sandbox, &["restic", "other", "--via", "tar"]).expect(0);
    assert_eq!(snapshots(&sandbox).len(), 2);
}

#[test]
fn what_is_not_the_other_program_is_refused_by_name() {
    let sandbox = with_stand_in();
    let says = |args: &[&str], code: i32, what: &str| {
        let stderr = import(&sandbox, args).expect(code).stderr;
        assert!(stderr.contains(what), "{args:?}: {stderr}");
    };
    says(&["borg", "other", "--program", "/nowhere/borg"], 1, "/nowhere/borg");
    says(&["borg", "other", "--program", "/bin/echo"], 2, "/bin/echo is not borg");
    says(&["borg"], 2, "BORG_REPO");
    says(&["restic"], 2, "RESTIC_REPOSITORY");
    fs::remove_file(sandbox.path("bin/restic")).unwrap();
    symlink(env!("CARGO_BIN_EXE_snap"), sandbox.path("bin/restic")).unwrap();
    // A real one may come later in PATH.
    let own = sandbox.path("bin/restic");
    says(&["restic", "other", "--program", own.to_str().unwrap()], 2, "is snap itself");
    fs::remove_file(&own).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_snap"), &own).unwrap();
    says(&["restic", "other"], 2, "is snap itself");
    program(
        &own,
        "#!/bin/sh\n[ $1 = version ] && echo 'restic 0.19.1' && exit\necho 'Fatal: wrong password' >&2; exit 12\n",
    );
    says(&["restic", "other"], 1, "failed with exit code 12: Fatal: wrong password");
    says(&["restic", "other", "--dry-run", "--verify"], 2, "--verify");
    assert!(snapshots(&sandbox).is_empty());
}

/// A real program, and how it creates and restores snapshots of a directory.
struct Real {
    name: &'static str,
    sandbox: Sandbox,
}

impl Real {
    /// Returns `None`, loudly, if it is not installed, or nothing can be mounted.
    fn new(name: &'static str) -> Option<Self> {
        let version = Command::new(name).arg(if name == "restic" { "version" } else { "--version" }).output();
        let version =
            version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        if !version.starts_with(name) || version.contains("compiled with snap") {
            skipped(&format!("no {name} is installed: no repository of it is imported"));
            return None;
        }
        let has_helper = Command::new("fusermount3").arg("-V").output().is_ok();
        if !has_helper || File::options().read(true).write(true).open("/dev/fuse").is_err() {
            skipped(&format!("no FUSE: no mounted repository of {name} is imported"));
            return None;
        }
        let real = Self { name, sandbox: Sandbox::new() };
        match name {
            "restic" => real.run(&["init", "-q", "-r", "other"]),
            _ => real.run(&["init", "--encryption", "none", "other"]),
        };
        Some(real)
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.sandbox.path("")).env("HOME", self.sandbox.path("home"));
        command.env("RESTIC_PASSWORD", "other").env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes");
        command.env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes").stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) {
        let output = self.command(self.name, args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} {args:?}: {said}", self.name);
    }

    /// Saves the state of `src/` so many seconds from now, because the ctimes of its files must be older.
    fn save(&self, number: i64) {
        let source = self.sandbox.src();
        let time = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(number);
        let time = time
            .strftime(if self.name == "restic" { "%Y-%m-%d %H:%M:%S" } else { "%Y-%m-%dT%H:%M:%S" })
            .to_string();
        let source = source.to_str().unwrap();
        match self.name {
            "restic" => {
                self.run(&[
                    "backup",
                    "-q",
                    "-r",
                    "other",
                    "--time",
                    &time,
                    "--host",
                    "elsewhere",
                    "--tag",
                    "a,b",
                    source,
                ]);
            }
            _ => self.run(&[
                "create",
                "--timestamp",
                &time,
                "--comment",
                "why",
                &format!("other::n{number}"),
                source,
            ]),
        }
    }

    /// Restores a snapshot with the program.
    fn restore(&self, original: &Value) -> PathBuf {
        let target = self.sandbox.new_target();
        fs::create_dir_all(&target).unwrap();
        match self.name {
            "restic" => {
                let (id, target) = (original["original_id"].as_str().unwrap(), target.to_str().unwrap());
                self.run(&["restore", "-q", "-r", "other", id, "--target", target]);
            }
            _ => {
                let archive = format!("../../other::{}", original["original_name"].as_str().unwrap());
                let mut command = self.command("borg", &["extract", "--numeric-ids", &archive]);
                assert!(command.current_dir(&target).status().unwrap().success());
            }
        }
        target
    }

    fn import(&self, args: &[&str]) -> Outcome {
        let mut command =
            self.command(env!("CARGO_BIN_EXE_snap"), &["-r", "repo", "import", self.name, "other"]);
        command
            .args(args)
            .env("SNAP_PASSWORD", crate::support::PASSWORD)
            .env("TMPDIR", self.sandbox.path("out"));
        finish(command, b"")
    }
}

/// Changes a tree with hard links, holes, attributes and odd names.
fn change(dir: &Path, number: u32) {
    fs::write(dir.join(format!("new {number}\n'\"")), format!("content {number}")).unwrap();
    fs::write(dir.join("changes"), number.to_string()).unwrap();
    if number > 0 {
        return;
    }
    fs::write(dir.join("one name"), "linked").unwrap();
    fs::hard_link(dir.join("one name"), dir.join("another")).unwrap();
    fs::write(dir.join("large"), vec![7; 300_000]).unwrap();
    let holes = File::create(dir.join("holes")).unwrap();
    holes.set_len(2 << 20).unwrap();
    holes.write_all_at(b"data", 1 << 20).unwrap();
    symlink("nowhere", dir.join("link")).unwrap();
    fs::set_permissions(dir.join("large"), fs::Permissions::from_mode(0o4751)).unwrap();
    // If these cannot be set, they are not tested.
    for command in ["setfattr -n user.x -v y large", "setfacl -m u:1234:rw changes", "chown 1234:5678 large"]
    {
        let _ = Command::new("sh").args(["-c", command]).current_dir(dir).stderr(Stdio::null()).status();
    }
}

fn every_snapshot_restores_as_the_other_program_restores_it(name: &'static str) {
    let Some(real) = Real::new(name) else { return };
    let source = real.sandbox.src();
    for number in 0..4 {
        change(&source, number);
        real.save(i64::from(number) + 3);
    }
    let imported = real.import(&["--json", "--verify"]).expect(0);
    let summary = imported.summary();
    assert_eq!((&summary["imported"], &summary["verified"]), (&4.into(), &4.into()), "{}", imported.all());
    // Everything of the first state, and what changed since.
    assert!(summary["bytes_read"].as_u64().unwrap() < 2_600_000, "{summary}");
    let again = real.import(&["--json"]).expect(0).summary();
    assert_eq!((&again["imported"], &again["skipped"]), (&0.into(), &4.into()));
    let states: Vec<Value> =
        imported.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let states: Vec<&Value> = states.iter().filter(|state| state["status"] == "imported").collect();
    assert_eq!(states.len(), 4);
    for state in states {
        let theirs = real.restore(state).join(source.strip_prefix("/").unwrap());
        let ours = real
            .sandbox
            .restore(state["snapshot_id"].as_str().unwrap(), &[])
            .join(source.strip_prefix("/").unwrap());
        let differences: Vec<String> = crate::support::compare_trees(&theirs, &ours)
            .into_iter()
            // Restic's mount shows hard links since 0.15.
            .filter(|line| name != "restic" || !line.contains("hard link"))
            .collect();
        assert!(differences.is_empty(), "{name}: {differences:?}");
        let xattrs = |dir: &Path| {
            let output =
                Command::new("getfattr").args(["-R", "-d", "-m", "-", "."]).current_dir(dir).output();
            output.map(|output| output.stdout).unwrap_or_default()
        };
        assert_eq!(String::from_utf8_lossy(&xattrs(&theirs)), String::from_utf8_lossy(&xattrs(&ours)));
    }
    let made = snapshots(&real.sandbox);
    match name {
        "restic" => {
            assert_eq!(made[0]["hostname"], "elsewhere");
            assert_eq!(made[0]["tags"], serde_json::json!(["a", "b"]));
        }
        _ => assert_eq!(made[0]["description"], "why"),
    }
    assert_eq!(made[0]["paths"], serde_json::json!([source.to_str().unwrap()]));
    let left = fs::read_dir(real.sandbox.path("out")).unwrap();
    let left = left
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("snap-import"))
        .count();
    assert_eq!(left, 0, "the mount point is removed");
}

#[test]
fn every_snapshot_of_restic_restores_as_restic_restores_it() {
    every_snapshot_restores_as_the_other_program_restores_it("restic");
}

#[test]
fn every_archive_of_borg_restores_as_borg_restores_it() {
    every_snapshot_restores_as_the_other_program_restores_it("borg");
}

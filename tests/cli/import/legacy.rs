//! The directory of the legacy script.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use snap_backup::Control;
use snap_backup::ops::import::{self, LegacyOptions};
use snap_backup::storage::{ObjectKind, Storage};

use super::{has, run};
use crate::support::hooked::{Act, Hooked};
use crate::support::library::Library;
use crate::support::{Sandbox, compare_trees, finish};

/// Archives as the script writes them: full ones with the last component of each source as root, the others
/// with names relative to where it ran, and a chain in metadata.json.
struct Script {
    sandbox: Sandbox,
    chain: Vec<serde_json::Value>,
}

impl Script {
    fn new() -> Self {
        let sandbox = Sandbox::open();
        fs::create_dir_all(sandbox.path("app/storage/data")).unwrap();
        fs::create_dir_all(sandbox.path("app/uploads")).unwrap();
        fs::create_dir_all(sandbox.path("old")).unwrap();
        Self { sandbox, chain: Vec::new() }
    }

    fn app(&self) -> PathBuf {
        self.sandbox.path("app")
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.app().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Records a backup that `args` of tar create, and keeps a copy of the sources.
    fn record(&mut self, kind: &str, day: u32, args: &[&str]) {
        let stamp = format!("2026-11-{day:02}T02-00-00-000Z");
        let name = format!("{kind}-{stamp}.tar.gz");
        let archive = self.sandbox.path("old").join(&name);
        run("tar", &[&["-czf", archive.to_str().unwrap()], args].concat(), &self.app());
        let time = format!("2026-11-{day:02}T02:00:00.000Z");
        let path = format!("/srv/backups/incremental/{name}");
        self.chain.push(
            serde_json::json!({"type": kind, "timestamp": time, "path": path, "size": 1, "fileCount": 2}),
        );
        let metadata = serde_json::json!({
            "lastFullBackup": time, "version": 1, "backupChain": self.chain,
            "fileHashes": {"storage/data/a": "00"},
        });
        fs::write(self.sandbox.path("old/metadata.json"), metadata.to_string()).unwrap();
        crate::support::copy_tree(&self.app(), &self.sandbox.path(&format!("state-{day}")));
    }

    fn full(&mut self, day: u32) {
        self.record("full", day, &["-C", "storage", "data", "-C", "..", "uploads"]);
    }
}

/// Returns the text of the file in the snapshot of that day, if it exists.
fn text(sandbox: &Sandbox, day: u32, path: &str) -> Option<String> {
    let outcome = sandbox.snap(&["cat", &format!("2026-11-{day:02}T02-00-00-000Z:{path}")]);
    (outcome.code == 0).then(|| outcome.text())
}

fn story() -> Script {
    let mut script = Script::new();
    script.write("storage/data/a", "a1");
    script.write("storage/data/gone", "soon gone");
    script.write("uploads/u", "u1");
    script.full(1);
    script.write("storage/data/a", "a2");
    script.record("incremental", 2, &["storage/data/a"]);
    fs::remove_file(script.app().join("storage/data/gone")).unwrap();
    script.write("uploads/new/n", "n3");
    script.record("incremental", 3, &["uploads/new/n"]);
    script.write("storage/data/a", "a4");
    script.record("differential", 4, &["storage/data/a", "uploads/new/n"]);
    script.full(5);
    script
}

#[test]
fn the_old_script_s_chain_becomes_one_snapshot_for_each_backup() {
    if !has("tar") {
        return;
    }
    let sandbox = story().sandbox;
    let outcome = sandbox.ok(&["import", "--legacy", "old", "--tag", "old"]);
    assert!(outcome.text().contains("5 snapshots were saved"), "{}", outcome.all());
    let kinds = sandbox.ok(&["--json", "snapshots"]).json();
    let kinds: Vec<_> = kinds
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["kind"].as_str().unwrap().to_owned(), one["time"].as_str().unwrap().to_owned()))
        .collect();
    let wanted = [("full", 1), ("incremental", 2), ("incremental", 3), ("differential", 4), ("full", 5)];
    assert_eq!(kinds, wanted.map(|(kind, day)| (kind.to_owned(), format!("2026-11-0{day}T02:00:00Z"))));
    let states = [(1, "a1"), (2, "a2"), (3, "a2"), (4, "a4"), (5, "a4")];
    for (day, a) in states {
        assert_eq!(text(&sandbox, day, "data/a").as_deref(), Some(a), "day {day}");
        assert_eq!(text(&sandbox, day, "uploads/u").as_deref(), Some("u1"), "day {day}");
        assert_eq!(text(&sandbox, day, "uploads/new/n").is_some(), day >= 3, "day {day}");
        // The chain has no deletions: a file deleted on day 3 stays until the next full backup.
        assert_eq!(text(&sandbox, day, "data/gone").is_some(), day < 5, "day {day}");
    }
    let last = sandbox.restore("latest", &[]);
    // The archives of the script have times in whole seconds.
    for (before, after) in [("state-5/storage/data", "data"), ("state-5/uploads", "uploads")] {
        let differences = compare_trees(&sandbox.path(before), &last.join(after));
        assert!(differences.iter().all(|text| text.contains(": mtime")), "{differences:#?}");
    }
    sandbox.assert_clean();
}

#[test]
fn a_second_import_adds_only_what_is_new() {
    if !has("tar") {
        return;
    }
    let mut script = story();
    script.sandbox.ok(&["import", "--legacy", "old"]);
    let outcome = script.sandbox.ok(&["import", "--legacy", "old"]);
    assert!(outcome.text().contains("0 snapshots were saved, 5 were there already"), "{}", outcome.all());
    script.write("storage/data/a", "a6");
    script.record("incremental", 6, &["storage/data/a"]);
    let outcome = script.sandbox.ok(&["import", "--legacy", "old"]);
    assert!(outcome.text().contains("1 snapshot was saved, 5 were there already"), "{}", outcome.all());
    assert_eq!(script.sandbox.snapshot_names().len(), 6);
    assert_eq!(text(&script.sandbox, 6, "data/a").as_deref(), Some("a6"));
    assert_eq!(text(&script.sandbox, 6, "uploads/u").as_deref(), Some("u1"));
    script.sandbox.assert_clean();
}

#[test]
fn named_sources_join_the_set_of_later_backups() {
    if !has("tar") {
        return;
    }
    let sandbox = story().sandbox;
    let within = |args: &[&str]| {
        let mut command = sandbox.bin();
        command.current_dir(sandbox.path("app")).args(["-r", "../repo"]).args(args);
        finish(command, b"").expect(0)
    };
    within(&["import", "--legacy", "../old", "--source", "./storage/data", "--source", "uploads"]);
    assert_eq!(text(&sandbox, 4, "storage/data/a").as_deref(), Some("a4"));
    assert_eq!(text(&sandbox, 4, "uploads/new/n").as_deref(), Some("n3"));
    let outcome = within(&["backup", "./storage/data", "uploads"]);
    assert!(
        outcome.text().contains("nothing changed") || outcome.text().contains("compared with"),
        "{}",
        outcome.all()
    );
    assert!(!outcome.all().contains("becomes a full"), "{}", outcome.all());
}

#[test]
fn a_missing_or_damaged_archive_is_3_and_the_rest_is_imported() {
    if !has("tar") {
        return;
    }
    // The archive of the second day is missing. The third day lacks it and is marked; the differential does
    // not need it.
    let sandbox = story().sandbox;
    fs::remove_file(sandbox.path("old/incremental-2026-11-02T02-00-00-000Z.tar.gz")).unwrap();
    let outcome = sandbox.snap(&["import", "--legacy", "old"]).expect(3);
    assert!(outcome.stderr.contains("incremental-2026-11-02T02-00-00-000Z.tar.gz"), "{}", outcome.stderr);
    assert_eq!(sandbox.snapshot_names().len(), 4);
    assert_eq!(text(&sandbox, 3, "data/a").as_deref(), Some("a1"));
    assert_eq!(text(&sandbox, 4, "data/a").as_deref(), Some("a4"));
    let tagged = sandbox.ok(&["--json", "snapshots"]).json();
    let tags: Vec<_> = tagged.as_array().unwrap().iter().map(|one| one["tags"].to_string()).collect();
    assert_eq!(tags, ["[]", "[\"gap\"]", "[]", "[]"]);
    // Without the full backup nothing is known until the next one.
    let sandbox = story().sandbox;
    fs::write(sandbox.path("old/full-2026-11-01T02-00-00-000Z.tar.gz"), "garbage").unwrap();
    sandbox.snap(&["import", "--legacy", "old"]).expect(3);
    assert_eq!(sandbox.snapshot_names().len(), 1);
    assert_eq!(text(&sandbox, 5, "data/a").as_deref(), Some("a4"));
    // No chain at all.
    fs::remove_file(sandbox.path("old/metadata.json")).unwrap();
    sandbox.snap(&["import", "--legacy", "old"]).expect(1);
}

#[test]
fn file_that_became_a_directory_is_one() {
    if !has("tar") {
        return;
    }
    let mut script = Script::new();
    script.write("storage/data/a", "a file");
    script.write("storage/data/b/c", "in a directory");
    script.write("uploads/u", "u");
    script.full(1);
    fs::remove_file(script.app().join("storage/data/a")).unwrap();
    fs::remove_dir_all(script.app().join("storage/data/b")).unwrap();
    script.write("storage/data/a/now/below", "x");
    script.write("storage/data/b", "a file now");
    script.record("incremental", 2, &["storage/data/a/now/below", "storage/data/b"]);
    let sandbox = script.sandbox;
    sandbox.ok(&["import", "--legacy", "old"]);
    assert_eq!(text(&sandbox, 1, "data/a").as_deref(), Some("a file"));
    assert_eq!(text(&sandbox, 2, "data/a/now/below").as_deref(), Some("x"));
    assert_eq!(text(&sandbox, 2, "data/b").as_deref(), Some("a file now"));
}

#[test]
fn forgotten_state_is_imported_again_after_its_parent() {
    if !has("tar") {
        return;
    }
    let mut script = story();
    script.sandbox.ok(&["import", "--legacy", "old"]);
    // As a cleanup would: the newest incremental is forgotten, and the script's files up to it are deleted.
    script.sandbox.ok(&["forget", "2026-11-03T02-00-00-000Z"]);
    let outcome = script.sandbox.ok(&["import", "--legacy", "old"]);
    assert!(outcome.text().contains("1 snapshot was saved, 4 were there already"), "{}", outcome.all());
    assert_eq!(text(&script.sandbox, 3, "uploads/new/n").as_deref(), Some("n3"));
    assert_eq!(text(&script.sandbox, 3, "data/a").as_deref(), Some("a2"));
    // Existing snapshots need not be read again: only the newest archive is.
    script.write("storage/data/a", "a6");
    script.record("differential", 6, &["storage/data/a"]);
    for day in 1..=5 {
        let kind = ["full", "incremental", "incremental", "differential", "full"][day - 1];
        let name = format!("old/{kind}-2026-11-0{day}T02-00-00-000Z.tar.gz");
        fs::write(script.sandbox.path(&name), "garbage").unwrap();
    }
    script.sandbox.ok(&["import", "--legacy", "old"]);
    assert_eq!(text(&script.sandbox, 6, "data/a").as_deref(), Some("a6"));
    assert_eq!(text(&script.sandbox, 6, "uploads/u").as_deref(), Some("u1"));
    script.sandbox.assert_clean();
}

#[test]
fn a_dry_run_of_a_chain_says_what_would_come_and_writes_nothing() {
    if !has("tar") {
        return;
    }
    let sandbox = story().sandbox;
    let before = sandbox.listing();
    let outcome = sandbox.ok(&["import", "--legacy", "old", "-n"]);
    assert!(outcome.text().contains("dry run: 5 snapshots would be saved"), "{}", outcome.all());
    assert_eq!(sandbox.listing(), before);
}

#[test]
fn the_script_s_variables_name_the_sources() {
    if !has("tar") {
        return;
    }
    let sandbox = story().sandbox;
    let within = |args: &[&str]| {
        let mut command = sandbox.bin();
        command.current_dir(sandbox.path("app")).args(["-r", "../repo"]).args(args);
        command.env("APP_DATA_PATH", "./storage/data").env("UPLOADS_PATH", "./uploads");
        finish(command, b"").expect(0)
    };
    within(&["import", "--legacy", "../old"]);
    assert_eq!(text(&sandbox, 4, "storage/data/a").as_deref(), Some("a4"));
    let outcome = within(&["backup"]);
    assert!(!outcome.all().contains("becomes a full"), "{}", outcome.all());
}

/// The script named files relative to where it ran: those of a source outside of it begin with `..`.
#[test]
fn source_next_to_the_working_directory_keeps_increments() {
    if !has("tar") {
        return;
    }
    for source in ["../srv/uploads", "ABSOLUTE"] {
        let mut script = Script::new();
        let beside = script.sandbox.path("srv/uploads");
        let write = |text: &str| {
            fs::create_dir_all(&beside).unwrap();
            fs::write(beside.join("u"), text).unwrap();
        };
        script.write("storage/data/a", "a1");
        write("u1");
        script.record("full", 1, &["-C", "storage", "data", "-C", "../../srv", "uploads"]);
        write("u2");
        script.record("incremental", 2, &["-P", "../srv/uploads/u"]);
        let sandbox = script.sandbox;
        let absolute = beside.to_str().unwrap();
        let source = if source == "ABSOLUTE" { absolute } else { source };
        let within = |args: &[&str]| {
            let mut command = sandbox.bin();
            command.current_dir(sandbox.path("app")).args(["-r", "../repo"]).args(args);
            finish(command, b"").expect(0)
        };
        within(&["import", "--legacy", "../old", "--source", "./storage/data", "--source", source]);
        let stored = absolute.trim_start_matches('/');
        for (day, wanted) in [(1, "u1"), (2, "u2")] {
            assert_eq!(
                text(&sandbox, day, &format!("{stored}/u")).as_deref(),
                Some(wanted),
                "{source}, day {day}"
            );
        }
        let outcome = within(&["backup", "./storage/data", source]);
        assert!(!outcome.all().contains("becomes a full"), "{}", outcome.all());
    }
}

#[test]
fn an_import_makes_the_repository() {
    if !has("tar") {
        return;
    }
    let sandbox = story().sandbox;
    let run = |args: &[&str], variables: bool| {
        let mut command = sandbox.bin();
        command.args(args);
        if variables {
            command.env("INCREMENTAL_BACKUP_PATH", "old").env("APP_DATA_PATH", "app/storage/data");
        }
        finish(command, b"")
    };
    // Only a repository that the variables alone name is created without a request.
    run(&["-r", "new", "import", "--legacy", "old"], false).expect(10);
    run(&["-r", "new", "import", "--legacy", "old", "--init", "--no-encryption", "-n"], false).expect(2);
    run(&["-r", "new", "import", "--legacy", "old", "--init", "--no-encryption"], false).expect(0);
    run(&["import", "--legacy", "old"], true).expect(0);
    let listed = run(&["-r", "old", "snapshots"], false).expect(0).text();
    assert!(listed.contains("5 snapshots"), "{listed}");
}

/// Removes the first snapshot, and all data that only it needs, right before the session of the second.
#[test]
fn import_does_not_build_on_a_collected_parent() {
    if !has("tar") {
        return;
    }
    let sandbox = story().sandbox;
    let hooked = Arc::new(Hooked::default());
    let library = Library::on(Arc::clone(&hooked) as Arc<dyn Storage>, None);
    let repo = library.open();
    for nth in 0..2 {
        hooked.before(Act::Create, ObjectKind::Sessions, move |store, _| {
            if nth == 1 {
                for area in [ObjectKind::Snapshots, ObjectKind::Packs] {
                    for found in store.list(area).unwrap() {
                        store.remove(area, &found.name).unwrap();
                    }
                }
            }
        });
    }
    let options = LegacyOptions { dir: sandbox.path("old"), ..LegacyOptions::default() };
    let why = import::run_legacy(&repo, &options, &Control::default()).unwrap_err().chain();
    assert!(why.contains("was removed in the meantime"), "{why}");
    assert_eq!(library.snapshots(), []);
    // The next run completes it.
    let done = import::run_legacy(&library.open(), &options, &Control::default()).unwrap();
    assert_eq!((done.imported, done.problems), (5, Vec::new()));
    assert_eq!(library.errors(), Vec::<String>::new());
}

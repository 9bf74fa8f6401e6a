//! Directories that are past states of the same data become snapshots, and what they share is read once.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::run;
use crate::support::trace::under_strace;
use crate::support::{Random, Sandbox, assert_same, chmod, compare_trees, finish};

/// States below `rs/`, as rsnapshot has them: each consists of hard links to the previous one, with changes.
struct Rsnapshot {
    sandbox: Sandbox,
    /// The number of states.
    days: u32,
}

impl Rsnapshot {
    fn new() -> Self {
        let sandbox = Sandbox::open();
        fs::create_dir_all(sandbox.path("rs/daily.0")).unwrap();
        Self { sandbox, days: 0 }
    }

    fn newest(&self) -> PathBuf {
        self.sandbox.path("rs/daily.0")
    }

    /// Replaces a file by a new inode, as rsync does.
    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.newest().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // The file may exist, linked to other states.
        let _ = fs::remove_file(&path);
        fs::write(path, bytes).unwrap();
    }

    /// Completes the newest state: its mtime is the time of the backup.
    fn finish_day(&mut self) {
        self.days += 1;
        touch(&self.newest(), &format!("2026-03-{:02}T03:00:00Z", self.days));
    }

    /// Rotates, and begins the next state with links to all files of the last.
    fn next_day(&mut self) {
        for number in (0..self.days).rev() {
            let place = |number: u32| self.sandbox.path(&format!("rs/daily.{number}"));
            fs::rename(place(number), place(number + 1)).unwrap();
        }
        run("cp", &["-al", "rs/daily.1", "rs/daily.0"], &self.sandbox.path("."));
    }

    fn import(&self, args: &[&str]) -> Value {
        self.sandbox.ok(&[&["import", "trees", "rs", "--as", "/data", "--json"], args].concat()).summary()
    }

    fn snapshots(&self) -> Vec<Value> {
        self.sandbox.ok(&["--json", "snapshots"]).json().as_array().unwrap().clone()
    }

    /// Every snapshot must restore to its state.
    fn assert_all_restore(&self) {
        let snapshots = self.snapshots();
        assert_eq!(snapshots.len(), self.days as usize);
        for (number, snapshot) in (0..self.days).rev().zip(&snapshots) {
            let restored = self.sandbox.restore(snapshot["id"].as_str().unwrap(), &[]);
            assert_same(&self.sandbox.path(&format!("rs/daily.{number}")), &restored.join("data"));
        }
    }
}

fn touch(path: &Path, time: &str) {
    assert!(Command::new("touch").args(["-h", "-d", time]).arg(path).status().unwrap().success());
}

/// States of forty files, each with changed, added, removed and renamed ones.
fn rsnapshot(days: u64) -> Rsnapshot {
    let mut all = Rsnapshot::new();
    for number in 0..40 {
        all.write(&format!("dir {}/{number}", number % 3), &Random::new(number).bytes(1000));
    }
    all.finish_day();
    for day in 1..days {
        all.next_day();
        all.write("dir 0/0", &Random::new(100 + day).bytes(1000));
        all.write(&format!("dir 1/new {day}"), &Random::new(200 + day).bytes(1000));
        fs::remove_file(all.newest().join(format!("dir 2/{}", day * 3 + 2))).unwrap();
        fs::rename(
            all.newest().join(format!("dir 1/{}", day * 3 + 1)),
            all.newest().join(format!("dir 1/was {day}")),
        )
        .unwrap();
        all.finish_day();
    }
    all
}

#[test]
fn linked_states_are_read_once_and_each_restores() {
    let all = rsnapshot(10);
    let command = all.sandbox.command(&["import", "trees", "rs", "--as", "/data", "--json"]);
    let log = all.sandbox.path("opened");
    let traced = under_strace(&command, &["-y", "-e", "trace=openat", "-o", log.to_str().unwrap()]);
    let outcome = finish(traced.unwrap_or(command), b"").expect(0);
    let summary = outcome.summary();
    // Forty files, and for each further day one changed and one new file.
    assert_eq!(summary["bytes_read"], (40 + 9 * 2) * 1000, "{summary}");
    assert_eq!((&summary["imported"], &summary["skipped"]), (&10.into(), &0.into()));
    if let Ok(log) = fs::read_to_string(log) {
        // A call that is interrupted by others has a second line.
        let is_call = |line: &str| line.contains("openat(") && line.contains("/rs/daily.");
        let is_file = |line: &&str| is_call(line) && !line.contains("O_DIRECTORY");
        assert_eq!(log.lines().filter(is_file).count(), 58, "no file is opened that is not read");
    }
    let snapshots = all.snapshots();
    let parents: Vec<&Value> =
        snapshots.iter().map(|one| one.get("parent").unwrap_or(&Value::Null)).collect();
    let ids: Vec<&Value> = snapshots.iter().map(|one| &one["id"]).collect();
    assert_eq!(
        (parents[0], &parents[1..]),
        (&Value::Null, &ids[..9]),
        "each has the one before as its parent"
    );
    let counts = |one: &Value| {
        ["files_new", "files_changed", "files_unmodified"].map(|name| one["summary"][name].as_u64().unwrap())
    };
    assert_eq!(counts(&snapshots[0]), [40, 0, 0]);
    assert_eq!(counts(&snapshots[1]), [2, 1, 37], "a renamed file is new, and not read");
    all.assert_all_restore();
    all.sandbox.assert_clean();
}

#[test]
fn a_second_import_adds_what_is_new_and_reads_nothing_else() {
    let mut all = rsnapshot(4);
    all.import(&[]);
    let before = all.sandbox.listing();
    let again = all.import(&[]);
    assert_eq!(
        (&again["imported"], &again["skipped"], &again["bytes_read"]),
        (&0.into(), &4.into(), &0.into())
    );
    assert_eq!(all.sandbox.listing(), before, "nothing is written");
    // Linking and rotating gives every file another ctime and every state another name.
    all.next_day();
    all.write("dir 0/0", &[7; 1234]);
    all.finish_day();
    let next = all.import(&[]);
    assert_eq!(
        (&next["imported"], &next["skipped"], &next["bytes_read"]),
        (&1.into(), &4.into(), &1234.into())
    );
    let unchanged_dirs = all.snapshots()[4]["summary"]["dirs_unmodified"].clone();
    assert_eq!(
        unchanged_dirs, 2,
        "entries of what did not change are equal, whatever the ctimes of the copies are"
    );
    all.assert_all_restore();
}

#[test]
fn everything_in_a_state_is_restored() {
    let mut all = Rsnapshot::new();
    all.write("a/one", b"same");
    all.write("a/lonely", b"alone");
    let newest = all.newest();
    fs::hard_link(newest.join("a/one"), newest.join("a/two")).unwrap();
    fs::write(newest.join(OsStr::from_bytes(b"caf\xe9\n")), "not UTF-8").unwrap();
    symlink("nowhere", newest.join("dangling")).unwrap();
    run("mkfifo", &["pipe"], &newest);
    fs::create_dir(newest.join("empty")).unwrap();
    let holes = fs::File::create(newest.join("holes")).unwrap();
    holes.set_len(1 << 20).unwrap();
    holes.write_all_at(b"data", 512 << 10).unwrap();
    let has_xattrs = Command::new("setfattr")
        .args(["-n", "user.note", "-v", "kept"])
        .arg(newest.join("a/lonely"))
        .status()
        .is_ok_and(|status| status.success());
    chmod(&newest.join("a"), 0o2750);
    touch(&newest.join("a/lonely"), "@1.000000001");
    touch(&newest.join("a"), "@86400.5");
    all.finish_day();
    all.next_day();
    // One of the two names is removed. The other is linked to the previous state, and to nothing in its own.
    fs::remove_file(all.newest().join("a/two")).unwrap();
    touch(&all.newest().join("a"), "@86400.5");
    all.finish_day();
    all.import(&[]);
    all.assert_all_restore();
    let links = |selector: &str| {
        let list = all.sandbox.ok(&["--json", "ls", selector, "-l"]).text();
        list.lines().filter(|line| line.contains("hard_link") || line.contains("\"links\"")).count()
    };
    assert_eq!(links("latest~1"), links("latest"), "the listing has the same form for both");
    if has_xattrs {
        let restored = all.sandbox.restore("latest", &[]).join("data/a/lonely");
        let output = Command::new("getfattr")
            .args(["-n", "user.note", "--only-values"])
            .arg(restored)
            .output()
            .unwrap();
        assert_eq!(output.stdout, b"kept", "a linked file that is not read again keeps its attributes");
    }
    let difference = all.sandbox.ok(&["diff", "latest~1", "latest"]).text();
    assert!(difference.contains("two") && !difference.contains("lonely"), "{difference}");
}

#[test]
fn states_are_compared_by_path_size_and_mtime_unless_reread() {
    let sandbox = Sandbox::open();
    for (day, text) in [("2026-03-01", "old"), ("2026-03-02", "new")] {
        let dir = sandbox.path("states").join(day);
        fs::create_dir_all(&dir).unwrap();
        for name in ["kept", "touched"] {
            fs::write(dir.join(name), text).unwrap();
            touch(&dir.join(name), "@1000");
        }
        touch(&dir.join("touched"), if text == "old" { "@1000" } else { "@1000.000000001" });
    }
    let import = |host: &str, more: &[&str]| {
        let args = ["import", "trees", "states", "--children", "--as", "/x", "--json", "--host", host];
        sandbox.ok(&[&args, more].concat()).summary()["bytes_read"].clone()
    };
    assert_eq!(
        import("a", &[]),
        9,
        "two files of the first state, and the one whose mtime differs of the second"
    );
    let text =
        |host: &str, name: &str| sandbox.ok(&["cat", "--host", host, &format!("latest:x/{name}")]).text();
    assert_eq!((text("a", "kept"), text("a", "touched")), ("old".to_owned(), "new".to_owned()));
    assert_eq!(import("b", &["--reread"]), 12);
    assert_eq!((text("b", "kept"), text("b", "touched")), ("new".to_owned(), "new".to_owned()));
}

#[test]
fn killed_import_continues() {
    let all = rsnapshot(4);
    let mut command = all.sandbox.command(&["import", "trees", "rs", "--as", "/data", "--json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let first = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let is_saved = |line: &String| line.contains("\"imported\"");
    assert!(first.into_iter().any(|line| is_saved(&line)), "it said that a state is saved");
    child.kill().unwrap();
    child.wait().unwrap();
    let there = all.snapshots();
    assert!(!there.is_empty());
    assert!(there.iter().all(|one| one["partial"] == false), "half a state is no snapshot: {there:?}");
    let rest = all.import(&[]);
    assert_eq!(rest["skipped"], there.len(), "{rest}");
    all.assert_all_restore();
    all.sandbox.assert_clean();
}

#[test]
fn states_that_are_older_than_what_is_there_have_older_parents() {
    let sandbox = Sandbox::open();
    sandbox.write(&[("a", "now")]);
    let src = sandbox.src();
    let live = sandbox.backup(&["--as", "/data"]);
    for day in ["2026-03-01", "2026-03-02"] {
        fs::create_dir_all(sandbox.path("states").join(day)).unwrap();
        fs::write(sandbox.path("states").join(day).join("a"), day).unwrap();
    }
    let import = ["import", "trees", "states", "--children", "--as", "/data"];
    sandbox.ok(&[&import[..], &["--json"]].concat());
    let listed = sandbox.ok(&["--json", "snapshots"]).json();
    let listed: Vec<_> = listed.as_array().unwrap().iter().collect();
    assert_eq!(listed[2]["id"], live.as_str());
    assert_eq!(
        (listed[0].get("parent").filter(|one| !one.is_null()), &listed[1]["parent"]),
        (None, &listed[0]["id"])
    );
    assert_eq!((&listed[0]["kind"], &listed[1]["kind"]), (&"full".into(), &"incremental".into()));
    // The set is that of the source: the next backup follows the imported snapshots, and its parent is the
    // newest of them.
    fs::write(src.join("a"), "later").unwrap();
    let next = sandbox.backup(&["--as", "/data"]);
    let listed = sandbox.ok(&["--json", "snapshots"]).json();
    let parent =
        listed.as_array().unwrap().iter().find(|one| one["id"] == next.as_str()).unwrap()["parent"].clone();
    assert_eq!(parent, live.as_str());
}

#[test]
fn unreadable_state_is_named_and_others_are_imported() {
    let all = {
        let mut all = Rsnapshot::new();
        all.write("a", b"1");
        all.finish_day();
        all.next_day();
        all.write("b", b"2");
        all.finish_day();
        all
    };
    let exclude =
        all.sandbox.ok(&["import", "trees", "rs", "--as", "/data", "--exclude", "a", "--host", "x"]);
    assert!(exclude.text().contains("2 snapshots were saved"), "{}", exclude.all());
    let restored = all.sandbox.restore("latest", &["--host", "x"]);
    let differences = compare_trees(&all.newest(), &restored.join("data"));
    assert_eq!(differences, ["a: only on the left"]);
    if rustix::process::getuid().is_root() {
        return;
    }
    chmod(&all.sandbox.path("rs/daily.1/a"), 0);
    let outcome = all.sandbox.snap(&["import", "trees", "rs", "--as", "/data"]).expect(3);
    assert!(outcome.stderr.contains("Permission denied"), "{}", outcome.all());
}

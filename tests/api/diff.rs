//! `diff`: each kind of difference.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::{Arc, Mutex};

use crate::support::library::Library;
use crate::support::{Sandbox, chmod};
use snap_backup::Control;
use snap_backup::ops::{backup, diff};
use snap_backup::progress::Event;
use snap_backup::storage::memory::MemoryStorage;

/// Creates two snapshots with every kind of difference between them.
fn changed() -> Sandbox {
    let sandbox = Sandbox::with_tree(&[
        ("same", "1"),
        ("content", "22"),
        ("mode", "3"),
        ("gone", "4"),
        ("deep/same", "5"),
        ("type", "6"),
        ("gone dir/x", "7"),
        ("linked", "8"),
        ("linked too", "8"),
    ]);
    symlink("here", sandbox.path("src/link")).unwrap();
    sandbox.backup(&[]);
    let src = sandbox.src();
    sandbox.write(&[("content", "2!"), ("new dir/y", "9")]);
    for name in ["gone", "type", "link", "linked too"] {
        fs::remove_file(src.join(name)).unwrap();
    }
    fs::remove_dir_all(src.join("gone dir")).unwrap();
    fs::create_dir(src.join("type")).unwrap();
    symlink("there", src.join("link")).unwrap();
    fs::hard_link(src.join("linked"), src.join("linked too")).unwrap();
    chmod(&src.join("mode"), 0o600);
    sandbox.backup(&[]);
    sandbox
}

const DIFFERENCES: [&str; 10] = [
    "M    content",
    "-    gone",
    "-    gone dir/",
    "-    gone dir/x",
    "M    link",
    "U    linked too",
    "U    mode",
    "+    new dir/",
    "+    new dir/y",
    "T    type/",
];

fn lines(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| line.get(1..5) == Some("    "));
    // Times that change as a side effect: those of the directory, and of the second name of a file.
    lines.map(str::to_owned).collect()
}

#[test]
fn every_kind_of_difference_has_its_letter() {
    let sandbox = changed();
    let outcome = sandbox.ok(&["diff", "latest~1:src", "latest:src"]);
    assert_eq!(lines(&outcome.text()), DIFFERENCES, "{}", outcome.all());
    assert!(outcome.text().contains("+ added:            1 file and 1 directory"), "{}", outcome.text());
    let back = lines(&sandbox.ok(&["diff", "latest:src", "latest~1:src"]).text());
    assert!(
        back.contains(&"+    gone dir/x".to_owned()) && back.contains(&"-    new dir/y".to_owned()),
        "{back:?}"
    );
    let plain = lines(&sandbox.ok(&["diff", "--no-metadata", "latest~1:src", "latest:src"]).text());
    assert!(!plain.iter().any(|line| line.starts_with('U')) && plain.len() == 8, "{plain:?}");
    let wordy = sandbox.ok(&["diff", "-v", "latest~1:src", "latest:src"]).text();
    assert!(wordy.contains("U    mode (mode)"), "{wordy}");
    assert!(wordy.contains("links"), "{wordy}");
}

#[test]
fn equal_trees_have_no_differences() {
    let sandbox = changed();
    assert_eq!(sandbox.ok(&["diff", "latest", "latest"]).text().trim(), "no difference");
    let directory = sandbox.ok(&["diff", "latest:src", "src"]);
    assert_eq!(directory.text().trim(), "no difference", "{}", directory.all());
    let restored = sandbox.restore("latest", &[]);
    let outcome = sandbox.ok(&["diff", "latest", restored.to_str().unwrap()]);
    assert_eq!(outcome.text().trim(), "no difference", "{}", outcome.all());
}

#[test]
fn a_live_directory_is_read_whatever_its_times_say() {
    let sandbox = changed();
    // Compares the first snapshot with the current directory: the differences are those between the two
    // snapshots.
    let outcome = sandbox.ok(&["diff", "latest~1:src", "./src"]);
    let mut wanted = DIFFERENCES.map(str::to_owned).to_vec();
    wanted.sort();
    let mut found = lines(&outcome.text());
    found.sort();
    assert_eq!(found, wanted, "{}", outcome.all());
    // Other content with the same size and times.
    let path = sandbox.path("src/same");
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "!").unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(before).unwrap();
    let outcome = sandbox.ok(&["diff", "latest:src", "./src"]);
    assert_eq!(lines(&outcome.text()), ["M    same"], "{}", outcome.all());
}

#[test]
fn attributes_large_and_small_are_compared_with_live_ones() {
    let sandbox = changed();
    let set = |name: &str, value: &[u8]| {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::lsetxattr(sandbox.path("src/deep/same"), name, value, flags)
    };
    if let Err(why) = set("user.small", b"1") {
        eprintln!("NOT TESTED: no extended attributes here: {why}");
        return;
    }
    set("user.large", &[b'l'; 2000]).unwrap();
    sandbox.backup(&[]);
    let outcome = sandbox.ok(&["diff", "latest:src", "./src"]);
    assert_eq!(outcome.text().trim(), "no difference", "{}", outcome.all());
    for (name, value) in [("user.large", &[b'L'; 2000][..]), ("user.small", b"2")] {
        set(name, value).unwrap();
        let outcome = sandbox.ok(&["diff", "-v", "latest:src", "./src"]);
        assert_eq!(lines(&outcome.text()), ["U    deep/same (xattrs)"], "{}", outcome.all());
        sandbox.backup(&[]);
    }
}

#[test]
fn json_is_one_object_per_line_as_in_restic() {
    let sandbox = changed();
    let outcome = sandbox.ok(&["--json", "diff", "latest~1:src", "latest:src"]);
    let values: Vec<serde_json::Value> =
        outcome.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let changes = values.iter().filter(|value| value["message_type"] == "change").count();
    assert_eq!(changes, DIFFERENCES.len(), "{}", outcome.text());
    let last = values.last().unwrap();
    assert_eq!(last["message_type"], "statistics");
    assert_eq!((last["added"]["files"].as_u64(), last["removed"]["files"].as_u64()), (Some(1), Some(2)));
}

#[test]
fn diff_compares_files_and_refuses_invalid_arguments() {
    let sandbox = changed();
    let outcome = sandbox.ok(&["diff", "latest~1:src/content", "latest:src/content"]);
    assert_eq!(lines(&outcome.text()), ["M    file"], "{}", outcome.all());
    sandbox.snap(&["diff", "latest:src", "./src/same"]).expect(2);
    sandbox.snap(&["diff", "latest:src", "/nowhere/at/all"]).expect(1);
    sandbox.snap(&["diff", "latest:nothing", "src"]).expect(1);
    sandbox.snap(&["diff", "latest"]).expect(2);
}

#[test]
fn directories_that_are_the_same_are_not_opened() {
    let library = Library::on(Arc::new(MemoryStorage::default()), None);
    for dir in 0..20 {
        library.write("src", &[(&format!("{dir}/below/file"), b"1")]);
    }
    library.backup("src", backup::Options::default());
    library.write("src", &[("7/below/file", b"22")]);
    library.backup("src", backup::Options::default());
    let seen = Mutex::new(Vec::new());
    let observer = |event: Event<'_>| {
        if let Event::Working { path } = event {
            seen.lock().unwrap().push(String::from_utf8_lossy(path).into_owned());
        }
    };
    let options = diff::Options {
        before: b"latest~1:src".to_vec(),
        after: "latest:src".into(),
        ..diff::Options::default()
    };
    let mut found = Vec::new();
    let mut each = |difference: &diff::Difference<'_>| {
        found.push((difference.path.to_vec(), difference.change));
        Ok(())
    };
    diff::run(&library.open(), &options, &mut each, &Control::new(&observer)).unwrap();
    assert_eq!(found, [(b"7/below/file".to_vec(), diff::DifferenceKind::Content)]);
    let below: Vec<_> = seen.into_inner().unwrap().into_iter().filter(|path| path.contains('/')).collect();
    assert_eq!(below, ["7/below", "7/below/file"]);
}

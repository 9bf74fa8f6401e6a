//! Restores over an existing tree: what is listed, written and left alone.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::watch::Watch;
use super::{craft, is_root, restore, summary};
use crate::support::{Random, Sandbox, assert_same, chmod};

/// Creates an entry of every type that any user can create.
fn everything() -> Sandbox {
    let sandbox = Sandbox::with_tree(&[("a", "1"), ("d/b", "22"), ("d/empty", ""), ("e/", "")]);
    let src = sandbox.src();
    fs::write(src.join("big"), Random::new(5).bytes(3 << 20)).unwrap();
    fs::hard_link(src.join("a"), src.join("d/hard")).unwrap();
    symlink("../a", src.join("d/link")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, src.join("pipe"), rustix::fs::FileType::Fifo, 0o640.into(), 0)
        .unwrap();
    chmod(&src.join("d/b"), 0o600);
    chmod(&src.join("e"), 0o1777);
    sandbox.backup(&[]);
    sandbox
}

#[test]
fn restore_onto_itself_writes_nothing() {
    let sandbox = everything();
    let target = sandbox.restore("latest", &[]);
    for args in [&[][..], &["--overwrite", "if-changed"], &["--verify"], &["--delete"], &["--sparse"]] {
        let mut watch = Watch::of(&target);
        let summary = summary(&sandbox, &target, args);
        assert!(watch.is_calm(), "{args:?}: something was touched");
        for (name, number) in [("bytes_restored", 0), ("unchanged", 7), ("created", 0), ("updated", 0)] {
            assert_eq!(summary[name], number, "{args:?}: {name}");
        }
    }
    assert_same(&sandbox.src(), &target.join("src"));
}

#[test]
fn a_dry_run_lists_what_would_happen_and_touches_nothing() {
    let sandbox = everything();
    let absent = sandbox.path("absent");
    let listed = restore(&sandbox, &absent, &["-n"]).expect(0).text();
    assert!(!absent.exists(), "a dry run made its target");
    for line in ["created   src (", "created   src/d/b (2 B)", "created   src/pipe (", "7 created"] {
        assert!(listed.contains(line), "{line} in {listed}");
    }

    let target = sandbox.restore("latest", &[]);
    let root = target.join("src");
    fs::write(root.join("d/b"), "other").unwrap();
    fs::remove_file(root.join("d/empty")).unwrap();
    fs::remove_file(root.join("d/link")).unwrap();
    symlink("elsewhere", root.join("d/link")).unwrap();
    chmod(&root.join("pipe"), 0o600);
    fs::create_dir(root.join("more")).unwrap();
    fs::write(root.join("more/x"), "").unwrap();
    let mut watch = Watch::of(&target);
    let listed = restore(&sandbox, &target, &["-n", "-v", "--delete"]).expect(0).text();
    assert!(watch.is_calm(), "a dry run touched its target");
    let lines = [
        "updated   src/d/b (2 B)",
        "created   src/d/empty (0 B)",
        "updated   src/d/link (0 B)",
        "updated   src/pipe (0 B)",
        "unchanged src/a (1 B)",
        "unchanged src/d/hard (1 B)",
        "deleted   src/more/x (0 B)",
        "deleted   src/more (0 B)",
        "1 created, 3 updated, 3 unchanged, 0 kept, 2 deleted; 2 B to write",
    ];
    for line in lines {
        assert!(listed.contains(line), "{line} in {listed}");
    }
    let told = summary(&sandbox, &target, &["-n", "--delete"]);
    let done = summary(&sandbox, &target, &["--delete"]);
    for name in ["created", "updated", "unchanged", "kept", "files_deleted", "bytes_restored"] {
        assert_eq!(told[name], done[name], "{name} was foretold wrong");
    }
    assert_same(&sandbox.src(), &root);
}

/// Gives a file other bytes of the same length, and a time that differs by so many seconds from that of the
/// snapshot.
fn alter(path: &Path, original: &Path, text: &str, seconds: i64) {
    fs::write(path, text).unwrap();
    let time = fs::metadata(original).unwrap().modified().unwrap();
    let by = Duration::from_secs(seconds.unsigned_abs());
    let time: SystemTime = if seconds < 0 { time - by } else { time + by };
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn each_overwrite_rule_does_what_it_says() {
    let names = ["older", "newer", "alike", "absent"];
    let cases = [
        ("always", ["good", "good", "good", "good"]),
        ("if-changed", ["good", "good", "evil", "good"]),
        ("if-newer", ["good", "evil", "evil", "good"]),
        ("never", ["evil", "evil", "evil", "good"]),
    ];
    let sandbox = Sandbox::with_tree(&names.map(|name| (name, "good")));
    sandbox.backup(&[]);
    for (rule, wanted) in cases {
        let target = sandbox.restore("latest", &[]);
        let file = |name: &str| target.join("src").join(name);
        for (name, seconds) in [("older", -60), ("newer", 60), ("alike", 0)] {
            alter(&file(name), &sandbox.src().join(name), "evil", seconds);
        }
        fs::remove_file(file("absent")).unwrap();
        let kept = wanted.iter().filter(|text| **text == "evil").count();
        let told = summary(&sandbox, &target, &["--overwrite", rule, "-n"]);
        let done = summary(&sandbox, &target, &["--overwrite", rule]);
        assert_eq!((&told["kept"], &told["updated"]), (&done["kept"], &done["updated"]), "{rule}");
        if rule != "if-changed" {
            assert_eq!(done["kept"], kept, "{rule}");
        }
        for (name, text) in names.iter().zip(wanted) {
            assert_eq!(fs::read_to_string(file(name)).unwrap(), text, "{rule}: {name}");
        }
    }
}

#[test]
fn a_kept_hard_link_makes_no_other_name_its_own() {
    let sandbox = Sandbox::with_tree(&[("a", "good")]);
    for name in ["b", "c"] {
        fs::hard_link(sandbox.src().join("a"), sandbox.src().join(name)).unwrap();
    }
    sandbox.backup(&[]);
    let target = sandbox.new_target();
    fs::create_dir(target.join("src")).unwrap();
    fs::write(target.join("src/a"), "evil").unwrap();
    summary(&sandbox, &target, &["--overwrite", "never"]);
    let read = |name: &str| fs::read_to_string(target.join("src").join(name)).unwrap();
    assert_eq!([read("a"), read("b"), read("c")], ["evil", "good", "good"]);
    let inode = |name: &str| fs::metadata(target.join("src").join(name)).unwrap().ino();
    assert_eq!(inode("b"), inode("c"));
}

#[test]
fn metadata_alone_is_set_without_writing_bytes() {
    let sandbox = Sandbox::with_tree(&[("a", "1"), ("d/b", "2")]);
    sandbox.backup(&[]);
    let target = sandbox.restore("latest", &[]);
    chmod(&target.join("src/a"), 0o600);
    chmod(&target.join("src/d"), 0o700);
    alter(&target.join("src/d/b"), &sandbox.src().join("d/b"), "2", 9);
    let inode = fs::metadata(target.join("src/a")).unwrap().ino();
    let done = summary(&sandbox, &target, &[]);
    assert_eq!((&done["bytes_restored"], &done["updated"]), (&0.into(), &2.into()));
    assert_eq!(fs::metadata(target.join("src/a")).unwrap().ino(), inode, "it was made anew");
    assert_same(&sandbox.src(), &target.join("src"));
}

#[test]
fn read_back_bytes_are_compared() {
    let sandbox = Sandbox::with_tree(&[("a", "good"), ("b", "good")]);
    sandbox.backup(&[]);
    let target = sandbox.restore("latest", &[]);
    alter(&target.join("src/a"), &sandbox.src().join("a"), "evil", 0);
    // Size and time of the file are right, so it is trusted. Only reading it shows the difference.
    let outcome = restore(&sandbox, &target, &["--overwrite", "if-changed", "--verify"]).expect(3);
    assert!(outcome.stderr.contains("src/a"), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("src/b"), "{}", outcome.stderr);
    restore(&sandbox, &target, &["--verify"]).expect(0);
}

/// Owners are set by name if this machine knows the name, otherwise by number.
#[test]
fn owners_are_restored_by_name_number_or_not_at_all() {
    let here = uzers::get_user_by_name("daemon").zip(uzers::get_group_by_name("daemon"));
    let (true, Some((user, group))) = (is_root("give files away"), here) else { return };
    let sandbox = Sandbox::open();
    craft::snapshot(&craft::open(&sandbox), craft::counts(2, 0, 8), |craft| {
        let entry = |name: &str, owner: &str, craft: &mut craft::Craft<'_, '_>| {
            let mut entry = craft::file(name, &[craft.data(b"good")]);
            (entry.meta.mode, entry.meta.uid, entry.meta.gid) = (0o6755, 4242, 4343);
            (entry.meta.user, entry.meta.group) = (Some(owner.into()), Some(owner.into()));
            entry
        };
        let all = [entry("known", "daemon", craft), entry("unknown", "nobody has such a name", craft)];
        craft.dir(&all)
    });
    let (by_name, by_number) = ((user.uid(), group.gid(), 0o6755), (4242, 4343, 0o6755));
    let cases: [(&[&str], _, _); 3] = [
        (&[], by_name, by_number),
        (&["--numeric-ids"], by_number, by_number),
        // The user who runs this must not find programs that run as that user.
        (&["--no-owner"], (0, 0, 0o755), (0, 0, 0o755)),
    ];
    for (args, known, unknown) in cases {
        let target = sandbox.restore("latest", args);
        for (name, wanted) in [("known", known), ("unknown", unknown)] {
            let found = fs::metadata(target.join(name)).unwrap();
            assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), wanted, "{args:?}: {name}");
        }
    }
}

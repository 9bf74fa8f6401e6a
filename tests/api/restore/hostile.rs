//! Hostile repositories, and targets that change during a restore.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use snap_backup::codec::wire;
use snap_backup::model::entry::{Content, ContentPart, Entry, Kind, Time, Xattr, XattrValue, attrs};
use snap_backup::model::id::ChunkId;
use snap_backup::model::manifest::Counts;

use super::craft::{Craft, counts, dir, entry, file, listing};
use super::{craft, restore};
use crate::support::{Outcome, Sandbox};

/// A sandbox with such a snapshot.
fn hostile(counts: Counts, build: impl FnOnce(&mut Craft<'_, '_>) -> ChunkId) -> Sandbox {
    let sandbox = Sandbox::open();
    craft::snapshot(&craft::open(&sandbox), counts, build);
    sandbox
}

/// Restores with limited memory. It must report an error that names `what`.
fn refused(sandbox: &Sandbox, what: &str) -> Outcome {
    let outcome = limited(sandbox, &["restore", "latest", "--target", "out"]).expect_one_of(&[1, 20]);
    assert!(outcome.stderr.contains(what), "{what} is not named in {}", outcome.stderr);
    outcome
}

/// All other commands that read the snapshot report it, too, and no archive is left behind.
fn refused_by_all(sandbox: &Sandbox, what: &str) {
    for args in
        [&["export", "latest", "-o", "a.tar"][..], &["ls", "-R", "latest"], &["diff", "latest", "./src"]]
    {
        let outcome = limited(sandbox, args).expect_one_of(&[1, 20]);
        assert!(outcome.stderr.contains(what), "{args:?}: {what} is not named in {}", outcome.stderr);
    }
    assert!(!sandbox.path("a.tar").exists(), "{what}: half an archive");
}

/// Runs with a limit on address space and processor time.
fn limited(sandbox: &Sandbox, args: &[&str]) -> Outcome {
    let snap = sandbox.command(args);
    let mut command = std::process::Command::new("sh");
    command.arg("-c").arg("ulimit -v 2000000 && ulimit -t 90 && exec \"$0\" \"$@\"").arg(snap.get_program());
    command.args(snap.get_args()).current_dir(snap.get_current_dir().unwrap()).env_clear();
    command.envs(snap.get_envs().filter_map(|(name, value)| Some((name, value?))));
    crate::support::finish(command, b"")
}

#[test]
fn names_that_leave_the_target_are_refused_and_named() {
    let cases: [(&str, &[u8], &[u8], &str); 8] = [
        ("@@", b"\x02@@", b"\x02..", ".."),
        ("@", b"\x01@", b"\x01.", "\".\""),
        ("@@@@@@@", b"@@@@@@@", b"../evil", "../evil"),
        ("@@@@@@@@", b"@@@@@@@@", b"/tmp/abc", "/tmp/abc"),
        ("@@@@", b"@@@@", b"a\0bc", "a\\0bc"),
        ("@@", b"\x02@@", b"\x00", "\"\""),
        ("@z", b"@z", b"aa", "aa"),
        ("@z", b"@z", b"zz", "out of order"),
    ];
    for (name, from, to, shown) in cases {
        let sandbox = hostile(counts(9, 9, 99), |craft| {
            let evil = craft.data(b"evil");
            let inner =
                craft.forged(&[file(name, &[evil]), file("aa", &[evil]), file("bb", &[evil])], from, to);
            craft.dir(&[dir("inside", inner), file("sound", &[evil])])
        });
        refused(&sandbox, shown);
        assert_eq!(listing(&sandbox.path("out")), ["", "inside", "sound"], "{shown}");
        assert!(!sandbox.path("evil").exists() && !Path::new("/tmp/abc").exists());
        refused_by_all(&sandbox, "inside: ");
        limited(&sandbox, &["check"]).expect(20);
    }
}

/// Each level names the one below it many times.
fn laughs(craft: &mut Craft<'_, '_>, levels: usize, times: usize, last: &[Entry]) -> ChunkId {
    let mut tree = craft.dir(last);
    for _ in 0..levels {
        let kids: Vec<Entry> = (0..times).map(|number| dir(&format!("{number:04}"), tree)).collect();
        tree = craft.dir(&kids);
    }
    tree
}

#[test]
fn endlessly_repeated_tree_is_left_early() {
    let sandbox = hostile(counts(10, 10, 100), |craft| {
        let byte = craft.data(b"x");
        laughs(craft, 6, 50, &[file("f", &[byte])])
    });
    refused(&sandbox, "more entries than the snapshot records");
    assert!(listing(&sandbox.path("out")).len() < 2000);
    refused_by_all(&sandbox, "more entries than the snapshot records");
    limited(&sandbox, &["check"]).expect_one_of(&[0, 20]);
    limited(&sandbox, &["gc"]).expect(0);
}

#[test]
fn sizes_beyond_the_snapshots_counts_are_refused_early() {
    let sandbox = hostile(counts(1, 0, 100), |craft| {
        let hole = file("absurd", &[ContentPart::Hole { len: 1_000_000_000_000_000_000 }]);
        let sound = file("sound", &[craft.data(b"good")]);
        craft.dir(&[hole, sound])
    });
    refused(&sandbox, "absurd");
    assert_eq!(listing(&sandbox.path("out")), ["", "sound"]);
    limited(&sandbox, &["cat", "latest:absurd"]).expect(20);
    refused_by_all(&sandbox, "absurd");
}

/// An index piece with the same child many times.
fn list_of(craft: &mut Craft<'_, '_>, child: ChunkId, times: usize, len: u64) -> ChunkId {
    let kids: Vec<(ChunkId, u64)> = vec![(child, len); times];
    craft.piece(&[&[4], wire::encode(&kids).unwrap().as_slice()].concat())
}

#[test]
fn part_lists_with_wrong_lengths_are_refused_at_once() {
    let lies: [(&str, u64, u64); 3] = [
        // Any number of empty pieces.
        ("empty", 0, 0),
        // Longer than declared.
        ("longer", 1, 1 << 40),
        // Lengths whose sum overflows.
        ("endless", u64::MAX / 4, 1 << 40),
    ];
    for (name, says, size) in lies {
        let sandbox = hostile(counts(2, 0, 1 << 41), |craft| {
            let parts: Vec<ContentPart> =
                if says == 0 { Vec::new() } else { vec![craft.data(b"0123456789")] };
            let mut tree = craft.piece(&[&[3], wire::encode(&parts).unwrap().as_slice()].concat());
            for _ in 0..7 {
                tree = list_of(craft, tree, 100, says);
            }
            let content = Content::List(tree);
            let sound = file("sound", &[craft.data(b"good")]);
            craft.dir(&[entry(name, Kind::File { size, content }), sound])
        });
        refused(&sandbox, name);
        assert_eq!(listing(&sandbox.path("out")), ["", "sound"], "{name}");
        limited(&sandbox, &["check"]).expect(20);
        limited(&sandbox, &["cat", &format!("latest:{name}")]).expect(20);
    }
}

#[test]
fn index_pieces_over_nothing_are_refused() {
    let sandbox = hostile(counts(10, 10, 100), |craft| {
        let mut tree = craft.dir(&[]);
        for _ in 0..7 {
            let kid = |number| (serde_bytes::ByteBuf::from(vec![number]), tree, 0u64);
            let kids: Vec<_> = (1..101u8).map(kid).collect();
            tree = craft.piece(&[&[2], wire::encode(&kids).unwrap().as_slice()].concat());
        }
        craft.dir(&[dir("hollow", tree)])
    });
    refused(&sandbox, "hollow");
    refused_by_all(&sandbox, "hollow");
    limited(&sandbox, &["check"]).expect(20);
}

#[test]
fn a_part_above_16_mib_is_refused_alike_by_all() {
    let sandbox = hostile(counts(2, 1, 1 << 33), |craft| {
        let part = ContentPart::Chunk { id: ChunkId::new([9; 32]), len: (16 << 20) + 1 };
        let inner = craft.dir(&[file("long", &[part])]);
        let good = craft.data(b"good");
        craft.dir(&[dir("inside", inner), file("sound", &[good])])
    });
    refused(&sandbox, "larger than 16 MiB");
    assert_eq!(listing(&sandbox.path("out")), ["", "inside", "sound"]);
    for args in [&["check", "-v"][..], &["cat", "latest:inside/long"]] {
        let outcome = limited(&sandbox, args).expect(20);
        assert!(outcome.all().contains("larger than 16 MiB"), "{args:?}: {}", outcome.all());
    }
    refused_by_all(&sandbox, "inside");
}

#[test]
fn endless_nesting_is_refused() {
    let sandbox = hostile(counts(1, 20_000, 1 << 33), |craft| {
        let mut tree = craft.dir(&[]);
        for _ in 0..10_000 {
            tree = craft.dir(&[dir("d", tree)]);
        }
        craft.dir(&[dir("deep", tree)])
    });
    // What is above is restored.
    let outcome = limited(&sandbox, &["restore", "latest", "--target", "out"]).expect(3);
    assert!(outcome.stderr.contains("deep/d/d") && outcome.stderr.contains("refused"), "{}", outcome.stderr);
    refused_by_all(&sandbox, "deep/d/d");
}

#[test]
fn a_value_longer_than_it_says_is_refused() {
    let sandbox = hostile(counts(1, 0, 9), |craft| {
        let ContentPart::Chunk { id, .. } = craft.data(&[7; 500_000]) else { panic!("no chunk") };
        let content = Content::Parts(vec![ContentPart::Chunk { id, len: 9 }]);
        let mut long = file("long", &[craft.data(b"good")]);
        long.meta.xattrs =
            vec![Xattr { name: b"user.x".to_vec(), value: XattrValue::Content { size: 9, content } }];
        craft.dir(&[long])
    });
    refused(&sandbox, "long");
    let outcome = limited(&sandbox, &["export", "latest", "-o", "a.tar"]).expect(20);
    assert!(outcome.stderr.contains("long"), "{}", outcome.stderr);
}

/// Values of a directory, a link and a device that no system accepts.
#[test]
fn invalid_attributes_harm_nothing() {
    let sandbox = hostile(counts(5, 1, 100), |craft| {
        let mut odd = file("odd", &[craft.data(b"good")]);
        odd.meta.mode = u32::MAX;
        odd.meta.mtime = Time { sec: i64::MAX, nanos: 999_999_999 };
        odd.meta.attrs = !attrs::LOCKS;
        let mut named = file("named", &[craft.data(b"good")]);
        named.meta.xattrs = [&b"../../x"[..], b"system.nothing", b"user."]
            .map(|name| Xattr { name: name.to_vec(), value: XattrValue::Inline(b"v".to_vec()) })
            .to_vec();
        let mut huge = file("valued", &[craft.data(b"good")]);
        let content = Content::Parts(vec![ContentPart::Hole { len: 60_000 }]);
        huge.meta.xattrs =
            vec![Xattr { name: b"user.huge".to_vec(), value: XattrValue::Content { size: 60_000, content } }];
        let empty = craft.dir(&[]);
        let mut below = dir("a", empty);
        (below.meta.mode, below.meta.mtime.sec) = (u32::MAX, i64::MIN);
        let mut to_nothing = entry("to", Kind::Symlink { target: b"a\0b".to_vec() });
        to_nothing.meta.link = 1;
        craft.dir(&[below, named, odd, to_nothing, huge])
    });
    let outcome = limited(&sandbox, &["restore", "latest", "--target", "out"]);
    outcome.expect_one_of(&[0, 1, 3, 20]);
    let found = listing(&sandbox.path("out"));
    assert!(
        found.iter().all(|name| ["", "a", "named", "odd", "valued", "to"].contains(&name.as_str())),
        "{found:?}"
    );
    limited(&sandbox, &["export", "latest", "-o", "a.tar"]).expect_one_of(&[0, 1, 20]);
}

#[test]
fn links_inside_the_path_are_not_followed() {
    let sandbox = Sandbox::with_tree(&[("d/e/f", "good"), ("g", "good")]);
    sandbox.backup(&[]);
    let outside = sandbox.path("outside");
    for place in ["src", "src/d", "src/d/e", "src/d/e/f", "src/g"] {
        let target = sandbox.restore("latest", &[]);
        fs::create_dir_all(outside.join("e")).unwrap();
        fs::write(outside.join("f"), "theirs").unwrap();
        let at = target.join(place);
        if at.is_dir() {
            fs::remove_dir_all(&at).unwrap();
            symlink(&outside, &at).unwrap();
        } else {
            fs::remove_file(&at).unwrap();
            symlink(outside.join("f"), &at).unwrap();
        }
        let before = listing(&outside);
        // It may be known only to be a link to a directory. It is neither followed nor replaced.
        let (is_dir, code) = if at.is_dir() { (true, 3) } else { (false, 0) };
        for args in [&["-n", "--delete"][..], &["--delete", "--verify"]] {
            let outcome = restore(&sandbox, &target, args).expect(code);
            assert!(!is_dir || outcome.stderr.contains(&format!("{place}: ")), "{}", outcome.stderr);
        }
        assert_eq!(listing(&outside), before, "{place}");
        assert_eq!(fs::read(outside.join("f")).unwrap(), b"theirs", "{place}");
        assert_eq!(at.is_symlink(), is_dir, "{place}");
        if !is_dir {
            crate::support::assert_same(&sandbox.src(), &target.join("src"));
        }
    }
}

#[test]
fn directory_swapped_for_a_link_redirects_no_write() {
    let sandbox = Sandbox::open();
    for number in 0..400 {
        sandbox.write(&[(&format!("d/e/{number}"), "good"), (&format!("d/{number}"), "good")]);
    }
    sandbox.backup(&[]);
    let (target, outside) = (sandbox.new_target(), sandbox.path("outside"));
    fs::create_dir_all(outside.join("e")).unwrap();
    fs::write(outside.join("e/5"), "theirs").unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (dir, aside) = (target.join("src/d"), target.join("src/aside"));
            while !done.load(Ordering::Relaxed) {
                if fs::rename(&dir, &aside).is_ok() {
                    symlink(&outside, &dir).ok();
                    std::thread::yield_now();
                    fs::remove_file(&dir).ok();
                    fs::rename(&aside, &dir).ok();
                }
            }
        });
        for args in [&[][..], &["--overwrite", "if-changed"], &["--delete"], &["--verify"]] {
            for _ in 0..5 {
                restore(&sandbox, &target, args).expect_one_of(&[0, 1, 3]);
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(listing(&outside), ["", "e", "e/5"], "something got out");
    assert_eq!(fs::read(outside.join("e/5")).unwrap(), b"theirs");
    let found = fs::metadata(&outside).unwrap();
    assert!(found.mode() & 0o777 == 0o755 && found.mtime() != 0);
}

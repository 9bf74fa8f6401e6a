//! Every kind of harm to every kind of object: it is found, it is named, and nothing wrong is restored silently.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use support::Random;
use support::Sandbox;
use support::chmod;
use support::files_below;
use support::finish;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Harm {
    FlipMiddle,
    Truncate,
    Swap,
    Delete,
}

const HARMS: [Harm; 4] = [Harm::FlipMiddle, Harm::Truncate, Harm::Swap, Harm::Delete];
/// What a run on a repository that lost an object may say: it cannot know of all of them.
const LOST: &[i32] = &[0, 10, 12, 20];

#[test]
fn a_damaged_data_pack_is_named_and_no_wrong_byte_is_restored() {
    for harm in HARMS {
        let sandbox = sandbox();
        let packs = by_size(&sandbox, "packs");
        let (victim, other) = (packs.last().unwrap(), packs.first().unwrap());
        apply(harm, victim, other);
        let report = sandbox.snap(&["check", "--read-data"]).expect(20).all();
        // A pack that is gone has no name any more: what needed it has.
        assert!(harm == Harm::Delete || report.contains(&name(victim)), "{harm:?}: {report}");
        sandbox.snap(&["snapshots"]).expect(0);
        if harm != Harm::Swap {
            assert_honest_restore(harm, &sandbox);
        }
    }
}

#[test]
fn a_damaged_tree_pack_is_named() {
    for harm in HARMS {
        let sandbox = sandbox();
        let packs = by_size(&sandbox, "packs");
        let (victim, other) = (packs.first().unwrap(), packs.last().unwrap());
        apply(harm, victim, other);
        let report = sandbox.snap(&["check", "--read-data"]).expect(20).all();
        assert!(harm == Harm::Delete || report.contains(&name(victim)), "{harm:?}: {report}");
        sandbox.snap(&["snapshots"]).expect(0);
    }
}

#[test]
fn a_damaged_snapshot_is_named_and_the_other_restores() {
    for harm in HARMS {
        let sandbox = sandbox();
        sandbox.write(&[("more", "more")]);
        let second = sandbox.backup(&[]);
        let objects = sandbox.objects("snapshots");
        let victim = objects.iter().find(|path| name(path) != second).unwrap();
        let other = objects.iter().find(|path| name(path) == second).unwrap();
        apply(harm, victim, other);
        let report = sandbox.snap(&["check", "--read-data"]);
        if harm == Harm::Delete {
            report.expect_one_of(LOST);
        } else {
            let report = report.expect(20).all();
            assert!(report.contains(&name(victim)[..8]), "{harm:?}: {report}");
        }
        assert_no_panic(&sandbox, &["snapshots"]);
        assert_no_panic(&sandbox, &["restore", &name(victim), "--target", "out/victim"]);
        if harm != Harm::Swap {
            sandbox.assert_restores(&second, &sandbox.src());
            // A damaged neighbour must not stop the next backup.
            sandbox.write(&[("more", "and more")]);
            sandbox.backup(&[]);
        }
    }
}

#[test]
fn a_damaged_second_key_slot_is_named_and_the_first_still_opens() {
    for harm in HARMS {
        let sandbox = sandbox();
        let first = sandbox.objects("keys");
        let mut command = sandbox.command(&["key", "add"]);
        command.env("SNAP_NEW_PASSWORD", "second");
        finish(command, b"").expect(0);
        let keys = sandbox.objects("keys");
        let victim = keys.iter().find(|key| !first.contains(key)).unwrap();
        apply(harm, victim, &first[0]);
        let report = sandbox.snap(&["check", "--read-data"]);
        match harm {
            Harm::Delete => _ = report.expect_one_of(LOST),
            Harm::Swap => _ = report.expect_one_of(&[12, 20]),
            _ => {
                let report = report.expect(20).all();
                assert!(report.contains(&name(victim)[..8]), "{harm:?}: {report}");
            }
        }
        if harm != Harm::Swap {
            sandbox.assert_restores("latest", &sandbox.src());
        }
        assert_no_panic(&sandbox, &["key", "list"]);
        assert_no_panic(&sandbox, &["snapshots"]);
    }
}

#[test]
fn a_damaged_only_key_slot_is_told_apart_from_success() {
    for harm in [Harm::FlipMiddle, Harm::Truncate, Harm::Delete] {
        let sandbox = sandbox();
        let victim = &sandbox.objects("keys")[0];
        apply(harm, victim, victim);
        sandbox.snap(&["check", "--read-data"]).expect_one_of(&[10, 12, 20]);
        assert_no_panic(&sandbox, &["snapshots"]);
        assert_no_panic(&sandbox, &["restore", "latest", "--target", "out/x"]);
    }
}

#[test]
fn a_damaged_configuration_is_named_and_opens_nothing() {
    for harm in HARMS {
        let sandbox = sandbox();
        let victim = &sandbox.objects("config")[0];
        apply(harm, victim, &sandbox.objects("snapshots")[0]);
        let report = sandbox.snap(&["check", "--read-data"]);
        if harm == Harm::Delete {
            report.expect_one_of(&[10, 12, 20]);
        } else {
            let report = report.expect(20).all();
            assert!(report.contains("config/1"), "{harm:?}: {report}");
        }
        assert_no_panic(&sandbox, &["snapshots"]);
        assert_no_panic(&sandbox, &["restore", "latest", "--target", "out/x"]);
    }
}

/// One snapshot of a few files of all sizes, some of them large.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::with_tree(&[("a", "hello"), ("d/b", "deep")]);
    let mut random = Random::new(7);
    for number in 0..8 {
        fs::write(sandbox.src().join(format!("d/{number}")), random.bytes(500_000)).unwrap();
    }
    sandbox.backup(&[]);
    sandbox
}

/// A restore that cannot be whole says so, names what is missing, and leaves nothing that is wrong.
fn assert_honest_restore(harm: Harm, sandbox: &Sandbox) {
    let target = sandbox.new_target();
    let outcome = sandbox.snap(&["restore", "latest", "--target", target.to_str().unwrap()]);
    let outcome = outcome.expect_one_of(&[1, 3, 20]);
    assert!(outcome.stderr.contains("src/"), "{harm:?} names no file: {}", outcome.stderr);
    for restored in files_below(&target) {
        let name = restored.strip_prefix(&target).unwrap();
        let same = fs::read(&restored).unwrap() == fs::read(sandbox.path("").join(name)).unwrap();
        assert!(same, "{harm:?}: {} was restored wrong", name.display());
    }
}

fn assert_no_panic(sandbox: &Sandbox, args: &[&str]) {
    let outcome = sandbox.snap(args);
    assert!(!outcome.stderr.contains("panicked"), "{args:?}: {}", outcome.stderr);
    assert_ne!(outcome.code, -1, "{args:?} was killed");
}

fn apply(harm: Harm, victim: &Path, other: &Path) {
    let bytes = fs::read(victim).unwrap();
    let spare = victim.with_extension("spare");
    for path in [victim, other] {
        chmod(path, 0o600);
    }
    match harm {
        Harm::FlipMiddle => {
            let mut bytes = bytes;
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
            fs::write(victim, bytes).unwrap();
        }
        Harm::Truncate => fs::write(victim, &bytes[..bytes.len() / 2]).unwrap(),
        Harm::Swap => {
            fs::rename(victim, &spare).unwrap();
            fs::rename(other, victim).unwrap();
            fs::rename(&spare, other).unwrap();
        }
        Harm::Delete => fs::remove_file(victim).unwrap(),
    }
}

fn by_size(sandbox: &Sandbox, area: &str) -> Vec<PathBuf> {
    let mut objects = sandbox.objects(area);
    objects.sort_by_key(|path| fs::metadata(path).unwrap().len());
    assert!(objects.len() > 1, "too few objects in {area}");
    objects
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

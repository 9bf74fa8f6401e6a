//! Repairs only add: what can be read is saved, what is lost is named, and nothing that existed is lost.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::support::cut::Cut;
use crate::support::library::Library;
use crate::support::{Random, Sandbox, chmod};
use snap_backup::Control;
use snap_backup::model::manifest::SnapshotKind;
use snap_backup::model::records::SessionKind;
use snap_backup::ops::repair::{gc_records, packs, snapshots};
use snap_backup::ops::{backup, check};
use snap_backup::repo::options::OpenOptions;
use snap_backup::repo::repository::Repository;
use snap_backup::repo::sessions::session::Session;
use snap_backup::storage::memory::MemoryStorage;
use snap_backup::storage::{ObjectKind, Storage};

/// Sixteen files of half a megabyte in one data pack, and two small ones.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::with_tree(&[("a", "hello"), ("d/b", "deep")]);
    for number in 0..16 {
        let bytes = Random::new(number).bytes(500_000);
        fs::write(sandbox.src().join(format!("d/{number}")), bytes).unwrap();
    }
    sandbox.backup(&[]);
    sandbox
}

fn largest_pack(sandbox: &Sandbox) -> PathBuf {
    sandbox.objects("packs").into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    chmod(path, 0o600);
    fs::write(path, bytes).unwrap();
}

fn flip_middle(path: &Path) {
    change(path, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
}

#[test]
fn damaged_pack_is_salvaged_and_kept_in_quarantine() {
    let sandbox = sandbox();
    let pack = largest_pack(&sandbox);
    flip_middle(&pack);
    let damaged = fs::read(&pack).unwrap();
    let before = sandbox.snap(&["check", "-v", "--read-data"]).expect(20).all();
    let named = before.lines().filter(|line| line.contains("/src/d/")).count();
    assert!((1..16).contains(&named), "one block of a pack is not all of it: {before}");
    assert!(before.contains("entries affected") || before.contains("entry affected"), "{before}");
    let told = sandbox.snap(&["repair", "packs"]).expect(3).all();
    assert!(told.contains("quarantine/"), "{told}");
    assert!(!pack.exists());
    let aside = sandbox.objects("quarantine");
    assert_eq!(aside.len(), 1);
    assert!(fs::read(&aside[0]).unwrap() == damaged, "the original is there as it was");
    // What is lost is still named, and everything else exists.
    let after = sandbox.snap(&["check", "-v"]).expect(20).all();
    assert_eq!(after.lines().filter(|line| line.contains("/src/d/")).count(), named, "{after}");
    // The source still has it.
    let first = sandbox.snapshot_names().into_iter().next().unwrap();
    sandbox.ok(&["backup", "src"]);
    sandbox.assert_clean();
    sandbox.assert_restores(&first, &sandbox.src());
    sandbox.ok(&["gc"]);
    assert!(sandbox.objects("damage").is_empty(), "nothing is missing any more");
    sandbox.assert_restores(&first, &sandbox.src());
}

#[test]
fn repair_after_a_healing_backup_gives_the_same() {
    let sandbox = sandbox();
    flip_middle(&largest_pack(&sandbox));
    sandbox.snap(&["check", "-v", "--read-data"]).expect(20);
    sandbox.ok(&["backup", "src"]);
    let report = sandbox.snap(&["check", "-v"]).expect(20).all();
    assert!(report.contains("found damaged earlier"), "a damaged pack is one until it is repaired: {report}");
    assert!(!report.contains("/src/"), "nothing is lost any more: {report}");
    sandbox.snap(&["repair", "packs"]).expect(3);
    sandbox.assert_clean();
    sandbox.assert_restores("latest", &sandbox.src());
}

#[test]
fn a_pack_that_lost_one_end_gives_all_it_has_by_its_other_table() {
    for damage in ["front", "end", "appended"] {
        let sandbox = sandbox();
        let pack = largest_pack(&sandbox);
        change(&pack, |bytes| match damage {
            "front" => bytes[..100].fill(0),
            "end" => {
                let len = bytes.len();
                bytes.truncate(len - 100);
            }
            _ => bytes.extend_from_slice(&[7; 100]),
        });
        let report = sandbox.snap(&["check", "-v", "--tables"]).expect(20).all();
        assert!(report.contains(pack.file_name().unwrap().to_str().unwrap()), "{damage}: {report}");
        sandbox.snap(&["repair", "packs"]).expect(0);
        sandbox.ok(&["gc"]);
        assert!(sandbox.objects("damage").is_empty(), "{damage}: all was saved");
        sandbox.assert_clean();
        sandbox.assert_restores("latest", &sandbox.src());
    }
}

#[test]
fn a_pack_cut_short_gives_what_lies_before_the_cut() {
    let sandbox = sandbox();
    let pack = largest_pack(&sandbox);
    change(&pack, |bytes| bytes.truncate(bytes.len() / 2));
    sandbox.snap(&["check", "-v"]).expect(20);
    let told = sandbox.snap(&["repair", "packs", "--json"]).expect(3).summary();
    assert!(told["packs"][0]["chunks_saved"].as_u64().unwrap() > 5, "{told}");
    assert!(told["packs"][0]["chunks_lost"].as_u64().unwrap() > 5, "{told}");
    sandbox.ok(&["backup", "src"]);
    sandbox.assert_clean();
}

#[test]
fn lost_tables_are_taken_from_the_local_cache() {
    for remembers in [true, false] {
        let sandbox = sandbox();
        let pack = largest_pack(&sandbox);
        change(&pack, |bytes| {
            let len = bytes.len();
            bytes[..100].fill(0);
            bytes[len - 100..].fill(0);
        });
        if !remembers {
            fs::remove_dir_all(sandbox.cache()).unwrap();
        }
        sandbox.snap(&["check", "-v", "--tables"]).expect(20);
        sandbox.snap(&["repair", "packs"]).expect(if remembers { 0 } else { 3 });
        if !remembers {
            sandbox.snap(&["check", "-v"]).expect(20);
            sandbox.ok(&["backup", "src"]);
        }
        sandbox.assert_clean();
        sandbox.assert_restores("latest", &sandbox.src());
    }
}

#[test]
fn packs_under_each_others_names_give_all_they_hold() {
    let sandbox = sandbox();
    fs::write(sandbox.src().join("more"), Random::new(99).bytes(300_000)).unwrap();
    sandbox.backup(&[]);
    let mut all = sandbox.objects("packs");
    all.sort_by_key(|path| fs::metadata(path).unwrap().len());
    let (one, two) = (all.pop().unwrap(), all.pop().unwrap());
    let (a, b) = (fs::read(&one).unwrap(), fs::read(&two).unwrap());
    change(&one, |bytes| *bytes = b);
    change(&two, |bytes| *bytes = a);
    sandbox.snap(&["check", "-v", "--read-data"]).expect(20);
    sandbox.snap(&["repair", "packs"]).expect(0);
    sandbox.assert_clean();
    sandbox.assert_restores("latest", &sandbox.src());
}

#[test]
fn a_dry_run_of_any_repair_writes_nothing() {
    let sandbox = sandbox();
    flip_middle(&largest_pack(&sandbox));
    sandbox.snap(&["check", "-v", "--read-data"]).expect(20);
    let before = sandbox.listing();
    sandbox.snap(&["repair", "packs", "-n"]).expect(3);
    sandbox.snap(&["repair", "snapshots", "-n"]).expect(3);
    sandbox.snap(&["repair", "index", "-n"]).expect(0);
    assert_eq!(sandbox.listing(), before);
}

#[test]
fn a_pack_that_is_whole_after_all_is_left_alone() {
    let sandbox = sandbox();
    let pack = largest_pack(&sandbox);
    let good = fs::read(&pack).unwrap();
    flip_middle(&pack);
    sandbox.snap(&["check", "-v", "--read-data"]).expect(20);
    // A bad cable, for example.
    change(&pack, |bytes| *bytes = good);
    let report = sandbox.snap(&["check", "-v", "--read-data"]).expect(0).all();
    assert!(report.contains("snap repair packs"), "{report}");
    let told = sandbox.ok(&["repair", "packs"]).all();
    assert!(told.contains("is intact"), "{told}");
    assert!(pack.exists() && sandbox.objects("damage").is_empty());
    sandbox.assert_clean();
}

#[test]
fn index_is_rebuilt_from_any_state() {
    let sandbox = sandbox();
    let answer = sandbox.ok(&["ls", "-R", "latest"]).text();
    for file in crate::support::files_below(&sandbox.view()) {
        fs::write(file, b"garbage").unwrap();
    }
    let told = sandbox.ok(&["repair", "index"]);
    assert_eq!(told.warnings(), 0, "{}", told.stderr);
    let after = sandbox.ok(&["ls", "-R", "latest"]);
    assert_eq!(after.warnings(), 0, "{}", after.stderr);
    assert_eq!(after.text(), answer);
    let told = sandbox.ok(&["repair", "index", "-n"]).text();
    assert!(told.contains("differs for 0"), "{told}");
}

#[test]
fn damaged_snapshot_is_replaced_and_can_be_undeleted() {
    let sandbox = sandbox();
    flip_middle(&largest_pack(&sandbox));
    let original = sandbox.snapshot_names().into_iter().next().unwrap();
    let lost = sandbox.snap(&["check", "-v", "--read-data"]).expect(20).all();
    sandbox.snap(&["repair", "packs"]).expect(3);
    let told = sandbox.snap(&["repair", "snapshots"]).expect(3).all();
    assert!(told.contains("/src/d/") && told.contains(&original[..8]), "{told}");
    let left = sandbox.snapshot_names().into_iter().next().unwrap();
    assert_ne!(left, original);
    sandbox.snap(&["check", "-v"]).expect(0);
    // Everything that was not lost is unchanged. Every restore reports what was partly lost.
    let target = sandbox.new_target();
    let outcome = sandbox.snap(&["restore", "latest", "--target", target.to_str().unwrap()]);
    let outcome = outcome.expect(3);
    assert!(outcome.stderr.contains("a part of it was lost when"), "{}", outcome.stderr);
    let (mut same, mut zeros) = (0, 0);
    for number in 0..16 {
        let name = format!("src/d/{number}");
        let Ok(restored) = fs::read(target.join(&name)) else { continue };
        let source = fs::read(sandbox.path(&name)).unwrap();
        assert_eq!(restored.len(), source.len(), "what is left lies where it lay");
        same += usize::from(restored == source);
        zeros +=
            restored.iter().zip(&source).filter(|(a, b)| a != b).inspect(|(a, _)| assert_eq!(**a, 0)).count();
    }
    assert!(same >= 1, "only {same} are whole");
    assert!(zeros > 0, "nothing was lost?");
    // The block of a small file is not fixed: it may be in the damaged one.
    let small = sandbox.snap(&["cat", &format!("{}:src/a", &left[..8])]);
    let damaged = lost.lines().any(|line| line.contains("/src/a:"));
    assert_eq!(small.expect(if damaged { 1 } else { 0 }).stdout.is_empty(), damaged);
    // The second run has nothing to do.
    sandbox.snap(&["repair", "snapshots"]).expect(0);
    assert_eq!(sandbox.snapshot_names(), BTreeSet::from([left.clone()]));
    // The next backup does not trust anything that is marked.
    let next = sandbox.backup(&[]);
    sandbox.assert_restores(&next, &sandbox.src());
    // And so the original is complete again.
    sandbox.ok(&["undelete", &original[..8]]);
    sandbox.assert_restores(&original, &sandbox.src());
    sandbox.ok(&["gc"]);
    assert!(sandbox.objects("damage").is_empty());
    sandbox.assert_clean();
}

#[test]
fn lost_directory_loses_only_its_content() {
    let sandbox = Sandbox::with_tree(&[("a", "hello"), ("d/b", "deep"), ("e/c", "beside")]);
    sandbox.ok(&["backup", "src/d"]);
    let first = sandbox.snapshot_names();
    // The tree of `d` is where the first run stored it. Those above it are stored by the second run.
    let trees = sandbox.objects("packs").into_iter().find(|pack| fs::read(pack).unwrap()[8] == 2).unwrap();
    let whole = sandbox.backup(&[]);
    chmod(&trees, 0o600);
    fs::remove_file(&trees).unwrap();
    let report = sandbox.snap(&["check", "-v"]).expect(20).all();
    assert!(report.contains("/src/d: directory"), "{report}");
    let told = sandbox.snap(&["repair", "snapshots"]).expect(3).all();
    assert!(told.contains("none of it can be read"), "the first snapshot's root is gone: {told}");
    let names = sandbox.snapshot_names();
    assert!(names.is_superset(&first), "what cannot be replaced is left alone");
    assert!(!names.contains(&whole));
    let target = sandbox.new_target();
    sandbox.snap(&["restore", "latest", "--target", target.to_str().unwrap()]).expect(3);
    assert_eq!(fs::read(target.join("src/a")).unwrap(), b"hello");
    assert_eq!(fs::read(target.join("src/e/c")).unwrap(), b"beside");
    assert!(fs::read_dir(target.join("src/d")).unwrap().next().is_none());
    // The next backup finds what is missing there.
    let next = sandbox.backup(&[]);
    sandbox.assert_restores(&next, &sandbox.src());
}

#[test]
fn unreadable_manifest_is_restored_from_the_local_copy() {
    let sandbox = sandbox();
    let manifest = sandbox.objects("snapshots").remove(0);
    flip_middle(&manifest);
    sandbox.snap(&["check", "-v"]).expect(20);
    let told = sandbox.snap(&["repair", "snapshots"]).expect(0).all();
    assert!(told.contains("restored from this machine's cache"), "{told}");
    assert!(manifest.exists() && sandbox.objects("quarantine").len() == 1);
    sandbox.assert_clean();
    sandbox.assert_restores("latest", &sandbox.src());
}

#[test]
fn scrub_needs_no_password_and_starts_with_the_oldest() {
    let mut sandbox = sandbox();
    for number in 0..3 {
        fs::write(sandbox.src().join(format!("more{number}")), Random::new(50 + number).bytes(200_000))
            .unwrap();
        sandbox.backup(&[]);
    }
    let packs = sandbox.objects("packs").len() as u64;
    sandbox.set_password(None);
    // A budget of one byte is enough for one pack.
    for done in 1..=packs {
        let told = sandbox.ok(&["check", "--scrub", "--max-age", "1d", "--budget", "1", "--json"]).summary();
        assert_eq!((told["packs_read"].as_u64(), told["packs_recent"].as_u64()), (Some(1), Some(done - 1)));
    }
    let told = sandbox.ok(&["check", "--scrub", "--max-age", "1d", "--json"]).summary();
    assert_eq!((told["packs_read"].as_u64(), told["packs_recent"].as_u64()), (Some(0), Some(packs)));
    assert!(sandbox.ok(&["check", "--scrub"]).text().contains(&format!("verified {packs} of {packs} packs")));
    // Damage is reported each time, whatever was verified before.
    let pack = largest_pack(&sandbox);
    flip_middle(&pack);
    let name = pack.file_name().unwrap().to_str().unwrap().to_owned();
    for _ in 0..2 {
        assert!(sandbox.snap(&["check", "-v", "--scrub"]).expect(20).stderr.contains(&name));
    }
    assert!(sandbox.objects("damage").is_empty(), "without the password nothing can be written down");
    sandbox.set_password(Some(crate::support::PASSWORD));
    sandbox.snap(&["check", "-v", "--scrub"]).expect(20);
    assert_eq!(sandbox.objects("damage").len(), 1);
    // The structure check then reports what the scrub found.
    sandbox.snap(&["check", "-v"]).expect(20);
}

/// A library whose repository is in memory.
fn library() -> (Library, Arc<MemoryStorage>) {
    let storage = Arc::new(MemoryStorage::default());
    let library = Library::on(Arc::clone(&storage) as Arc<dyn Storage>, None);
    for number in 0..16u8 {
        library.write("src", &[(&format!("f{number}"), &Random::new(number.into()).bytes(400_000))]);
    }
    library.backup("src", backup::Options::default());
    (library, storage)
}

fn names(storage: &MemoryStorage, area: ObjectKind) -> Vec<String> {
    storage.list(area).unwrap().into_iter().map(|found| found.name).collect()
}

fn copy(storage: &MemoryStorage) -> Arc<MemoryStorage> {
    let copy = MemoryStorage::default();
    for area in ObjectKind::ALL {
        for name in names(storage, area) {
            copy.put(area, &name, storage.get(area, &name).unwrap());
        }
    }
    Arc::new(copy)
}

fn open(storage: Arc<dyn Storage>) -> Repository {
    Repository::open(storage, &OpenOptions::default()).unwrap()
}

fn damage_largest(storage: &MemoryStorage) -> (String, Vec<u8>) {
    let largest =
        storage.list(ObjectKind::Packs).unwrap().into_iter().max_by_key(|found| found.len).unwrap().name;
    let mut bytes = storage.get(ObjectKind::Packs, &largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    storage.put(ObjectKind::Packs, &largest, bytes.clone());
    (largest, bytes)
}

#[test]
fn interrupted_repair_loses_nothing_and_is_finished() {
    let (library, storage) = library();
    let (victim, damaged) = damage_largest(&storage);
    let mut finished = false;
    for changes in 0..60 {
        let world = copy(&storage);
        let repo = open(Cut::after(&world, changes));
        let options = packs::Options { ids: vec![victim.clone()], dry_run: false };
        let first = packs::run(&repo, &options, &Control::default())
            .and_then(|_| snapshots::run(&repo, &snapshots::Options::default(), &Control::default()));
        finished = first.is_ok();
        drop(repo);
        let kept =
            world.get(ObjectKind::Packs, &victim).or_else(|| world.get(ObjectKind::Quarantine, &victim));
        assert!(kept.as_ref() == Some(&damaged), "after {changes} changes the original is gone");
        let repo = open(Arc::clone(&world) as Arc<dyn Storage>);
        if names(&world, ObjectKind::Packs).contains(&victim) {
            packs::run(&repo, &options, &Control::default()).unwrap();
        }
        snapshots::run(&repo, &snapshots::Options::default(), &Control::default()).unwrap();
        assert_eq!(names(&world, ObjectKind::Snapshots).len(), 1, "after {changes} changes");
        let report = check::run(&repo, &check::Options::default(), &Control::default()).unwrap();
        assert_eq!(report.errors, [], "after {changes} changes");
        if finished {
            break;
        }
    }
    assert!(finished, "never came to its end");
    drop(library);
}

#[test]
fn running_gc_is_not_abandoned_by_repair() {
    let (library, storage) = library();
    let repo = library.open();
    let (collector, _) = Session::open(&repo, SessionKind::Collector).unwrap();
    let (writer, _) = Session::open(&repo, SessionKind::Writer).unwrap();
    let (number, nonsense) = (format!("{:016x}", 7), b"no record".to_vec());
    storage.put(ObjectKind::Gc, &number, nonsense);
    let refused = gc_records::run(&repo, false).unwrap_err().chain();
    assert!(
        refused.contains("may be deleting") && refused.contains("`Repository::repair_gc_records`"),
        "{refused}"
    );
    assert_eq!(names(&storage, ObjectKind::Gc), [number.as_str()], "nothing was written");
    collector.close().unwrap();
    // Writers delete nothing.
    let report = gc_records::run(&repo, false).unwrap();
    assert_eq!((report.given_up, report.unreadable.len()), (Some(7), 1));
    writer.close().unwrap();
    let [record, end] = [format!("{:016x}", 8), format!("{:016x}.done", 8)];
    assert_eq!(names(&storage, ObjectKind::Gc), [record, end], "a number is never used twice");
    assert_eq!(gc_records::run(&repo, false).unwrap().unreadable, Vec::<String>::new());
    library.backup("src", backup::Options { kind: SnapshotKind::Full, ..backup::Options::default() });
    assert_eq!(library.errors(), Vec::<String>::new());
}

/// A gc run that began before the damage was known deletes the good copy of what it keeps in the damaged
/// pack. What can be read of that must be saved, whether or not there is another copy at that time.
#[test]
fn repair_saves_what_a_running_gc_keeps_in_a_damaged_pack() {
    let (library, storage) = library();
    let (victim, _) = damage_largest(&storage);
    let repo = library.open();
    let options = packs::Options { ids: vec![victim.clone()], dry_run: false };
    // The chunks are stored again first, so that all of them have a good copy elsewhere.
    let checked = check::Options { read_data: true, ..check::Options::default() };
    assert!(!check::run(&repo, &checked, &Control::default()).unwrap().errors.is_empty());
    library.backup("src", backup::Options { kind: SnapshotKind::Full, ..backup::Options::default() });
    let before: BTreeSet<String> = names(&storage, ObjectKind::Packs).into_iter().collect();
    let report = packs::run(&library.open(), &options, &Control::default()).unwrap();
    assert_eq!(report.packs.len(), 1);
    // The gc run now deletes everything that the repair did not write.
    for name in before {
        let large = storage.get(ObjectKind::Packs, &name).is_some_and(|bytes| bytes.len() > 100_000);
        if large {
            storage.remove(ObjectKind::Packs, &name).unwrap();
        }
    }
    let report = check::run(&library.open(), &check::Options::default(), &Control::default()).unwrap();
    let lost = (0..16)
        .filter(|file| report.errors.iter().any(|error| error.to_string().contains(&format!("src/f{file}"))));
    let lost = lost.count();
    assert!((1..16).contains(&lost), "only what could not be read is lost: {:?}", report.errors);
}

//! Copies of snapshots in another repository: they equal the originals, nothing is copied twice, and nothing
//! that was copied can be swept during the run.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use snap_backup::codec::crypto::hash::ChunkType;
use snap_backup::codec::crypto::{cipher, sealed_object};
use snap_backup::model::entry::Time;
use snap_backup::model::id::{PackId, SnapshotId};
use snap_backup::model::records::{Fence, GcRecord};
use snap_backup::ops::copy::{Options, Report};
use snap_backup::ops::gc::MaxUnused;
use snap_backup::ops::{backup, check, copy, gc, rewrite};
use snap_backup::progress::Event;
use snap_backup::repo::options::{ChunkerProfile, InitOptions, OpenOptions, SharedChunking};
use snap_backup::repo::pack::packs;
use snap_backup::repo::repository::Repository;
use snap_backup::repo::snapshots::filter::SnapshotQuery;
use snap_backup::repo::write::delta_writer::Delta;
use snap_backup::repo::{objects, snapshots};
use snap_backup::storage::{ObjectKind, Storage};
use snap_backup::{Control, Error, Result};

use crate::support::hooked::{Act, Hooked};
use crate::support::library::Library;
use crate::support::{CHEAP_KDF, Random, Sandbox, assert_same, copy_tree};

/// A repository with a source, and another one.
struct Pair {
    library: Library,
    from: Arc<Hooked>,
    to: Arc<Hooked>,
    cache: tempfile::TempDir,
}

#[derive(Clone, Copy, PartialEq)]
enum Other {
    /// Creates a sibling, which names chunks like the first repository.
    Sibling,
    /// Creates a stranger, which has its own keys and chunk sizes.
    Stranger,
}

impl Pair {
    fn new(other: Other) -> Self {
        let (from, to) = (Arc::new(Hooked::default()), Arc::new(Hooked::default()));
        let library = Library::on(from.clone(), None);
        let pair = Self { library, from, to, cache: tempfile::tempdir().unwrap() };
        let shared_chunking = (other == Other::Sibling).then(|| SharedChunking::of(&pair.library.open()));
        let chunker = if shared_chunking.is_some() { ChunkerProfile::K64 } else { ChunkerProfile::K256 };
        let options = InitOptions { shared_chunking, chunker, ..InitOptions::default() };
        Repository::init(pair.to.clone(), &options).unwrap();
        pair
    }

    fn there(&self) -> Repository {
        let cache = Some(self.cache.path().to_path_buf());
        Repository::open(self.to.clone(), &OpenOptions { password: None, cache, ..OpenOptions::default() })
            .unwrap()
    }

    /// Backs up a source with exactly these files, each with its own bytes.
    fn save(&self, files: &[(&str, u64, usize)]) -> SnapshotId {
        let _ = fs::remove_dir_all(self.library.path("src"));
        for (name, seed, len) in files {
            self.library.write("src", &[(name, &Random::new(*seed).bytes(*len))]);
        }
        self.library.backup("src", backup::Options::default()).snapshot.unwrap()
    }

    fn try_copy(&self, options: &Options) -> Result<Report> {
        copy::run(&self.library.open(), &self.there(), options, &Control::default())
    }

    fn copy(&self) -> Report {
        self.try_copy(&Options::default()).unwrap_or_else(|err| panic!("{}", err.chain()))
    }

    /// The newest snapshot in the other repository must equal the source.
    fn assert_there(&self) {
        let newest = snapshots::list(&self.there()).unwrap().last().unwrap().id;
        let source = self.library.path("src");
        assert_eq!(self.library.differences(&self.there(), newest, "src", &source), [] as [String; 0]);
        let options = check::Options { read_data: true, ..check::Options::default() };
        let report = check::run(&self.there(), &options, &Control::default()).unwrap();
        assert_eq!(report.errors, []);
    }

    fn packs(&self, storage: &Hooked, repo: &Repository, kind: ChunkType) -> Vec<PackId> {
        let listed = storage.inner.list(ObjectKind::Packs).unwrap();
        let packs = listed.iter().map(|found| (PackId::parse(&found.name).unwrap(), found.len));
        let is = |(id, len): &(PackId, u64)| {
            packs::read_table(storage, repo.suite(), id, *len).unwrap().kind == kind
        };
        packs.filter(is).map(|(id, _)| id).collect()
    }
}

const BOTH: [Other; 2] = [Other::Sibling, Other::Stranger];

#[test]
fn copied_snapshot_equals_the_original_and_is_copied_once() {
    for other in BOTH {
        let pair = Pair::new(other);
        pair.save(&[("a", 1, 300_000), ("d/b", 2, 10), ("d/e/c", 3, 2_000_000), ("empty", 4, 0)]);
        let old = pair.save(&[
            ("a", 1, 300_000),
            ("d/b", 5, 20),
            ("d/e/c", 3, 2_000_000),
            ("d/a copy", 1, 300_000),
        ]);
        let report = pair.copy();
        assert_eq!((report.copied.len(), report.there), (2, 0));
        assert_eq!(report.alike, other == Other::Sibling);
        assert_eq!(report.copied[1].old.id, old);
        pair.assert_there();
        pair.to.calls();
        let again = pair.copy();
        assert_eq!((again.copied.len(), again.there), (0, 2));
        let wrote = pair.to.calls().into_iter().filter(|(act, ..)| matches!(act, Act::Create | Act::Replace));
        assert_eq!(wrote.count(), 0, "a run with nothing to do wrote something");
    }
}

#[test]
fn copy_has_the_attributes_of_the_original() {
    for other in BOTH {
        let pair = Pair::new(other);
        let first = pair.save(&[("a", 1, 100)]);
        let second = pair.save(&[("a", 2, 100)]);
        pair.copy();
        let here = snapshots::list(&pair.library.open()).unwrap();
        let there = snapshots::list(&pair.there()).unwrap();
        for (old, new) in here.iter().zip(&there) {
            let (old, new) = (&old.manifest, &new.manifest);
            assert_eq!((&old.host, &old.sources, old.started), (&new.host, &new.sources, new.started));
            assert_eq!((&old.kind, old.counts.bytes_total), (&new.kind, new.counts.bytes_total));
        }
        assert_eq!([first, second], [here[0].id, here[1].id]);
        assert_eq!(there[1].manifest.parent, Some(there[0].id), "the copy's parent is the parent's copy");
        assert_eq!(there[1].manifest.copied().map(|(id, _)| id), Some(second));
    }
}

#[test]
fn data_of_the_last_copy_is_not_read_again() {
    for other in BOTH {
        let pair = Pair::new(other);
        pair.save(&[("old", 1, 3_000_000), ("d/old", 2, 500_000)]);
        pair.copy();
        let known = pair.packs(&pair.from, &pair.library.open(), ChunkType::Data);
        pair.save(&[("old", 1, 3_000_000), ("d/old", 2, 500_000), ("d/new", 3, 1000)]);
        // Any read of this chunk fails from here on.
        known.iter().for_each(|id| pair.from.inner.remove(ObjectKind::Packs, &id.hex()).unwrap());
        let report = pair.copy();
        assert_eq!((report.copied.len(), report.damaged.len()), (1, 0));
        assert!(report.copied[0].bytes_added < 10_000, "{}", report.copied[0].bytes_added);
        pair.assert_there();
    }
}

#[test]
fn a_backup_to_the_other_repository_finds_what_was_copied_there() {
    for other in BOTH {
        let pair = Pair::new(other);
        pair.save(&[("a", 1, 3_000_000), ("d/b", 2, 700_000)]);
        pair.copy();
        let sources = vec![pair.library.path("src")];
        let options = backup::Options {
            sources,
            store_as: Some(b"elsewhere".to_vec()),
            host: Some("another".into()),
            ..backup::Options::default()
        };
        let summary = backup::Backup::begin(options, None, &Control::default())
            .unwrap()
            .run(&pair.there(), &Control::default())
            .unwrap();
        assert_eq!(summary.counts.bytes_read, 3_700_000);
        assert!(summary.counts.bytes_added < 5000, "cut otherwise: {} bytes", summary.counts.bytes_added);
    }
}

#[test]
fn siblings_get_blocks_unchanged_strangers_compress_again() {
    for other in BOTH {
        let pair = Pair::new(other);
        let text = "all work and no play makes jack a dull boy ".repeat(50_000);
        pair.library.write("src", &[("text", text.as_bytes())]);
        // Compressed weakly here: level 1 in the other repository would not give the same bytes.
        let options = backup::Options { level: Some(19), ..backup::Options::default() };
        pair.library.backup("src", options);
        pair.try_copy(&Options { level: Some(1), ..Options::default() }).unwrap();
        let bytes = |storage: &Hooked, repo: &Repository| -> u64 {
            let packs = pair.packs(storage, repo, ChunkType::Data);
            let len = |id: &PackId| storage.inner.get(ObjectKind::Packs, &id.hex()).unwrap().len() as u64;
            let stored = |id: &PackId| -> u64 {
                let table = packs::read_table(storage, repo.suite(), id, len(id)).unwrap();
                table.blocks.iter().map(|block| u64::from(block.stored)).sum()
            };
            packs.iter().map(stored).sum()
        };
        let (here, there) = (bytes(&pair.from, &pair.library.open()), bytes(&pair.to, &pair.there()));
        assert_eq!(here == there, other == Other::Sibling, "{here} bytes here, {there} there");
        pair.assert_there();
    }
}

#[test]
fn copy_makes_deltas_against_the_last_copy_unless_off() {
    for (other, delta) in [(BOTH[0], Delta::Auto), (BOTH[1], Delta::Auto), (BOTH[1], Delta::Off)] {
        let pair = Pair::new(other);
        let mut bytes = Random::new(1).bytes(600_000);
        // The second version has another date, the third is changed.
        for (name, number) in [("dump-1", 1), ("dump-2", 2), ("dump-2", 3)] {
            (0..600_000).step_by(20_000).for_each(|at| bytes[at] = number);
            let _ = fs::remove_dir_all(pair.library.path("src"));
            pair.library.write("src", &[(name, &bytes)]);
            pair.library.backup("src", backup::Options::default());
        }
        pair.try_copy(&Options { delta, ..Options::default() }).unwrap();
        let packs: u64 = pair.to.inner.list(ObjectKind::Packs).unwrap().iter().map(|found| found.len).sum();
        assert_eq!(packs < 620_000, delta == Delta::Auto, "{packs} bytes there");
        pair.assert_there();
    }
}

#[test]
fn interrupted_copy_continues() {
    for other in BOTH {
        let pair = Pair::new(other);
        for seed in 1..4 {
            pair.save(&[("a", seed, 200_000)]);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let after_the_first = |event: Event<'_>| {
            if matches!(event, Event::Done { files: 1, .. }) {
                stop.store(true, Ordering::Relaxed);
            }
        };
        let cut = copy::run(
            &pair.library.open(),
            &pair.there(),
            &Options::default(),
            &Control::new(&after_the_first).with_cancel(&stop),
        );
        assert!(matches!(cut, Err(Error::Interrupted)));
        assert_eq!(snapshots::list(&pair.there()).unwrap().len(), 1);
        let report = pair.copy();
        assert_eq!((report.copied.len(), report.there), (2, 1));
        pair.assert_there();
    }
}

#[test]
fn damaged_snapshot_does_not_stop_copying_the_others() {
    for other in BOTH {
        let pair = Pair::new(other);
        let bad = pair.save(&[("a", 1, 200_000)]);
        let lost = pair.packs(&pair.from, &pair.library.open(), ChunkType::Data);
        pair.save(&[("a", 2, 200_000)]);
        lost.iter().for_each(|id| pair.from.inner.remove(ObjectKind::Packs, &id.hex()).unwrap());
        let report = pair.copy();
        assert_eq!(report.damaged.iter().map(|(one, _)| one.id).collect::<Vec<_>>(), [bad]);
        assert_eq!(report.copied.len(), 1);
        pair.assert_there();
    }
}

#[test]
fn copying_back_copies_nothing() {
    for other in BOTH {
        let pair = Pair::new(other);
        pair.save(&[("a", 1, 1000)]);
        pair.copy();
        let back = copy::run(&pair.there(), &pair.library.open(), &Options::default(), &Control::default());
        assert_eq!(back.unwrap().there, 1);
        assert_eq!(pair.library.snapshots().len(), 1);
    }
}

#[test]
fn rewritten_copy_is_no_evidence_that_chunks_exist() {
    let pair = Pair::new(Other::Stranger);
    pair.save(&[("d/keep", 1, 100_000), ("d/take", 2, 100_000)]);
    pair.copy();
    let without = rewrite::Options {
        choice: SnapshotQuery { selectors: vec!["latest".into()], ..SnapshotQuery::default() },
        exclude: vec!["take".into()],
        ..rewrite::Options::default()
    };
    rewrite::run(&pair.there(), &without, &Control::default()).unwrap();
    let all = gc::Options { max_unused: MaxUnused::Bytes(0), empty_trash: true, ..gc::Options::default() };
    gc::run(&pair.there(), &all, &Control::default()).unwrap();
    pair.save(&[("d/keep", 1, 100_000), ("d/take", 2, 100_000), ("new", 3, 10)]);
    assert_eq!(pair.copy().copied.len(), 1);
    pair.assert_there();
}

/// A gc run in the other repository considers the copy dead right before it commits, and sweeps what it has
/// written.
#[test]
fn fenced_copy_does_not_commit_swept_data() {
    for other in BOTH {
        let pair = Pair::new(other);
        pair.save(&[("a", 1, 200_000)]);
        let suite = pair.there().suite().clone();
        pair.to.before(Act::Create, ObjectKind::Snapshots, move |storage, name| {
            let by = cipher::new_id().unwrap();
            let fence = Fence { by, gc: 1, at: Time::now() };
            objects::create(storage, &suite, sealed_object::FENCE, ObjectKind::Snapshots, name, &fence)
                .unwrap();
            for found in storage.list(ObjectKind::Packs).unwrap() {
                storage.remove(ObjectKind::Packs, &found.name).unwrap();
            }
        });
        let err = pair.try_copy(&Options::default()).unwrap_err();
        assert!(matches!(err, Error::Refused(_)), "{}", err.chain());
        assert_eq!(snapshots::list(&pair.there()).unwrap().len(), 0);
        pair.copy();
        pair.assert_there();
    }
}

/// W2: a gc run in the other repository whose roots do not include the last copy may delete its data.
#[test]
fn copy_stores_again_what_gc_is_about_to_delete() {
    for other in BOTH {
        let pair = Pair::new(other);
        pair.save(&[("a", 1, 400_000)]);
        pair.copy();
        let repo = pair.there();
        let listed = pair.to.inner.list(ObjectKind::Packs).unwrap();
        let condemned: Vec<PackId> = listed.iter().map(|found| PackId::parse(&found.name).unwrap()).collect();
        let record = GcRecord {
            by: cipher::new_id().unwrap(),
            at: Time::now(),
            condemned: condemned.clone(),
            roots: Vec::new(),
            purged: Vec::new(),
        };
        let name = format!("{:016x}", 1);
        objects::create(&*pair.to, repo.suite(), sealed_object::GC, ObjectKind::Gc, &name, &record).unwrap();
        pair.save(&[("a", 1, 400_000), ("b", 2, 10)]);
        pair.copy();
        condemned.iter().for_each(|id| pair.to.inner.remove(ObjectKind::Packs, &id.hex()).unwrap());
        let done = format!("{:016x}.done", 1);
        objects::create(&*pair.to, repo.suite(), sealed_object::GC_DONE, ObjectKind::Gc, &done, &()).unwrap();
        let newest = snapshots::list(&pair.there()).unwrap().last().unwrap().id;
        let source = pair.library.path("src");
        assert_eq!(pair.library.differences(&pair.there(), newest, "src", &source), [] as [String; 0]);
    }
}

#[test]
fn cleartext_key_opens_no_encrypted_repository() {
    let locked = Arc::new(Hooked::default());
    let options =
        InitOptions { password: Some("secret".to_owned().into()), kdf: CHEAP_KDF, ..InitOptions::default() };
    let locked = Repository::init(locked, &options).unwrap();
    let open = InitOptions { shared_chunking: Some(SharedChunking::of(&locked)), ..InitOptions::default() };
    let err = Repository::init(Arc::new(Hooked::default()), &open).unwrap_err();
    assert!(matches!(err, Error::CannotInit { .. }), "{}", err.chain());
}

/// The same between two snapshots of one run.
#[test]
fn copy_stores_again_what_gc_deleted_of_the_last_snapshot() {
    let pair = Pair::new(Other::Sibling);
    pair.save(&[("d/a", 1, 400_000)]);
    pair.library.write("src", &[("b", b"new")]);
    pair.library.backup("src", backup::Options::default());
    let suite = pair.there().suite().clone();
    pair.to.before(Act::Create, ObjectKind::Sessions, |_, _| {});
    pair.to.before(Act::Create, ObjectKind::Sessions, move |storage, _| {
        let packs = storage.list(ObjectKind::Packs).unwrap();
        let condemned = packs.iter().map(|found| PackId::parse(&found.name).unwrap()).collect();
        let (by, at) = (cipher::new_id().unwrap(), Time::now());
        let record = GcRecord { by, at, condemned, roots: Vec::new(), purged: Vec::new() };
        objects::create(storage, &suite, sealed_object::GC, ObjectKind::Gc, &format!("{:016x}", 1), &record)
            .unwrap();
    });
    let report = pair.copy();
    assert!(pair.to.is_spent());
    assert!(report.copied[1].bytes_added > 400_000, "{} bytes", report.copied[1].bytes_added);
}

// The command.

#[test]
fn copy_init_creates_a_sibling_with_its_own_password() {
    let sandbox = Sandbox::with_tree(&[("a", "one"), ("d/b", "two")]);
    sandbox.backup(&[]);
    let copy = |args: &[&str]| {
        let mut command = sandbox.command(&[&["copy", "--to", "other"], args].concat());
        command.env("SNAP_TO_PASSWORD", "another");
        crate::support::finish(command, b"")
    };
    copy(&[]).expect(10);
    copy(&["-n", "--init"]).expect(2);
    let summary = copy(&["--init", "--json"]).expect(0).summary();
    assert_eq!(summary["blocks_as_they_are"], true);
    assert_eq!(summary["copied"].as_array().unwrap().len(), 1);
    let there = |password: &str, args: &[&str]| {
        let mut command = sandbox.bin();
        command.env("SNAP_PASSWORD", password).args(["-r", "other"]).args(args);
        crate::support::finish(command, b"")
    };
    there(crate::support::PASSWORD, &["snapshots"]).expect(12);
    there("another", &["check", "--read-data"]).expect(0);
    there("another", &["restore", "latest", "--target", "out/there"]).expect(0);
    assert_same(&sandbox.src(), &sandbox.path("out/there/src"));
}

#[test]
fn an_open_copy_of_a_locked_repository_has_keys_of_its_own() {
    let sandbox = Sandbox::with_tree(&[("a", "one")]);
    sandbox.backup(&[]);
    let made = sandbox.ok(&["copy", "--to", "other", "--init", "--no-encryption", "--json"]);
    assert_eq!(made.summary()["blocks_as_they_are"], false);
    let again = sandbox.snap(&["copy", "--to", "other"]).expect(1);
    assert!(again.stderr.contains("not encrypted"), "{}", again.stderr);
    sandbox.ok(&["copy", "--to", "other", "--to-insecure-no-password"]);
}

#[test]
fn snapshots_are_chosen_for_copying_as_everywhere() {
    let sandbox = Sandbox::with_tree(&[("a", "one")]);
    let first = sandbox.backup(&["--tag", "keep"]);
    sandbox.write(&[("a", "two")]);
    copy_tree(&sandbox.src(), &sandbox.path("second"));
    let second = sandbox.backup(&[]);
    let copied = |args: &[&str]| -> Vec<String> {
        let summary = sandbox.ok(&[&["copy", "--to", "other", "--json"], args].concat()).summary();
        let copied = summary["copied"].as_array().unwrap().clone();
        copied.iter().map(|one| one["old"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(copied(&["--init", "--tag", "keep"]), [first]);
    assert_eq!(copied(&["latest"]), [second]);
    sandbox.snap(&["copy", "--to", "other", "nonsense"]).expect(1);
    sandbox.snap(&["copy", "--to", "repo"]).expect(1);
    sandbox.snap(&["copy"]).expect(2);
}

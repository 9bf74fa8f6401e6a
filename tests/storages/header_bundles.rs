//! Header bundles: the headers of many packs in one object, for machines without a cache of a remote
//! repository. Nothing may depend on them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use snap_backup::Control;
use snap_backup::codec::chunk::block::SealedBlock;
use snap_backup::codec::chunk::compress::Codec;
use snap_backup::codec::crypto::hash::{ChunkType, Key, SubKeys, sha256};
use snap_backup::codec::crypto::{key_slot, sealed_object};
use snap_backup::codec::pack;
use snap_backup::codec::pack::header_bundle::Contents;
use snap_backup::model::id::{ChunkId, PackId, SnapshotId};
use snap_backup::ops::repair::index::{self, WrongSegment};
use snap_backup::ops::{backup, sync};
use snap_backup::repo::index::Index;
use snap_backup::repo::objects;
use snap_backup::repo::options::OpenOptions;
use snap_backup::repo::pack::header_bundles;
use snap_backup::repo::repository::Repository;
use snap_backup::repo::sessions::session::RepoState;
use snap_backup::storage::memory::MemoryStorage;
use snap_backup::storage::{ObjectKind, Storage};

use crate::support::Random;
use crate::support::heard::Heard;
use crate::support::hooked::{Act, Hooked};
use crate::support::stage::Stage;

/// A remote repository whose packs are small, so that there are many.
fn stage() -> Arc<Stage> {
    let stage = Stage::new();
    stage.storage.far.store(true, Ordering::Relaxed);
    let bytes = stage.storage.inner.get(ObjectKind::Config, "1").unwrap();
    let mut config = key_slot::decode_config(&bytes).unwrap();
    (config.generation, config.block_target, config.data_pack, config.tree_pack) = (2, 4096, 4096, 4096);
    let keys = SubKeys::derive(&Key::new(config.open_master.unwrap()), &config.repo);
    let bytes = key_slot::encode_config(&config, &keys.config).unwrap();
    stage.storage.inner.create(ObjectKind::Config, "2", &[&bytes]).unwrap();
    stage
}

/// Folders full of long incompressible names, each of which is a pack.
fn write(stage: &Stage, seed: u64, folders: u64) {
    let _ = fs::remove_dir_all(stage.library.path("src"));
    stage.library.write("src", &[("data", &Random::new(seed).bytes(20_000))]);
    for folder in 0..folders {
        let letters = Random::new(seed * 1000 + folder).bytes(60 * 120);
        for name in letters.chunks(120) {
            let name: String = name.iter().map(|byte| char::from(b'A' + byte % 58)).collect();
            let name = name.replace(['/', '\\'], "-");
            stage.library.write("src", &[(&format!("d{folder}/{name}"), b"")]);
        }
    }
}

/// Another machine, without any local data of the repository.
struct Machine {
    repo: Repository,
    heard: Heard,
    _home: tempfile::TempDir,
}

impl Machine {
    fn new(stage: &Stage) -> Self {
        let home = tempfile::tempdir().unwrap();
        let (heard, cache) = (Heard::default(), Some(home.path().join("cache")));
        let access = OpenOptions { cache, control: heard.control(), ..OpenOptions::default() };
        let repo = Repository::open(stage.storage.clone(), &access).unwrap();
        Self { repo, heard, _home: home }
    }

    fn repo_state(&self) -> RepoState {
        RepoState::read(self.repo.storage(), self.repo.suite(), |_| Ok(())).unwrap()
    }

    fn load(&self) -> Index {
        Index::load(&self.repo, self.repo_state()).unwrap_or_else(|err| panic!("{}", err.chain()))
    }
}

/// The number of reads of packs and bundles since the last call.
fn reads(stage: &Stage) -> (usize, usize) {
    let calls = stage.storage.calls();
    let of = |area| calls.iter().filter(|call| call.0 == Act::Read && call.1 == area).count();
    (of(ObjectKind::Packs), of(ObjectKind::Index))
}

/// What the index has on every existing chunk, according to the packs' own tables.
fn assert_knows_all(stage: &Stage, index: &Index) {
    let other = Machine::new(stage);
    let own = Index::load_from_packs(&other.repo, other.repo_state()).unwrap();
    assert_eq!(index.chunks(), own.chunks());
    for (number, pack) in (0..).zip(own.packs()) {
        for id in own.table(number).unwrap().table.blocks.iter().flat_map(|block| &block.chunks) {
            let (found, there) = (index.find(pack.kind, &id.0).unwrap(), own.find(pack.kind, &id.0).unwrap());
            let place = |at: Option<snap_backup::repo::index::Location>| at.map(|at| (at.start, at.len));
            assert!(found.is_some() && place(found) == place(there), "chunk {}", id.0.hex());
        }
    }
}

#[test]
fn new_machine_reads_header_bundles_and_no_pack() {
    let stage = stage();
    write(&stage, 1, 50);
    stage.backup("src");
    let packs = stage.names(ObjectKind::Packs).len();
    assert!(packs > 40, "{packs}");
    assert_eq!(stage.names(ObjectKind::Index).len(), 1);
    let machine = Machine::new(&stage);
    reads(&stage);
    let index = machine.load();
    let (of_packs, of_segments) = reads(&stage);
    assert_eq!(of_packs, 0);
    assert!(of_segments <= 2, "{of_segments} reads of one segment");
    assert_knows_all(&stage, &index);
    assert_eq!(machine.heard.take(), Vec::<String>::new());
    // Now it knows them.
    drop(index);
    reads(&stage);
    machine.load();
    assert!(!stage.storage.calls().iter().any(|call| call.1 == ObjectKind::Index));
    // Without bundles each pack is read.
    let other = Machine::new(&stage);
    stage.storage.inner.remove(ObjectKind::Index, &stage.names(ObjectKind::Index)[0]).unwrap();
    reads(&stage);
    assert_knows_all(&stage, &other.load());
    assert!(reads(&stage).0 >= packs);
}

#[test]
fn local_storage_and_few_packs_get_no_header_bundles() {
    let stage = stage();
    write(&stage, 1, 2);
    stage.backup("src");
    assert_eq!(stage.names(ObjectKind::Index), Vec::<String>::new());
    stage.storage.far.store(false, Ordering::Relaxed);
    write(&stage, 2, 50);
    stage.backup("src");
    stage.gc();
    assert_eq!(stage.names(ObjectKind::Index), Vec::<String>::new());
}

#[test]
fn damaged_header_bundle_is_named_and_rewritten() {
    let stage = stage();
    write(&stage, 1, 50);
    stage.backup("src");
    let name = stage.names(ObjectKind::Index)[0].clone();
    let whole = stage.storage.inner.get(ObjectKind::Index, &name).unwrap();
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let broken = [
        Vec::new(),
        whole[..10].to_vec(),
        whole[..100].to_vec(),
        whole[..whole.len() - 1].to_vec(),
        [whole.as_slice(), b"x"].concat(),
        flipped(0),
        flipped(6),
        flipped(13),
        flipped(40),
        flipped(whole.len() / 2),
        flipped(whole.len() - 1),
    ];
    for (at, bytes) in broken.into_iter().enumerate() {
        stage.storage.inner.put(ObjectKind::Index, &name, bytes);
        let machine = Machine::new(&stage);
        assert_knows_all(&stage, &machine.load());
        let said = machine.heard.take().join("\n");
        assert!(said.contains(&name), "{at}: {said}");
        let found = stage.library.errors();
        assert!(found.len() == 1 && found[0].contains(&name), "{at}: {found:?}");
    }
    for dry_run in [true, false] {
        assert_eq!(stage.names(ObjectKind::Index), [name.as_str()]);
        let repo = Machine::new(&stage).repo;
        let report = index::run(&repo, dry_run, &Control::default()).unwrap();
        assert_eq!((report.segments.len(), report.unreadable.len()), (1, 0));
    }
    stage.gc();
    let names = stage.names(ObjectKind::Index);
    assert!(names.len() == 1 && names[0] != name, "{names:?}");
    stage.assert_sound();
    let machine = Machine::new(&stage);
    reads(&stage);
    machine.load();
    assert_eq!(reads(&stage).0, 0);
}

#[test]
fn header_bundle_deleted_while_read_is_ignored() {
    let stage = stage();
    write(&stage, 1, 50);
    stage.backup("src");
    for reads_before in 0..2 {
        let machine = Machine::new(&stage);
        let name = stage.names(ObjectKind::Index)[0].clone();
        let bytes = stage.storage.inner.get(ObjectKind::Index, &name).unwrap();
        (0..reads_before).for_each(|_| stage.storage.before(Act::Read, ObjectKind::Index, |_, _| {}));
        stage.storage.before(Act::Read, ObjectKind::Index, |store, name| {
            store.remove(ObjectKind::Index, name).unwrap()
        });
        assert_knows_all(&stage, &machine.load());
        assert!(stage.storage.is_spent());
        stage.storage.inner.put(ObjectKind::Index, &name, bytes);
    }
}

#[test]
fn gc_adds_packs_to_header_bundles_and_removes_them() {
    let stage = stage();
    let ids: Vec<SnapshotId> = (1..=12)
        .map(|seed| {
            write(&stage, seed, 2);
            stage.backup("src")
        })
        .collect();
    assert_eq!(stage.names(ObjectKind::Index), Vec::<String>::new());
    stage.gc();
    let first = stage.names(ObjectKind::Index);
    assert_eq!(first.len(), 1);
    let machine = Machine::new(&stage);
    reads(&stage);
    machine.load();
    assert_eq!(reads(&stage).0, 0);
    // If there is nothing to do, nothing is done.
    stage.gc();
    assert_eq!(stage.names(ObjectKind::Index), first);
    // The rest is too little for one.
    ids[..11].iter().for_each(|id| stage.forget(*id));
    stage.gc();
    assert_eq!(stage.names(ObjectKind::Index), first);
    assert_knows_all(&stage, &Machine::new(&stage).load());
    // With others it is enough.
    let more: Vec<SnapshotId> = (21..=32)
        .map(|seed| {
            write(&stage, seed, 2);
            stage.backup("src")
        })
        .collect();
    stage.gc();
    let second = stage.names(ObjectKind::Index);
    assert!(second.len() == 1 && second != first, "{second:?}");
    assert_knows_all(&stage, &Machine::new(&stage).load());
    more.iter().chain(&ids[11..]).for_each(|id| stage.forget(*id));
    stage.gc();
    assert_eq!(stage.names(ObjectKind::Packs), Vec::<String>::new());
    assert_eq!(stage.names(ObjectKind::Index), Vec::<String>::new());
    stage.assert_sound();
}

/// The last check verifies that bundles agree with the packs: the process that wrote them may have been
/// wrong.
#[test]
fn header_bundle_that_contradicts_a_pack_is_removed() {
    let stage = stage();
    write(&stage, 1, 50);
    stage.backup("src");
    let suite = stage.library.open().suite().clone();
    let found = stage.storage.inner.list(ObjectKind::Packs).unwrap()[0].clone();
    let (id, name) = (PackId::parse(&found.name).unwrap(), "ab".repeat(16));
    // As long as the pack, of a chunk that it does not contain.
    let block = |len: usize| SealedBlock {
        kind: ChunkType::Data,
        codec: Codec::Raw,
        plain: 5,
        chunks: vec![(ChunkId::new([9; 32]), 5)],
        bases: Vec::new(),
        sealed: vec![0; len],
    };
    let frame = |len| pack::frame(&suite, ChunkType::Data, SnapshotId::new([1; 16]), &[block(len)]).unwrap();
    let around = frame(1000);
    let front = frame(found.len as usize - around.head.len() - around.tail.len()).head;
    let contents = Contents(vec![(id, found.len, front.len() as u32)]);
    let head = objects::seal(&suite, sealed_object::SEGMENT, &name, &contents).unwrap();
    stage.storage.inner.create(ObjectKind::Index, &name, &[&head, &front]).unwrap();
    let found = stage.library.errors();
    assert!(found.len() == 1 && found[0].contains("contradicts pack"), "{found:?}");
    let told = |dry_run| index::run(&stage.library.open(), dry_run, &Control::default()).unwrap().segments;
    let is_it = |told: &[WrongSegment], removed| {
        told.len() == 1 && told[0].why.contains(&name) && told[0].removed == removed
    };
    let first = told(true);
    assert!(is_it(&first, false), "{first:?}");
    *stage.storage.closed.lock().unwrap() = Some(ObjectKind::Index);
    let kept = told(false);
    assert!(is_it(&kept, false), "it was not removed, and that is said: {kept:?}");
    *stage.storage.closed.lock().unwrap() = None;
    let last = told(false);
    assert!(is_it(&last, true), "{last:?}");
    assert!(!stage.names(ObjectKind::Index).contains(&name));
    stage.assert_sound();
}

#[test]
fn backup_succeeds_where_no_header_bundle_may_be_written() {
    let stage = stage();
    *stage.storage.closed.lock().unwrap() = Some(ObjectKind::Index);
    write(&stage, 1, 50);
    let repo = stage.library.open();
    let sources = vec![stage.library.path("src")];
    let options = backup::Options { sources, ..backup::Options::default() };
    let made = backup::Backup::begin(options, None, &Control::default())
        .unwrap()
        .run(&repo, &Control::default())
        .unwrap();
    assert!(made.snapshot.is_some() && made.problems.is_empty());
    let said = stage.library.warnings();
    assert!(said.len() == 1 && said[0].contains("nothing is lost"), "{said:?}");
    *stage.storage.closed.lock().unwrap() = None;
    stage.assert_sound();
}

#[test]
fn remote_second_copy_gets_its_own_header_bundles() {
    let stage = stage();
    stage.storage.far.store(false, Ordering::Relaxed);
    write(&stage, 1, 50);
    stage.backup("src");
    let there = Arc::new(Hooked::default());
    there.far.store(true, Ordering::Relaxed);
    let to: Arc<dyn Storage> = there.clone();
    let bring = || {
        let options = sync::Options::default();
        sync::run(&stage.library.open(), &to, &options, &Control::default()).unwrap()
    };
    bring();
    assert_eq!(there.inner.list(ObjectKind::Index).unwrap().len(), 1);
    bring();
    assert_eq!(there.inner.list(ObjectKind::Index).unwrap().len(), 1);
}

/// On remote storage a second upload starts before the first is confirmed; on local storage they follow one
/// another.
#[test]
fn packs_go_to_remote_storage_two_at_a_time() {
    for far in [true, false] {
        let stage = stage();
        stage.storage.far.store(far, Ordering::Relaxed);
        let (begins, begun) = mpsc::channel();
        let (met, meeting) = mpsc::channel();
        stage.storage.before(Act::Create, ObjectKind::Packs, move |_: &MemoryStorage, _| {
            let wait = Duration::from_secs(if far { 60 } else { 1 });
            met.send(begun.recv_timeout(wait).is_ok()).unwrap();
        });
        stage.storage.before(Act::Create, ObjectKind::Packs, move |_, _| begins.send(()).unwrap_or_default());
        write(&stage, 1, 50);
        stage.backup("src");
        assert_eq!(meeting.recv().unwrap(), far);
        stage.assert_sound();
    }
}

/// A pack that cannot be written ends the run soon, whichever thread wrote it.
#[test]
fn error_of_the_failed_writer_thread_is_reported() {
    let stage = stage();
    write(&stage, 1, 50);
    for which in 0..3 {
        *stage.storage.failing.lock().unwrap() = Some((Act::Create, ObjectKind::Packs, which));
        stage.storage.calls();
        let failed = stage.library.try_backup("src", backup::Options::default()).unwrap_err();
        assert!(failed.chain().contains("packs fails"), "{}", failed.chain());
        let calls = stage.storage.calls();
        let sent = calls.iter().filter(|call| call.0 == Act::Create && call.1 == ObjectKind::Packs).count();
        assert!(sent <= which + 3, "{sent} packs were sent, and the one after {which} failed");
    }
    stage.backup("src");
    stage.assert_sound();
}

/// Whatever prevents reading one: a bad sector of the server's disk, or a policy.
#[test]
fn unreadable_header_bundle_stops_nobody() {
    let stage = stage();
    write(&stage, 1, 50);
    stage.backup("src");
    for (act, which) in [(Act::List, 0), (Act::Read, 0), (Act::Read, 1)] {
        let machine = Machine::new(&stage);
        *stage.storage.failing.lock().unwrap() = Some((act, ObjectKind::Index, which));
        assert_knows_all(&stage, &machine.load());
        assert!(stage.storage.failing.lock().unwrap().is_none(), "{act:?} {which} did not come");
        let said = machine.heard.take();
        assert!(said.len() == 1 && said[0].contains("index fails"), "{said:?}");
    }
    let name = stage.names(ObjectKind::Index);
    *stage.storage.failing.lock().unwrap() = Some((Act::Read, ObjectKind::Index, 0));
    let found = stage.library.errors();
    assert!(found.len() == 1 && found[0].contains(&name[0]), "{found:?}");
    *stage.storage.failing.lock().unwrap() = Some((Act::List, ObjectKind::Index, 0));
    stage.gc();
    stage.assert_sound();
}

/// If few packs fill a bundle, it is full.
#[test]
fn header_bundles_with_long_tables_stay_unchanged() {
    let stage = stage();
    let repo = stage.library.open();
    for pack in 0..60u64 {
        let ids = Random::new(pack).bytes(7000 * 32);
        let chunks = ids.chunks(32).map(|id| (ChunkId::new(id.try_into().unwrap()), 1)).collect();
        let (kind, codec) = (ChunkType::Data, Codec::Raw);
        let block =
            SealedBlock { kind, codec, plain: 7000, chunks, bases: Vec::new(), sealed: vec![0; 7040] };
        let blocks = std::slice::from_ref(&block);
        let frame = pack::frame(repo.suite(), kind, SnapshotId::new([1; 16]), blocks).unwrap();
        let parts = [frame.head.as_slice(), &block.sealed, &frame.tail];
        let name = PackId::new(sha256(&parts.concat())).hex();
        stage.storage.inner.create(ObjectKind::Packs, &name, &parts).unwrap();
    }
    let maintain = || {
        let may = header_bundles::Maintenance { add: true, remove: true };
        header_bundles::maintain(&repo, may, &AtomicBool::new(false)).unwrap();
        stage.names(ObjectKind::Index)
    };
    let first = maintain();
    assert!(first.len() >= 2, "{first:?}");
    reads(&stage);
    assert_eq!(maintain(), first);
    assert_eq!(reads(&stage).0, 0, "packs that are in segments were read again");
    // Nothing is deleted if that is not allowed, and nothing is written without space.
    let packs = stage.names(ObjectKind::Packs);
    packs.iter().for_each(|name| stage.storage.inner.remove(ObjectKind::Packs, name).unwrap());
    let may = header_bundles::Maintenance { add: true, remove: false };
    header_bundles::maintain(&repo, may, &AtomicBool::new(false)).unwrap();
    assert_eq!(stage.names(ObjectKind::Index), first);
    assert_eq!(maintain(), Vec::<String>::new());
}

/// A listing of packs that is older than that of the bundles would lack their packs.
#[test]
fn header_bundle_written_during_gc_stays() {
    let stage = stage();
    write(&stage, 1, 50);
    let other = stage.clone();
    stage.storage.before(Act::List, ObjectKind::Index, move |_, _| {
        other.backup("src");
    });
    stage.gc();
    assert_eq!(stage.names(ObjectKind::Index).len(), 1);
    stage.assert_sound();
}

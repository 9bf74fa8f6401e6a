//! Keys of role write: they add snapshots and read nothing back, and what they write harms no others.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_bytes::ByteBuf;
use snap_backup::Control;
use snap_backup::codec::chunk::block::{BlockOpener, BlockSealer};
use snap_backup::codec::crypto::hash::ChunkType;
use snap_backup::codec::crypto::session_keys::WritingSession;
use snap_backup::codec::crypto::{cipher, envelope, key_slot, sealed_object};
use snap_backup::codec::{pack, wire};
use snap_backup::error::{Error, Result};
use snap_backup::model::config::Role;
use snap_backup::model::entry::Time;
use snap_backup::model::id::{KeyId, PackId, SnapshotId};
use snap_backup::model::manifest::Manifest;
use snap_backup::model::records::{AuditRecord, GcRecord};
use snap_backup::ops::forget::policy::{Count, Rule};
use snap_backup::ops::forget::{self, PolicyOptions};
use snap_backup::ops::{backup, cat, check, gc, key, repair, restore};
use snap_backup::repo::options::{InitOptions, OpenOptions};
use snap_backup::repo::pack::packs;
use snap_backup::repo::repository::Repository;
use snap_backup::repo::sessions::session::RepoState;
use snap_backup::repo::{objects, snapshots};
use snap_backup::storage::memory::MemoryStorage;
use snap_backup::storage::{ObjectKind, Storage};

use crate::support::heard::Heard;
use crate::support::torture::set_times;
use crate::support::{CHEAP_KDF, compare_trees};

/// A repository with one full key, a read key and two clients, each with a write key and a state directory.
struct Fleet {
    storage: Arc<MemoryStorage>,
    home: tempfile::TempDir,
    /// Each file gets an old mtime of its own, because recently changed files are read again.
    written: AtomicU32,
    heard: Heard,
}

impl Fleet {
    fn new() -> Self {
        let (storage, home) = (Arc::new(MemoryStorage::default()), tempfile::tempdir().unwrap());
        let password = Some("full".to_owned().into());
        let options = InitOptions { password, kdf: CHEAP_KDF, clients: true, ..InitOptions::default() };
        let full = Repository::init(storage.clone(), &options).unwrap();
        for (name, role) in [("a", Role::Write), ("b", Role::Write), ("read", Role::Read)] {
            key::add_role(&full, &name.to_owned().into(), CHEAP_KDF, (role, name)).unwrap();
        }
        let fleet = Self { storage, home, written: AtomicU32::new(0), heard: Heard::default() };
        fleet.write("src", "one", b"first content");
        fleet.write("src", "dir/two", &vec![7; 300_000]);
        fleet
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn write(&self, source: &str, name: &str, content: &[u8]) {
        let path = self.path(source).join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        set_times(&path, 1_000_000_000, self.written.fetch_add(1, Ordering::Relaxed).into());
    }

    /// Opens it with the password and the state directory of this name.
    fn open(&self, who: &str) -> Repository {
        self.open_with(who, who).unwrap()
    }

    fn open_with(&self, who: &str, state: &str) -> Result<Repository> {
        let (password, state) = (Some(who.to_owned().into()), Some(self.path(&format!("state-{state}"))));
        let control = self.heard.control();
        Repository::open(
            self.storage.clone(),
            &OpenOptions { password, state, control, ..OpenOptions::default() },
        )
    }

    fn backup_by(&self, repo: &Repository, source: &str) -> backup::Report {
        let options = backup::Options {
            sources: vec![self.path(source)],
            store_as: Some(b"src".to_vec()),
            host: Some("host".into()),
            ignore_ctime: true,
            ..backup::Options::default()
        };
        let summary = backup::Backup::begin(options, None, &Control::default())
            .unwrap()
            .run(repo, &Control::default())
            .unwrap();
        assert_eq!(summary.problems, []);
        summary
    }

    fn backup(&self, who: &str) -> backup::Report {
        self.backup_by(&self.open(who), "src")
    }

    fn assert_restores(&self, who: &str, id: Option<SnapshotId>) {
        let target = tempfile::tempdir().unwrap();
        let options = restore::Options {
            selector: id.unwrap().hex(),
            target: target.path().to_path_buf(),
            ..restore::Options::default()
        };
        let restored = restore::run(&self.open(who), &options, &Control::default()).unwrap();
        assert_eq!(restored.problems, []);
        assert_eq!(compare_trees(&self.path("src"), &target.path().join("src")), Vec::<String>::new());
    }

    fn errors(&self) -> Vec<String> {
        let options = check::Options { read_data: true, ..check::Options::default() };
        let report = check::run(&self.open("full"), &options, &Control::default()).unwrap();
        report.errors.iter().map(ToString::to_string).collect()
    }

    fn names(&self, area: ObjectKind) -> Vec<String> {
        self.storage.list(area).unwrap().into_iter().map(|found| found.name).collect()
    }

    /// Stores a pack of one block with one chunk, as this key does it.
    fn plant(&self, repo: &Repository, chunk: snap_backup::model::id::ChunkId, plain: &[u8]) {
        let mut sealer = BlockSealer::new(repo.suite().clone(), 3).unwrap();
        let block = sealer.seal(ChunkType::Data, plain, vec![(chunk, plain.len() as u32)]).unwrap();
        let session = cipher::new_id().unwrap();
        let what = (ChunkType::Data, session);
        packs::write(&*self.storage, repo.suite(), what, vec![block], 0).unwrap().1.unwrap();
    }
}

#[test]
fn write_key_saves_changes_that_full_and_read_keys_restore() {
    let fleet = Fleet::new();
    let first = fleet.backup("a");
    assert_eq!((first.counts.files_new, first.counts.bytes_total), (2, 300_013));
    fleet.assert_restores("full", first.snapshot);
    fleet.assert_restores("read", first.snapshot);
    let unchanged = fleet.backup("a");
    assert_eq!((unchanged.snapshot, unchanged.counts.bytes_read), (None, 0));
    fleet.write("src", "one", b"second content");
    let second = fleet.backup("a");
    assert_eq!(second.parent, first.snapshot);
    assert_eq!((second.counts.files_unchanged, second.counts.bytes_read), (1, 14));
    assert_eq!(second.more.data_chunks, 1);
    fleet.assert_restores("read", second.snapshot);
    assert_eq!(fleet.errors(), Vec::<String>::new());
    let writers: Vec<_> = snapshots::list(&fleet.open("full")).unwrap();
    let slot = fleet.open("a").slot();
    assert!(slot.is_some() && writers.iter().all(|one| one.manifest.writer() == slot));
}

#[test]
fn client_without_memory_reads_all_and_stores_nothing_twice() {
    let fleet = Fleet::new();
    let first = fleet.backup("a");
    let packs = fleet.names(ObjectKind::Packs);
    let again = fleet.backup_by(&fleet.open_with("a", "other").unwrap(), "src");
    assert_eq!((again.counts.bytes_read, again.counts.bytes_added), (300_013, 0));
    assert_eq!(fleet.names(ObjectKind::Packs), packs);
    assert!(again.snapshot.is_some() && again.snapshot != first.snapshot);
    fleet.assert_restores("full", again.snapshot);
    // A corrupt memory file counts as missing, and the user is warned.
    let file =
        walk(&fleet.path("state-a")).into_iter().find(|path| path.to_str().unwrap().contains("memory"));
    fs::write(file.unwrap(), b"garbled").unwrap();
    let repo = fleet.open("a");
    assert_eq!(fleet.backup_by(&repo, "src").counts.bytes_added, 0);
    assert!(fleet.heard.take().iter().any(|text| text.contains("all files are read again")));
}

fn walk(dir: &std::path::Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn write_keys_reuse_data_of_full_keys_never_the_reverse() {
    let fleet = Fleet::new();
    let by_a = fleet.backup("a");
    let by_b = fleet.backup("b");
    assert_eq!(by_b.counts.bytes_added, by_a.counts.bytes_added, "b believed a");
    let by_full = fleet.backup("full");
    assert!(by_full.more.data_chunks >= by_a.more.data_chunks, "the full key believed a write key");
    // Everybody reuses what a full key stored, or resealed after verifying it.
    fs::remove_dir_all(fleet.path("state-b")).unwrap();
    fleet.write("src", "three", b"only of a");
    fleet.backup("a");
    let options = gc::Options { reseal: true, ..gc::Options::default() };
    gc::run(&fleet.open("full"), &options, &Control::default()).unwrap();
    let again = fleet.backup("b");
    assert_eq!(again.counts.bytes_added, 0);
    fleet.assert_restores("full", again.snapshot);
    assert_eq!(fleet.errors(), Vec::<String>::new());
}

/// The client's own code, made hostile: it has the keyring of `a` and all bytes of the repository.
#[test]
fn a_stolen_write_key_opens_no_data_tree_manifest_or_record() {
    let fleet = Fleet::new();
    fleet.backup("full");
    fleet.write("src", "one", b"other content");
    fleet.backup("a");
    let thief = fleet.open("a");
    let suite = thief.suite();
    let mut blocks = 0;
    for name in fleet.names(ObjectKind::Packs) {
        let bytes = fleet.storage.get(ObjectKind::Packs, &name).unwrap();
        let id = PackId::parse(&name).unwrap();
        let table = packs::read_table(&*fleet.storage, suite, &id, bytes.len() as u64).unwrap();
        let mut opener = BlockOpener::new(suite.clone()).unwrap();
        for row in &table.blocks {
            let mut sealed = bytes[row.offset as usize..][..row.stored as usize].to_vec();
            let opened = opener.open(&row.seal((table.sealing(), table.kind)), &mut sealed, &mut Vec::new());
            assert!(opened.is_err(), "a block of {name}");
            blocks += 1;
        }
    }
    assert!(blocks >= 4, "{blocks} blocks");
    for name in fleet.names(ObjectKind::Snapshots) {
        let bytes = fleet.storage.get(ObjectKind::Snapshots, &name).unwrap();
        assert!(sealed_object::open::<Manifest>(suite, sealed_object::MANIFEST, &name, bytes).is_err());
    }
    assert!(!fleet.names(ObjectKind::Audit).is_empty());
    for name in fleet.names(ObjectKind::Audit) {
        let bytes = fleet.storage.get(ObjectKind::Audit, &name).unwrap();
        assert!(sealed_object::open::<AuditRecord>(suite, sealed_object::AUDIT, &name, bytes).is_err());
    }
    for name in fleet.names(ObjectKind::Keys) {
        let bytes = fleet.storage.get(ObjectKind::Keys, &name).unwrap();
        assert!(key_slot::label(&bytes, suite).is_err());
    }
    let mut out = Vec::new();
    let refused = cat::run(&thief, "latest:src/one", &mut out).unwrap_err();
    assert!(refused.chain().contains("role write"), "{}", refused.chain());
}

#[test]
fn every_verb_but_backup_refuses_a_write_key() {
    let fleet = Fleet::new();
    fleet.backup("a");
    let repo = fleet.open("a");
    let forget =
        forget::Options { selectors: vec!["latest".into()], force: true, ..forget::Options::default() };
    let check = check::Options::default();
    let costs = CHEAP_KDF;
    let restore = restore::Options { target: fleet.path("out"), ..restore::Options::default() };
    let new = || "new".to_owned().into();
    let all: Vec<(&str, Result<()>)> = vec![
        ("restore", restore::run(&repo, &restore, &Control::default()).map(drop)),
        ("check", check::run(&repo, &check, &Control::default()).map(drop)),
        ("forget", forget::run(&repo, &forget).map(drop)),
        ("undelete", forget::undelete(&repo, &["00".into()]).map(drop)),
        ("gc", gc::run(&repo, &gc::Options::default(), &Control::default()).map(drop)),
        ("key add", key::add(&repo, &new(), costs, "").map(drop)),
        ("key passwd", key::change(&repo, &new(), costs).map(drop)),
        ("key rotate", key::rotate(&repo, &"a".to_owned().into(), costs).map(drop)),
        ("key remove", key::remove(&repo, "0").map(drop)),
        ("parity", repo.clone().set_parity(10)),
    ];
    for (verb, result) in all {
        match result {
            Err(Error::Refused(why)) => assert!(why.contains("role write"), "{verb}: {why}"),
            other => panic!("{verb}: {other:?}"),
        }
    }
}

/// The id is not that of the bytes.
#[test]
fn chunks_under_false_ids_harm_nobody_but_their_writer() {
    let fleet = Fleet::new();
    let hostile = fleet.open("b");
    for content in [&b"first content"[..], &[7; 300_000]] {
        // Small files are one chunk. The chunks of the large one are found by cutting it.
        let mut rest = content;
        while !rest.is_empty() {
            let (chunk, behind) = rest.split_at(hostile.chunker().cut(rest));
            let id = hostile.hasher().id_of(ChunkType::Data, chunk);
            fleet.plant(&hostile, id, &vec![0; chunk.len()]);
            rest = behind;
        }
    }
    // a comes before the full key, whose copies it may reuse.
    for who in ["a", "full"] {
        let saved = fleet.backup(who);
        assert!(saved.more.data_chunks > 0, "{who} reused what b stored");
        fleet.assert_restores("read", saved.snapshot);
    }
    let options = gc::Options { reseal: true, ..gc::Options::default() };
    gc::run(&fleet.open("full"), &options, &Control::default()).unwrap();
    for snapshot in snapshots::list(&fleet.open("full")).unwrap() {
        fleet.assert_restores("full", Some(snapshot.id));
    }
}

#[test]
fn gc_record_forged_by_a_write_key_condemns_nothing() {
    let fleet = Fleet::new();
    let saved = fleet.backup("full");
    let repo = fleet.open("b");
    let condemned = fleet.names(ObjectKind::Packs).iter().map(|name| PackId::parse(name).unwrap()).collect();
    let by = SnapshotId::new([1; 16]);
    let record = GcRecord { by, at: Time::now(), condemned, roots: Vec::new(), purged: Vec::new() };
    let name = "0000000000000001";
    assert!(objects::seal(repo.suite(), sealed_object::GC, name, &record).is_err());
    // It has the key that seals such records, and writes any bytes as the signature.
    let plain = [wire::encode(&record).unwrap(), vec![7; 64]].concat();
    let mut bytes = b"SNAPGC\x01\0\x01\0\0\0".to_vec();
    bytes.extend((plain.len() as u32).to_le_bytes());
    bytes.extend([0; 8]);
    let aad = [&bytes[..], repo.suite().repo.as_bytes(), name.as_bytes()].concat();
    repo.suite().shared().seal(&aad, &plain, &mut bytes).unwrap();
    fleet.storage.put(ObjectKind::Gc, name, bytes);
    let full = fleet.open("full");
    let looked = RepoState::read(&*fleet.storage, full.suite(), |_| Ok(()));
    assert!(looked.unwrap_err().chain().contains("signature"));
    assert!(gc::run(&full, &gc::Options::default(), &Control::default()).is_err());
    repair::gc_records::run(&full, false).unwrap();
    gc::run(&full, &gc::Options::default(), &Control::default()).unwrap();
    // Nor does it end one, or replace one with a higher number.
    for name in ["00000000000000ff.done", "0000000000000200"] {
        fleet.storage.put(ObjectKind::Gc, name, b"SNAPGD\x01\0\x01\0\0\0 what no full key made".to_vec());
        assert!(RepoState::read(&*fleet.storage, full.suite(), |_| Ok(())).is_err(), "{name}");
        repair::gc_records::run(&full, false).unwrap();
        assert!(RepoState::read(&*fleet.storage, full.suite(), |_| Ok(())).is_ok(), "{name}");
    }
    fleet.assert_restores("full", saved.snapshot);
    assert_eq!(fleet.errors(), Vec::<String>::new());
}

/// An attacker without the private key of a slot: the storage, or another client.
#[test]
fn manifests_forged_for_a_write_key_are_rejected() {
    let fleet = Fleet::new();
    let saved = fleet.backup("a").snapshot.unwrap();
    let full = fleet.open("full");
    let manifest = snapshots::list(&full).unwrap().remove(0).manifest;
    let bytes = fleet.storage.get(ObjectKind::Snapshots, &saved.hex()).unwrap();
    let slot = KeyId::new(bytes[24..56].try_into().unwrap());
    assert_eq!(Some(slot), fleet.open("a").slot());
    // The keys of a real session with other bytes after them, and keys that an outsider sealed.
    let stranger = envelope::new_pair().unwrap();
    let session = WritingSession::begin(&full.config().repo, slot, &stranger, &stranger.public).unwrap();
    let forger = fleet.open("b").suite().clone().writing(session);
    let name = SnapshotId::new([9; 16]).hex();
    let forged = objects::seal(&forger, sealed_object::MANIFEST, &name, &manifest).unwrap();
    fleet.storage.put(ObjectKind::Snapshots, &name, forged.clone());
    let copied = [&forged[..24], &bytes[24..24 + 144], &forged[24 + 144..]].concat();
    let other = SnapshotId::new([8; 16]).hex();
    fleet.storage.put(ObjectKind::Snapshots, &other, copied);
    let listing = snapshots::list_all(&fleet.open("full")).unwrap();
    assert_eq!((listing.snapshots.len(), listing.unreadable.len()), (1, 2));
    let errors = fleet.errors();
    assert!([name, other].iter().all(|name| errors.iter().any(|error| error.contains(name))), "{errors:?}");
    fleet.assert_restores("full", Some(saved));
}

#[test]
fn removed_write_key_is_locked_out_and_its_data_opens() {
    let fleet = Fleet::new();
    let saved = fleet.backup("a").snapshot;
    let slot = fleet.open("a").slot().unwrap();
    let before = fleet.open("a");
    key::remove(&fleet.open("full"), &slot.hex()).unwrap();
    assert!(fleet.open_with("a", "a").is_err());
    fleet.assert_restores("full", saved);
    key::rotate(&fleet.open("full"), &"full".to_owned().into(), CHEAP_KDF).unwrap();
    fleet.assert_restores("full", saved);
    fleet.assert_restores("read", saved);
    // b continues in the new epoch. a, which was open all the time, begins no session.
    let by_b = fleet.backup("b").snapshot;
    fleet.assert_restores("read", by_b);
    let options = backup::Options { sources: vec![fleet.path("src")], ..backup::Options::default() };
    let late =
        backup::Backup::begin(options, None, &Control::default()).unwrap().run(&before, &Control::default());
    assert!(late.is_err(), "{late:?}");
    assert_eq!(fleet.errors(), Vec::<String>::new());
}

#[test]
fn false_claims_of_a_write_key_displace_no_other_data() {
    let fleet = Fleet::new();
    let victim = fleet.backup("full").snapshot.unwrap();
    fleet.write("src", "one", b"planted here");
    let forged = fleet.backup("b").snapshot.unwrap();
    fleet.write("src", "one", b"first contenT");
    let next = fleet.backup("full");
    assert_eq!(next.parent, Some(victim), "a write key's snapshot became the parent");
    fleet.assert_restores("full", next.snapshot);
    let options = PolicyOptions { rules: vec![Rule::Last(Count::UpTo(1))], ..PolicyOptions::default() };
    forget::by_policy(&fleet.open("full"), &options).unwrap();
    let left: Vec<_> = snapshots::list(&fleet.open("full")).unwrap().iter().map(|one| one.id).collect();
    assert!(left.contains(&next.snapshot.unwrap()) && left.contains(&forged), "{left:?}");
    assert!(!left.contains(&victim), "each key's snapshots are a group of their own");
}

/// A writer that refers to missing chunks damages its own snapshot and nothing else.
#[test]
fn a_hostile_tree_is_damage_of_its_own_snapshot_only() {
    let fleet = Fleet::new();
    let saved = fleet.backup("full").snapshot;
    let by_b = fleet.backup("b").snapshot.unwrap();
    let full = fleet.open("full");
    let honest = snapshots::list(&full).unwrap().into_iter().find(|one| one.id == by_b).unwrap();
    let hostile = fleet.open("b");
    let mut manifest = honest.manifest;
    manifest.root = hostile.hasher().id_of(ChunkType::Tree, b"no such tree");
    manifest.sources = vec![ByteBuf::from(b"/elsewhere".to_vec())];
    let id = cipher::new_id().unwrap();
    let bytes = objects::seal(hostile.suite(), sealed_object::MANIFEST, &id.hex(), &manifest).unwrap();
    fleet.storage.put(ObjectKind::Snapshots, &id.hex(), bytes);
    let errors = fleet.errors();
    assert!(!errors.is_empty() && errors.iter().all(|error| error.contains(&id.short())), "{errors:?}");
    fleet.assert_restores("full", saved);
    fleet.assert_restores("full", Some(by_b));
    let selectors = vec![id.hex()];
    let forget = forget::Options { selectors, allow_remove_all: true, ..forget::Options::default() };
    forget::run(&fleet.open("full"), &forget).unwrap();
    gc::run(
        &fleet.open("full"),
        &gc::Options { empty_trash: true, ..gc::Options::default() },
        &Control::default(),
    )
    .unwrap();
    fleet.assert_restores("full", saved);
    assert_eq!(fleet.errors(), Vec::<String>::new());
}

/// Tables of write keys are not trusted, so a delta in one is refused when it is read.
#[test]
fn pack_names_its_key_and_other_keys_do_not_claim_it() {
    let fleet = Fleet::new();
    fleet.backup("a");
    let (a, b, full) = (fleet.open("a"), fleet.open("b"), fleet.open("full"));
    for name in fleet.names(ObjectKind::Packs) {
        let (id, len) =
            (PackId::parse(&name).unwrap(), fleet.storage.get(ObjectKind::Packs, &name).unwrap().len());
        let table =
            |repo: &Repository| packs::read_table(&*fleet.storage, repo.suite(), &id, len as u64).unwrap();
        assert_eq!((table(&a).own, table(&b).own, table(&full).own), (a.slot(), None, None));
        assert_eq!(table(&full).by.map(|by| by.slot()), a.slot());
        // The keys of a in a table of b: the tag is not that of a.
        let bytes = fleet.storage.get(ObjectKind::Packs, &name).unwrap();
        let frame = pack::frame(b.suite(), ChunkType::Data, SnapshotId::new([1; 16]), &[]).unwrap();
        let mut front = frame.head.clone();
        front[64..64 + 144].copy_from_slice(&bytes[64..64 + 144]);
        let opened = pack::open_front(a.suite(), &front, (frame.head.len() + frame.tail.len()) as u64);
        assert!(opened.is_err());
    }
}

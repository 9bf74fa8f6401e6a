//! Sources on disk and a small repository, from which every scenario starts.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use snap_backup::codec::crypto::sealed_object;
use snap_backup::codec::crypto::suite::CipherSuite;
use snap_backup::model::entry::Time;
use snap_backup::model::id::{PackId, SnapshotId};
use snap_backup::model::manifest::SnapshotKind;
use snap_backup::model::records::{DamageRecord, Damaged};
use snap_backup::ops::backup::Backup;
use snap_backup::ops::gc::MaxUnused;
use snap_backup::ops::repair::{gc_records, packs};
use snap_backup::ops::{backup, cat, check, diff, export, forget, gc, ls, repair, restore, stats};
use snap_backup::repo::options::{InitOptions, OpenOptions};
use snap_backup::repo::repository::Repository;
use snap_backup::repo::{objects, snapshots};
use snap_backup::storage::memory::MemoryStorage;
use snap_backup::storage::{ObjectKind, Storage};
use snap_backup::{Control, Result};

use super::{Random, compare_trees};

/// Initially there are snapshots `old` (of a, b, c), `dad` (of a, d) and `keep` (of c, e); `a` and `c` are in
/// two packs each. `d` has changed slightly since: the next backup of `dad` makes deltas. Further sources can
/// be backed up.
pub struct World {
    home: tempfile::TempDir,
    start: Vec<(ObjectKind, String, Vec<u8>)>,
    pub suite: CipherSuite,
    pub ids: BTreeMap<&'static str, SnapshotId>,
}

const SOURCES: &[(&str, &[u64])] = &[
    ("old", &[1, 2, 3]),
    ("dad", &[1, 4]),
    ("keep", &[3, 5]),
    ("ab", &[1, 2]),
    ("new", &[1, 6, 7]),
    ("new2", &[1, 6, 7]),
];

impl World {
    pub fn new() -> Self {
        Self::with_parity(0)
    }

    /// With sidecars.
    pub fn with_parity(parity: u8) -> Self {
        let shm = Path::new("/dev/shm");
        let home = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() }.unwrap();
        for (name, seeds) in SOURCES {
            for seed in *seeds {
                let path = home.path().join(name).join(format!("f{seed}"));
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, Random::new(*seed).bytes(3000)).unwrap();
                let age = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
                fs::File::options().write(true).open(&path).unwrap().set_modified(age).unwrap();
            }
        }
        let storage = Arc::new(MemoryStorage::default());
        let repo = InitOptions { parity, ..InitOptions::default() };
        let repo = Repository::init(storage.clone(), &repo).unwrap();
        let mut world = Self { home, start: Vec::new(), suite: repo.suite().clone(), ids: BTreeMap::new() };
        // Each in packs of its own, as concurrent writers leave them.
        let mut packs = Vec::new();
        for name in ["old", "dad", "keep"] {
            let id = world.backup(storage.clone(), name, SnapshotKind::Full).unwrap().unwrap();
            world.ids.insert(name, id);
            for found in storage.list(ObjectKind::Packs).unwrap() {
                packs.push((found.name.clone(), storage.get(ObjectKind::Packs, &found.name).unwrap()));
                storage.remove(ObjectKind::Packs, &found.name).unwrap();
            }
        }
        packs.into_iter().for_each(|(name, bytes)| storage.put(ObjectKind::Packs, &name, bytes));
        world.change("dad", 4);
        for area in ObjectKind::ALL {
            for found in storage.list(area).unwrap() {
                let bytes = storage.get(area, &found.name).unwrap();
                world.start.push((area, found.name, bytes));
            }
        }
        world
    }

    /// Changes a source. Its saved state is kept next to it.
    fn change(&self, source: &str, seed: u64) {
        let (path, was) = (self.path(source), self.path(&format!("{source}-was")));
        fs::create_dir(&was).unwrap();
        for file in fs::read_dir(&path).unwrap() {
            let file = file.unwrap();
            let copy = was.join(file.file_name());
            fs::copy(file.path(), &copy).unwrap();
            let modified = file.metadata().unwrap().modified().unwrap();
            fs::File::options().write(true).open(&copy).unwrap().set_modified(modified).unwrap();
        }
        let modified = path.metadata().unwrap().modified().unwrap();
        fs::File::open(&was).unwrap().set_modified(modified).unwrap();
        let file = path.join(format!("f{seed}"));
        let mut bytes = fs::read(&file).unwrap();
        bytes[1500] ^= 1;
        fs::write(&file, bytes).unwrap();
        let age = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_001);
        fs::File::options().write(true).open(&file).unwrap().set_modified(age).unwrap();
    }

    /// Returns what a snapshot of a source must restore to.
    fn original(&self, id: SnapshotId, source: &str) -> PathBuf {
        let was = self.path(&format!("{source}-was"));
        if self.ids.get(source) == Some(&id) && was.is_dir() { was } else { self.path(source) }
    }

    pub fn storage(&self) -> MemoryStorage {
        let storage = MemoryStorage::default();
        for (area, name, bytes) in &self.start {
            storage.create(*area, name, &[bytes]).unwrap();
        }
        storage
    }

    /// Like the initial state, but one of the two tables of the pack of `old` is damaged, and known to be:
    /// nothing is lost.
    pub fn damaged(&self) -> MemoryStorage {
        let storage = self.storage();
        let packs = storage.list(ObjectKind::Packs).unwrap();
        let name = packs.into_iter().max_by_key(|found| found.len).unwrap().name;
        let mut bytes = storage.get(ObjectKind::Packs, &name).unwrap();
        *bytes.iter_mut().nth_back(100).unwrap() ^= 1;
        storage.put(ObjectKind::Packs, &name, bytes);
        let record = DamageRecord {
            what: Damaged::Pack(PackId::parse(&name).unwrap()),
            by: self.ids["old"],
            at: Time::now(),
            why: "for a test".to_owned(),
        };
        objects::create(&storage, &self.suite, sealed_object::DAMAGE, ObjectKind::Damage, &name, &record)
            .unwrap();
        storage
    }

    /// Nothing may be lost by it.
    pub fn repair(&self, storage: Arc<dyn Storage>) -> Result<()> {
        let repo = Repository::open(storage, &OpenOptions::default())?;
        let report = packs::run(&repo, &packs::Options::default(), &Control::default())?;
        assert!(!report.has_lost(), "{report:?}");
        Ok(())
    }

    pub fn repair_gc(&self, storage: Arc<dyn Storage>) -> Result<gc_records::Report> {
        gc_records::run(&Repository::open(storage, &OpenOptions::default())?, false)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub fn backup(
        &self,
        storage: Arc<dyn Storage>,
        source: &str,
        kind: SnapshotKind,
    ) -> Result<Option<SnapshotId>> {
        let options = backup::Options {
            sources: vec![self.path(source)],
            store_as: Some(source.as_bytes().to_vec()),
            kind,
            ignore_ctime: true,
            allow_empty: true,
            ..backup::Options::default()
        };
        let begun = Backup::begin(options, None, &Control::default())?;
        Ok(begun.run(&Repository::open(storage, &OpenOptions::default())?, &Control::default())?.snapshot)
    }

    pub fn gc(&self, storage: Arc<dyn Storage>) -> Result<gc::Report> {
        let options =
            gc::Options { max_unused: MaxUnused::Bytes(0), empty_trash: true, ..gc::Options::default() };
        gc::run(&Repository::open(storage, &OpenOptions::default())?, &options, &Control::default())
    }

    /// Returns how the restored snapshot differs from a source.
    pub fn restore(&self, storage: Arc<dyn Storage>, id: SnapshotId, source: &str) -> Result<Vec<String>> {
        let target = tempfile::tempdir_in(self.home.path()).unwrap();
        let options = restore::Options {
            selector: id.hex(),
            target: target.path().to_path_buf(),
            ..restore::Options::default()
        };
        let repo = Repository::open(storage, &OpenOptions::default())?;
        let summary = restore::run(&repo, &options, &Control::default())?;
        if summary.problems.is_empty() {
            return Ok(compare_trees(&self.original(id, source), &target.path().join(source)));
        }
        Ok(summary.problems.iter().map(ToString::to_string).collect())
    }

    /// Returns the content of a file of a source.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        let (source, file) = name.split_once('/').unwrap();
        fs::read(self.original(self.ids[source], source).join(file)).unwrap()
    }

    pub fn cat(&self, storage: Arc<dyn Storage>, selector: &str) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        cat::run(&Repository::open(storage, &OpenOptions::default())?, selector, &mut out).map(|()| out)
    }

    /// Returns the paths in a snapshot.
    pub fn ls(&self, storage: Arc<dyn Storage>, selector: &str) -> Result<Vec<String>> {
        let mut paths = Vec::new();
        let repo = Repository::open(storage, &OpenOptions::default())?;
        ls::run(&repo, selector, ls::Levels::All, &mut |path, _| {
            paths.push(String::from_utf8_lossy(path).into_owned());
            Ok(())
        })?;
        Ok(paths)
    }

    /// Returns a tar archive.
    pub fn export(&self, storage: Arc<dyn Storage>, selector: &str) -> Result<Vec<u8>> {
        let (selector, format) = (selector.as_bytes().to_vec(), export::Format::Tar);
        let options = export::Options { selector, format, ..export::Options::default() };
        let mut out = Vec::new();
        let repo = Repository::open(storage, &OpenOptions::default())?;
        export::run(&repo, &options, &mut out, &Control::default()).map(|_| out)
    }

    /// Returns each path that differs, after its letter.
    pub fn diff(&self, storage: Arc<dyn Storage>, before: &str, after: &str) -> Result<Vec<String>> {
        let options =
            diff::Options { before: before.as_bytes().to_vec(), after: after.into(), ..Default::default() };
        let mut lines = Vec::new();
        let mut each = |found: &diff::Difference<'_>| {
            lines.push(format!("{} {}", found.change.letter(), String::from_utf8_lossy(found.path)));
            Ok(())
        };
        let repo = Repository::open(storage, &OpenOptions::default())?;
        diff::run(&repo, &options, &mut each, &Control::default())?;
        Ok(lines)
    }

    /// Returns what a complete check finds.
    pub fn check(&self, storage: Arc<dyn Storage>) -> Result<Vec<String>> {
        let options = check::Options { read_data: true, ..check::Options::default() };
        let repo = Repository::open(storage, &OpenOptions::default())?;
        let report = check::run(&repo, &options, &Control::default())?;
        Ok(report.errors.iter().map(ToString::to_string).collect())
    }

    pub fn stats(&self, storage: Arc<dyn Storage>) -> Result<stats::Report> {
        let repo = Repository::open(storage, &OpenOptions::default())?;
        stats::run(&repo, &stats::Options::default(), &Control::default())
    }

    pub fn repair_index(&self, storage: Arc<dyn Storage>) -> Result<repair::index::Report> {
        let repo = Repository::open(storage, &OpenOptions::default())?;
        repair::index::run(&repo, false, &Control::default())
    }

    pub fn repair_snapshots(&self, storage: Arc<dyn Storage>) -> Result<repair::snapshots::Report> {
        let repo = Repository::open(storage, &OpenOptions::default())?;
        let options = repair::snapshots::Options::default();
        repair::snapshots::run(&repo, &options, &Control::default())
    }

    pub fn forget(&self, storage: Arc<dyn Storage>, name: &str) -> Result<()> {
        let selectors = vec![self.ids[name].hex()];
        let options = forget::Options { selectors, allow_remove_all: true, ..forget::Options::default() };
        forget::run(&Repository::open(storage, &OpenOptions::default())?, &options).map(|_| ())
    }

    pub fn undelete(&self, storage: Arc<dyn Storage>, name: &str) -> Result<Vec<SnapshotId>> {
        forget::undelete(&Repository::open(storage, &OpenOptions::default())?, &[self.ids[name].hex()])
    }

    /// Returns everything that exists now.
    pub fn standing(&self, storage: Arc<dyn Storage>) -> Vec<SnapshotId> {
        let repo = Repository::open(storage, &OpenOptions::default()).unwrap();
        snapshots::list(&repo).unwrap().iter().map(|snapshot| snapshot.id).collect()
    }

    /// Returns what is wrong with it: each snapshot must restore to its source, and every byte must be
    /// intact.
    pub fn wrong(&self, storage: &Arc<MemoryStorage>) -> Vec<String> {
        let repo = Repository::open(storage.clone(), &OpenOptions::default()).unwrap();
        let listing = snapshots::list_all(&repo).unwrap();
        let mut wrong: Vec<String> =
            listing.unreadable.iter().map(|(name, err)| format!("{name}: {}", err.chain())).collect();
        for snapshot in &listing.snapshots {
            let source = String::from_utf8(snapshot.manifest.sources[0].to_vec()).unwrap();
            let source = source.rsplit('/').next().unwrap();
            match self.restore(storage.clone(), snapshot.id, source) {
                Ok(differences) => {
                    wrong.extend(differences.iter().map(|what| format!("{source}: {what}")));
                }
                Err(err) => wrong.push(format!("{source}: {}", err.chain())),
            }
        }
        let options = check::Options { read_data: true, ..check::Options::default() };
        let report = check::run(&repo, &options, &Control::default()).unwrap();
        wrong.extend(report.errors.iter().map(ToString::to_string));
        wrong
    }

    /// Returns what is wrong with the next runs: they must need no help and wait for nobody.
    pub fn wrong_later(&self, storage: &Arc<MemoryStorage>) -> Vec<String> {
        let mut wrong = Vec::new();
        // The first finds the killed processes dead; the last has nothing to wait for.
        for _ in 0..3 {
            match self.gc(storage.clone()) {
                Ok(report) if report.waiting_for.is_empty() => {}
                Ok(report) => wrong.push(format!("the next gc waits for {:?}", report.waiting_for)),
                Err(err) => wrong.push(format!("the next gc: {}", err.chain())),
            }
        }
        wrong.extend(self.wrong(storage));
        let left = storage.list(ObjectKind::Sessions).unwrap();
        wrong.extend(left.iter().map(|found| format!("session {} is left", found.name)));
        let repo = Repository::open(storage.clone(), &OpenOptions::default()).unwrap();
        let names =
            |area| storage.list(area).unwrap().into_iter().map(|found| found.name).collect::<Vec<_>>();
        if repo.config().parity() > 0 && names(ObjectKind::Packs) != names(ObjectKind::Parity) {
            wrong.push(format!(
                "packs {:?} have parity {:?}",
                names(ObjectKind::Packs),
                names(ObjectKind::Parity)
            ));
        }
        if self.standing(storage.clone()).is_empty() && !storage.list(ObjectKind::Packs).unwrap().is_empty() {
            wrong.push("packs are left that nobody needs".to_owned());
        }
        wrong
    }
}

/// A storage with the content of another, which knows no locks: all processes that hold them are gone.
pub fn copy_of(storage: &MemoryStorage) -> Arc<MemoryStorage> {
    let copy = Arc::new(MemoryStorage::default());
    for area in ObjectKind::ALL {
        for found in storage.list(area).unwrap() {
            copy.create(area, &found.name, &[&storage.get(area, &found.name).unwrap()]).unwrap();
        }
    }
    copy
}

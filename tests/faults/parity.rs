//! Parity: scattered bad sectors up to the percentage are repaired, whichever command finds them. Anything
//! more is ordinary damage.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::{fs, io};

use snap_backup::codec::pack::parity as codec;
use snap_backup::codec::pack::parity::Layout;
use snap_backup::model::decode_error::DecodeError;
use snap_backup::model::id::PackId;
use snap_backup::ops::{backup, gc};
use snap_backup::repo::pack::parity::{self, HealedPack};
use snap_backup::storage::memory::MemoryStorage;
use snap_backup::storage::{CreateOutcome, Listed, LockGuard, ObjectKind, Storage};
use snap_backup::{Control, Error, Result};

use crate::support::hooked::{Act, Hooked};
use crate::support::library::Library;
use crate::support::{Random, Sandbox, chmod};

const SECTOR: usize = 4096;

/// Eight files of a quarter of a megabyte in one data pack, and two small ones.
fn sandbox(init: &[&str]) -> Sandbox {
    let sandbox = Sandbox::bare();
    sandbox.ok(&[&["init"], init].concat());
    sandbox.write(&[("a", "hello"), ("d/b", "deep")]);
    for number in 0..8 {
        fs::write(sandbox.src().join(format!("d/{number}")), Random::new(number).bytes(250_000)).unwrap();
    }
    sandbox.backup(&[]);
    sandbox
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

fn largest_pack(sandbox: &Sandbox) -> PathBuf {
    sandbox.objects("packs").into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
}

fn sidecar_of(pack: &Path) -> PathBuf {
    let (name, repo) = (name(pack), pack.parent().unwrap().parent().unwrap().parent().unwrap());
    repo.join("parity").join(&name[..2]).join(name)
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    chmod(path, 0o600);
    fs::write(path, bytes).unwrap();
}

/// Overwrites so many sectors, spread over the whole pack, including the first and the last.
fn scatter(path: &Path, count: usize) {
    change(path, |bytes| {
        let sectors = bytes.len().div_ceil(SECTOR);
        for number in 0..count {
            let at = number * (sectors - 1) / (count - 1).max(1) * SECTOR;
            let end = (at + SECTOR).min(bytes.len());
            bytes[at..end].copy_from_slice(&Random::new(at as u64).bytes(end - at));
        }
    });
}

/// Returns the number of sectors that the parity of a pack can rebuild.
fn share_of(pack: &Path, percent: usize) -> usize {
    (fs::metadata(pack).unwrap().len() as usize).div_ceil(SECTOR) * percent / 100
}

#[test]
fn backup_writes_parity_for_every_pack_only_if_enabled() {
    let sandbox = sandbox(&["--parity", "10%"]);
    for pack in sandbox.objects("packs") {
        let (pack, sidecar) =
            (fs::metadata(&pack).unwrap().len(), fs::metadata(sidecar_of(&pack)).unwrap().len());
        assert!(pack < 100_000 || (pack / 10..pack / 9).contains(&sidecar), "{sidecar} bytes for {pack}");
    }
    assert_eq!(sandbox.objects("packs").len(), sandbox.objects("parity").len());
    sandbox.assert_clean();
    let plain = self::sandbox(&[]);
    assert!(!plain.path("repo/parity").exists());
    let made = Sandbox::bare();
    made.write(&[("a", "hello")]);
    made.ok(&["backup", "--init", "--parity", "5", "src"]);
    assert_eq!(made.objects("packs").len(), made.objects("parity").len());
    made.snap(&["backup", "--parity", "5", "src"]).expect(2);
    made.snap(&["config", "set", "parity", "101%"]).expect(2);
}

#[test]
fn damaged_pack_is_rebuilt_up_to_its_parity_on_read() {
    let sandbox = sandbox(&["--parity", "10%"]);
    let pack = largest_pack(&sandbox);
    scatter(&pack, share_of(&pack, 10));
    let damaged = fs::read(&pack).unwrap();
    let told = sandbox.ok(&["restore", "latest", "--target", "out"]).stderr;
    crate::support::assert_same(&sandbox.src(), &sandbox.path("out/src"));
    let lines: Vec<&str> = told.lines().filter(|line| line.contains("rebuilt from parity")).collect();
    assert_eq!(lines.len(), 1, "{told}");
    assert!(lines[0].contains(&format!("snap repair packs {}", &name(&pack)[..8])), "{told}");
    for read in [&["cat", "latest:src/d/3"][..], &["export", "latest", "-o", "out.tar"]] {
        sandbox.ok(read);
    }
    assert!(fs::read(&pack).unwrap() == damaged, "nothing is changed in place");
    let report = sandbox.snap(&["check", "-v", "--read-data"]).expect(20).all();
    assert!(report.contains(&name(&pack)) && !report.contains("/src/"), "no file is touched: {report}");
}

#[test]
fn damage_beyond_the_parity_is_reported_with_its_extent() {
    let sandbox = sandbox(&["--parity", "10%"]);
    let pack = largest_pack(&sandbox);
    scatter(&pack, share_of(&pack, 10) + 3);
    let told = sandbox.snap(&["restore", "latest", "--target", "out"]).expect(20).all();
    assert!(told.contains("sectors are damaged, but its parity can rebuild only"), "{told}");
    let report = sandbox.snap(&["check", "-v", "--read-data"]).expect(20).all();
    assert!(report.contains("/src/d/"), "{report}");
    sandbox.snap(&["repair", "packs"]).expect(3);
    let aside: Vec<String> = sandbox.objects("quarantine").iter().map(|path| name(path)).collect();
    let id = name(&pack);
    assert_eq!(aside, [id.clone(), format!("{id}.parity")], "what may be of use one day stays together");
}

#[test]
fn a_damaged_pack_is_repaired_without_loss() {
    let sandbox = sandbox(&["--parity", "10%"]);
    let pack = largest_pack(&sandbox);
    scatter(&pack, share_of(&pack, 10));
    let foreseen = sandbox.ok(&["repair", "packs", "-n", &name(&pack)]).text();
    assert!(foreseen.contains("0 lost, with its parity"), "{foreseen}");
    sandbox.snap(&["check", "-v", "--read-data"]).expect(20);
    let told = sandbox.ok(&["repair", "packs"]).all();
    assert!(told.contains("0 lost, with its parity; it was moved to quarantine/"), "{told}");
    assert!(!pack.exists() && !sidecar_of(&pack).exists());
    assert_eq!(
        sandbox.objects("packs").len(),
        sandbox.objects("parity").len(),
        "what was written anew has its own"
    );
    sandbox.assert_clean();
    sandbox.assert_restores("latest", &sandbox.src());
}

#[test]
fn a_pack_that_lost_both_tables_is_read_and_repaired() {
    let sandbox = sandbox(&["--parity", "10%"]);
    let pack = largest_pack(&sandbox);
    change(&pack, |bytes| {
        let len = bytes.len();
        bytes[..SECTOR].fill(0);
        bytes[len - SECTOR / 2..].fill(0);
    });
    fs::remove_dir_all(sandbox.cache()).unwrap();
    sandbox.assert_restores("latest", &sandbox.src());
    fs::remove_dir_all(sandbox.cache()).unwrap();
    let report = sandbox.snap(&["check", "-v"]).expect(20).all();
    assert!(report.contains("can only be read with its parity") && !report.contains("/src/"), "{report}");
    fs::remove_dir_all(sandbox.path("repo/damage")).unwrap();
    fs::remove_dir_all(sandbox.cache()).unwrap();
    // Nothing recorded the damage.
    sandbox.ok(&["repair", "packs"]);
    sandbox.assert_clean();
}

#[test]
fn a_pack_cut_short_by_less_than_the_share_is_whole_again() {
    let sandbox = sandbox(&["--parity", "10%"]);
    let pack = largest_pack(&sandbox);
    let cut = (share_of(&pack, 10) - 1) * SECTOR;
    change(&pack, |bytes| bytes.truncate(bytes.len() - cut));
    sandbox.assert_restores("latest", &sandbox.src());
    sandbox.ok(&["repair", "packs", &name(&pack)]);
    sandbox.assert_clean();
}

#[test]
fn a_pack_shorter_than_a_sector_survives_any_nonsense_in_it() {
    let sandbox = Sandbox::open();
    sandbox.ok(&["config", "set", "parity", "1%"]);
    sandbox.write(&[("a", "hello")]);
    sandbox.backup(&[]);
    let packs = sandbox.objects("packs");
    assert_eq!(packs.len(), 2);
    for pack in &packs {
        change(pack, |bytes| bytes.fill(b'x'));
    }
    fs::remove_dir_all(sandbox.cache()).unwrap();
    sandbox.assert_restores("latest", &sandbox.src());
}

#[test]
fn sidecar_with_damage_helps_as_far_as_it_is_intact() {
    let sandbox = sandbox(&["--parity", "10%"]);
    let pack = largest_pack(&sandbox);
    let most = share_of(&pack, 10);
    scatter(&pack, most - 5);
    change(&sidecar_of(&pack), |bytes| {
        bytes[..1000].fill(0);
        let middle = bytes.len() / 2;
        bytes[middle..middle + 4 * SECTOR].fill(0);
    });
    sandbox.assert_restores("latest", &sandbox.src());
    change(&sidecar_of(&pack), |bytes| {
        let end = bytes.len() - 10;
        bytes[end] ^= 1;
    });
    sandbox.snap(&["restore", "latest", "--target", "out"]).expect(20);
}

#[test]
fn damaged_sidecar_is_named_and_rewritten() {
    let sandbox = sandbox(&["--parity", "10%"]);
    let pack = largest_pack(&sandbox);
    let good = fs::read(sidecar_of(&pack)).unwrap();
    let len = good.len();
    for at in [3, 40, 100, len / 2, len - 100, len - 3] {
        change(&sidecar_of(&pack), |bytes| bytes[at] ^= 0x10);
        sandbox.ok(&["check"]);
        for check in [&["check", "-v", "--read-data"][..], &["check", "-v", "--scrub"]] {
            let report = sandbox.snap(check).expect(20).all();
            let named = format!("parity/{}/{}", &name(&pack)[..2], name(&pack));
            assert!(report.contains(&named) && report.contains("repair parity"), "byte {at}: {report}");
            assert!(!report.contains("/src/") && !report.contains("packs/"), "byte {at}: {report}");
        }
        sandbox.assert_restores("latest", &sandbox.src());
        let told = sandbox.ok(&["repair", "parity"]).all();
        assert!(told.contains("0 written") && told.contains("1 renewed"), "{told}");
        assert!(fs::read(sidecar_of(&pack)).unwrap() == good, "byte {at}: the same again");
        sandbox.assert_clean();
    }
    change(&sidecar_of(&pack), |bytes| bytes.truncate(len / 2));
    sandbox.snap(&["check", "-v", "--read-data"]).expect(20);
    sandbox.ok(&["repair", "parity"]);
    sandbox.assert_clean();
}

#[test]
fn sidecar_of_another_pack_is_not_trusted() {
    let sandbox = sandbox(&["--parity", "10%"]);
    let pack = largest_pack(&sandbox);
    fs::write(sandbox.src().join("new"), Random::new(99).bytes(3_000_000)).unwrap();
    sandbox.backup(&[]);
    let other = largest_pack(&sandbox);
    assert_ne!(pack, other);
    let foreign = fs::read(sidecar_of(&other)).unwrap();
    change(&sidecar_of(&pack), |bytes| *bytes = foreign);
    scatter(&pack, 2);
    let told = sandbox.snap(&["restore", "latest~1", "--target", "out"]).expect(20).all();
    assert!(told.contains("belongs to another pack"), "{told}");
}

#[test]
fn rebuilt_pack_must_hash_to_its_name() {
    let (library, storage) = library(10);
    let (name, bytes) = largest(&storage);
    let id = PackId::parse(&name).unwrap();
    // Anybody who can write to the storage can write a sidecar that is valid except for what it rebuilds.
    let layout = Layout::new(id, bytes.len() as u64, 10).unwrap();
    let mut forged = bytes.clone();
    forged[SECTOR * 20] ^= 1;
    storage.put(ObjectKind::Parity, &name, codec::sidecar(&layout, &[&forged]).unwrap().concat());
    let mut bad = bytes.clone();
    bad[SECTOR * 30] ^= 1;
    storage.put(ObjectKind::Packs, &name, bad);
    let why = HealedPack::rebuild(storage.as_ref(), &id).unwrap_err().chain();
    assert!(why.contains("rebuilt pack differs from the pack's name"), "{why}");
    let named = library.errors();
    assert!(named.iter().any(|error| error.contains("src/f")), "{named:?}");
}

#[test]
fn unreadable_sectors_are_rebuilt_like_wrong_ones() {
    let (_library, storage) = library(10);
    let (name, bytes) = largest(&storage);
    let id = PackId::parse(&name).unwrap();
    let sick = Sick::new(&storage);
    let bad: BTreeSet<usize> = (0..40).map(|number| number * 7 + 1).collect();
    *sick.bad.lock().unwrap() = bad.iter().map(|sector| (ObjectKind::Packs, name.clone(), *sector)).collect();
    sick.bad.lock().unwrap().insert((ObjectKind::Parity, name.clone(), 0));
    let mended = HealedPack::rebuild(&*sick, &id).unwrap();
    assert_eq!(mended.rebuilt_shards(), bad.len());
    let mut whole = vec![0; bytes.len()];
    mended.read(&*sick, 0, &mut whole).unwrap();
    assert!(whole == bytes);
    let mut some = vec![0; 3 * SECTOR];
    mended.read(&*sick, 5000, &mut some).unwrap();
    assert!(some == bytes[5000..][..3 * SECTOR]);
    assert!(mended.read(&*sick, bytes.len() as u64 - 1, &mut [0; 2]).is_err());
}

#[test]
fn unwritable_sidecar_is_reported_and_fails_no_backup() {
    let storage = Arc::new(MemoryStorage::default());
    let sick = Sick::new(&storage);
    let library = Library::on(sick.clone() as Arc<dyn Storage>, None);
    library.open().set_parity(10).unwrap();
    *sick.refuses.lock().unwrap() = true;
    library.write("src", &[("f", &Random::new(1).bytes(100_000))]);
    let repo = library.open();
    let options = backup::Options {
        sources: vec![library.path("src")],
        store_as: Some(b"src".to_vec()),
        ..backup::Options::default()
    };
    let summary = backup::Backup::begin(options, None, &Control::default())
        .unwrap()
        .run(&repo, &Control::default())
        .unwrap();
    library.assert_restores(summary.snapshot, "src");
    let warnings = library.warnings();
    assert!(warnings.iter().any(|text| text.contains("`Repository::repair_parity`")), "{warnings:?}");
    *sick.refuses.lock().unwrap() = false;
    // The next gc run writes it.
    gc::run(&library.open(), &gc::Options::default(), &Control::default()).unwrap();
    assert_eq!(names(&storage, ObjectKind::Parity), names(&storage, ObjectKind::Packs));
}

#[test]
fn a_pack_is_durable_before_its_sidecar_is_begun() {
    let hooked = Arc::new(Hooked::default());
    let library = Library::on(hooked.clone() as Arc<dyn Storage>, None);
    library.open().set_parity(10).unwrap();
    library.write("src", &[("f", &Random::new(1).bytes(100_000))]);
    hooked.calls();
    library.backup("src", backup::Options::default());
    let made: Vec<(ObjectKind, String)> = hooked
        .calls()
        .into_iter()
        .filter(|(act, area, _)| {
            *act == Act::Create && matches!(area, ObjectKind::Packs | ObjectKind::Parity)
        })
        .map(|(_, area, name)| (area, name))
        .collect();
    assert_eq!(made.len(), 4);
    for pair in made.chunks(2) {
        assert_eq!((pair[0].0, pair[1].0), (ObjectKind::Packs, ObjectKind::Parity));
        assert_eq!(pair[0].1, pair[1].1);
    }
}

#[test]
fn sidecar_written_during_gc_is_kept() {
    let hooked = Arc::new(Hooked::default());
    let library = Library::on(hooked.clone() as Arc<dyn Storage>, None);
    library.open().set_parity(10).unwrap();
    library.write("src", &[("f", &Random::new(1).bytes(100_000))]);
    library.backup("src", backup::Options::default());
    // Right before sidecars are listed, another writer's pack and sidecar appear.
    let (name, bytes) = largest(&hooked.inner);
    let sidecar = hooked.inner.get(ObjectKind::Parity, &name).unwrap();
    hooked.inner.remove(ObjectKind::Packs, &name).unwrap();
    hooked.inner.remove(ObjectKind::Parity, &name).unwrap();
    let late = name.clone();
    hooked.before(Act::List, ObjectKind::Parity, move |storage, _| {
        storage.put(ObjectKind::Packs, &late, bytes);
        storage.put(ObjectKind::Parity, &late, sidecar);
    });
    let _ = gc::run(&library.open(), &gc::Options::default(), &Control::default());
    let _ = hooked.list(ObjectKind::Parity);
    assert!(hooked.is_spent());
    let removed =
        hooked.calls().into_iter().any(|(act, area, _)| (act, area) == (Act::Remove, ObjectKind::Parity));
    assert!(!removed && hooked.inner.get(ObjectKind::Parity, &name).is_some());
}

#[test]
fn parity_enabled_later_is_written_by_repair_or_gradually() {
    let sandbox = sandbox(&[]);
    let told = sandbox.ok(&["config", "set", "parity", "10%"]).text();
    assert!(told.contains("snap repair parity"), "{told}");
    sandbox.ok(&["config", "set", "parity", "10%"]);
    assert_eq!(sandbox.objects("config").len(), 2, "nothing is written where nothing changes");
    assert!(sandbox.ok(&["check"]).all().contains("parity is missing for 2 of 2 packs"));
    let told = sandbox.ok(&["repair", "parity", "-n"]).all();
    assert!(told.contains("2 written") && sandbox.objects("parity").is_empty(), "{told}");
    let told = sandbox.ok(&["gc"]).all();
    assert!(told.contains("parity of 2 packs written"), "{told}");
    assert_eq!(sandbox.objects("parity").len(), 2);
    sandbox.assert_clean();
    // Of another percentage.
    let before = fs::metadata(sidecar_of(&largest_pack(&sandbox))).unwrap().len();
    sandbox.ok(&["config", "set", "parity", "30%"]);
    let told = sandbox.ok(&["repair", "parity"]).all();
    assert!(told.contains("0 written") && told.contains("renewed"), "{told}");
    let pack = largest_pack(&sandbox);
    assert!(fs::metadata(sidecar_of(&pack)).unwrap().len() > before * 2);
    scatter(&pack, share_of(&pack, 30));
    sandbox.assert_restores("latest", &sandbox.src());
    // A damaged pack gets none, and keeps its own.
    sandbox.ok(&["config", "set", "parity", "20%"]);
    let told = sandbox.snap(&["repair", "parity"]).expect(20).all();
    assert!(told.contains("repair packs"), "{told}");
    sandbox.ok(&["repair", "packs"]);
    sandbox.assert_clean();
}

#[test]
fn sidecars_go_with_their_packs_or_when_parity_is_off() {
    let sandbox = sandbox(&["--parity", "10%"]);
    let first = sandbox.snapshot_names().into_iter().next().unwrap();
    fs::remove_dir_all(sandbox.src()).unwrap();
    fs::create_dir(sandbox.src()).unwrap();
    sandbox.write(&[("new", "new")]);
    sandbox.backup(&[]);
    sandbox.ok(&["forget", &first]);
    sandbox.ok(&["gc", "--empty-trash", "--max-unused", "0"]);
    let named = |area: &str| sandbox.objects(area).iter().map(|path| name(path)).collect::<BTreeSet<_>>();
    assert_eq!(named("parity"), named("packs"));
    // A sidecar whose pack is gone.
    let orphan = sandbox.path("repo/parity/ab").join("ab".repeat(32));
    fs::create_dir_all(orphan.parent().unwrap()).unwrap();
    fs::copy(&sandbox.objects("parity")[0], &orphan).unwrap();
    let told = sandbox.ok(&["repair", "parity"]).all();
    assert!(told.contains("1 of deleted packs removed") && !orphan.exists(), "{told}");
    fs::copy(&sandbox.objects("parity")[0], &orphan).unwrap();
    sandbox.ok(&["gc"]);
    assert!(!orphan.exists());
    sandbox.ok(&["config", "set", "parity", "0"]);
    sandbox.ok(&["repair", "parity"]);
    assert_eq!(named("parity"), named("packs"), "a repair takes nothing away that may be of use");
    sandbox.ok(&["gc"]);
    assert!(sandbox.objects("parity").is_empty());
    sandbox.write(&[("newer", "newer")]);
    sandbox.backup(&[]);
    assert!(sandbox.objects("parity").is_empty());
    sandbox.assert_clean();
}

#[test]
fn a_dry_run_of_gc_leaves_sidecars_alone() {
    let sandbox = sandbox(&[]);
    sandbox.ok(&["config", "set", "parity", "10%"]);
    let before = sandbox.listing();
    sandbox.ok(&["gc", "-n"]);
    assert_eq!(sandbox.listing(), before);
}

#[test]
fn new_parity_percentage_applies_to_all_writers() {
    let (library, storage) = library(0);
    let repo = library.open();
    assert_eq!((repo.config().parity(), repo.config().generation), (0, 1));
    // A damaged newer generation keeps its name.
    storage.put(ObjectKind::Config, "2", b"nonsense".to_vec());
    library.open().set_parity(7).unwrap();
    let config = library.open().config().clone();
    assert_eq!((config.parity(), config.generation), (7, 3));
    assert!(library.open().set_parity(101).is_err());
    assert_eq!((config.incompat, config.ro_compat), (repo.config().incompat, 0));
    assert!(config.extra.iter().all(|(tag, _)| tag % 2 == 0), "who does not know it may ignore it");
}

/// Files of half a megabyte in all, with this percentage of parity.
fn library(share: u8) -> (Library, Arc<MemoryStorage>) {
    let storage = Arc::new(MemoryStorage::default());
    let library = Library::on(Arc::clone(&storage) as Arc<dyn Storage>, None);
    if share > 0 {
        library.open().set_parity(share).unwrap();
    }
    for number in 0..8u8 {
        library.write("src", &[(&format!("f{number}"), &Random::new(number.into()).bytes(250_000))]);
    }
    library.backup("src", backup::Options::default());
    (library, storage)
}

fn names(storage: &MemoryStorage, area: ObjectKind) -> Vec<String> {
    storage.list(area).unwrap().into_iter().map(|found| found.name).collect()
}

fn largest(storage: &MemoryStorage) -> (String, Vec<u8>) {
    let found =
        storage.list(ObjectKind::Packs).unwrap().into_iter().max_by_key(|found| found.len).unwrap().name;
    let bytes = storage.get(ObjectKind::Packs, &found).unwrap();
    (found, bytes)
}

/// A storage with bad sectors, and without space for sidecars.
#[derive(Debug)]
struct Sick {
    inner: Arc<MemoryStorage>,
    bad: Mutex<BTreeSet<(ObjectKind, String, usize)>>,
    refuses: Mutex<bool>,
}

impl Sick {
    fn new(inner: &Arc<MemoryStorage>) -> Arc<Self> {
        Arc::new(Self { inner: Arc::clone(inner), bad: Mutex::default(), refuses: Mutex::default() })
    }
}

impl Storage for Sick {
    fn location(&self) -> String {
        self.inner.location()
    }
    fn list(&self, area: ObjectKind) -> Result<Vec<Listed>> {
        self.inner.list(area)
    }
    fn read(&self, area: ObjectKind, name: &str, limit: u64) -> Result<Vec<u8>> {
        self.inner.read(area, name, limit)
    }
    fn read_range(&self, area: ObjectKind, name: &str, offset: u64, out: &mut [u8]) -> Result<()> {
        let first = offset as usize / SECTOR;
        let last = (offset as usize + out.len()).saturating_sub(1) / SECTOR;
        let bad = self.bad.lock().unwrap();
        if (first..=last).any(|sector| bad.contains(&(area, name.to_owned(), sector))) {
            let source = DecodeError::because("the disk cannot read it");
            return Err(Error::Damaged { what: area.path(name), source });
        }
        self.inner.read_range(area, name, offset, out)
    }
    fn create(&self, area: ObjectKind, name: &str, parts: &[&[u8]]) -> Result<CreateOutcome> {
        if area == ObjectKind::Parity && *self.refuses.lock().unwrap() {
            return Err(Error::io("write", area.path(name))(io::ErrorKind::StorageFull.into()));
        }
        self.inner.create(area, name, parts)
    }
    fn create_held(&self, area: ObjectKind, name: &str, bytes: &[u8]) -> Result<Box<dyn LockGuard>> {
        self.inner.create_held(area, name, bytes)
    }
    fn replace(&self, area: ObjectKind, name: &str, bytes: &[u8]) -> Result<()> {
        self.inner.replace(area, name, bytes)
    }
    fn is_held(&self, area: ObjectKind, name: &str) -> Result<Option<bool>> {
        self.inner.is_held(area, name)
    }
    fn remove(&self, area: ObjectKind, name: &str) -> Result<()> {
        self.inner.remove(area, name)
    }
    fn sync(&self, area: ObjectKind) -> Result<()> {
        self.inner.sync(area)
    }
}

#[test]
fn a_sidecar_verifies_only_beside_its_own_pack() {
    let (_library, storage) = library(10);
    let (name, bytes) = largest(&storage);
    let id = PackId::parse(&name).unwrap();
    let len = storage.get(ObjectKind::Parity, &name).unwrap().len() as u64;
    assert!(parity::verify(storage.as_ref(), (&id, bytes.len() as u64), len).is_ok());
    assert!(parity::verify(storage.as_ref(), (&id, bytes.len() as u64 - 1), len).is_err());
    assert!(parity::verify(storage.as_ref(), (&id, bytes.len() as u64), len + 1).is_err());
}

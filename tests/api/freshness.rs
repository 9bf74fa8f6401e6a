//! Detecting that a repository is older than what somebody knows of it.

use std::path::Path;
use std::sync::{Arc, Mutex};

use snap_backup::Control;
use snap_backup::model::id::SnapshotId;
use snap_backup::ops::{backup, check, forget, receipt, sync};
use snap_backup::repo::options::OpenOptions;
use snap_backup::repo::repository::Repository;
use snap_backup::storage::memory::MemoryStorage;
use snap_backup::storage::{ObjectKind, Storage};
use tempfile::TempDir;

use crate::support::hooked::{Act, Hooked};
use crate::support::library::Library;

struct Place {
    storage: Arc<MemoryStorage>,
    library: Library,
    state: TempDir,
}

impl Place {
    fn new() -> Self {
        let storage = Arc::new(MemoryStorage::default());
        let library = Library::on(storage.clone(), None);
        Self { storage, library, state: tempfile::tempdir().unwrap() }
    }

    /// Opens the repository as a machine with these records does.
    fn open(&self, state: Option<&Path>) -> Repository {
        let access = OpenOptions { state: state.map(Into::into), ..OpenOptions::default() };
        Repository::open(self.storage.clone(), &access).unwrap()
    }

    fn backup(&self, content: &[u8]) -> SnapshotId {
        self.library.write("src", &[("a", content)]);
        self.library.backup("src", backup::Options::default()).snapshot.unwrap()
    }

    fn all(&self, area: ObjectKind) -> Vec<(String, Vec<u8>)> {
        let listed = self.storage.list(area).unwrap().into_iter();
        listed.map(|found| (found.name.clone(), self.storage.get(area, &found.name).unwrap())).collect()
    }
}

fn forget(repo: &Repository, id: &SnapshotId) {
    let options = forget::Options { selectors: vec![id.hex()], force: true, ..forget::Options::default() };
    forget::run(repo, &options).unwrap();
}

#[test]
fn receipt_detects_an_older_repository_on_a_new_machine() {
    let place = Place::new();
    place.backup(b"one");
    let earlier = place.all(ObjectKind::Snapshots);
    let second = place.backup(b"two");
    place.open(None).set_parity(10).unwrap();
    let given = receipt::for_snapshot(&place.open(None), &second).unwrap();
    assert_eq!((given.number, given.generation), (2, 2));
    let given = receipt::parse(&receipt::text(&given).unwrap()).unwrap();
    let differences = || receipt::differences(&place.open(None), &given).unwrap();
    assert_eq!(differences(), Vec::<String>::new());
    place.backup(b"three");
    assert_eq!(differences(), Vec::<String>::new());

    // The newest snapshots and the configuration are withheld.
    let all = place.all(ObjectKind::Snapshots);
    for (name, _) in &all {
        if !earlier.iter().any(|(other, _)| other == name) {
            place.storage.remove(ObjectKind::Snapshots, name).unwrap();
        }
    }
    let named = differences();
    assert!(matches!(named.as_slice(), [one] if one.contains("no audit record")), "{named:?}");
    let config = place.storage.get(ObjectKind::Config, "2").unwrap();
    place.storage.remove(ObjectKind::Config, "2").unwrap();
    assert_eq!(differences().len(), 2);
    place.storage.put(ObjectKind::Config, "2", config);
    all.iter().for_each(|(name, bytes)| place.storage.put(ObjectKind::Snapshots, name, bytes.clone()));
    assert_eq!(differences(), Vec::<String>::new());

    // A record explains forgotten snapshots; a forged receipt does not.
    let other = receipt::Receipt { chain: "00".repeat(32), ..given.clone() };
    assert_eq!(receipt::differences(&place.open(None), &other).unwrap().len(), 1);
    forget(&place.open(None), &second);
    assert_eq!(differences(), Vec::<String>::new());
}

#[test]
fn a_forgotten_snapshot_that_the_storage_puts_back_is_named() {
    let place = Place::new();
    let first = place.backup(b"one");
    place.backup(b"two");
    let state = Some(place.state.path());
    let bytes = place.storage.get(ObjectKind::Snapshots, &first.hex()).unwrap();
    forget(&place.open(state), &first);
    assert_eq!(place.open(state).divergence().unwrap(), Vec::<String>::new());
    place.storage.put(ObjectKind::Snapshots, &first.hex(), bytes);
    let named = place.open(state).divergence().unwrap();
    assert!(matches!(named.as_slice(), [one] if one.contains("exists again")), "{named:?}");
    // A machine that did not forget the snapshot cannot know.
    assert_eq!(place.open(None).divergence().unwrap(), Vec::<String>::new());
    place.open(state).accept().unwrap();
    assert_eq!(place.open(state).divergence().unwrap(), Vec::<String>::new());
}

#[test]
fn snapshot_forgotten_during_listing_is_no_difference() {
    let place = Place::new();
    let [.., newest] = [&b"one"[..], b"two", b"three"].map(|content| place.backup(content));
    let state = Some(place.state.path());
    let mut hooked = Hooked::default();
    hooked.inner = place.storage.clone();
    let hooked = Arc::new(hooked);
    let access = OpenOptions { state: state.map(Into::into), ..OpenOptions::default() };
    let slow = Repository::open(hooked.clone(), &access).unwrap();
    // It has read two manifests, in any order, and is about to read the third.
    let (read, other) = (Arc::new(Mutex::new(Vec::new())), place.open(state));
    for _ in 0..2 {
        let read = Arc::clone(&read);
        hooked.before(Act::Read, ObjectKind::Snapshots, move |_, name| {
            read.lock().unwrap().push(SnapshotId::parse(name).unwrap());
        });
    }
    hooked.before(Act::Read, ObjectKind::Snapshots, move |_, _| {
        let read = read.lock().unwrap();
        forget(&other, read.iter().find(|id| **id != newest).unwrap());
    });
    assert_eq!(slow.divergence().unwrap(), Vec::<String>::new());
    assert!(hooked.is_spent());
}

#[test]
fn check_reports_missing_snapshots_but_no_forgotten_ones() {
    let place = Place::new();
    let made = [&b"one"[..], b"two", b"three"].map(|content| place.backup(content));
    let warnings = || {
        let report = check::run(&place.open(None), &check::Options::default(), &Control::default()).unwrap();
        assert_eq!(report.errors, []);
        report.warnings
    };
    assert_eq!(warnings(), []);
    let bytes = place.storage.get(ObjectKind::Snapshots, &made[1].hex()).unwrap();
    place.storage.remove(ObjectKind::Snapshots, &made[1].hex()).unwrap();
    let named = warnings();
    assert!(matches!(named.as_slice(), [one] if one.to_string().contains(&made[1].short())), "{named:?}");
    place.storage.put(ObjectKind::Snapshots, &made[1].hex(), bytes);
    forget(&place.open(None), &made[1]);
    assert_eq!(warnings(), []);
}

#[test]
fn synced_copy_shows_who_forgot_missing_snapshots() {
    let place = Place::new();
    let made = [&b"one"[..], b"two"].map(|content| place.backup(content));
    forget(&place.open(None), &made[0]);
    let copy = Arc::new(MemoryStorage::default());
    let to: Arc<dyn Storage> = copy.clone();
    sync::run(&place.open(None), &to, &sync::Options::default(), &Control::default()).unwrap();
    let repo = Repository::open(copy, &OpenOptions::default()).unwrap();
    let report = check::run(&repo, &check::Options::default(), &Control::default()).unwrap();
    assert_eq!((report.errors, report.warnings), (Vec::new(), Vec::new()));
    assert_eq!(
        receipt::differences(&repo, &receipt::for_snapshot(&place.open(None), &made[1]).unwrap()).unwrap(),
        Vec::<String>::new()
    );
}

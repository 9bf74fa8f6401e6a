//! Epochs of the key: what a rotation protects, and what stays readable.

use std::sync::Arc;

use serde_bytes::ByteBuf;
use snap_backup::Control;
use snap_backup::codec::crypto::key_slot;
use snap_backup::codec::crypto::keyring::Keyring;
use snap_backup::error::{Error, Result};
use snap_backup::model::config::{Config, Handover, Role};
use snap_backup::model::id::{KeyId, SnapshotId};
use snap_backup::ops::gc::{MaxUnused, Options};
use snap_backup::ops::{backup, check, gc, key};
use snap_backup::repo::options::OpenOptions;
use snap_backup::repo::pack::packs;
use snap_backup::repo::repository::Repository;
use snap_backup::repo::sessions::session::RepoState;
use snap_backup::repo::snapshots;
use snap_backup::storage::memory::MemoryStorage;
use snap_backup::storage::{ObjectKind, Storage};
use zeroize::Zeroizing;

use crate::support::CHEAP_KDF;
use crate::support::heard::Heard;
use crate::support::library::Library;

fn password(text: &str) -> Zeroizing<String> {
    text.to_owned().into()
}

fn access(text: &str) -> OpenOptions {
    OpenOptions { password: Some(password(text)), ..OpenOptions::default() }
}

/// A repository with the passwords `one` and `two`, and a snapshot.
struct Two {
    storage: Arc<MemoryStorage>,
    library: Library,
    /// Returns the slot of `two`, and its file.
    slot: (KeyId, Vec<u8>),
    before: SnapshotId,
}

impl Two {
    fn new() -> Self {
        let storage = Arc::new(MemoryStorage::default());
        let library = Library::on(storage.clone(), Some("one"));
        let id = key::add(&library.open(), &password("two"), CHEAP_KDF, "").unwrap();
        library.write("src", &[("old", b"old content")]);
        let before = library.backup("src", backup::Options::default()).snapshot.unwrap();
        let slot = (id, storage.get(ObjectKind::Keys, &id.hex()).unwrap());
        Self { storage, library, slot, before }
    }

    fn open(&self, text: &str) -> Result<Repository> {
        Repository::open(self.storage.clone(), &access(text))
    }

    fn rotate(&self) -> key::Rotated {
        key::rotate(&self.open("one").unwrap(), &password("one"), CHEAP_KDF).unwrap()
    }

    /// A snapshot of other content.
    fn backup(&self) -> SnapshotId {
        self.library.write("src", &[("new", b"new content")]);
        self.library.backup("src", backup::Options::default()).snapshot.unwrap()
    }

    fn check(&self) -> check::Report {
        let options = check::Options { read_data: true, ..check::Options::default() };
        check::run(&self.library.open(), &options, &Control::default()).unwrap()
    }

    fn newest_config(&self) -> (u32, Vec<u8>) {
        let names = self.storage.list(ObjectKind::Config).unwrap().into_iter();
        let newest = names.map(|found| found.name.parse().unwrap()).max().unwrap();
        (newest, self.storage.get(ObjectKind::Config, &u32::to_string(&newest)).unwrap())
    }
}

/// Returns the ids of the snapshots whose manifests a client with these keys can open.
fn readable(repo: &Repository) -> Vec<SnapshotId> {
    snapshots::list_all(repo).unwrap().snapshots.into_iter().map(|one| one.id).collect()
}

/// Returns how many packs a client with these keys can open, and how many there are.
fn open_packs(repo: &Repository) -> (usize, usize) {
    let all = RepoState::packs(repo.storage()).unwrap();
    let open =
        all.iter().filter(|(id, len)| packs::read_table(repo.storage(), repo.suite(), id, *len).is_ok());
    (open.count(), all.len())
}

#[test]
fn key_removed_before_a_rotation_opens_nothing_later() {
    let two = Two::new();
    // A client with the removed password keeps the keys in memory and the file of its slot.
    let stolen = two.open("two").unwrap();
    key::remove(&two.open("one").unwrap(), &two.slot.0.hex()).unwrap();
    assert_eq!(two.rotate().epoch, 1);
    let after = two.backup();
    two.storage.put(ObjectKind::Keys, &two.slot.0.hex(), two.slot.1.clone());

    assert_eq!(readable(&stolen), [two.before]);
    assert_eq!(open_packs(&stolen), (2, 4));
    let refused = two.open("two").unwrap_err();
    assert!(matches!(refused, Error::KeyRemoved { .. }), "{}", refused.chain());

    // The others read everything.
    let repo = two.library.open();
    assert_eq!(repo.config().epoch, 1);
    let mut all = readable(&repo);
    all.sort_unstable();
    let mut made = vec![two.before, after];
    made.sort_unstable();
    assert_eq!(all, made);
    two.library.assert_restores(Some(after), "src");
    let report = two.check();
    assert_eq!(report.errors, []);
    let told = report.warnings.iter().map(ToString::to_string);
    let told: Vec<_> = told.filter(|text| text.contains(&two.slot.0.hex())).collect();
    assert!(matches!(told.as_slice(), [one] if one.contains("is not used")), "{:?}", report.warnings);
}

#[test]
fn rotation_keeps_other_passwords_and_finds_old_chunks() {
    let two = Two::new();
    let rotated = two.rotate();
    assert_eq!(rotated.others, [two.slot.0]);
    two.library.write("src", &[("new", b"old content")]);
    two.library.backup("src", backup::Options::default());
    let packs = RepoState::packs(two.storage.as_ref()).unwrap();
    assert_eq!(packs.len(), 3, "the content is found again, and a pack of trees is all that is new");
    let repo = two.open("two").unwrap();
    assert_eq!((repo.config().epoch, readable(&repo).len()), (1, 2));
    // The next rotation is done with the other password, which was not involved in the first.
    let next = key::rotate(&repo, &password("two"), CHEAP_KDF).unwrap();
    assert_eq!((next.epoch, next.others), (2, vec![rotated.id]));
    two.backup();
    for text in ["one", "two"] {
        let repo = two.open(text).unwrap();
        assert_eq!((repo.config().epoch, readable(&repo).len()), (2, 3), "{text}");
    }
    assert_eq!(two.check().errors, []);
}

#[test]
fn gc_reseals_data_of_older_epochs() {
    let two = Two::new();
    let stolen = two.open("two").unwrap();
    key::remove(&two.open("one").unwrap(), &two.slot.0.hex()).unwrap();
    two.rotate();
    assert_eq!(open_packs(&stolen), (2, 2));
    let collect = |max_repack: Option<u64>| {
        let options =
            Options { reseal: true, max_repack, max_unused: MaxUnused::Unlimited, ..Options::default() };
        gc::run(&two.library.open(), &options, &Control::default()).unwrap()
    };
    collect(Some(1));
    assert_eq!(open_packs(&stolen), (2, 2), "the budget is kept");
    collect(None);
    assert_eq!(open_packs(&stolen), (0, 2));
    assert_eq!(open_packs(&two.library.open()), (2, 2));
    two.library.assert_restores(Some(two.before), "src");
    assert_eq!(two.check().errors, []);
}

/// Anybody can encrypt to the public keys of the slots. What is encrypted to them counts only in a signed
/// configuration.
#[test]
fn configuration_with_foreign_keys_is_ignored() {
    let two = Two::new();
    two.rotate();
    let (newest, bytes) = two.newest_config();
    let config = key_slot::decode_config(&bytes).unwrap();
    let stranger = Keyring::random(None).unwrap();
    let plant = |change: &dyn Fn(&mut Config)| {
        let mut planted = config.clone();
        planted.generation = newest + 1;
        for entry in &mut planted.slots {
            *entry = stranger.seal_to(&config.repo, entry.id, entry.public, Role::Full).unwrap();
        }
        change(&mut planted);
        let seed = stranger.signing_seed(&config.repo, 0).unwrap();
        let bytes = key_slot::encode_config(&planted, &seed).unwrap();
        two.storage.put(ObjectKind::Config, &planted.generation.to_string(), bytes);
    };
    let verifies = stranger.verifying_key(&config.repo).unwrap();
    let unsigned = Handover { epoch: 2, key: verifies, signature: ByteBuf::from([0; 64]) };
    for change in [
        &(|config: &mut Config| config.epoch = 0) as &dyn Fn(&mut Config),
        &|config| config.handovers.clear(),
        &|config| (config.epoch, config.handovers) = (2, vec![unsigned.clone()]),
        &|config| {
            config.handovers.iter_mut().for_each(|handover| handover.key = verifies);
        },
        &|config| config.open_master = Some([7; 32]),
    ] {
        plant(change);
        for text in ["one", "two"] {
            let heard = Heard::default();
            let access = OpenOptions { control: heard.control(), ..access(text) };
            let repo = Repository::open(two.storage.clone(), &access).unwrap();
            assert_eq!(repo.config().generation, newest, "{text}");
            assert!(heard.take().iter().any(|text| text.contains("an older generation is used")));
        }
    }
}

#[test]
fn one_damaged_configuration_locks_nobody_out() {
    let two = Two::new();
    let flip = |work: &dyn Fn()| {
        let (newest, whole) = two.newest_config();
        let mut bytes = whole.clone();
        *bytes.last_mut().unwrap() ^= 1;
        two.storage.put(ObjectKind::Config, &newest.to_string(), bytes);
        work();
        two.storage.put(ObjectKind::Config, &newest.to_string(), whole);
    };
    flip(&|| drop(two.open("two").unwrap()));
    two.rotate();
    flip(&|| assert_eq!(two.open("one").unwrap().config().epoch, 1));
    key::change(&two.open("two").unwrap(), &password("three"), CHEAP_KDF).unwrap();
    flip(&|| drop(two.open("three").unwrap()));
}

#[test]
fn a_machine_that_knew_a_later_epoch_opens_no_earlier_one() {
    let two = Two::new();
    let private_dir = tempfile::tempdir().unwrap();
    let known = OpenOptions { state: Some(private_dir.path().into()), ..access("two") };
    let open = || Repository::open(two.storage.clone(), &known);
    open().unwrap();
    let before: Vec<String> =
        two.storage.list(ObjectKind::Config).unwrap().into_iter().map(|found| found.name).collect();
    two.rotate();
    open().unwrap();
    for found in two.storage.list(ObjectKind::Config).unwrap() {
        if !before.contains(&found.name) {
            two.storage.remove(ObjectKind::Config, &found.name).unwrap();
        }
    }
    let refused = open().unwrap_err();
    assert!(
        matches!(&refused, Error::Diverged { what, .. } if what.contains("epoch")),
        "{}",
        refused.chain()
    );
    // A machine without records accepts what it finds, and prints nothing.
    two.open("two").unwrap();
}

#[test]
fn rotation_overtaken_by_another_changes_nothing() {
    let two = Two::new();
    let late = two.open("two").unwrap();
    two.rotate();
    let (newest, _) = two.newest_config();
    let refused = key::rotate(&late, &password("two"), CHEAP_KDF).unwrap_err();
    assert!(refused.chain().contains("run it again"), "{}", refused.chain());
    let refused = key::add(&late, &password("three"), CHEAP_KDF, "").unwrap_err();
    assert!(refused.chain().contains("run it again"), "{}", refused.chain());
    assert_eq!(two.newest_config().0, newest);
    assert_eq!(two.open("two").unwrap().config().epoch, 1);
}

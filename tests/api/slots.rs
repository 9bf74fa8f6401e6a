//! Key slots and generations of the configuration go by their names.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use snap_backup::error::Error;
use snap_backup::repo::repository::{InitOptions, OpenOptions, Repository};
use snap_backup::storage::memory::MemoryStorage;
use snap_backup::storage::{ObjectKind, Storage};

use crate::support::hooked::{Act, Hooked};

/// A slot's name is the hash of its bytes: one under another name is not what somebody once made under that.
#[test]
fn a_key_slot_under_another_name_opens_nothing() {
    let storage = Arc::new(MemoryStorage::default());
    let password = Some("secret".to_owned().into());
    let options = InitOptions { password: password.clone(), ..InitOptions::default() };
    Repository::init(storage.clone(), &options).unwrap();
    let access = OpenOptions { password, cache: None, ..OpenOptions::default() };
    let open = || Repository::open(storage.clone(), &access).map(|_| ());
    open().unwrap();
    let name = storage.list(ObjectKind::Keys).unwrap().remove(0).name;
    let bytes = storage.get(ObjectKind::Keys, &name).unwrap();
    storage.remove(ObjectKind::Keys, &name).unwrap();
    storage.put(ObjectKind::Keys, &"ab".repeat(32), bytes.clone());
    let err = open().unwrap_err();
    assert!(matches!(err, Error::Damaged { .. }) && err.chain().contains("hash"), "{}", err.chain());
    storage.put(ObjectKind::Keys, &name, bytes);
    open().unwrap();
}

/// The name above the newest whole generation may be taken by one that cannot be read.
#[test]
fn a_new_generation_is_above_the_damaged_ones() {
    let storage = Arc::new(Hooked::default());
    let mut repo = Repository::init(storage.clone(), &InitOptions::default()).unwrap();
    storage.inner.put(ObjectKind::Config, "2", b"what was a configuration".to_vec());
    // Whoever tries a name that is taken tries again and again.
    *storage.failing.lock().unwrap() = Some((Act::Create, ObjectKind::Config, 1));
    repo.set_parity(10).unwrap();
    let names: Vec<String> =
        storage.inner.list(ObjectKind::Config).unwrap().into_iter().map(|found| found.name).collect();
    assert_eq!(names, ["1", "2", "3"]);
    assert_eq!(Repository::open(storage, &OpenOptions::default()).unwrap().config().parity(), 10);
}

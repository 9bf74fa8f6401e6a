//! Key slots and configuration generations are identified by their names.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::support::CHEAP_KDF;
use crate::support::heard::Heard;
use snap_backup::Control;
use snap_backup::error::{Error, Result};
use snap_backup::ops::check::scrub;
use snap_backup::ops::{check, key};
use snap_backup::repo::options::{InitOptions, OpenOptions};
use snap_backup::repo::repository::Repository;
use snap_backup::storage::memory::MemoryStorage;
use snap_backup::storage::{ObjectKind, Storage};

use crate::support::hooked::{Act, Hooked};

/// A slot's name is the hash of its bytes. One under another name is not the slot that somebody created with
/// that name.
#[test]
fn a_key_slot_under_another_name_opens_nothing() {
    let storage = Arc::new(MemoryStorage::default());
    let password = Some("secret".to_owned().into());
    let options = InitOptions { password: password.clone(), kdf: CHEAP_KDF, ..InitOptions::default() };
    Repository::init(storage.clone(), &options).unwrap();
    let access = OpenOptions { password, cache: None, ..OpenOptions::default() };
    let open = || Repository::open(storage.clone(), &access).map(|_| ());
    open().unwrap();
    let name = storage.list(ObjectKind::Keys).unwrap().remove(0).name;
    let bytes = storage.get(ObjectKind::Keys, &name).unwrap();
    storage.remove(ObjectKind::Keys, &name).unwrap();
    storage.put(ObjectKind::Keys, &"ab".repeat(32), bytes.clone());
    let err = open().unwrap_err();
    // No configuration lists it, so it is not even read.
    assert!(err.is_missing() && err.chain().contains("key slot"), "{}", err.chain());
    storage.put(ObjectKind::Keys, &name, bytes);
    open().unwrap();
}

/// The name above the newest intact generation may be taken by one that cannot be read.
#[test]
fn new_generation_has_a_higher_number_than_damaged_ones() {
    let storage = Arc::new(Hooked::default());
    let mut repo = Repository::init(storage.clone(), &InitOptions::default()).unwrap();
    storage.inner.put(ObjectKind::Config, "2", b"what was a configuration".to_vec());
    // A writer that finds a name taken would retry forever.
    *storage.failing.lock().unwrap() = Some((Act::Create, ObjectKind::Config, 1));
    repo.set_parity(10).unwrap();
    let names: Vec<String> =
        storage.inner.list(ObjectKind::Config).unwrap().into_iter().map(|found| found.name).collect();
    assert_eq!(names, ["1", "2", "3"]);
    assert_eq!(Repository::open(storage, &OpenOptions::default()).unwrap().config().parity(), 10);
}

/// An encrypted repository with two key slots. The name of the second one sorts last.
fn with_two_slots() -> (Arc<Hooked>, OpenOptions, String) {
    let storage = Arc::new(Hooked::default());
    let password = Some("one".to_owned().into());
    let options = InitOptions { password: password.clone(), kdf: CHEAP_KDF, ..InitOptions::default() };
    let repo = Repository::init(storage.clone(), &options).unwrap();
    let second = key::add(&repo, &"two".to_owned().into(), CHEAP_KDF, "").unwrap();
    (storage, OpenOptions { password, cache: None, ..OpenOptions::default() }, second.hex())
}

/// A copy of the key slots and configurations.
fn copy(storage: &MemoryStorage) -> Arc<MemoryStorage> {
    let to = Arc::new(MemoryStorage::default());
    for area in [ObjectKind::Keys, ObjectKind::Config] {
        for found in storage.list(area).unwrap() {
            to.put(area, &found.name, storage.get(area, &found.name).unwrap());
        }
    }
    to
}

/// What every operation that examines key slots reports about them.
fn look(storage: &Arc<Hooked>, access: &OpenOptions, how: &str, before: impl Fn()) -> Result<Vec<String>> {
    match how {
        "open" => {
            before();
            Repository::open(storage.clone(), access).map(|_| Vec::new())
        }
        "scrub" => {
            before();
            let report =
                scrub::run(storage.as_ref(), None, None, &scrub::Options::default(), &Control::default());
            report.map(|report| report.errors.iter().map(ToString::to_string).collect())
        }
        _ => {
            let heard = Heard::default();
            let access = OpenOptions { control: heard.control(), ..access.clone() };
            let repo = Repository::open(storage.clone(), &access)?;
            before();
            if how == "check" {
                let report = check::run(&repo, &check::Options::default(), &Control::default());
                return report.map(|report| report.errors.iter().map(ToString::to_string).collect());
            }
            key::list(&repo)?;
            Ok(heard.take())
        }
    }
}

/// Nor does it fail an opening, if another slot can be used.
#[test]
fn violated_invariant_at_a_key_slot_is_no_damage() {
    let (storage, access, _) = with_two_slots();
    for how in ["open", "scrub", "check", "list"] {
        for after in 0..2 {
            storage.is_bug.store(true, Ordering::Relaxed);
            let said = look(&storage, &access, how, || {
                *storage.failing.lock().unwrap() = Some((Act::Read, ObjectKind::Keys, after));
            });
            assert!(matches!(said, Err(Error::Bug { .. })), "{how}, slot {after}: {said:?}");
        }
    }
}

#[test]
fn key_slot_removed_concurrently_is_no_damage() {
    for how in ["open", "scrub", "check", "list"] {
        let (storage, access, second) = with_two_slots();
        let after = copy(&storage.inner);
        key::remove(&Repository::open(after.clone(), &access).unwrap(), &second).unwrap();
        let said = look(&storage, &access, how, || {
            let (second, after) = (second.clone(), after.clone());
            storage.before(Act::Read, ObjectKind::Keys, move |inner, _| {
                inner.remove(ObjectKind::Keys, &second).unwrap();
                for found in after.list(ObjectKind::Config).unwrap() {
                    inner.put(
                        ObjectKind::Config,
                        &found.name,
                        after.get(ObjectKind::Config, &found.name).unwrap(),
                    );
                }
            });
        });
        assert_eq!(said.unwrap(), Vec::<String>::new(), "{how}");
    }
}

/// Its password opens nothing, and may be the only one that somebody knows.
#[test]
fn listed_but_missing_key_slot_is_an_error_of_check() {
    let (storage, access, second) = with_two_slots();
    storage.inner.remove(ObjectKind::Keys, &second).unwrap();
    let errors = look(&storage, &access, "check", || ()).unwrap();
    assert!(
        matches!(errors.as_slice(), [one] if one.contains(&second) && one.contains("missing")),
        "{errors:?}"
    );
    let warnings = look(&storage, &access, "list", || ()).unwrap();
    assert!(matches!(warnings.as_slice(), [one] if one.contains("`Repository::remove_key(")), "{warnings:?}");
}

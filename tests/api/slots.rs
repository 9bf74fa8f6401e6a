//! Key slots and generations of the configuration go by their names.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::CHEAP_KDF;
use snap_backup::error::{Error, Result};
use snap_backup::ops::check::scrub;
use snap_backup::ops::{check, key};
use snap_backup::repo::repository::{InitOptions, OpenOptions, Repository};
use snap_backup::storage::memory::MemoryStorage;
use snap_backup::storage::{ObjectKind, Storage};

use crate::support::hooked::{Act, Hooked};

/// A slot's name is the hash of its bytes: one under another name is not what somebody once made under that.
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

/// An encrypted repository with two key slots.
fn with_two_slots() -> (Arc<Hooked>, OpenOptions) {
    let storage = Arc::new(Hooked::default());
    let password = Some("one".to_owned().into());
    let options = InitOptions { password: password.clone(), kdf: CHEAP_KDF, ..InitOptions::default() };
    let repo = Repository::init(storage.clone(), &options).unwrap();
    key::add(&repo, &"two".to_owned().into(), CHEAP_KDF, "").unwrap();
    (storage, OpenOptions { password, cache: None, ..OpenOptions::default() })
}

/// What everything that looks at key slots says of them.
fn look(storage: &Arc<Hooked>, access: &OpenOptions, how: &str, before: impl Fn()) -> Result<Vec<String>> {
    let stop = AtomicBool::new(false);
    match how {
        "open" => {
            before();
            Repository::open(storage.clone(), access).map(|_| Vec::new())
        }
        "scrub" => {
            before();
            let report = scrub::run(storage.as_ref(), None, None, &scrub::Options::default(), &(), &stop);
            report.map(|report| report.errors)
        }
        _ => {
            let repo = Repository::open(storage.clone(), access)?;
            before();
            if how == "check" {
                let report = check::run(&repo, &check::Options::default(), &(), &stop);
                return report.map(|report| report.errors);
            }
            key::list(&repo)?;
            Ok(repo.warnings())
        }
    }
}

/// Nor is it, of an open, a slot that others may stand in for.
#[test]
fn a_broken_rule_at_a_key_slot_is_no_damage_of_it() {
    let (storage, access) = with_two_slots();
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
fn a_key_slot_that_goes_while_others_look_is_no_damage() {
    let (storage, access) = with_two_slots();
    for how in ["open", "scrub", "check", "list"] {
        let whole = storage.inner.list(ObjectKind::Keys).unwrap().into_iter();
        let whole: Vec<_> = whole
            .map(|found| (found.name.clone(), storage.inner.get(ObjectKind::Keys, &found.name).unwrap()))
            .collect();
        let said = look(&storage, &access, how, || {
            let second = whole[1].0.clone();
            storage.before(Act::Read, ObjectKind::Keys, move |inner, _| {
                inner.remove(ObjectKind::Keys, &second).unwrap()
            });
        });
        whole.into_iter().for_each(|(name, bytes)| storage.inner.put(ObjectKind::Keys, &name, bytes));
        // The password may be that of the slot that went.
        let opened = how == "open" && matches!(said, Err(Error::WrongPassword { .. }));
        assert!(opened || matches!(&said, Ok(wrong) if wrong.is_empty()), "{how}: {said:?}");
    }
}

//! Keys of role read: they open everything and write nothing.

use std::sync::Arc;

use snap_backup::Control;
use snap_backup::error::{Error, Result};
use snap_backup::model::config::Role;
use snap_backup::model::id::SnapshotId;
use snap_backup::model::records::GcRecord;
use snap_backup::ops::rewrite::Change;
use snap_backup::ops::{backup, check, forget, gc, key, restore, rewrite, sync};
use snap_backup::repo::objects;
use snap_backup::repo::options::OpenOptions;
use snap_backup::repo::repository::Repository;
use snap_backup::storage::memory::MemoryStorage;
use snap_backup::storage::{ObjectKind, Storage};
use zeroize::Zeroizing;

use snap_backup::codec::crypto::sealed_object;
use snap_backup::model::entry::Time;

use crate::support::CHEAP_KDF;
use crate::support::library::Library;

fn password(text: &str) -> Zeroizing<String> {
    text.to_owned().into()
}

/// A repository with a snapshot, the full password `full` and the password `read`.
struct Roles {
    storage: Arc<MemoryStorage>,
    library: Library,
    snapshot: SnapshotId,
}

impl Roles {
    fn new() -> Self {
        let storage = Arc::new(MemoryStorage::default());
        let library = Library::on(storage.clone(), Some("full"));
        library.write("src", &[("a", b"content")]);
        let snapshot = library.backup("src", backup::Options::default()).snapshot.unwrap();
        key::add_role(&library.open(), &password("read"), CHEAP_KDF, (Role::Read, "auditor")).unwrap();
        Self { storage, library, snapshot }
    }

    fn open(&self, text: &str) -> Repository {
        let access = OpenOptions { password: Some(password(text)), ..OpenOptions::default() };
        Repository::open(self.storage.clone(), &access).unwrap()
    }

    /// Returns all objects by name, with their bytes.
    fn objects(&self) -> Vec<(ObjectKind, String, Option<Vec<u8>>)> {
        let areas = [
            ObjectKind::Config,
            ObjectKind::Keys,
            ObjectKind::Packs,
            ObjectKind::Snapshots,
            ObjectKind::Trash,
            ObjectKind::Gc,
            ObjectKind::Damage,
            ObjectKind::Audit,
            ObjectKind::Sessions,
        ];
        let all = areas.iter().flat_map(|area| {
            let listed = self.storage.list(*area).unwrap().into_iter();
            listed.map(|found| (*area, found.name.clone(), self.storage.get(*area, &found.name)))
        });
        all.collect()
    }
}

/// Calls every operation that writes.
fn writers(repo: &Repository, roles: &Roles) -> Vec<(&'static str, Result<()>)> {
    let sources = vec![roles.library.path("src")];
    let backup = |dry_run| {
        let options = backup::Options { sources: sources.clone(), dry_run, ..backup::Options::default() };
        backup::Backup::begin(options, None, &Control::default())?.run(repo, &Control::default()).map(drop)
    };
    let forget =
        forget::Options { selectors: vec!["latest".into()], force: true, ..forget::Options::default() };
    let change = Change { add_tags: vec!["t".into()], ..Change::default() };
    let rewrite = rewrite::Options { change, ..rewrite::Options::default() };
    let costs = CHEAP_KDF;
    let elsewhere: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
    backup(true).unwrap();
    vec![
        ("backup", backup(false)),
        ("forget", forget::run(repo, &forget).map(drop)),
        ("undelete", forget::undelete(repo, &[roles.snapshot.hex()]).map(drop)),
        ("rewrite", rewrite::run(repo, &rewrite, &Control::default()).map(drop)),
        ("gc", gc::run(repo, &gc::Options::default(), &Control::default()).map(drop)),
        ("sync", sync::run(repo, &elsewhere, &sync::Options::default(), &Control::default()).map(drop)),
        ("key add", key::add(repo, &password("more"), costs, "").map(drop)),
        ("key passwd", key::change(repo, &password("more"), costs).map(drop)),
        ("key rotate", key::rotate(repo, &password("read"), costs).map(drop)),
        ("key remove", key::remove(repo, "0").map(drop)),
        ("parity", repo.clone().set_parity(10)),
    ]
}

#[test]
fn read_key_opens_everything_and_may_write_nothing() {
    let roles = Roles::new();
    let repo = roles.open("read");
    assert_eq!((repo.role(), roles.open("full").role()), (Role::Read, Role::Full));
    let before = roles.objects();
    for (verb, result) in writers(&repo, &roles) {
        match result {
            Err(Error::Refused(why)) => assert!(why.contains("role read"), "{verb}: {why}"),
            other => panic!("{verb}: {other:?}"),
        }
    }
    let options = check::Options { read_data: true, ..check::Options::default() };
    let report = check::run(&repo, &options, &Control::default()).unwrap();
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    let target = tempfile::tempdir().unwrap();
    let options = restore::Options {
        selector: "latest".into(),
        target: target.path().to_path_buf(),
        ..restore::Options::default()
    };
    assert!(restore::run(&repo, &options, &Control::default()).unwrap().problems.is_empty());
    assert_eq!(std::fs::read(target.path().join("src/a")).unwrap(), b"content");
    let found: Vec<_> = key::list(&repo).unwrap().into_iter().map(|slot| (slot.role, slot.label)).collect();
    assert!(found.contains(&(Some(Role::Read), "auditor".to_owned())), "{found:?}");
    assert!(roles.objects() == before, "something was written");
}

#[test]
fn read_key_survives_rotations_until_it_is_removed() {
    let roles = Roles::new();
    key::rotate(&roles.open("full"), &password("full"), CHEAP_KDF).unwrap();
    roles.library.write("src", &[("a", b"other content")]);
    roles.library.backup("src", backup::Options::default());
    let repo = roles.open("read");
    assert_eq!((repo.role(), repo.config().epoch), (Role::Read, 1));
    let options = check::Options { read_data: true, ..check::Options::default() };
    assert!(check::run(&repo, &options, &Control::default()).unwrap().errors.is_empty());
    let slot = repo.slot().unwrap();
    key::remove(&roles.open("full"), &slot.hex()).unwrap();
    let access = OpenOptions { password: Some(password("read")), ..OpenOptions::default() };
    assert!(matches!(
        Repository::open(roles.storage.clone(), &access),
        Err(Error::WrongPassword { .. } | Error::KeyRemoved { .. } | Error::Missing { .. })
    ));
}

/// What only a full key may write is signed: a holder of all other keys of the epoch cannot create it.
#[test]
fn a_read_key_makes_no_manifest_and_no_record_that_deletes() {
    let roles = Roles::new();
    let repo = roles.open("read");
    let record = GcRecord {
        by: roles.snapshot,
        at: Time::now(),
        condemned: Vec::new(),
        roots: Vec::new(),
        purged: Vec::new(),
    };
    let made = objects::seal(repo.suite(), sealed_object::GC, "0000000000000001", &record);
    assert!(made.unwrap_err().chain().contains("full key"));
    let manifest = snap_backup::repo::snapshots::list(&repo).unwrap().remove(0).manifest;
    assert!(objects::seal(repo.suite(), sealed_object::MANIFEST, "name", &manifest).is_err());
}

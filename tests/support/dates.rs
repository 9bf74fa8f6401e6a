//! Snapshots of other days, for which no test can wait.

use std::path::Path;
use std::sync::Arc;

use snap_backup::model::entry::Time;
use snap_backup::model::manifest::Manifest;
use snap_backup::model::records::SessionKind;
use snap_backup::repo::options::OpenOptions;
use snap_backup::repo::repository::Repository;
use snap_backup::repo::sessions::session::Session;
use snap_backup::repo::snapshots;
use snap_backup::storage::ObjectKind;
use snap_backup::storage::local::LocalStorage;

/// A clock that is three seconds ahead: backups dated by it count files written just now as old enough not to
/// be read again.
pub fn ahead() -> Time {
    let now = Time::now();
    Time { sec: now.sec + 3, ..now }
}

/// Days from now; negative before it.
pub fn days(number: i64) -> Time {
    let now = Time::now();
    Time { sec: now.sec + number * 86_400, ..now }
}

/// Sets the time at which a snapshot began. Returns its new name.
pub fn redate(repo: &Path, password: Option<&str>, id: &str, started: Time) -> String {
    change(repo, password, id, |manifest| (manifest.started, manifest.ended) = (started, started))
}

/// Sets the expiry of a snapshot, which the command line accepts only in the future. Returns its new name.
pub fn expire(repo: &Path, password: Option<&str>, id: &str, at: Time) -> String {
    change(repo, password, id, |manifest| manifest.set_expires(Some(at)))
}

/// Marks a snapshot as that of a run that was interrupted at this time. Returns its new name.
pub fn interrupt(repo: &Path, password: Option<&str>, id: &str, at: Time) -> String {
    change(repo, password, id, |manifest| {
        (manifest.started, manifest.ended, manifest.partial) = (at, at, true)
    })
}

fn change(repo: &Path, password: Option<&str>, id: &str, change: impl Fn(&mut Manifest)) -> String {
    let access = OpenOptions {
        password: password.map(|text| text.to_owned().into()),
        cache: None,
        ..OpenOptions::default()
    };
    let dir = repo;
    let repo = Repository::open(Arc::new(LocalStorage::new(dir)), &access).unwrap();
    let mut manifest = snapshots::load(&repo, id).unwrap().unwrap().manifest;
    change(&mut manifest);
    let (session, _) = Session::open(&repo, SessionKind::Writer).unwrap();
    assert!(snapshots::commit(&repo, session.id, &manifest).unwrap());
    repo.storage().remove(ObjectKind::Snapshots, id).unwrap();
    let name = session.id.hex();
    session.close().unwrap();
    // The local records of a sandbox's machine no longer match the snapshot.
    for above in dir.ancestors() {
        let _ = std::fs::remove_dir_all(above.join("home/.local/state/snap/known"));
    }
    name
}

//! Repositories of every format version must open, check and restore. A new version adds a folder under
//! `fixtures/`; none is ever changed.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use snap_backup::Control;
use snap_backup::ops::{cat, check};
use snap_backup::repo::options::OpenOptions;
use snap_backup::repo::repository::Repository;
use snap_backup::repo::snapshots;
use snap_backup::storage::local::LocalStorage;

pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let there = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &there);
        } else {
            fs::copy(entry.path(), there).unwrap();
        }
    }
}

#[test]
fn every_released_repository_opens_checks_and_restores() {
    let mut opened = 0;
    for version in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")).unwrap() {
        let version = version.unwrap();
        if !version.file_type().unwrap().is_dir() {
            continue;
        }
        for golden in fs::read_dir(version.path()).unwrap() {
            let golden = golden.unwrap();
            if !golden.path().join("config").is_dir() {
                continue;
            }
            let private_dir = tempfile::tempdir().unwrap();
            copy(&golden.path(), private_dir.path());
            // The second opens a read key.
            let passwords: &[Option<&str>] = match golden.file_name().to_str().unwrap() {
                "encrypted" => &[Some("golden"), Some("golden read")],
                "clients" => &[Some("golden")],
                _ => &[None],
            };
            for password in passwords {
                gives_back_its_files(private_dir.path(), *password);
                opened += 1;
            }
        }
    }
    assert_eq!(opened, 4);
}

fn gives_back_its_files(place: &Path, password: Option<&str>) {
    let password = password.map(|password| password.to_owned().into());
    let storage = Arc::new(LocalStorage::new(place));
    let repo = Repository::open(storage, &OpenOptions { password, cache: None, ..OpenOptions::default() });
    let repo = repo.unwrap();
    let options = check::Options { read_data: true, ..check::Options::default() };
    let report = check::run(&repo, &options, &Control::default()).unwrap();
    assert!(report.errors.is_empty(), "{place:?}: {:?}", report.errors);
    let all = snapshots::list(&repo).unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].manifest.host, "golden");
    for (path, bytes) in [("hello.txt", b"hello\n".to_vec()), ("dir/x.txt", vec![b'x'; 300_000])] {
        let mut out = Vec::new();
        cat::run(&repo, &format!("latest:tree/{path}"), &mut out).unwrap();
        assert!(out == bytes, "{path} of {place:?}");
    }
}

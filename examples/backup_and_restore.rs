//! Backs up a directory to an encrypted repository, and restores it: `cargo run --example
//! backup_and_restore`.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, reason = "an example")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use snap_backup::ops::backup::{self, Backup};
use snap_backup::ops::restore;
use snap_backup::repo::repository::{InitOptions, OpenOptions, Repository};
use snap_backup::storage::local::LocalStorage;
use snap_backup::{Control, Result};

fn main() -> Result<()> {
    let dir = tempfile::tempdir()
        .map_err(snap_backup::Error::io("create a directory below", std::env::temp_dir()))?;
    let source = dir.path().join("notes");
    fs::create_dir(&source)
        .and_then(|()| fs::write(source.join("today.txt"), "buy milk"))
        .map_err(snap_backup::Error::io("write to", &source))?;

    let repo = create(&dir.path().join("repository"), "correct horse")?;
    back_up(&repo, &source)?;
    let written = restore_to(&repo, &dir.path().join("restored"))?;
    println!("{written} file restored");
    Ok(())
}

/// Creates an encrypted repository, then opens it as every later run does.
fn create(dir: &Path, password: &str) -> Result<Repository> {
    let storage = Arc::new(LocalStorage::new(dir));
    let password = Some(password.to_owned().into());
    let options = InitOptions { password: password.clone(), ..InitOptions::default() };
    Repository::init(storage.clone(), &options)?;
    Repository::open(storage, &OpenOptions { password, ..OpenOptions::default() })
}

fn back_up(repo: &Repository, source: &Path) -> Result<()> {
    let options = backup::Options { sources: vec![source.to_owned()], ..backup::Options::default() };
    let summary = Backup::begin(options, None, &Control::default())?.run(repo, &Control::default())?;
    for (path, why) in &summary.problems {
        eprintln!("not saved: {}: {why}", String::from_utf8_lossy(path));
    }
    Ok(())
}

/// Returns how many files were written.
fn restore_to(repo: &Repository, target: &Path) -> Result<u64> {
    let options = restore::Options {
        selector: "latest".to_owned(),
        target: target.to_owned(),
        ..restore::Options::default()
    };
    let summary = restore::run(repo, &options, &Control::default())?;
    Ok(summary.files_written)
}

#[test]
fn it_runs() {
    main().unwrap();
}

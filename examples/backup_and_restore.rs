//! Backs up a directory to an encrypted repository, and restores it: `cargo run --example
//! backup_and_restore`.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, reason = "an example")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use snap_backup::{
    BackupOptions, Control, InitOptions, LocalStorage, OpenOptions, Repository, RestoreOptions, Result,
};

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
    Repository::init(storage.clone(), &InitOptions::with_password(password))?;
    Repository::open(storage, &OpenOptions::with_password(password))
}

fn back_up(repo: &Repository, source: &Path) -> Result<()> {
    let report = repo.backup(&BackupOptions::of([source]), &Control::default())?;
    for problem in &report.problems {
        eprintln!("not saved: {problem}");
    }
    Ok(())
}

/// Returns how many files were written.
fn restore_to(repo: &Repository, target: &Path) -> Result<u64> {
    // Options other than the defaults are set by name.
    let options = RestoreOptions { verify: true, ..RestoreOptions::of("latest", target) };
    let report = repo.restore(&options, &Control::default())?;
    Ok(report.files_written)
}

#[test]
fn it_runs() {
    main().unwrap();
}

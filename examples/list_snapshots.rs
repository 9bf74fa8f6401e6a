//! Lists the snapshots of a repository without encryption: `cargo run --example list_snapshots DIRECTORY`.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, reason = "an example")]

use std::sync::Arc;

use snap_backup::{
    Control, Error, LocalStorage, OpenOptions, Repository, Result, Snapshot, SnapshotFilter, Storage,
};

fn main() -> Result<()> {
    let Some(dir) = std::env::args_os().nth(1) else {
        return Err(Error::Usage("give the directory of a repository".to_owned()));
    };
    for line in lines(Arc::new(LocalStorage::new(dir)))? {
        println!("{line}");
    }
    Ok(())
}

/// One line for each snapshot, oldest first.
fn lines(storage: Arc<dyn Storage>) -> Result<Vec<String>> {
    let repo = Repository::open(storage, &OpenOptions::default())?;
    let all = repo.snapshots(&SnapshotFilter::default(), &Control::default())?;
    let line = |snapshot: &Snapshot| {
        let manifest = &snapshot.manifest;
        let sources = manifest.sources.iter().map(|path| String::from_utf8_lossy(path)).collect::<Vec<_>>();
        format!("{} {} {}", snapshot.id, manifest.host, sources.join(" "))
    };
    Ok(all.iter().map(line).collect())
}

#[test]
fn an_empty_repository_has_no_lines() {
    use snap_backup::{InitOptions, MemoryStorage};

    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
    Repository::init(storage.clone(), &InitOptions::default()).unwrap();
    assert_eq!(lines(storage).unwrap(), Vec::<String>::new());
}

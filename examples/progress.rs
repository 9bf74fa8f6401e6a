//! Observes a backup and stops it early: `cargo run --example progress`.
//!
//! An observer is a function. Events drive a display; exact numbers are in the summary that an operation
//! returns.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, reason = "an example")]

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use snap_backup::ops::backup::{self, Backup};
use snap_backup::progress::Event;
use snap_backup::repo::repository::{InitOptions, Repository};
use snap_backup::storage::memory::MemoryStorage;
use snap_backup::{Control, Error, Result};

fn main() -> Result<()> {
    let dir = tempfile::tempdir().map_err(Error::io("create a directory below", std::env::temp_dir()))?;
    for name in ["one", "two", "three"] {
        fs::write(dir.path().join(name), name).map_err(Error::io("write to", dir.path()))?;
    }
    let repo = Repository::init(Arc::new(MemoryStorage::default()), &InitOptions::default())?;

    let files = AtomicU64::new(0);
    let observer = |event: Event<'_>| match event {
        Event::Done { files: done, .. } => {
            files.fetch_add(done, Ordering::Relaxed);
        }
        Event::Warning(text) => eprintln!("{text}"),
        _ => {}
    };
    // Another thread or a signal handler may set this: the run then ends soon, with a partial snapshot.
    let options = backup::Options { sources: vec![dir.path().to_owned()], ..backup::Options::default() };
    let summary = Backup::begin(options, None, &Control::default())?.run(&repo, &Control::new(&observer))?;
    println!("{} of {} files", files.load(Ordering::Relaxed), summary.counts.files());
    Ok(())
}

#[test]
fn it_runs() {
    main().unwrap();
}

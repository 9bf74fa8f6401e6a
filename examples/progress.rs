//! Observes a backup and stops it early: `cargo run --example progress`.
//!
//! An observer is a function. Events drive a display; exact numbers are in the report that an operation
//! returns.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, reason = "an example")]

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use snap_backup::{
    BackupOptions, Control, Error, ErrorKind, Event, InitOptions, MemoryStorage, Repository, Result,
};

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
    let cancel = Arc::new(AtomicBool::new(false));
    let control = Control::new(&observer).with_cancel(&cancel);
    let options = BackupOptions::of([dir.path()]);
    let report = repo.backup(&options, &control)?;
    println!("{} of {} files", files.load(Ordering::Relaxed), report.counts.files());

    // Another thread or a signal handler may set this, also during a run, which then ends soon.
    cancel.store(true, Ordering::Relaxed);
    match repo.backup(&options, &control) {
        Err(error) if error.kind() == ErrorKind::Interrupted => println!("cancelled"),
        other => drop(other?),
    }
    Ok(())
}

#[test]
fn it_runs() {
    main().unwrap();
}

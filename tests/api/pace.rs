//! Backups that run out of time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use snap_backup::ops::backup::{self, Backup, Options, Report, TimeLimit};
use snap_backup::progress::{Event, Observer};
use snap_backup::storage::memory::MemoryStorage;
use snap_backup::{Control, Error};

use crate::support::Random;
use crate::support::library::Library;

/// Sets a flag after so many bytes were read.
struct Clock {
    left: AtomicU64,
    up: Arc<AtomicBool>,
}

impl Observer for Clock {
    fn notice(&self, event: Event<'_>) {
        if let Event::Done { bytes, .. } | Event::Part { bytes } = event {
            let left = self.left.load(Ordering::Relaxed).saturating_sub(bytes);
            self.left.store(left, Ordering::Relaxed);
            self.up.fetch_or(left == 0, Ordering::Relaxed);
        }
    }
}

fn until(library: &Library, bytes: u64) -> Report {
    let up = Arc::new(AtomicBool::new(bytes == 0));
    let clock = Clock { left: AtomicU64::new(bytes), up: Arc::clone(&up) };
    let options = Options {
        sources: vec![library.path("src")],
        store_as: Some(b"src".to_vec()),
        time_limit: Some(TimeLimit::when(move || up.load(Ordering::Relaxed))),
        ..Options::default()
    };
    Backup::begin(options, None, &Control::default())
        .unwrap()
        .run(&library.open(), &Control::new(&clock))
        .unwrap()
}

#[test]
fn timed_out_run_leaves_a_partial_snapshot_to_continue() {
    let library = Library::on(Arc::new(MemoryStorage::default()), None);
    let files: Vec<(String, Vec<u8>)> =
        (0..40).map(|at| (format!("f{at:02}"), Random::new(at + 1).bytes(600 << 10))).collect();
    let named: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    library.write("src", &named);

    let nothing = until(&library, 0);
    assert!(nothing.time_up && nothing.partial && nothing.counts.files() == 0);
    let begun = until(&library, 1 << 20);
    assert!(begun.time_up && begun.partial && begun.snapshot.is_some());
    assert!(begun.counts.files() < 40, "{:?}", begun.counts);
    let rest = library.backup("src", backup::Options::default());
    assert!(!rest.partial && !rest.time_up && rest.counts.files() == 40);
    let stored = begun.counts.bytes_added;
    assert!(stored > 0 && rest.counts.bytes_added <= (40 * (600 << 10)) + (64 << 10) - stored);
    let enough = until(&library, u64::MAX);
    assert!(!enough.time_up && !enough.partial && enough.unchanged);
}

#[test]
fn stream_is_saved_whole_or_not_at_all() {
    let library = Library::on(Arc::new(MemoryStorage::default()), None);
    let command = ["sh", "-c", "head -c 9000000 /dev/zero"].map(Into::into).to_vec();
    let options = Options {
        stdin: Some(backup::Stdin { name: b"zeros".to_vec(), command: Some(command) }),
        time_limit: Some(TimeLimit::when(|| true)),
        ..Options::default()
    };
    let ended =
        Backup::begin(options, None, &Control::default()).unwrap().run(&library.open(), &Control::default());
    assert!(matches!(ended, Err(Error::TimeUp)), "{ended:?}");
    assert_eq!(library.snapshots(), []);
}

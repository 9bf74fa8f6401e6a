//! What a progress bar needs: each stage announces its total, and reaches it at the end.

use std::sync::{Arc, Mutex};

use snap_backup::ops::{backup, repair, rewrite};
use snap_backup::progress::{Event, Observer};
use snap_backup::storage::memory::MemoryStorage;
use snap_backup::storage::{ObjectKind, Storage};
use snap_backup::{Control, Result};

use crate::support::Random;
use crate::support::library::Library;

/// The announced total of a stage, and what was done.
#[derive(Debug, Default, PartialEq)]
struct Stage {
    name: String,
    unit: String,
    expected: u64,
    done: u64,
    /// Bytes that are an estimate, or those of the parts that were begun.
    guessed: u64,
    bytes: u64,
}

fn stages<T>(work: impl FnOnce(&dyn Observer) -> Result<T>) -> Vec<Stage> {
    let stages = Mutex::new(Vec::<Stage>::new());
    let observer = |event: Event<'_>| {
        let mut stages = stages.lock().unwrap();
        if let Event::Stage { name, unit } = event {
            stages.push(Stage { name: name.into(), unit: unit.into(), ..Stage::default() });
        }
        let Some(stage) = stages.last_mut() else { return };
        match event {
            Event::Expect { files, .. } => stage.expected = files,
            Event::Estimate { bytes, .. } => stage.guessed = bytes,
            Event::Part { bytes } => stage.guessed += bytes,
            Event::Done { files, bytes } => {
                stage.done += files;
                stage.bytes += bytes;
            }
            _ => {}
        }
    };
    work(&observer).map(drop).unwrap_or_else(|err| panic!("{}", err.chain()));
    stages.into_inner().unwrap()
}

/// Two snapshots of three files each.
fn library() -> (Library, Arc<MemoryStorage>) {
    let storage = Arc::new(MemoryStorage::default());
    let library = Library::on(storage.clone(), None);
    let noise = Random::new(1).bytes(10_000);
    library.write("src", &[("a", b"one"), ("d/b", noise.as_slice()), ("d/c", b"three")]);
    library.backup("src", backup::Options::default());
    library.write("src", &[("a", b"other")]);
    library.backup("src", backup::Options::default());
    (library, storage)
}

fn stage(name: &str, unit: &str, (expected, done): (u64, u64), (guessed, bytes): (u64, u64)) -> Stage {
    Stage { name: name.into(), unit: unit.into(), expected, done, guessed, bytes }
}

#[test]
fn repair_counts_the_snapshots_it_reads_and_writes() {
    let (library, storage) = library();
    for pack in storage.list(ObjectKind::Packs).unwrap() {
        if pack.len > 8_000 {
            storage.remove(ObjectKind::Packs, &pack.name).unwrap();
        }
    }
    let options = repair::snapshots::Options::default();
    let told = stages(|observer| repair::snapshots::run(&library.open(), &options, &Control::new(observer)));
    let both = 3 + 5 + 2 * (10_000 + 5);
    let followed = stage("following snapshots", "snapshots", (2, 2), (both, both));
    assert_eq!(told, [followed, stage("writing what is left", "snapshots", (2, 2), (both, both))]);
}

#[test]
fn rewrite_counts_paths_read_and_snapshots_written() {
    let (library, _) = library();
    let options = rewrite::Options { exclude: vec!["c".into()], ..rewrite::Options::default() };
    let told = stages(|observer| rewrite::run(&library.open(), &options, &Control::new(observer)));
    let bytes = 5 + 10_000 + 5;
    let through = stage("looking through paths", "files", (0, 3), (bytes, bytes));
    assert_eq!(told, [through, stage("writing snapshots", "snapshots", (2, 2), (0, 0))]);
}

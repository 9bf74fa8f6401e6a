//! Every reading command, with another whole operation before any of its storage calls: it reads everything
//! that it selected, or reports that the snapshot does not exist, and never mistakes the effects of gc for
//! damage.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use snap_backup::model::manifest::SnapshotKind;
use snap_backup::storage::memory::MemoryStorage;
use snap_backup::storage::{ObjectKind, Storage};
use snap_backup::{Error, Result};

use crate::interleave_exhaustive::{Gap, Work};
use crate::support::world::World;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    Cat,
    Ls,
    Export,
    /// Of two snapshots.
    Diff,
    Restore,
    Check,
    Stats,
    RepairIndex,
    RepairSnapshots,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Write {
    /// A new snapshot in packs of its own.
    Backup,
    /// Forgets what is read and runs gc until nothing of it is left.
    Purge,
    /// Moves what is read into other packs.
    Collect,
}

const WRITERS: [Write; 3] = [Write::Backup, Write::Purge, Write::Collect];

fn read(world: &World, storage: Arc<dyn Storage>, reader: Read) -> Result<()> {
    let (dad, keep) = (world.ids["dad"].hex(), world.ids["keep"].hex());
    match reader {
        Read::Cat => {
            let bytes = world.cat(storage, &format!("{dad}:dad/f4"))?;
            assert!(bytes == world.bytes("dad/f4"), "cat gave other bytes");
        }
        Read::Ls => assert_eq!(world.ls(storage, &dad)?, ["dad", "dad/f1", "dad/f4"]),
        Read::Export => {
            let archive = world.export(storage, &dad)?;
            for file in ["dad/f1", "dad/f4"] {
                let bytes = world.bytes(file);
                assert!(
                    archive.windows(bytes.len()).any(|part| part == bytes),
                    "{file} is not in the archive"
                );
            }
        }
        Read::Diff => {
            let changes = world.diff(storage, &dad, &keep)?;
            assert_eq!(changes, ["- dad", "- dad/f1", "- dad/f4", "+ keep", "+ keep/f3", "+ keep/f5"]);
        }
        Read::Restore => assert_eq!(world.restore(storage, world.ids["dad"], "dad")?, Vec::<String>::new()),
        Read::Check => assert_eq!(world.check(storage)?, Vec::<String>::new()),
        Read::Stats => assert_eq!(world.stats(storage)?.missing, 0),
        Read::RepairIndex => assert_eq!(world.repair_index(storage)?.unreadable, Vec::<String>::new()),
        Read::RepairSnapshots => assert_eq!(world.repair_snapshots(storage)?.items.len(), 0),
    }
    Ok(())
}

fn write(world: &World, storage: &Arc<MemoryStorage>, writer: Write) -> Result<()> {
    match writer {
        Write::Backup => world.backup(storage.clone(), "new", SnapshotKind::Full).map(drop),
        // A snapshot that was already forgotten is irrelevant here.
        Write::Purge => {
            world.forget(storage.clone(), "dad")?;
            world.gc(storage.clone())?;
            world.gc(storage.clone()).map(drop)
        }
        Write::Collect => {
            world.gc(storage.clone())?;
            world.gc(storage.clone()).map(drop)
        }
    }
}

/// If the snapshot was forgotten before it was selected, it does not exist; no other error is allowed.
fn is_meant(reader: Read, writer: Write, err: &Error) -> bool {
    let names = [Read::Cat, Read::Ls, Read::Export, Read::Diff, Read::Restore];
    writer == Write::Purge && names.contains(&reader) && matches!(err, Error::NoSnapshot { .. })
}

/// Before each call of the reader each of the writers runs completely.
fn beside_every_writer(reader: Read) {
    let world = Arc::new(World::new());
    let mut wrong = Vec::new();
    for writer in WRITERS {
        for at in 0.. {
            let storage = Arc::new(world.storage());
            // Something to move: packs of which a part is needed.
            world.forget(storage.clone(), "old").unwrap();
            let (other, beside) = (Arc::clone(&world), storage.clone());
            let due = move || write(&other, &beside, writer).unwrap();
            let state = Mutex::new((0, Some(Box::new(due) as Work)));
            let gap = Arc::new(Gap { inner: storage.clone(), state, at, cut: false });
            match read(&world, gap.clone(), reader) {
                Err(err) if !is_meant(reader, writer, &err) => {
                    wrong.push(format!("{writer:?} before call {at}: {}", err.chain()));
                }
                _ => {}
            }
            let noted = storage.list(ObjectKind::Damage).unwrap().len();
            assert_eq!(noted, 0, "{writer:?} before call {at} left a record of damage");
            if gap.state.lock().unwrap().1.is_some() {
                break;
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn cat_is_complete_whatever_runs_concurrently() {
    beside_every_writer(Read::Cat);
}

#[test]
fn ls_is_complete_whatever_runs_concurrently() {
    beside_every_writer(Read::Ls);
}

#[test]
fn export_is_complete_whatever_runs_concurrently() {
    beside_every_writer(Read::Export);
}

#[test]
fn diff_is_complete_whatever_runs_concurrently() {
    beside_every_writer(Read::Diff);
}

#[test]
fn restore_is_complete_whatever_runs_concurrently() {
    beside_every_writer(Read::Restore);
}

#[test]
fn check_finds_no_damage_whatever_runs_concurrently() {
    beside_every_writer(Read::Check);
}

#[test]
fn stats_are_complete_whatever_runs_concurrently() {
    beside_every_writer(Read::Stats);
}

#[test]
fn repair_index_finds_no_damage_whatever_runs_concurrently() {
    beside_every_writer(Read::RepairIndex);
}

#[test]
fn repair_snapshots_replaces_none_whatever_runs_concurrently() {
    beside_every_writer(Read::RepairSnapshots);
}

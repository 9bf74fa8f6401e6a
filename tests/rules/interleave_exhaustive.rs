//! Between any two storage calls of every operation another whole operation runs, or the first is interrupted
//! for good. This covers all cases: what was acknowledged stays, and the next run needs no help.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::{fmt, io};

use snap_backup::model::manifest::SnapshotKind;
use snap_backup::storage::memory::MemoryStorage;
use snap_backup::storage::{CreateOutcome, Listed, LockGuard, ObjectKind, Storage};
use snap_backup::{Error, Result};

use crate::support::world::{World, copy_of};

pub(crate) type Work = Box<dyn FnOnce() + Send>;

/// A storage at whose n-th call something happens first, or which fails from there on.
pub(crate) struct Gap {
    pub(crate) inner: Arc<MemoryStorage>,
    pub(crate) state: Mutex<(usize, Option<Work>)>,
    pub(crate) at: usize,
    /// Only modifying calls count, and from the n-th on none takes effect.
    pub(crate) cut: bool,
}

impl Gap {
    fn call<T>(&self, changes: bool, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let (number, due) = {
            let mut state = self.state.lock().unwrap();
            let number = state.0;
            state.0 += usize::from(changes || !self.cut);
            (number, if number >= self.at { state.1.take() } else { None })
        };
        if self.cut && number >= self.at {
            return Err(Error::io("reach", "the store")(io::ErrorKind::BrokenPipe.into()));
        }
        if let Some(due) = due {
            due();
        }
        work()
    }
}

impl fmt::Debug for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gap")
    }
}

impl Storage for Gap {
    fn location(&self) -> String {
        self.inner.location()
    }
    fn list(&self, area: ObjectKind) -> Result<Vec<Listed>> {
        self.call(false, || self.inner.list(area))
    }
    fn read(&self, area: ObjectKind, name: &str, limit: u64) -> Result<Vec<u8>> {
        self.call(false, || self.inner.read(area, name, limit))
    }
    fn read_range(&self, area: ObjectKind, name: &str, offset: u64, out: &mut [u8]) -> Result<()> {
        self.call(false, || self.inner.read_range(area, name, offset, out))
    }
    fn create(&self, area: ObjectKind, name: &str, parts: &[&[u8]]) -> Result<CreateOutcome> {
        self.call(true, || self.inner.create(area, name, parts))
    }
    fn create_held(&self, area: ObjectKind, name: &str, bytes: &[u8]) -> Result<Box<dyn LockGuard>> {
        self.call(true, || self.inner.create_held(area, name, bytes))
    }
    fn replace(&self, area: ObjectKind, name: &str, bytes: &[u8]) -> Result<()> {
        self.call(true, || self.inner.replace(area, name, bytes))
    }
    fn is_held(&self, area: ObjectKind, name: &str) -> Result<Option<bool>> {
        self.call(false, || self.inner.is_held(area, name))
    }
    fn remove(&self, area: ObjectKind, name: &str) -> Result<()> {
        self.call(true, || self.inner.remove(area, name))
    }
    fn sync(&self, area: ObjectKind) -> Result<()> {
        self.inner.sync(area)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    /// With a parent that may be forgotten meanwhile.
    Backup,
    /// Of data that only a forgotten snapshot has.
    Other,
    Forget,
    Undelete,
    Gc,
    Restore,
    /// Of a pack that is damaged from the start.
    Repair,
}

const ALL: [Op; 7] = [Op::Backup, Op::Other, Op::Forget, Op::Undelete, Op::Gc, Op::Restore, Op::Repair];

/// What was acknowledged. A failed operation must report it; only then nothing was promised.
fn run(world: &World, storage: Arc<dyn Storage>, op: Op, promised: &Mutex<BTreeSet<String>>) -> Result<()> {
    let made = match op {
        Op::Backup => world.backup(storage, "dad", SnapshotKind::Incremental)?.into_iter().collect(),
        Op::Other => world.backup(storage, "ab", SnapshotKind::Incremental)?.into_iter().collect(),
        Op::Forget => world.forget(storage, "dad").map(|()| Vec::new())?,
        Op::Undelete => world.undelete(storage, "old")?,
        Op::Gc => world.gc(storage).map(|_| Vec::new())?,
        Op::Restore => {
            let differences = world.restore(storage, world.ids["keep"], "keep")?;
            assert_eq!(differences, Vec::<String>::new(), "a restore lost something");
            Vec::new()
        }
        Op::Repair => world.repair(storage).map(|()| Vec::new())?,
    };
    promised.lock().unwrap().extend(made.iter().map(|id| id.hex()));
    Ok(())
}

/// A repository with `old` forgotten, and with a damaged pack if one is to be repaired.
fn begin(world: &World, ops: &[Op]) -> Arc<MemoryStorage> {
    let is_damaged = ops.contains(&Op::Repair);
    let storage = Arc::new(if is_damaged { world.damaged() } else { world.storage() });
    world.forget(storage.clone(), "old").unwrap();
    storage
}

fn judge(world: &World, storage: &MemoryStorage, promised: &BTreeSet<String>, forgotten: bool, story: &str) {
    let storage = copy_of(storage);
    // If it was interrupted, another run completes it.
    world.repair(storage.clone()).unwrap_or_else(|err| panic!("{story}: {}", err.chain()));
    let mut wrong = world.wrong(&storage);
    wrong.extend(world.wrong_later(&storage));
    let standing: BTreeSet<String> = world.standing(storage).iter().map(|id| id.hex()).collect();
    let before = if forgotten { vec!["keep"] } else { vec!["keep", "dad"] };
    let before = before.into_iter().map(|name| world.ids[name].hex());
    let gone: Vec<String> =
        promised.iter().cloned().chain(before).filter(|id| !standing.contains(id)).collect();
    assert!(wrong.is_empty() && gone.is_empty(), "{story}: {wrong:#?}, gone: {gone:?}");
}

#[test]
fn operation_between_any_two_calls_of_another_is_harmless() {
    let world = Arc::new(World::new());
    let mut runs = 0;
    for outer in ALL {
        for inner in ALL {
            for at in 0.. {
                let storage = begin(&world, &[outer, inner]);
                let promised = Arc::new(Mutex::new(BTreeSet::new()));
                let (other, beside) = (Arc::clone(&world), storage.clone());
                let promise = Arc::clone(&promised);
                let due = move || {
                    run(&other, beside, inner, &promise).unwrap_or_else(|err| allow(inner, outer, &err));
                };
                let state = Mutex::new((0, Some(Box::new(due) as Work)));
                let gap = Arc::new(Gap { inner: storage.clone(), state, at, cut: false });
                run(&world, gap.clone(), outer, &promised).unwrap_or_else(|err| allow(outer, inner, &err));
                let forgotten = outer == Op::Forget || inner == Op::Forget;
                let story = format!("{inner:?} before call {at} of {outer:?}");
                judge(&world, &storage, &promised.lock().unwrap(), forgotten, &story);
                runs += 1;
                if gap.state.lock().unwrap().1.is_some() {
                    break;
                }
            }
        }
    }
    assert!(runs > 1000, "{runs}");
}

/// Errors that are allowed because of the other operation.
fn allow(op: Op, other: Op, err: &Error) {
    let meant = match (op, other) {
        // Already purged or undeleted.
        (Op::Undelete, Op::Gc | Op::Undelete) => true,
        // Already forgotten.
        (Op::Forget, Op::Forget) => true,
        _ => false,
    };
    assert!(meant, "{op:?} beside {other:?}: {}", err.chain());
}

#[test]
fn interruption_at_any_point_needs_no_help() {
    cut_anywhere(&World::new());
}

/// All of them write and remove sidecars: at the end every pack has its own, and there is none without a
/// pack.
#[test]
fn the_same_where_there_is_parity() {
    cut_anywhere(&World::with_parity(50));
}

fn cut_anywhere(world: &World) {
    for op in ALL {
        for at in 0.. {
            let storage = begin(world, &[op]);
            let gap = Arc::new(Gap { inner: storage.clone(), state: Mutex::new((0, None)), at, cut: true });
            let promised = Mutex::new(BTreeSet::new());
            let done = run(world, gap, op, &promised);
            let story = format!("{op:?} cut at change {at}");
            judge(world, &storage, &promised.lock().unwrap(), op == Op::Forget, &story);
            if done.is_ok() {
                assert!(at > 2, "{story}: it changes more than that");
                break;
            }
        }
    }
}

/// Interrupted anywhere, even half swept, and then its record is lost.
#[test]
fn gc_whose_record_is_lost_is_abandoned_without_harm() {
    let world = World::new();
    let mut given_up = 0;
    for at in 0.. {
        let storage = begin(&world, &[Op::Gc]);
        let gap = Arc::new(Gap { inner: storage.clone(), state: Mutex::new((0, None)), at, cut: true });
        let done = run(&world, gap, Op::Gc, &Mutex::default()).is_ok();
        let story = format!("cut at change {at}");
        let storage = copy_of(&storage);
        let records = storage.list(ObjectKind::Gc).unwrap();
        if records.len() == 1 {
            let name = &records[0].name;
            let mut bytes = storage.get(ObjectKind::Gc, name).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            storage.put(ObjectKind::Gc, name, bytes);
            assert!(world.gc(storage.clone()).is_err(), "{story}: nobody knows what it condemned");
            let report = world.repair_gc(storage.clone()).unwrap();
            assert_eq!(report.given_up, Some(1), "{story}");
            given_up += 1;
        }
        judge(&world, &storage, &BTreeSet::new(), false, &story);
        if done {
            break;
        }
    }
    assert!(given_up > 3, "{given_up}");
}

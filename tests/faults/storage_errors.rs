//! Every call to the storage fails once: without effect, after its effect, or leaving half an object. What
//! was acknowledged stays, no error is treated as an empty listing, and the same run, repeated, completes.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::{fmt, io};

use crate::support::CHEAP_KDF;
use snap_backup::model::manifest::SnapshotKind;
use snap_backup::ops::{check, key};
use snap_backup::repo::options::{InitOptions, OpenOptions};
use snap_backup::repo::repository::Repository;
use snap_backup::storage::memory::MemoryStorage;
use snap_backup::storage::{CreateOutcome, Listed, LockGuard, ObjectKind, Storage};
use snap_backup::{Control, Error, Result};

use crate::support::world::{World, copy_of};

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It has no effect.
    Before,
    /// It takes effect, and reports an error.
    After,
    /// It has no effect, because an invariant is violated.
    Bug,
    /// The first half of a new object appears under its name, which no storage should do.
    Half,
}

/// A storage whose n-th call fails, or all listings of one area.
struct Faulty {
    inner: Arc<MemoryStorage>,
    fault: Fault,
    at: usize,
    blind: Option<ObjectKind>,
    calls: Mutex<usize>,
    /// What failed.
    hit: Mutex<Option<(&'static str, ObjectKind, String)>>,
}

impl Faulty {
    fn new(inner: &Arc<MemoryStorage>, fault: Fault, at: usize) -> Arc<Self> {
        let inner = Arc::clone(inner);
        Arc::new(Self { inner, fault, at, blind: None, calls: Mutex::default(), hit: Mutex::default() })
    }

    fn blind(inner: &Arc<MemoryStorage>, area: ObjectKind) -> Arc<Self> {
        let inner = Arc::clone(inner);
        let (calls, hit) = (Mutex::default(), Mutex::default());
        Arc::new(Self { inner, fault: Fault::Before, at: usize::MAX, blind: Some(area), calls, hit })
    }

    fn call<T>(
        &self,
        what: &'static str,
        area: ObjectKind,
        name: &str,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let number = {
            let mut calls = self.calls.lock().unwrap();
            *calls += 1;
            *calls - 1
        };
        if number != self.at && !(what == "list" && self.blind == Some(area)) {
            return work();
        }
        *self.hit.lock().unwrap() = Some((what, area, name.to_owned()));
        match self.fault {
            Fault::Bug => return Err(Error::Bug { what: "a rule" }),
            Fault::Before => {}
            Fault::After | Fault::Half => drop(work()?),
        }
        let made = matches!(what, "create" | "create_held" | "replace");
        if self.fault == Fault::Half
            && made
            && let Some(bytes) = self.inner.get(area, name)
        {
            self.inner.put(area, name, bytes[..bytes.len() / 2].to_vec());
        }
        Err(Error::io("reach", area.path(name))(io::ErrorKind::ConnectionReset.into()))
    }

    fn hit(&self) -> Option<(&'static str, ObjectKind, String)> {
        self.hit.lock().unwrap().clone()
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

impl Storage for Faulty {
    fn location(&self) -> String {
        self.inner.location()
    }
    fn list(&self, area: ObjectKind) -> Result<Vec<Listed>> {
        self.call("list", area, "", || self.inner.list(area))
    }
    fn read(&self, area: ObjectKind, name: &str, limit: u64) -> Result<Vec<u8>> {
        self.call("read", area, name, || self.inner.read(area, name, limit))
    }
    fn read_range(&self, area: ObjectKind, name: &str, offset: u64, out: &mut [u8]) -> Result<()> {
        self.call("read_range", area, name, || self.inner.read_range(area, name, offset, out))
    }
    fn create(&self, area: ObjectKind, name: &str, parts: &[&[u8]]) -> Result<CreateOutcome> {
        self.call("create", area, name, || self.inner.create(area, name, parts))
    }
    fn create_held(&self, area: ObjectKind, name: &str, bytes: &[u8]) -> Result<Box<dyn LockGuard>> {
        self.call("create_held", area, name, || self.inner.create_held(area, name, bytes))
    }
    fn replace(&self, area: ObjectKind, name: &str, bytes: &[u8]) -> Result<()> {
        self.call("replace", area, name, || self.inner.replace(area, name, bytes))
    }
    fn is_held(&self, area: ObjectKind, name: &str) -> Result<Option<bool>> {
        self.call("is_held", area, name, || self.inner.is_held(area, name))
    }
    fn remove(&self, area: ObjectKind, name: &str) -> Result<()> {
        self.call("remove", area, name, || self.inner.remove(area, name))
    }
    fn sync(&self, area: ObjectKind) -> Result<()> {
        self.call("sync", area, "", || self.inner.sync(area))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Backup,
    Other,
    Forget,
    Undelete,
    Gc,
    Restore,
    Check,
}

const ALL: [Op; 7] = [Op::Backup, Op::Other, Op::Forget, Op::Undelete, Op::Gc, Op::Restore, Op::Check];

/// What was acknowledged.
fn run(world: &World, storage: Arc<dyn Storage>, op: Op) -> Result<Vec<String>> {
    let made = match op {
        Op::Backup => world.backup(storage, "dad", SnapshotKind::Incremental)?.into_iter().collect(),
        Op::Other => world.backup(storage, "ab", SnapshotKind::Incremental)?.into_iter().collect(),
        Op::Forget => world.forget(storage, "dad").map(|()| Vec::new())?,
        Op::Undelete => world.undelete(storage, "old")?,
        Op::Gc => world.gc(storage).map(|_| Vec::new())?,
        Op::Restore => {
            let differences = world.restore(storage, world.ids["keep"], "keep")?;
            if let Some(first) = differences.first() {
                return Err(Error::Refused(format!("it said what it could not restore: {first}")));
            }
            Vec::new()
        }
        Op::Check => {
            let repo = Repository::open(storage, &OpenOptions::default())?;
            let options = check::Options { read_data: true, ..check::Options::default() };
            let report = check::run(&repo, &options, &Control::default())?;
            if let Some(first) = report.errors.first() {
                return Err(Error::Refused(format!("it said what it could not check: {first}")));
            }
            Vec::new()
        }
    };
    Ok(made.iter().map(|id| id.hex()).collect())
}

/// A repository with `old` forgotten.
fn begin(world: &World) -> Arc<MemoryStorage> {
    let storage = Arc::new(world.storage());
    world.forget(storage.clone(), "old").unwrap();
    storage
}

/// Where a failure may be silent: what only informs others of this run, or is repeated by the next one.
fn is_silent(what: &str, area: ObjectKind) -> bool {
    area == ObjectKind::Sessions || matches!((what, area), ("list" | "read" | "remove", ObjectKind::Gc))
}

#[test]
fn failed_call_harms_nothing_and_the_next_run_completes() {
    let world = World::new();
    let mut runs = 0;
    for op in ALL {
        for fault in [Fault::Before, Fault::After] {
            for at in 0.. {
                let storage = begin(&world);
                let faulty = Faulty::new(&storage, fault, at);
                let first = run(&world, faulty.clone(), op);
                let Some((what, area, name)) = faulty.hit() else {
                    assert!(first.is_ok() && at > 5, "{op:?} makes {at} calls");
                    break;
                };
                runs += 1;
                let story = format!("{op:?}, call {at}, {what} {} fails {fault:?}", area.path(&name));
                if let (Ok(_), Op::Check | Op::Restore) = (&first, op) {
                    // What cannot be read counts as unread, never as empty.
                    let listing = what == "list" && !is_silent(what, area);
                    assert!(
                        !listing || area == ObjectKind::Damage || area == ObjectKind::Packs,
                        "{story}: all was well"
                    );
                }
                let mut promised: BTreeSet<String> = first.unwrap_or_default().into_iter().collect();
                let wrong = world.wrong(&storage);
                assert!(wrong.is_empty(), "{story}: {wrong:#?}");
                promised.extend(again(&world, &storage, op, &story));
                judge(&world, &storage, &promised, op == Op::Forget, &story);
            }
        }
    }
    println!("{runs} faults");
    assert!(runs > 500, "{runs}");
}

/// The same run once more, without a failure.
fn again(world: &World, storage: &Arc<MemoryStorage>, op: Op, story: &str) -> Vec<String> {
    // All processes that ran then are gone.
    let copy = copy_of(storage);
    match run(world, copy.clone(), op) {
        Ok(made) => {
            for area in ObjectKind::ALL {
                storage
                    .list(area)
                    .unwrap()
                    .iter()
                    .for_each(|found| storage.remove(area, &found.name).unwrap());
                for found in copy.list(area).unwrap() {
                    let bytes = copy.get(area, &found.name).unwrap();
                    storage.create(area, &found.name, &[&bytes]).unwrap();
                }
            }
            made
        }
        // The first run completed, whatever it reported.
        Err(err) if op == Op::Forget || op == Op::Undelete => {
            let known = matches!(err, Error::NoSnapshot { .. } | Error::NotFound { .. });
            assert!(known, "{story}, and again: {}", err.chain());
            Vec::new()
        }
        Err(err) => panic!("{story}, and again: {}", err.chain()),
    }
}

fn judge(world: &World, storage: &MemoryStorage, promised: &BTreeSet<String>, forgotten: bool, story: &str) {
    let storage = copy_of(storage);
    let mut wrong = world.wrong(&storage);
    wrong.extend(world.wrong_later(&storage));
    let standing: BTreeSet<String> = world.standing(storage).iter().map(|id| id.hex()).collect();
    let before = if forgotten { vec!["keep"] } else { vec!["keep", "dad"] };
    let before = before.into_iter().map(|name| world.ids[name].hex());
    let gone: Vec<String> =
        promised.iter().cloned().chain(before).filter(|id| !standing.contains(id)).collect();
    assert!(wrong.is_empty() && gone.is_empty(), "{story}: {wrong:#?}, gone: {gone:?}");
}

/// Not one failing listing that another one compensates, but each: an area that cannot be listed is not
/// empty.
#[test]
fn a_collector_that_cannot_list_an_area_deletes_nothing() {
    let world = World::new();
    let areas = [
        ObjectKind::Config,
        ObjectKind::Damage,
        ObjectKind::Gc,
        ObjectKind::Packs,
        ObjectKind::Sessions,
        ObjectKind::Snapshots,
        ObjectKind::Trash,
    ];
    for area in areas {
        let storage = begin(&world);
        let names = || {
            let standing = [ObjectKind::Packs, ObjectKind::Snapshots, ObjectKind::Trash];
            standing.map(|area| storage.list(area).unwrap())
        };
        let before = names();
        let outcome = world.gc(Faulty::blind(&storage, area));
        assert!(outcome.is_err(), "{area:?} was taken for empty");
        assert_eq!(names(), before, "{area:?}");
        assert_eq!(world.wrong(&storage), Vec::<String>::new(), "{area:?}");
    }
}

/// A violated invariant, anywhere: the run ends and reports it. It is not treated as damage, as the end of
/// something, or as something that can be left out.
#[test]
fn violated_invariant_ends_the_run_as_a_bug_without_harm() {
    let world = World::new();
    let mut runs = 0;
    for op in [Op::Backup, Op::Forget, Op::Gc, Op::Restore, Op::Check] {
        for at in 0.. {
            let storage = begin(&world);
            let faulty = Faulty::new(&storage, Fault::Bug, at);
            let first = run(&world, faulty.clone(), op);
            let Some((what, area, name)) = faulty.hit() else { break };
            runs += 1;
            let story = format!("{op:?}, call {at}, {what} {}", area.path(&name));
            // A block that could not be read is read once more, alone: then everything is restored.
            let whole = op == Op::Restore && what == "read_range" && first.is_ok();
            let told = whole || matches!(&first, Err(Error::Bug { .. }));
            assert!(told || is_silent(what, area), "{story}: {first:?}");
            assert_eq!(world.wrong(&storage), Vec::<String>::new(), "{story}");
            let kept = if op == Op::Forget { vec!["keep"] } else { vec!["keep", "dad"] };
            for name in kept {
                assert!(world.standing(storage.clone()).contains(&world.ids[name]), "{story}: {name}");
            }
        }
    }
    assert!(runs > 100, "{runs}");
}

/// A storage that leaves half an object violates its contract. Still no earlier data is lost, and a check
/// names exactly that object, or the chunks that only a pack of that run contained.
#[test]
fn half_written_object_is_found_and_harms_nothing() {
    let world = World::new();
    let mut halves = 0;
    for op in [Op::Backup, Op::Other, Op::Forget, Op::Gc] {
        for at in 0.. {
            let storage = begin(&world);
            let faulty = Faulty::new(&storage, Fault::Half, at);
            let first = run(&world, faulty.clone(), op);
            let Some((what, area, name)) = faulty.hit() else { break };
            if !matches!(what, "create" | "create_held" | "replace") {
                continue;
            }
            halves += 1;
            let story = format!("{op:?}, call {at}, half of {}", area.path(&name));
            assert!(first.is_err() || area == ObjectKind::Sessions, "{story}: it was taken for whole");
            for name in ["keep", "dad"] {
                let id = world.ids[name];
                let restored = world.restore(storage.clone(), id, name);
                let forgotten = op == Op::Forget && name == "dad" && restored.is_err();
                assert!(forgotten || restored.unwrap() == Vec::<String>::new(), "{story}: {name}");
            }
            let repo = Repository::open(storage.clone(), &OpenOptions::default()).unwrap();
            let options = check::Options { read_data: true, ..check::Options::default() };
            match check::run(&repo, &options, &Control::default()) {
                Ok(report) => {
                    let named = report.errors.iter().all(|error| error.to_string().contains(&name[..8]));
                    assert!(named, "{story}: {:#?}", report.errors);
                }
                Err(err) => assert!(err.chain().contains(&name[..8]), "{story}: {}", err.chain()),
            }
        }
    }
    assert!(halves > 10, "{halves}");
}

/// Passwords: whatever fails, one of them opens the repository, and the change can be repeated.
#[test]
fn a_change_of_keys_that_fails_anywhere_locks_nobody_out() {
    let password = |text: &str| OpenOptions {
        password: Some(text.to_owned().into()),
        cache: None,
        ..OpenOptions::default()
    };
    let storage = Arc::new(MemoryStorage::default());
    let options =
        InitOptions { password: Some("old".to_owned().into()), kdf: CHEAP_KDF, ..InitOptions::default() };
    Repository::init(storage.clone(), &options).unwrap();
    let opens = |storage: &Arc<MemoryStorage>, text: &str| Repository::open(storage.clone(), &password(text));
    let mut runs = 0;
    for fault in [Fault::Before, Fault::After, Fault::Half] {
        for at in 0.. {
            let storage = copy_of(&storage);
            let faulty = Faulty::new(&storage, fault, at);
            let changed = Repository::open(faulty.clone(), &password("old"))
                .and_then(|repo| key::change(&repo, &"new".to_owned().into(), CHEAP_KDF));
            let Some((what, area, name)) = faulty.hit() else {
                assert!(changed.is_ok() && opens(&storage, "old").is_err());
                opens(&storage, "new").unwrap();
                break;
            };
            runs += 1;
            let story = format!("call {at}, {what} {} fails {fault:?}: {changed:?}", area.path(&name));
            let with = ["old", "new"].into_iter().find(|text| opens(&storage, text).is_ok());
            let Some(with) = with else { panic!("{story}: nobody gets in") };
            assert!(changed.is_err() || with == "new", "{story}: only the old password opens it");
            let repo = opens(&storage, with).unwrap();
            key::change(&repo, &"newer".to_owned().into(), CHEAP_KDF).unwrap();
            opens(&storage, "newer").unwrap();
        }
    }
    println!("{runs} faults");
    assert!(runs >= 10, "{runs}");
}

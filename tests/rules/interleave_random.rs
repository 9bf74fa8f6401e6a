//! The whole protocol of docs/concurrency.md, with the real code, in thousands of orders of its storage calls:
//! writers, collectors, readers, forgets and undeletes, in every mixture; processes killed at any call;
//! clocks by which every session seems dead; late listings. `SNAP_TEST_SCHEDULES` sets the number,
//! `SNAP_TEST_SEED` repeats one.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use snap_backup::model::id::SnapshotId;
use snap_backup::model::manifest::SnapshotKind;
use snap_backup::storage::Storage;

use crate::support::Random;
use crate::support::paced::{Crossing, Order, Weather};
use crate::support::world::{World, copy_of};

/// One operation of a participant.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// Backs up a source.
    Backup(&'static str),
    /// Makes a full backup of a source.
    Full(&'static str),
    /// Forgets the initial snapshot.
    Forget(&'static str),
    Undelete(&'static str),
    Gc,
    Restore(&'static str),
    /// Repairs the pack that is damaged from the start, if there is one.
    Repair,
}

use Act::{Backup as B, Forget, Full, Gc, Repair, Restore, Undelete};

/// The participants of a scenario.
const CASTS: &[&[&[Act]]] = &[
    // A parent that is forgotten; content that only a forgotten snapshot has.
    &[&[Forget("dad")], &[B("dad")], &[Gc], &[B("ab")]],
    &[&[Forget("old")], &[B("ab")], &[Gc, Gc]],
    &[&[Forget("old")], &[B("ab")], &[Gc], &[Gc]],
    // The same new content from two writers, with two collectors.
    &[&[B("new")], &[Full("new2")], &[Gc], &[Gc]],
    // Forgotten and undeleted.
    &[&[Forget("old"), Undelete("old")], &[Gc, Gc], &[B("ab")]],
    &[&[Forget("old")], &[Undelete("old")], &[Gc], &[Gc]],
    &[&[Forget("old")], &[Forget("old"), Undelete("old")], &[Gc]],
    // A damaged pack, and two repairs of it.
    &[&[Repair], &[Repair], &[B("ab")], &[Gc]],
    &[&[Forget("old"), Repair], &[Repair, Gc], &[Gc], &[Restore("dad"), Restore("keep")]],
    // Everything.
    &[&[Forget("dad"), B("ab")], &[B("dad")], &[Gc], &[Restore("dad")]],
    &[&[Forget("old")], &[B("new")], &[B("ab")], &[Gc], &[Restore("old"), Restore("keep")]],
    &[&[Forget("keep"), Undelete("keep")], &[B("new")], &[B("dad")], &[Gc], &[Gc], &[Restore("keep")]],
];

/// What was promised.
#[derive(Default)]
struct Promises {
    /// Snapshots that must exist.
    stand: BTreeSet<SnapshotId>,
    /// Snapshots that were, or may have been, reported as forgotten.
    forgotten: BTreeSet<SnapshotId>,
    wrong: Vec<String>,
}

fn act(world: &World, storage: Arc<dyn Storage>, act: Act, weather: &Weather, promises: &Mutex<Promises>) {
    match act {
        Act::Backup(source) | Act::Full(source) => {
            let kind =
                if matches!(act, Act::Full(_)) { SnapshotKind::Full } else { SnapshotKind::Incremental };
            // A writer that was considered dead may report it and fail.
            if let Ok(Some(id)) = world.backup(storage, source, kind) {
                promises.lock().unwrap().stand.insert(id);
            }
        }
        Act::Forget(name) => {
            promises.lock().unwrap().forgotten.insert(world.ids[name]);
            let _ = world.forget(storage, name);
        }
        Act::Undelete(name) => {
            if let Ok(back) = world.undelete(storage, name) {
                promises.lock().unwrap().stand.extend(back);
            }
        }
        Act::Gc => {
            if let Err(err) = world.gc(storage)
                && weather.kill.is_none()
                && weather.late == 0
            {
                promises.lock().unwrap().wrong.push(format!("gc: {}", err.chain()));
            }
        }
        Act::Repair => {
            if let Err(err) = world.repair(storage)
                && weather.kill.is_none()
                && weather.late == 0
                && !weather.hasty
            {
                promises.lock().unwrap().wrong.push(format!("repair: {}", err.chain()));
            }
        }
        Act::Restore(name) => {
            let id = world.ids[name];
            let result = world.restore(storage, id, name);
            let mut promises = promises.lock().unwrap();
            match result {
                Ok(differences) if differences.is_empty() => {}
                // Considered dead, it may lose what is forgotten meanwhile, and reports it.
                Ok(differences) if weather.hasty && promises.forgotten.contains(&id) => drop(differences),
                Ok(differences) => promises.wrong.push(format!("restore {name}: {differences:?}")),
                Err(_) if promises.forgotten.contains(&id) || weather.kill.is_some() || weather.late > 0 => {}
                Err(err) => promises.wrong.push(format!("restore {name}: {}", err.chain())),
            }
        }
    }
}

/// Everything that was promised holds, and the next run needs no help.
fn judge(world: &World, crossing: &Crossing, promises: Promises) -> Vec<String> {
    let storage = copy_of(&crossing.inner);
    let mut wrong = promises.wrong;
    let miss = |wrong: &mut Vec<String>, when: &str| {
        let standing = world.standing(storage.clone());
        for id in promises.stand.iter().chain(world.ids.values()) {
            if !standing.contains(id) && !promises.forgotten.contains(id) {
                wrong.push(format!("{when}: snapshot {} is gone", id.short()));
            }
        }
    };
    miss(&mut wrong, "at once");
    if let Err(err) = world.repair(storage.clone()) {
        wrong.push(format!("the next repair: {}", err.chain()));
    }
    wrong.extend(world.wrong(&storage));
    wrong.extend(world.wrong_later(&storage));
    miss(&mut wrong, "after the next gc");
    wrong
}

fn play(world: &World, seed: u64) -> Vec<String> {
    let mut random = Random::new(seed ^ 0x5eed);
    let cast = CASTS[usize::try_from(seed).unwrap() % CASTS.len()];
    let order = if random.below(3) == 0 { Order::Uniform } else { Order::Ranked };
    let hasty = random.below(2) == 0;
    let victim = usize::try_from(random.below(cast.len() as u64)).unwrap();
    let kill = (random.below(4) == 0).then(|| (victim, usize::try_from(random.below(60)).unwrap()));
    let late = if random.below(4) == 0 { 40 } else { 0 };
    let weather = Weather { seed, order, hasty, kill, late };
    let is_damaged = cast.iter().any(|script| script.iter().any(|act| matches!(act, Act::Repair)));
    let begin = if is_damaged { world.damaged() } else { world.storage() };
    let crossing = Crossing::new(begin, world.suite.clone(), weather.clone());
    let promises = Mutex::new(Promises::default());
    let participants = cast.iter().enumerate().map(|(who, script)| {
        let door = crossing.door(who);
        let (weather, promises) = (&weather, &promises);
        Box::new(move || {
            for one in *script {
                act(world, door.clone(), *one, weather, promises);
            }
        }) as Box<dyn FnOnce() + Send + '_>
    });
    crossing.run(participants.collect());
    let mut wrong = judge(world, &crossing, promises.into_inner().unwrap());
    if !wrong.is_empty() {
        wrong.insert(0, format!("seed {seed}: {cast:?} in {weather:?}"));
        wrong.push(crossing.log());
    }
    wrong
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn no_order_of_calls_loses_acknowledged_data() {
    // Every second one with sidecars.
    let worlds = [World::new(), World::with_parity(50)];
    let play = |seed: u64| play(&worlds[usize::try_from(seed / 3 % 2).unwrap()], seed);
    if let Some(seed) = number("SNAP_TEST_SEED") {
        let wrong = play(seed);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        return;
    }
    let schedules = number("SNAP_TEST_SCHEDULES").unwrap_or(2000);
    let (next, failed) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= schedules || !failed.lock().unwrap().is_empty() {
                        break;
                    }
                    let wrong = play(seed);
                    if !wrong.is_empty() {
                        failed.lock().unwrap().push(wrong.join("\n"));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed[0]);
}

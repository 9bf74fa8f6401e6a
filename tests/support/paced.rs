//! Many participants on one storage in memory, whose calls happen one at a time in an order that a seed
//! determines.
//!
//! Every participant has a gate of its own. A call at a gate waits until it is let through. The next one is
//! chosen only when the participant that was let through last waits at its gate again or has ended, so a seed
//! gives the same order of calls each time (except for calls that threads of one participant make at once).
//! The code behind the gates is the real one, including its threads.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use std::{fmt, io};

use snap_backup::codec::crypto::sealed_object;
use snap_backup::codec::crypto::suite::CipherSuite;
use snap_backup::model::records::Seen;
use snap_backup::repo::objects;
use snap_backup::storage::memory::MemoryStorage;
use snap_backup::storage::{CreateOutcome, Listed, LockGuard, ObjectKind, Storage};
use snap_backup::{Error, Result};

use super::Random;

/// How the order of calls is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Any waiting participant, each time.
    Uniform,
    /// By rank, which changes at a few moments: long sleeps at the worst time.
    Ranked,
}

/// The faults of one run.
#[derive(Debug, Clone)]
pub struct Weather {
    pub seed: u64,
    pub order: Order,
    /// Every clock is wrong: a process that observes the same heartbeat twice considers its session dead.
    pub hasty: bool,
    /// This participant is killed at its n-th call.
    pub kill: Option<(usize, usize)>,
    /// Listings miss, for so many calls, what others have just created; only those for which the rules allow
    /// it.
    pub late: u64,
}

#[derive(Default)]
struct State {
    waiting: BTreeMap<usize, usize>,
    running: BTreeSet<usize>,
    granted: Option<usize>,
    /// Calls that were let through and have not returned.
    inside: usize,
    calls: HashMap<usize, usize>,
    clock: u64,
    /// When each object was created, and by whom.
    born: HashMap<(ObjectKind, String), (u64, usize)>,
    log: Vec<String>,
}

/// The shared state of all gates.
pub struct Crossing {
    pub inner: MemoryStorage,
    weather: Weather,
    suite: CipherSuite,
    state: Mutex<State>,
    moved: Condvar,
}

/// One participant's access to the storage.
pub struct Door {
    crossing: Arc<Crossing>,
    who: usize,
}

impl Crossing {
    pub fn new(inner: MemoryStorage, suite: CipherSuite, weather: Weather) -> Arc<Self> {
        Arc::new(Self { inner, weather, suite, state: Mutex::default(), moved: Condvar::new() })
    }

    pub fn door(self: &Arc<Self>, who: usize) -> Arc<Door> {
        Arc::new(Door { crossing: Arc::clone(self), who })
    }

    /// Every call so far, in order.
    pub fn log(&self) -> String {
        self.state.lock().unwrap().log.join("\n")
    }

    /// Runs all participants to their ends.
    pub fn run(self: &Arc<Self>, participants: Vec<Box<dyn FnOnce() + Send + '_>>) {
        let count = participants.len();
        self.state.lock().unwrap().running = (0..count).collect();
        std::thread::scope(|scope| {
            for (who, work) in participants.into_iter().enumerate() {
                let crossing = Arc::clone(self);
                scope.spawn(move || {
                    let _end = End { crossing, who };
                    work();
                });
            }
            self.direct(count);
        });
    }

    /// Lets one call through after the other until all have ended.
    fn direct(&self, count: usize) {
        let mut random = Random::new(self.weather.seed);
        let mut ranks: Vec<u64> = (0..count).map(|_| random.next()).collect();
        let changes: BTreeSet<u64> = (0..4).map(|_| random.below(250)).collect();
        let mut step = 0;
        let mut state = self.state.lock().unwrap();
        loop {
            // Settled: no call is running, and all active participants wait at a gate.
            while state.granted.is_some()
                || state.inside > 0
                || !state.running.iter().all(|who| state.waiting.contains_key(who))
            {
                let (next, timeout) = self.moved.wait_timeout(state, Duration::from_secs(60)).unwrap();
                assert!(!timeout.timed_out(), "nobody moves: {:#?}", next.log);
                state = next;
            }
            let waiting: Vec<usize> = state.waiting.keys().copied().collect();
            let Some(first) = waiting.first() else { return };
            let next = match self.weather.order {
                Order::Uniform => *random.pick(&waiting),
                Order::Ranked => {
                    let at = waiting.iter().max_by_key(|who| ranks[**who]).unwrap_or(first);
                    if changes.contains(&step) {
                        ranks[*at] = random.below(1000);
                    }
                    *waiting.iter().max_by_key(|who| ranks[**who]).unwrap_or(first)
                }
            };
            step += 1;
            state.granted = Some(next);
            self.moved.notify_all();
        }
    }

    /// Waits to be let through. Returns false if killed by now.
    fn enter(&self, who: usize, what: String) -> bool {
        let mut state = self.state.lock().unwrap();
        *state.waiting.entry(who).or_default() += 1;
        self.moved.notify_all();
        while state.granted != Some(who) {
            state = self.moved.wait(state).unwrap();
        }
        state.granted = None;
        let waiting = state.waiting.get_mut(&who).unwrap();
        *waiting -= 1;
        if *waiting == 0 {
            state.waiting.remove(&who);
        }
        state.inside += 1;
        state.clock += 1;
        let calls = state.calls.entry(who).or_default();
        *calls += 1;
        let alive = self.weather.kill.is_none_or(|(victim, at)| victim != who || *calls < at);
        let line = format!("{who} {what}{}", if alive { "" } else { " (dead)" });
        state.log.push(line);
        alive
    }

    fn leave(&self) {
        self.state.lock().unwrap().inside -= 1;
        self.moved.notify_all();
    }
}

struct End {
    crossing: Arc<Crossing>,
    who: usize,
}

impl Drop for End {
    fn drop(&mut self) {
        self.crossing.state.lock().unwrap().running.remove(&self.who);
        self.crossing.moved.notify_all();
    }
}

impl Door {
    fn call<T>(
        &self,
        what: &str,
        area: ObjectKind,
        name: &str,
        work: impl FnOnce(&MemoryStorage) -> Result<T>,
    ) -> Result<T> {
        let short = name.get(..8).map_or_else(
            || name.to_owned(),
            |start| {
                format!(
                    "{start}{}",
                    name.find('.').map_or("", |dot| &name[dot..]).get(..).unwrap_or_default()
                )
            },
        );
        let alive = self.crossing.enter(self.who, format!("{what} {}/{short}", area.folder()));
        let result = if alive {
            work(&self.crossing.inner)
        } else {
            Err(Error::io("reach", "the store")(io::ErrorKind::BrokenPipe.into()))
        };
        self.crossing.leave();
        result
    }

    fn born(&self, area: ObjectKind, name: &str) {
        let mut state = self.crossing.state.lock().unwrap();
        let clock = state.clock;
        state.born.insert((area, name.to_owned()), (clock, self.who));
    }

    /// Returns whether a listing at this gate misses an object.
    fn misses(&self, area: ObjectKind, name: &str) -> bool {
        let bears = matches!(area, ObjectKind::Packs | ObjectKind::Damage);
        if !bears || self.crossing.weather.late == 0 {
            return false;
        }
        let state = self.crossing.state.lock().unwrap();
        let born = state.born.get(&(area, name.to_owned()));
        born.is_some_and(|(at, by)| {
            let lag = Random::new(self.crossing.weather.seed ^ *at ^ (self.who as u64) << 32)
                .below(self.crossing.weather.late);
            *by != self.who && state.clock - at < lag
        })
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Door {}", self.who)
    }
}

impl Storage for Door {
    fn location(&self) -> String {
        self.crossing.inner.location()
    }
    fn list(&self, area: ObjectKind) -> Result<Vec<Listed>> {
        self.call("list", area, "", |inner| {
            let mut listed = inner.list(area)?;
            listed.retain(|found| !self.misses(area, &found.name));
            Ok(listed)
        })
    }
    fn read(&self, area: ObjectKind, name: &str, limit: u64) -> Result<Vec<u8>> {
        self.call("read", area, name, |inner| inner.read(area, name, limit))
    }
    fn read_range(&self, area: ObjectKind, name: &str, offset: u64, out: &mut [u8]) -> Result<()> {
        self.call("read", area, name, |inner| inner.read_range(area, name, offset, out))
    }
    fn create(&self, area: ObjectKind, name: &str, parts: &[&[u8]]) -> Result<CreateOutcome> {
        self.call("create", area, name, |inner| {
            let created = inner.create(area, name, parts)?;
            if created == CreateOutcome::New {
                self.born(area, name);
            }
            Ok(created)
        })
    }
    fn create_held(&self, area: ObjectKind, name: &str, bytes: &[u8]) -> Result<Box<dyn LockGuard>> {
        self.call("create", area, name, |inner| inner.create_held(area, name, bytes))
    }
    fn replace(&self, area: ObjectKind, name: &str, bytes: &[u8]) -> Result<()> {
        self.call("replace", area, name, |inner| {
            if !(self.crossing.weather.hasty && name.ends_with(".seen")) {
                return inner.replace(area, name, bytes);
            }
            // By this clock it was long ago.
            let mut seen: Seen =
                objects::open(&self.crossing.suite, sealed_object::SEEN, area, name, name, bytes.to_vec())?;
            seen.at.sec -= 1_000_000;
            inner.replace(area, name, &objects::seal(&self.crossing.suite, sealed_object::SEEN, name, &seen)?)
        })
    }
    fn is_held(&self, area: ObjectKind, name: &str) -> Result<Option<bool>> {
        self.call("is held", area, name, |inner| inner.is_held(area, name))
    }
    fn remove(&self, area: ObjectKind, name: &str) -> Result<()> {
        self.call("remove", area, name, |inner| inner.remove(area, name))
    }
    fn sync(&self, _area: ObjectKind) -> Result<()> {
        Ok(())
    }
}

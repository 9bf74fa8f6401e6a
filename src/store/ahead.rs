//! Tables of packs that this machine has not seen yet, read ahead of whoever takes them in order: from afar each takes a
//! while, however small it is.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use crate::codec::pack::Table;
use crate::error::Error;
use crate::error::Result;
use crate::model::id::PackId;
use crate::store::repository::Repository;

/// Tables read before any of them is taken; they are in memory until then.
const WINDOW: usize = 16;
/// As many requests are under way at once.
const THREADS: usize = WINDOW;
/// Fewer are not worth a thread.
const FEW: usize = 4;

/// A table.
pub(in crate::store) enum Found {
    /// A copy that this machine has kept.
    Kept(Table),
    /// The pack's own.
    Read(Table),
    /// The pack's own, rebuilt from its parity.
    Mended(Table),
}

type Slot = Mutex<Option<Result<Found>>>;

fn is_open(slot: &Slot) -> bool {
    slot.lock().unwrap_or_else(PoisonError::into_inner).is_none()
}

/// Reads tables in the order of their packs.
pub(in crate::store) struct Ahead<'a> {
    repo: &'a Repository,
    todo: VecDeque<(PackId, u64)>,
    ready: VecDeque<Result<Found>>,
}

impl<'a> Ahead<'a> {
    /// Of these packs, each with its length.
    pub(in crate::store) fn new(repo: &'a Repository, packs: VecDeque<(PackId, u64)>) -> Self {
        Self { repo, todo: packs, ready: VecDeque::new() }
    }

    /// The table of the next pack.
    ///
    /// # Errors
    /// When it is damaged and cannot be rebuilt, or cannot be read.
    pub(in crate::store) fn next(&mut self) -> Result<Found> {
        if self.ready.is_empty() {
            let window = WINDOW.min(self.todo.len());
            let packs: Vec<(PackId, u64)> = self.todo.drain(..window).collect();
            self.ready = self.read(&packs);
        }
        self.ready.pop_front().unwrap_or(Err(Error::Stopped))
    }

    /// All of these, what this machine has kept first.
    fn read(&self, packs: &[(PackId, u64)]) -> VecDeque<Result<Found>> {
        let kept = packs.iter().map(|(id, len)| self.repo.view().and_then(|view| view.table(id, *len)));
        let slots: Vec<Slot> =
            kept.map(|table| Mutex::new(table.map(|table| Ok(Found::Kept(table))))).collect();
        let missing = slots.iter().filter(|slot| is_open(slot)).count();
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(((id, len), slot)) = {
                let at = next.fetch_add(1, Ordering::Relaxed);
                packs.get(at).zip(slots.get(at))
            } {
                if is_open(slot) {
                    let found = self.one(id, *len);
                    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..THREADS.min(missing).max(1) {
                // Where the system gives no thread, there is one less.
                if missing < FEW || std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                    break;
                }
            }
            work();
        });
        let found = slots.into_iter().map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner));
        found.map(|found| found.unwrap_or(Err(Error::Stopped))).collect()
    }

    fn one(&self, id: &PackId, len: u64) -> Result<Found> {
        let repo = self.repo;
        let (storage, warnings) = (repo.storage(), repo.warnings_kept());
        let (table, mended) = repo.mender().table(storage, warnings, repo.ring(), (id, len))?;
        Ok(if mended { Found::Mended(table) } else { Found::Read(table) })
    }
}

//! Prefetches tables of packs that this machine has not seen yet.
//! Many requests run at once, to hide the latency of remote storage.

use std::collections::{HashSet, VecDeque};

use crate::codec::pack::Table;
use crate::error::{Error, Result};
use crate::model::id::PackId;
use crate::repo::pack::header_bundles::BundleFetcher;
use crate::repo::repository::Repository;
use crate::util::parallel;

/// Tables read ahead; they are in memory until the caller takes them.
const WINDOW: usize = 16;
/// The same for small packs, whose tables are small, so that threads are started once for all of them.
const SMALL_WINDOW: usize = 1024;
/// Total pack bytes up to which a window may exceed [`WINDOW`].
const SMALL: u64 = 1 << 20;
/// Number of concurrent requests.
const THREADS: usize = WINDOW;
/// A loaded table, by where it came from.
pub(crate) enum LoadedTable {
    /// From the local index cache.
    Cached(Table),
    /// From the pack itself.
    Read(Table),
    /// From the pack, after rebuilding it from its parity.
    Healed(Table),
}

/// A pack whose entries are not cached: its number in the listing, id and length.
pub(crate) type MissingTable = (u32, PackId, u64);

/// Loads tables in pack order: first those that header bundles have, then each of the others.
pub(crate) struct TableLoader<'a> {
    repo: &'a Repository,
    bundles: Option<BundleFetcher<'a>>,
    queue: VecDeque<MissingTable>,
    /// Packs that the header bundles had.
    done: HashSet<u32>,
    ready: VecDeque<(u32, Result<LoadedTable>)>,
}

impl<'a> TableLoader<'a> {
    /// Loads the tables of these packs; with `use_bundles`, from header bundles first.
    pub(crate) fn new(repo: &'a Repository, packs: VecDeque<MissingTable>, use_bundles: bool) -> Self {
        let has =
            |id: &PackId, len| repo.index_cache().is_some_and(|index_cache| index_cache.has_table(id, len));
        let bundles = if use_bundles && repo.storage().is_remote() {
            let uncached = packs.iter().filter(|(_, id, len)| !has(id, *len));
            let uncached = uncached.map(|(number, id, len)| (*id, (*number, *len)));
            Some(BundleFetcher::begin(repo, uncached.collect()))
        } else {
            None
        };
        Self { repo, bundles, queue: packs, done: HashSet::new(), ready: VecDeque::new() }
    }

    /// Returns the number of one more pack and its table, or the error: it is damaged beyond rebuilding, or
    /// cannot be read.
    pub(crate) fn next(&mut self) -> Option<(u32, Result<LoadedTable>)> {
        if self.ready.is_empty() {
            self.load_next();
        }
        self.ready.pop_front()
    }

    fn load_next(&mut self) {
        if let Some(bundles) = &mut self.bundles {
            for (number, table) in bundles.next() {
                self.done.insert(number);
                self.ready.push_back((number, Ok(LoadedTable::Read(table))));
            }
            if !self.ready.is_empty() {
                return;
            }
            self.bundles = None;
        }
        let window = window(&mut self.queue, &self.done);
        self.ready = self.load_window(&window);
    }

    /// Loads these tables, those of the local index cache first.
    fn load_window(&self, packs: &[MissingTable]) -> VecDeque<(u32, Result<LoadedTable>)> {
        let cached = packs
            .iter()
            .map(|(_, id, len)| self.repo.index_cache().and_then(|index_cache| index_cache.table(id, *len)));
        let cached: Vec<Option<Table>> = cached.collect();
        let missing = packs.iter().zip(&cached).filter(|(_, cached)| cached.is_none()).map(|(pack, _)| *pack);
        let missing: Vec<MissingTable> = missing.collect();
        let mut read = parallel::map(&missing, THREADS, |(_, id, len)| self.load_table(id, *len)).into_iter();
        let found = packs.iter().zip(cached).map(|((number, ..), cached)| match cached {
            Some(table) => (*number, Ok(LoadedTable::Cached(table))),
            None => (*number, read.next().unwrap_or(Err(Error::Stopped))),
        });
        found.collect()
    }

    fn load_table(&self, id: &PackId, len: u64) -> Result<LoadedTable> {
        let repo = self.repo;
        let (storage, control) = (repo.storage(), repo.control());
        let (table, healed) = repo.healer().read_table(storage, control, repo.suite(), (id, len))?;
        Ok(if healed { LoadedTable::Healed(table) } else { LoadedTable::Read(table) })
    }
}

/// Returns the next tables to read that are not done yet.
fn window(queue: &mut VecDeque<MissingTable>, done: &HashSet<u32>) -> Vec<MissingTable> {
    let (mut window, mut bytes) = (Vec::with_capacity(WINDOW), 0u64);
    while let Some(unknown) = queue.front() {
        bytes = bytes.saturating_add(unknown.2);
        if window.len() >= SMALL_WINDOW || window.len() >= WINDOW && bytes > SMALL {
            break;
        }
        window.extend(queue.pop_front().filter(|(number, ..)| !done.contains(number)));
    }
    window
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(lens: impl Iterator<Item = u64>, done: &[u32]) -> Vec<usize> {
        let mut queue: VecDeque<MissingTable> =
            (0..).zip(lens).map(|(at, len)| (at, PackId::new([0; 32]), len)).collect();
        let done = done.iter().copied().collect();
        let windows = std::iter::repeat_with(|| window(&mut queue, &done).len());
        windows.take_while(|len| *len > 0).collect()
    }

    #[test]
    fn small_packs_are_read_by_many_and_large_ones_by_few() {
        assert_eq!(windows(std::iter::repeat_n(400, 100_000), &[]).len(), 98);
        assert_eq!(windows(std::iter::repeat_n(32 << 20, 40), &[]), [16, 16, 8]);
        assert_eq!(windows(std::iter::repeat_n(30_000, 80), &[]), [34, 34, 12]);
        assert_eq!(windows([u64::MAX, u64::MAX, 1].into_iter(), &[]), [3]);
        assert_eq!(windows(std::iter::repeat_n(400, 10), &[0, 9]), [8]);
        assert_eq!(windows(std::iter::repeat_n(400, 2), &[0, 1]), [0usize; 0]);
    }
}

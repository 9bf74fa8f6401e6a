//! Tables of packs that this machine has not seen yet, read ahead of whoever takes them: from afar each takes a while,
//! however small it is.

use std::collections::{HashSet, VecDeque};

use crate::codec::pack::Table;
use crate::error::{Error, Result};
use crate::model::id::PackId;
use crate::repo::pack::header_bundles::BundleFetcher;
use crate::repo::repository::Repository;
use crate::util::parallel;

/// Tables read before any of them is taken; they are in memory until then.
const WINDOW: usize = 16;
/// As many requests are under way at once.
const THREADS: usize = WINDOW;
/// A table.
pub(crate) enum LoadedTable {
    /// A copy that this machine has kept.
    Kept(Table),
    /// The pack's own.
    Read(Table),
    /// The pack's own, rebuilt from its parity.
    Mended(Table),
}

/// A pack whose rows this machine does not have: its number in the listing, its name, its length.
pub(crate) type MissingTable = (u32, PackId, u64);

/// Reads tables: those that segments have, and then each of the others, in the order of their packs.
pub(crate) struct TableLoader<'a> {
    repo: &'a Repository,
    segments: Option<BundleFetcher<'a>>,
    todo: VecDeque<MissingTable>,
    /// Of what is to do, what segments had.
    done: HashSet<u32>,
    ready: VecDeque<(u32, Result<LoadedTable>)>,
}

impl<'a> TableLoader<'a> {
    /// Of these packs; from their own tables alone, or also by segments.
    pub(crate) fn new(repo: &'a Repository, packs: VecDeque<MissingTable>, by_segments: bool) -> Self {
        let has =
            |id: &PackId, len| repo.index_cache().is_some_and(|index_cache| index_cache.has_table(id, len));
        let segments = match by_segments && repo.storage().is_remote() {
            true => {
                let lacking = packs.iter().filter(|(_, id, len)| !has(id, *len));
                let lacking = lacking.map(|(number, id, len)| (*id, (*number, *len)));
                Some(BundleFetcher::begin(repo, lacking.collect()))
            }
            false => None,
        };
        Self { repo, segments, todo: packs, done: HashSet::new(), ready: VecDeque::new() }
    }

    /// The table of one more pack, with its number: what it is, or that it is damaged and cannot be rebuilt, or cannot be
    /// read.
    pub(crate) fn next(&mut self) -> Option<(u32, Result<LoadedTable>)> {
        if self.ready.is_empty() {
            self.fill();
        }
        self.ready.pop_front()
    }

    fn fill(&mut self) {
        if let Some(segments) = &mut self.segments {
            for (number, table) in segments.next() {
                self.done.insert(number);
                self.ready.push_back((number, Ok(LoadedTable::Read(table))));
            }
            if !self.ready.is_empty() {
                return;
            }
            self.segments = None;
        }
        let mut window = Vec::with_capacity(WINDOW);
        while window.len() < WINDOW
            && let Some(unknown) = self.todo.pop_front()
        {
            if !self.done.contains(&unknown.0) {
                window.push(unknown);
            }
        }
        self.ready = self.read(&window);
    }

    /// All of these, what this machine has kept first.
    fn read(&self, packs: &[MissingTable]) -> VecDeque<(u32, Result<LoadedTable>)> {
        let kept = packs
            .iter()
            .map(|(_, id, len)| self.repo.index_cache().and_then(|index_cache| index_cache.table(id, *len)));
        let kept: Vec<Option<Table>> = kept.collect();
        let missing = packs.iter().zip(&kept).filter(|(_, kept)| kept.is_none()).map(|(pack, _)| *pack);
        let missing: Vec<MissingTable> = missing.collect();
        let mut read = parallel::map(&missing, THREADS, |(_, id, len)| self.one(id, *len)).into_iter();
        let found = packs.iter().zip(kept).map(|((number, ..), kept)| match kept {
            Some(table) => (*number, Ok(LoadedTable::Kept(table))),
            None => (*number, read.next().unwrap_or(Err(Error::Stopped))),
        });
        found.collect()
    }

    fn one(&self, id: &PackId, len: u64) -> Result<LoadedTable> {
        let repo = self.repo;
        let (storage, warnings) = (repo.storage(), repo.warnings_kept());
        let (table, mended) = repo.healer().table(storage, warnings, repo.suite(), (id, len))?;
        Ok(if mended { LoadedTable::Mended(table) } else { LoadedTable::Read(table) })
    }
}

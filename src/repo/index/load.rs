//! Loading an index: entries from the local index cache for the packs it knows, tables of the others from
//! storage.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::codec::chunk::compress::Codec;
use crate::codec::crypto::hash::ChunkType;
use crate::codec::pack::Table;
use crate::error::{Error, Result};
use crate::model::id::{PackId, SnapshotId};
use crate::repo::index::catalog::{Catalog, PackInfo, TableSource};
use crate::repo::index::run::SortedRun;
use crate::repo::index::run_pack::RunPack;
use crate::repo::index::table_cache::PackTable;
use crate::repo::index::table_loader::{LoadedTable, TableLoader};
use crate::repo::index::{Index, entry, run};
use crate::repo::repository::Repository;
use crate::repo::sessions::session::RepoState;
use crate::storage::ObjectKind;

/// A pack's table takes about as much memory as this many entries, however few chunks the pack holds.
const ENTRIES_PER_TABLE: usize = 16;

impl Index {
    /// Loads the index of all listed packs, from the local index cache where possible.
    /// Otherwise entries come from the packs' tables or header bundles.
    ///
    /// # Errors
    /// When the storage fails. A damaged table only leaves out its own chunks.
    pub fn load(repo: &Repository, repo_state: RepoState) -> Result<Self> {
        Self::read(repo, repo_state, true)
    }

    /// Like [`Self::load`], but without header bundles: unknown packs are read from their own tables.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_from_packs(repo: &Repository, repo_state: RepoState) -> Result<Self> {
        Self::read(repo, repo_state, false)
    }

    fn read(repo: &Repository, mut repo_state: RepoState, use_bundles: bool) -> Result<Self> {
        let mut catalog = Catalog::new(TableSource::of(repo));
        let known = open_runs(&mut catalog, &repo_state);
        let listed = std::mem::take(&mut repo_state.packs);
        let mut index = Self { repo_state, catalog, ..Self::default() };
        let mut unknown = VecDeque::new();
        for ((number, (id, len)), covered) in (0..).zip(&listed).zip(known) {
            if covered.is_none() {
                unknown.push_back((number, *id, *len));
            }
            let covered = covered.unwrap_or_else(|| RunPack::of(*id, *len, &PackTable::new(empty_table())));
            index.catalog.packs.push(index.info(&covered, true));
        }
        let (mut pending, mut new_packs) = (Vec::new(), HashSet::new());
        let mut may_flush = true;
        let mut loader = TableLoader::new(repo, unknown, use_bundles);
        while let Some((number, found)) = loader.next() {
            let Some((id, len)) = listed.get(number as usize) else { continue };
            let found = found.and_then(|found| check_deltas_allowed(repo, id, found));
            let (pack_table, is_sound) = index.accept_table(id, found, &mut new_packs)?;
            let info = index.info(&RunPack::of(*id, *len, &pack_table), is_sound);
            if let Some(slot) = index.catalog.packs.get_mut(number as usize) {
                *slot = info;
            }
            index.rows.extend(entry::of_pack(number, pack_table.ids()));
            pending.push((number, pack_table));
            let entries = index.rows.len() + pending.len() * ENTRIES_PER_TABLE;
            if may_flush && entries >= index.catalog.limits().rows {
                may_flush = index.catalog.flush_to_run(&mut pending, &mut index.rows);
            }
        }
        index.drop_swept_packs(repo)?;
        index.catalog.number_copies();
        index.catalog.persist_tables(&pending, |id| new_packs.contains(id));
        index.repo_state.packs = listed;
        index.rows.sort_unstable();
        index.catalog.compact();
        Ok(index)
    }

    /// Returns a pack's table, an empty one if it is damaged, and whether new data may reference the pack.
    fn accept_table(
        &mut self,
        id: &PackId,
        found: Result<LoadedTable>,
        new_packs: &mut HashSet<PackId>,
    ) -> Result<(Arc<PackTable>, bool)> {
        let (table, is_sound) = match found {
            Ok(LoadedTable::Cached(table)) => (table, true),
            Ok(LoadedTable::Read(table)) => {
                new_packs.insert(*id);
                (table, true)
            }
            Ok(LoadedTable::Healed(table)) => {
                self.healed.push(*id);
                (table, false)
            }
            Err(err) if err.is_damage() => {
                self.unreadable.push((*id, err));
                (empty_table(), false)
            }
            Err(err) => return Err(err),
        };
        Ok((Arc::new(PackTable::new(table)), is_sound))
    }

    /// Drops packs from the unreadable list that a garbage collection deleted after they were listed.
    /// Their chunks are not needed any more, or were moved to other packs.
    fn drop_swept_packs(&mut self, repo: &Repository) -> Result<()> {
        if !self.unreadable.iter().any(|(_, err)| err.is_missing()) {
            return Ok(());
        }
        let now: HashSet<PackId> = RepoState::packs(repo.storage())?.into_iter().map(|(id, _)| id).collect();
        self.unreadable.retain(|(id, err)| !err.is_missing() || now.contains(id));
        Ok(())
    }

    fn info(&self, pack: &RunPack, is_sound: bool) -> PackInfo {
        let RepoState { condemned, damaged, .. } = &self.repo_state;
        let usable = is_sound && !condemned.contains(&pack.id) && !damaged.contains(&pack.id);
        PackInfo { usable, ..self.catalog.info(pack) }
    }
}

/// Checks that a table has deltas only where the configuration allows them.
fn check_deltas_allowed(repo: &Repository, id: &PackId, found: LoadedTable) -> Result<LoadedTable> {
    let (LoadedTable::Cached(table) | LoadedTable::Read(table) | LoadedTable::Healed(table)) = &found;
    if table.blocks.iter().all(|block| block.codec != Codec::Delta) || repo.allows_deltas()? {
        return Ok(found);
    }
    let why = "it contains deltas, which the configuration does not allow";
    Err(Error::because(ObjectKind::Packs.path(&id.hex()), why))
}

/// Opens the runs of the local index cache and returns what they know of each listed pack.
fn open_runs(catalog: &mut Catalog, repo_state: &RepoState) -> Vec<Option<RunPack>> {
    let mut known: Vec<Option<RunPack>> = vec![None; repo_state.packs.len()];
    let Some(index_cache) = catalog.index_cache().cloned() else { return known };
    // Under the lock, no other process replaces a run between listing and opening it.
    let Some(lock) = index_cache.lock_runs() else { return known };
    // Without a listing, as in a session that does not read yet, all runs would seem to be obsolete.
    let metas = if known.is_empty() { Vec::new() } else { run::list(&index_cache) };
    if metas.is_empty() {
        return known;
    }
    let mut corrupt = Vec::new();
    let numbers: HashMap<PackId, usize> = repo_state.packs.iter().map(|(id, _)| *id).zip(0..).collect();
    for meta in metas {
        let id = meta.id();
        let run = SortedRun::open(&index_cache, meta, |pack| {
            // An entry counts only if its pack is listed, has the recorded length, and is in no other run.
            let number = *numbers.get(&pack.id)?;
            let slot = known.get_mut(number).filter(|slot| slot.is_none())?;
            repo_state.packs.get(number).filter(|(_, len)| *len == pack.len)?;
            *slot = Some(pack.clone());
            Some(number as u32)
        });
        if run.is_none() {
            corrupt.push(id);
        }
        catalog.runs.extend(run);
    }
    drop(lock);
    for id in corrupt {
        catalog.warn_of_damage();
        run::drop_run(&index_cache, id);
    }
    known
}

/// Returns a table without blocks, for a pack whose table could not be read.
fn empty_table() -> Table {
    Table {
        kind: ChunkType::Data,
        session: SnapshotId::new([0; 16]),
        epoch: 0,
        by: None,
        own: None,
        blocks: Vec::new(),
    }
}

//! Loading an index: entries from the local index cache for the packs it knows, tables of the others from
//! storage.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::codec::chunk::compress::Codec;
use crate::codec::crypto::hash::ChunkType;
use crate::codec::pack::Table;
use crate::error::{Error, Result};
use crate::model::decode_error::DecodeError;
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
const PACK_IN_ROWS: usize = 16;

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
            let covered = covered.unwrap_or_else(|| RunPack::of(*id, *len, &PackTable::new(nothing())));
            index.catalog.packs.push(index.info(&covered, true));
        }
        let (mut pending, mut learned) = (Vec::new(), HashSet::new());
        let mut spills = true;
        let mut ahead = TableLoader::new(repo, unknown, use_bundles);
        while let Some((number, found)) = ahead.next() {
            let Some((id, len)) = listed.get(number as usize) else { continue };
            let found = found.and_then(|found| allowed(repo, id, found));
            let (kept, readable) = index.learn(id, found, &mut learned)?;
            let info = index.info(&RunPack::of(*id, *len, &kept), readable);
            index.catalog.packs.get_mut(number as usize).into_iter().for_each(|slot| *slot = info.clone());
            index.rows.extend(entry::of_pack(number, kept.ids()));
            pending.push((number, kept));
            let held = index.rows.len() + pending.len() * PACK_IN_ROWS;
            if spills && held >= index.catalog.limits().rows {
                spills = index.catalog.spill(&mut pending, &mut index.rows);
            }
        }
        index.pass_over_the_swept(repo)?;
        index.catalog.count();
        index.catalog.settle(&pending, |id| learned.contains(id));
        index.repo_state.packs = listed;
        index.rows.sort_unstable();
        index.catalog.merge_runs();
        Ok(index)
    }

    /// Takes a pack's table as it was read; an empty one if it is damaged. With `false` new data must not
    /// reference the pack.
    fn learn(
        &mut self,
        id: &PackId,
        found: Result<LoadedTable>,
        learned: &mut HashSet<PackId>,
    ) -> Result<(Arc<PackTable>, bool)> {
        let (table, sound) = match found {
            Ok(LoadedTable::Kept(table)) => (table, true),
            Ok(LoadedTable::Read(table)) => {
                learned.insert(*id);
                (table, true)
            }
            Ok(LoadedTable::Mended(table)) => {
                self.mended.push(*id);
                (table, false)
            }
            Err(err) if err.is_damage() => {
                self.unreadable.push((*id, err));
                (nothing(), false)
            }
            Err(err) => return Err(err),
        };
        Ok((Arc::new(PackTable::new(table)), sound))
    }

    /// Drops packs from the unreadable list that a garbage collection deleted after they were listed.
    /// Their chunks are not needed any more, or were moved to other packs.
    fn pass_over_the_swept(&mut self, repo: &Repository) -> Result<()> {
        if !self.unreadable.iter().any(|(_, err)| err.is_missing()) {
            return Ok(());
        }
        let now: HashSet<PackId> = RepoState::packs(repo.storage())?.into_iter().map(|(id, _)| id).collect();
        self.unreadable.retain(|(id, err)| !err.is_missing() || now.contains(id));
        Ok(())
    }

    fn info(&self, pack: &RunPack, readable: bool) -> PackInfo {
        let RepoState { condemned, damaged, .. } = &self.repo_state;
        let usable = readable && !condemned.contains(&pack.id) && !damaged.contains(&pack.id);
        PackInfo { usable, ..self.catalog.info(pack) }
    }
}

/// Checks that a table has deltas only where the configuration allows them.
fn allowed(repo: &Repository, id: &PackId, found: LoadedTable) -> Result<LoadedTable> {
    let (LoadedTable::Kept(table) | LoadedTable::Read(table) | LoadedTable::Mended(table)) = &found;
    if table.blocks.iter().all(|block| block.codec != Codec::Delta) || repo.allows_deltas()? {
        return Ok(found);
    }
    let source = DecodeError::because("it contains deltas, which the configuration does not allow");
    Err(Error::Damaged { what: ObjectKind::Packs.path(&id.hex()), source })
}

/// Opens the runs of the local index cache and returns what they know of each listed pack.
fn open_runs(catalog: &mut Catalog, repo_state: &RepoState) -> Vec<Option<RunPack>> {
    let mut known: Vec<Option<RunPack>> = vec![None; repo_state.packs.len()];
    let Some(index_cache) = catalog.index_cache().cloned() else { return known };
    // Holding the database keeps other processes from replacing a run between listing and opening it.
    let Some(turn) = index_cache.turn() else { return known };
    // Without a listing, as in a session that does not read yet, no run is known to be obsolete.
    let heads = if known.is_empty() { Vec::new() } else { run::list(&index_cache) };
    if heads.is_empty() {
        return known;
    }
    let mut broken = Vec::new();
    let numbers: HashMap<PackId, usize> = repo_state.packs.iter().map(|(id, _)| *id).zip(0..).collect();
    for head in heads {
        let id = head.id();
        let run = SortedRun::open(&index_cache, head, |pack| {
            // An entry counts only if its pack is listed, has the recorded length, and is in no other run.
            let number = *numbers.get(&pack.id)?;
            let slot = known.get_mut(number).filter(|slot| slot.is_none())?;
            repo_state.packs.get(number).filter(|(_, len)| *len == pack.len)?;
            *slot = Some(pack.clone());
            Some(number as u32)
        });
        if run.is_none() {
            broken.push(id);
        }
        catalog.runs.extend(run);
    }
    drop(turn);
    for id in broken {
        catalog.warn_of_damage();
        run::forget(&index_cache, id);
    }
    known
}

/// Returns an empty table, for a pack of which nothing is known.
fn nothing() -> Table {
    Table {
        kind: ChunkType::Data,
        session: SnapshotId::new([0; 16]),
        epoch: 0,
        by: None,
        own: None,
        blocks: Vec::new(),
    }
}

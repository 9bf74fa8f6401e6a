//! Reads what can still be read of a damaged pack.

use crate::codec::chunk::block::{self, SealedBlock};
use crate::codec::crypto::hash::ChunkType;
use crate::codec::pack::{BlockRow, PREAMBLE_LEN, PackHeader, Table};
use crate::error::{Error, Result};
use crate::model::id::{ChunkId, PackId};
use crate::repo::index::Index;
use crate::repo::pack::packs;
use crate::repo::pack::parity::HealedPack;
use crate::repo::read::chunk_reader::BlockReader;
use crate::repo::repository::Repository;
use crate::repo::sessions::session::RepoState;
use crate::repo::write::chunk_writer::ChunkWriter;
use crate::repo::write::put_chunk::UNKNOWN_OWNER;
use crate::storage::ObjectKind;

/// Reads damaged packs. The same salvager is used for all of them.
pub(super) struct Salvager<'a> {
    repo: &'a Repository,
    reader: BlockReader,
    /// Locations of bases. Loaded when the first delta is met.
    index: Option<Index>,
    plain: Vec<u8>,
}

/// The parity of one pack. Loaded once, when the first damage is met.
struct ParitySource<'a> {
    repo: &'a Repository,
    pack: &'a PackId,
    tried: Option<Option<HealedPack>>,
}

impl ParitySource<'_> {
    /// Returns the rebuilt pack, or `None` if parity is missing or does not suffice.
    fn get(&mut self) -> Result<Option<&HealedPack>> {
        if self.tried.is_none() {
            self.tried = match HealedPack::rebuild(self.repo.storage(), self.pack) {
                Ok(mended) => Some(Some(mended)),
                Err(err) if err.is_damage() || err.is_newer() => Some(None),
                Err(err) => return Err(err),
            };
        }
        Ok(self.tried.as_ref().and_then(Option::as_ref))
    }

    fn was_used(&self) -> bool {
        matches!(self.tried, Some(Some(_)))
    }
}

/// What happened to the chunks of a pack.
#[derive(Debug, Default)]
pub(super) struct Salvage {
    /// Neither of its tables can be read, and the local index cache has none: its content is unknown.
    pub(super) unknown: bool,
    pub(super) saved: u64,
    pub(super) saved_bytes: u64,
    /// Some of its bytes were rebuilt from its parity.
    pub(super) mended: bool,
    /// Chunks that cannot be read.
    pub(super) lost: Vec<ChunkId>,
    /// Number of chunks in deltas whose bases cannot be read. This pack is not at fault: they are kept as
    /// they are and become readable once a backup stores the bases again.
    pub(super) waiting: u64,
}

impl Salvage {
    /// Returns whether no chunk of the pack was lost.
    pub(super) fn is_whole(&self) -> bool {
        !self.unknown && self.lost.is_empty()
    }
}

impl<'a> Salvager<'a> {
    pub(super) fn new(repo: &'a Repository) -> Result<Self> {
        Ok(Self { repo, reader: BlockReader::new(repo)?, index: None, plain: Vec::new() })
    }

    /// Passes every readable chunk of the pack to the writer, if there is one. Chunks that exist elsewhere
    /// are written as well, since a concurrent gc run may have given up the other copy.
    ///
    /// # Errors
    /// When the storage fails for a reason other than damage, or the writer fails.
    pub(super) fn salvage(
        &mut self,
        id: &PackId,
        len: u64,
        chunk_writer: &mut Option<ChunkWriter<'_>>,
    ) -> Result<Salvage> {
        let mut salvage = Salvage::default();
        let mut parity = ParitySource { repo: self.repo, pack: id, tried: None };
        let Some(table) = self.table(id, len, &mut parity)? else {
            return Ok(Salvage { unknown: true, ..salvage });
        };
        for row in &table.blocks {
            let Some(prefix) = self.read_bases(table.kind, row)? else {
                match self.read_block(id, (&table, row), None, &mut parity)? {
                    None => salvage.lost.extend(row.chunks.iter().map(|(chunk, _)| *chunk)),
                    Some(sealed) => {
                        salvage.waiting += row.chunks.len() as u64;
                        chunk_writer.as_mut().map_or(Ok(()), |chunk_writer| {
                            chunk_writer.put_block(self.reseal(&table, row, sealed)?)
                        })?;
                    }
                }
                continue;
            };
            let sealed = self.read_block(id, (&table, row), Some(&prefix), &mut parity)?;
            let good = self.verify_chunks(&table, row, sealed.is_some());
            let all = good.iter().all(|good| *good);
            for ((chunk, len), good) in row.chunks.iter().zip(&good) {
                if *good {
                    salvage.saved += 1;
                    salvage.saved_bytes += u64::from(*len);
                } else {
                    salvage.lost.push(*chunk);
                }
            }
            let (Some(chunk_writer), Some(sealed)) = (chunk_writer.as_mut(), sealed) else { continue };
            // Chunks of a delta are stored without bases: its bases may be among the damaged chunks.
            if all && row.bases.is_empty() {
                chunk_writer.put_block(self.reseal(&table, row, sealed)?)?;
                continue;
            }
            chunk_writer.keep_apart(table.kind)?;
            let mut rest = self.plain.as_slice();
            for ((chunk, len), good) in row.chunks.iter().zip(&good) {
                let (bytes, behind) = rest.split_at_checked(*len as usize).unwrap_or((&[], &[]));
                rest = behind;
                if *good {
                    chunk_writer.put(UNKNOWN_OWNER, table.kind, *chunk, bytes)?;
                }
            }
        }
        salvage.mended = parity.was_used();
        Ok(salvage)
    }

    /// Returns the bases of a delta, concatenated; empty for other blocks, `None` if they cannot be read.
    fn read_bases(&mut self, kind: ChunkType, row: &BlockRow) -> Result<Option<Vec<u8>>> {
        if row.bases.is_empty() {
            return Ok(Some(Vec::new()));
        }
        if let Some(index) = &self.index {
            match self.reader.prefix_of(index, kind, row) {
                // Another repair may have moved it since.
                Err(err) if err.is_damage() => {}
                other => return other.map(Some),
            }
        }
        let repo_state = RepoState::read(self.repo.storage(), self.repo.suite(), |_| Ok(()))?;
        if self.index.as_ref().is_some_and(|index| index.repo_state().packs == repo_state.packs) {
            return Ok(None);
        }
        let index = self.index.insert(Index::load(self.repo, repo_state)?);
        match self.reader.prefix_of(index, kind, row) {
            Err(err) if err.is_damage() => Ok(None),
            other => other.map(Some),
        }
    }

    /// Returns a block's sealed bytes if they can be read and opened, or rebuilt. The plain bytes are then in
    /// `self.plain`, except for a delta whose bases are unknown: only its authentication tag is checked.
    fn read_block(
        &mut self,
        id: &PackId,
        what: (&Table, &BlockRow),
        prefix: Option<&[u8]>,
        parity: &mut ParitySource<'_>,
    ) -> Result<Option<Vec<u8>>> {
        let (repo, name) = (self.repo, id.hex());
        let direct = |at, out: &mut [u8]| repo.storage().read_range(ObjectKind::Packs, &name, at, out);
        match self.open_block(what, prefix, &direct) {
            Ok(sealed) => return Ok(Some(sealed)),
            // A pack that vanished is not a damaged block.
            Err(err) if err.is_damage() && !err.is_missing() => {}
            Err(err) => return Err(err),
        }
        let Some(found) = parity.get()? else { return Ok(None) };
        match self.open_block(what, prefix, &|at, out: &mut [u8]| found.read(repo.storage(), at, out)) {
            Err(err) if err.is_damage() && !err.is_missing() => Ok(None),
            other => other.map(Some),
        }
    }

    fn open_block(
        &mut self,
        (table, row): (&Table, &BlockRow),
        prefix: Option<&[u8]>,
        read: &dyn Fn(u64, &mut [u8]) -> Result<()>,
    ) -> Result<Vec<u8>> {
        let mut sealed = vec![0u8; row.stored as usize];
        read(u64::from(row.offset), &mut sealed)?;
        let (mut scratch, sealed_as) = (sealed.clone(), (table.sealing(), table.kind));
        let opened = match prefix {
            Some(prefix) => self.reader.open(sealed_as, row, prefix, &mut scratch, &mut self.plain),
            None => self.reader.check_seal(sealed_as, row, &mut scratch),
        };
        opened.map_err(Error::damaged("a block"))?;
        Ok(sealed)
    }

    /// Returns which chunks of the current block match their ids.
    fn verify_chunks(&self, table: &Table, row: &BlockRow, opened: bool) -> Vec<bool> {
        let plain = if opened { self.plain.as_slice() } else { &[] };
        block::cut(self.repo.hasher(), table.kind, &row.chunks, plain).map(|chunk| chunk.is_right).collect()
    }

    /// Returns the pack's table: from its front, its end, rebuilt from parity, or from the local index cache.
    /// The table is not trusted: every chunk must match its id.
    fn table(&self, id: &PackId, len: u64, parity: &mut ParitySource<'_>) -> Result<Option<Table>> {
        let mut newer = None;
        for at_end in [false, true] {
            match self.read_one_table(id, len, at_end) {
                Ok(table) => return Ok(Some(table)),
                Err(err) if err.is_newer() => newer = Some(err),
                Err(err) if err.is_damage() && !err.is_missing() => {}
                Err(err) => return Err(err),
            }
        }
        if let Some(found) = parity.get()? {
            let read = |at, out: &mut [u8]| found.read(self.repo.storage(), at, out);
            return packs::read_table_with(&read, self.repo.suite(), id, found.pack_len(), false).map(Some);
        }
        // Its content is not lost: a newer program reads it, and it stays where it is.
        newer.map_or(Ok(()), Err)?;
        Ok(self.repo.index_cache().and_then(|index_cache| index_cache.table_of(id)).map(|(_, table)| table))
    }

    /// Like [`crate::repo::pack::packs::read_one_table`], for a pack whose length may be wrong.
    fn read_one_table(&self, id: &PackId, len: u64, at_end: bool) -> Result<Table> {
        let (storage, name) = (self.repo.storage(), id.hex());
        let damaged = || Error::damaged(ObjectKind::Packs.path(&name));
        let at = if at_end { len.saturating_sub(PREAMBLE_LEN as u64) } else { 0 };
        let mut ends = [0u8; PREAMBLE_LEN];
        storage.read_range(ObjectKind::Packs, &name, at, &mut ends)?;
        let ends = PackHeader::parse_claimed(&ends).map_err(damaged())?;
        let start = if at_end { at.saturating_sub(u64::from(ends.table_len)) } else { PREAMBLE_LEN as u64 };
        let mut sealed = vec![0u8; ends.table_len as usize];
        storage.read_range(ObjectKind::Packs, &name, start, &mut sealed)?;
        ends.open_table(self.repo.suite(), sealed).map_err(damaged())
    }

    /// Returns the block as it is stored in its pack, but sealed in the newest epoch.
    fn reseal(&self, table: &Table, row: &BlockRow, sealed: Vec<u8>) -> Result<SealedBlock> {
        let sealed_as = (table.sealing(), table.kind);
        let sealed = self.reader.reseal(self.repo.suite(), sealed_as, row, sealed);
        let sealed = sealed.map_err(Error::damaged("a block"))?;
        let BlockRow { codec, plain, chunks, bases, .. } = row.clone();
        Ok(SealedBlock { kind: table.kind, codec, plain, chunks, bases, sealed })
    }
}

//! Chunk id to place. The packs' own tables are the truth, the fresh listing rules; sled only saves reading them.

use std::collections::HashMap;

use crate::codec::compress::Codec;
use crate::codec::hash::ChunkType;
use crate::codec::pack::Table;
use crate::error::Result;
use crate::model::id::ChunkId;
use crate::model::id::PackId;
use crate::store::packs;
use crate::store::packs::StoredPack;
use crate::store::repository::Repository;
use crate::store::session::Sight;

/// Where a chunk lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// Its block: pack number in this index and place in the pack.
    pub block: BlockAt,
    /// Where it begins in the plain block.
    pub start: u32,
    /// Its plain bytes.
    pub len: u32,
}

/// A block of an [`Index`]; ordered as they lie in the packs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockAt {
    /// Which pack.
    pub pack: u32,
    /// Which of its blocks.
    pub block: u32,
}

/// What reading a block takes.
#[derive(Debug, Clone, Copy)]
pub struct BlockPlace {
    /// The pack.
    pub pack: PackId,
    /// Type of its chunks.
    pub kind: ChunkType,
    /// Where it begins in the pack.
    pub offset: u32,
    /// Its sealed bytes.
    pub stored: u32,
    /// Its plain bytes.
    pub plain: u32,
    /// How it is packed.
    pub codec: Codec,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    prefix: u64,
    at: BlockAt,
    nth: u32,
}

#[derive(Debug)]
struct Loaded {
    id: PackId,
    len: u64,
    table: Table,
    /// Condemned or damaged: may be read where nothing else holds a chunk, never written against.
    shunned: bool,
}

/// All chunks of the packs that a [`Sight`] lists.
#[derive(Debug)]
pub struct Index {
    sight: Sight,
    packs: Vec<Loaded>,
    rows: Vec<Row>,
    /// Chunks of packs written since, newest last.
    fresh: HashMap<ChunkId, Location>,
    /// Packs whose tables could not be read: (object, why).
    pub unreadable: Vec<(PackId, crate::error::Error)>,
}

impl Index {
    /// Loads every listed pack's table, from this machine's view where it has it.
    ///
    /// # Errors
    /// When the store fails. A damaged table only takes its own chunks out.
    pub fn load(repo: &Repository, sight: Sight) -> Result<Self> {
        let mut loaded = Vec::with_capacity(sight.packs.len());
        let mut learned = Vec::new();
        let mut unreadable = Vec::new();
        let view = if sight.packs.is_empty() { None } else { repo.view() };
        for (id, len) in &sight.packs {
            let shunned = sight.condemned.contains(id) || sight.damaged.contains(id);
            let table = match view.and_then(|view| view.table(id, *len)) {
                Some(table) => table,
                None => match packs::read_table(repo.storage(), repo.ring(), id, *len) {
                    Ok(table) => {
                        learned.push(loaded.len());
                        table
                    }
                    Err(err) if err.is_damage() => {
                        unreadable.push((*id, err));
                        continue;
                    }
                    Err(err) => return Err(err),
                },
            };
            loaded.push(Loaded { id: *id, len: *len, table, shunned });
        }
        if let Some(view) = view.filter(|_| !learned.is_empty()) {
            let new = learned.iter().filter_map(|at| loaded.get(*at));
            view.add(new.map(|pack| (&pack.id, pack.len, &pack.table)));
        }
        let rows = rows_of(&loaded);
        Ok(Self { sight, packs: loaded, rows, fresh: HashMap::new(), unreadable })
    }

    /// What it was loaded from.
    pub fn sight(&self) -> &Sight {
        &self.sight
    }

    /// How many chunks the listed packs hold, copies counted.
    pub fn chunks(&self) -> u64 {
        self.rows.len() as u64
    }

    /// A copy that may be written against.
    pub fn find(&self, kind: ChunkType, id: &ChunkId) -> Option<Location> {
        self.fresh.get(id).copied().or_else(|| self.copies(kind, id).find(|copy| !copy.1).map(|copy| copy.0))
    }

    /// A copy to read: a good one where there is one, else any.
    pub fn find_any(&self, kind: ChunkType, id: &ChunkId) -> Option<Location> {
        self.find(kind, id).or_else(|| self.copies(kind, id).next().map(|copy| copy.0))
    }

    /// All copies in listed packs, for when one turns out damaged.
    pub fn copies(&self, kind: ChunkType, id: &ChunkId) -> impl Iterator<Item = (Location, bool)> {
        let prefix = id.prefix();
        let start = self.rows.partition_point(|row| row.prefix < prefix);
        let rows = self.rows.iter().skip(start).take_while(move |row| row.prefix == prefix);
        let wanted = *id;
        rows.filter_map(move |row| {
            let pack = self.packs.get(row.at.pack as usize).filter(|pack| pack.table.kind == kind)?;
            let chunks = &pack.table.blocks.get(row.at.block as usize)?.chunks;
            let (found, len) = chunks.get(row.nth as usize)?;
            let start = chunks.iter().take(row.nth as usize).map(|(_, len)| len).sum();
            (*found == wanted).then_some((Location { block: row.at, start, len: *len }, pack.shunned))
        })
    }

    /// What reading a block takes.
    pub fn place(&self, at: BlockAt) -> Option<BlockPlace> {
        let pack = self.packs.get(at.pack as usize)?;
        let row = pack.table.blocks.get(at.block as usize)?;
        Some(BlockPlace {
            pack: pack.id,
            kind: pack.table.kind,
            offset: row.offset,
            stored: row.stored,
            plain: row.plain,
            codec: row.codec,
        })
    }

    /// All packs with their tables.
    pub fn tables(&self) -> impl Iterator<Item = (&PackId, u64, &Table)> {
        self.packs.iter().map(|pack| (&pack.id, pack.len, &pack.table))
    }

    /// Adds a pack that this run wrote.
    pub fn add(&mut self, pack: StoredPack) {
        let number = self.packs.len() as u32;
        for (nth, block) in pack.table.blocks.iter().enumerate() {
            let mut start = 0;
            for (id, len) in &block.chunks {
                let at = BlockAt { pack: number, block: nth as u32 };
                self.fresh.insert(*id, Location { block: at, start, len: *len });
                start += len;
            }
        }
        self.packs.push(Loaded { id: pack.id, len: pack.len, table: pack.table, shunned: false });
    }
}

fn rows_of(packs: &[Loaded]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (pack, loaded) in packs.iter().enumerate() {
        for (block, row) in loaded.table.blocks.iter().enumerate() {
            let at = BlockAt { pack: pack as u32, block: block as u32 };
            let ids = row.chunks.iter().enumerate();
            rows.extend(ids.map(|(nth, (id, _))| Row { prefix: id.prefix(), at, nth: nth as u32 }));
        }
    }
    rows.sort_unstable_by_key(|row| (row.prefix, row.at.pack, row.at.block, row.nth));
    rows
}

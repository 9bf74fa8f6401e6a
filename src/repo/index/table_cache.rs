//! An LRU cache of decoded tables, bounded in bytes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::codec::pack::base::BaseRef;
use crate::codec::pack::{BlockRow, Table};
use crate::model::id::ChunkId;

/// A pack's table, with prefix sums for addressing its chunks by number.
#[derive(Debug)]
pub struct PackTable {
    /// The pack's table.
    pub table: Table,
    /// Number of each block's first chunk.
    firsts: Vec<u32>,
    /// Offset of each chunk in its plain block. A block may hold 100 000 chunks, too many to add up at each
    /// look-up.
    starts: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct ChunkInTable<'a> {
    pub(crate) id: &'a ChunkId,
    /// The block's number in the pack.
    pub(crate) block: u32,
    /// Offset of the chunk in the plain block.
    pub(crate) start: u32,
    pub(crate) len: u32,
}

impl PackTable {
    /// Wraps a table.
    pub fn new(table: Table) -> Self {
        let mut next = 0u32;
        let firsts = table.blocks.iter().map(|block| {
            let first = next;
            next = next.saturating_add(block.chunks.len() as u32);
            first
        });
        let firsts = firsts.collect();
        let starts = table.blocks.iter().flat_map(|block| {
            block.chunks.iter().scan(0u32, |end, (_, len)| {
                let start = *end;
                *end = end.saturating_add(*len);
                Some(start)
            })
        });
        let starts = starts.collect();
        Self { table, firsts, starts }
    }

    /// Returns the number of chunks.
    pub fn chunks(&self) -> u32 {
        let last = self.firsts.last().zip(self.table.blocks.last());
        last.map_or(0, |(first, block)| first.saturating_add(block.chunks.len() as u32))
    }

    /// Returns a block and the number of its first chunk.
    pub fn block(&self, number: u32) -> Option<(&BlockRow, u32)> {
        self.table.blocks.get(number as usize).zip(self.firsts.get(number as usize).copied())
    }

    /// Returns all blocks, each with the number of its first chunk.
    pub fn blocks(&self) -> impl Iterator<Item = (&BlockRow, u32)> {
        self.table.blocks.iter().zip(self.firsts.iter().copied())
    }

    /// Returns the chunk with a number.
    pub(crate) fn chunk_at(&self, nth: u32) -> Option<ChunkInTable<'_>> {
        let block = self.firsts.partition_point(|first| *first <= nth).checked_sub(1)?;
        let (row, first) = self.block(block as u32)?;
        let inside = nth.checked_sub(first)? as usize;
        let (id, len) = row.chunks.get(inside)?;
        let start = *self.starts.get(nth as usize)?;
        Some(ChunkInTable { id, block: block as u32, start, len: *len })
    }

    /// Returns all ids in order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &ChunkId> {
        self.table.blocks.iter().flat_map(|block| block.chunks.iter().map(|(id, _)| id))
    }

    /// Returns the approximate memory use in bytes.
    fn bytes(&self) -> usize {
        let chunk = size_of::<(ChunkId, u32)>() + size_of::<u32>();
        let bases: usize = self.table.blocks.iter().map(|block| block.bases.len()).sum();
        let blocks = self.table.blocks.len() * 80 + bases * size_of::<BaseRef>();
        200 + blocks + self.chunks() as usize * chunk
    }
}

#[derive(Debug, Default)]
pub(crate) struct TableCache {
    used: usize,
    clock: u64,
    kept: HashMap<u32, (u64, Arc<PackTable>)>,
    /// Packs by number of last use, updated lazily: a table that is due for eviction but was used since is
    /// moved to the position of its last use. So a use itself costs nothing here.
    order: BTreeMap<u64, u32>,
    /// Positions examined to find a table to evict.
    #[cfg(test)]
    examined: usize,
    /// Packs and numbers of chunks whose entries are not in memory, for cached tables. Neighbours in a tree
    /// lie in few packs, so most of the next look-ups hit here and read no entry from disk.
    chunks: HashMap<u64, (u32, u32)>,
}

impl TableCache {
    pub(crate) fn get(&mut self, pack: u32) -> Option<Arc<PackTable>> {
        self.clock += 1;
        let (used, kept) = self.kept.get_mut(&pack)?;
        *used = self.clock;
        Some(Arc::clone(kept))
    }

    /// Returns the place of a chunk with this prefix in a cached table.
    pub(crate) fn find(&mut self, prefix: u64) -> Option<(u32, u32, Arc<PackTable>)> {
        let (pack, nth) = self.chunks.get(&prefix).copied()?;
        self.get(pack).map(|kept| (pack, nth, kept))
    }

    /// Caches a table within `budget` bytes; with `with_chunks`, [`Self::find`] finds its chunks.
    pub(crate) fn put(&mut self, pack: u32, table: &Arc<PackTable>, with_chunks: bool, budget: usize) {
        self.drop_until(budget.saturating_sub(cost(table)));
        self.clock += 1;
        if let Some((_, before)) = self.kept.insert(pack, (self.clock, Arc::clone(table))) {
            self.used -= cost(&before);
        }
        self.order.insert(self.clock, pack);
        self.used += cost(table);
        if with_chunks {
            self.chunks.extend(table.ids().zip(0..).map(|(id, nth)| (id.prefix(), (pack, nth))));
        }
    }

    /// Removes the least recently used table from the order and returns its pack.
    fn oldest(&mut self) -> Option<u32> {
        while let Some((place, pack)) = self.order.pop_first() {
            #[cfg(test)]
            {
                self.examined += 1;
            }
            match self.kept.get(&pack) {
                Some((used, _)) if *used == place => return Some(pack),
                Some((used, _)) => _ = self.order.insert(*used, pack),
                None => {}
            }
        }
        None
    }

    fn drop_until(&mut self, budget: usize) {
        while self.used > budget {
            let Some(pack) = self.oldest() else { return };
            let Some((_, table)) = self.kept.remove(&pack) else { continue };
            self.used -= cost(&table);
            if self.chunks.is_empty() {
                continue;
            }
            for id in table.ids() {
                let prefix = id.prefix();
                if self.chunks.get(&prefix).is_some_and(|(owner, _)| *owner == pack) {
                    self.chunks.remove(&prefix);
                }
            }
        }
    }
}

/// Cost of a table including its chunks' entries in `chunks`, which take about as much again.
fn cost(table: &PackTable) -> usize {
    table.bytes() + table.chunks() as usize * 28
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::chunk::compress::Codec;
    use crate::codec::crypto::hash::ChunkType;
    use crate::model::id::SnapshotId;

    fn table(first: u8, blocks: &[usize]) -> Arc<PackTable> {
        let mut number = 0u8;
        let mut chunk = || {
            number += 1;
            let mut id = [first; 32];
            id[7] = number;
            (ChunkId::new(id), 10)
        };
        let row = |chunks: usize, chunk: &mut dyn FnMut() -> (ChunkId, u32)| BlockRow {
            offset: 0,
            stored: 0,
            plain: 10 * chunks as u32,
            codec: Codec::from_byte(0).unwrap(),
            chunks: (0..chunks).map(|_| chunk()).collect(),
            bases: Vec::new(),
        };
        let blocks = blocks.iter().map(|chunks| row(*chunks, &mut chunk)).collect();
        let session = SnapshotId::new([0; 16]);
        Arc::new(PackTable::new(Table {
            kind: ChunkType::Data,
            session,
            epoch: 0,
            by: None,
            own: None,
            blocks,
        }))
    }

    #[test]
    fn a_number_leads_to_its_block_and_its_place_in_it() {
        let table = table(1, &[2, 0, 3]);
        let places: Vec<_> =
            (0..6).map(|nth| table.chunk_at(nth).map(|chunk| (chunk.block, chunk.start))).collect();
        assert_eq!(places, [Some((0, 0)), Some((0, 10)), Some((2, 0)), Some((2, 10)), Some((2, 20)), None]);
        assert_eq!(table.chunks(), 5);
        assert!(table.chunk_at(2).is_some_and(|spot| spot.id.as_bytes()[7] == 3));
    }

    /// A directory of tiny files is one block of as many chunks. Adding up the lengths before each chunk at
    /// every look-up would take 45 000 000 000 steps here.
    #[test]
    fn each_of_300_000_chunks_in_one_block_is_found_where_it_begins() {
        let chunks = (0..300_000u32).map(|number| {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&number.to_be_bytes());
            (ChunkId::new(id), 1 + number % 3)
        });
        let chunks: Vec<(ChunkId, u32)> = chunks.collect();
        let plain = chunks.iter().map(|(_, len)| len).sum();
        let codec = Codec::from_byte(0).unwrap();
        let chunks_of_row = chunks.clone();
        let blocks =
            vec![BlockRow { offset: 0, stored: 0, plain, codec, chunks: chunks_of_row, bases: Vec::new() }];
        let session = SnapshotId::new([0; 16]);
        let table =
            PackTable::new(Table { kind: ChunkType::Data, session, epoch: 0, by: None, own: None, blocks });
        let mut start = 0;
        for (nth, (id, len)) in (0..).zip(&chunks) {
            let spot = table.chunk_at(nth).unwrap();
            assert_eq!((spot.id, spot.block, spot.start, spot.len), (id, 0, start, *len));
            start += len;
        }
        assert_eq!(start, plain);
    }

    #[test]
    fn the_least_recently_used_table_goes_with_its_chunks() {
        let tables = [1, 2, 3].map(|first| table(first, &[4]));
        let budget = cost(&tables[0]) * 2;
        let mut kept = TableCache::default();
        kept.put(1, &tables[0], true, budget);
        kept.put(2, &tables[1], true, budget);
        assert!(kept.get(1).is_some());
        kept.put(3, &tables[2], true, budget);
        assert!(kept.get(1).is_some() && kept.get(2).is_none() && kept.get(3).is_some());
        let near = |first: u8, kept: &mut TableCache| {
            kept.find(table(first, &[1]).ids().next().unwrap().prefix()).map(|(pack, nth, _)| (pack, nth))
        };
        assert_eq!([1, 2, 3].map(|first| near(first, &mut kept)), [Some((1, 0)), None, Some((3, 0))]);
        assert!(kept.used <= budget);
    }

    /// Examining all tables to find the oldest at every eviction would take 100 000 000 steps here.
    #[test]
    fn evicted_entry_is_found_without_a_full_scan() {
        let small: Vec<Arc<PackTable>> = (0..10).map(|first| table(first, &[1])).collect();
        let budget = cost(&small[0]) * 10_000;
        let mut kept = TableCache::default();
        for pack in 0..20_000u32 {
            kept.put(pack, &small[(pack % 10) as usize], false, budget);
            // Some tables are used repeatedly.
            assert!(kept.get(pack / 2).is_some() || pack >= 10_000);
        }
        assert!(kept.used <= budget && kept.kept.len() == 10_000);
        assert!(kept.examined <= 40_000, "{} places were examined", kept.examined);
    }
}

//! Reads packs in full, on all cores: checks each file's hash, both tables, each block, and each chunk's id.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::codec::chunk::block::{self, BlockOpener, SealedAs};
use crate::codec::chunk::compress::Codec;
use crate::codec::crypto::hash::{ChunkType, Hasher};
use crate::codec::crypto::session_keys::Sealing;
use crate::codec::crypto::{cipher, hash};
use crate::codec::pack::{BlockRow, Table};
use crate::error::{Error, Result};
use crate::model::decode_error::DecodeError;
use crate::model::id::PackId;
use crate::ops::check::Subset;
use crate::progress::{Event, Observer};
use crate::repo::index::Index;
use crate::repo::pack::header_bundles::BundleVerifier;
use crate::repo::pack::packs;
use crate::repo::read::chunk_reader::BlockReader;
use crate::repo::repository::Repository;
use crate::storage::ObjectKind;
use crate::util::parallel::{self, Queue};
use crate::util::threads;

/// Bytes that a worker reads at a time, whatever the size of packs. A longer block is read in one piece.
const SPAN_BYTES: u64 = 4 << 20;

/// How much of a pack is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Both tables.
    Tables,
    /// Every byte.
    All,
}

/// Chooses which packs are read.
pub(super) fn choose(packs: &[(PackId, u64)], subset: Option<Subset>) -> Result<Vec<(PackId, u64)>> {
    let mut all = packs.to_vec();
    let Some(subset) = subset else { return Ok(all) };
    // In random order, so that repeated small checks eventually reach every pack.
    let salt = cipher::new_id()?;
    let draw = |id: &PackId| hash::sha256(&[salt.as_bytes().as_slice(), id.as_bytes()].concat());
    match subset {
        Subset::Part { index, of } => {
            all.retain(|(id, _)| id.prefix() % of.max(1) == index.saturating_sub(1));
        }
        Subset::Percent(percent) => {
            all.sort_by_key(|(id, _)| draw(id));
            let count = (all.len() as f64 * percent.clamp(0.0, 100.0) / 100.0).ceil() as usize;
            all.truncate(count);
        }
        Subset::Bytes(bytes) => {
            all.sort_by_key(|(id, _)| draw(id));
            let mut sum = 0;
            all.retain(|(_, len)| {
                let is_chosen = sum < bytes;
                sum += len;
                is_chosen
            });
        }
    }
    Ok(all)
}

/// Reads these packs. Returns those that are damaged, in the given order, and why.
///
/// # Errors
/// When the storage fails or the run was interrupted.
pub(super) fn verify_all(
    repo: &Repository,
    index: &Index,
    chosen: &[(PackId, u64)],
    (depth, claims): (Depth, &BundleVerifier),
    observer: &dyn Observer,
    stop: &AtomicBool,
) -> Result<Vec<(PackId, Error)>> {
    let found = parallel::share_out("check", threads::workers(), chosen, |queue| {
        verify_some((repo, index), queue, (depth, claims), observer, stop)
    })?;
    let mut found: Vec<(usize, Error)> = found.into_iter().flatten().collect();
    found.sort_by_key(|(at, _)| *at);
    Ok(found.into_iter().filter_map(|(at, err)| Some((chosen.get(at)?.0, err))).collect())
}

/// Verifies packs until none is left. Returns the positions of damaged packs.
fn verify_some(
    (repo, index): (&Repository, &Index),
    queue: &Queue<'_, (PackId, u64)>,
    (depth, claims): (Depth, &BundleVerifier),
    observer: &dyn Observer,
    stop: &AtomicBool,
) -> Result<Vec<(usize, Error)>> {
    let opener = BlockOpener::new(repo.suite().clone()).map_err(Error::making("a block reader"))?;
    let reader = BlockReader::new(repo)?;
    let mut verifier = Verifier { repo, index, claims, opener, reader, span: Vec::new(), plain: Vec::new() };
    let mut found = Vec::new();
    for (at, (id, len)) in queue {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let verified = match depth {
            Depth::All => verifier.verify_pack(id, *len),
            Depth::Tables => verifier.verify_tables(id, *len),
        };
        match verified {
            Ok(()) => {}
            Err(err) if err.is_damage() => found.push((at, err)),
            Err(err) => return Err(err),
        }
        observer.notice(Event::Done { files: 1, bytes: *len });
    }
    Ok(found)
}

struct Verifier<'a> {
    repo: &'a Repository,
    index: &'a Index,
    claims: &'a BundleVerifier,
    opener: BlockOpener,
    /// Reads the bases of deltas.
    reader: BlockReader,
    span: Vec<u8>,
    plain: Vec<u8>,
}

impl Verifier<'_> {
    /// Verifies both tables and compares them with the local index cache.
    fn verify_tables(&self, id: &PackId, len: u64) -> Result<()> {
        let (storage, suite) = (self.repo.storage(), self.repo.suite());
        let table = packs::read_both_tables(storage, suite, id, len)?;
        self.claims.compare(id, len, &table)?;
        let kept = self.repo.index_cache().and_then(|index_cache| index_cache.table(id, len));
        if kept.is_some_and(|kept| kept != table) {
            self.repo.control().warn(format!(
                "the local index cache contradicts pack {}: run `Repository::repair_index`",
                id.short()
            ));
        }
        Ok(())
    }

    fn verify_pack(&mut self, id: &PackId, len: u64) -> Result<()> {
        let (storage, suite) = (self.repo.storage(), self.repo.suite());
        let name = id.hex();
        let damaged = |source| Error::Damaged { what: ObjectKind::Packs.path(&name), source };
        let table = match packs::read_both_tables(storage, suite, id, len) {
            Err(err) if !err.is_damage() && !err.is_newer() => return Err(err),
            other => other,
        };
        let rows = table.as_ref().map_or(&[][..], |table| &table.blocks);
        let sealed_as = |table: &Table| (table.sealing(), table.kind);
        let sealed_as = table.as_ref().map_or((Sealing::from(0), ChunkType::Data), sealed_as);
        let (hash, wrong) = self.read_pack(&name, len, sealed_as, rows)?;
        // The most important fault of a pack: it is not the file that was written.
        if hash != *id.as_bytes() {
            return Err(damaged(DecodeError::because("its hash differs from its name")));
        }
        let table = table?;
        self.claims.compare(id, len, &table)?;
        wrong.map_or(Ok(()), |wrong| Err(damaged(wrong)))
    }

    /// Reads a pack once from start to end. Returns its hash, and the first block that does not match `rows`.
    fn read_pack(
        &mut self,
        name: &str,
        len: u64,
        sealed_as: SealedAs,
        mut rows: &[BlockRow],
    ) -> Result<([u8; 32], Option<DecodeError>)> {
        let mut hasher = Hasher::default();
        let mut wrong = None;
        let mut at = 0u64;
        while at < len {
            let (blocks, end) = span(rows, at, len);
            self.span.resize((end - at) as usize, 0);
            self.repo.storage().read_range(ObjectKind::Packs, name, at, &mut self.span)?;
            hasher.update(&self.span);
            let (within, behind) = rows.split_at(blocks);
            for row in within {
                let prefix = match self.reader.prefix_of(self.index, sealed_as.1, row) {
                    // Not this pack's fault: missing bases are reported for each snapshot entry that needs
                    // them.
                    Err(err) if err.is_damage() => continue,
                    other => other?,
                };
                wrong = wrong.or_else(|| self.verify_block(sealed_as, row, &prefix, at).err());
            }
            (rows, at) = (behind, end);
        }
        Ok((hasher.finish(), wrong))
    }

    /// Verifies a block in the span that begins at `from`. Overwrites the block's bytes.
    fn verify_block(
        &mut self,
        sealed_as: SealedAs,
        row: &BlockRow,
        prefix: &[u8],
        from: u64,
    ) -> Result<(), DecodeError> {
        let start = (u64::from(row.offset) - from) as usize;
        let sealed = self.span.get_mut(start..start + row.stored as usize);
        let sealed = sealed.ok_or(DecodeError::because("a block is out of its bounds"))?;
        let seal = row.seal(sealed_as);
        let plain = match row.codec {
            Codec::Delta => {
                self.opener.open_delta(&seal, sealed, prefix, &mut self.plain)?;
                &self.plain
            }
            _ => self.opener.read(&seal, sealed, &mut self.plain)?,
        };
        let mut chunks = block::cut(self.repo.hasher(), sealed_as.1, &row.chunks, plain);
        let wrong = chunks.find(|chunk| !chunk.is_right);
        wrong.map_or(Ok(()), |chunk| Err(chunk.wrong()))
    }
}

/// Returns how many of the remaining blocks are read together from `at`, and the end of that range. The table
/// has been checked: blocks do not overlap and are in order.
fn span(rows: &[BlockRow], at: u64, len: u64) -> (usize, u64) {
    let end_of = |row: &BlockRow| u64::from(row.offset) + u64::from(row.stored);
    match rows.first() {
        None => (0, len.min(at + SPAN_BYTES)),
        Some(first) if u64::from(first.offset) > at => (0, u64::from(first.offset).min(at + SPAN_BYTES)),
        Some(first) => {
            let more = rows.iter().skip(1).take_while(|row| end_of(row) - at <= SPAN_BYTES);
            let (count, last) = more.fold((1, first), |(count, _), row| (count + 1, row));
            (count, end_of(last))
        }
    }
}

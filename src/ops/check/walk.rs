//! Walks every snapshot down to its chunks, and lists the entries that damage affects.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::codec::crypto::hash::ChunkType;
use crate::error::{Error, Result};
use crate::model::entry::{Content, ContentPart, Entry, Kind};
use crate::model::id::{ChunkId, PackId, SnapshotId};
use crate::model::records::Damaged;
use crate::ops::check::{Checker, Finding, MAX_FINDINGS};
use crate::progress::Event;
use crate::repo::index::{BlockAt, Copy, Index};
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::read::read_session::ReadSession;
use crate::repo::sessions::session::RepoState;
use crate::repo::snapshots::{self, Snapshot};
use crate::repo::walk::dir_reader::WalkLimits;
use crate::repo::walk::file_parts;
use crate::repo::walk::tree_walk::{TOO_DEEP, TreeWalk, WalkStep};

/// Maximum number of listings in which missing chunks are looked for, as packs may be being moved.
const MAX_LISTINGS: u32 = 3;

/// A directory that the walk is in.
struct WalkedDir {
    tree: ChunkId,
    /// Nothing below it is missing so far.
    whole: bool,
}

/// The walk of one snapshot.
struct Walk<'c, 'a> {
    checker: &'c mut Checker<'a>,
    reader: &'c mut ChunkReader,
    /// Second reader, used while the first one is in a part list.
    spare: &'c mut ChunkReader,
    /// Directories walked, and whether everything below them exists. Intact ones are not walked again.
    seen: &'c mut HashMap<ChunkId, bool>,
    /// Delta blocks, and whether all of their bases are in packs not known to be damaged.
    deltas: &'c mut HashMap<BlockAt, bool>,
    snapshot: SnapshotId,
    affected: u64,
}

impl Checker<'_> {
    /// Walks the chosen snapshots. Chunks that seem to be missing are looked for in a new listing of packs
    /// before anything is reported or recorded, because another process may have moved them.
    ///
    /// # Errors
    /// When the storage fails, the run was interrupted, or packs are moved faster than they are listed.
    pub(super) fn walk_snapshots(
        &mut self,
        session: &ReadSession,
        index: &Arc<Index>,
        chosen: &[Snapshot],
    ) -> Result<()> {
        self.report.snapshots = chosen.len() as u64;
        let mut left: Vec<&Snapshot> = chosen.iter().collect();
        let mut index = Arc::clone(index);
        for listing in 1.. {
            let mark = self.mark();
            let affected = self.walk_once(&index, &left)?;
            let now: HashSet<PackId> =
                RepoState::packs(self.repo.storage())?.iter().map(|(id, _)| *id).collect();
            let before: HashSet<PackId> = index.repo_state().packs.iter().map(|(id, _)| *id).collect();
            let (gone, new) = (!before.is_subset(&now), !now.is_subset(&before));
            if affected.is_empty() || !gone && (!new || listing >= MAX_LISTINGS) {
                self.report.affected = affected;
                return Ok(());
            }
            if listing >= MAX_LISTINGS {
                break;
            }
            self.roll_back(&mark);
            left.retain(|snapshot| affected.iter().any(|(id, _)| *id == snapshot.id));
            // Without a session, a snapshot may have been purged in the meantime.
            let listed = snapshots::list_all(self.repo)?.snapshots;
            left.retain(|snapshot| listed.iter().any(|listed| listed.id == snapshot.id));
            index = session.fixed_index()?;
        }
        let why = "another process keeps moving packs: run the check again when that has ended";
        Err(Error::Refused(why.into()))
    }

    /// Walks snapshots once. Returns those with missing chunks, and how many of their entries are affected.
    fn walk_once(&mut self, index: &Arc<Index>, some: &[&Snapshot]) -> Result<Vec<(SnapshotId, u64)>> {
        let mut reader = ChunkReader::new(self.repo, Arc::clone(index))?;
        let mut spare = ChunkReader::new(self.repo, Arc::clone(index))?;
        let (mut seen, mut deltas) = (HashMap::new(), HashMap::new());
        let mut affected = Vec::new();
        self.observer.notice(Event::Stage { name: "following snapshots", unit: "snapshots" });
        self.observer.notice(Event::Expect { files: some.len() as u64, bytes: 0 });
        for snapshot in some {
            let mut walk = Walk {
                checker: self,
                reader: &mut reader,
                spare: &mut spare,
                seen: &mut seen,
                deltas: &mut deltas,
                snapshot: snapshot.id,
                affected: 0,
            };
            walk.check_snapshot(snapshot)?;
            if walk.affected > 0 {
                affected.push((snapshot.id, walk.affected));
            }
            self.observer.notice(Event::Done { files: 1, bytes: 0 });
        }
        Ok(affected)
    }
}

impl Walk<'_, '_> {
    fn check_snapshot(&mut self, snapshot: &Snapshot) -> Result<()> {
        let root = snapshot.manifest.root;
        if self.seen.get(&root) == Some(&true) {
            return Ok(());
        }
        let limits = WalkLimits::of(&snapshot.manifest.counts);
        let stop = self.checker.stop;
        let mut walk = TreeWalk::new(root, limits, WalkedDir { tree: root, whole: true }).until(stop);
        while let Some(step) = walk.step(self.reader)? {
            match step {
                WalkStep::Entry(entry) => {
                    let Some(tree) = walk.kept().map(|dir| dir.tree) else { continue };
                    if !self.check_entry(&entry, tree, walk.path())? {
                        walk.kept().into_iter().for_each(|dir| dir.whole = false);
                    }
                    if let Kind::Dir { tree } = entry.kind {
                        self.descend(&mut walk, tree);
                    }
                }
                WalkStep::Excess(_, err) => {
                    self.report_affected(walk.path(), &err.chain());
                    return Ok(());
                }
                WalkStep::Damaged(err) => {
                    let Some(WalkedDir { tree, .. }) = walk.leave() else { continue };
                    self.checker.add_damage(Damaged::Chunk(tree), err.chain());
                    self.report_affected(walk.path(), &format!("directory: {}", err.chain()));
                    self.leave(&mut walk, tree, false);
                }
                WalkStep::Left { kept: WalkedDir { tree, whole }, .. } => self.leave(&mut walk, tree, whole),
            }
        }
        Ok(())
    }

    /// Records whether all of a directory exists, once the walk has left it.
    fn leave(&mut self, walk: &mut TreeWalk<'_, WalkedDir>, tree: ChunkId, whole: bool) {
        self.seen.insert(tree, whole);
        walk.kept().into_iter().for_each(|above| above.whole &= whole);
    }

    fn report_affected(&mut self, path: &[u8], why: &str) {
        self.affected += 1;
        let (snapshot, path) = (self.snapshot, path.to_vec());
        self.checker.error(Finding::AffectedEntry { snapshot, path: path.clone(), message: why.to_owned() });
        if self.checker.report.paths.len() < MAX_FINDINGS {
            self.checker.report.paths.push((snapshot, path));
        }
    }

    /// Enters a directory that is not known to be intact.
    fn descend(&mut self, walk: &mut TreeWalk<'_, WalkedDir>, tree: ChunkId) {
        if self.seen.get(&tree) == Some(&true) {
            return;
        }
        if walk.enter(tree, WalkedDir { tree, whole: true }).is_err() {
            self.report_affected(walk.path(), &format!("{TOO_DEEP}: its contents are not checked"));
            walk.kept().into_iter().for_each(|above| above.whole = false);
        }
    }

    /// Checks the chunks of an entry itself. Returns false if some are missing.
    fn check_entry(&mut self, entry: &Entry, tree: ChunkId, path: &[u8]) -> Result<bool> {
        let mut lost = None;
        for (size, content) in entry.contents() {
            let known = Known { bad: &self.checker.bad, deltas: self.deltas };
            match check_content(self.reader, self.spare, known, size, content) {
                Ok(()) => {}
                Err(err) if err.is_damage() => {
                    if err.is_missing() {
                        self.checker.add_damage(Damaged::Chunk(tree), err.chain());
                    }
                    lost.get_or_insert(err);
                }
                Err(err) => return Err(err),
            }
        }
        let Some(err) = lost else { return Ok(true) };
        self.report_affected(path, &err.chain());
        Ok(false)
    }
}

/// What is known about packs and deltas.
struct Known<'a> {
    bad: &'a HashSet<PackId>,
    deltas: &'a mut HashMap<BlockAt, bool>,
}

impl Known<'_> {
    fn is_good_pack(&self, index: &Index, copy: &Copy) -> bool {
        let pack = index.packs().get(copy.location.block.pack as usize);
        pack.is_some_and(|pack| !self.bad.contains(&pack.id))
    }

    /// Returns whether a copy and all its bases are in packs not known to be damaged.
    fn is_good(&mut self, index: &Index, copy: &Copy) -> Result<bool> {
        let at = copy.location.block;
        if !copy.delta || !self.is_good_pack(index, copy) {
            return Ok(!copy.delta && self.is_good_pack(index, copy));
        }
        if let Some(is_good) = self.deltas.get(&at) {
            return Ok(*is_good);
        }
        let mut is_good = true;
        for base in index.bases(at)? {
            let copies = index.base_copies(ChunkType::Data, &base)?;
            is_good = is_good && copies.iter().any(|copy| self.is_good_pack(index, copy));
        }
        self.deltas.insert(at, is_good);
        Ok(is_good)
    }
}

/// Verifies that every chunk of a file is in a pack not known to be damaged, or can still be read.
fn check_content(
    reader: &mut ChunkReader,
    spare: &mut ChunkReader,
    mut known: Known<'_>,
    size: u64,
    content: &Content,
) -> Result<()> {
    let index = Arc::clone(reader.index());
    file_parts::each_part(reader, size, content, &mut |part| {
        let ContentPart::Chunk { id, .. } = part else { return Ok(()) };
        if let Some(copy) = index.find_cached(ChunkType::Data, &id)
            && known.is_good(&index, &copy)?
        {
            return Ok(());
        }
        let copies = index.copies(ChunkType::Data, &id)?;
        if copies.is_empty() {
            return Err(Error::Missing { what: format!("chunk {}", id.short()) });
        }
        for copy in &copies {
            if known.is_good(&index, copy)? {
                return Ok(());
            }
        }
        spare.get(ChunkType::Data, &id).map(|_| ())
    })
}

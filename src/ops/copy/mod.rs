//! `copy`: copies snapshots to another repository. Each is committed separately, so an interrupted run keeps
//! the snapshots copied before.
//!
//! If both repositories name and cut chunks in the same way, missing blocks are moved as they are stored
//! (`move_blocks`). Otherwise files are cut, hashed and compressed again (`rechunk`), except for files that
//! were copied before.

mod move_blocks;
mod rechunk;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::codec::crypto::hash::ChunkType;
use crate::error::{Error, Result};
use crate::model::id::{ChunkId, SnapshotId};
use crate::model::manifest::Manifest;
use crate::ops::copy::move_blocks::BlockMover;
use crate::progress::{Control, Event, Observer};
use crate::repo::commit::write_session::{self, ParentTrust};
use crate::repo::index::Index;
use crate::repo::repository::Repository;
use crate::repo::sessions::session::RepoState;
use crate::repo::snapshots::Snapshot;
use crate::repo::snapshots::filter::SnapshotQuery;
use crate::repo::walk::snapshot_set::SnapshotSet;
use crate::repo::write::chunk_writer::{ChunkWriter, CompressionPolicy};
use crate::repo::write::delta_writer::Delta;
use crate::repo::write::pack_writer::Written;
use crate::repo::{commit, snapshots};

/// What to copy.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Snapshots to copy. Partial ones are copied only if named.
    pub choice: SnapshotQuery,
    /// Compression level to use instead of the destination's. Blocks that are moved as they are keep theirs.
    pub level: Option<i32>,
    /// Whether similar chunks are stored as deltas in the destination. If blocks are moved without decoding,
    /// only deltas of the source become deltas.
    pub delta: Delta,
    /// Only report.
    pub dry_run: bool,
}

/// A snapshot that was copied.
#[derive(Debug)]
#[non_exhaustive]
pub struct Copied {
    /// The snapshot in the source.
    pub old: Snapshot,
    /// Its id in the destination; `None` in a dry run.
    pub new: Option<SnapshotId>,
    /// Plain bytes that the destination lacked.
    pub bytes_added: u64,
    /// Bytes of the packs that were written to the destination.
    pub bytes_stored: u64,
}

/// Result of copying snapshots.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// Copied snapshots, oldest first.
    pub copied: Vec<Copied>,
    /// Number of snapshots that the destination already had.
    pub there: u64,
    /// Snapshots that could not be copied because some of their data is damaged or missing.
    pub damaged: Vec<(Snapshot, Error)>,
    /// Whether blocks were moved without decoding.
    pub alike: bool,
}

/// Returns whether both repositories name and cut chunks in the same way.
pub fn are_alike(from: &Repository, to: &Repository) -> bool {
    let probe = |repo: &Repository| repo.hasher().id_of(ChunkType::Data, b"");
    probe(from) == probe(to) && from.config().chunker == to.config().chunker
}

/// Copies snapshots that the destination does not have.
///
/// # Errors
/// When a selector names nothing, both are the same repository, a storage fails, or the run was interrupted.
/// Snapshots copied before stay.
pub fn run(from: &Repository, to: &Repository, options: &Options, control: &Control<'_>) -> Result<Report> {
    let (observer, stop) = (control.observer(), control.cancel());
    if from.config().repo == to.config().repo {
        let why = "both are the same repository, or one is a mirror of the other: `Repository::sync_to` \
                   updates mirrors";
        return Err(Error::Refused(why.into()));
    }
    if !options.dry_run {
        to.may_write()?;
    }
    let in_destination = snapshots::list(to)?;
    let mut known = KnownCopies::of(&in_destination);
    let mut chosen_ids = HashSet::new();
    // Snapshots that were copied before are included: they show which data of the others the destination has.
    let source = SnapshotSet::open(from, observer, |all| {
        let mut indices = options.choice.places(from, all)?;
        let named = !options.choice.selectors.is_empty();
        indices.retain(|at| all.get(*at).is_some_and(|snapshot| named || !snapshot.manifest.partial));
        chosen_ids.extend(indices.iter().filter_map(|at| all.get(*at)).map(|snapshot| snapshot.id));
        let copied_before =
            (0..all.len()).filter(|at| all.get(*at).is_some_and(|snapshot| known.find(snapshot).is_some()));
        Ok(indices.into_iter().chain(copied_before).collect())
    })?;
    let mut report = Report { alike: are_alike(from, to), ..Report::default() };
    let chosen: Vec<Snapshot> =
        source.snapshots.iter().filter(|snapshot| chosen_ids.contains(&snapshot.id)).cloned().collect();
    let new: Vec<&Snapshot> = chosen.iter().filter(|snapshot| known.find(snapshot).is_none()).collect();
    report.there = (chosen.len() - new.len()) as u64;
    let bytes =
        if report.alike { 0 } else { new.iter().map(|snapshot| snapshot.manifest.counts.bytes_total).sum() };
    observer.notice(Event::Stage { name: "", unit: "snapshots" });
    observer.notice(Event::Expect { files: new.len() as u64, bytes });
    let mover =
        report.alike.then(|| BlockMover::new(from, &source, options.delta.is_enabled_for(to))).transpose()?;
    let mut run = Run { to, options, observer, stop, source: &source, mover, new: Vec::new() };
    for old in new {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        if options.dry_run {
            report.copied.push(Copied { old: old.clone(), new: None, bytes_added: 0, bytes_stored: 0 });
            continue;
        }
        match run.copy_snapshot(old, &known) {
            Ok((copied, root)) => {
                if let Some(id) = copied.new {
                    known.add(old.id, id, root);
                }
                report.copied.push(copied);
            }
            Err(err) if err.is_damage() => report.damaged.push((old.clone(), err)),
            Err(err) => return Err(err),
        }
        observer.notice(Event::Done { files: 1, bytes: 0 });
    }
    drop(run);
    source.close()?;
    Ok(report)
}

/// The snapshots that the destination has.
#[derive(Debug, Default)]
struct KnownCopies {
    /// Ids in the destination, by the snapshot's own id and by the id of its original.
    copies: HashMap<SnapshotId, SnapshotId>,
    /// Originals whose copies were not rewritten, with the ids and roots of the copies.
    unchanged: HashMap<SnapshotId, (SnapshotId, ChunkId)>,
}

impl KnownCopies {
    fn of(in_destination: &[Snapshot]) -> Self {
        let mut known = Self::default();
        for snapshot in in_destination {
            known.copies.insert(snapshot.id, snapshot.id);
            if let Some((origin, root)) = snapshot.manifest.copied() {
                known.copies.insert(origin, snapshot.id);
                if root == snapshot.manifest.root {
                    known.unchanged.insert(origin, (snapshot.id, root));
                }
            }
        }
        known
    }

    fn add(&mut self, old: SnapshotId, new: SnapshotId, root: ChunkId) {
        self.copies.insert(old, new);
        self.unchanged.insert(old, (new, root));
    }

    /// Returns the id in the destination of a snapshot of the source: of the same snapshot, its copy, its
    /// original, or another copy of its original.
    fn find(&self, snapshot: &Snapshot) -> Option<SnapshotId> {
        let origin = || self.copies.get(&snapshot.manifest.copied()?.0);
        self.copies.get(&snapshot.id).or_else(origin).copied()
    }
}

/// A snapshot of the source that was copied before, and the root of its copy.
struct Base<'a> {
    old: &'a Snapshot,
    root: ChunkId,
}

struct Run<'a> {
    to: &'a Repository,
    options: &'a Options,
    observer: &'a dyn Observer,
    stop: &'a AtomicBool,
    source: &'a SnapshotSet,
    /// `None` if the files have to be cut again.
    mover: Option<BlockMover<'a>>,
    /// Ids, in the destination, of the snapshots that this run has copied.
    new: Vec<SnapshotId>,
}

impl<'a> Run<'a> {
    /// Copies a snapshot by W1 to W3: opens a session, stores the missing chunks, and commits.
    fn copy_snapshot(&mut self, old: &Snapshot, known: &KnownCopies) -> Result<(Copied, ChunkId)> {
        let (session, repo_state) = write_session::open(self.to)?;
        let base = self.base(old, known, &repo_state)?;
        let may_reuse = write_session::trust(self.to, &repo_state, &self.new)? == ParentTrust::Whole;
        let index = Arc::new(Index::load(self.to, repo_state)?);
        let stored = AtomicU64::new(0);
        let level = self.options.level.unwrap_or(self.to.config().level);
        let policy = CompressionPolicy { level, harder: 0 };
        let (root, written) = std::thread::scope(|scope| {
            let mut chunk_writer =
                ChunkWriter::start(scope, self.to, session.id, Arc::clone(&index), policy, &stored)?;
            let root = match &mut self.mover {
                Some(mover) => {
                    mover.copy(self.to, old, may_reuse, &mut chunk_writer, self.observer, self.stop)
                }
                None => {
                    let Self { to, source, observer, stop, .. } = *self;
                    let deltas = self.options.delta.is_enabled_for(to);
                    let rechunker = rechunk::Rechunker { to, deltas, source, observer, stop };
                    rechunker.copy(old, base.as_ref(), &index, &mut chunk_writer)
                }
            };
            chunk_writer.finish(root)
        })?;
        let manifest = manifest(old, root, known, &written);
        let new = commit::commit(self.to, session, &manifest)?;
        self.new.push(new);
        let (bytes_added, bytes_stored) = (written.added, written.bytes);
        Ok((Copied { old: old.clone(), new: Some(new), bytes_added, bytes_stored }, root))
    }

    /// Returns the newest snapshot of the same set that was copied before and whose data in the destination
    /// may be reused (W2).
    fn base(&self, old: &Snapshot, known: &KnownCopies, repo_state: &RepoState) -> Result<Option<Base<'a>>> {
        let is_same_set =
            |snapshot: &Snapshot| snapshot.manifest.same_set(&old.manifest.host, &old.manifest.sources);
        let copied_before = self
            .source
            .snapshots
            .iter()
            .rev()
            .filter(|snapshot| is_same_set(snapshot) && snapshot.id != old.id);
        for snapshot in copied_before {
            let Some((new, root)) = known.unchanged.get(&snapshot.id) else { continue };
            // `may_trust` needs no request. `trust` lists the destination, which would take long for many
            // snapshots.
            if write_session::may_trust(repo_state, &[*new])
                && write_session::trust(self.to, repo_state, &[*new])? == ParentTrust::Whole
            {
                return Ok(Some(Base { old: snapshot, root: *root }));
            }
        }
        Ok(None)
    }
}

/// Returns the manifest for the destination: that of the source with ids of the destination and the
/// statistics of this copy.
fn manifest(old: &Snapshot, root: ChunkId, known: &KnownCopies, written: &Written) -> Manifest {
    let translate = |id: Option<SnapshotId>| id.and_then(|id| known.copies.get(&id).copied());
    let mut manifest = Manifest {
        parent: translate(old.manifest.parent),
        based_on: translate(old.manifest.based_on),
        root,
        ..old.manifest.clone()
    };
    manifest.counts.bytes_added = written.added;
    manifest.counts.bytes_stored = written.bytes;
    manifest.set_copied(old.id);
    manifest
}

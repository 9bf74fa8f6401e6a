//! `copy`: copies snapshots to another repository. Each is committed separately, so an interrupted run keeps
//! the snapshots copied before.
//!
//! If both repositories name and cut chunks alike, missing blocks are moved as they are stored
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
use crate::ops::copy::move_blocks::Alike;
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
    /// Compression level to use instead of the destination's. Blocks moved unchanged keep theirs.
    pub level: Option<i32>,
    /// Whether similar chunks are stored as deltas in the destination. If chunks are named alike, only
    /// deltas of the source become deltas.
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

/// Returns whether both repositories name and cut chunks alike.
pub fn are_alike(from: &Repository, to: &Repository) -> bool {
    let probe = |repo: &Repository| repo.hasher().name(ChunkType::Data, b"");
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
    let there = snapshots::list(to)?;
    let mut known = Known::of(&there);
    let mut wanted = HashSet::new();
    // Snapshots that the destination has are read as well: they show what it has of the others.
    let past = SnapshotSet::open(from, observer, |all| {
        let mut places = options.choice.places(from, all)?;
        let named = !options.choice.selectors.is_empty();
        places.retain(|at| all.get(*at).is_some_and(|one| named || !one.manifest.partial));
        wanted.extend(places.iter().filter_map(|at| all.get(*at)).map(|one| one.id));
        let pairs = (0..all.len()).filter(|at| all.get(*at).is_some_and(|one| known.there(one).is_some()));
        Ok(places.into_iter().chain(pairs).collect())
    })?;
    let mut report = Report { alike: are_alike(from, to), ..Report::default() };
    let chosen: Vec<Snapshot> =
        past.snapshots.iter().filter(|one| wanted.contains(&one.id)).cloned().collect();
    let new: Vec<&Snapshot> = chosen.iter().filter(|one| known.there(one).is_none()).collect();
    report.there = (chosen.len() - new.len()) as u64;
    let bytes = if report.alike { 0 } else { new.iter().map(|one| one.manifest.counts.bytes_total).sum() };
    observer.notice(Event::Stage { name: "", unit: "snapshots" });
    observer.notice(Event::Expect { files: new.len() as u64, bytes });
    let alike = report.alike.then(|| Alike::new(from, &past, options.delta.holds(to))).transpose()?;
    let mut run = Run { to, options, observer, stop, past: &past, alike, new: Vec::new() };
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
    past.close()?;
    Ok(report)
}

/// Which snapshots the destination has.
#[derive(Debug, Default)]
struct Known {
    /// Ids in the destination by the id of the snapshot at the other end of the copy, in either direction.
    copies: HashMap<SnapshotId, SnapshotId>,
    /// Snapshots whose copies are unchanged, with the copies' ids and roots.
    whole: HashMap<SnapshotId, (SnapshotId, ChunkId)>,
}

impl Known {
    fn of(there: &[Snapshot]) -> Self {
        let mut known = Self::default();
        for one in there {
            known.copies.insert(one.id, one.id);
            if let Some((origin, root)) = one.manifest.copied() {
                known.copies.insert(origin, one.id);
                if root == one.manifest.root {
                    known.whole.insert(origin, (one.id, root));
                }
            }
        }
        known
    }

    fn add(&mut self, old: SnapshotId, new: SnapshotId, root: ChunkId) {
        self.copies.insert(old, new);
        self.whole.insert(old, (new, root));
    }

    /// Returns a snapshot's id in the destination: of its copy, of its original, or of another copy of the
    /// same original.
    fn there(&self, snapshot: &Snapshot) -> Option<SnapshotId> {
        let origin = || self.copies.get(&snapshot.manifest.copied()?.0);
        self.copies.get(&snapshot.id).or_else(origin).copied()
    }
}

/// A snapshot that both repositories have, and its root in the destination.
struct Base<'a> {
    old: &'a Snapshot,
    root: ChunkId,
}

struct Run<'a> {
    to: &'a Repository,
    options: &'a Options,
    observer: &'a dyn Observer,
    stop: &'a AtomicBool,
    past: &'a SnapshotSet,
    /// `None` if the repositories name chunks differently.
    alike: Option<Alike<'a>>,
    /// Ids in the destination of the snapshots copied by this run.
    new: Vec<SnapshotId>,
}

impl<'a> Run<'a> {
    /// Copies one snapshot by W1 to W3: opens a session, stores what is missing, and commits.
    fn copy_snapshot(&mut self, old: &Snapshot, known: &Known) -> Result<(Copied, ChunkId)> {
        let (session, repo_state) = write_session::open(self.to)?;
        let base = self.base(old, known, &repo_state)?;
        let vouched = write_session::trust(self.to, &repo_state, &self.new)? == ParentTrust::Whole;
        let index = Arc::new(Index::load(self.to, repo_state)?);
        let stored = AtomicU64::new(0);
        let level = self.options.level.unwrap_or(self.to.config().level);
        let effort = CompressionPolicy { level, harder: 0 };
        let (root, written) = std::thread::scope(|scope| {
            let mut chunk_writer =
                ChunkWriter::start(scope, self.to, session.id, Arc::clone(&index), effort, &stored)?;
            let root = match &mut self.alike {
                Some(alike) => alike.copy(self.to, old, vouched, &mut chunk_writer, self.observer, self.stop),
                None => {
                    let Self { to, past, observer, stop, .. } = *self;
                    let deltas = self.options.delta.holds(to);
                    let work = rechunk::Work { to, deltas, past, observer, stop };
                    work.copy(old, base.as_ref(), &index, &mut chunk_writer)
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

    /// Returns the newest snapshot of the same set that both have and whose data in the destination may be
    /// reused (W2).
    fn base(&self, old: &Snapshot, known: &Known, repo_state: &RepoState) -> Result<Option<Base<'a>>> {
        let same = |one: &Snapshot| one.manifest.same_set(&old.manifest.host, &old.manifest.sources);
        let pairs = self.past.snapshots.iter().rev().filter(|one| same(one) && one.id != old.id);
        for pair in pairs {
            let Some((new, root)) = known.whole.get(&pair.id) else { continue };
            // Asked first: listing for each of many pairs would take long.
            if write_session::may_trust(repo_state, &[*new])
                && write_session::trust(self.to, repo_state, &[*new])? == ParentTrust::Whole
            {
                return Ok(Some(Base { old: pair, root: *root }));
            }
        }
        Ok(None)
    }
}

/// Returns the manifest for the destination: as in the source, except for the statistics of this run.
fn manifest(old: &Snapshot, root: ChunkId, known: &Known, written: &Written) -> Manifest {
    let there = |id: Option<SnapshotId>| id.and_then(|id| known.copies.get(&id).copied());
    let mut manifest = Manifest {
        parent: there(old.manifest.parent),
        based_on: there(old.manifest.based_on),
        root,
        ..old.manifest.clone()
    };
    manifest.counts.bytes_added = written.added;
    manifest.counts.bytes_stored = written.bytes;
    manifest.set_copied(old.id);
    manifest
}

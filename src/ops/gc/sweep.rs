//! Sweeping: deletes what a gc run condemned, once no session can need it (rules C4 and C5).

use std::collections::HashSet;
use std::sync::Arc;

use crate::codec::crypto::hash::ChunkType;
use crate::error::Result;
use crate::model::id::{PackId, SnapshotId};
use crate::ops::gc::mark::Marker;
use crate::repo::gc::peers::Peer;
use crate::repo::gc::{peers, roots};
use crate::repo::index::{Copy, Index};
use crate::repo::objects;
use crate::repo::repository::Repository;
use crate::repo::sessions::gc_record::{self, GcRun};
use crate::repo::sessions::session::RepoState;
use crate::repo::sessions::trash_entries::TrashEntry;
use crate::repo::snapshots::trash;
use crate::storage::ObjectKind;

/// The outcome of a sweep.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SweepOutcome {
    /// Everything was deleted except what was rescued.
    Done(Deleted),
    /// These sessions might still need some of it.
    Waiting(Vec<String>),
    /// Another process finished it, or its number had been used before, so that it never counted.
    Over,
}

/// What a sweep deleted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Deleted {
    pub(super) packs: u64,
    pub(super) bytes: u64,
    pub(super) rescued: u64,
}

/// Returns the sessions that prevent a gc run from being swept (C4): those that had not seen its record. On a
/// storage without the guarantees that this relies on, all sessions.
///
/// # Errors
/// When the storage cannot be listed or read.
pub(super) fn waits_for(repo: &Repository, others: &[Peer], number: u64) -> Result<Vec<String>> {
    let weakness = repo.storage().weakness()?;
    let waiting = others.iter().filter(|other| !other.dead && (weakness.is_some() || other.gc_seen < number));
    let waiting: Vec<String> = waiting.map(Peer::describe).collect();
    if let Some(kind) = weakness.filter(|_| !waiting.is_empty()) {
        repo.control().warn(format!(
            "the repository is on {kind}: garbage collections delete nothing there while other processes use it"
        ));
    }
    Ok(waiting)
}

/// Sweeps one gc run, whichever process published it.
pub(super) fn sweep(repo: &Repository, own: SnapshotId, gc_run: &GcRun) -> Result<SweepOutcome> {
    let number = gc_run.number;
    let others = peers::others(repo, Some(&own), true)?;
    let waiting = waits_for(repo, &others, number)?;
    if !waiting.is_empty() {
        return Ok(SweepOutcome::Waiting(waiting));
    }
    // C4: dead sessions are fenced before anything is deleted. Sessions that start now see this gc run.
    peers::remove_dead(repo, &others, own, number)?;
    let rescued = rescue(repo, gc_run)?;
    // C4: only this check proves that the rescue ran while the gc run was unfinished. A collector that slept
    // through its end would find its packs in use again. One that is suspended from here on deletes only what
    // the others delete as well.
    if !gc_record::is_unfinished(repo.storage(), repo.suite(), gc_run)? {
        return Ok(SweepOutcome::Over);
    }
    purge(repo, own, gc_run, &others)?;
    let gone: Vec<PackId> =
        gc_run.record.condemned.iter().filter(|pack| !rescued.contains(*pack)).copied().collect();
    let mut deleted = delete(repo, &gone)?;
    deleted.rescued = rescued.len() as u64;
    gc_record::finish(repo.storage(), repo.suite(), number)?;
    if let Some(index_cache) = repo.index_cache() {
        index_cache.drop_tables(gone.iter());
    }
    Ok(SweepOutcome::Done(deleted))
}

/// Deletes packs durably.
fn delete(repo: &Repository, gone: &[PackId]) -> Result<Deleted> {
    let mut deleted = Deleted::default();
    if gone.is_empty() {
        return Ok(deleted);
    }
    let listed = repo.storage().list(ObjectKind::Packs)?;
    let names: Vec<String> = gone.iter().map(PackId::hex).collect();
    objects::remove_all(repo.storage(), ObjectKind::Packs, &names)?;
    for name in &names {
        if let Ok(at) = listed.binary_search_by(|found| found.name.as_str().cmp(name)) {
            deleted.packs += 1;
            deleted.bytes += listed.get(at).map_or(0, |found| found.len);
        }
    }
    repo.storage().sync(ObjectKind::Packs)?;
    Ok(deleted)
}

/// Returns every condemned pack with a chunk that a new root needs and that no usable pack holds.
///
/// A root is new if the gc run did not mark from it. Returns all condemned copies instead of choosing among
/// them: two sweepers must come to the same result.
pub(super) fn rescue(repo: &Repository, gc_run: &GcRun) -> Result<HashSet<PackId>> {
    let record = &gc_run.record;
    let purged: HashSet<(SnapshotId, SnapshotId)> = record.purged.iter().copied().collect();
    let marked: HashSet<&SnapshotId> = record.roots.iter().collect();
    let roots = roots::load_settled(repo)?;
    let mut new = Vec::new();
    for snapshot in roots.standing.values().filter(|snapshot| !marked.contains(&snapshot.id)) {
        new.push(snapshot.manifest.root);
    }
    let entries = roots.trash.iter().filter(|entry| !purged.contains(&(entry.id, entry.by)));
    for entry in entries.filter(|entry| !marked.contains(&entry.id)) {
        // A later run that purges this entry has to finish this one first, so a missing entry is an error.
        new.push(trash::read(repo, entry)?.manifest.root);
    }
    let mut rescued = HashSet::new();
    if new.is_empty() {
        return Ok(rescued);
    }
    let repo_state = RepoState::read(repo.storage(), repo.suite(), |_| Ok(()))?;
    let index = Arc::new(Index::load(repo, repo_state)?);
    let mut marker = Marker::new(repo, &index)?;
    for root in &new {
        marker.root(root)?;
    }
    let mut needed = |copy: &Copy| {
        let pack = index.packs().get(copy.location.block.pack as usize);
        rescued.extend(pack.filter(|pack| record.condemned.contains(&pack.id)).map(|pack| pack.id));
    };
    for lost in marker.lost.iter().filter(|lost| lost.not_writable) {
        for copy in index.copies(lost.kind, &lost.id)? {
            needed(&copy);
            // The bases of a delta may be condemned as well.
            for base in index.bases(copy.location.block)? {
                index.base_copies(lost.kind, &base)?.iter().for_each(&mut needed);
            }
        }
    }
    if marker.misses_data() {
        // A chunk that is in no listed pack, or no longer, may be a delta against any file data.
        let data = index.packs().iter().filter(|pack| pack.kind == ChunkType::Data);
        rescued.extend(data.filter(|pack| record.condemned.contains(&pack.id)).map(|pack| pack.id));
    }
    Ok(rescued)
}

/// Removes the purged trash entries (C5). A writer that still exists must not commit its purged snapshot
/// again.
fn purge(repo: &Repository, own: SnapshotId, gc_run: &GcRun, others: &[Peer]) -> Result<()> {
    let at_work: HashSet<SnapshotId> = others.iter().map(|other| other.id).collect();
    for (id, _) in gc_run.record.purged.iter().filter(|(id, _)| at_work.contains(id)) {
        peers::close_name(repo, id, own, gc_run.number)?;
    }
    let entries =
        gc_run.record.purged.iter().map(|(id, by)| TrashEntry { id: *id, by: *by, at: None }.name());
    objects::remove_all(repo.storage(), ObjectKind::Trash, &entries.collect::<Vec<_>>())?;
    if gc_run.record.purged.is_empty() { Ok(()) } else { repo.storage().sync(ObjectKind::Trash) }
}

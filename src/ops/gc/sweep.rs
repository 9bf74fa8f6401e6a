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
    /// All condemned packs were deleted, except those that a new root needs.
    Done(Deleted),
    /// Nothing was deleted, since these sessions may need some of the packs.
    Waiting(Vec<String>),
    /// Another process has ended the gc run, or its number had been used before, so that it never counted.
    AlreadyEnded,
}

/// What a sweep deleted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Deleted {
    pub(super) packs: u64,
    pub(super) bytes: u64,
    /// Number of condemned packs that were kept because a new root needs them.
    pub(super) rescued: u64,
}

/// Describes the sessions for which the sweep of a gc run has to wait (C4): those that have not seen its
/// record or, on a storage with a [weakness](crate::storage::Storage::weakness), all.
///
/// # Errors
/// When the storage cannot be listed or read.
pub(super) fn sessions_to_wait_for(repo: &Repository, others: &[Peer], number: u64) -> Result<Vec<String>> {
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
    let waiting = sessions_to_wait_for(repo, &others, number)?;
    if !waiting.is_empty() {
        return Ok(SweepOutcome::Waiting(waiting));
    }
    // C4: dead sessions are fenced before anything is deleted. Sessions that start now see this gc run.
    peers::remove_dead(repo, &others, own, number)?;
    let still_needed = find_still_needed(repo, gc_run)?;
    // C4: the packs found above are valid only if the gc run is still unfinished: after its end, new data may
    // refer to the packs that were kept. A collector that is suspended after this check deletes only packs
    // that all other collectors delete as well.
    if !gc_record::is_unfinished(repo.storage(), repo.suite(), gc_run)? {
        return Ok(SweepOutcome::AlreadyEnded);
    }
    purge(repo, own, gc_run, &others)?;
    let deletable: Vec<PackId> =
        gc_run.record.condemned.iter().filter(|pack| !still_needed.contains(*pack)).copied().collect();
    let mut deleted = delete(repo, &deletable)?;
    deleted.rescued = still_needed.len() as u64;
    gc_record::finish(repo.storage(), repo.suite(), number)?;
    if let Some(index_cache) = repo.index_cache() {
        index_cache.drop_tables(deletable.iter());
    }
    Ok(SweepOutcome::Done(deleted))
}

/// Deletes packs durably.
fn delete(repo: &Repository, deletable: &[PackId]) -> Result<Deleted> {
    let mut deleted = Deleted::default();
    if deletable.is_empty() {
        return Ok(deleted);
    }
    let listed = repo.storage().list(ObjectKind::Packs)?;
    let names: Vec<String> = deletable.iter().map(PackId::hex).collect();
    objects::remove_all(repo.storage(), ObjectKind::Packs, &names)?;
    for name in &names {
        if let Ok(position) = listed.binary_search_by(|found| found.name.as_str().cmp(name)) {
            deleted.packs += 1;
            deleted.bytes += listed.get(position).map_or(0, |found| found.len);
        }
    }
    repo.storage().sync(ObjectKind::Packs)?;
    Ok(deleted)
}

/// Returns every condemned pack with a chunk that a new root needs and of which no other pack has a usable
/// copy.
///
/// A root is new if the gc run did not mark from it. All condemned copies are returned, without a choice
/// among them, so that concurrent sweeps have the same result.
pub(super) fn find_still_needed(repo: &Repository, gc_run: &GcRun) -> Result<HashSet<PackId>> {
    let record = &gc_run.record;
    let purged: HashSet<(SnapshotId, SnapshotId)> = record.purged.iter().copied().collect();
    let marked: HashSet<&SnapshotId> = record.roots.iter().collect();
    let roots = roots::load_settled(repo)?;
    let mut new_roots = Vec::new();
    for snapshot in roots.snapshots.values().filter(|snapshot| !marked.contains(&snapshot.id)) {
        new_roots.push(snapshot.manifest.root);
    }
    let entries = roots.trash.iter().filter(|entry| !purged.contains(&(entry.id, entry.by)));
    for entry in entries.filter(|entry| !marked.contains(&entry.id)) {
        // Only a later gc run could purge this entry, and it has to sweep this one first. So a missing entry
        // is an error.
        new_roots.push(trash::read(repo, entry)?.manifest.root);
    }
    let mut still_needed = HashSet::new();
    if new_roots.is_empty() {
        return Ok(still_needed);
    }
    let repo_state = RepoState::read(repo.storage(), repo.suite(), |_| Ok(()))?;
    let index = Arc::new(Index::load(repo, repo_state)?);
    let mut marker = Marker::new(repo, &index)?;
    for root in &new_roots {
        marker.mark_root(root)?;
    }
    let mut add_condemned = |copy: &Copy| {
        let pack = index.packs().get(copy.location.block.pack as usize);
        still_needed.extend(pack.filter(|pack| record.condemned.contains(&pack.id)).map(|pack| pack.id));
    };
    for lost in marker.lost.iter().filter(|lost| lost.has_unusable_copy) {
        for copy in index.copies(lost.kind, &lost.id)? {
            add_condemned(&copy);
            // The bases of a delta may be condemned as well.
            for base in index.bases(copy.location.block)? {
                index.base_copies(lost.kind, &base)?.iter().for_each(&mut add_condemned);
            }
        }
    }
    if marker.misses_data() {
        // A chunk that is in no listed pack may be a delta against any file data.
        let data = index.packs().iter().filter(|pack| pack.kind == ChunkType::Data);
        still_needed.extend(data.filter(|pack| record.condemned.contains(&pack.id)).map(|pack| pack.id));
    }
    Ok(still_needed)
}

/// Removes the purged trash entries (C5). If the session that wrote a purged snapshot still exists, a fence
/// keeps it from committing the snapshot again.
fn purge(repo: &Repository, own: SnapshotId, gc_run: &GcRun, others: &[Peer]) -> Result<()> {
    let existing_sessions: HashSet<SnapshotId> = others.iter().map(|other| other.id).collect();
    for (id, _) in gc_run.record.purged.iter().filter(|(id, _)| existing_sessions.contains(id)) {
        peers::fence_name(repo, id, own, gc_run.number)?;
    }
    let entries =
        gc_run.record.purged.iter().map(|(id, by)| TrashEntry { id: *id, by: *by, at: None }.name());
    objects::remove_all(repo.storage(), ObjectKind::Trash, &entries.collect::<Vec<_>>())?;
    if gc_run.record.purged.is_empty() { Ok(()) } else { repo.storage().sync(ObjectKind::Trash) }
}

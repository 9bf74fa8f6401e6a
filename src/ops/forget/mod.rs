//! `forget` and `undelete`: snapshots go to the trash, by name or by policy, and come back from it.

pub mod age;
mod by_policy;
pub mod groups;
pub mod policy;

use std::collections::{HashMap, HashSet};

use serde_bytes::ByteBuf;

use crate::error::{Error, Result};
use crate::model::entry::Time;
use crate::model::id::SnapshotId;
use crate::model::manifest::Manifest;
use crate::model::records::SessionKind;
pub use crate::ops::forget::by_policy::{PolicyOptions, by_policy, plan};
use crate::repo::repository::Repository;
use crate::repo::sessions::session::{RepoState, Session};
use crate::repo::snapshots;
use crate::repo::snapshots::trash::TrashEntry;
use crate::repo::snapshots::{Listing, Snapshot, trash};

/// What to forget.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Snapshots, as people name them; the id of an unreadable manifest works as well.
    pub selectors: Vec<String>,
    /// Also the newest complete snapshot of a set.
    pub allow_remove_all: bool,
    /// Also pinned ones.
    pub force: bool,
    /// Write nothing.
    pub dry_run: bool,
}

/// A snapshot that was, or would be, forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forgotten {
    /// Which.
    pub id: SnapshotId,
    /// What it says; `None` where that cannot be read.
    pub manifest: Option<Manifest>,
}

/// Forgets.
///
/// # Errors
/// When a selector names nothing, the newest complete snapshot of a set would go without being allowed to, or the
/// store fails. Nothing is forgotten unless all of it may be.
pub fn run(repo: &Repository, options: &Options) -> Result<Vec<Forgotten>> {
    // W1: the session stands before the listing.
    let session = match options.dry_run {
        true => None,
        false => Some(open(repo)?),
    };
    let listing = snapshots::list_all(repo)?;
    listing.warn_of_unreadable(repo);
    let (mut chosen, mut known): (Vec<Forgotten>, HashSet<SnapshotId>) = Default::default();
    for selector in &options.selectors {
        let found = choose(&listing, selector)?;
        if known.insert(found.id) {
            chosen.push(found);
        }
    }
    if !options.force {
        refuse_pinned(&chosen)?;
    }
    if !options.allow_remove_all {
        guard(&listing.snapshots, &chosen)?;
    }
    if let Some(session) = session {
        let ids: Vec<SnapshotId> = chosen.iter().map(|one| one.id).collect();
        // What another run forgot meanwhile is as it should be.
        trash::forget_all(repo, &session, &ids)?;
        session.close()?;
    }
    Ok(chosen)
}

/// Forgetting must be possible on a full disk: it is how room is made.
fn open(repo: &Repository) -> Result<Session> {
    match Session::open(repo, SessionKind::Writer) {
        Err(err) if err.is_full() => {
            repo.storage().release_reserve()?;
            Ok(Session::open(repo, SessionKind::Writer)?.0)
        }
        other => Ok(other?.0),
    }
}

fn choose(listing: &Listing, selector: &str) -> Result<Forgotten> {
    let unreadable: Vec<SnapshotId> = listing
        .unreadable
        .iter()
        .filter(|(name, _)| !selector.is_empty() && name.starts_with(&selector.to_ascii_lowercase()))
        .filter_map(|(name, _)| SnapshotId::parse(name).ok())
        .collect();
    match (snapshots::resolve_in(&listing.snapshots, selector), unreadable.as_slice()) {
        (Ok((_, Some(_))), _) => {
            Err(Error::Usage(format!("{selector}: a snapshot is forgotten as a whole, without :path")))
        }
        (Ok((Snapshot { id, manifest }, None)), []) => Ok(Forgotten { id, manifest: Some(manifest) }),
        (Err(Error::NoSnapshot { .. }), [only]) => Ok(Forgotten { id: *only, manifest: None }),
        (Err(err), _) => Err(err),
        (Ok((snapshot, None)), others) => {
            let ids: Vec<SnapshotId> = others.iter().copied().chain([snapshot.id]).collect();
            let why = snapshots::ambiguous(ids.iter().map(|id| id.hex()));
            Err(Error::NoSnapshot { selector: selector.to_owned(), why })
        }
    }
}

fn refuse_pinned(chosen: &[Forgotten]) -> Result<()> {
    let is_pinned = |one: &&Forgotten| one.manifest.as_ref().is_some_and(Manifest::is_pinned);
    let Some(pinned) = chosen.iter().find(is_pinned) else { return Ok(()) };
    Err(Error::Retention(format!(
        "snapshot {} is pinned: name it with --force to forget it, or `snap unpin` it",
        pinned.id.short()
    )))
}

/// The newest complete snapshot of a set is the only copy of what the source is now. One that is dated in the future
/// is not taken for it while there is another.
fn guard(all: &[Snapshot], chosen: &[Forgotten]) -> Result<()> {
    let now = Time::now();
    let goes: HashSet<SnapshotId> = chosen.iter().map(|one| one.id).collect();
    let complete = || all.iter().filter(|one| !one.manifest.partial);
    let place = |one: &Snapshot| (one.manifest.started <= now, one.manifest.started, one.id);
    let mut newest: HashMap<(&str, &[ByteBuf]), &Snapshot> = HashMap::new();
    for one in complete() {
        let best = newest.entry(set_of(one)).or_insert(one);
        if place(one) > place(best) {
            *best = one;
        }
    }
    let last = |one: &&Snapshot| {
        goes.contains(&one.id) && newest.get(&set_of(one)).is_some_and(|newest| newest.id == one.id)
    };
    let Some(last) = complete().find(last) else { return Ok(()) };
    Err(Error::Retention(format!(
        "snapshot {} is the newest of its sources: name it with --allow-remove-all to forget it",
        last.id.short()
    )))
}

/// What tells sets of snapshots apart.
fn set_of(snapshot: &Snapshot) -> (&str, &[ByteBuf]) {
    (&snapshot.manifest.host, &snapshot.manifest.sources)
}

/// What can be brought back: entries whose snapshot does not stand, newest last.
///
/// # Errors
/// When the store fails.
pub fn trashed(repo: &Repository) -> Result<Vec<(TrashEntry, Snapshot)>> {
    let standing: HashSet<SnapshotId> =
        snapshots::list_all(repo)?.snapshots.iter().map(|snapshot| snapshot.id).collect();
    let (mut found, mut known): (Vec<(TrashEntry, Snapshot)>, HashSet<SnapshotId>) = Default::default();
    for entry in trash::list(repo)? {
        if standing.contains(&entry.id) || known.contains(&entry.id) {
            continue;
        }
        match trash::read(repo, &entry) {
            Ok(snapshot) => {
                known.insert(entry.id);
                found.push((entry, snapshot));
            }
            Err(err) if err.is_damage() => repo.warn(format!("{}: it cannot be brought back", err.chain())),
            Err(err) => return Err(err),
        }
    }
    found.sort_by_key(|(_, snapshot)| (snapshot.manifest.started, snapshot.id));
    Ok(found)
}

/// Brings forgotten snapshots back, each named by the beginning of its id. Returns their names now.
///
/// # Errors
/// When a name fits none or several, or a collection that has begun purges it.
pub fn undelete(repo: &Repository, prefixes: &[String]) -> Result<Vec<SnapshotId>> {
    let mut restored = Vec::new();
    for prefix in prefixes {
        // One session each: it lends its name where a fence has the snapshot's own.
        let (session, repo_state) = Session::open(repo, SessionKind::Writer)?;
        let entry = pick(repo, prefix)?;
        refuse_purged(&repo_state, &entry)?;
        restored.push(trash::undelete(repo, &session, &entry)?);
        session.close()?;
    }
    Ok(restored)
}

fn pick(repo: &Repository, prefix: &str) -> Result<TrashEntry> {
    let none = |why: &str| Error::NotFound {
        what: format!("nothing was brought back for '{prefix}': {why}"),
        help: "`snap undelete` lists what can be brought back".to_owned(),
    };
    let lower = prefix.to_ascii_lowercase();
    let trashed = trashed(repo)?;
    let fits: Vec<&TrashEntry> =
        trashed.iter().map(|(entry, _)| entry).filter(|entry| entry.id.hex().starts_with(&lower)).collect();
    match fits.as_slice() {
        [entry] if !lower.is_empty() => Ok(**entry),
        [] => Err(none("no forgotten snapshot's id begins so: it may be purged already")),
        several => Err(none(&snapshots::ambiguous(several.iter().map(|entry| entry.id.hex())))),
    }
}

/// What a standing collection purges may be gone at any moment.
fn refuse_purged(repo_state: &RepoState, entry: &TrashEntry) -> Result<()> {
    let purges = |one: &crate::repo::sessions::gc_record::GcRun| {
        one.record.purged.iter().any(|(id, _)| *id == entry.id)
    };
    if repo_state.unfinished.iter().any(purges) {
        return Err(Error::Refused(format!("a collection has begun to purge snapshot {}", entry.id.short())));
    }
    Ok(())
}

//! `forget` and `undelete`: snapshots go to the trash, by name or by policy, and come back from it.

pub mod age;
pub mod groups;
mod keep;
pub mod policy;

use crate::error::Error;
use crate::error::Result;
use crate::model::entry::Time;
use crate::model::id::SnapshotId;
use crate::model::manifest::Manifest;
use crate::model::record::SessionKind;
pub use crate::ops::forget::keep::PolicyOptions;
pub use crate::ops::forget::keep::by_policy;
pub use crate::ops::forget::keep::plan;
use crate::store::repository::Repository;
use crate::store::session::Session;
use crate::store::session::Sight;
use crate::store::snapshots;
use crate::store::snapshots::Listing;
use crate::store::snapshots::Snapshot;
use crate::store::trash;
use crate::store::trash::Entry;

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
    let mut chosen: Vec<Forgotten> = Vec::new();
    for selector in &options.selectors {
        let found = choose(repo, &listing, selector)?;
        if !chosen.contains(&found) {
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
        for one in &chosen {
            trash::forget(repo, &session, &one.id)?;
        }
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

fn choose(repo: &Repository, listing: &Listing, selector: &str) -> Result<Forgotten> {
    let unreadable: Vec<SnapshotId> = listing
        .unreadable
        .iter()
        .filter(|(name, _)| !selector.is_empty() && name.starts_with(&selector.to_ascii_lowercase()))
        .filter_map(|(name, _)| SnapshotId::parse(name).ok())
        .collect();
    match (snapshots::resolve(repo, selector), unreadable.as_slice()) {
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
    let goes = |id: &SnapshotId| chosen.iter().any(|one| one.id == *id);
    for snapshot in all.iter().filter(|snapshot| goes(&snapshot.id)) {
        let Manifest { host, sources, .. } = &snapshot.manifest;
        let set =
            all.iter().filter(|other| !other.manifest.partial && other.manifest.same_set(host, sources));
        let newest = set.max_by_key(|one| (one.manifest.started <= now, one.manifest.started, one.id));
        if newest.is_some_and(|newest| newest.id == snapshot.id) {
            return Err(Error::Retention(format!(
                "snapshot {} is the newest of its sources: name it with --allow-remove-all to forget it",
                snapshot.id.short()
            )));
        }
    }
    Ok(())
}

/// What can be brought back: entries whose snapshot does not stand, newest last.
///
/// # Errors
/// When the store fails.
pub fn trashed(repo: &Repository) -> Result<Vec<(Entry, Snapshot)>> {
    let standing: Vec<SnapshotId> =
        snapshots::list_all(repo)?.snapshots.iter().map(|snapshot| snapshot.id).collect();
    let mut found: Vec<(Entry, Snapshot)> = Vec::new();
    for entry in trash::list(repo)? {
        let known = found.iter().any(|(other, _)| other.id == entry.id);
        if standing.contains(&entry.id) || known {
            continue;
        }
        match trash::read(repo, &entry) {
            Ok(snapshot) => found.push((entry, snapshot)),
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
        let (session, sight) = Session::open(repo, SessionKind::Writer)?;
        let entry = pick(repo, prefix)?;
        refuse_purged(&sight, &entry)?;
        restored.push(trash::undelete(repo, &session, &entry)?);
        session.close()?;
    }
    Ok(restored)
}

fn pick(repo: &Repository, prefix: &str) -> Result<Entry> {
    let none = |why: &str| Error::NoSnapshot { selector: prefix.to_owned(), why: why.to_owned() };
    let lower = prefix.to_ascii_lowercase();
    let trashed = trashed(repo)?;
    let fits: Vec<&Entry> =
        trashed.iter().map(|(entry, _)| entry).filter(|entry| entry.id.hex().starts_with(&lower)).collect();
    match fits.as_slice() {
        [entry] if !lower.is_empty() => Ok(**entry),
        [] => Err(none("no forgotten snapshot's id begins so: it may be purged already")),
        several => Err(none(&snapshots::ambiguous(several.iter().map(|entry| entry.id.hex())))),
    }
}

/// What a standing collection purges may be gone at any moment.
fn refuse_purged(sight: &Sight, entry: &Entry) -> Result<()> {
    let purges =
        |one: &crate::store::collections::Collection| one.record.purged.iter().any(|(id, _)| *id == entry.id);
    if sight.unfinished.iter().any(purges) {
        return Err(Error::Refused(format!("a collection has begun to purge snapshot {}", entry.id.short())));
    }
    Ok(())
}

//! `forget` and `undelete`: moves snapshots to the trash, by name or by policy, and brings them back.

pub mod age;
mod by_policy;
pub mod groups;
pub mod policy;
mod retention_time;

use std::collections::{HashMap, HashSet};

use serde_bytes::ByteBuf;

use crate::error::{Error, Result};
use crate::model::entry::Time;
use crate::model::id::{KeyId, SnapshotId};
use crate::model::manifest::Manifest;
use crate::model::records::AuditAct;
pub use crate::ops::forget::by_policy::{PolicyOptions, by_policy, plan};
use crate::repo::commit::write_session;
use crate::repo::repository::Repository;
use crate::repo::sessions::session::{RepoState, Session};
use crate::repo::sessions::trash_entries::TrashEntry;
use crate::repo::snapshots::{Listing, Snapshot, holds, trash};
use crate::repo::{audit, snapshots};

/// What to forget.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Selectors of snapshots. The id of an unreadable manifest is accepted as well.
    pub selectors: Vec<String>,
    /// Also forget the newest complete snapshot of a set.
    pub allow_remove_all: bool,
    /// Also forget pinned snapshots.
    pub force: bool,
    /// Only report.
    pub dry_run: bool,
}

/// A snapshot that was forgotten, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forgotten {
    /// Id of the snapshot.
    pub id: SnapshotId,
    /// Its manifest; `None` if it cannot be read.
    pub manifest: Option<Manifest>,
}

/// Forgets snapshots by name. Forgets none unless all may be forgotten.
///
/// # Errors
/// When a selector names nothing, the newest complete snapshot of a set would be forgotten without
/// permission, or the storage fails.
pub fn run(repo: &Repository, options: &Options) -> Result<Vec<Forgotten>> {
    // W1: the session exists before the listing.
    let session = if options.dry_run { None } else { Some(open(repo)?) };
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
        refuse_held(&listing.snapshots, &chosen)?;
    }
    if !options.allow_remove_all {
        guard(&listing.snapshots, &chosen)?;
    }
    if let Some(session) = session {
        let ids: Vec<SnapshotId> = chosen.iter().map(|one| one.id).collect();
        let noted = audit::note_snapshots(repo, AuditAct::Forget, &ids)?;
        // Snapshots that another process has forgotten in the meantime need no further action.
        trash::forget_all(repo, &session, &ids, &noted)?;
        session.close()?;
    }
    Ok(chosen)
}

/// Opens a session. Works even on a full disk, because forgetting frees space.
fn open(repo: &Repository) -> Result<Session> {
    repo.may_write()?;
    match write_session::open(repo) {
        Err(err) if err.is_full() => {
            repo.storage().release_reserve()?;
            Ok(write_session::open(repo)?.0)
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
        (Ok((_, Some(_))), _) => Err(Error::Usage(format!(
            "{selector}: only whole snapshots can be forgotten; give it without \
                                      :path"
        ))),
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
        "snapshot {} is pinned: give its id with `ForgetOptions::force` to forget it, or remove the pin \
         with `Change::pinned(false)`",
        pinned.id.short()
    )))
}

/// Refuses snapshots protected by an alarm: they may be the last good state before the damage.
fn refuse_held(all: &[Snapshot], chosen: &[Forgotten]) -> Result<()> {
    let alarms: Vec<&Snapshot> = all.iter().filter(|one| one.manifest.is_alarming()).collect();
    let goes: HashSet<SnapshotId> = chosen.iter().map(|one| one.id).collect();
    for one in all.iter().filter(|one| goes.contains(&one.id)) {
        if let Some(alarm) = holds::alarm_above(one, &alarms) {
            return Err(Error::Retention(format!(
                "snapshot {} is held by the alarm of snapshot {}: give its id with `ForgetOptions::force` \
                 to forget it, or settle the alarm with `AlarmState::Accepted` or `AlarmState::Cleared`",
                one.id.short(),
                alarm.short()
            )));
        }
    }
    Ok(())
}

/// Refuses to forget the newest complete snapshot of a set: it is the only copy of the source's current
/// state. A snapshot dated in the future does not count as the newest if there is another.
fn guard(all: &[Snapshot], chosen: &[Forgotten]) -> Result<()> {
    let now = Time::now();
    let goes: HashSet<SnapshotId> = chosen.iter().map(|one| one.id).collect();
    let complete = || all.iter().filter(|one| !one.manifest.partial);
    let place = |one: &Snapshot| (one.manifest.started <= now, one.manifest.started, one.id);
    let mut newest: HashMap<_, &Snapshot> = HashMap::new();
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
        "snapshot {} is the newest of its sources: give its id with `ForgetOptions::allow_remove_all` to \
         forget it",
        last.id.short()
    )))
}

/// Returns the key that identifies a set of snapshots.
fn set_of(snapshot: &Snapshot) -> (&str, &[ByteBuf], Option<KeyId>) {
    (&snapshot.manifest.host, &snapshot.manifest.sources, snapshot.manifest.writer())
}

/// Returns the snapshots that can be brought back: trash entries whose snapshot does not exist, newest last.
///
/// # Errors
/// When the storage fails.
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
            Err(err) if err.is_damage() => {
                repo.control().warn(format!("{}: this snapshot cannot be brought back", err.chain()))
            }
            Err(err) => return Err(err),
        }
    }
    found.sort_by_key(|(_, snapshot)| (snapshot.manifest.started, snapshot.id));
    Ok(found)
}

/// Brings back forgotten snapshots, each given by a prefix of its id. Returns their current ids.
///
/// # Errors
/// When a prefix matches no snapshot or several, or an unfinished gc run purges the snapshot.
pub fn undelete(repo: &Repository, prefixes: &[String]) -> Result<Vec<SnapshotId>> {
    let mut restored = Vec::new();
    for prefix in prefixes {
        repo.may_write()?;
        // One session for each: the snapshot gets the session's id if a fence has its own.
        let (session, repo_state) = write_session::open(repo)?;
        let entry = pick(repo, prefix)?;
        refuse_purged(&repo_state, &entry)?;
        let noted = audit::note_return(repo, AuditAct::Undelete, &entry.id, session.id)?;
        restored.push(trash::undelete(repo, &session, &entry, &noted)?);
        session.close()?;
    }
    Ok(restored)
}

fn pick(repo: &Repository, prefix: &str) -> Result<TrashEntry> {
    let none = |why: &str| Error::NotFound {
        what: format!("nothing was brought back for '{prefix}': {why}"),
        help: "`Repository::trashed` lists what can be brought back".to_owned(),
    };
    let lower = prefix.to_ascii_lowercase();
    let trashed = trashed(repo)?;
    let fits: Vec<&TrashEntry> =
        trashed.iter().map(|(entry, _)| entry).filter(|entry| entry.id.hex().starts_with(&lower)).collect();
    match fits.as_slice() {
        [entry] if !lower.is_empty() => Ok(**entry),
        [] => Err(none(
            "no forgotten snapshot has an id that begins with it; it may have been purged \
                        already",
        )),
        several => Err(none(&snapshots::ambiguous(several.iter().map(|entry| entry.id.hex())))),
    }
}

/// Refuses an entry that an unfinished gc run purges: its data may be deleted at any moment.
fn refuse_purged(repo_state: &RepoState, entry: &TrashEntry) -> Result<()> {
    let purges = |one: &crate::repo::sessions::gc_record::GcRun| {
        one.record.purged.iter().any(|(id, _)| *id == entry.id)
    };
    if repo_state.unfinished.iter().any(purges) {
        return Err(Error::Refused(format!(
            "a garbage collection has begun to purge snapshot {}",
            entry.id.short()
        )));
    }
    Ok(())
}

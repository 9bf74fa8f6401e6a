//! Manifests: listing, resolving selectors, committing. A snapshot exists from the instant of its commit.

pub mod filter;
pub mod holds;
mod selector;
pub mod trash;

use std::collections::HashMap;

use crate::codec::crypto::sealed_object;
use crate::error::{Error, Result};
use crate::model::entry::Time;
use crate::model::id::SnapshotId;
use crate::model::manifest::Manifest;
use crate::model::records::Fence;
use crate::repo::objects;
use crate::repo::repository::Repository;
use crate::repo::sessions::session::Session;
use crate::storage::{CreateOutcome, Listed, ObjectKind};
use crate::util::parallel;

pub(crate) use selector::ambiguous;
pub use selector::{Query, resolve, resolve_in, time_of};

/// Seconds that a snapshot's time may lie in the future, because clocks differ.
const MAX_CLOCK_SKEW_SECONDS: i64 = 600;

/// A committed snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The snapshot's id.
    pub id: SnapshotId,
    /// The manifest: time, host, sources and root tree.
    pub manifest: Manifest,
}

/// All objects in `snapshots/`, readable or not.
#[derive(Debug, Default)]
pub struct Listing {
    /// Snapshots, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// Names of unreadable manifests, with the error.
    pub unreadable: Vec<(String, Error)>,
    /// Creation time of each snapshot by the storage's clock, if the storage reports it.
    pub arrivals: HashMap<SnapshotId, Time>,
    /// Length of each manifest as listed, in bytes.
    pub lengths: HashMap<SnapshotId, u64>,
}

/// Cache of snapshots. Manifests are immutable, so one that is listed with the same length is not read again.
#[derive(Debug, Default)]
pub struct ReadBefore(HashMap<String, (u64, Snapshot)>);

impl ReadBefore {
    fn get(&self, listed: &Listed) -> Option<Snapshot> {
        self.0.get(&listed.name).filter(|(len, _)| *len == listed.len).map(|(_, snapshot)| snapshot.clone())
    }

    fn of(listing: &Listing) -> Self {
        let known = |one: &Snapshot| Some((one.id.hex(), (*listing.lengths.get(&one.id)?, one.clone())));
        Self(listing.snapshots.iter().filter_map(known).collect())
    }
}

impl Listing {
    /// Warns about each unreadable manifest.
    pub fn warn_of_unreadable(&self, repo: &Repository) {
        for (_, err) in &self.unreadable {
            repo.control().warn(format!("{err}: this snapshot is skipped"));
        }
        let now = Time::now();
        for ahead in self.snapshots.iter().filter(|snapshot| snapshot.is_ahead(now)) {
            let at = jiff::Timestamp::new(ahead.manifest.started.sec, 0);
            let at = at.map_or_else(|_| "a distant time".to_owned(), |at| at.to_string());
            repo.control().warn(format!(
                "snapshot {} is dated in the future ({at}): it counts as the oldest, not as the latest",
                ahead.id.short()
            ));
        }
    }
}

/// Up to this many objects are read sequentially.
const MAX_SEQUENTIAL: usize = 32;
/// Number of objects that are read concurrently.
const MAX_PARALLEL: usize = 8;

/// Reads all manifests. A damaged one is returned in [`Listing::unreadable`].
///
/// # Errors
/// When the storage fails.
pub fn list_all(repo: &Repository) -> Result<Listing> {
    list_unless_read(repo, &ReadBefore::default())
}

fn list_unless_read(repo: &Repository, read: &ReadBefore) -> Result<Listing> {
    if let Some(memory) = repo.memory() {
        return list_from_memory(repo, memory.snapshots());
    }
    // Read before listing, so that snapshots made or forgotten in the meantime are not reported.
    let before = repo.known_now();
    let mut listing = Listing::default();
    let listed = repo.storage().list(ObjectKind::Snapshots)?;
    let load = |found: &Listed| match read.get(found) {
        Some(snapshot) => Ok(Some(snapshot)),
        None => load_listed(repo, found),
    };
    // A machine without a cache reads each manifest over the network.
    let loaded = if listed.len() > MAX_SEQUENTIAL {
        parallel::map(&listed, MAX_PARALLEL, load)
    } else {
        listed.iter().map(load).collect()
    };
    for (found, loaded) in listed.into_iter().zip(loaded) {
        match loaded {
            Ok(Some(snapshot)) => {
                listing.arrivals.extend(found.modified.map(|at| (snapshot.id, at)));
                listing.lengths.insert(snapshot.id, found.len);
                listing.snapshots.push(snapshot);
            }
            Ok(None) => {}
            Err(err) if err.is_missing() => {}
            Err(err) if err.is_damage() || err.is_newer() => listing.unreadable.push((found.name, err)),
            Err(err) => return Err(err),
        }
    }
    sort(&mut listing.snapshots, Time::now());
    repo.compare(&before, &listing)?;
    Ok(listing)
}

/// Returns the remembered snapshots that are still listed, for a write key, which cannot open manifests.
fn list_from_memory(repo: &Repository, made: Vec<(SnapshotId, Manifest)>) -> Result<Listing> {
    let listed = repo.storage().list(ObjectKind::Snapshots)?;
    let is_listed = |id: &SnapshotId| listed.iter().any(|found| found.name == id.hex());
    let made = made.into_iter().filter(|(id, _)| is_listed(id));
    let mut snapshots: Vec<Snapshot> = made.map(|(id, manifest)| Snapshot { id, manifest }).collect();
    sort(&mut snapshots, Time::now());
    Ok(Listing { snapshots, ..Listing::default() })
}

/// Sorts oldest first. A snapshot dated in the future by a wrong clock comes before all others until that
/// time: it must not be considered the newest, or become a parent.
fn sort(snapshots: &mut [Snapshot], now: Time) {
    snapshots.sort_by_key(|one| (!one.is_ahead(now), one.manifest.started, one.id));
}

impl Snapshot {
    /// Returns whether the snapshot is dated in the future by more than clocks may differ.
    pub fn is_ahead(&self, now: Time) -> bool {
        self.manifest.started.sec > now.sec.saturating_add(MAX_CLOCK_SKEW_SECONDS)
    }
}

/// Returns all readable snapshots, oldest first. Warns about unreadable ones and those dated in the future.
///
/// # Errors
/// When the storage fails.
pub fn list(repo: &Repository) -> Result<Vec<Snapshot>> {
    let listing = list_all(repo)?;
    listing.warn_of_unreadable(repo);
    Ok(listing.snapshots)
}

/// Like [`list`], but reads only what was not read `before`, and adds it there.
///
/// # Errors
/// As [`list`].
pub fn list_again(repo: &Repository, before: &mut ReadBefore) -> Result<Vec<Snapshot>> {
    let listing = list_unless_read(repo, before)?;
    listing.warn_of_unreadable(repo);
    *before = ReadBefore::of(&listing);
    Ok(listing.snapshots)
}

/// Like [`load`], but uses the local copy of the manifest only if it is as long as the listed object.
/// Otherwise a fence may have taken the name. The local copy is kept in any case: if the listed one is
/// damaged, it is the last intact copy.
///
/// # Errors
/// As [`load`].
pub fn load_listed(repo: &Repository, listed: &Listed) -> Result<Option<Snapshot>> {
    if repo.cache().object(&listed.name).is_some_and(|kept| kept.len() as u64 != listed.len) {
        load_stored(repo, &listed.name)
    } else {
        load(repo, &listed.name)
    }
}

/// Reads one manifest; `None` if the name belongs to a fence.
///
/// # Errors
/// When it is gone, damaged or newer than this program.
pub fn load(repo: &Repository, name: &str) -> Result<Option<Snapshot>> {
    let id = SnapshotId::parse(name).map_err(|_| objects::unknown_name(ObjectKind::Snapshots, name))?;
    if let Some(memory) = repo.memory() {
        let made = memory.snapshots().into_iter().find(|(made, _)| *made == id);
        let unknown = || Error::Missing {
            what: format!("snapshot {} in the local memory of the write key", id.short()),
        };
        return made.map(|(id, manifest)| Some(Snapshot { id, manifest })).ok_or_else(unknown);
    }
    let Some(bytes) = repo.cache().object(name) else { return load_stored(repo, name) };
    if bytes.starts_with(&sealed_object::FENCE) && open_fence(repo, name, bytes.clone()).is_ok() {
        return Ok(None);
    }
    match decode(repo, id, bytes) {
        Ok(snapshot) => Ok(Some(snapshot)),
        Err(_) => load_stored(repo, name),
    }
}

fn open_fence(repo: &Repository, name: &str, bytes: Vec<u8>) -> Result<Fence> {
    objects::open(repo.suite(), sealed_object::FENCE, ObjectKind::Snapshots, name, name, bytes)
}

/// Reads a listed fence; `None` if the name belongs to a manifest.
///
/// # Errors
/// When it is gone or damaged.
pub fn fence(repo: &Repository, listed: &Listed) -> Result<Option<Fence>> {
    let name = &listed.name;
    let kept = repo.cache().object(name).filter(|kept| kept.len() as u64 == listed.len);
    if kept.is_some_and(|kept| !kept.starts_with(&sealed_object::FENCE)) {
        return Ok(None);
    }
    let bytes = repo.storage().read(ObjectKind::Snapshots, name, sealed_object::MAX_OBJECT)?;
    if bytes.starts_with(&sealed_object::FENCE) { open_fence(repo, name, bytes).map(Some) } else { Ok(None) }
}

fn load_stored(repo: &Repository, name: &str) -> Result<Option<Snapshot>> {
    let id = SnapshotId::parse(name).map_err(|_| objects::unknown_name(ObjectKind::Snapshots, name))?;
    let bytes = repo.storage().read(ObjectKind::Snapshots, name, sealed_object::MAX_OBJECT)?;
    if objects::check_header(ObjectKind::Snapshots, name, &bytes)? == sealed_object::FENCE {
        // A corrupt fence is still a fence, but is not cached.
        match open_fence(repo, name, bytes.clone()) {
            Ok(_) => repo.cache().keep_object(name, &bytes),
            Err(_) => repo.cache().drop_object(name),
        }
        return Ok(None);
    }
    let snapshot = decode(repo, id, bytes.clone())?;
    repo.cache().keep_object(name, &bytes);
    Ok(Some(snapshot))
}

/// Returns the local copy of a manifest, if it is intact.
pub fn cached(repo: &Repository, id: &SnapshotId) -> Option<Snapshot> {
    decode(repo, *id, repo.cache().object(&id.hex())?).ok()
}

fn decode(repo: &Repository, id: SnapshotId, bytes: Vec<u8>) -> Result<Snapshot> {
    let name = id.hex();
    let manifest = open_manifest(repo, ObjectKind::Snapshots, (&name, &name), bytes)?;
    match manifest.check_tags() {
        Ok(()) => Ok(Snapshot { id, manifest }),
        Err(why) => Err(Error::damaged(ObjectKind::Snapshots.path(&name))(why)),
    }
}

/// Decodes a manifest. If a write key made it, records the slot that its keys prove, whatever the manifest
/// claims.
pub(crate) fn open_manifest(
    repo: &Repository,
    area: ObjectKind,
    names: (&str, &str),
    bytes: Vec<u8>,
) -> Result<Manifest> {
    let (mut manifest, by): (Manifest, _) =
        objects::open_by(repo.suite(), sealed_object::MANIFEST, area, names, bytes)?;
    if by.is_some() {
        manifest.set_writer(by);
    }
    Ok(manifest)
}

/// Reads and verifies a manifest in the repository itself. The local copy is not used, and is kept: it may be
/// the last intact one.
///
/// # Errors
/// When the manifest is damaged.
pub fn verify(repo: &Repository, name: &str) -> Result<()> {
    let bytes = repo.storage().read(ObjectKind::Snapshots, name, sealed_object::MAX_OBJECT)?;
    verify_bytes(repo, name, bytes)
}

/// Verifies that these bytes are the manifest, or the fence, of that name.
///
/// # Errors
/// When they are not.
pub fn verify_bytes(repo: &Repository, name: &str, bytes: Vec<u8>) -> Result<()> {
    let id = SnapshotId::parse(name).map_err(|_| objects::unknown_name(ObjectKind::Snapshots, name))?;
    match objects::check_header(ObjectKind::Snapshots, name, &bytes)? {
        sealed_object::FENCE => open_fence(repo, name, bytes).map(drop),
        _ => decode(repo, id, bytes).map(|_| ()),
    }
}

/// Commits under a session's name (W3). `false` if the session was considered dead: a fence has the name, or
/// had it and was removed since, which the absence of the session's record shows. Then a manifest that was
/// just created is withdrawn.
///
/// # Errors
/// When it could not be made durable, or it cannot be determined whether the session exists.
pub fn commit_under(repo: &Repository, session: &Session, manifest: &Manifest) -> Result<bool> {
    if session.was_fenced()? || !commit(repo, session.id, manifest)? {
        return Ok(false);
    }
    if !session.was_fenced()? {
        return Ok(true);
    }
    withdraw(repo, &session.id.hex())?;
    Ok(false)
}

/// Removes a manifest that this machine has just committed under its session's name.
fn withdraw(repo: &Repository, name: &str) -> Result<()> {
    repo.storage().remove(ObjectKind::Snapshots, name)?;
    repo.storage().sync(ObjectKind::Snapshots)?;
    repo.cache().drop_object(name);
    repo.cache().note(&ObjectKind::Snapshots.path(name), false);
    Ok(())
}

/// Commits: creates the manifest under its session's name. `false` if a fence has the name.
///
/// # Errors
/// When it could not be made durable.
pub fn commit(repo: &Repository, id: SnapshotId, manifest: &Manifest) -> Result<bool> {
    let name = id.hex();
    let bytes = objects::seal(repo.suite(), sealed_object::MANIFEST, &name, manifest)?;
    if repo.storage().create(ObjectKind::Snapshots, &name, &[&bytes])? == CreateOutcome::New {
        repo.cache().keep_object(&name, &bytes);
        repo.cache().note(&ObjectKind::Snapshots.path(&name), true);
        repo.note_made(&id, manifest);
        return Ok(true);
    }
    // A retry that finds its own bytes there has committed.
    Ok(repo.storage().read(ObjectKind::Snapshots, &name, sealed_object::MAX_OBJECT)? == bytes)
}

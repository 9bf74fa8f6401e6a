//! Manifests: listing, resolving selectors, committing. A snapshot exists from the instant of its commit.

pub mod filter;
pub mod holds;
pub mod trash;

use std::collections::{HashMap, HashSet};

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use crate::codec::crypto::sealed_object;
use crate::error::{Error, Result};
use crate::model::entry::Time;
use crate::model::id::SnapshotId;
use crate::model::manifest::Manifest;
use crate::model::records::Fence;
use crate::repo::objects;
use crate::repo::repository::Repository;
use crate::repo::sessions::session::Session;
use crate::repo::snapshots::filter::SnapshotFilter;
use crate::storage::{CreateOutcome, Listed, ObjectKind};
use crate::util::parallel;

/// Seconds that a snapshot's time may lie in the future, because clocks differ.
const AHEAD: i64 = 600;

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
            repo.warn(format!("{err}: that snapshot cannot be used"));
        }
        let now = Time::now();
        for ahead in self.snapshots.iter().filter(|snapshot| snapshot.is_ahead(now)) {
            let at = jiff::Timestamp::new(ahead.manifest.started.sec, 0);
            let at = at.map_or_else(|_| "a far future".to_owned(), |at| at.to_string());
            repo.warn(format!(
                "snapshot {} is dated in the future ({at}): it counts as the oldest, not as the latest",
                ahead.id.short()
            ));
        }
    }
}

/// Up to this many objects are read sequentially.
const FEW: usize = 32;
/// Number of objects that are read concurrently.
const AT_ONCE: usize = 8;

/// Reads all manifests. A damaged one is returned in [`Listing::unreadable`].
///
/// # Errors
/// When the storage fails.
pub fn list_all(repo: &Repository) -> Result<Listing> {
    list_beside(repo, &ReadBefore::default())
}

fn list_beside(repo: &Repository, read: &ReadBefore) -> Result<Listing> {
    if let Some(memory) = repo.memory() {
        return remembered(repo, memory.snapshots());
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
    let loaded = if listed.len() > FEW {
        parallel::map(&listed, AT_ONCE, load)
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
            Err(err) if err.is_damage() || err.is_newer() => {
                listing.unreadable.push((found.name, err));
            }
            Err(err) => return Err(err),
        }
    }
    sort(&mut listing.snapshots, Time::now());
    repo.compare(&before, &listing)?;
    Ok(listing)
}

/// Returns the remembered snapshots that are still listed, for a write key, which cannot open manifests.
fn remembered(repo: &Repository, made: Vec<(SnapshotId, Manifest)>) -> Result<Listing> {
    let listed = repo.storage().list(ObjectKind::Snapshots)?;
    let stands = |id: &SnapshotId| listed.iter().any(|found| found.name == id.hex());
    let made = made.into_iter().filter(|(id, _)| stands(id));
    let mut snapshots: Vec<Snapshot> = made.map(|(id, manifest)| Snapshot { id, manifest }).collect();
    sort(&mut snapshots, Time::now());
    Ok(Listing { snapshots, ..Listing::default() })
}

/// Sorts oldest first. A snapshot dated in the future by a wrong clock comes before all others until that
/// time has come: it must not be taken for the newest, or become a parent.
fn sort(snapshots: &mut [Snapshot], now: Time) {
    snapshots.sort_by_key(|one| (!one.is_ahead(now), one.manifest.started, one.id));
}

impl Snapshot {
    /// Returns whether the snapshot is dated in the future by more than clocks may differ.
    pub fn is_ahead(&self, now: Time) -> bool {
        self.manifest.started.sec > now.sec.saturating_add(AHEAD)
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
    let listing = list_beside(repo, before)?;
    listing.warn_of_unreadable(repo);
    *before = ReadBefore::of(&listing);
    Ok(listing.snapshots)
}

/// Like [`load`], but uses the local copy of the manifest if it is as long as the listed object.
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
        let unknown = || Error::Missing { what: format!("snapshot {} in this machine's memory", id.short()) };
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
pub fn kept(repo: &Repository, id: &SnapshotId) -> Option<Snapshot> {
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
        sealed_object::FENCE => {
            let _: Fence =
                objects::open(repo.suite(), sealed_object::FENCE, ObjectKind::Snapshots, name, name, bytes)?;
            Ok(())
        }
        _ => decode(repo, id, bytes).map(|_| ()),
    }
}

/// Commits under a session's name. `false` if the session was considered dead: a fence has the name, or had
/// it and was removed since, so that only the session's own absence shows it. A manifest that was created in
/// the meantime is withdrawn.
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
    let name = session.id.hex();
    repo.storage().remove(ObjectKind::Snapshots, &name)?;
    repo.storage().sync(ObjectKind::Snapshots)?;
    repo.cache().drop_object(&name);
    repo.cache().note(&ObjectKind::Snapshots.path(&name), false);
    Ok(false)
}

/// Commits: creates the manifest under its session's name. `false` if a fence has the name.
///
/// # Errors
/// When it could not be made durable.
pub fn commit(repo: &Repository, id: SnapshotId, manifest: &Manifest) -> Result<bool> {
    let name = id.hex();
    let bytes = objects::close(repo.suite(), sealed_object::MANIFEST, &name, manifest)?;
    if repo.storage().create(ObjectKind::Snapshots, &name, &[&bytes])? == CreateOutcome::New {
        repo.cache().keep_object(&name, &bytes);
        repo.cache().note(&ObjectKind::Snapshots.path(&name), true);
        repo.note_made(&id, manifest);
        return Ok(true);
    }
    // A retry that finds its own bytes there has committed.
    Ok(repo.storage().read(ObjectKind::Snapshots, &name, sealed_object::MAX_OBJECT)? == bytes)
}

/// A snapshot selector as typed by the user, and the snapshots it may refer to.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// `latest`, `latest~N`, an id prefix or a time, optionally followed by `:path` for a part.
    pub selector: &'a [u8],
    /// Restricts the query to snapshots that this filter admits; `None` means all.
    pub among: Option<&'a SnapshotFilter>,
}

impl<'a, T: AsRef<[u8]> + ?Sized> From<&'a T> for Query<'a> {
    fn from(selector: &'a T) -> Self {
        Self { selector: selector.as_ref(), among: None }
    }
}

impl<'a> Query<'a> {
    /// Creates a query among the snapshots that the filter admits.
    pub fn among(selector: &'a (impl AsRef<[u8]> + ?Sized), selection: &'a SnapshotFilter) -> Self {
        let among = (*selection != SnapshotFilter::default()).then_some(selection);
        Self { selector: selector.as_ref(), among }
    }
}

/// Resolves a query to one of `all` snapshots, oldest first, and the path after the colon, which may be any
/// bytes. Notes in the repository which snapshot `latest` is, if that is not obvious.
///
/// # Errors
/// `NoSnapshot` says why there is none.
pub fn resolve<'a>(
    repo: &Repository,
    all: &[Snapshot],
    query: impl Into<Query<'a>>,
) -> Result<(Snapshot, Option<Vec<u8>>)> {
    let query = query.into();
    let (snapshot, path) = resolve_in(all, query)?;
    if query.among.is_none() && query.selector.starts_with(b"latest") {
        warn_if_ambiguous(repo, all, &snapshot);
    }
    Ok((snapshot, path))
}

/// Like [`resolve`], but notes nothing.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_in<'a>(all: &[Snapshot], query: impl Into<Query<'a>>) -> Result<(Snapshot, Option<Vec<u8>>)> {
    let Query { selector, among } = query.into();
    let pick = |name: &[u8]| pick(all, &String::from_utf8_lossy(name), among);
    if let Ok(snapshot) = pick(selector) {
        return Ok((snapshot, None));
    }
    // Times contain colons as well, so the longest selector that names a snapshot wins.
    for (at, _) in selector.iter().enumerate().rev().filter(|(_, byte)| **byte == b':') {
        let (name, path) = selector.split_at(at);
        if let Ok(snapshot) = pick(name) {
            return Ok((snapshot, Some(behind(path)).filter(|path| !path.is_empty())));
        }
    }
    pick(selector.split(|byte| *byte == b':').next().unwrap_or(selector)).map(|snapshot| (snapshot, None))
}

/// Reports which snapshot `latest` resolved to, if several hosts or sources make it ambiguous.
fn warn_if_ambiguous(repo: &Repository, all: &[Snapshot], taken: &Snapshot) {
    let sets: HashSet<_> = all.iter().map(|one| (&one.manifest.host, &one.manifest.sources)).collect();
    if sets.len() < 2 {
        return;
    }
    let sources = taken.manifest.sources.iter().map(|source| String::from_utf8_lossy(source));
    let sources = sources.collect::<Vec<_>>().join(", ");
    repo.note(format!(
        "latest is the newest of {} sets: snapshot {} of host {}, {sources}; `SnapshotFilter::hosts`, `SnapshotFilter::paths` or `SnapshotFilter::tags` \
         chooses among them",
        sets.len(),
        taken.id.short(),
        taken.manifest.host,
    ));
}

/// Normalizes the path after a colon: leading, trailing and double slashes and `.` parts (`./src`) are
/// dropped.
fn behind(colon: &[u8]) -> Vec<u8> {
    let path = colon.strip_prefix(b":").unwrap_or(colon);
    let parts = path.split(|byte| *byte == b'/').filter(|part| !matches!(part, [] | [b'.']));
    parts.collect::<Vec<_>>().join(&b'/')
}

fn pick(all: &[Snapshot], selector: &str, among: Option<&SnapshotFilter>) -> Result<Snapshot> {
    let none = |why: &str| Error::NoSnapshot { selector: selector.to_owned(), why: why.to_owned() };
    if let Some(why) = among.and_then(|among| among.unmatched(all)) {
        return Err(none(&why));
    }
    let admitted = |one: &Snapshot| among.is_none_or(|among| among.admits(&one.manifest));
    let complete: Vec<&Snapshot> = all.iter().filter(|one| !one.manifest.partial && admitted(one)).collect();
    if let Some(rest) = selector.strip_prefix("latest") {
        let back = match rest.strip_prefix('~') {
            None if rest.is_empty() => 0,
            Some(number) => number.parse::<usize>().map_err(|_| none("latest~N takes a number"))?,
            None => return Err(none("not latest, latest~N, an id or a time")),
        };
        let found =
            complete.iter().rev().nth(back).ok_or_else(|| none("there are not that many snapshots"))?;
        return Ok((*found).clone());
    }
    if !selector.is_empty() && selector.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let lower = selector.to_ascii_lowercase();
        let found: Vec<&Snapshot> =
            all.iter().filter(|snapshot| snapshot.id.hex().starts_with(&lower)).collect();
        return match found.as_slice() {
            [only] if !admitted(only) => Err(none("that snapshot is none of those that the filters choose")),
            [only] => Ok((*only).clone()),
            [] => Err(none("no id begins so")),
            several => Err(none(&ambiguous(several.iter().map(|one| one.id.hex())))),
        };
    }
    let limit = instant(selector).ok_or_else(|| none("not latest, latest~N, an id or a time"))?;
    let mut before = complete.iter().rev().filter(|snapshot| snapshot.manifest.started <= limit);
    before.next().map(|found| (*found).clone()).ok_or_else(|| none("there is none at or before that time"))
}

/// Explains that an id prefix is ambiguous, and lists the ids that begin with it, up to a limit.
pub(crate) fn ambiguous(ids: impl ExactSizeIterator<Item = String>) -> String {
    const NAMED: usize = 10;
    let more = ids.len().saturating_sub(NAMED);
    let short = |id: String| id.get(..12).map(str::to_owned).unwrap_or(id);
    let named: Vec<String> = ids.take(NAMED).map(short).collect();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("more than one id begins so: {}{more}", named.join(", "))
}

/// Parses a time: RFC 3339, a local date (its beginning) or date and time, or the legacy backup script's
/// `2026-11-24T02-00-00-000Z`.
pub fn time_of(text: &str) -> Option<Time> {
    let date = text.parse::<Date>().ok().filter(|_| text.len() == 10);
    let at = match date {
        Some(date) => TimeZone::system().to_timestamp(date.at(0, 0, 0, 0)).ok()?,
        None => timestamp(text)?,
    };
    // Before 1970 a fraction counts from the second before.
    let (nanos, second) = (at.as_nanosecond(), 1_000_000_000);
    let sec = i64::try_from(nanos.div_euclid(second)).ok()?;
    Some(Time { sec, nanos: u32::try_from(nanos.rem_euclid(second)).ok()? })
}

/// Returns the last instant that a time covers: a date means the whole local day, whole seconds mean the full
/// second.
fn instant(text: &str) -> Option<Time> {
    let at = timestamp(text)?;
    let fine = text.contains('.') || text.matches('-').count() == 5 && text.ends_with('Z');
    let nanos = u32::try_from(at.subsec_nanosecond()).unwrap_or(0);
    let rest = if text.contains('.') { 0 } else { 999_999 };
    Some(Time { sec: at.as_second(), nanos: if fine { nanos + rest } else { 999_999_999 } })
}

fn timestamp(text: &str) -> Option<jiff::Timestamp> {
    if let Ok(date) = text.parse::<Date>()
        && text.len() == 10
    {
        let end = TimeZone::system().to_timestamp(date.tomorrow().ok()?.at(0, 0, 0, 0)).ok()?;
        return jiff::Timestamp::new(end.as_second() - 1, 0).ok();
    }
    // Names of the legacy backup script: 2026-11-24T02-00-00-000Z.
    let old = text.split_once('T').filter(|(_, time)| time.len() == 13 && time.ends_with('Z'));
    if let Some((date, time)) = old {
        let fields: Vec<&str> = time.trim_end_matches('Z').split('-').collect();
        if let [hour, minute, second, milli] = fields.as_slice() {
            let utc = format!("{date}T{hour}:{minute}:{second}.{milli}Z");
            return utc.parse::<jiff::Timestamp>().ok();
        }
    }
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Some(at);
    }
    TimeZone::system().to_timestamp(text.parse::<DateTime>().ok()?).ok()
}

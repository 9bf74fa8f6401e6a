//! Selectors: which snapshot the user means by `latest`, an id prefix or a time.

use std::collections::HashSet;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use crate::error::{Error, Result};
use crate::fs::filter::components;
use crate::model::entry::Time;
use crate::repo::repository::Repository;
use crate::repo::snapshots::Snapshot;
use crate::repo::snapshots::filter::SnapshotFilter;

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
/// bytes. Tells the observer which snapshot `latest` is, if that is not obvious.
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

/// Like [`resolve`], but tells the observer nothing.
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
            return Ok((snapshot, Some(path_after(path)).filter(|path| !path.is_empty())));
        }
    }
    pick(selector.split(|byte| *byte == b':').next().unwrap_or(selector)).map(|snapshot| (snapshot, None))
}

/// Reports which snapshot `latest` resolved to, if several hosts or sources make it ambiguous.
fn warn_if_ambiguous(repo: &Repository, all: &[Snapshot], chosen: &Snapshot) {
    let sets: HashSet<_> = all.iter().map(|one| (&one.manifest.host, &one.manifest.sources)).collect();
    if sets.len() < 2 {
        return;
    }
    let sources = chosen.manifest.sources.iter().map(|source| String::from_utf8_lossy(source));
    let sources = sources.collect::<Vec<_>>().join(", ");
    repo.control().note(format!(
        "latest is the newest of {} sets: snapshot {} of host {}, {sources}; `SnapshotFilter::hosts`, \
         `SnapshotFilter::paths` or `SnapshotFilter::tags` selects a set",
        sets.len(),
        chosen.id.short(),
        chosen.manifest.host,
    ));
}

/// Normalizes the path after a colon: leading, trailing and double slashes and `.` parts (`./src`) are
/// dropped.
fn path_after(colon: &[u8]) -> Vec<u8> {
    let path = colon.strip_prefix(b":").unwrap_or(colon);
    components(path).collect::<Vec<_>>().join(&b'/')
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
            None => return Err(none("it is not latest, latest~N, an id or a time")),
        };
        let found = complete.iter().rev().nth(back).ok_or_else(|| none("there are fewer snapshots"))?;
        return Ok((*found).clone());
    }
    if !selector.is_empty() && selector.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let lower = selector.to_ascii_lowercase();
        let found: Vec<&Snapshot> =
            all.iter().filter(|snapshot| snapshot.id.hex().starts_with(&lower)).collect();
        return match found.as_slice() {
            [only] if !admitted(only) => Err(none("the filters do not select that snapshot")),
            [only] => Ok((*only).clone()),
            [] => Err(none("no id begins with it")),
            several => Err(none(&ambiguous(several.iter().map(|one| one.id.hex())))),
        };
    }
    let limit = instant(selector).ok_or_else(|| none("it is not latest, latest~N, an id or a time"))?;
    let mut before = complete.iter().rev().filter(|snapshot| snapshot.manifest.started <= limit);
    before
        .next()
        .map(|found| (*found).clone())
        .ok_or_else(|| none("there is no snapshot at or before that time"))
}

/// Explains that an id prefix is ambiguous, and lists the ids that begin with it, up to a limit.
pub(crate) fn ambiguous(ids: impl ExactSizeIterator<Item = String>) -> String {
    const NAMED: usize = 10;
    let more = ids.len().saturating_sub(NAMED);
    let short = |id: String| id.get(..12).map(str::to_owned).unwrap_or(id);
    let named: Vec<String> = ids.take(NAMED).map(short).collect();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("several ids begin with it: {}{more}", named.join(", "))
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

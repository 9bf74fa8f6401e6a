//! Finds the files that backups marked as corrupt, their good versions, and their current state.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::Ordering;

use crate::error::Result;
use crate::fs::sources::LivePath;
use crate::fs::target::{Target, TargetOptions};
use crate::fs::{sources, target};
use crate::model::entry::{Entry, Kind};
use crate::model::manifest::Manifest;
use crate::model::tripwire::AlarmState;
use crate::ops::heal::{CorruptFile, FileState, Healing};
use crate::repo::snapshots::Snapshot;
use crate::repo::walk::{compare_file, dir_reader, files};

/// Finds the files of all open alarms. `snapshots` are all snapshots of the repository, oldest first.
pub(super) fn corrupt_files(healing: &mut Healing, snapshots: &[Snapshot]) -> Result<Vec<CorruptFile>> {
    let has_alarm = |listed: &&Snapshot| listed.manifest.is_alarming() && listed.manifest.rot().is_some();
    let mut all: Vec<CorruptFile> = Vec::new();
    for snapshot in snapshots.iter().rev().filter(has_alarm) {
        let mut marked: Vec<(Vec<u8>, Entry)> = Vec::new();
        files::for_each_file(&mut healing.reader, snapshot, &healing.cancel, &mut |path, entry| {
            if entry.meta.corrupt_since == Some(snapshot.manifest.started) {
                marked.push((path.to_vec(), entry.clone()));
            }
        })?;
        for (path, bad) in marked {
            let Manifest { host, sources, .. } = &snapshot.manifest;
            let is_known =
                |known: &CorruptFile| known.path == path && known.snapshot.manifest.same_set(host, sources);
            if all.iter().any(is_known) {
                continue;
            }
            let good = find_good(healing, snapshots, snapshot, &path, &bad)?;
            let (place, state) = locate(healing, &snapshot.manifest, &path, &bad, good.as_ref());
            all.push(CorruptFile { snapshot: snapshot.clone(), path, place, bad, good, state });
        }
    }
    Ok(all)
}

/// Returns the newest older version with the same size and mtime as the bad one, but other content.
fn find_good(
    healing: &mut Healing,
    snapshots: &[Snapshot],
    found_by: &Snapshot,
    path: &[u8],
    bad: &Entry,
) -> Result<Option<(Snapshot, Entry)>> {
    let Manifest { host, sources, started, parent, .. } = &found_by.manifest;
    let older = |old: &&Snapshot| old.manifest.started < *started && old.manifest.same_set(host, sources);
    // The user may have chosen a parent with other sources.
    let parent = snapshots.iter().filter(|listed| Some(listed.id) == *parent);
    for snapshot in parent.chain(snapshots.iter().rev().filter(older)) {
        let entry = match dir_reader::lookup(&mut healing.reader, snapshot.manifest.root, path) {
            Err(err) if err.is_damage() => continue,
            entry => entry?,
        };
        let Some(entry) = entry else { continue };
        let is_version = entry.is_file()
            && entry.size() == bad.size()
            && entry.meta.mtime == bad.meta.mtime
            && entry.kind != bad.kind
            && entry.meta.lost == 0;
        if is_version && !is_marked(snapshots, snapshot, &entry) {
            return Ok(Some((snapshot.clone(), entry)));
        }
    }
    Ok(None)
}

/// Returns whether an entry is marked as corrupt and the mark was not accepted. The snapshot of an open
/// alarm is only forgotten by force, so if it no longer exists, the alarm counts as settled.
fn is_marked(snapshots: &[Snapshot], of: &Snapshot, entry: &Entry) -> bool {
    let Some(since) = entry.meta.corrupt_since else { return false };
    let Manifest { host, sources, .. } = &of.manifest;
    let by = snapshots.iter().find(|by| by.manifest.started == since && by.manifest.same_set(host, sources));
    by.and_then(|by| by.manifest.alarm()).is_some_and(|(state, _)| state != AlarmState::Accepted)
}

/// Returns the location of the file and its current state.
fn locate(
    healing: &mut Healing,
    manifest: &Manifest,
    path: &[u8],
    bad: &Entry,
    good: Option<&(Snapshot, Entry)>,
) -> (Option<LivePath>, FileState) {
    let mut first = None;
    for place in manifest.sources.iter().flat_map(|source| sources::live_paths(source, path)) {
        let state = file_state(healing, &place, bad, good.map(|(_, entry)| entry));
        match state {
            FileState::Missing => {
                first.get_or_insert((place, state));
            }
            // One of several possible locations may contain an unrelated file.
            FileState::Changed if !matches!(first, Some((_, FileState::Changed))) => {
                first = Some((place, state));
            }
            FileState::Changed => {}
            FileState::Corrupt | FileState::Healed => return (Some(place), state),
        }
    }
    first.map_or((None, FileState::Missing), |(place, state)| (Some(place), state))
}

fn file_state(healing: &mut Healing, place: &LivePath, bad: &Entry, good: Option<&Entry>) -> FileState {
    let Ok(target) = Target::open(&place.root, TargetOptions::default()) else { return FileState::Missing };
    let existing = match target.existing(&place.below) {
        Ok(Some(existing)) => existing,
        _ => return FileState::Missing,
    };
    if !existing.is_file() || existing.size() != bad.size() || existing.mtime() != bad.meta.mtime {
        return FileState::Changed;
    }
    if existing.ctime() == bad.meta.ctime {
        return FileState::Corrupt;
    }
    let mut holds = |entry: &Entry| {
        let file = target.read(&place.below, Some(&existing));
        file.is_ok_and(|mut file| holds(healing, (&mut file, &place.path()), entry).unwrap_or(false))
    };
    match good {
        _ if holds(bad) => FileState::Corrupt,
        Some(good) if holds(good) => FileState::Healed,
        _ => FileState::Changed,
    }
}

/// Returns whether a file has the content of an entry. Reads from disk, not from the page cache.
pub(super) fn holds(healing: &mut Healing, (file, path): (&mut File, &Path), entry: &Entry) -> Result<bool> {
    let Kind::File { size, content } = &entry.kind else { return Ok(false) };
    target::forget_cached(file);
    compare_file::matches(healing.repo.hasher(), &mut healing.reader, (file, path), *size, content, &|| {
        healing.cancel.load(Ordering::Relaxed)
    })
}

//! Snapshots and entries in restic's JSON, with its keys and types in its order. Fields without a value are
//! left out.

use serde_json::{Map, Value, json};
use snap_backup::model::entry::{Entry, Kind};
use snap_backup::repo::snapshots::Snapshot;

use super::ids;
use crate::commands::ls::kind;
use crate::terminal::output::{self, rfc3339};

/// Converts to an object, without null values.
fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => crate::terminal::json::object(map),
        _ => Map::new(),
    }
}

fn some_of(list: &[String]) -> Option<&[String]> {
    Some(list).filter(|list| !list.is_empty())
}

/// Returns the sources as absolute paths.
pub(super) fn paths(snapshot: &Snapshot) -> Vec<String> {
    snapshot.manifest.sources.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect()
}

/// Returns the fields of a snapshot without its id.
pub(super) fn manifest(snapshot: &Snapshot) -> Map<String, Value> {
    let manifest = &snapshot.manifest;
    let mut summary = object(json!({
        "backup_start": rfc3339(manifest.started),
        "backup_end": rfc3339(manifest.ended),
    }));
    summary.append(&mut numbers(snapshot));
    object(json!({
        "time": rfc3339(manifest.started),
        "parent": manifest.parent.as_ref().map(ids::long),
        "tree": manifest.root.hex(),
        "paths": paths(snapshot),
        "hostname": manifest.host,
        "username": manifest.user,
        "tags": some_of(&manifest.tags),
        "original": manifest.original().as_ref().map(ids::long),
        "program_version": manifest.program,
        "summary": summary,
    }))
}

/// Returns the fields of a snapshot with its id.
pub(super) fn snapshot(snapshot: &Snapshot) -> Map<String, Value> {
    let mut map = manifest(snapshot);
    map.insert("id".to_owned(), ids::long(&snapshot.id).into());
    map.insert("short_id".to_owned(), snapshot.id.short().into());
    map
}

/// Returns the statistics of the run that made a snapshot.
fn numbers(snapshot: &Snapshot) -> Map<String, Value> {
    output::restic_counts(&snapshot.manifest.counts, snapshot.manifest.more_counts())
}

/// Returns the mode with Go's type bits.
fn go_mode(entry: &Entry) -> u32 {
    let kind = match entry.kind {
        Kind::File { .. } => 0,
        Kind::Dir { .. } => 1 << 31,
        Kind::Symlink { .. } => 1 << 27,
        Kind::Fifo => 1 << 25,
        Kind::Socket => 1 << 24,
        Kind::CharDevice { .. } => 1 << 26 | 1 << 21,
        Kind::BlockDevice { .. } => 1 << 26,
    };
    let special = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
    let special = special.into_iter().filter(|(bit, _)| entry.meta.mode & bit != 0);
    special.fold(kind | entry.meta.mode & 0o777, |mode, (_, go)| mode | go)
}

/// Formats the mode as Go does: `drwxr-xr-x`, `Lrwxrwxrwx`.
pub(super) fn permissions(entry: &Entry) -> String {
    let mode = go_mode(entry);
    let letters = (0_u32..).zip("dalTLDpSugct?".chars());
    let mut text: String =
        letters.filter(|(at, _)| mode & 1 << (31 - at) != 0).map(|(_, letter)| letter).collect();
    if text.is_empty() {
        text.push('-');
    }
    let bits = (0_u32..9).zip("rwxrwxrwx".chars());
    text.extend(bits.map(|(at, letter)| if mode & 1 << (8 - at) != 0 { letter } else { '-' }));
    text
}

/// Returns a stored path with a leading slash.
pub(super) fn rooted(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}

/// Returns a substitute for the inode number, which is not stored: one number for each path, and the same for
/// all hard links of a file.
fn inode(path: &[u8], entry: &Entry) -> u64 {
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    // JSON numbers are exact up to 53 bits.
    let made = || path.iter().fold(0xcbf2_9ce4_8422_2325, fnv);
    (if entry.meta.link != 0 { entry.meta.link as u64 } else { made() }) >> 11
}

/// Formats an entry for `ls`.
pub(super) fn node(path: &[u8], entry: &Entry) -> Map<String, Value> {
    let meta = &entry.meta;
    let mtime = rfc3339(meta.mtime);
    object(json!({
        "name": String::from_utf8_lossy(&entry.name),
        "type": kind(entry),
        "path": rooted(path),
        "uid": meta.uid,
        "gid": meta.gid,
        "size": entry.is_file().then(|| entry.size()),
        "mode": go_mode(entry),
        "permissions": permissions(entry),
        "mtime": mtime,
        "atime": mtime,
        "ctime": rfc3339(meta.ctime),
        "inode": inode(path, entry),
        "message_type": "node",
        "struct_type": "node",
    }))
}

/// Formats an entry for `find`.
pub(super) fn found(path: &[u8], entry: &Entry) -> Map<String, Value> {
    let meta = &entry.meta;
    let mtime = rfc3339(meta.mtime);
    object(json!({
        "path": rooted(path),
        "permissions": permissions(entry),
        "type": kind(entry),
        "mode": go_mode(entry),
        "mtime": mtime,
        "atime": mtime,
        "ctime": rfc3339(meta.ctime),
        "uid": meta.uid,
        "gid": meta.gid,
        "user": meta.user.as_deref(),
        "group": meta.group.as_deref(),
        "inode": inode(path, entry),
        "device_id": 0,
        "size": entry.is_file().then(|| entry.size()),
        "links": 1,
    }))
}

/// Formats a line of a long listing.
pub(super) fn long(path: &[u8], entry: &Entry, human: bool) -> String {
    let (permissions, meta) = (permissions(entry), &entry.meta);
    let size = if human { super::lines::size(entry.size()) } else { entry.size().to_string() };
    let mut line = format!(
        "{permissions} {:>5} {:>5} {size:>6} {} {}",
        meta.uid,
        meta.gid,
        output::local(meta.mtime),
        rooted(path)
    );
    if let Kind::Symlink { target } = &entry.kind {
        line += &format!(" -> {}", String::from_utf8_lossy(target));
    }
    line
}

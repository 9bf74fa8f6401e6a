//! Reads the legacy backup script's `metadata.json`. Its format is no longer specified, so it is read
//! tolerantly: a chain is any list of objects that name an archive or a time, under various keys. Anything
//! else is skipped.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Error, Result};
use crate::model::decode_error::DecodeError;
use crate::model::entry::Time;
use crate::model::manifest::SnapshotKind;
use crate::repo::snapshots;

/// Maximum size of the file in bytes. It contains a SHA-256 of every file.
const MAX_BYTES: u64 = 1 << 30;
/// Maximum depth of the folders that are searched for an archive.
const MAX_DEPTH: usize = 4;

/// A backup of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChainLink {
    pub(crate) kind: SnapshotKind,
    pub(crate) time: Time,
    /// Its name in the chain, or else its time.
    pub(crate) name: String,
    /// Path of the archive; `None` if it does not exist.
    pub(crate) archive: Option<PathBuf>,
}

/// The chain in order of time, and entries that cannot be interpreted.
#[derive(Debug, Default)]
pub(crate) struct BackupChain {
    pub(crate) links: Vec<ChainLink>,
    pub(crate) unclear: Vec<String>,
}

/// Reads the chain of a directory.
pub(crate) fn read(dir: &Path) -> Result<BackupChain> {
    let path = dir.join("metadata.json");
    let len = std::fs::metadata(&path).map_err(Error::io("read", &path))?.len();
    if len > MAX_BYTES {
        return Err(Error::Refused(format!("{} is too long", path.display())));
    }
    let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
    let bad =
        |why: String| Error::Archive { what: path.display().to_string(), source: DecodeError::with(why) };
    let value: Value = serde_json::from_slice(&bytes)
        .map_err(|err| bad(format!("it is not valid JSON (line {}, column {})", err.line(), err.column())))?;
    let chain = ["backupChain", "chain", "backups"].iter().find_map(|name| value.get(name));
    let chain = chain.or(Some(&value).filter(|value| value.is_array()));
    let chain = chain.ok_or_else(|| bad("it has no backupChain".to_owned()))?;
    let mut items = Vec::new();
    flatten(chain, &mut items);
    let files = list_archives(dir);
    let mut all = BackupChain::default();
    for item in items {
        match parse_link(item, dir, &files) {
            Some(link) => all.links.push(link),
            None => all.unclear.push(shorten(item)),
        }
    }
    all.links.sort_by_key(|link| link.time);
    Ok(all)
}

/// Collects the backups of a list. A full may have its incrementals nested in it.
fn flatten<'a>(value: &'a Value, items: &mut Vec<&'a Value>) {
    match value {
        Value::Array(list) => list.iter().for_each(|item| flatten(item, items)),
        Value::Object(map) => {
            if map.values().any(Value::is_string) {
                items.push(value);
            }
            for inner in map.values().filter(|inner| is_backups(inner)) {
                flatten(inner, items);
            }
        }
        Value::String(_) => items.push(value),
        _ => {}
    }
}

/// Returns whether the value is an object with a time, or a list of such objects.
fn is_backups(value: &Value) -> bool {
    match value {
        Value::Array(list) => !list.is_empty() && list.iter().all(is_backups),
        Value::Object(map) => {
            time_of(value).is_some() && map.values().any(Value::is_string) && kind_of(value).is_some()
        }
        _ => false,
    }
}

fn parse_link(item: &Value, dir: &Path, files: &[PathBuf]) -> Option<ChainLink> {
    let named = archive_name(item);
    let time = time_of(item).or_else(|| named.as_deref().and_then(time_in))?;
    let kind = kind_of(item).or_else(|| named.as_deref().and_then(kind_in))?;
    let archive = match &named {
        Some(name) => find_by_name(name, dir, files),
        None => find_by_time(time, kind, files),
    };
    let name = named.unwrap_or_else(|| format_time(time));
    Some(ChainLink { kind, time, name, archive })
}

fn field<'a>(item: &'a Value, names: &[&str]) -> Option<&'a Value> {
    names.iter().find_map(|name| item.get(name)).filter(|value| !value.is_null())
}

fn kind_of(item: &Value) -> Option<SnapshotKind> {
    kind_in(field(item, &["type", "kind", "backupType", "mode"])?.as_str()?)
}

fn kind_in(text: &str) -> Option<SnapshotKind> {
    let text = text.to_ascii_lowercase();
    let kinds = [
        ("full", SnapshotKind::Full),
        ("incr", SnapshotKind::Incremental),
        ("diff", SnapshotKind::Differential),
    ];
    // A path may contain several of the words: the last one is closest to the file.
    let found = kinds.into_iter().filter_map(|(word, kind)| Some((text.rfind(word)?, kind)));
    found.max_by_key(|(at, _)| *at).map(|(_, kind)| kind)
}

fn time_of(item: &Value) -> Option<Time> {
    let names = ["timestamp", "time", "date", "createdAt", "created", "startTime", "id", "name"];
    names.iter().filter_map(|name| item.get(name)).find_map(|value| match value {
        Value::String(text) => snapshots::time_of(text).or_else(|| time_in(text)),
        Value::Number(number) => {
            let number = number.as_i64().or_else(|| number.as_f64().map(|number| number as i64))?;
            // Milliseconds, as in JavaScript. A small number is seconds.
            let (sec, nanos) = if number.unsigned_abs() > 100_000_000_000 {
                (number.div_euclid(1000), number.rem_euclid(1000) as u32 * 1_000_000)
            } else {
                (number, 0)
            };
            Some(Time { sec, nanos })
        }
        _ => None,
    })
}

/// Finds a time as the script put it into names: `2026-11-24T02-00-00-000Z`.
fn time_in(text: &str) -> Option<Time> {
    text.as_bytes()
        .windows(24)
        .filter_map(|window| std::str::from_utf8(window).ok())
        .filter(|text| text.ends_with('Z') && text.as_bytes().get(10) == Some(&b'T'))
        .find_map(snapshots::time_of)
}

/// Formats a time as the script put it into names.
fn format_time(time: Time) -> String {
    let stamp = jiff::Timestamp::new(time.sec, i32::try_from(time.nanos).unwrap_or(0));
    stamp.map_or_else(|_| format!("@{}", time.sec), |stamp| format!("{stamp:.3}").replace([':', '.'], "-"))
}

fn is_archive(name: &str) -> bool {
    [".tar.gz", ".tgz", ".tar", ".tar.zst"].iter().any(|end| name.ends_with(end))
}

fn archive_name(item: &Value) -> Option<String> {
    if let Value::String(name) = item {
        return Some(name.clone()).filter(|name| is_archive(name));
    }
    let preferred = [
        "path",
        "file",
        "filename",
        "fileName",
        "archive",
        "archivePath",
        "archiveFile",
        "backupPath",
        "backupFile",
        "filePath",
        "location",
        "name",
    ];
    let named = preferred.iter().filter_map(|name| item.get(name)?.as_str());
    let any = item.as_object().into_iter().flatten().filter_map(|(_, value)| value.as_str());
    named.chain(any).find(|name| is_archive(name)).map(str::to_owned)
}

/// Returns the archive at the path in the chain, or anywhere below the directory, which may have been moved.
fn find_by_name(name: &str, dir: &Path, files: &[PathBuf]) -> Option<PathBuf> {
    let base = Path::new(name).file_name()?;
    let here = [dir.join(base), dir.join(name.trim_start_matches("./"))];
    let here = here.into_iter().find(|path| path.starts_with(dir) && path.is_file());
    here.or_else(|| files.iter().find(|path| path.file_name() == Some(base)).cloned())
}

fn find_by_time(time: Time, kind: SnapshotKind, files: &[PathBuf]) -> Option<PathBuf> {
    let text = format_time(time);
    let of_time = files.iter().filter(|path| path.to_string_lossy().contains(&text));
    of_time
        .clone()
        .find(|path| kind_in(&path.to_string_lossy()) == Some(kind))
        .or(of_time.clone().next())
        .cloned()
}

/// Returns the archives below a directory, sorted. Symbolic links are not followed.
fn list_archives(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![(dir.to_path_buf(), 0)];
    while let Some((dir, depth)) = todo.pop() {
        // Unreadable folders are skipped: each archive that is missing is reported.
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && depth < MAX_DEPTH => todo.push((entry.path(), depth + 1)),
                Ok(kind) if kind.is_file() && is_archive(&entry.file_name().to_string_lossy()) => {
                    found.push(entry.path());
                }
                _ => {}
            }
        }
    }
    found.sort();
    found
}

fn shorten(item: &Value) -> String {
    item.to_string().chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_found_under_many_names() {
        let time = Time { sec: 1_795_485_600, nanos: 0 };
        for item in [
            json!({"type": "incremental", "timestamp": "2026-11-24T02:00:00.000Z", "path": "x/i.tar.gz"}),
            json!({"backupType": "INCREMENTAL", "createdAt": 1_795_485_600_000_u64, "archive": "i.tar.gz"}),
            json!({"kind": "incr", "id": "2026-11-24T02-00-00-000Z", "fileName": "i.tar.gz", "size": 3}),
            json!("incremental-2026-11-24T02-00-00-000Z.tar.gz"),
        ] {
            let link = parse_link(&item, Path::new("/nowhere"), &[]).unwrap();
            assert_eq!((link.kind, link.time), (SnapshotKind::Incremental, time), "{item}");
            assert_eq!(link.archive, None);
        }
        assert!(parse_link(&json!({"type": "full"}), Path::new("/nowhere"), &[]).is_none());
    }

    #[test]
    fn a_full_with_its_incrementals_inside_is_a_chain_too() {
        let chain = json!([{"type": "full", "timestamp": "2026-11-22T01:00:00Z", "files": {"data/a": "00"},
            "incrementals": [{"type": "incremental", "timestamp": "2026-11-23T02:00:00Z"}]}]);
        let mut items = Vec::new();
        flatten(&chain, &mut items);
        assert_eq!(items.len(), 2);
    }
}

//! Snapshots and their counts as JSON, with restic's names.

use serde_json::{Map, Value, json};
use snap_backup::model::manifest::Counts;
use snap_backup::model::manifest_ext::MoreCounts;
use snap_backup::model::tripwire::AlarmState;
use snap_backup::repo::snapshots::Snapshot;
use snap_backup::repo::write::pack_writer::Deltas;

use crate::terminal::figures::{files, rfc3339};
use crate::terminal::json;

/// Formats the statistics of delta blocks as JSON.
pub(crate) fn deltas(deltas: &Deltas) -> Value {
    json!({"blocks": deltas.blocks, "bytes": deltas.plain, "bytes_stored": deltas.stored})
}

/// Returns the statistics of a run with restic's names.
pub(crate) fn counts(counts: &Counts) -> Map<String, Value> {
    let pairs = [
        ("files_new", counts.files_new),
        ("files_changed", counts.files_changed),
        ("files_unmodified", counts.files_unchanged),
        ("files_removed", counts.files_removed),
        ("dirs_total", counts.dirs),
        ("others_total", counts.others),
        ("data_added", counts.bytes_added),
        ("data_added_packed", counts.bytes_stored),
        ("total_files_processed", files(counts)),
        ("total_bytes_processed", counts.bytes_total),
        ("bytes_read", counts.bytes_read),
        ("errors", counts.errors),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
}

/// Returns the further numbers of a run with restic's names, if they are known.
pub(crate) fn more_counts(counts: Option<MoreCounts>) -> Map<String, Value> {
    let Some(counts) = counts else { return Map::new() };
    let pairs = [
        ("dirs_new", counts.dirs_new),
        ("dirs_changed", counts.dirs_changed),
        ("dirs_unmodified", counts.dirs_unchanged),
        ("data_blobs", counts.data_chunks),
        ("tree_blobs", counts.tree_chunks),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
}

/// Returns the numbers of a run that restic reports, with its names and in its order.
pub(crate) fn restic_counts(counts: &Counts, more: Option<MoreCounts>) -> Map<String, Value> {
    // If new directories were not counted, all directories of the snapshot are reported as new.
    let more = more.unwrap_or(MoreCounts { dirs_new: counts.dirs, ..MoreCounts::default() });
    let pairs = [
        ("files_new", counts.files_new),
        ("files_changed", counts.files_changed),
        ("files_unmodified", counts.files_unchanged),
        ("dirs_new", more.dirs_new),
        ("dirs_changed", more.dirs_changed),
        ("dirs_unmodified", more.dirs_unchanged),
        ("data_blobs", more.data_chunks),
        ("tree_blobs", more.tree_chunks),
        ("data_added", counts.bytes_added),
        ("data_added_packed", counts.bytes_stored),
        ("total_files_processed", files(counts)),
        ("total_bytes_processed", counts.bytes_total),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
}

/// Returns a snapshot with restic's names. Fields without a value are left out.
pub(crate) fn snapshot(snapshot: &Snapshot) -> Map<String, Value> {
    let manifest = &snapshot.manifest;
    let mut summary = counts(&manifest.counts);
    summary.extend(more_counts(manifest.more_counts()));
    summary.insert("backup_start".to_owned(), rfc3339(manifest.started).into());
    summary.insert("backup_end".to_owned(), rfc3339(manifest.ended).into());
    let paths: Vec<_> =
        manifest.sources.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect();
    let value = json!({
        "id": snapshot.id.hex(),
        "short_id": snapshot.id.short(),
        "time": rfc3339(manifest.started),
        "parent": manifest.parent.map(|id| id.hex()),
        "tree": manifest.root.hex(),
        "paths": paths,
        "hostname": manifest.host,
        "username": manifest.user,
        "tags": manifest.tags,
        "kind": manifest.kind.to_string(),
        "based_on": manifest.based_on.map(|id| id.hex()),
        "partial": manifest.partial,
        "description": manifest.description(),
        "pinned": manifest.is_pinned(),
        "alarm": manifest.alarm().map(|(state, why)| json!({"state": alarm_state(state), "reason": why})),
        "expires": manifest.expires().map(rfc3339),
        "original": manifest.original().map(|id| id.hex()),
        "writer": manifest.writer().map(|slot| slot.hex()),
        "program_version": manifest.program,
        "summary": summary,
    });
    match value {
        Value::Object(map) => json::object(map),
        _ => Map::new(),
    }
}

/// Returns the name of an alarm's state.
pub(crate) const fn alarm_state(state: AlarmState) -> &'static str {
    match state {
        AlarmState::Open => "open",
        AlarmState::Accepted => "accepted",
        AlarmState::Cleared => "cleared",
    }
}

/// Inserts bytes under `name`. If they are not UTF-8, the text is lossy, and the exact bytes are under
/// `name_b64`.
pub(crate) fn put_bytes(map: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    map.insert(name.to_owned(), String::from_utf8_lossy(bytes).into());
    if std::str::from_utf8(bytes).is_err() {
        map.insert(format!("{name}_b64"), base64(bytes).into());
    }
}

/// Encodes base64 (RFC 4648) with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits =
            (0..3).fold(0_usize, |bits, i| bits << 8 | usize::from(group.get(i).copied().unwrap_or(0)));
        for (i, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            text.push(if i <= group.len() { char::from(DIGITS[bits >> shift & 63]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}

//! `restic diff` and `restic stats`.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use serde_json::{Value, json};
use snap_backup::model::entry::Kind;
use snap_backup::ops::diff::{DifferenceKind, DifferenceTotals, Report};
use snap_backup::ops::stats::Chunks;
use snap_backup::ops::{diff, find, stats};
use snap_backup::repo::repository::Repository;
use snap_backup::repo::snapshots::Snapshot;
use snap_backup::{Control, Error, Result};

use crate::context::Context;
use crate::restic::codes::{End, refused};
use crate::restic::lines::size;
use crate::restic::watch::Watch;
use crate::restic::{choose, flags, ids, shapes};
use crate::terminal::output::{self, failed};
use crate::terminal::progress::stop_on_signals;

pub(in crate::restic) fn diff(context: &Context, args: &flags::Diff) -> Result<End> {
    context.with(|repo| {
        let none = flags::Filters::default();
        let (before, from) = choose::one(repo, &args.first, &none)?;
        let (after, to) = choose::one(repo, &args.second, &none)?;
        let path = |snapshot: &Snapshot, path: Option<Vec<u8>>| {
            choose::selector(snapshot, &path.unwrap_or_default())
        };
        let options = diff::Options {
            before: path(&before, from),
            after: String::from_utf8_lossy(&path(&after, to)).into_owned().into(),
            ..diff::Options::default()
        };
        let stop = stop_on_signals()?;
        let (json, lists) = (context.global.json, context.global.json || !context.global.quiet);
        output::emit(|out| {
            if !json && !context.global.quiet {
                let (before, after) = (before.id.short(), after.id.short());
                writeln!(out, "comparing snapshot {before} to {after}:\n").map_err(failed)?;
            }
            let watch = Watch::start(&context.global, "diff", false);
            let summary = diff::run(
                repo,
                &options,
                &mut |one| {
                    if !lists || (one.change == DifferenceKind::Metadata && !args.metadata) {
                        return Ok(());
                    }
                    let end = if matches!(one.entry.kind, Kind::Dir { .. }) { "/" } else { "" };
                    let (path, letter) = (shapes::rooted(one.path) + end, one.change.letter());
                    let line = if json {
                        json!({"message_type": "change", "path": path, "modifier": letter.to_string()})
                            .to_string()
                    } else {
                        format!("{letter:<5}{path}")
                    };
                    writeln!(out, "{line}").map_err(failed)
                },
                &Control::new(&watch).with_cancel(&stop),
            )?;
            drop(watch);
            let chunks = stats::between(repo, &before.id, &after.id, &Control::default().with_cancel(&stop))?;
            let told = if json {
                statistics(&before, &after, &summary, &chunks).to_string()
            } else {
                text(&summary, &chunks)
            };
            writeln!(out, "{told}").map_err(failed)
        })
    })?;
    Ok(End::Done)
}

fn statistics(before: &Snapshot, after: &Snapshot, summary: &Report, chunks: &stats::Between) -> Value {
    let side = |totals: &DifferenceTotals, chunks: &Chunks| {
        json!({
            "files": totals.files,
            "dirs": totals.dirs,
            "others": totals.others,
            "data_blobs": chunks.data,
            "tree_blobs": chunks.trees,
            "bytes": chunks.bytes,
        })
    };
    json!({
        "message_type": "statistics",
        "source_snapshot": ids::long(&before.id),
        "target_snapshot": ids::long(&after.id),
        "changed_files": summary.content,
        "added": side(&summary.added, &chunks.added),
        "removed": side(&summary.removed, &chunks.removed),
    })
}

fn text(summary: &Report, chunks: &stats::Between) -> String {
    let (added, removed) = (&summary.added, &summary.removed);
    let pair = |name: &str, new: u64, gone: u64| format!("{name:<12} {new:>5} new, {gone:>5} removed");
    [
        format!("\n{}, {:>5} changed", pair("Files:", added.files, removed.files), summary.content),
        pair("Dirs:", added.dirs, removed.dirs),
        pair("Others:", added.others, removed.others),
        pair("Data Blobs:", chunks.added.data, chunks.removed.data),
        pair("Tree Blobs:", chunks.added.trees, chunks.removed.trees),
        format!("  Added:   {}", size(chunks.added.bytes)),
        format!("  Removed: {}", size(chunks.removed.bytes)),
    ]
    .join("\n")
}

pub(in crate::restic) fn stats(context: &Context, args: &flags::Stats) -> Result<End> {
    if args.mode == "blobs-per-file" {
        return Err(refused("--mode blobs-per-file", "use --mode raw-data to count chunks"));
    }
    if !["restore-size", "files-by-contents", "raw-data"].contains(&args.mode.as_str()) {
        return Err(Error::Usage(format!(
            "unknown counting mode: {}. Use the -h flag to get a list of supported modes",
            args.mode
        )));
    }
    context.with(|repo| {
        let chosen = choose::several(repo, &args.snapshots, &args.filters)?;
        let number = chosen.len();
        let rows = match args.mode.as_str() {
            _ if chosen.is_empty() => vec![("Total Size", "total_size", json!(0), size(0))],
            "raw-data" => raw(repo, &chosen)?,
            "files-by-contents" => by_contents(context, repo, &chosen)?,
            _ => restore_size(&chosen),
        };
        if context.global.json {
            let mut map = serde_json::Map::new();
            // Like restic, leaves out zero counts.
            let told = |name: &str, value: &Value| !(name.ends_with("_count") && *value == json!(0));
            for (_, name, value, _) in rows.into_iter().filter(|(_, name, value, _)| told(name, value)) {
                map.insert(name.to_owned(), value);
            }
            map.insert("snapshots_count".to_owned(), number.into());
            return output::print(&Value::Object(map).to_string()).map(|()| End::Done);
        }
        let mut text =
            format!("scanning...\nStats in {} mode:\n{:>24}:  {number}", args.mode, "Snapshots processed");
        // Restic prints totals last in text, and first in JSON.
        for (name, .., value) in rows.iter().rev() {
            text += &format!("\n{:>24}:  {value}", name);
        }
        output::print(&text).map(|()| End::Done)
    })
}

/// A row: its name in text and in JSON, and its value in both.
type Row = (&'static str, &'static str, Value, String);

fn count(name: &'static str, key: &'static str, number: u64) -> Row {
    (name, key, number.into(), number.to_string())
}

fn bytes(name: &'static str, key: &'static str, number: u64) -> Row {
    (name, key, number.into(), size(number))
}

fn restore_size(chosen: &[Snapshot]) -> Vec<Row> {
    let counts = || chosen.iter().map(|one| &one.manifest.counts);
    let entries = counts().map(|one| one.files() + one.dirs + one.others).sum();
    let size = counts().map(|one| one.bytes_total).sum();
    vec![bytes("Total Size", "total_size", size), count("Total File Count", "total_file_count", entries)]
}

fn raw(repo: &Repository, chosen: &[Snapshot]) -> Result<Vec<Row>> {
    let options = stats::Options { choice: choose::exactly(chosen), ..stats::Options::default() };
    let needed = stats::run(repo, &options, &Control::default().with_cancel(&stop_on_signals()?))?.needed;
    let ratio = if needed.stored == 0 { 1.0 } else { needed.plain as f64 / needed.stored as f64 };
    let saved =
        if needed.plain == 0 { 0.0 } else { (1.0 - needed.stored as f64 / needed.plain as f64) * 100.0 };
    Ok(vec![
        bytes("Total Size", "total_size", needed.stored),
        bytes("Total Uncompressed Size", "total_uncompressed_size", needed.plain),
        ("Compression Ratio", "compression_ratio", ratio.into(), format!("{ratio:.2}x")),
        ("Compression Progress", "compression_progress", 100.into(), "100.00%".to_owned()),
        ("Compression Space Saving", "compression_space_saving", saved.into(), format!("{saved:.2}%")),
        count("Total Blob Count", "total_blob_count", needed.chunks),
    ])
}

/// Counts each content once, regardless of its names.
fn by_contents(context: &Context, repo: &Repository, chosen: &[Snapshot]) -> Result<Vec<Row>> {
    let mut seen = HashSet::new();
    let (mut files, mut size) = (0, 0);
    let options = find::Options { choice: choose::exactly(chosen), ..find::Options::default() };
    let watch = Watch::start(&context.global, "find", false);
    let mut each = |one: &find::Match<'_>| {
        let (len, key) = match &one.entry.kind {
            Kind::File { size, content } => {
                let mut hasher = DefaultHasher::new();
                content.hash(&mut hasher);
                (*size, hasher.finish())
            }
            Kind::Dir { .. } => return Ok(()),
            _ => (0, 0),
        };
        if seen.insert((len, key)) {
            files += 1;
            size += len;
        }
        Ok(())
    };
    find::run(repo, &options, &mut each, &Control::new(&watch).with_cancel(&stop_on_signals()?))?;
    Ok(vec![bytes("Total Size", "total_size", size), count("Total File Count", "total_file_count", files)])
}

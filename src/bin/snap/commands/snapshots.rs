//! `snap snapshots`: lists them.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;

use serde_json::Value;
use snap_backup::store::snapshots::{self, Snapshot};
use snap_backup::{Error, Result};

use super::Context;
use crate::args;
use crate::output::{self, failed};
use crate::report::Outcome;

pub(super) fn run(context: &Context, args: &args::Snapshots) -> Result<Outcome> {
    let list = context.with(|repo| select(snapshots::list(repo)?, args))?;
    if context.global.json {
        let all = list.iter().map(|snapshot| Value::Object(output::snapshot(snapshot))).collect();
        output::emit(|out| writeln!(out, "{}", Value::Array(all)).map_err(failed))?;
        return Ok(Outcome::Done);
    }
    output::emit(|out| {
        for line in table(&list) {
            writeln!(out, "{line}").map_err(failed)?;
        }
        if context.talks() {
            let number = output::count(list.len() as u64, "snapshot", "snapshots");
            writeln!(out, "{number}").map_err(failed)?;
        }
        Ok(())
    })?;
    Ok(Outcome::Done)
}

fn select(mut list: Vec<Snapshot>, args: &args::Snapshots) -> Result<Vec<Snapshot>> {
    let mut paths = Vec::new();
    for path in &args.path {
        paths.push(std::path::absolute(path).map_err(Error::io("make absolute", path))?);
    }
    list.retain(|Snapshot { manifest, .. }| {
        let has = |tag: &str| {
            if tag.is_empty() { manifest.tags.is_empty() } else { manifest.tags.iter().any(|t| t == tag) }
        };
        (args.host.is_empty() || args.host.contains(&manifest.host))
            && (args.tag.is_empty() || args.tag.iter().any(|tags| tags.split(',').all(has)))
            && (paths.is_empty()
                || paths.iter().any(|path| {
                    manifest.sources.iter().any(|source| source[..] == *path.as_os_str().as_bytes())
                }))
    });
    if let Some(latest) = args.latest {
        let mut seen: HashMap<_, usize> = HashMap::new();
        let mut keep: Vec<bool> = Vec::with_capacity(list.len());
        for Snapshot { manifest, .. } in list.iter().rev() {
            let number = seen.entry((&manifest.host, &manifest.sources)).or_default();
            *number += 1;
            keep.push(*number <= latest);
        }
        list.retain(|_| keep.pop().unwrap_or(true));
    }
    Ok(list)
}

/// Columns as wide as their widest cell; numbers to the right.
fn table(list: &[Snapshot]) -> Vec<String> {
    let head = ["ID", "Time", "Host", "Kind", "Files", "Size", "Added", "Tags", "Paths"].map(str::to_owned);
    let rows: Vec<[String; 9]> = std::iter::once(head).chain(list.iter().map(row)).collect();
    let mut widths = [0; 9];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; 9]| {
        let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
            if matches!(column, 4..=6) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn row(Snapshot { id, manifest }: &Snapshot) -> [String; 9] {
    let paths: Vec<_> = manifest.sources.iter().map(|path| output::path(path)).collect();
    [
        id.short(),
        output::local(manifest.started),
        output::printable(&manifest.host),
        format!("{}{}", manifest.kind, if manifest.partial { " (partial)" } else { "" }),
        output::files(&manifest.counts).to_string(),
        output::size(manifest.counts.bytes_total),
        output::size(manifest.counts.bytes_stored),
        output::printable(&manifest.tags.join(",")),
        paths.join(", "),
    ]
}

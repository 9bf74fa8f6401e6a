//! `snap snapshots`: lists them.

use std::collections::HashMap;

use clap::Args;
use serde_json::Value;
use snap_backup::Result;
use snap_backup::model::manifest::Manifest;
use snap_backup::store::snapshots::{self, Snapshot};

use super::Context;
use crate::output::{self, failed};
use crate::report::Outcome;
use crate::retention::Filters;

#[derive(Debug, Args)]
pub(crate) struct Snapshots {
    #[command(flatten)]
    pub(crate) filters: Filters,
    /// Only the newest N of each host and set of sources
    #[arg(long, value_name = "N")]
    pub(crate) latest: Option<usize>,
}

pub(super) fn run(context: &Context, args: &Snapshots) -> Result<Outcome> {
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

fn select(mut list: Vec<Snapshot>, args: &Snapshots) -> Result<Vec<Snapshot>> {
    let selection = args.filters.selection()?;
    list.retain(|snapshot| selection.admits(&snapshot.manifest));
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

fn table(list: &[Snapshot]) -> Vec<String> {
    let head = ["ID", "Time", "Host", "Kind", "Files", "Size", "Added", "Tags", "Paths"].map(str::to_owned);
    let rows: Vec<[String; 9]> = std::iter::once(head).chain(list.iter().map(row)).collect();
    let is_number = |column| matches!(column, 4..=6);
    if list.iter().all(|snapshot| snapshot.manifest.description().is_none()) {
        return output::columns(&rows, is_number);
    }
    let descriptions =
        list.iter().map(|one| output::printable(one.manifest.description().unwrap_or_default()));
    let descriptions = std::iter::once("Description".to_owned()).chain(descriptions);
    let mut wide: Vec<[String; 10]> = Vec::with_capacity(rows.len());
    for ([a, b, c, d, e, f, g, h, i], description) in rows.into_iter().zip(descriptions) {
        wide.push([a, b, c, d, e, f, g, h, i, description]);
    }
    output::columns(&wide, is_number)
}

fn row(Snapshot { id, manifest }: &Snapshot) -> [String; 9] {
    let paths: Vec<_> = manifest.sources.iter().map(|path| output::path(path)).collect();
    [
        id.short(),
        output::local(manifest.started),
        output::printable(&manifest.host),
        format!("{}{}", manifest.kind, marks(manifest)),
        output::files(&manifest.counts).to_string(),
        output::size(manifest.counts.bytes_total),
        output::size(manifest.counts.bytes_stored),
        output::printable(&manifest.tags.join(",")),
        paths.join(", "),
    ]
}

/// What rules of retention see in it beside its age.
fn marks(manifest: &Manifest) -> String {
    let expires = manifest.expires().map(|at| format!("expires {}", output::local(at)));
    let marks = [
        manifest.partial.then(|| "partial".to_owned()),
        manifest.is_pinned().then(|| "pinned".to_owned()),
        expires,
    ];
    let marks: Vec<String> = marks.into_iter().flatten().collect();
    if marks.is_empty() { String::new() } else { format!(" ({})", marks.join(", ")) }
}

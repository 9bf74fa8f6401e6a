//! `snap snapshots`: lists snapshots.

use std::collections::HashSet;

use clap::Args;
use serde_json::{Value, json};
use snap_backup::Result;
use snap_backup::model::manifest::Manifest;
use snap_backup::ops::forget::groups::{self, GroupBy, GroupKey};
use snap_backup::repo::repository::Repository;
use snap_backup::repo::snapshots::filter::{SnapshotFilter, SnapshotQuery};
use snap_backup::repo::snapshots::{self, Snapshot};

use super::forget;
use super::shared::select::Among;
use crate::args::keep::group_by;
use crate::context::Context;
use crate::exit::Outcome;
use crate::terminal::output::{self, failed};
use crate::terminal::pager;
use crate::terminal::table::Narrow;
use crate::terminal::text::Paint;

#[derive(Debug, Args)]
pub(crate) struct Snapshots {
    /// latest, latest~N, an id prefix, a date or a time [default: all that the filters select]
    #[arg(value_name = "SNAPSHOT")]
    pub(crate) snapshots: Vec<String>,
    /// Only the newest N snapshots of each group [default: of each host and its sources]
    #[arg(long, value_name = "N")]
    pub(crate) latest: Option<usize>,
    /// Group snapshots by host, paths or tags (comma-separated)
    #[arg(short, long, value_name = "GROUPS", value_parser = group_by)]
    pub(crate) group_by: Option<GroupBy>,
    /// Show only id, time, host, tags and size
    #[arg(short, long)]
    pub(crate) compact: bool,
    #[command(flatten)]
    pub(crate) among: Among,
}

pub(crate) fn run(context: &Context, args: &Snapshots) -> Result<Outcome> {
    args.among.with(context, |context, selection| {
        let chosen = context.with(|repo| choose(context, repo, args, selection))?;
        show(context, args, &chosen)?;
        Ok(Outcome::Done)
    })
}

fn choose(
    context: &Context,
    repo: &Repository,
    args: &Snapshots,
    selection: SnapshotFilter,
) -> Result<Vec<Snapshot>> {
    let mut list = snapshots::list(repo)?;
    if args.snapshots.is_empty() {
        if let Some(why) = selection.unmatched(&list) {
            output::warn(context.global.json, &why);
        }
        list.retain(|snapshot| selection.admits(&snapshot.manifest));
    } else {
        let choice = SnapshotQuery { selectors: args.snapshots.clone(), selection };
        let chosen: HashSet<usize> = choice.places(repo, &list)?.into_iter().collect();
        let mut place = 0..;
        list.retain(|_| place.next().is_some_and(|at| chosen.contains(&at)));
    }
    Ok(newest(list, args))
}

/// Returns the newest snapshots of each group, if `--latest` is given.
fn newest(list: Vec<Snapshot>, args: &Snapshots) -> Vec<Snapshot> {
    let Some(latest) = args.latest else { return list };
    let groups = groups::group(list.iter().rev(), args.group_by.unwrap_or_default());
    let ids: HashSet<_> =
        groups.values().flat_map(|group| group.iter().take(latest)).map(|snapshot| snapshot.id).collect();
    list.into_iter().filter(|snapshot| ids.contains(&snapshot.id)).collect()
}

fn show(context: &Context, args: &Snapshots, list: &[Snapshot]) -> Result<()> {
    let json = |list: &[&Snapshot]| -> Value {
        list.iter().map(|snapshot| Value::Object(output::snapshot(snapshot))).collect()
    };
    let groups = args.group_by.map(|by| groups::group(list.iter(), by));
    if context.global.json {
        // Like restic: one array, of snapshots or of groups.
        let all = match &groups {
            None => json(&list.iter().collect::<Vec<_>>()),
            Some(groups) => groups
                .iter()
                .map(|(key, group)| json!({"group_key": key_of(key), "snapshots": json(group)}))
                .collect(),
        };
        return output::emit(|out| writeln!(out, "{all}").map_err(failed));
    }
    let tables: Vec<(Option<String>, Vec<&Snapshot>)> = match groups {
        None => vec![(None, list.iter().collect())],
        Some(groups) => groups.into_iter().map(|(key, group)| (Some(forget::title(&key)), group)).collect(),
    };
    pager::emit_paged(|out| {
        for (number, (title, group)) in tables.iter().enumerate() {
            let space = if number > 0 { "\n" } else { "" };
            title.as_ref().map_or(Ok(()), |title| writeln!(out, "{space}{title}")).map_err(failed)?;
            let lines = if args.compact { compact(group) } else { table(group) };
            lines.iter().try_for_each(|line| writeln!(out, "{line}")).map_err(failed)?;
        }
        if context.prints_success() {
            let number = output::count(list.len() as u64, "snapshot", "snapshots");
            writeln!(out, "{number}").map_err(failed)?;
        }
        Ok(())
    })
}

fn key_of(key: &GroupKey) -> Value {
    let path = |path: &serde_bytes::ByteBuf| String::from_utf8_lossy(path).into_owned();
    let paths = key.paths.as_ref().map(|paths| paths.iter().map(path).collect::<Vec<String>>());
    let mut value = json!({"hostname": key.host, "paths": paths, "tags": key.tags});
    if let (Some(slot), Some(map)) = (key.writer, value.as_object_mut()) {
        map.insert("writer".to_owned(), slot.hex().into());
    }
    value
}

fn compact(list: &[&Snapshot]) -> Vec<String> {
    let row = |snapshot: &&Snapshot| {
        let [id, time, host, .., size, _, tags, _] = row(snapshot);
        [id, time, host, tags, size]
    };
    let head = ["ID", "Time", "Host", "Tags", "Size"].map(str::to_owned);
    let rows: Vec<[String; 5]> = std::iter::once(head).chain(list.iter().map(row)).collect();
    output::table(&rows, |column| column == 4, &Narrow { cut: &[(3, 8), (2, 6)], drop: &[3, 2] })
}

/// Which columns shrink or vanish first on a narrow terminal: host and number of files stay longest.
const NARROW: Narrow<'_> = Narrow { cut: &[(8, 12), (7, 8), (3, 16), (2, 6)], drop: &[7, 6, 4, 3, 2, 5] };

fn table(list: &[&Snapshot]) -> Vec<String> {
    let head = ["ID", "Time", "Host", "Kind", "Files", "Size", "Added", "Tags", "Paths"].map(str::to_owned);
    let rows: Vec<[String; 9]> = std::iter::once(head).chain(list.iter().map(|one| row(one))).collect();
    let is_number = |column| matches!(column, 4..=6);
    if list.iter().all(|snapshot| snapshot.manifest.description().is_none()) {
        return output::table(&rows, is_number, &NARROW);
    }
    let descriptions =
        list.iter().map(|one| output::printable(one.manifest.description().unwrap_or_default()));
    let descriptions = std::iter::once("Description".to_owned()).chain(descriptions);
    let mut wide: Vec<[String; 10]> = Vec::with_capacity(rows.len());
    for ([a, b, c, d, e, f, g, h, i], description) in rows.into_iter().zip(descriptions) {
        wide.push([a, b, c, d, e, f, g, h, i, description]);
    }
    let narrow = Narrow { cut: &[(9, 12), (8, 12), (7, 8), (2, 6)], drop: &[7, 6, 4, 3, 9, 2, 5] };
    output::table(&wide, is_number, &narrow)
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

/// Returns the attributes, besides the age, that retention rules use.
fn marks(manifest: &Manifest) -> String {
    let expires = manifest.expires().map(|at| format!("expires {}", output::local(at)));
    let marks = [
        manifest.partial.then(|| Paint::Yellow.on("partial")),
        manifest.is_pinned().then(|| "pinned".to_owned()),
        expires,
        manifest.writer().map(|slot| format!("key {}", slot.short())),
    ];
    let marks: Vec<String> = marks.into_iter().flatten().collect();
    if marks.is_empty() { String::new() } else { format!(" ({})", marks.join(", ")) }
}

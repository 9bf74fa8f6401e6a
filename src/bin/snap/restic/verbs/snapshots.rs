//! `restic snapshots`.

use std::collections::HashSet;

use serde_json::{Value, json};
use snap_backup::Result;
use snap_backup::ops::forget::groups::{self, GroupKey};
use snap_backup::repo::snapshots::Snapshot;

use crate::context::Context;
use crate::restic::codes::End;
use crate::restic::lines::{Column, size};
use crate::restic::{choose, flags, lines, shapes};
use crate::terminal::output::{self, failed};

pub(in crate::restic) fn run(context: &Context, args: &flags::Snapshots) -> Result<End> {
    let chosen = context.with(|repo| choose::several(repo, &args.snapshots, &args.filters))?;
    let chosen = newest(chosen, args);
    let groups = args.group_by.map(|by| groups::group(chosen.iter(), by));
    if context.global.json {
        let all = match &groups {
            None => objects(&chosen.iter().collect::<Vec<_>>()),
            Some(groups) => groups
                .iter()
                .map(|(key, group)| {
                    let mut map = serde_json::Map::new();
                    map.insert("group_key".to_owned(), key_of(key));
                    map.insert("snapshots".to_owned(), objects(group));
                    Value::Object(map)
                })
                .collect(),
        };
        return output::emit(|out| writeln!(out, "{all}").map_err(failed)).map(|()| End::Done);
    }
    let tables: Vec<(Option<String>, Vec<&Snapshot>)> = match groups {
        None => vec![(None, chosen.iter().collect())],
        Some(groups) => groups.into_iter().map(|(key, group)| (Some(title(&key)), group)).collect(),
    };
    output::emit(|out| {
        for (title, group) in tables {
            if let Some(title) = title {
                writeln!(out, "{title}").map_err(failed)?;
            }
            table(&group, &[], args.compact)
                .iter()
                .try_for_each(|line| writeln!(out, "{line}"))
                .map_err(failed)?;
        }
        Ok(())
    })?;
    Ok(End::Done)
}

/// Returns the newest snapshots of each group, if only these were requested.
fn newest(list: Vec<Snapshot>, args: &flags::Snapshots) -> Vec<Snapshot> {
    let Some(latest) = args.latest else { return list };
    let groups = groups::group(list.iter().rev(), args.group_by.unwrap_or_default());
    let ids: HashSet<_> =
        groups.values().flat_map(|group| group.iter().take(latest)).map(|snapshot| snapshot.id).collect();
    list.into_iter().filter(|snapshot| ids.contains(&snapshot.id)).collect()
}

fn objects(list: &[&Snapshot]) -> Value {
    list.iter().map(|snapshot| Value::Object(shapes::snapshot(snapshot))).collect()
}

/// Returns the key of a group as JSON, with null for fields that are not grouped by.
pub(in crate::restic) fn key_of(key: &GroupKey) -> Value {
    let path = |path: &serde_bytes::ByteBuf| String::from_utf8_lossy(path).into_owned();
    let paths = key.paths.as_ref().map(|paths| paths.iter().map(path).collect::<Vec<String>>());
    let tags = key.tags.as_ref().filter(|tags| !tags.is_empty());
    json!({"hostname": key.host.clone().unwrap_or_default(), "paths": paths, "tags": tags})
}

fn title(key: &GroupKey) -> String {
    let mut parts = Vec::new();
    if let Some(host) = &key.host {
        parts.push(format!("host [{}]", output::printable(host)));
    }
    if let Some(tags) = key.tags.as_ref().filter(|tags| !tags.is_empty()) {
        parts.push(format!("tags [{}]", output::printable(&tags.join(", "))));
    }
    if let Some(paths) = &key.paths {
        let paths: Vec<String> = paths.iter().map(|path| output::path(path)).collect();
        parts.push(format!("paths [{}]", paths.join(", ")));
    }
    if parts.is_empty() { "snapshots:".to_owned() } else { format!("snapshots for ({}):", parts.join(", ")) }
}

/// Formats a table of snapshots, with reasons if there are any. Returns nothing without snapshots.
pub(in crate::restic) fn table(list: &[&Snapshot], reasons: &[Vec<String>], compact: bool) -> Vec<String> {
    if list.is_empty() {
        return Vec::new();
    }
    let column = |head, cell: &dyn Fn(&Snapshot) -> Vec<String>| Column {
        head,
        cells: list.iter().map(|one| cell(one)).collect(),
    };
    let tags =
        |one: &Snapshot| one.manifest.tags.iter().map(|tag| output::printable(tag)).collect::<Vec<_>>();
    let mut columns = vec![
        column("ID", &|one| vec![one.id.short()]),
        column("Time", &|one| vec![output::local(one.manifest.started)]),
    ];
    let host = |one: &Snapshot| vec![output::printable(&one.manifest.host)];
    if compact {
        columns.extend([column("Host", &host), column("Tags", &tags)]);
    } else {
        columns.extend([column("Host      ", &host), column("Tags      ", &|one| vec![tags(one).join(",")])]);
    }
    if !reasons.is_empty() {
        columns.push(Column { head: "Reasons", cells: reasons.to_vec() });
    }
    if !compact {
        let paths = |one: &Snapshot| shapes::paths(one).iter().map(|path| output::printable(path)).collect();
        columns.push(column("Paths", &paths));
    }
    columns.push(column("Size", &|one| vec![size(one.manifest.counts.bytes_total)]));
    let foot = ["Timestamps shown in local time".to_owned(), format!("{} snapshots", list.len())];
    lines::table(&columns, &foot)
}

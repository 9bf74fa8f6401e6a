//! `restic ls`.

use std::cmp::Reverse;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;

use serde_json::Value;
use snap_backup::model::entry::Entry;
use snap_backup::ops::ls::{self, Levels};
use snap_backup::repo::repository::Repository;
use snap_backup::repo::snapshots::Snapshot;
use snap_backup::{Error, Result};

use crate::context::Context;
use crate::restic::codes::{End, refused};
use crate::restic::{choose, flags, shapes};
use crate::terminal::output::{self, failed};

type Each<'a> = dyn FnMut(&[u8], &Entry) -> Result<()> + 'a;

pub(in crate::restic) fn run(context: &Context, args: &flags::Ls) -> Result<End> {
    if args.ncdu {
        return Err(refused("--ncdu", "`snap du` and `snap browse` show what fills a snapshot"));
    }
    if !["name", "size", "time", "mtime", "atime", "ctime", "extension"].contains(&args.sort.as_str()) {
        return Err(Error::Usage(format!(
            "invalid argument \"{}\" for \"-s, --sort\" flag: must be one of (name|size|time=mtime|atime|ctime|extension)",
            args.sort
        )));
    }
    context.with(|repo| {
        let (snapshot, path) = choose::one(repo, &args.snapshot, &args.filters)?;
        output::emit_raw(|out| {
            head(context, args, &snapshot, out)?;
            let mut print = |path: &[u8], entry: &Entry| line(context, args, path, entry, out);
            match args.sort.as_str() {
                "name" if !args.reverse => walk(repo, args, &snapshot, path, &mut print),
                _ => sorted(repo, args, &snapshot, path, &mut print),
            }
        })
    })?;
    Ok(End::Done)
}

fn head(context: &Context, args: &flags::Ls, snapshot: &Snapshot, out: &mut dyn Write) -> Result<()> {
    if context.global.json {
        let mut map = shapes::snapshot(snapshot);
        map.insert("message_type".to_owned(), "snapshot".into());
        map.insert("struct_type".to_owned(), "snapshot".into());
        return writeln!(out, "{}", Value::Object(map)).map_err(failed);
    }
    if context.global.quiet {
        return Ok(());
    }
    let dirs: Vec<String> = args.dirs.iter().map(|dir| dir.to_string_lossy().into_owned()).collect();
    let text = format!("{} filtered by [{}]:", described(snapshot), dirs.join(" "));
    writeln!(out, "{}", output::printable(&text)).map_err(failed)
}

/// Describes a snapshot: `snapshot 1a2b3c4d of [/src] at TIME by user@host`.
pub(in crate::restic) fn described(snapshot: &Snapshot) -> String {
    let manifest = &snapshot.manifest;
    let time = output::rfc3339(manifest.started).replace('T', " ").replace('Z', " +0000 UTC");
    let paths = shapes::paths(snapshot).join(" ");
    format!("snapshot {} of [{paths}] at {time} by {}@{}", snapshot.id.short(), manifest.user, manifest.host)
}

fn line(context: &Context, args: &flags::Ls, path: &[u8], entry: &Entry, out: &mut dyn Write) -> Result<()> {
    let text = match (context.global.json, args.long) {
        (true, _) => Value::Object(shapes::node(path, entry)).to_string(),
        (false, true) => shapes::long(path, entry, args.human_readable),
        (false, false) => {
            return [b"/", path, b"\n"].iter().try_for_each(|part| out.write_all(part)).map_err(failed);
        }
    };
    writeln!(out, "{text}").map_err(failed)
}

/// Lists the snapshot or the path after the colon or, if directories are named, these with their contents. A
/// directory that does not exist lists nothing.
fn walk(
    repo: &Repository,
    args: &flags::Ls,
    snapshot: &Snapshot,
    below: Option<Vec<u8>>,
    each: &mut Each<'_>,
) -> Result<()> {
    let below = below.unwrap_or_default();
    // Paths are relative to the one after the colon.
    let skip = if below.is_empty() { 0 } else { below.len() + 1 };
    let mut relative = |path: &[u8], entry: &Entry| each(path.get(skip..).unwrap_or(path), entry);
    if args.dirs.is_empty() {
        let selector = choose::selector(snapshot, &below);
        return ls::run(repo, &selector, Levels::All, &mut relative).map(drop);
    }
    for dir in &args.dirs {
        let dir = choose::stored(dir.as_bytes());
        let dir = if below.is_empty() { dir } else { [below.as_slice(), b"/", &dir].concat() };
        let is_there = own(repo, snapshot, &dir, &mut relative)?;
        let levels = if args.recursive { Levels::All } else { Levels::One };
        match ls::run(repo, &choose::selector(snapshot, &dir), levels, &mut relative) {
            Err(Error::NotFound { .. }) if !is_there => {}
            done => done.map(drop)?,
        }
    }
    Ok(())
}

/// Passes on the entry of a directory itself, which is found in its parent. Returns whether it is a
/// directory.
fn own(repo: &Repository, snapshot: &Snapshot, dir: &[u8], each: &mut Each<'_>) -> Result<bool> {
    let above = match dir.iter().rposition(|byte| *byte == b'/') {
        _ if dir.is_empty() => return Ok(true),
        Some(at) => dir.get(..at).unwrap_or_default(),
        None => b"",
    };
    let mut found = None;
    let listed = ls::run(repo, &choose::selector(snapshot, above), Levels::One, &mut |path, entry| {
        if path == dir && entry.is_dir() {
            found = Some(entry.clone());
        }
        Ok(())
    });
    match (listed, found) {
        (Err(Error::NotFound { .. }), _) => Ok(false),
        (Err(err), _) => Err(err),
        (Ok(_), Some(entry)) => each(dir, &entry).map(|()| true),
        (Ok(_), None) => Ok(false),
    }
}

fn sorted(
    repo: &Repository,
    args: &flags::Ls,
    snapshot: &Snapshot,
    below: Option<Vec<u8>>,
    each: &mut Each<'_>,
) -> Result<()> {
    let mut all: Vec<(Vec<u8>, Entry)> = Vec::new();
    walk(repo, args, snapshot, below, &mut |path, entry| {
        all.push((path.to_vec(), entry.clone()));
        Ok(())
    })?;
    let extension =
        |path: &[u8]| path.iter().rposition(|byte| *byte == b'.').map(|at| path.split_at(at).1.to_vec());
    match args.sort.as_str() {
        "size" => all.sort_by_key(|(_, entry)| Reverse(entry.size())),
        "time" | "mtime" | "atime" => all.sort_by_key(|(_, entry)| Reverse(entry.meta.mtime)),
        "ctime" => all.sort_by_key(|(_, entry)| Reverse(entry.meta.ctime)),
        "extension" => all.sort_by_key(|(path, _)| extension(path)),
        _ => {}
    }
    if args.reverse {
        all.reverse();
    }
    all.iter().try_for_each(|(path, entry)| each(path, entry))
}

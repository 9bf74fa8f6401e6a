//! `snap ls`: lists a snapshot or a directory of it. Names are printed as raw bytes.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;

use clap::Args;
use serde_json::{Map, Value};
use snap_backup::Result;
use snap_backup::model::entry::{Entry, Kind, flags};
use snap_backup::ops::ls::{self, Levels};
use snap_backup::repo::repository::Repository;
use snap_backup::repo::snapshots::Query;

use super::shared::select::{self, Among};
use crate::context::Context;
use crate::exit::Outcome;
use crate::terminal::output::{self, failed};
use crate::terminal::pager;
use crate::terminal::text::Paint;

#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// latest, latest~N, an id prefix, a date or a time, with :PATH for a part of it
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub(crate) selector: OsString,
    /// Stored path of the directory to list, if not given after the colon; /: the top [default: the whole
    /// snapshot]
    #[arg(value_name = "PATH")]
    pub(crate) stored: Option<OsString>,
    /// With a PATH: also list everything below its subdirectories
    #[arg(short = 'R', long)]
    pub(crate) recursive: bool,
    /// Also show permissions (then ! if the file kept changing while it was read), owner, size and time
    #[arg(short, long)]
    pub(crate) long: bool,
    /// End each line with NUL, because names can contain newlines, for `xargs -0`
    #[arg(short = '0', long)]
    pub(crate) null: bool,
    #[command(flatten)]
    pub(crate) among: Among,
}

pub(crate) fn run(context: &Context, args: &Ls) -> Result<Outcome> {
    let selector = select::joined(&args.selector, args.stored.as_ref());
    args.among.with(context, |context, selection| {
        context.with(|repo| list(context, args, repo, Query::among(&selector, &selection)))
    })
}

fn list(context: &Context, args: &Ls, repo: &Repository, query: Query<'_>) -> Result<Outcome> {
    let end = output::line_end(args.null, context.global.json)?;
    pager::emit_paged(|out| {
        let selected = ls::select(repo, query)?;
        if context.global.json {
            let mut head = Map::from_iter([("message_type".to_owned(), "snapshot".into())]);
            head.extend(output::snapshot(selected.snapshot()));
            writeln!(out, "{}", Value::Object(head)).map_err(failed)?;
        }
        selected.list(levels(args), &mut |path, entry| {
            let result = match (context.global.json, args.long) {
                (true, _) => writeln!(out, "{}", Value::Object(node(path, entry))),
                (false, true) => long(out, path, entry).and_then(|()| out.write_all(end)),
                (false, false) => name(out, path, entry).and_then(|()| out.write_all(end)),
            };
            result.map_err(failed)
        })
    })?;
    Ok(Outcome::Done)
}

/// Returns how many levels to list. A path to the top counts as a path.
fn levels(args: &Ls) -> Levels {
    // `latest:/` is the top, like `latest:` and `latest:./`.
    let is_nothing = |path: &[u8]| path.split(|byte| *byte == b'/').all(|part| matches!(part, [] | [b'.']));
    let is_top = || {
        let selector = args.selector.as_bytes();
        let colon = selector.iter().rposition(|byte| *byte == b':');
        colon.and_then(|at| selector.get(at + 1..)).is_some_and(is_nothing)
    };
    match args.recursive {
        true => Levels::All,
        false if args.stored.is_some() || is_top() => Levels::One,
        false => Levels::AsNamed,
    }
}

/// Writes the long form without a line end.
pub(crate) fn long(out: &mut dyn Write, path: &[u8], entry: &Entry) -> std::io::Result<()> {
    let meta = &entry.meta;
    let user = meta.user.as_ref().map_or_else(|| meta.uid.to_string(), |name| output::printable(name));
    let group = meta.group.as_ref().map_or_else(|| meta.gid.to_string(), |name| output::printable(name));
    let size = match entry.kind {
        Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => format!("{major}, {minor}"),
        _ => entry.size().to_string(),
    };
    let (permissions, time) = (output::permissions(entry), output::local(meta.mtime));
    let mark = if may_mix_versions(entry) { "!" } else { "" };
    write!(out, "{permissions}{mark} {user:<8} {group:<8} {size:>12} {time} ")?;
    name(out, path, entry)?;
    if let Kind::Symlink { target } = &entry.kind {
        out.write_all(b" -> ")?;
        out.write_all(&output::name(target))?;
    }
    Ok(())
}

/// Writes a name, on a terminal in the colour of its type.
pub(crate) fn name(out: &mut dyn Write, path: &[u8], entry: &Entry) -> std::io::Result<()> {
    let paint = match entry.kind {
        Kind::Dir { .. } => Some(Paint::Blue),
        Kind::Symlink { .. } => Some(Paint::Cyan),
        Kind::File { .. } if entry.meta.mode & 0o111 != 0 => Some(Paint::Green),
        Kind::File { .. } => None,
        _ => Some(Paint::Yellow),
    };
    let name = output::name(path);
    match paint.filter(|paint| paint.shows()) {
        // On a terminal, names are printed as text.
        Some(paint) => out.write_all(paint.on(&String::from_utf8_lossy(&name)).as_bytes()),
        None => out.write_all(&name),
    }
}

fn may_mix_versions(entry: &Entry) -> bool {
    entry.meta.flags & flags::CHANGED_WHILE_READ != 0
}

pub(crate) fn node(path: &[u8], entry: &Entry) -> Map<String, Value> {
    let meta = &entry.meta;
    let mut map = Map::new();
    let mut put = |name: &str, value: Value| map.insert(name.to_owned(), value);
    put("message_type", "node".into());
    put("name", String::from_utf8_lossy(&entry.name).into());
    put("type", kind(entry).into());
    put("uid", meta.uid.into());
    put("gid", meta.gid.into());
    for (of, name) in [("user", &meta.user), ("group", &meta.group)] {
        if let Some(name) = name {
            put(of, name.as_ref().into());
        }
    }
    put("mode", meta.mode.into());
    put("permissions", output::permissions(entry).into());
    put("mtime", output::rfc3339(meta.mtime).into());
    put("ctime", output::rfc3339(meta.ctime).into());
    if entry.is_file() {
        put("size", entry.size().into());
    }
    if may_mix_versions(entry) {
        put("changed_while_read", true.into());
    }
    if let Some(since) = meta.corrupt_since {
        put("corrupt_since", output::rfc3339(since).into());
    }
    output::put_bytes(&mut map, "path", path);
    if let Kind::Symlink { target } = &entry.kind {
        output::put_bytes(&mut map, "linktarget", target);
    }
    map
}

/// Returns the type of an entry as restic names it.
pub(crate) fn kind(entry: &Entry) -> &'static str {
    match entry.kind {
        Kind::File { .. } => "file",
        Kind::Dir { .. } => "dir",
        Kind::Symlink { .. } => "symlink",
        Kind::Fifo => "fifo",
        Kind::Socket => "socket",
        Kind::CharDevice { .. } => "chardev",
        Kind::BlockDevice { .. } => "dev",
    }
}

//! `snap ls`: lists what a snapshot holds. Names go out as the bytes they are.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;

use clap::Args;
use serde_json::{Map, Value, json};
use snap_backup::Result;
use snap_backup::model::entry::{Entry, Kind, flags};
use snap_backup::ops::ls;
use snap_backup::store::snapshots;

use super::Context;
use crate::output::{self, failed};
use crate::report::Outcome;

#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// latest, latest~N, an id prefix or a time, with :PATH for a part
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub(crate) selector: OsString,
    /// With permissions (and ! if it changed each time it was read), owner, size and time
    #[arg(short, long)]
    pub(crate) long: bool,
    /// End each line with NUL instead of a newline, which a name may hold: for `xargs -0`
    #[arg(short = '0', long)]
    pub(crate) null: bool,
}

pub(super) fn run(context: &Context, args: &Ls) -> Result<Outcome> {
    let end = output::line_end(args.null, context.global.json)?;
    context.with(|repo| {
        output::emit(|out| {
            if context.global.json {
                let (snapshot, _) = snapshots::resolve(repo, args.selector.as_bytes())?;
                let mut head = output::snapshot(&snapshot);
                head.insert("message_type".to_owned(), "snapshot".into());
                writeln!(out, "{}", Value::Object(head)).map_err(failed)?;
            }
            ls::run(repo, args.selector.as_bytes(), true, &mut |path, entry| {
                let result = match (context.global.json, args.long) {
                    (true, _) => writeln!(out, "{}", Value::Object(node(path, entry))),
                    (false, true) => long(out, path, entry).and_then(|()| out.write_all(end)),
                    (false, false) => out.write_all(&output::name(path)).and_then(|()| out.write_all(end)),
                };
                result.map_err(failed)
            })?;
            Ok(())
        })?;
        Ok(Outcome::Done)
    })
}

/// Without an end of the line.
pub(super) fn long(out: &mut dyn Write, path: &[u8], entry: &Entry) -> std::io::Result<()> {
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
    out.write_all(&output::name(path))?;
    if let Kind::Symlink { target } = &entry.kind {
        out.write_all(b" -> ")?;
        out.write_all(&output::name(target))?;
    }
    Ok(())
}

fn may_mix_versions(entry: &Entry) -> bool {
    entry.meta.flags & flags::CHANGED_WHILE_READ != 0
}

pub(super) fn node(path: &[u8], entry: &Entry) -> Map<String, Value> {
    let meta = &entry.meta;
    let mut map = Map::new();
    let mut put = |name: &str, value: Value| map.insert(name.to_owned(), value);
    put("message_type", "node".into());
    put("name", String::from_utf8_lossy(&entry.name).into());
    put("type", kind(entry).into());
    put("uid", meta.uid.into());
    put("gid", meta.gid.into());
    put("user", json!(meta.user.as_deref()));
    put("group", json!(meta.group.as_deref()));
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
    output::put_bytes(&mut map, "path", path);
    if let Kind::Symlink { target } = &entry.kind {
        output::put_bytes(&mut map, "linktarget", target);
    }
    map
}

/// restic's words.
fn kind(entry: &Entry) -> &'static str {
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

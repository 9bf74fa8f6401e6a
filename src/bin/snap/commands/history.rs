//! `snap history`: lists the versions of a path, and restores one of them.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Args;
use serde_json::{Value, json};
use snap_backup::ops::history::{Options, Report};
use snap_backup::ops::{history, restore};
use snap_backup::repo::repository::Repository;
use snap_backup::repo::snapshots::filter::{SnapshotFilter, SnapshotQuery};
use snap_backup::repo::walk::multi_walk::EntryVersion;
use snap_backup::sys::fs::{CWD, rename_new};
use snap_backup::sys::io::Errno;
use snap_backup::{Control, Error, Result};

use super::shared::select::Among;
use super::{find, ls};
use crate::context::Context;
use crate::exit::{Outcome, outcome};
use crate::terminal::output::{self, count};
use crate::terminal::pager;
use crate::terminal::progress::{Progress, stop_on_signals};
use crate::terminal::table::Narrow;

#[derive(Debug, Args)]
pub(crate) struct History {
    /// Stored path: src/lib.rs, etc/hosts
    #[arg(value_name = "PATH")]
    stored: PathBuf,
    /// Restore a version under this name, which must not exist
    #[arg(long, value_name = "NAME")]
    restore_as: Option<PathBuf>,
    /// Number of the version to restore [default: the newest]
    #[arg(long, value_name = "N", requires = "restore_as")]
    number: Option<usize>,
    /// Only in this snapshot: latest, latest~N, an id prefix, a date or a time; can be repeated
    #[arg(short, long = "snapshot", value_name = "SNAPSHOT")]
    snapshots: Vec<String>,
    #[command(flatten)]
    among: Among,
}

pub(crate) fn run(context: &Context, args: &History) -> Result<Outcome> {
    args.among.with(context, |context, selection| versions(context, args, selection))
}

fn versions(context: &Context, args: &History, selection: SnapshotFilter) -> Result<Outcome> {
    let options = Options {
        choice: SnapshotQuery { selectors: args.snapshots.clone(), selection },
        path: args.stored.clone().into_os_string().into_vec(),
    };
    context.with(|repo| {
        let stop = stop_on_signals()?;
        let progress = Progress::start(&context.global, "history", false);
        let report = history::run(repo, &options, &Control::new(&progress).with_cancel(&stop));
        drop(progress);
        let report = report?;
        if let Some(name) = &args.restore_as {
            let version = chosen(&report, args.number)?;
            return restore_as(context, repo, &report, version, name, &stop);
        }
        if context.global.json {
            output::print(&json(&report))?;
        } else {
            pager::print_paged(&human(context, &report))?;
        }
        Ok(if report.problems.is_empty() { Outcome::Done } else { Outcome::Damage })
    })
}

/// Returns the version to restore. Numbers start at 1, as in the list.
fn chosen(report: &Report, number: Option<usize>) -> Result<&EntryVersion> {
    let wanted = match number {
        Some(number) => number.checked_sub(1).and_then(|at| report.versions.get(at)),
        None => report.versions.iter().max_by_key(|version| version.among.last()),
    };
    wanted.ok_or_else(|| {
        Error::Usage(format!("there is no such version: the versions are 1 to {}", report.versions.len()))
    })
}

fn human(context: &Context, report: &Report) -> String {
    let head = ["#", "Snapshots", "Count", "First", "Modified", "Mode", "Size"].map(str::to_owned);
    let row = |(number, EntryVersion { entry, among }): (usize, &EntryVersion)| {
        let first = among.first().and_then(|at| report.snapshots.get(at));
        [
            number.to_string(),
            find::range(&report.snapshots, among),
            among.count().to_string(),
            first.map(|one| output::local(one.manifest.started)).unwrap_or_default(),
            output::local(entry.meta.mtime),
            output::permissions(entry),
            find::shown_size(entry),
        ]
    };
    let rows: Vec<[String; 7]> = std::iter::once(head).chain((1..).zip(&report.versions).map(row)).collect();
    let mut lines =
        output::table(&rows, |column| matches!(column, 0 | 2 | 6), &Narrow { cut: &[], drop: &[5, 2, 3] });
    for snapshot in report.gone.iter().filter_map(|number| report.snapshots.get(*number)) {
        let when = output::local(snapshot.manifest.started);
        lines.push(format!("gone since snapshot {} of {when}", snapshot.id.short()));
    }
    if context.prints_success() {
        let versions = count(report.versions.len() as u64, "version", "versions");
        let snapshots = count(report.snapshots.len() as u64, "snapshot", "snapshots");
        lines.push(format!("{versions} of {} in {snapshots}", output::path(&report.path)));
    }
    lines.join("\n")
}

fn json(report: &Report) -> String {
    let mut lines = Vec::new();
    for (number, EntryVersion { entry, among }) in (1_u64..).zip(&report.versions) {
        let mut map = ls::node(&report.path, entry);
        map.insert("message_type".to_owned(), "version".into());
        map.insert("version".to_owned(), number.into());
        let first = among.first().and_then(|at| report.snapshots.get(at));
        map.insert("first_time".to_owned(), json!(first.map(|one| output::rfc3339(one.manifest.started))));
        find::put_range(&mut map, &report.snapshots, among);
        lines.push(Value::Object(map).to_string());
    }
    let gone = report.gone.iter().filter_map(|number| report.snapshots.get(*number));
    let summary = json!({
        "message_type": "summary",
        "versions": report.versions.len(),
        "snapshots": report.snapshots.len(),
        "gone_since": gone.map(|snapshot| snapshot.id.hex()).collect::<Vec<_>>(),
        "problems": report.problems.len(),
    });
    lines.push(summary.to_string());
    lines.join("\n")
}

/// Restores to a temporary directory and renames, so that no partial file is visible and nothing is
/// overwritten.
fn restore_as(
    context: &Context,
    repo: &Repository,
    report: &Report,
    version: &EntryVersion,
    name: &Path,
    stop: &Arc<AtomicBool>,
) -> Result<Outcome> {
    let snapshot = version.among.last().and_then(|at| report.snapshots.get(at)).ok_or(Error::Stopped)?;
    let path = String::from_utf8(report.path.clone()).map_err(|_| {
        Error::Usage("this name is not UTF-8: restore it with `snap restore SNAPSHOT --include`".to_owned())
    })?;
    if fs::symlink_metadata(name).is_ok() {
        return Err(Error::Usage(format!("{} exists already: give another name", name.display())));
    }
    context.may_write(name)?;
    let base = name.file_name().map(|base| base.to_string_lossy().into_owned()).unwrap_or_default();
    let beside = name.with_file_name(format!(".{base}.{}-snap", std::process::id()));
    fs::create_dir(&beside).map_err(Error::io("create", &beside))?;
    let restored = restore_into(context, repo, &format!("{}:{path}", snapshot.id.hex()), &beside, stop);
    let moved = match &restored {
        Ok(summary) if summary.problems.is_empty() => move_out(&beside, version, &report.path, name),
        _ => Ok(()),
    };
    let removed = fs::remove_dir_all(&beside).map_err(Error::io("remove", &beside));
    let summary = restored?;
    moved?;
    if !version.entry.is_dir() || !summary.problems.is_empty() {
        removed?;
    }
    if context.global.json {
        let value = json!({
            "message_type": "summary",
            "snapshot_id": snapshot.id.hex(),
            "restored_as": name.to_string_lossy(),
            "total_bytes": summary.bytes,
            "problems": summary.problems.len(),
        });
        output::print(&value.to_string())?;
    } else if context.prints_success() && summary.problems.is_empty() {
        let (path, name) = (output::path(&report.path), output::printable(&name.to_string_lossy()));
        output::print(&format!("restored {path} of snapshot {} as {name}", snapshot.id.short()))?;
    }
    Ok(if summary.damage { Outcome::Damage } else { outcome(&summary.problems) })
}

fn restore_into(
    context: &Context,
    repo: &Repository,
    selector: &str,
    target: &Path,
    stop: &Arc<AtomicBool>,
) -> Result<restore::Report> {
    let options = restore::Options {
        selector: selector.to_owned(),
        target: target.to_path_buf(),
        protected: context.protected(),
        ..restore::Options::default()
    };
    let progress = Progress::start(&context.global, "restore", true);
    restore::run(repo, &options, &Control::new(&progress).with_cancel(stop))
}

/// Moves the restored entry to its name. A directory's contents were restored to `beside` itself.
fn move_out(beside: &Path, version: &EntryVersion, path: &[u8], name: &Path) -> Result<()> {
    let base = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let from = if version.entry.is_dir() {
        beside.to_path_buf()
    } else {
        beside.join(OsString::from_vec(base.to_vec()))
    };
    move_new(&from, name).map_err(Error::io("write", name))
}

/// Renames without replacing. On a file system without RENAME_NOREPLACE, the earlier check that the name is
/// free must suffice.
fn move_new(from: &Path, to: &Path) -> std::io::Result<()> {
    match rename_new(CWD, from, CWD, to) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => fs::rename(from, to),
        other => Ok(other?),
    }
}

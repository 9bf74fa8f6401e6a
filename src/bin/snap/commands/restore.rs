//! `snap restore`: writes a snapshot to a directory.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use snap_backup::fs::xattr_choice::XattrChoice;
use snap_backup::ops::restore::{self, Options, Report};
use snap_backup::repo::snapshots::filter::SnapshotFilter;
use snap_backup::{Control, Result};

use super::shared::select::Among;
use super::shared::selector::text_and_path;
use crate::context::Context;
use crate::exit::{Outcome, outcome};
use crate::terminal::output::{self, count, duration, size};
use crate::terminal::progress::{Progress, stop_on_signals};

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// latest, latest~N, an id prefix, a date or a time, with :PATH for a part of it
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub(crate) selector: OsString,
    /// Directory to restore to
    #[arg(short, long, value_name = "DIR")]
    pub(crate) target: PathBuf,
    /// Write nothing; only list what would be done
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Restore only what matches
    #[arg(short, long, value_name = "PATTERN")]
    pub(crate) include: Vec<OsString>,
    /// Do not restore what matches
    #[arg(short, long, value_name = "PATTERN")]
    pub(crate) exclude: Vec<OsString>,
    /// Delete selected files of the target that are not in the snapshot
    #[arg(long)]
    pub(crate) delete: bool,
    /// Which existing files may be changed
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Overwrite::Always)]
    pub(crate) overwrite: Overwrite,
    /// Read the restored files back, and compare them with the snapshot
    #[arg(long)]
    pub(crate) verify: bool,
    /// Restore owners by number, not by name
    #[arg(long)]
    pub(crate) numeric_ids: bool,
    /// Do not restore owners
    #[arg(long)]
    pub(crate) no_owner: bool,
    /// Do not restore device nodes
    #[arg(long)]
    pub(crate) no_devices: bool,
    /// Do not restore setuid and setgid bits and capabilities
    #[arg(long)]
    pub(crate) no_setuid: bool,
    /// Do not restore extended attributes and ACLs
    #[arg(long)]
    pub(crate) no_xattrs: bool,
    /// Write runs of zeros as holes
    #[arg(long)]
    pub(crate) sparse: bool,
    #[command(flatten)]
    pub(crate) among: Among,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Overwrite {
    /// Change all; correct content is not written again
    Always,
    /// Change all except those with the snapshot's size and time, which are not read
    IfChanged,
    /// Change those that are older than in the snapshot
    IfNewer,
    /// Change none
    Never,
}

pub(crate) fn run(context: &Context, args: Restore) -> Result<Outcome> {
    let Restore { among, selector, .. } = &args;
    among.with(context, |context, selection| restore(context, selector, options(context, &args, selection)))
}

/// Converts the arguments to options, without the selector.
fn options(context: &Context, args: &Restore, among: SnapshotFilter) -> Options {
    Options {
        selector: String::new(),
        below: None,
        among,
        target: args.target.clone(),
        include: args.include.clone(),
        exclude: args.exclude.clone(),
        only: None,
        count_ahead: Progress::is_watched(&context.global),
        numeric_ids: args.numeric_ids,
        no_owner: args.no_owner,
        no_devices: args.no_devices,
        no_setuid: args.no_setuid,
        xattrs: if args.no_xattrs { XattrChoice::None } else { XattrChoice::All },
        protected: context.protected(),
        sparse: args.sparse,
        overwrite: match args.overwrite {
            Overwrite::Always => restore::Overwrite::Always,
            Overwrite::IfChanged => restore::Overwrite::IfChanged,
            Overwrite::IfNewer => restore::Overwrite::IfNewer,
            Overwrite::Never => restore::Overwrite::Never,
        },
        delete: args.delete,
        dry_run: args.dry_run,
        verify: args.verify,
    }
}

fn restore(context: &Context, selector: &OsStr, mut options: Options) -> Result<Outcome> {
    context.with(|repo| {
        (options.selector, options.below) = text_and_path(repo, selector, &options.among)?;
        let stop = stop_on_signals()?;
        let progress = Progress::start(&context.global, "restore", true).listing(options.dry_run);
        let result = restore::run(repo, &options, &Control::new(&progress).with_cancel(&stop));
        drop(progress);
        let summary = result?;
        context.print_unmatched(&summary.unmatched);
        if context.global.json {
            output::print(&json(&summary, options.dry_run).to_string())?;
        } else if context.prints_success() {
            output::print(&human(&summary, &options))?;
        }
        Ok(if summary.damage { Outcome::Damage } else { outcome(&summary.problems) })
    })
}

fn json(summary: &Report, dry_run: bool) -> Value {
    json!({
        "message_type": "summary",
        "snapshot_id": summary.snapshot.hex(),
        "total_files": summary.files,
        "total_bytes": summary.bytes,
        "files_restored": summary.files_written,
        "dirs_restored": summary.dirs,
        "others_restored": summary.others,
        "bytes_restored": summary.bytes_written,
        "created": summary.created,
        "updated": summary.updated,
        "unchanged": summary.unchanged,
        "kept": summary.kept,
        "files_skipped": summary.unchanged + summary.kept,
        "files_deleted": summary.deleted,
        "files_changed_while_read": summary.changing,
        "left_out": summary.left_out,
        "hard_links_copied": summary.copied_links,
        "patterns_unmatched": summary.unmatched,
        "problems": summary.problems.len(),
        "damage": summary.damage,
        "dry_run": dry_run,
        "total_duration": summary.duration.as_secs_f64(),
    })
}

/// Describes what was written. Entries that were up to date, or had to be kept, do not count as restored.
fn written(summary: &Report) -> String {
    let (written, all) = (summary.created + summary.updated, summary.files + summary.others);
    let dirs = count(summary.dirs, "directory", "directories");
    let size = size(summary.bytes_written);
    if written == all {
        format!("{} ({size})", output::entries(summary.files, summary.dirs, summary.others))
    } else {
        let dirs = if summary.dirs > 0 { format!(" and {dirs}") } else { String::new() };
        format!("{written} of {} ({size}){dirs}", count(all, "file", "files"))
    }
}

fn human(summary: &Report, options: &Options) -> String {
    let mut text = format!(
        "{} {} of snapshot {} to {} in {}",
        if options.dry_run { "dry run: would restore" } else { "restored" },
        written(summary),
        summary.snapshot.short(),
        output::printable(&options.target.display().to_string()),
        duration(summary.duration.as_secs_f64()),
    );
    if summary.updated + summary.unchanged + summary.kept + summary.deleted > 0 || options.dry_run {
        text += &format!(
            "\n{} created, {} updated, {} unchanged, {} kept, {} deleted; {} {}",
            summary.created,
            summary.updated,
            summary.unchanged,
            summary.kept,
            summary.deleted,
            size(summary.bytes_written),
            if options.dry_run { "to write" } else { "written" },
        );
    }
    if summary.left_out > 0 {
        let left_out = count(
            summary.left_out,
            "owner, mode, attribute or device was",
            "owners, modes, attributes or devices were",
        );
        text += &format!(
            "\n{left_out} not restored: this user may not set them, or the target's file \
                          system does not support them"
        );
    }
    if !summary.problems.is_empty() {
        let number = summary.problems.len() as u64;
        text += &format!("\n{}: see the warnings", count(number, "problem", "problems"));
    }
    if summary.damage {
        text += "\nsome stored data is damaged: `snap check --read-data` lists what is affected";
    }
    text
}

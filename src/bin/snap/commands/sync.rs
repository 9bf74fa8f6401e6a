//! `snap sync`: maintains a second copy of the repository, object by object; also the last step of `backup
//! --mirror`.

use std::ffi::OsString;
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};
use snap_backup::fs::protected_dirs::{Guard, Protected};
use snap_backup::ops::gc::MaxUnused;
use snap_backup::ops::sync::{Options, Report};
use snap_backup::ops::{gc, sync};
use snap_backup::repo::repository::Repository;
use snap_backup::storage::Storage;
use snap_backup::{Control, Error, Result};

use crate::context::Context;
use crate::exit::Outcome;
use crate::terminal::output::{self, count, size};
use crate::terminal::progress::{Progress, stop_on_signals};

#[derive(Debug, Args)]
#[command(
    after_help = "Nobody else should back up to the second copy. An interrupted run can be repeated: objects that were \
    copied are not copied again."
)]
pub(crate) struct Sync {
    /// Destination: a name in the configuration, a directory or a URL, as for -r
    #[arg(long, value_name = "REPO")]
    to: OsString,
    /// Create the copy if it does not exist
    #[arg(long)]
    init: bool,
    /// Also forget snapshots there that are gone here, remove passwords that are gone here, and delete unused
    /// data there
    #[arg(long)]
    delete: bool,
    /// Write nothing; only show what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub(crate) fn run(context: &Context, args: &Sync) -> Result<Outcome> {
    context.begin("sync", args.dry_run, |_| {});
    context.recorder.write_start();
    context.with(|from| {
        let to = context.for_repository(&args.to).storage()?;
        not_itself(from, &*to)?;
        if !Repository::exists(&*to)? {
            // The directory of a disk that is not mounted must not be mistaken for a new location.
            if !args.init {
                return Err(Error::NoOtherRepository { location: to.location() });
            }
            context.may_make(&*to)?;
        }
        let options = Options { delete: args.delete, dry_run: args.dry_run };
        let report = bring(context, from, &to, &options)?;
        let freed = if args.delete && !args.dry_run { collect(context, from, &to)? } else { 0 };
        if context.global.json {
            output::print(&json(&report, freed, args.dry_run).to_string())?;
        } else if context.prints_success() {
            output::print(&human(&report, &*to, freed, args.dry_run))?;
        }
        Ok(if report.is_whole() { Outcome::Done } else { Outcome::Damage })
    })
}

pub(crate) fn not_itself(from: &Repository, to: &dyn Storage) -> Result<()> {
    let place = output::printable(&to.location());
    if from.location() != to.location() {
        let own =
            from.storage().local_dir().map(|path| Protected { what: "the repository", path: path.into() });
        let guard = Guard::new(own.into_iter().collect());
        return to.local_dir().map_or(Ok(()), |dir| guard.check(dir));
    }
    Err(Error::Refused(format!("{place} is the repository itself, not a copy of it")))
}

/// Copies missing objects, and reports damaged ones.
pub(crate) fn bring(
    context: &Context,
    from: &Repository,
    to: &Arc<dyn Storage>,
    options: &Options,
) -> Result<Report> {
    let stop = stop_on_signals()?;
    let progress = Progress::start(&context.global, "sync", true);
    let result = sync::run(from, to, options, &Control::new(&progress).with_cancel(&stop));
    drop(progress);
    let report = result?;
    context.recorder.update(|record| {
        let before = record.numbers.bytes_stored.unwrap_or_default();
        record.numbers.bytes_stored = Some(before + report.bytes);
    });
    for (pack, why) in &report.damaged {
        let text = format!("pack {} was not copied: {}: run `snap repair packs`", pack.short(), why.chain());
        output::warn(context.global.json, &text);
        context.recorder.update(|record| record.set_error(&text));
    }
    for (_, why) in &report.objects_damaged {
        let text = format!("{}: it is damaged here and was not copied: run `snap check`", why.chain());
        output::warn(context.global.json, &text);
        context.recorder.update(|record| record.set_error(&text));
    }
    Ok(report)
}

/// Runs a garbage collection in the copy. It repacks nothing, so that the packs stay identical to those of
/// the source.
fn collect(context: &Context, from: &Repository, to: &Arc<dyn Storage>) -> Result<u64> {
    let to = from.elsewhere(Arc::clone(to))?;
    context.with_open(&to, |to| {
        let stop = stop_on_signals()?;
        let progress = Progress::start(&context.global, "gc", false);
        let options = gc::Options { max_unused: MaxUnused::Unlimited, ..gc::Options::default() };
        let report = gc::run(to, &options, &Control::new(&progress).with_cancel(&stop))?;
        Ok(report.bytes_deleted)
    })
}

fn human(report: &Report, to: &dyn Storage, freed: u64, dry_run: bool) -> String {
    let place = output::printable(&to.location());
    let packs = format!("{} ({})", count(report.packs, "pack", "packs"), size(report.bytes));
    let snapshots = count(report.snapshots, "snapshot", "snapshots");
    if dry_run {
        return format!("dry run: {packs} and {snapshots} would be copied to {place}; nothing written");
    }
    let mut text = match report.packs + report.snapshots {
        0 if report.objects_healed > 0 => format!("no pack or snapshot was missing at {place}"),
        0 => format!("nothing to copy: {place} is up to date"),
        _ => format!("{packs} and {snapshots} copied to {place}"),
    };
    if report.healed > 0 {
        text += &format!("\n{} damaged there and replaced", count(report.healed, "pack was", "packs were"));
    }
    if report.objects_healed > 0 {
        let objects = count(report.objects_healed, "other object was", "other objects were");
        text += &format!("\n{objects} damaged there, moved to quarantine and copied again");
    }
    if report.forgotten > 0 {
        text += &format!("\n{} forgotten there", count(report.forgotten, "snapshot", "snapshots"));
    }
    if report.keys_removed > 0 {
        text += &format!("\n{} removed there", count(report.keys_removed, "password", "passwords"));
    }
    if freed > 0 {
        text += &format!("\n{} freed there", size(freed));
    }
    text
}

fn json(report: &Report, freed: u64, dry_run: bool) -> Value {
    json!({
        "message_type": "summary",
        "made": report.made && !dry_run,
        "packs": report.packs,
        "bytes": report.bytes,
        "packs_healed": report.healed,
        "objects_healed": report.objects_healed,
        "snapshots": report.snapshots,
        "forgotten": report.forgotten,
        "passwords_removed": report.keys_removed,
        "bytes_freed": freed,
        "damaged": report.damaged.iter().map(|(pack, _)| pack.hex()).collect::<Vec<_>>(),
        "objects_damaged": report.objects_damaged.iter().map(|(what, _)| what).collect::<Vec<_>>(),
        "dry_run": dry_run,
    })
}

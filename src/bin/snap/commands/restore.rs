//! `snap restore`: writes a snapshot to a directory.

use serde_json::{Value, json};
use snap_backup::Result;
use snap_backup::ops::restore::{self, Options, Summary};

use super::{Context, outcome};
use crate::args;
use crate::output::{self, count, duration, size};
use crate::progress::{Progress, stop_on_signals};
use crate::report::Outcome;

pub(super) fn run(context: &Context, args: args::Restore) -> Result<Outcome> {
    let options = Options {
        selector: args.selector,
        target: args.target,
        include: args.include,
        exclude: args.exclude,
        numeric_ids: args.numeric_ids,
        no_owner: args.no_owner,
        sparse: args.sparse,
        dry_run: args.dry_run,
        verify: args.verify,
    };
    context.with(|repo| {
        let stop = stop_on_signals()?;
        let progress = Progress::start(&context.global, "restore", true);
        let result = restore::run(repo, &options, &progress, &stop);
        drop(progress);
        let summary = result?;
        if context.global.json {
            output::tell(&json(&summary, options.dry_run).to_string())?;
        } else if context.talks() {
            output::tell(&human(&summary, &options))?;
        }
        Ok(if summary.damage { Outcome::Damage } else { outcome(&summary.problems) })
    })
}

fn json(summary: &Summary, dry_run: bool) -> Value {
    json!({
        "message_type": "summary",
        "snapshot_id": summary.snapshot.hex(),
        "files_restored": summary.files,
        "dirs_restored": summary.dirs,
        "others_restored": summary.others,
        "bytes_restored": summary.bytes,
        "left_out": summary.left_out,
        "problems": summary.problems.len(),
        "damage": summary.damage,
        "dry_run": dry_run,
        "total_duration": summary.seconds,
    })
}

fn human(summary: &Summary, options: &Options) -> String {
    let mut text = format!(
        "{} {}, {} and {} ({}) of snapshot {} to {} in {}",
        if options.dry_run { "dry run: would restore" } else { "restored" },
        count(summary.files, "file", "files"),
        count(summary.dirs, "directory", "directories"),
        count(summary.others, "other", "others"),
        size(summary.bytes),
        summary.snapshot.short(),
        output::printable(&options.target.display().to_string()),
        duration(summary.seconds),
    );
    if summary.left_out > 0 {
        text += &format!("\n{} left out", count(summary.left_out, "item was", "items were"));
    }
    if !summary.problems.is_empty() {
        let number = summary.problems.len() as u64;
        text += &format!("\n{}: see the warnings", count(number, "problem", "problems"));
    }
    if summary.damage {
        text += "\nsome stored data is damaged: run `snap check --read-data` to see what is affected";
    }
    text
}

//! Verbs that change snapshots or the repository: `tag`, `rewrite`, `copy`, `repair`, and `check`.

use serde_json::{Value, json};
use snap_backup::fs::filter;
use snap_backup::ops::check::Subject;
use snap_backup::ops::repair::snapshots::SnapshotFate;
use snap_backup::ops::repair::{index, packs, snapshots};
use snap_backup::ops::rewrite::{Change, Report};
use snap_backup::ops::{check, copy, forget, rewrite};
use snap_backup::repo::repository::Repository;
use snap_backup::repo::snapshots::Snapshot;
use snap_backup::repo::write::delta_writer::Delta;
use snap_backup::{Control, Error, Result};

use super::ls::described;
use crate::context::Context;
use crate::restic::codes::{End, refused};
use crate::restic::watch::Watch;
use crate::restic::{choose, flags, ids, variables};
use crate::terminal::output;
use crate::terminal::progress::stop_on_signals;

fn print_line(context: &Context, text: &str) -> Result<()> {
    if context.global.quiet {
        Ok(())
    } else {
        output::print(&text.split('\n').map(output::printable).collect::<Vec<_>>().join("\n"))
    }
}

pub(in crate::restic) fn tag(context: &Context, args: &flags::Tag) -> Result<End> {
    let (set, add, remove) = (choose::tags(&args.set), choose::tags(&args.add), choose::tags(&args.remove));
    let is_edited = !add.is_empty() || !remove.is_empty();
    if !is_edited && args.set.is_empty() {
        return Err(Error::Usage("nothing to do!".to_owned()));
    }
    if is_edited && !args.set.is_empty() {
        return Err(Error::Usage("--set and --add/--remove cannot be given at the same time".to_owned()));
    }
    let change = Change {
        set_tags: (!args.set.is_empty()).then_some(set),
        add_tags: add,
        remove_tags: remove,
        ..Change::default()
    };
    context.with(|repo| {
        let chosen = choose::several(repo, &args.snapshots, &args.filters)?;
        let report = replace(context, repo, &chosen, change, &[], false)?;
        let number = report.rewritten.len();
        if context.global.json {
            for one in &report.rewritten {
                let new = one.new.as_ref().map(ids::long);
                let value = json!({"message_type": "changed", "old_snapshot_id": ids::long(&one.old.id), "new_snapshot_id": new});
                output::print(&value.to_string())?;
            }
            let value = json!({"message_type": "summary", "changed_snapshots": number});
            return output::print(&value.to_string()).map(|()| End::Done);
        }
        print_line(context, &modified(number)).map(|()| End::Done)
    })
}

fn modified(number: usize) -> String {
    if number == 0 { "no snapshots were modified".to_owned() } else { format!("modified {number} snapshots") }
}

fn replace(
    context: &Context,
    repo: &Repository,
    chosen: &[Snapshot],
    change: Change,
    exclude: &[std::ffi::OsString],
    dry_run: bool,
) -> Result<Report> {
    if chosen.is_empty() {
        return Ok(Report::default());
    }
    let options = rewrite::Options {
        choice: choose::exactly(chosen),
        change,
        exclude: exclude.to_vec(),
        force: false,
        dry_run,
    };
    let watch = Watch::start(&context.global, "rewrite", false);
    rewrite::run(repo, &options, &Control::new(&watch).with_cancel(&stop_on_signals()?))
}

pub(in crate::restic) fn rewrite(context: &Context, args: &flags::Rewrite) -> Result<End> {
    for (given, name) in [
        (args.new_time.is_some(), "--new-time"),
        (!args.include.is_empty(), "--include"),
        (!args.iexclude.is_empty(), "--iexclude"),
    ] {
        if given {
            return Err(refused(name, "only --exclude, --exclude-file and --new-host change a snapshot"));
        }
    }
    let mut exclude = args.exclude.clone();
    for file in &args.exclude_file {
        exclude.extend(filter::patterns_of(file)?);
    }
    if exclude.is_empty() && args.new_host.is_none() {
        let why = "Nothing to do: no excludes/includes provided and no new metadata provided";
        return Err(Error::Usage(why.to_owned()));
    }
    // The tag distinguishes the new snapshot from the original, which is kept.
    let add_tags = if args.forget { Vec::new() } else { vec!["rewrite".to_owned()] };
    context.with(|repo| {
        let chosen = choose::several(repo, &args.snapshots, &args.filters)?;
        // A dry run without the tag finds the snapshots that change: only these get the tag.
        let plain = Change { host: args.new_host.clone(), ..Change::default() };
        let would = replace(context, repo, &chosen, plain.clone(), &exclude, true)?;
        let chosen: Vec<Snapshot> = would.rewritten.into_iter().map(|one| one.old).collect();
        let report = replace(context, repo, &chosen, Change { add_tags, ..plain }, &exclude, args.dry_run)?;
        for one in &report.rewritten {
            let mut text = format!("\n{}", described(&one.old));
            match one.new {
                None => text += "\nwould save new snapshot",
                Some(new) => text += &format!("\nsaved new snapshot {}", new.short()),
            }
            if args.forget && !args.dry_run {
                text += &format!("\nremoved old snapshot {}", one.old.id.short());
            }
            print_line(context, &text)?;
        }
        if !args.forget && !args.dry_run {
            // The operation has moved the originals to the trash; they are restored from there.
            let old: Vec<String> = report.rewritten.iter().map(|one| one.old.id.hex()).collect();
            forget::undelete(repo, &old)?;
        }
        print_line(context, &format!("\n{}", modified(report.rewritten.len()))).map(|()| End::Done)
    })
}

pub(in crate::restic) fn copy(context: &Context, args: &flags::Copy, level: Option<i32>) -> Result<End> {
    let other = Context::plain(variables::other(&context.global, &args.from)?);
    let to = context.open(context.storage()?)?;
    context.with_open(&to, |to| {
        other.with(|from| {
            let chosen = choose::several(from, &args.snapshots, &args.filters)?;
            if chosen.is_empty() {
                return Ok(End::Done);
            }
            let options = copy::Options {
                choice: choose::exactly(&chosen),
                level,
                delta: Delta::default(),
                dry_run: false,
            };
            let watch = Watch::start(&context.global, "copy", false);
            let result =
                copy::run(from, to, &options, &Control::new(&watch).with_cancel(&stop_on_signals()?));
            drop(watch);
            let report = result?;
            for one in &report.copied {
                let Some(new) = one.new.filter(|_| !context.global.json) else { continue };
                let (new, old) = (new.short(), one.old.id.short());
                let text = format!(
                    "\n{}\nsnapshot {new} saved, copied from source snapshot {old}",
                    described(&one.old)
                );
                print_line(context, &text)?;
            }
            match report.damaged.first() {
                None => Ok(End::Done),
                Some((snapshot, err)) => {
                    Ok(End::Code(1, format!("Fatal: snapshot {}: {}", snapshot.id.short(), err.chain())))
                }
            }
        })
    })
}

pub(in crate::restic) fn check(context: &Context, args: &flags::Check) -> Result<End> {
    let flags::Filters { host, tag, path } = &args.filters;
    if !(host.is_empty() && tag.is_empty() && path.is_empty()) {
        return Err(refused("check --host, --tag and --path", "all snapshots are always checked"));
    }
    if args.read_data && args.read_data_subset.is_some() {
        return Err(Error::Usage(
            "check flags --read-data and --read-data-subset cannot be used together".to_owned(),
        ));
    }
    let options = check::Options { read_data: args.read_data, subset: args.read_data_subset, tables: false };
    let reads = options.read_data || options.subset.is_some();
    context.begin("check", false, |record| record.read_data = reads);
    context.recorder.write_start();
    let json = context.global.json;
    let report = context.with(|repo| {
        if !json {
            print_line(context, "load indexes\ncheck all packs\ncheck snapshots, trees and blobs")?;
        }
        let watch = Watch::start(&context.global, "check", false);
        check::run(repo, &options, &Control::new(&watch).with_cancel(&stop_on_signals()?))
    })?;
    context.recorder.update(|record| {
        record.numbers.bytes_read = Some(report.bytes_read);
        record.numbers.problems = Some(report.errors.len() as u64);
        report.errors.iter().take(1).for_each(|error| record.set_error(&error.to_string()));
    });
    report.warnings.iter().for_each(|warning| output::warn(json, &warning.to_string()));
    let number = report.errors.len() as u64 + report.more;
    for error in report.errors.iter().map(ToString::to_string) {
        if json {
            output::eprint(&json!({"message_type": "error", "message": error}).to_string())
        } else {
            output::eprint(&output::printable(&error))
        }
    }
    if json {
        let index = report.subjects.contains_key(&Subject::Segment);
        let value = json!({
            "message_type": "summary",
            "num_errors": number,
            "broken_packs": Value::Null,
            "suggest_repair_index": index,
            "suggest_prune": false,
        });
        output::print(&value.to_string())?;
    }
    if number > 0 {
        return Ok(End::Code(1, "Fatal: repository contains errors".to_owned()));
    }
    if !json {
        print_line(context, "no errors were found")?;
    }
    Ok(End::Done)
}

pub(in crate::restic) fn repair(context: &Context, args: &flags::Repair) -> Result<End> {
    context.with(|repo| {
        let stop = stop_on_signals()?;
        let watch = Watch::start(&context.global, "repair", false);
        match args {
            flags::Repair::Index { .. } => {
                print_line(context, "loading indexes...\nrebuilding index")?;
                index::run(repo, false, &Control::new(&watch).with_cancel(&stop))?;
                print_line(context, "done")
            }
            flags::Repair::Packs(words) if words.words.is_empty() => {
                Err(Error::Usage("no ids specified".to_owned()))
            }
            flags::Repair::Packs(words) => {
                let options = packs::Options { ids: words.words.clone(), dry_run: false };
                packs::run(repo, &options, &Control::new(&watch).with_cancel(&stop))?;
                print_line(context, "done")
            }
            flags::Repair::Snapshots(args) => {
                let chosen = choose::several(repo, &args.snapshots, &args.filters)?;
                let is_all = args.snapshots.is_empty();
                let ids = if is_all { Vec::new() } else { choose::exactly(&chosen).selectors };
                if !is_all && chosen.is_empty() {
                    return print_line(context, &modified(0));
                }
                let options = snapshots::Options { ids, dry_run: args.dry_run };
                let report = snapshots::run(repo, &options, &Control::new(&watch).with_cancel(&stop))?;
                let is_replaced = |one: &&snapshots::Item| {
                    matches!(one.fate, SnapshotFate::Replaced(_) | SnapshotFate::Empty)
                };
                print_line(context, &modified(report.items.iter().filter(is_replaced).count()))
            }
        }
    })?;
    Ok(End::Done)
}

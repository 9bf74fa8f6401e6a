//! `snap rewrite`, `snap tag`, `snap pin` and `snap unpin`: change the metadata of snapshots, or remove
//! paths from them.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use snap_backup::fs::filter;
use snap_backup::model::entry::Time;
use snap_backup::model::id::SnapshotId;
use snap_backup::ops::forget::PolicyOptions;
use snap_backup::ops::forget::age::Age;
use snap_backup::ops::rewrite::{Change, Options, Report};
use snap_backup::ops::{forget, rewrite};
use snap_backup::repo::repository::Repository;
use snap_backup::repo::snapshots::filter::SnapshotQuery;
use snap_backup::{Control, Error, Result};

use super::expire;
use super::expire::Asked;
use super::shared::rewritten;
use super::shared::select::Among;
use crate::args::keep::Filters;
use crate::args::path_rules::PathRules;
use crate::args::{times, values};
use crate::context::Context;
use crate::exit::Outcome;
use crate::terminal::output::{self, count};
use crate::terminal::progress::{Progress, stop_on_signals};

#[derive(Debug, Args)]
#[command(
    after_help = "The new snapshots have new ids. `snap undelete` brings the replaced ones back, until a garbage \
    collection purges them."
)]
pub(crate) struct Rewrite {
    /// latest, latest~N, an id prefix, a date or a time [default: all that the filters select]
    #[arg(value_name = "SNAPSHOT", conflicts_with = "Filters")]
    snapshots: Vec<String>,
    /// Remove what matches; a leading slash means the root of the snapshot
    #[arg(short = 'e', long, value_name = "PATTERN", conflicts_with = "PathRules")]
    exclude: Vec<OsString>,
    /// Read such patterns from a file, one per line
    #[arg(long, value_name = "FILE", conflicts_with = "PathRules")]
    exclude_file: Vec<PathBuf>,
    /// Set the host name
    #[arg(long, value_name = "HOST", value_parser = values::host_name, conflicts_with = "PathRules")]
    new_host: Option<String>,
    /// Set the description; '': none
    #[arg(long, value_name = "TEXT", conflicts_with = "PathRules")]
    description: Option<String>,
    /// Let the snapshots expire then, whatever the rules say: a date, a time, a duration from now (30d), or
    /// never
    #[arg(long, value_name = "WHEN", value_parser = expiry, conflicts_with = "PathRules")]
    expires: Option<Expiry>,
    /// Add these tags
    #[arg(long = "add-tag", value_name = "TAG", value_delimiter = ',', conflicts_with = "PathRules")]
    add_tags: Vec<String>,
    /// Remove these tags
    #[arg(long = "remove-tag", value_name = "TAG", value_delimiter = ',', conflicts_with = "PathRules")]
    remove_tags: Vec<String>,
    /// Replace all tags with these; '': none
    #[arg(long = "set-tag", value_name = "TAG", value_delimiter = ',', conflicts_with_all = ["add_tags", "remove_tags", "PathRules"])]
    set_tags: Option<Vec<String>>,
    /// Also remove paths from pinned snapshots
    #[arg(long, conflicts_with = "PathRules")]
    force: bool,
    #[command(flatten)]
    paths: PathRules,
    /// Rules per path change no snapshot younger than this [default: from the set of --set]
    #[arg(long, value_name = "DURATION", value_parser = values::age, requires = "PathRules", help_heading = "Rules per path")]
    min_age: Option<Age>,
    /// Write nothing; only show what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
    #[command(flatten)]
    among: Among,
}

#[derive(Debug, Args)]
pub(crate) struct Tag {
    /// latest, latest~N, an id prefix, a date or a time [default: all that the filters select]
    #[arg(value_name = "SNAPSHOT", conflicts_with = "Filters")]
    snapshots: Vec<String>,
    /// Add these tags
    #[arg(long, value_name = "TAG", value_delimiter = ',')]
    add: Vec<String>,
    /// Remove these tags
    #[arg(long, value_name = "TAG", value_delimiter = ',')]
    remove: Vec<String>,
    /// Replace all tags with these; '': none
    #[arg(long, value_name = "TAG", value_delimiter = ',', conflicts_with_all = ["add", "remove"])]
    set: Option<Vec<String>>,
    /// Write nothing; only show what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
    #[command(flatten)]
    filters: Filters,
}

#[derive(Debug, Args)]
pub(crate) struct Pin {
    /// latest, latest~N, an id prefix, a date or a time
    #[arg(value_name = "SNAPSHOT", required = true)]
    snapshots: Vec<String>,
}

/// When a snapshot expires; `None` means never.
#[derive(Debug, Clone, Copy)]
struct Expiry(Option<Time>);

fn expiry(text: &str) -> Result<Expiry, String> {
    match text {
        "never" => Ok(Expiry(None)),
        _ => times::future(text).map(|at| Expiry(Some(at))),
    }
}

pub(crate) fn run(context: &Context, args: &Rewrite) -> Result<Outcome> {
    if !args.paths.is_empty() {
        return by_rules(context, args);
    }
    let mut exclude = args.exclude.clone();
    for file in &args.exclude_file {
        exclude.extend(filter::patterns_of(file)?);
    }
    let change = Change {
        host: args.new_host.clone(),
        description: args.description.clone(),
        set_tags: args.set_tags.clone(),
        add_tags: args.add_tags.clone(),
        remove_tags: args.remove_tags.clone(),
        alarm: None,
        pinned: None,
        expires: args.expires.map(|Expiry(at)| at),
    };
    if exclude.is_empty() && is_nothing(&change) {
        let why = "nothing to change: give --exclude, --expire, --keep-deleted, --new-host, --description, --expires or tags";
        return Err(Error::Usage(why.to_owned()));
    }
    args.among.with(context, |context, selection| {
        let choice = SnapshotQuery { selectors: args.snapshots.clone(), selection };
        let (force, dry_run) = (args.force, args.dry_run);
        apply(context, &Options { choice, change, exclude, force, dry_run })
    })
}

/// Removes paths by the rules per path.
fn by_rules(context: &Context, args: &Rewrite) -> Result<Outcome> {
    args.among.with(context, |context, selection| {
        let min_age = args.min_age.or(context.set_settings().min_age);
        context.with(|repo| {
            let asked = Asked {
                rules: &args.paths,
                choice: SnapshotQuery { selectors: args.snapshots.clone(), selection },
                except: &[],
                young: &young(repo, min_age)?,
                dry_run: args.dry_run,
                message_type: "summary",
            };
            Ok(expire::apply(context, repo, &asked)?.1)
        })
    })
}

/// Returns the snapshots that are too young to be changed by any rule.
fn young(repo: &Repository, min_age: Option<Age>) -> Result<Vec<SnapshotId>> {
    if min_age.is_none() {
        return Ok(Vec::new());
    }
    let options = PolicyOptions { min_age, dry_run: true, ..PolicyOptions::default() };
    Ok(expire::young(&forget::plan(repo, &options)?))
}

pub(crate) fn tag(context: &Context, args: &Tag) -> Result<Outcome> {
    let change = Change {
        set_tags: args.set.clone(),
        add_tags: args.add.clone(),
        remove_tags: args.remove.clone(),
        ..Change::default()
    };
    if is_nothing(&change) {
        return Err(Error::Usage("nothing to change: give --add, --remove or --set".to_owned()));
    }
    let choice = SnapshotQuery { selectors: args.snapshots.clone(), selection: args.filters.selection()? };
    apply(context, &Options { choice, change, dry_run: args.dry_run, ..Options::default() })
}

pub(crate) fn pin(context: &Context, args: &Pin, pinned: bool) -> Result<Outcome> {
    let choice = SnapshotQuery { selectors: args.snapshots.clone(), ..SnapshotQuery::default() };
    let change = Change { pinned: Some(pinned), ..Change::default() };
    apply(context, &Options { choice, change, ..Options::default() })
}

fn is_nothing(change: &Change) -> bool {
    let said = change.host.is_some() || change.description.is_some() || change.expires.is_some();
    let tags = change.set_tags.is_some() || !change.add_tags.is_empty() || !change.remove_tags.is_empty();
    !said && !tags && change.pinned.is_none()
}

fn apply(context: &Context, options: &Options) -> Result<Outcome> {
    context.with(|repo| {
        let stop = stop_on_signals()?;
        let progress = Progress::start(&context.global, "rewrite", false);
        let report = rewrite::run(repo, options, &Control::new(&progress).with_cancel(&stop));
        drop(progress);
        let report = report?;
        context.print_unmatched(&report.unmatched);
        if context.global.json {
            output::print(&json(&report, options.dry_run).to_string())?;
        } else if context.prints_success() {
            output::print(&human(&report, options))?;
        }
        let met = rewritten::warn_of_others(context, &report.rewritten, options.dry_run);
        Ok(if met { Outcome::Problems } else { Outcome::Done })
    })
}

fn human(report: &Report, options: &Options) -> String {
    let mut lines: Vec<String> =
        report.rewritten.iter().map(|one| rewritten::line(one, options.dry_run)).collect();
    let rewritten = count(report.rewritten.len() as u64, "snapshot", "snapshots");
    let unchanged = report.unchanged;
    lines.push(match (report.rewritten.is_empty(), options.dry_run) {
        (true, _) => format!("nothing to change in {}", count(unchanged, "snapshot", "snapshots")),
        (_, true) => format!("dry run: {rewritten} would be rewritten, {unchanged} not; nothing written"),
        (_, false) => format!("{rewritten} rewritten, {unchanged} stay"),
    });
    lines.join("\n")
}

fn json(report: &Report, dry_run: bool) -> Value {
    json!({
        "message_type": "summary",
        "rewritten": report.rewritten.iter().map(rewritten::to_json).collect::<Vec<_>>(),
        "unchanged": report.unchanged,
        "patterns_unmatched": report.unmatched,
        "dry_run": dry_run,
    })
}

//! `snap cleanup`: forgets snapshots that no rule keeps, then runs a garbage collection.

use snap_backup::model::id::SnapshotId;
use snap_backup::ops::forget::PolicyOptions;
use snap_backup::ops::forget::groups::Group;
use snap_backup::ops::forget::policy::Rule;
use snap_backup::ops::gc::MaxUnused;
use snap_backup::ops::{forget, gc as collect};
use snap_backup::repo::repository::Repository;
use snap_backup::repo::snapshots::filter::SnapshotQuery;
use snap_backup::{Error, Result};

use super::expire::Asked;
use super::shared::sets;
use super::{expire, forget as forgetting, gc, keep_below};
use crate::args::keep::Cleanup;
use crate::args::path_rules::PathRules;
use crate::commands::shared::hooks::Job;
use crate::context::Context;
use crate::exit::Outcome;
use crate::terminal::output;

/// Printed with the plan if there are no retention rules.
const NO_RULE: &str = "no rule says what to keep: give at least one rule (--keep-last N, --keep-daily N, \
    --keep-within 30d ...), in snap.toml ([sets.NAME.keep]), \
    or by BACKUP_RETENTION_DAYS";

pub(crate) fn run(context: &Context, args: &Cleanup) -> Result<Outcome> {
    let otherwise = args.filters.is_empty() && args.keep.rules().is_empty();
    let sets = sets::with_rules(context, &args.set, otherwise, true)?;
    if sets.is_empty() {
        return cleanup_set(context, args, true, &mut Vec::new());
    }
    let mut planned = Vec::new();
    let job = Job { verb: "cleanup", kind: None, dry_run: args.collect.dry_run, gate: None };
    sets::each(context, &sets, job, |context| {
        cleanup_set(context, args, sets::is_last_in_repository(context, &sets), &mut planned)
    })
}

/// Cleans up one set, or the whole repository. `collects` is false if another set of the same repository
/// follows. `planned` collects the snapshots that a dry run would forget, in all sets.
fn cleanup_set(
    context: &Context,
    args: &Cleanup,
    collects: bool,
    planned: &mut Vec<SnapshotId>,
) -> Result<Outcome> {
    context.begin("cleanup", args.collect.dry_run, |_| {});
    context.recorder.write_start();
    let options = PolicyOptions {
        selection: sets::selection(context, &args.filters)?,
        group_by: args.group_by,
        rules: rules(context, args)?,
        min_age: sets::min_age(context, &args.keep),
        dry_run: args.collect.dry_run,
    };
    let collecting = gc::options(&args.collect);
    let result = context.with(|repo| {
        let ruled = options.rules.iter().any(Rule::says_something);
        let paths = sets::path_rules(context, &args.paths);
        let line = args.keep_below.or(context.set_settings().keep_below);
        if !ruled && line.is_none() && paths.is_empty() {
            return refuse(context, repo, &options, collecting);
        }
        let mut groups = if ruled {
            forgetting::by_policy(context, repo, &options, collecting.empty_trash)?
        } else {
            forget::plan(repo, &options)?
        };
        let mut going = if ruled { forgetting::going(&groups) } else { Vec::new() };
        let mut fitted = Outcome::Done;
        let mut is_ahead = false;
        if !paths.is_empty() && !groups.is_empty() {
            let (changed, outcome) = expire_paths(context, repo, &options, &paths, &groups)?;
            fitted = outcome;
            is_ahead = changed > 0 && options.dry_run;
            if changed > 0 && line.is_some() && !options.dry_run {
                // Rewriting has changed the ids of snapshots.
                groups = forget::plan(repo, &options)?;
            }
        }
        let mut collecting = collecting;
        if let Some(line) = line {
            let asked = keep_below::Asked {
                groups: &groups,
                ruled,
                line,
                dry_run: options.dry_run,
                empty_trash: collecting.empty_trash,
                is_ahead,
            };
            let fit = keep_below::fit(context, repo, &asked)?;
            going.extend(fit.going);
            fitted = fitted.worse(if fit.fits { Outcome::Done } else { Outcome::Problems });
            // If space is short, packs are repacked until no unused data is left.
            collecting.max_unused = if fit.is_tight { MaxUnused::Share(0.0) } else { collecting.max_unused };
        }
        if options.dry_run {
            forgetting::foresee(context, repo, &going, collecting.empty_trash)?;
            planned.extend(going);
            collecting.forgotten.clone_from(planned);
        }
        if !collects {
            return Ok(fitted);
        }
        Ok(gc::collect(context, repo, &collecting)?.worse(fitted))
    });
    match result {
        Err(Error::NoRepository { location }) if !context.recorder.saved_to(&location) => {
            nothing_yet(context, &location)
        }
        result => result,
    }
}

/// Applies the rules per path to the selected snapshots. Returns how many snapshots changed, and the outcome.
fn expire_paths(
    context: &Context,
    repo: &Repository,
    options: &PolicyOptions,
    rules: &PathRules,
    groups: &[Group],
) -> Result<(usize, Outcome)> {
    let dry_run = options.dry_run;
    let ruled = options.rules.iter().any(Rule::says_something);
    let except = if dry_run && ruled { forgetting::going(groups) } else { Vec::new() };
    let young = expire::young(groups);
    let choice = SnapshotQuery { selection: options.selection.clone(), ..SnapshotQuery::default() };
    let (except, young) = (except.as_slice(), young.as_slice());
    let asked = Asked { rules, choice, except, young, dry_run, message_type: "expired" };
    match expire::apply(context, repo, &asked) {
        // The storage is full; the garbage collection that follows makes room.
        Err(err) if err.is_full() => {
            let text = format!("{}: rules per path are not applied until there is space", err.chain());
            output::warn(context.global.json, &text);
            Ok((0, Outcome::Problems))
        }
        other => other,
    }
}

/// Reports that there is no repository yet. This is not an error: a schedule may start a cleanup before the
/// first backup.
fn nothing_yet(context: &Context, location: &str) -> Result<Outcome> {
    let text = format!("nothing to clean up: there is no repository at {location} yet");
    if context.global.json {
        let line =
            serde_json::json!({ "message_type": "nothing_to_do", "repository": location, "reason": text });
        output::print(&line.to_string())?;
    } else if context.prints_success() {
        output::print(&text)?;
    }
    Ok(Outcome::Done)
}

/// Returns the given rules. If there are none, or only a number of full snapshots, returns those of the
/// legacy backup script if its variables are set.
fn rules(context: &Context, args: &Cleanup) -> Result<Vec<Rule>> {
    let given = sets::rules(context, args.keep.rules());
    let fulls = args.keep.fulls();
    if given.iter().any(|rule| !matches!(rule, Rule::Full(_))) {
        return Ok(given);
    }
    match &context.legacy {
        Some(legacy) => {
            let old = legacy.rules(fulls, context.legacy_alone().is_some())?;
            Ok(if old.is_empty() { given } else { old })
        }
        None => Ok(given),
    }
}

/// Shows the snapshots and what a garbage collection would free; writes nothing.
fn refuse(
    context: &Context,
    repo: &Repository,
    options: &PolicyOptions,
    collecting: collect::Options,
) -> Result<Outcome> {
    forgetting::print_groups(context, &forget::plan(repo, options)?, false)?;
    gc::collect(context, repo, &collect::Options { dry_run: true, ..collecting })?;
    if context.prints_success() && !context.global.json {
        output::print("nothing written")?;
    }
    Err(Error::Retention(NO_RULE.to_owned()))
}

//! Runs work for the sets of the configuration one after the other. A set that fails does not stop the
//! others.

use snap_backup::ops::forget::age::Age;
use snap_backup::ops::forget::policy::Rule;
use snap_backup::repo::snapshots::filter::SnapshotFilter;
use snap_backup::util::threads;
use snap_backup::{Error, Result};

use crate::args::keep::{Filters, Keep};
use crate::args::path_rules::PathRules;
use crate::commands::shared::hooks::{self, Job};
use crate::config::Set;
use crate::context::Context;
use crate::exit::{self, Outcome};
use crate::process::priority;
use crate::terminal::output;

/// Returns the named sets. Without names, returns all sets if `otherwise` is true, or none.
pub(crate) fn chosen(context: &Context, names: &[String], otherwise: bool) -> Result<Vec<Set>> {
    if names.is_empty() && !otherwise {
        return Ok(Vec::new());
    }
    if names.is_empty() { Ok(context.config.sets().to_vec()) } else { context.config.named_sets(names) }
}

/// Like [`chosen`] for retention: without names, sets without retention rules are left out. `cleanup` also
/// takes sets that have only `keep-below`, `expire` or `keep-deleted`.
pub(crate) fn with_rules(
    context: &Context,
    names: &[String],
    otherwise: bool,
    cleanup: bool,
) -> Result<Vec<Set>> {
    let mut sets = chosen(context, names, otherwise)?;
    if names.is_empty() {
        sets.retain(|set| if cleanup { set.is_cleaned() } else { !set.rules().is_empty() });
    }
    Ok(sets)
}

/// Runs the work for each set and returns the worst outcome.
pub(crate) fn each(
    context: &Context,
    sets: &[Set],
    job: Job<'_>,
    mut work: impl FnMut(&Context) -> Result<Outcome>,
) -> Result<Outcome> {
    let mut run = |set: &Set| {
        let of_set = context.for_set(set);
        let lowered = priority::apply(&of_set.global);
        let result = hooks::run(&of_set, job, || work(&of_set));
        lowered.undo(&of_set.global);
        threads::limit(context.global.threads.unwrap_or(0));
        result
    };
    if let [only] = sets {
        return run(only);
    }
    let mut worst = Outcome::Done;
    for set in sets {
        if context.prints_success() && !context.global.json {
            output::print(&format!("set {}", set.name))?;
        }
        let outcome = match run(set) {
            Ok(outcome) => outcome,
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(error) if error.is_broken_pipe() => return Err(error),
            Err(error) => Outcome::Failed(exit::report_error(&error, Some(&set.name), context.global.json)),
        };
        worst = worst.worse(outcome);
        if outcome == Outcome::Interrupted {
            break;
        }
    }
    Ok(worst)
}

/// Returns whether none of `sets` after that of the context is in the same repository. A garbage collection
/// covers the whole repository, so one is enough for all its sets.
pub(crate) fn is_last_in_repository(context: &Context, sets: &[Set]) -> bool {
    let is_current = |set: &Set| context.set.as_ref().is_some_and(|current| current.name == set.name);
    let mut later = sets.iter().rev().take_while(|set| !is_current(set));
    later.all(|set| context.for_set(set).global.repo != context.global.repo)
}

/// Returns the filter for the set's snapshots, or that of the command line.
pub(crate) fn selection(context: &Context, filters: &Filters) -> Result<SnapshotFilter> {
    context.set.as_ref().map_or_else(|| filters.selection(), |set| Ok(set.selection()))
}

/// Returns the age below which snapshots are always kept: the given one, or that of the set.
pub(crate) fn min_age(context: &Context, keep: &Keep) -> Option<Age> {
    keep.min_age().or(context.set_settings().min_age)
}

/// Returns the rules per path of the set and those given. A given duration replaces that of the set.
pub(crate) fn path_rules(context: &Context, given: &PathRules) -> PathRules {
    let mut rules = context.set.as_ref().map(Set::path_rules).unwrap_or_default();
    rules.expire.extend(given.expire.iter().cloned());
    rules.keep_deleted = given.keep_deleted.or(rules.keep_deleted);
    rules
}

/// Returns the given rules, or those of the set if none were given.
pub(crate) fn rules(context: &Context, given: Vec<Rule>) -> Vec<Rule> {
    match &context.set {
        Some(set) if given.is_empty() => set.rules(),
        _ => given,
    }
}

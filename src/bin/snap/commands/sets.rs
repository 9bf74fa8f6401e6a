//! Work for the sets of the configuration, one after the other: one that fails keeps no other from its turn.

use snap_backup::ops::forget::policy::Rule;
use snap_backup::repo::snapshots::filter::SnapshotFilter;
use snap_backup::{Error, Result};

use crate::args::keep::Filters;
use crate::commands::hooks;
use crate::commands::hooks::Job;
use crate::config::Set;
use crate::context::Context;
use crate::exit;
use crate::exit::Outcome;
use crate::terminal::output;

/// The sets of these names; where there are none and nothing else says what is meant, `otherwise`, all.
pub(crate) fn chosen(context: &Context, names: &[String], otherwise: bool) -> Result<Vec<Set>> {
    if names.is_empty() && !otherwise {
        return Ok(Vec::new());
    }
    if names.is_empty() { Ok(context.config.sets().to_vec()) } else { context.config.named_sets(names) }
}

/// The same for retention: a set that is not named and says nothing of it is left alone.
pub(crate) fn with_rules(context: &Context, names: &[String], otherwise: bool) -> Result<Vec<Set>> {
    let mut sets = chosen(context, names, otherwise)?;
    if names.is_empty() {
        sets.retain(|set| !set.rules().is_empty());
    }
    Ok(sets)
}

/// Does the work for each. The worst of what came of it.
pub(crate) fn each(
    context: &Context,
    sets: &[Set],
    job: Job<'_>,
    mut work: impl FnMut(&Context) -> Result<Outcome>,
) -> Result<Outcome> {
    let mut run = |set: &Set| {
        let context = context.for_set(set);
        hooks::run(&context, job, || work(&context))
    };
    if let [only] = sets {
        return run(only);
    }
    let mut worst = Outcome::Done;
    for set in sets {
        if context.talks() && !context.global.json {
            output::tell(&format!("set {}", set.name))?;
        }
        let outcome = match run(set) {
            Ok(outcome) => outcome,
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(error) if error.is_broken_pipe() => return Err(error),
            Err(error) => Outcome::Failed(exit::tell(&error, Some(&set.name), context.global.json)),
        };
        worst = worst.worse(outcome);
        if outcome == Outcome::Interrupted {
            break;
        }
    }
    Ok(worst)
}

/// The snapshots of the set, else those that the filters choose.
pub(crate) fn selection(context: &Context, filters: &Filters) -> Result<SnapshotFilter> {
    context.set.as_ref().map_or_else(|| filters.selection(), |set| Ok(set.selection()))
}

/// The rules that were given, else those of the set.
pub(crate) fn rules(context: &Context, given: Vec<Rule>) -> Vec<Rule> {
    match &context.set {
        Some(set) if given.is_empty() => set.rules(),
        _ => given,
    }
}

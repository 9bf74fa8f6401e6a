//! `snap forget`: moves snapshots to the trash.

use serde_json::{Value, json};
use snap_backup::model::id::SnapshotId;
use snap_backup::ops::forget::groups::{Group, GroupKey};
use snap_backup::ops::forget::policy::Decision;
use snap_backup::ops::forget::{Forgotten, Options, PolicyOptions};
use snap_backup::ops::{forget, gc as collect, stats};
use snap_backup::repo::repository::Repository;
use snap_backup::repo::snapshots;
use snap_backup::{Control, Error, Result};

use super::gc;
use super::shared::{select, sets};
use crate::args::keep;
use crate::commands::shared::hooks::Job;
use crate::context::Context;
use crate::exit::Outcome;
use crate::terminal::json::without_nulls;
use crate::terminal::output::{self, count};
use crate::terminal::progress::stop_on_signals;

/// Printed if there are no retention rules.
const NO_RULE: &str = "no rule says what to keep: give at least one rule (--keep-last N, --keep-daily N, \
    --keep-within 30d ...) or name snapshots";

pub(crate) fn run(context: &Context, args: &keep::Forget) -> Result<Outcome> {
    let otherwise = args.snapshots.is_empty() && args.filters.is_empty() && args.keep.rules().is_empty();
    let sets = sets::with_rules(context, &args.set, otherwise, false)?;
    if sets.is_empty() {
        return forget_set(context, args, args.prune, &mut Vec::new());
    }
    let mut planned = Vec::new();
    let job = Job { verb: "forget", kind: None, dry_run: args.dry_run, gate: None };
    sets::each(context, &sets, job, |context| {
        let collects = args.prune && sets::is_last_in_repository(context, &sets);
        forget_set(context, args, collects, &mut planned)
    })
}

/// Forgets the snapshots of one set, or of the whole repository. `collects` is false without `--prune` and if
/// another set of the same repository follows. `planned` collects the snapshots that a dry run would forget,
/// in all sets.
fn forget_set(
    context: &Context,
    args: &keep::Forget,
    collects: bool,
    planned: &mut Vec<SnapshotId>,
) -> Result<Outcome> {
    context.begin("forget", args.dry_run, |_| {});
    context.recorder.write_start();
    context.with(|repo| {
        let going = if args.snapshots.is_empty() {
            let options = PolicyOptions {
                selection: sets::selection(context, &args.filters)?,
                group_by: args.group_by,
                rules: sets::rules(context, args.keep.rules()),
                min_age: sets::min_age(context, &args.keep),
                dry_run: args.dry_run,
            };
            if !args.filters.is_empty() {
                select::warn_if_unmatched(context, repo, &options.selection)?;
            }
            going(&by_policy(context, repo, &options, false)?)
        } else {
            by_name(context, repo, args)?
        };
        // By rules, the JSON output is one array, like restic's, unless a garbage collection follows.
        let is_array = context.global.json && args.snapshots.is_empty() && !args.prune;
        if args.dry_run && !is_array {
            foresee(context, repo, &going, false)?;
        }
        planned.extend(going);
        if !collects {
            return Ok(Outcome::Done);
        }
        let (dry_run, forgotten) = (args.dry_run, planned.clone());
        gc::collect(context, repo, &collect::Options { dry_run, forgotten, ..collect::Options::default() })
    })
}

fn by_name(context: &Context, repo: &Repository, args: &keep::Forget) -> Result<Vec<SnapshotId>> {
    let options = Options {
        selectors: args.snapshots.clone(),
        allow_remove_all: args.allow_remove_all,
        force: args.force,
        dry_run: args.dry_run,
    };
    let forgotten = forget::run(repo, &options)?;
    context.recorder.update(|record| record.numbers.forgotten = Some(forgotten.len() as u64));
    if context.global.json {
        print_json(&forgotten, args.dry_run)?;
    } else if context.prints_success() {
        let kept = snapshots::list(repo)?
            .iter()
            .filter(|one| forgotten.iter().all(|gone| gone.id != one.id))
            .count();
        print(&forgotten, kept, args.dry_run)?;
    }
    Ok(forgotten.iter().map(|one| one.id).collect())
}

fn print(forgotten: &[Forgotten], kept: usize, dry_run: bool) -> Result<()> {
    for one in forgotten {
        let when = one.manifest.as_ref().map_or_else(
            || "unreadable".to_owned(),
            |manifest| format!("{} of {}", manifest.kind, output::local(manifest.started)),
        );
        let done = if dry_run { "would forget" } else { "forgot" };
        output::print(&format!("{done} snapshot {} ({when})", one.id.short()))?;
    }
    output::print(&ending(forgotten.len(), kept, dry_run, false))
}

fn print_json(forgotten: &[Forgotten], dry_run: bool) -> Result<()> {
    let ids: Vec<String> = forgotten.iter().map(|one| one.id.hex()).collect();
    output::print(&json!({"message_type": "summary", "forgotten": ids, "dry_run": dry_run}).to_string())
}

fn ending(number: usize, kept: usize, dry_run: bool, empty_trash: bool) -> String {
    let number = count(number as u64, "snapshot", "snapshots");
    match (dry_run, empty_trash) {
        (true, _) => format!("dry run: {number} would be forgotten, {kept} kept; nothing written"),
        (false, true) => format!("{number} forgotten, {kept} kept: --empty-trash purges them now"),
        (false, false) => format!(
            "{number} forgotten, {kept} kept: `snap undelete` brings them back until `snap gc` purges them"
        ),
    }
}

/// Returns the snapshots that no rule keeps.
pub(crate) fn going(groups: &[Group]) -> Vec<SnapshotId> {
    let going = groups.iter().flat_map(|group| &group.decisions).filter(|one| !one.stays());
    going.map(|one| one.snapshot.id).collect()
}

/// Forgets the snapshots that no rule keeps, and prints for each snapshot why it is kept or forgotten. With
/// `empty_trash`, the run purges them at once.
pub(crate) fn by_policy(
    context: &Context,
    repo: &Repository,
    options: &PolicyOptions,
    empty_trash: bool,
) -> Result<Vec<Group>> {
    let groups = forget::by_policy(repo, options).map_err(|err| match err {
        Error::Retention(_) => Error::Retention(NO_RULE.to_owned()),
        other => other,
    })?;
    print_groups(context, &groups, true)?;
    let kept = groups.iter().flat_map(|group| &group.decisions).filter(|one| one.stays()).count();
    let going = going(&groups);
    context.recorder.update(|record| record.numbers.forgotten = Some(going.len() as u64));
    if context.prints_success() && !context.global.json {
        match going.len() {
            0 => output::print(&format!(
                "nothing to forget: {} kept",
                count(kept as u64, "snapshot", "snapshots")
            ))?,
            number => output::print(&ending(number, kept, options.dry_run, empty_trash))?,
        }
    }
    Ok(groups)
}

/// Prints what purging these snapshots would free. A dry run of gc reports only the total of its run, in
/// which snapshots in the trash may still need the data. With `empty_trash`, the run purges them at once.
pub(crate) fn foresee(
    context: &Context,
    repo: &Repository,
    going: &[SnapshotId],
    empty_trash: bool,
) -> Result<()> {
    if going.is_empty() {
        return Ok(());
    }
    let freed = match stats::freed(repo, going, &Control::default().with_cancel(&stop_on_signals()?)) {
        // The list of snapshots is valid even if their size is unknown.
        Err(err) if err.is_damage() => {
            let text = format!("the space that would be freed is not known: {}", err.chain());
            output::warn(context.global.json, &text);
            return Ok(());
        }
        freed => freed?,
    };
    if context.global.json {
        let value = json!({
            "message_type": "forecast",
            "snapshots": going.len(),
            "bytes": freed.only.plain,
            "bytes_stored": freed.only.stored,
            "bytes_freed": freed.bytes,
        });
        return output::print(&value.to_string());
    }
    if !context.prints_success() {
        return Ok(());
    }
    let purged = if empty_trash {
        ", which --empty-trash purges now"
    } else {
        " and freed when they are purged, after a day or with --empty-trash"
    };
    output::print(&format!("{} of packs are used only by these snapshots{purged}", output::size(freed.bytes)))
}

/// Prints every snapshot with its reasons; the JSON output has restic's structure. If not `decided`, there
/// were no rules, and all snapshots are shown as kept.
pub(crate) fn print_groups(context: &Context, groups: &[Group], decided: bool) -> Result<()> {
    if context.global.json {
        let groups: Vec<Value> = groups.iter().map(|group| json_of(group, decided)).collect();
        return output::print(&Value::from(groups).to_string());
    }
    if !context.prints_success() {
        return Ok(());
    }
    for group in groups {
        output::print(&human(group, decided))?;
    }
    Ok(())
}

fn human(group: &Group, decided: bool) -> String {
    let (all, staying) = (group.decisions.len(), group.decisions.iter().filter(|one| one.stays()).count());
    let mut text = title(&group.key);
    text += &if decided { format!(": keep {staying} of {all}") } else { format!(": {all}") };
    for one in &group.decisions {
        let (id, manifest) = (one.snapshot.id.short(), &one.snapshot.manifest);
        let started = output::local(manifest.started);
        let word = match (one.stays(), decided) {
            (true, _) => "keep",
            (false, true) => "forget",
            (false, false) => "?",
        };
        let kind = manifest.kind.to_string();
        text += &format!("\n  {word:<6}  {id}  {started}  {kind:<12}  {}", reason(one, decided));
    }
    text
}

/// Formats the key of a group: `host vm, paths /a /b`.
pub(crate) fn title(key: &GroupKey) -> String {
    let mut parts = Vec::new();
    if let Some(host) = &key.host {
        parts.push(format!("host {}", output::printable(host)));
    }
    if let Some(paths) = &key.paths {
        let paths: Vec<String> = paths.iter().map(|path| output::path(path)).collect();
        parts.push(format!("paths {}", paths.join(" ")));
    }
    if let Some(tags) = &key.tags {
        parts.push(format!("tags [{}]", output::printable(&tags.join(", "))));
    }
    if let Some(slot) = key.writer {
        parts.push(format!("key {}", slot.short()));
    }
    if parts.is_empty() { "all snapshots".to_owned() } else { parts.join(", ") }
}

fn reason(decision: &Decision, decided: bool) -> String {
    if decision.stays() {
        let reasons: Vec<String> = decision.reasons.iter().map(ToString::to_string).collect();
        return output::printable(&reasons.join("; "));
    }
    let expired = decision.expired.map(|at| format!("expired at {}", output::local(at)));
    let rule = if decided { "no rule keeps it" } else { "no rule was given" };
    let rule = expired.as_deref().unwrap_or(rule);
    match &decision.successor {
        Some((by, at)) => format!("{rule}; replaced by {} at {}", by.short(), output::local(*at)),
        None => rule.to_owned(),
    }
}

fn json_of(group: &Group, decided: bool) -> Value {
    let part = |stays: bool| -> Vec<Value> {
        let chosen = group.decisions.iter().filter(|one| (one.stays() || !decided) == stays);
        chosen.map(|one| Value::Object(output::snapshot(&one.snapshot))).collect()
    };
    let reasons = group.decisions.iter().filter(|one| one.stays()).map(|one| {
        let matches: Vec<String> = one.reasons.iter().map(ToString::to_string).collect();
        json!({"snapshot": output::snapshot(&one.snapshot), "matches": matches})
    });
    let replaced = group.decisions.iter().filter(|one| !one.stays()).filter_map(|one| {
        let (by, at) = one.successor?;
        let time = output::rfc3339(at);
        Some(json!({"id": one.snapshot.id.hex(), "by": by.hex(), "time": time}))
    });
    let key = &group.key;
    let paths = key.paths.as_ref().map(|paths| {
        paths.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect::<Vec<String>>()
    });
    without_nulls(json!({
        "host": key.host,
        "paths": paths,
        "tags": key.tags,
        "keep": part(true),
        "remove": part(false),
        "reasons": reasons.collect::<Vec<Value>>(),
        "replaced": replaced.collect::<Vec<Value>>(),
    }))
}

//! `restic forget` and `restic prune`.

use serde_json::{Value, json};
use snap_backup::ops::forget::groups::Group;
use snap_backup::ops::forget::policy::{Count, Decision, Period, Rule};
use snap_backup::ops::forget::{Options, PolicyOptions};
use snap_backup::ops::gc::Report;
use snap_backup::ops::{forget, gc};
use snap_backup::repo::read::read_session::ReadSession;
use snap_backup::repo::repository::Repository;
use snap_backup::repo::snapshots::{self, Snapshot};
use snap_backup::{Control, Error, Result};

use super::snapshots::{key_of, table};
use crate::args::keep;
use crate::commands::gc::record_numbers;
use crate::context::Context;
use crate::restic::codes::{End, refused};
use crate::restic::lines::size;
use crate::restic::watch::Watch;
use crate::restic::{choose, flags, shapes};
use crate::terminal::output;
use crate::terminal::progress::stop_on_signals;

pub(in crate::restic) fn run(context: &Context, args: &flags::Forget) -> Result<End> {
    if args.unsafe_allow_remove_all {
        let why = "rules always keep the newest snapshot of each host and its sources; give its id to \
                   forget it";
        return Err(refused("--unsafe-allow-remove-all", why));
    }
    let rules = rules(args);
    if args.snapshots.is_empty() && !rules.iter().any(Rule::says_something) {
        return Err(Error::Usage("no policy was specified, no snapshots will be removed".to_owned()));
    }
    if !args.snapshots.is_empty() && !rules.is_empty() {
        return Err(Error::Usage("--keep-* and snapshot IDs exclude each other".to_owned()));
    }
    context.begin("forget", args.dry_run, |_| {});
    context.recorder.write_start();
    context.with(|repo| {
        let gone = if args.snapshots.is_empty() {
            by_rules(context, repo, args, rules)?
        } else {
            by_name(context, repo, args)?
        };
        context.recorder.update(|record| record.numbers.forgotten = Some(gone as u64));
        if !args.prune || gone == 0 {
            return Ok(End::Done);
        }
        if !context.global.json && !context.global.quiet {
            let done = if args.dry_run { "would be" } else { "have been" };
            output::print(&format!("{gone} snapshots {done} removed, running prune"))?;
        }
        collect(context, repo, &args.how, args.dry_run, context.global.json)
    })
}

fn rules(args: &flags::Forget) -> Vec<Rule> {
    let counts = [
        args.keep_last,
        args.keep_hourly,
        args.keep_daily,
        args.keep_weekly,
        args.keep_monthly,
        args.keep_yearly,
    ];
    let ages = [
        args.keep_within,
        args.keep_within_hourly,
        args.keep_within_daily,
        args.keep_within_weekly,
        args.keep_within_monthly,
        args.keep_within_yearly,
    ];
    keep::rules(counts, ages, std::iter::empty(), &args.keep_tag)
}

/// Formats the rules as restic does.
fn policy(rules: &[Rule]) -> String {
    let number = |count: &Count| match count {
        Count::All => "all".to_owned(),
        Count::UpTo(number) => number.to_string(),
    };
    let word = |period: &Period| match period {
        Period::Hour => "hourly",
        Period::Day => "daily",
        Period::Week => "weekly",
        Period::Month => "monthly",
        Period::Year => "yearly",
    };
    let (mut counts, mut rest) = (Vec::new(), String::new());
    for rule in rules {
        match rule {
            Rule::Last(count) => counts.push(format!("{} latest", number(count))),
            Rule::Every(period, count) => counts.push(format!("{} {}", number(count), word(period))),
            Rule::Within(age) => rest += &format!(" and all snapshots within {age} of the newest"),
            Rule::WithinEvery(period, age) => {
                rest += &format!(" and all {} snapshots within {age} of the newest", word(period));
            }
            Rule::Tags(tags) => rest += &format!(" and all snapshots with tags [{}]", tags.join(", ")),
            _ => {}
        }
    }
    let counts = if counts.is_empty() { String::new() } else { format!("{} snapshots", counts.join(", ")) };
    let text = format!("{counts}{rest}");
    format!("keep {}", text.strip_prefix(" and ").unwrap_or(&text))
}

fn by_rules(context: &Context, repo: &Repository, args: &flags::Forget, rules: Vec<Rule>) -> Result<usize> {
    let filters = flags::Filters { host: args.host.clone(), tag: args.tag.clone(), path: args.path.clone() };
    let talks = !context.global.json && !context.global.quiet;
    if talks {
        output::print(&format!("Applying Policy: {}", output::printable(&policy(&rules))))?;
    }
    let options = PolicyOptions {
        selection: choose::selection(&filters)?,
        group_by: args.group_by,
        rules,
        min_age: None,
        dry_run: args.dry_run,
    };
    let groups = forget::by_policy(repo, &options)?;
    let going: Vec<&Decision> =
        groups.iter().flat_map(|group| &group.decisions).filter(|one| !one.stays()).collect();
    if context.global.json && !groups.is_empty() {
        let all: Vec<Value> = groups.iter().map(object).collect();
        output::print(&Value::from(all).to_string())?;
    } else if talks {
        for group in &groups {
            output::print(&text(group, args.compact))?;
        }
        if args.dry_run && !going.is_empty() {
            let ids: Vec<String> = going.iter().map(|one| one.snapshot.id.short()).collect();
            output::print(&format!("Would have removed the following snapshots:\n{{{}}}\n", ids.join(" ")))?;
        } else if !going.is_empty() {
            output::print(&deleted(going.len()))?;
        }
    }
    Ok(going.len())
}

fn deleted(number: usize) -> String {
    format!("[0:00] 100.00%  {number} / {number} files deleted")
}

fn matches(one: &Decision) -> Vec<String> {
    one.reasons.iter().map(ToString::to_string).collect()
}

fn object(group: &Group) -> Value {
    let part = |stays: bool| -> Option<Vec<Value>> {
        let chosen = group.decisions.iter().rev().filter(|one| one.stays() == stays);
        let all: Vec<Value> = chosen.map(|one| Value::Object(shapes::snapshot(&one.snapshot))).collect();
        Some(all).filter(|all| !all.is_empty())
    };
    let reasons = group.decisions.iter().rev().filter(|one| one.stays());
    let reasons =
        reasons.map(|one| json!({"snapshot": shapes::snapshot(&one.snapshot), "matches": matches(one)}));
    let reasons = Some(reasons.collect::<Vec<Value>>()).filter(|all| !all.is_empty());
    let key = key_of(&group.key);
    let of = |name: &str| key.get(name).cloned().unwrap_or_default();
    json!({
        "tags": of("tags"),
        "host": of("hostname"),
        "paths": of("paths"),
        "keep": part(true),
        "remove": part(false),
        "reasons": reasons,
    })
}

fn text(group: &Group, compact: bool) -> String {
    let part = |stays: bool| group.decisions.iter().filter(|one| one.stays() == stays).collect::<Vec<_>>();
    let list = |part: &[&Decision]| part.iter().map(|one| one.snapshot.clone()).collect::<Vec<Snapshot>>();
    let mut lines = Vec::new();
    for (word, part, with_reasons) in [("keep", part(true), true), ("remove", part(false), false)] {
        if part.is_empty() {
            continue;
        }
        let reasons: Vec<Vec<String>> =
            if with_reasons { part.iter().map(|one| matches(one)).collect() } else { Vec::new() };
        lines.push(format!("{word} {} snapshots:", part.len()));
        let list = list(&part);
        lines.extend(table(&list.iter().collect::<Vec<_>>(), &reasons, compact));
        lines.push(String::new());
    }
    lines.pop();
    lines.join("\n") + "\n"
}

fn by_name(context: &Context, repo: &Repository, args: &flags::Forget) -> Result<usize> {
    let none = flags::Filters { host: vec![String::new()], ..flags::Filters::default() };
    let chosen = choose::several(repo, &args.snapshots, &none)?;
    if chosen.is_empty() {
        return Ok(0);
    }
    let options = Options {
        selectors: choose::exactly(&chosen).selectors,
        // Snapshots that are named explicitly may be the last ones.
        allow_remove_all: true,
        force: false,
        dry_run: args.dry_run,
    };
    let gone = forget::run(repo, &options)?.len();
    if !context.global.json && !context.global.quiet {
        let ids: Vec<String> = chosen.iter().map(|one| one.id.short()).collect();
        output::print(&if args.dry_run {
            format!("Would have removed the following snapshots:\n{{{}}}\n", ids.join(" "))
        } else {
            deleted(gone)
        })?;
    }
    Ok(gone)
}

pub(in crate::restic) fn prune(context: &Context, args: &flags::Prune) -> Result<End> {
    context.begin("gc", args.dry_run, |_| {});
    context.recorder.write_start();
    context.with(|repo| collect(context, repo, &args.how, args.dry_run, false))
}

/// Runs a garbage collection. Like restic, it reports in text even with `--json`, unless `is_silent`.
fn collect(
    context: &Context,
    repo: &Repository,
    how: &flags::Collect,
    dry_run: bool,
    is_silent: bool,
) -> Result<End> {
    let options = gc::Options {
        max_unused: how.max_unused,
        max_repack: how.max_repack_size,
        reseal: false,
        delta: false,
        empty_trash: false,
        dry_run,
        forgotten: Vec::new(),
    };
    let before = chunks(repo)?;
    let speaks = !is_silent && !context.global.quiet;
    if speaks {
        output::print(&stages(snapshots::list(repo)?.len()))?;
    }
    let watch = Watch::start(&context.global, "gc", false);
    let result = gc::run(repo, &options, &Control::new(&watch).with_cancel(&stop_on_signals()?));
    drop(watch);
    let report = result?;
    record_numbers(context, &report);
    if speaks {
        output::print(&format_report(&report, (before, chunks(repo)?), dry_run))?;
    }
    match report.lost {
        0 => Ok(End::Done),
        lost => Ok(End::Code(
            1,
            format!("Fatal: {lost} blobs that snapshots need are missing or damaged: run check"),
        )),
    }
}

/// Returns the lines that restic prints between the stages of a run, which programs look for.
fn stages(snapshots: usize) -> String {
    format!(
        "loading all snapshots...\nfinding data that is still in use for {snapshots} snapshots\n\
         searching used packs...\ncollecting packs for deletion and repacking"
    )
}

/// Returns the number of chunks, including copies.
fn chunks(repo: &Repository) -> Result<u64> {
    let session = ReadSession::open(repo, repo.control().observer())?;
    let chunks = session.fixed_index()?.chunks();
    session.close()?;
    Ok(chunks)
}

/// Formats the report. A dry run does not know how many chunks would be removed.
fn format_report(report: &Report, (before, remaining): (u64, u64), dry_run: bool) -> String {
    let after = report.before.saturating_add(report.bytes_written).saturating_sub(report.bytes_deleted);
    let would = if dry_run { "\nWould have made the following changes:\n" } else { "" };
    let share = if after == 0 { 0.0 } else { report.unused as f64 / after as f64 * 100.0 };
    let gone = before.saturating_sub(remaining);
    let repacked = match report.packs_moved {
        0 => format!("{:>8} blobs / 0 B", 0),
        packs => format!("{packs:>8} packs / {}", size(report.bytes_written)),
    };
    let mut text = format!(
        "{would}\nto repack:      {repacked}\nthis removes:   {:>8} blobs / 0 B\nto delete:      {gone:>8} blobs / {}\n\
         total prune:    {gone:>8} blobs / {}\nremaining:      {remaining:>8} blobs / {}\n\
         unused size after prune: {} ({share:.2}% of remaining size)",
        0,
        size(report.bytes_deleted),
        size(report.bytes_deleted.saturating_sub(report.bytes_written)),
        size(after),
        size(report.unused),
    );
    if report.in_trash > 0 {
        text += &format!(
            "\nlater: {} snapshots can be brought back for a day (`snap undelete`), with {} only in them",
            report.in_trash,
            size(report.trash_plain)
        );
    }
    if dry_run { text } else { text + "\n\ndone" }
}

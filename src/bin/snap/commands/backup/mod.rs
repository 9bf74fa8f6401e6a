//! `snap backup`: saves a snapshot.

mod options;
mod summary;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use serde_json::{Map, Value};
use snap_backup::model::entry::Time;
use snap_backup::model::tripwire::{self, AlarmReason};
use snap_backup::ops::backup::{Options, Report};
use snap_backup::ops::{backup, receipt};
use snap_backup::repo::repository::Repository;
use snap_backup::repo::write::delta_writer::Delta;
use snap_backup::run_log::{Numbers, RunRecord};
use snap_backup::storage::Storage;
use snap_backup::util::new_file;
use snap_backup::{Control, Error, Result};

use super::init;
use super::shared::mirror::Mirrors;
use super::shared::{sets, start_conditions};
use crate::args::filter::FilterArgs;
use crate::args::pace::Pace;
use crate::args::{times, values};
use crate::commands::shared::hooks::Job;
use crate::config::Set;
use crate::context::Context;
use crate::exit::{Outcome, outcome};
use crate::terminal::output;
use crate::terminal::progress::{Progress, stop_on_signals};
use crate::trust;

use options::{kind, level, options, reread};

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// Write nothing; only show what would be done
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Back up this set of the configuration; can be repeated. Without it, and without PATHs, all sets
    #[arg(long, value_name = "NAME", conflicts_with_all = ["paths", "files_from", "stdin", "stdin_from_command", "store_as"])]
    pub(crate) set: Vec<String>,
    /// Read sources from a file, one per line; -: standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) files_from: Vec<PathBuf>,
    /// Back up standard input as one file
    #[arg(long, conflicts_with_all = ["stdin_from_command", "files_from", "paths"])]
    pub(crate) stdin: bool,
    /// Name of the file that --stdin or --stdin-from-command creates
    #[arg(long, value_name = "NAME", default_value = "stdin")]
    pub(crate) stdin_filename: OsString,
    /// Back up the output of a command as one file: -- COMMAND ARGUMENT...
    #[arg(long, requires = "paths", conflicts_with = "files_from")]
    pub(crate) stdin_from_command: bool,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    /// Read every file completely, even if size and timestamps are unchanged
    #[arg(long, conflicts_with_all = ["incremental", "differential"])]
    pub(crate) full: bool,
    /// Compare with the newest snapshot of the same host and sources (the default)
    #[arg(long, conflicts_with = "differential")]
    pub(crate) incremental: bool,
    /// Compare with the newest full snapshot
    #[arg(long)]
    pub(crate) differential: bool,
    /// Compare with this snapshot
    #[arg(long, value_name = "SNAPSHOT", conflicts_with = "full")]
    pub(crate) parent: Option<String>,
    /// Ignore the ctime when looking for changed files
    #[arg(long)]
    pub(crate) ignore_ctime: bool,
    /// Save a snapshot even if nothing changed, filters exclude all of a source, or standard input is empty
    #[arg(long)]
    pub(crate) allow_empty: bool,
    /// Raise no alarm about changes, because they are intended
    #[arg(long)]
    pub(crate) expect_change: bool,
    /// Also read this share of the unchanged files to find bit rot, others in each run (off: none)
    #[arg(long, value_name = "N%", conflicts_with_all = ["full", "stdin", "stdin_from_command"], value_parser = values::reread)]
    pub(crate) reread: Option<u64>,
    /// Add this tag to the snapshot
    #[arg(long = "tag", value_name = "TAG", value_delimiter = ',')]
    pub(crate) tags: Vec<String>,
    /// Description of the snapshot
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
    /// Let the snapshot expire then, whatever the rules say: a date, a time, or a duration from now (30d)
    #[arg(long, value_name = "WHEN", value_parser = times::future)]
    pub(crate) expires: Option<Time>,
    /// Record this host name instead of the machine's
    #[arg(long, value_parser = values::host_name)]
    pub(crate) host: Option<String>,
    /// Store the source under this path
    #[arg(long = "as", value_name = "PATH", value_parser = OsStringValueParser::new().try_map(values::stored_path))]
    pub(crate) store_as: Option<OsString>,
    /// Create the repository if it does not exist
    #[arg(long)]
    pub(crate) init: bool,
    /// With --init: create it without encryption
    #[arg(long, requires = "init")]
    pub(crate) no_encryption: bool,
    /// With --init: store parity for each pack, as a percentage of its size
    #[arg(long, value_name = "N%", requires = "init", value_parser = values::parity)]
    pub(crate) parity: Option<u8>,
    /// Compression: fast, default, best, none or a zstd level
    #[arg(long, value_name = "LEVEL", value_parser = values::level)]
    pub(crate) compression: Option<i32>,
    /// Compress each file below DIR separately, so that sizes reveal nothing about other files: for mail,
    /// uploads and other data from strangers
    #[arg(long, value_name = "DIR")]
    pub(crate) isolate: Vec<PathBuf>,
    /// Store chunks that are similar to stored ones as deltas: auto (unless the repository is remote), on or
    /// off
    #[arg(long, value_name = "WHEN", value_parser = values::delta)]
    pub(crate) delta: Option<Delta>,
    /// Also update this second copy of the repository, as `snap sync` would; can be repeated
    #[arg(long, value_name = "REPO")]
    pub(crate) mirror: Vec<OsString>,
    #[command(flatten)]
    pub(crate) pace: Pace,
    /// Write a receipt to this file; with it, `snap audit --receipt` detects that the repository was rolled
    /// back
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    pub(crate) receipt: Option<PathBuf>,
    /// What to back up
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<OsString>,
}

impl Backup {
    /// Returns whether the arguments name sources.
    fn names_sources(&self) -> bool {
        self.stdin || !self.paths.is_empty() || !self.files_from.is_empty()
    }
}

pub(crate) fn run(context: &Context, args: &Backup) -> Result<Outcome> {
    let sets = sets::chosen(context, &args.set, !args.names_sources())?;
    let gate = |context: &Context| start_conditions::of_backup(context, &args.pace);
    if sets.is_empty() {
        if let Some(why) = gate(context)?.filter(|_| !args.dry_run) {
            return start_conditions::tell(context, &why).map(|()| Outcome::Skipped);
        }
        return backup_set(context, args);
    }
    if args.receipt.is_some() && sets.len() > 1 {
        return Err(Error::Usage("a receipt covers one set: give it with --set".into()));
    }
    let kind = |set: &Set| kind(args, &set.settings).to_string();
    let job = Job { verb: "backup", kind: Some(&kind), dry_run: args.dry_run, gate: Some(&gate) };
    sets::each(context, &sets, job, |context| backup_set(context, args))
}

/// Backs up the named sources, or a set.
fn backup_set(context: &Context, args: &Backup) -> Result<Outcome> {
    let legacy = context.legacy.as_ref().filter(|_| !args.names_sources());
    let kind = kind(args, &context.set_settings());
    context.begin("backup", args.dry_run, |record| record.kind = Some(kind.to_string()));
    let mut options = options(context, args, legacy)?;
    options.leave_out.extend(context.global.state().into_iter().chain(context.global.cache()));
    if let Ok((host, sources)) = options.set() {
        context.recorder.update(|record| record.set_sources(&host, &sources));
        options.reread = reread(context, args, &host, &sources);
    }
    context.recorder.write_start();
    let (repo, begun) = open(context, args, &options)?;
    if options.delta == Delta::On && !repo.config().has_deltas() {
        let why = "this repository does not allow deltas, so none are made: `snap config set delta on` \
                   allows them";
        output::warn(context.global.json, why);
    }
    let (repo, mirrors) = mirrors(context, args, repo)?;
    context.with_open(&repo, |repo| {
        let progress = Progress::start(&context.global, "backup", true).for_stream(options.stdin.is_some());
        let result = begun.run(repo, &Control::new(&progress).with_cancel(&stop_on_signals()?));
        drop(progress);
        let mut summary = result?;
        context.print_unmatched(&summary.unmatched);
        context.recorder.update(|record| record_of(&summary, record));
        if context.global.json {
            output::print(&json(context, &summary, options.dry_run).to_string())?;
        } else if context.prints_success() {
            output::print(&summary::human(context, repo, &summary, &options))?;
        }
        tell_alarm(context, &summary, options.dry_run);
        if let Some(file) = &args.receipt {
            write_receipt(repo, &summary, file)?;
        }
        summary.problems.retain(|problem| !options.optional.contains(&problem.path));
        if let Some(quota) = summary.quota {
            return Err(Error::Quota { quota });
        }
        if summary.time_up {
            context.recorder.update(|run| run.set_error("the time limit was reached"));
            return Ok(Outcome::TimeUp);
        }
        if summary.partial {
            return Ok(Outcome::Interrupted);
        }
        let diverged = if repo.diverged().is_empty() { Outcome::Done } else { Outcome::Problems };
        repo.diverged().iter().take(1).for_each(|what| context.recorder.update(|run| run.set_error(what)));
        let alarm = if summary.alarm.is_empty() || options.dry_run { Outcome::Done } else { Outcome::Alarm };
        Ok(outcome(&summary.problems).worse(diverged).worse(mirrors.end(context, repo)?).worse(alarm))
    })
}

/// Writes the receipt of the new snapshot, or of the newest one if nothing has changed.
fn write_receipt(repo: &Repository, summary: &Report, file: &Path) -> Result<()> {
    let Some(id) = summary.snapshot.or(summary.newest) else { return Ok(()) };
    let text = receipt::text(&receipt::for_snapshot(repo, &id)?)?;
    new_file::replace(file, text.as_bytes()).map_err(Error::io("write the receipt", file))
}

/// Reports the alarm in one sentence, with a hint.
fn tell_alarm(context: &Context, summary: &Report, dry_run: bool) {
    if summary.alarm.is_empty() {
        return;
    }
    let (json, why) = (context.global.json, tripwire::sentence(&summary.alarm));
    if dry_run {
        return output::warn(json, &format!("this backup would raise an alarm: {why}"));
    }
    let is_rot = tripwire::is_only_rot(&summary.alarm);
    let head = if is_rot { "ALARM" } else { "ALARM, this backup differs from earlier ones" };
    output::warn(json, &format!("{head}: {why}"));
    if context.prints_success()
        && summary.alarm.iter().any(|reason| matches!(reason, AlarmReason::Rot { .. }))
    {
        let note = "`snap heal` lists files with bit rot and restores them";
        output::note(json, note);
    }
    if context.prints_success() {
        let note = "older snapshots of these sources are kept until `snap alarm accept` (an intended change) or \
            `snap alarm clear` (harm that was repaired)";
        output::note(json, note);
    }
}

/// Opens the repository. The walk starts as soon as no more questions must be asked, because deriving a key
/// takes a while.
fn open(context: &Context, args: &Backup, options: &Options) -> Result<(Repository, backup::Backup)> {
    let storage = context.storage()?;
    let begin = |storage: &dyn Storage| {
        backup::Backup::begin(
            options.clone(),
            Some(storage.location().into()),
            &Control::default().with_cancel(&stop_on_signals()?),
        )
    };
    let own = context.repository_settings();
    let makes = args.init || context.legacy_alone().is_some() || own.init;
    if !makes || Repository::exists(&*storage)? {
        let found = context.find(&*storage)?;
        let mut access = context.access(&found, &storage.location())?;
        if !args.no_encryption {
            let is_intended = context.legacy_alone().is_some() || own.no_encryption;
            let (known, location) = (context.known(&*storage), storage.location());
            trust::warn_if_unknown_and_unencrypted(
                &context.global,
                is_intended,
                &found,
                (&known, &location),
            )?;
        }
        let begun = begin(&*storage)?;
        return Ok((context.open_found(storage, &found, &mut access)?, begun));
    }
    let asked = init::Missing {
        no_encryption: args.no_encryption,
        parity: args.parity.unwrap_or(0),
        level: level(context, args),
        init: args.init,
        dry_run: args.dry_run,
    };
    let repo = init::make_missing(context, storage, asked)?;
    let begun = begin(repo.storage())?;
    Ok((repo, begun))
}

/// Returns the given mirrors, otherwise those of the set.
fn mirrors(context: &Context, args: &Backup, repo: Repository) -> Result<(Repository, Mirrors)> {
    let names = match (args.mirror.is_empty(), context.set.as_ref()) {
        _ if args.dry_run => Vec::new(),
        (true, Some(set)) => set.mirrors(),
        _ => args.mirror.clone(),
    };
    Mirrors::begin(context, repo, &names, args.init || context.repository_settings().init)
}

/// Copies the summary of a run to its record in the run log.
pub(crate) fn record_of(summary: &Report, record: &mut RunRecord) {
    let counts = &summary.counts;
    record.made = Some(summary.kind.to_string());
    record.unchanged = summary.snapshot.is_none() && !summary.partial;
    record.snapshot = summary.snapshot.or(summary.newest).map(|id| id.hex());
    record.cursor = summary.reread.map(|reread| reread.next);
    record.numbers = Numbers {
        files: Some(output::files(counts)),
        bytes: Some(counts.bytes_total),
        bytes_read: Some(counts.bytes_read),
        bytes_added: Some(counts.bytes_added),
        bytes_stored: Some(counts.bytes_stored),
        problems: Some(summary.problems.len() as u64),
        repository_bytes: Some(summary.repository_bytes),
        ..Numbers::default()
    };
    if !summary.alarm.is_empty() {
        record.set_error(&tripwire::sentence(&summary.alarm));
    } else if let Some(problem) = summary.problems.first() {
        record.set_error(&problem.to_string());
    }
}

fn json(context: &Context, summary: &Report, dry_run: bool) -> Value {
    let mut map = Map::new();
    map.insert("message_type".to_owned(), "summary".into());
    map.extend(output::counts(&summary.counts));
    map.extend(output::more_counts(Some(summary.more)));
    let mut put = |name: &str, value: Value| map.insert(name.to_owned(), value);
    if let Some(set) = &context.set {
        put("set", set.name.clone().into());
    }
    put("total_duration", summary.duration.as_secs_f64().into());
    put("kind", summary.kind.to_string().into());
    if let Some(parent) = summary.parent {
        put("parent", parent.hex().into());
    }
    put("dry_run", dry_run.into());
    put("partial", summary.partial.into());
    if summary.time_up {
        put("time_up", true.into());
    }
    put("unchanged", summary.unchanged.into());
    put("bytes_healed", summary::healed(summary).into());
    put("patterns_unmatched", summary.unmatched.clone().into());
    put("files_vanished", summary.vanished.into());
    put("deltas", output::deltas(&summary.deltas));
    put("files_changed_while_read", summary.changing.into());
    if !summary.alarm.is_empty() {
        put("alarm", tripwire::sentence(&summary.alarm).into());
    }
    if let Some(reread) = &summary.reread {
        put("files_reread", reread.files.into());
        put("bytes_reread", reread.bytes.into());
    }
    for reason in &summary.alarm {
        if let AlarmReason::Rot { files, first } = reason {
            put("files_corrupt", (*files).into());
            put("corrupt", first.iter().map(|path| output::path(path)).collect::<Vec<_>>().into());
        }
    }
    if let Some(id) = summary.snapshot {
        put("snapshot_id", id.hex().into());
    }
    Value::Object(map)
}

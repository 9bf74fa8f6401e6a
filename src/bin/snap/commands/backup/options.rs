//! What `snap backup` saves, and how: the arguments, and the settings of the set.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use jiff::Timestamp;
use snap_backup::fs::filter;
use snap_backup::model::manifest::SnapshotKind;
use snap_backup::model::tripwire::Limits;
use snap_backup::ops::backup::{Options, Reread, Stdin, TimeLimit};
use snap_backup::run_log::{RunLog, RunRecord, set_id};
use snap_backup::{Error, Result};

use crate::commands::backup::Backup;
use crate::commands::shared::start_conditions;
use crate::compat::Legacy;
use crate::config::Set;
use crate::config::model::SetSettings;
use crate::context::Context;
use crate::terminal::progress::Progress;

pub(super) fn level(context: &Context, args: &Backup) -> Option<i32> {
    let of_set = || context.set_settings().compression.and_then(|level| level.0);
    args.compression.or_else(of_set).or(context.repository_settings().compression.0)
}

pub(super) fn options(context: &Context, args: &Backup, legacy: Option<&Legacy>) -> Result<Options> {
    let set = context.set.as_ref();
    let (sources, stdin) = match (set, legacy) {
        (Some(set), _) => (set.sources().to_vec(), None),
        (None, Some(legacy)) => (legacy.sources.clone(), None),
        (None, None) => sources(args)?,
    };
    let own = context.set_settings();
    Ok(Options {
        sources,
        kind: kind(args, &own),
        tags: tags(args, set),
        description: args.description.clone(),
        expires: args.expires,
        host: args.host.clone().or_else(|| set.and_then(Set::host)),
        filter: args.filter.add_to(set.map(Set::filter).unwrap_or_default()),
        one_file_system: args.filter.one_file_system || own.one_file_system,
        parent: args.parent.clone(),
        ignore_ctime: args.ignore_ctime || own.ignore_ctime,
        allow_empty: args.allow_empty || own.allow_empty,
        dry_run: args.dry_run,
        level: level(context, args),
        store_as: args.store_as.as_ref().map(|path| path.as_bytes().to_vec()),
        stdin,
        isolate: args.isolate.iter().cloned().chain(own.isolate).collect(),
        delta: args.delta.unwrap_or(own.delta),
        leave_out: Vec::new(),
        // Some sources of the legacy script may be missing.
        optional: legacy.map_or(Ok(Vec::new()), Legacy::missing)?,
        count_ahead: Progress::is_watched(&context.global),
        tripwire: set.map_or_else(|| Some(Limits::default()), Set::tripwire),
        expect_change: args.expect_change,
        reread: None,
        recorded: None,
        time_limit: time_limit(context, args).filter(|_| !args.dry_run),
        limit_read: args.pace.limit_read.or(own.limit_read.map(|rate| rate.0)),
    })
}

/// Share of unchanged files that scheduled runs read again, in millionths.
const SCHEDULED: u64 = 10_000;

/// Returns the share of files to read again: the given one, that of the set, or the default. The run log
/// contains the position where the last run ended.
pub(super) fn reread(context: &Context, args: &Backup, host: &str, sources: &[Vec<u8>]) -> Option<Reread> {
    let of_set = || context.set_settings().reread.map(|share| share.0);
    let default = if context.due().is_some() { SCHEDULED } else { 0 };
    let share = args.reread.or_else(of_set).unwrap_or(default);
    if share == 0 {
        return None;
    }
    let last = || {
        let location = context.storage().ok()?.location();
        let runs = RunLog::new(context.global.state()?).read().ok()?.runs;
        let id = set_id(host, sources);
        let of_set = |run: &&RunRecord| {
            run.verb == "backup" && run.repository == location && run.set_id.as_deref() == Some(&id)
        };
        runs.iter().rev().filter(of_set).find_map(|run| run.cursor)
    };
    Some(Reread { share, from: last() })
}

/// Returns when the run ends with a partial snapshot: after the given time, or when the window closes,
/// whichever is first.
fn time_limit(context: &Context, args: &Backup) -> Option<TimeLimit> {
    let of_set = || context.set_settings().max_duration.map(|time| time.0);
    let most = args.pace.max_duration.or_else(of_set);
    let end = most.and_then(|most| Instant::now().checked_add(most)).map(TimeLimit::at);
    let closing = start_conditions::window(context, &args.pace).map(|(window, zone)| {
        let closes = window.closes(Timestamp::now(), &zone);
        TimeLimit::when(move || Timestamp::now() >= closes)
    });
    match (end, closing) {
        (Some(end), closing) => Some(end.or(closing)),
        (None, closing) => closing,
    }
}

pub(super) fn kind(args: &Backup, own: &SetSettings) -> SnapshotKind {
    match (args.full, args.incremental, args.differential) {
        (true, ..) => SnapshotKind::Full,
        (_, true, _) => SnapshotKind::Incremental,
        (.., true) => SnapshotKind::Differential,
        _ => own.kind,
    }
}

/// Returns the given tags and those of the set.
fn tags(args: &Backup, set: Option<&Set>) -> Vec<String> {
    let mut tags = set.map(Set::tags).unwrap_or_default();
    for tag in args.tags.iter().filter(|tag| !tag.is_empty()) {
        if !tags.contains(tag) {
            tags.push(tag.clone());
        }
    }
    tags
}

fn sources(args: &Backup) -> Result<(Vec<PathBuf>, Option<Stdin>)> {
    if args.stdin || args.stdin_from_command {
        let command = args.stdin_from_command.then(|| args.paths.clone());
        return Ok((Vec::new(), Some(Stdin { name: args.stdin_filename.as_bytes().to_vec(), command })));
    }
    let mut sources: Vec<PathBuf> = args.paths.iter().map(PathBuf::from).collect();
    for list in &args.files_from {
        sources.extend(lines(list)?);
    }
    if sources.is_empty() {
        return Err(Error::Usage("nothing to save: give a PATH, --files-from or --stdin, or sets in snap.toml (`snap config init`)".to_owned()));
    }
    Ok((sources, None))
}

/// Reads the lines of a list as bytes, in any encoding and without interpreting patterns.
fn lines(list: &Path) -> Result<Vec<PathBuf>> {
    let mut bytes = Vec::new();
    if list == Path::new("-") {
        io::stdin().lock().read_to_end(&mut bytes).map_err(Error::io("read", "standard input"))?;
    } else {
        bytes = std::fs::read(list).map_err(Error::io("read", list))?;
    }
    let text = filter::text_of(&bytes, list)?;
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    // A name may end with a carriage return. If all do, the list comes from another system.
    let is_foreign = lines.iter().all(|line| line.ends_with(b"\r"));
    let lines = lines.into_iter().map(|line| line.strip_suffix(b"\r").filter(|_| is_foreign).unwrap_or(line));
    let lines = lines.filter(|line| !line.is_empty());
    Ok(lines.map(|line| OsString::from_vec(line.to_vec()).into()).collect())
}

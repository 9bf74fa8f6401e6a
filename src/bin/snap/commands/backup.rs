//! `snap backup`: saves a snapshot.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde_json::Value;
use snap_backup::model::manifest::SnapshotKind;
use snap_backup::ops::backup::{self, Options, Stdin, Summary};
use snap_backup::store::repository::{ChunkerProfile, Repository};
use snap_backup::tree::filter::FilterOptions;
use snap_backup::{Error, Result};

use super::{Context, init, outcome};
use crate::args;
use crate::output::{self, count, duration, size};
use crate::progress::{Progress, stop_on_signals};
use crate::report::Outcome;

/// What a new repository gets when no --compression is given.
const LEVEL: i32 = 3;

pub(super) fn run(context: &Context, args: &args::Backup) -> Result<Outcome> {
    let options = options(args)?;
    let repo = open(context, args)?;
    context.watch(&repo, |repo| {
        let stop = stop_on_signals()?;
        let progress = Progress::start(&context.global, "backup", true);
        let result = backup::run(repo, &options, &progress, &stop);
        drop(progress);
        let summary = result?;
        if context.global.json {
            output::tell(&json(&summary, options.dry_run).to_string())?;
        } else if context.talks() {
            output::tell(&human(&summary, &options))?;
        }
        Ok(if summary.partial { Outcome::Interrupted } else { outcome(&summary.problems) })
    })
}

fn open(context: &Context, args: &args::Backup) -> Result<Repository> {
    let storage = context.storage()?;
    if !args.init || Repository::exists(&*storage)? {
        return context.open(storage);
    }
    if args.dry_run {
        return Err(Error::Usage(
            "--init would make a repository and --dry-run writes nothing: leave out one".into(),
        ));
    }
    let level = args.compression.unwrap_or(LEVEL);
    let repo = init::create(context, storage, args.no_encryption, ChunkerProfile::default(), level)?;
    if context.talks() && !context.global.json {
        output::tell(&init::made(&repo, args.no_encryption))?;
    }
    Ok(repo)
}

fn options(args: &args::Backup) -> Result<Options> {
    let (sources, stdin) = sources(args)?;
    let kind = match (args.full, args.differential) {
        (true, _) => SnapshotKind::Full,
        (_, true) => SnapshotKind::Differential,
        _ => SnapshotKind::Incremental,
    };
    let filter = FilterOptions {
        exclude: args.exclude.clone(),
        iexclude: args.iexclude.clone(),
        exclude_files: args.exclude_file.clone(),
        exclude_if_present: args.exclude_if_present.clone(),
        exclude_caches: args.exclude_caches,
        larger_than: args.exclude_larger_than,
        gitignore: args.gitignore,
    };
    Ok(Options {
        sources,
        kind,
        tags: args.tags.iter().filter(|tag| !tag.is_empty()).cloned().collect(),
        host: args.host.clone(),
        filter,
        one_file_system: args.one_file_system,
        parent: args.parent.clone(),
        ignore_ctime: args.ignore_ctime,
        allow_empty: args.allow_empty,
        dry_run: args.dry_run,
        level: args.compression,
        store_as: args.store_as.as_ref().map(|path| path.as_bytes().to_vec()),
        stdin,
    })
}

fn sources(args: &args::Backup) -> Result<(Vec<PathBuf>, Option<Stdin>)> {
    if args.stdin || args.stdin_from_command {
        let command = args.stdin_from_command.then(|| args.paths.clone());
        return Ok((Vec::new(), Some(Stdin { name: args.stdin_filename.as_bytes().to_vec(), command })));
    }
    let mut sources: Vec<PathBuf> = args.paths.iter().map(PathBuf::from).collect();
    for list in &args.files_from {
        sources.extend(lines(list)?);
    }
    if sources.is_empty() {
        return Err(Error::Usage("nothing to save: name a PATH, --files-from or --stdin".to_owned()));
    }
    Ok((sources, None))
}

/// Names are bytes: no line is refused for its encoding, and no pattern is seen in it.
fn lines(list: &Path) -> Result<Vec<PathBuf>> {
    let mut bytes = Vec::new();
    if list == Path::new("-") {
        io::stdin().lock().read_to_end(&mut bytes).map_err(Error::io("read", "standard input"))?;
    } else {
        bytes = std::fs::read(list).map_err(Error::io("read", list))?;
    }
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    Ok(lines.map(|line| OsString::from_vec(line.to_vec()).into()).collect())
}

fn json(summary: &Summary, dry_run: bool) -> Value {
    let mut map = output::counts(&summary.counts);
    let mut put = |name: &str, value: Value| map.insert(name.to_owned(), value);
    put("message_type", "summary".into());
    put("total_duration", summary.seconds.into());
    put("kind", summary.kind.to_string().into());
    put("parent", summary.parent.map(|id| id.hex()).into());
    put("dry_run", dry_run.into());
    put("partial", summary.partial.into());
    if let Some(id) = summary.snapshot {
        put("snapshot_id", id.hex().into());
    }
    Value::Object(map)
}

fn human(summary: &Summary, options: &Options) -> String {
    let counts = &summary.counts;
    let mut text = format!("{} backup", summary.kind);
    if summary.kind != options.kind {
        text += &format!(" (not {}: there was nothing to compare with)", options.kind);
    } else if let Some(parent) = summary.parent {
        text += &format!(", compared with snapshot {}", parent.short());
    }
    text += &format!(
        "\nfiles:   {} new, {} changed, {} unchanged, {} removed; {}",
        counts.files_new,
        counts.files_changed,
        counts.files_unchanged,
        counts.files_removed,
        count(counts.dirs, "directory", "directories"),
    );
    text += &format!("\nread:    {} of {}", size(counts.bytes_read), size(counts.bytes_total));
    text += &format!("\nadded:   {}, stored as {}", size(counts.bytes_added), size(counts.bytes_stored));
    if counts.bytes_stored > 0 && counts.bytes_added > 0 {
        text += &format!(" (ratio {:.2})", counts.bytes_added as f64 / counts.bytes_stored as f64);
    }
    text += &format!("\ntime:    {}", duration(summary.seconds));
    if !summary.problems.is_empty() {
        let number = summary.problems.len() as u64;
        text +=
            &format!("\n{} not read completely: see the warnings", count(number, "item was", "items were"));
    }
    text + "\n" + &ending(summary, options)
}

fn ending(summary: &Summary, options: &Options) -> String {
    let partial = if summary.partial {
        " (partial: interrupted before the end; the next run builds on it)"
    } else {
        ""
    };
    match (summary.snapshot, summary.newest) {
        (Some(id), _) => format!("snapshot {} saved{partial}", id.short()),
        (None, Some(newest)) if !options.dry_run && !summary.partial => {
            format!("nothing changed since snapshot {}: nothing written", newest.short())
        }
        (None, Some(newest)) if !summary.partial => {
            format!("dry run: nothing changed since snapshot {}, no snapshot would be saved", newest.short())
        }
        (None, _) if options.dry_run => {
            format!("dry run: nothing written; a snapshot would be saved{partial}")
        }
        (None, _) => format!("no snapshot saved{partial}"),
    }
}

//! `restic backup`.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use snap_backup::fs::filter::{self, FilterOptions};
use snap_backup::model::entry::Time;
use snap_backup::model::manifest::SnapshotKind;
use snap_backup::ops::backup::{self, Options, Report, Stdin};
use snap_backup::repo::repository::Repository;
use snap_backup::repo::snapshots;
use snap_backup::{Control, Error, Result};

use crate::commands::backup::record_of;
use crate::context::Context;
use crate::restic::codes::{End, INCOMPLETE, refused};
use crate::restic::lines::{duration, size};
use crate::restic::watch::Watch;
use crate::restic::{choose, flags, ids, variables};
use crate::terminal::output;
use crate::terminal::progress::{Progress, stop_on_signals};

pub(in crate::restic) fn run(context: &Context, args: &flags::Backup, level: Option<i32>) -> Result<End> {
    refuse(args)?;
    context.begin("backup", args.dry_run, |_| {});
    let mut options = options(context, args, level)?;
    if let Ok((host, sources)) = options.set() {
        context.recorder.update(|record| record.set_sources(&host, &sources));
    }
    context.recorder.write_start();
    let repo = context.open(context.storage()?)?;
    if let Some(by) = &args.group_by
        && options.parent.is_none()
        && !args.force
    {
        let of_group = parent(&repo, &options, by)?;
        options.kind = if of_group.is_some() { SnapshotKind::Incremental } else { SnapshotKind::Full };
        options.parent = of_group;
    }
    context.with_open(&repo, |repo| {
        let stop = stop_on_signals()?;
        let watch = Watch::start(&context.global, "backup", true);
        let begin = Time::now();
        let begun = backup::Backup::begin(
            options.clone(),
            Some(repo.location().into()),
            &Control::default().with_cancel(&stop),
        )?;
        let result = begun.run(repo, &Control::new(&watch).with_cancel(&stop));
        drop(watch);
        let summary = result?;
        context.recorder.update(|record| record_of(&summary, record));
        match context.global.json {
            true => output::print(&json(&summary, begin, args.dry_run).to_string())?,
            false if context.global.quiet => {}
            false => output::print(&text(&summary, context.global.verbose, args))?,
        }
        if summary.partial {
            return Err(Error::Interrupted);
        }
        let is_empty = options.stdin.is_some() && summary.counts.bytes_total == 0;
        if summary.problems.is_empty() && repo.diverged().is_empty() && !is_empty {
            return Ok(End::Done);
        }
        let why = match repo.diverged().first() {
            Some(what) => format!("Warning: {what}"),
            None if is_empty => "Warning: no data was read from standard input".to_owned(),
            None => "Warning: at least one source file could not be read".to_owned(),
        };
        Ok(End::Code(INCOMPLETE, why))
    })
}

fn refuse(args: &flags::Backup) -> Result<()> {
    if args.time.is_some() {
        return Err(refused("--time", "a snapshot always has the time at which it was made"));
    }
    if args.with_atime {
        return Err(refused("--with-atime", "access times are not saved"));
    }
    Ok(())
}

fn options(context: &Context, args: &flags::Backup, level: Option<i32>) -> Result<Options> {
    let (sources, stdin) = sources(args)?;
    let mut iexclude = args.iexclude.clone();
    for file in &args.iexclude_file {
        iexclude.extend(filter::patterns_of(file)?);
    }
    let filter = FilterOptions {
        exclude: args.exclude.clone(),
        iexclude,
        exclude_files: args.exclude_file.clone(),
        exclude_if_present: args.exclude_if_present.clone(),
        exclude_caches: args.exclude_caches,
        larger_than: args.exclude_larger_than,
        ..FilterOptions::default()
    };
    Ok(Options {
        sources,
        kind: if args.force { SnapshotKind::Full } else { SnapshotKind::Incremental },
        tags: choose::tags(&args.tag),
        host: args.host.clone().or_else(variables::host).filter(|host| !host.is_empty()),
        filter,
        one_file_system: args.one_file_system,
        parent: args.parent.as_ref().filter(|_| !args.force).map(|id| ids::cut(id).0.to_owned()),
        ignore_ctime: args.ignore_ctime || args.ignore_inode,
        // Restic saves a snapshot even if nothing has changed.
        allow_empty: !args.skip_if_unchanged,
        dry_run: args.dry_run,
        level,
        stdin,
        leave_out: context.global.state().into_iter().chain(context.global.cache()).collect(),
        count_ahead: Progress::is_watched(&context.global),
        ..Options::default()
    })
}

fn sources(args: &flags::Backup) -> Result<(Vec<PathBuf>, Option<Stdin>)> {
    let lists = [&args.files_from, &args.files_from_raw, &args.files_from_verbatim];
    let has_lists = lists.iter().any(|list| !list.is_empty());
    if args.stdin || args.stdin_from_command {
        if has_lists || args.stdin && !args.paths.is_empty() {
            return Err(Error::Usage(
                "--stdin was specified and files/dirs were listed as arguments".to_owned(),
            ));
        }
        let name = args.stdin_filename.as_bytes();
        // The name is that of a file at the root of the snapshot.
        let name = name.strip_prefix(b"/").unwrap_or(name).to_vec();
        let command = args.stdin_from_command.then(|| args.paths.clone());
        return Ok((Vec::new(), Some(Stdin { name, command })));
    }
    let mut sources: Vec<PathBuf> = args.paths.iter().map(PathBuf::from).collect();
    for file in &args.files_from {
        sources.extend(plain_lines(&bytes_of(file)?)?);
    }
    for file in &args.files_from_raw {
        sources.extend(variables::raw_names(&bytes_of(file)?).into_iter().map(PathBuf::from));
    }
    for file in &args.files_from_verbatim {
        let bytes = bytes_of(file)?;
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        sources.extend(lines.map(|line| PathBuf::from(OsString::from_vec(line.to_vec()))));
    }
    if sources.is_empty() {
        return Err(Error::Usage("nothing to backup, please specify source files/dirs".to_owned()));
    }
    Ok((sources, None))
}

fn bytes_of(file: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut bytes).map(|_| ())
    } else {
        std::fs::read(file).map(|read| bytes = read)
    }
    .map_err(Error::io("read", file))?;
    Ok(bytes)
}

fn plain_lines(bytes: &[u8]) -> Result<Vec<PathBuf>> {
    let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with(b"#"));
    let one = |line: &[u8]| {
        if line.iter().any(|byte| b"*?[".contains(byte)) {
            Err(refused(
                &format!("the pattern {} in --files-from", String::from_utf8_lossy(line)),
                "give file names, or use --files-from-verbatim",
            ))
        } else {
            Ok(PathBuf::from(OsString::from_vec(line.to_vec())))
        }
    };
    lines.map(one).collect()
}

/// Returns the newest snapshot of the same group.
fn parent(
    repo: &Repository,
    options: &Options,
    by: &snap_backup::ops::forget::groups::GroupBy,
) -> Result<Option<String>> {
    let (host, sources) = options.set()?;
    let all = snapshots::list(repo)?;
    let same = |one: &&snapshots::Snapshot| {
        let manifest = &one.manifest;
        let same_sources = manifest.sources.len() == sources.len()
            && manifest.sources.iter().zip(&sources).all(|(one, other)| one[..] == other[..]);
        let same_tags = manifest.tags.len() == options.tags.len()
            && manifest.tags.iter().all(|tag| options.tags.contains(tag));
        !manifest.partial
            && (!by.host || manifest.host == host)
            && (!by.paths || same_sources)
            && (!by.tags || same_tags)
    };
    Ok(all.iter().rev().find(same).map(|one| one.id.hex()))
}

fn json(summary: &Report, begin: Time, dry_run: bool) -> Value {
    let mut map = serde_json::Map::new();
    let mut put = |name: &str, value: Value| map.insert(name.to_owned(), value);
    put("message_type", "summary".into());
    if dry_run {
        put("dry_run", true.into());
    }
    for (name, value) in output::restic_counts(&summary.counts, Some(summary.more)) {
        put(&name, value);
    }
    put("total_duration", summary.duration.as_secs_f64().into());
    put("backup_start", output::rfc3339(begin).into());
    put("backup_end", output::rfc3339(Time::now()).into());
    if let Some(id) = &summary.snapshot {
        put("snapshot_id", ids::long(id).into());
    }
    json!(map)
}

fn text(summary: &Report, verbose: u8, args: &flags::Backup) -> String {
    let (counts, more) = (&summary.counts, &summary.more);
    let line = |name: &str, [new, changed, same]: [u64; 3]| {
        format!("\n{name:<12} {new:>5} new, {changed:>5} changed, {same:>5} unmodified")
    };
    let mut text = match summary.parent {
        Some(parent) => format!("using parent snapshot {}\n", parent.short()),
        None => "no parent snapshot found, will read all files\n".to_owned(),
    };
    text += &line("Files:", [counts.files_new, counts.files_changed, counts.files_unchanged]);
    text += &line("Dirs:", [more.dirs_new, more.dirs_changed, more.dirs_unchanged]);
    if verbose > 0 {
        text +=
            &format!("\nData Blobs:  {:>5} new\nTree Blobs:  {:>5} new", more.data_chunks, more.tree_chunks);
    }
    let added = if args.dry_run { "Would add to the repository" } else { "Added to the repository" };
    text +=
        &format!("\n{added}: {:<5} ({:<5} stored)\n", size(counts.bytes_added), size(counts.bytes_stored));
    let (files, bytes) = (output::files(counts), size(counts.bytes_total));
    text += &format!("\nprocessed {files} files, {bytes} in {}", duration(summary.duration.as_secs_f64()));
    match summary.snapshot {
        Some(id) => text + &format!("\nsnapshot {} saved", id.short()),
        None if args.dry_run => text,
        None => text + "\nskipped creating snapshot",
    }
}

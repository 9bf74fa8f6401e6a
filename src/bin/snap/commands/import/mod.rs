//! `snap import`: imports an archive, or the directory of the legacy backup script, as snapshots; its
//! subcommands import data of other programs.

mod dated;
pub(crate) mod foreign;
pub(crate) mod trees;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use snap_backup::model::entry::Time;
use snap_backup::ops::import::{self, LegacyOptions, LegacySummary, Options, Report};
use snap_backup::progress::{Event, Observer};
use snap_backup::repo::repository::Repository;
use snap_backup::repo::snapshots;
use snap_backup::storage::Storage;
use snap_backup::{Control, Error, Result};

use crate::args::values;
use crate::commands::init;
use crate::context::Context;
use crate::exit::{Outcome, outcome};
use crate::terminal::output::{self, count, duration, size};
use crate::terminal::progress::{Progress, stop_on_signals};

#[derive(Debug, Args)]
#[command(
    subcommand_negates_reqs = true,
    subcommand_value_name = "SOURCE",
    subcommand_help_heading = "Other sources"
)]
pub(crate) struct Import {
    #[command(subcommand)]
    pub(crate) other: Option<Other>,
    /// A tar, tar.gz or tar.zst archive; -: standard input. For a file named like a subcommand, write ./trees
    #[arg(value_name = "ARCHIVE", required_unless_present = "legacy", conflicts_with = "legacy")]
    pub(crate) archive: Option<PathBuf>,
    /// Archive directory of the legacy backup script: every backup of its chain becomes a snapshot
    #[arg(long, value_name = "DIR")]
    pub(crate) legacy: Option<PathBuf>,
    /// With --legacy: a source that the script backed up, as a path on this machine [default: from the
    /// script's variables]; the snapshots belong to the set of these sources
    #[arg(long = "source", value_name = "PATH", requires = "legacy")]
    pub(crate) sources: Vec<PathBuf>,
    /// Store the archive's members below this path
    #[arg(long = "as", value_name = "PATH", value_parser = OsStringValueParser::new().try_map(values::stored_path), conflicts_with = "legacy")]
    pub(crate) store_as: Option<OsString>,
    /// Record this time instead of the current time
    #[arg(long, value_name = "TIME", conflicts_with = "legacy")]
    pub(crate) time: Option<String>,
    /// Add this tag to the snapshot
    #[arg(long = "tag", value_name = "TAG", value_delimiter = ',')]
    pub(crate) tags: Vec<String>,
    #[command(flatten)]
    pub(crate) repository: NewRepository,
    /// Record this host name instead of the machine's
    #[arg(long, value_parser = values::host_name)]
    pub(crate) host: Option<String>,
    /// Compression: fast, default, best, none or a zstd level
    #[arg(long, value_name = "LEVEL", value_parser = values::level)]
    pub(crate) compression: Option<i32>,
    /// Read everything but write nothing; only show what would be imported
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}

/// What is imported by a subcommand.
#[derive(Debug, Subcommand)]
pub(crate) enum Other {
    /// Import directories that are past states of the same data (rsync, rsnapshot, snapper, ZFS, mounted
    /// backups)
    Trees(Box<trees::Trees>),
    /// Import all snapshots of a restic repository
    Restic(Box<foreign::Foreign>),
    /// Import all archives of a borg repository (version 1 or 2)
    Borg(Box<foreign::Foreign>),
}

impl Other {
    fn name(&self) -> &'static str {
        match self {
            Self::Trees(_) => "trees",
            Self::Restic(_) => "restic",
            Self::Borg(_) => "borg",
        }
    }
}

/// What may make the repository.
#[derive(Debug, Args)]
pub(crate) struct NewRepository {
    /// Create the repository if it does not exist
    #[arg(long)]
    pub(crate) init: bool,
    /// With --init: create it without encryption
    #[arg(long, requires = "init")]
    pub(crate) no_encryption: bool,
}

impl NewRepository {
    /// Opens the repository, and creates it if requested.
    pub(crate) fn open(&self, context: &Context, dry_run: bool) -> Result<Repository> {
        let storage = context.storage()?;
        if !self.init || Repository::exists(&*storage)? {
            return context.open(storage);
        }
        self.make(context, storage, dry_run)
    }

    fn make(&self, context: &Context, storage: Arc<dyn Storage>, dry_run: bool) -> Result<Repository> {
        let asked = init::Missing {
            no_encryption: self.no_encryption,
            init: self.init,
            dry_run,
            ..Default::default()
        };
        init::make_missing(context, storage, asked)
    }
}

impl Import {
    /// Refuses options before the subcommand: they belong to the import of an archive, and would have no
    /// effect.
    fn refuse_options_before(&self, name: &str) -> Result<()> {
        let text =
            self.archive.is_some() || self.legacy.is_some() || self.store_as.is_some() || self.time.is_some();
        let lists = !self.sources.is_empty() || !self.tags.is_empty();
        let others =
            self.host.is_some() || self.compression.is_some() || self.dry_run || self.repository.init;
        if text || lists || others {
            Err(Error::Usage(format!("options of `snap import {name}` come after `{name}`")))
        } else {
            Ok(())
        }
    }
}

pub(crate) fn run(context: &Context, args: &Import) -> Result<Outcome> {
    if let Some(other) = &args.other {
        args.refuse_options_before(other.name())?;
        return match other {
            Other::Trees(trees) => trees::run(context, trees),
            Other::Restic(restic) => foreign::run(context, restic, "restic"),
            Other::Borg(borg) => foreign::run(context, borg, "borg"),
        };
    }
    let repo = open(context, args)?;
    context.with_open(&repo, |repo| {
        let stop = stop_on_signals()?;
        match (&args.legacy, &args.archive) {
            (Some(dir), _) => legacy(context, repo, args, dir, &stop),
            (None, Some(archive)) => import_archive(context, repo, args, archive, &stop),
            (None, None) => Err(Error::Usage("nothing to import: give an archive, or --legacy DIR".into())),
        }
    })
}

/// Opens the repository. If only the variables of the legacy backup script name it, it is created if
/// necessary.
fn open(context: &Context, args: &Import) -> Result<Repository> {
    let storage = context.storage()?;
    let makes = args.repository.init || args.legacy.is_some() && context.legacy_alone().is_some();
    if makes && !Repository::exists(&*storage)? {
        args.repository.make(context, storage, args.dry_run)
    } else {
        context.open(storage)
    }
}

fn import_archive(
    context: &Context,
    repo: &Repository,
    args: &Import,
    archive: &Path,
    stop: &Arc<AtomicBool>,
) -> Result<Outcome> {
    let is_stdin = archive == Path::new("-");
    if archive.is_dir() {
        let dir = archive.display();
        return Err(Error::Usage(format!(
            "{dir} is a directory, not an archive: `snap import trees {dir}` imports states of a directory, \
             `snap backup` saves one"
        )));
    }
    let input: Box<dyn Read + Send> = if is_stdin {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(archive).map_err(Error::io("read", archive))?)
    };
    let path = if is_stdin {
        "/stdin".into()
    } else {
        std::fs::canonicalize(archive).map_err(Error::io("find", archive))?
    };
    let options = Options {
        sources: vec![path.as_os_str().as_bytes().to_vec()],
        store_as: args.store_as.as_ref().map(|path| path.as_bytes().to_vec()).unwrap_or_default(),
        tags: args.tags.clone(),
        host: args.host.clone(),
        time: args.time.as_deref().map(time).transpose()?,
        level: args.compression,
        dry_run: args.dry_run,
        ..Options::default()
    };
    let progress = Progress::start(&context.global, "import", true);
    // The length of a pipe is unknown.
    if let Ok(meta) = path.metadata()
        && meta.is_file()
    {
        progress.notice(Event::ExpectInput { bytes: meta.len() });
    }
    let result = import::run(repo, &options, input, &Control::new(&progress).with_cancel(stop));
    drop(progress);
    let summary = result?;
    if context.global.json {
        output::print(&json(&summary).to_string())?;
    } else if context.prints_success() {
        output::print(&human(&summary))?;
    }
    Ok(outcome(&summary.problems))
}

fn time(text: &str) -> Result<Time> {
    snapshots::time_of(text)
        .ok_or_else(|| Error::Usage(format!("{text} is not a time: write 2026-11-24T02:00:00Z, or a date")))
}

fn legacy(
    context: &Context,
    repo: &Repository,
    args: &Import,
    dir: &Path,
    stop: &Arc<AtomicBool>,
) -> Result<Outcome> {
    // The script's own variables can name the sources.
    let given = context.legacy.as_ref().filter(|_| args.sources.is_empty());
    let sources = given.map_or(&args.sources, |legacy| &legacy.sources);
    let options = LegacyOptions {
        dir: dir.to_path_buf(),
        sources: sources.clone(),
        tags: args.tags.clone(),
        host: args.host.clone(),
        level: args.compression,
        memory: None,
        dry_run: args.dry_run,
    };
    let progress = Progress::start(&context.global, "import", true);
    let result = import::run_legacy(repo, &options, &Control::new(&progress).with_cancel(stop));
    drop(progress);
    let summary = result?;
    if context.global.json {
        output::print(&legacy_json(&summary, options.dry_run).to_string())?;
    } else if context.prints_success() {
        output::print(&legacy_human(&summary, options.dry_run))?;
    }
    Ok(outcome(&summary.problems))
}

fn json(summary: &Report) -> Value {
    let mut map = Map::from_iter([("message_type".to_owned(), "summary".into())]);
    map.extend(output::counts(&summary.counts));
    if let Some(id) = summary.snapshot {
        map.insert("snapshot_id".to_owned(), id.hex().into());
    }
    map.insert("dry_run".to_owned(), summary.snapshot.is_none().into());
    map.insert("total_duration".to_owned(), summary.duration.as_secs_f64().into());
    Value::Object(map)
}

fn human(summary: &Report) -> String {
    let counts = &summary.counts;
    let mut text = format!(
        "imported {} ({}) in {}\nadded:   {}, stored as {}",
        output::entries(counts.files_new, counts.dirs, counts.others),
        size(counts.bytes_total),
        duration(summary.duration.as_secs_f64()),
        size(counts.bytes_added),
        size(counts.bytes_stored),
    );
    if !summary.problems.is_empty() {
        let number = summary.problems.len() as u64;
        text += &format!("\n{number} not imported, or only in part: see the warnings");
    }
    text + &match summary.snapshot {
        Some(id) => format!("\nsnapshot {} saved", id.short()),
        None => "\ndry run: nothing written; a snapshot would be saved".to_owned(),
    }
}

fn legacy_json(summary: &LegacySummary, dry_run: bool) -> Value {
    let made: Vec<String> = summary.made.iter().map(|id| id.hex()).collect();
    json!({
        "message_type": "summary",
        "dry_run": dry_run,
        "imported": summary.imported,
        "snapshots": made,
        "skipped": summary.skipped,
        "problems": summary.problems.len(),
    })
}

fn legacy_human(summary: &LegacySummary, dry_run: bool) -> String {
    let saved = if dry_run {
        format!("dry run: {} be saved", count(summary.imported, "snapshot would", "snapshots would"))
    } else {
        format!("{} saved", count(summary.imported, "snapshot was", "snapshots were"))
    };
    let mut text = format!("{saved}, {} there already", count(summary.skipped, "was", "were"));
    if !summary.problems.is_empty() {
        let number = summary.problems.len() as u64;
        text += &format!("\n{}: see the warnings", count(number, "problem", "problems"));
    }
    text
}

//! `snap import trees`: imports directories that are states of the same sources.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, ValueEnum};
use serde_json::{Map, Value};
use snap_backup::fs::filter::FilterOptions;
use snap_backup::ops::backup::states::{Comparison, Each, Options, PastState, Planned, Report, StateSource};
use snap_backup::ops::backup::{self, states};
use snap_backup::repo::repository::Repository;
use snap_backup::util::host;
use snap_backup::{Control, Error, Result};

use super::NewRepository;
use crate::args::filter::FilterArgs;
use crate::args::values;
use crate::commands::import::dated::{self, Asked, Found, TimeFrom};
use crate::context::Context;
use crate::exit::{Outcome, outcome};
use crate::terminal::output::{self, count, duration, size};
use crate::terminal::progress::{Progress, stop_on_signals};

#[derive(Debug, Args)]
pub(crate) struct Trees {
    /// A directory that is a past state; or rsnapshot's root, snapper's .snapshots, ZFS's .zfs/snapshot
    #[arg(value_name = "DIR", required = true)]
    pub(crate) dirs: Vec<PathBuf>,
    /// Every directory in each DIR is a state, except hidden ones and symbolic links
    #[arg(long)]
    pub(crate) children: bool,
    /// Import only this directory of each state: localhost/home
    #[arg(long, value_name = "PATH")]
    pub(crate) subdir: Option<PathBuf>,
    /// Original path of the data, as `snap backup` will save it (not needed for snapper and ZFS)
    #[arg(long = "as", value_name = "PATH", value_parser = OsStringValueParser::new().try_map(values::stored_path))]
    pub(crate) store_as: Option<OsString>,
    /// Time of the state, if there is only one
    #[arg(long, value_name = "TIME", conflicts_with_all = ["time_pattern", "time_from"])]
    pub(crate) time: Option<String>,
    /// How the directory names contain the time, with strptime's fields: 'backup-%d.%m.%Y-%H%M'
    #[arg(long, value_name = "PATTERN", conflicts_with = "time_from")]
    pub(crate) time_pattern: Option<String>,
    /// Source of the times [default: the names if they contain dates, else the mtimes]
    #[arg(long, value_name = "WHAT", value_enum)]
    pub(crate) time_from: Option<TimeSource>,
    /// Read every file, also those whose path, size and mtime (in file system snapshots also ctime) are those
    /// of the previous state
    #[arg(long)]
    pub(crate) reread: bool,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    /// Add this tag to the snapshots
    #[arg(long = "tag", value_name = "TAG", value_delimiter = ',')]
    pub(crate) tags: Vec<String>,
    /// Record this host name instead of the machine's
    #[arg(long, value_parser = values::host_name)]
    pub(crate) host: Option<String>,
    #[command(flatten)]
    pub(crate) repository: NewRepository,
    /// Compression: fast, default, best, none or a zstd level
    #[arg(long, value_name = "LEVEL", value_parser = values::level)]
    pub(crate) compression: Option<i32>,
    /// Read no files and write nothing; only list the states with their times, and which exist already
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}

/// Where times come from.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum TimeSource {
    /// The date in each directory's name
    Name,
    /// The mtime of each directory
    Mtime,
    /// The birth time of each directory
    Birth,
}

pub(crate) fn run(context: &Context, args: &Trees) -> Result<Outcome> {
    // Mistakes are reported before the user is asked for a password.
    let found = dated::find(&asked(args)?)?;
    let source = source(args, &found)?;
    let repo = args.repository.open(context, args.dry_run)?;
    context.with_open(&repo, |repo| import(context, repo, args, &found, &source))
}

fn asked(args: &Trees) -> Result<Asked> {
    Ok(Asked {
        dirs: args.dirs.clone(),
        children: args.children,
        subdir: args.subdir.clone(),
        time: args.time.as_deref().map(super::time).transpose()?,
        pattern: args.time_pattern.clone(),
        from: args.time_from.map(|from| match from {
            TimeSource::Name => TimeFrom::Name,
            TimeSource::Mtime => TimeFrom::Mtime,
            TimeSource::Birth => TimeFrom::Birth,
        }),
    })
}

/// Returns the absolute path that the states were taken of. It determines the set of the snapshots.
fn source(args: &Trees, found: &Found) -> Result<PathBuf> {
    // Without a trailing slash and without `.`.
    let given = args.store_as.as_ref().map(|path| Path::new("/").join(path).components().collect());
    let known = given.or_else(|| found.source.clone());
    known.ok_or_else(|| {
        Error::Usage(
            "give the original path of these directories: with --as /home/me, later runs of `snap backup /home/me` on the \
             same host belong to the same set"
                .to_owned(),
        )
    })
}

fn import(
    context: &Context,
    repo: &Repository,
    args: &Trees,
    found: &Found,
    source: &Path,
) -> Result<Outcome> {
    let json = context.global.json;
    for dir in &found.without {
        output::warn(json, &format!("there is no {}: this state is not imported", dir.display()));
    }
    if let Some(note) = found.note.filter(|_| context.prints_success()) {
        output::note(json, note);
    }
    let stop = stop_on_signals()?;
    let planned = states::plan(repo, states_of(args, found, source))?;
    if args.dry_run {
        return tell_plan(context, &planned, source).map(|()| Outcome::Done);
    }
    let options = options(context, args, found);
    let progress = Progress::start(&context.global, "import", true);
    let result = states::run(
        repo,
        &planned,
        &options,
        &Control::new(&progress).with_cancel(&stop),
        &mut Reporter { context, progress: &progress },
    );
    drop(progress);
    let summary = result?;
    context.print_unmatched(&summary.unmatched);
    if json {
        output::print(&Value::Object(summary_json(&summary, false)).to_string())?;
    } else if context.prints_success() {
        output::print(&human(&summary))?;
    }
    Ok(outcome(&summary.problems))
}

fn states_of(args: &Trees, found: &Found, source: &Path) -> Vec<PastState> {
    let host = args.host.clone().unwrap_or_else(host::host_name);
    let tags: Vec<String> = args.tags.iter().filter(|tag| !tag.is_empty()).cloned().collect();
    let state = |state: &dated::DatedDir| PastState {
        sources: vec![StateSource {
            place: state.dir.clone(),
            stored: source.as_os_str().as_bytes().to_vec(),
        }],
        time: state.time,
        host: host.clone(),
        user: None,
        tags: tags.clone(),
        description: None,
        origin: None,
    };
    found.states.iter().map(state).collect()
}

fn options(context: &Context, args: &Trees, found: &Found) -> Options {
    Options {
        filter: args.filter.add_to(FilterOptions::default()),
        one_file_system: args.filter.one_file_system,
        comparison: if found.keeps_ctimes { Comparison::Originals } else { Comparison::Copies },
        reread: args.reread,
        level: args.compression.or(context.repository_settings().compression.0),
        leave_out: context.global.state().into_iter().chain(context.global.cache()).collect(),
        count_ahead: Progress::is_watched(&context.global),
        ..Options::default()
    }
}

/// Prints a line for each state as soon as it is saved.
struct Reporter<'a> {
    context: &'a Context,
    progress: &'a Progress,
}

impl Each for Reporter<'_> {
    fn after(&mut self, state: &PastState, summary: &backup::Report) -> Result<()> {
        if self.context.global.json {
            let mut map = object(state, "imported", summary.snapshot.map(|id| id.hex()));
            map.extend(output::counts(&summary.counts));
            map.extend(output::more_counts(Some(summary.more)));
            return output::print(&Value::Object(map).to_string());
        }
        if !self.context.prints_success() {
            return Ok(());
        }
        let counts = &summary.counts;
        let id = summary.snapshot.map(|id| id.short()).unwrap_or_default();
        self.progress.print(&format!(
            "{}  snapshot {id} saved: {} new, {} changed, {} removed, {} read  {}",
            output::local(state.time),
            counts.files_new,
            counts.files_changed,
            counts.files_removed,
            size(counts.bytes_read),
            place(state),
        ))
    }
}

fn place(state: &PastState) -> String {
    let place = state.sources.first().map(|source| source.place.as_os_str().as_bytes());
    output::path(place.unwrap_or_default())
}

fn tell_plan(context: &Context, planned: &[Planned], source: &Path) -> Result<()> {
    let mut text = String::new();
    for Planned { state, there } in planned {
        if context.global.json {
            let status = if there.is_some() { "present" } else { "planned" };
            let map = object(state, status, there.map(|id| id.hex()));
            text += &format!("{}\n", Value::Object(map));
            continue;
        }
        let fate = match there {
            Some(id) => format!("exists already, as snapshot {}", id.short()),
            None => "would be imported".to_owned(),
        };
        text += &format!("{}  {}  {fate}\n", output::local(state.time), place(state));
    }
    let there = planned.iter().filter(|planned| planned.there.is_some()).count() as u64;
    let missing = planned.len() as u64 - there;
    if context.global.json {
        let summary = Report { there, ..Report::default() };
        let mut map = summary_json(&summary, true);
        map.insert("imported".to_owned(), missing.into());
        return output::print(&(text + &Value::Object(map).to_string()));
    }
    if !context.prints_success() {
        return Ok(());
    }
    let host = planned.first().map(|planned| planned.state.host.as_str()).unwrap_or_default();
    let saved = count(missing, "snapshot would", "snapshots would");
    let path = output::path(source.as_os_str().as_bytes());
    text += &format!(
        "dry run: {saved} be saved of {path} on {host}, {} there already",
        count(there, "was", "were")
    );
    output::print(&text)
}

fn object(state: &PastState, status: &str, id: Option<String>) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("message_type".to_owned(), "state".into());
    map.insert("status".to_owned(), status.into());
    map.insert("time".to_owned(), output::rfc3339(state.time).into());
    if let Some(source) = state.sources.first() {
        output::put_bytes(&mut map, "directory", source.place.as_os_str().as_bytes());
    }
    if let Some(id) = id {
        map.insert("snapshot_id".to_owned(), id.into());
    }
    map
}

fn summary_json(summary: &Report, dry_run: bool) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("message_type".to_owned(), "summary".into());
    map.insert("dry_run".to_owned(), dry_run.into());
    map.insert("imported".to_owned(), summary.made.len().into());
    map.insert("skipped".to_owned(), summary.there.into());
    map.insert("failed".to_owned(), summary.failed.into());
    map.insert("snapshots".to_owned(), summary.made.iter().map(|id| id.hex()).collect::<Vec<_>>().into());
    if !dry_run {
        map.extend(output::counts(&summary.counts));
        map.insert("problems".to_owned(), summary.problems.len().into());
        map.insert("total_duration".to_owned(), summary.duration.as_secs_f64().into());
    }
    map
}

fn human(summary: &Report) -> String {
    let saved = count(summary.made.len() as u64, "snapshot was", "snapshots were");
    let mut text = format!("{saved} saved, {} there already", count(summary.there, "was", "were"));
    if !summary.made.is_empty() {
        let counts = &summary.counts;
        text += &format!(
            "\nread:    {} of {} in {}\nadded:   {}, stored as {}",
            size(counts.bytes_read),
            size(counts.bytes_total),
            duration(summary.duration.as_secs_f64()),
            size(counts.bytes_added),
            size(counts.bytes_stored),
        );
    }
    if !summary.problems.is_empty() {
        text +=
            &format!("\n{}: see the warnings", count(summary.problems.len() as u64, "problem", "problems"));
    }
    text
}

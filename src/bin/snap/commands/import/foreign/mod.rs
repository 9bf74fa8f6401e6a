//! `snap import restic` and `snap import borg`: converts every snapshot of another program's repository. The
//! other program itself reads its repository: it mounts it or, without FUSE, writes tar archives.

mod borg;
mod borg_items;
mod mounted;
mod program;
mod report;
mod restic;
mod restic_nodes;
mod sample;
mod sources;
mod tar;
mod verify;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use clap::{Args, ValueEnum};
use snap_backup::model::entry::Time;
use snap_backup::model::manifest_ext::MAX_DESCRIPTION;
use snap_backup::ops::backup::states::{
    Check, Comparison, Each, PastState, Planned, StateSource, Supplement,
};
use snap_backup::ops::backup::{self, states};
use snap_backup::progress::{Event, Observer};
use snap_backup::repo::repository::Repository;
use snap_backup::{Control, Error, Result};

use self::mounted::{MountDir, Mounted};
use self::program::Program;
use self::report::{Done, Made};
use super::NewRepository;
use crate::args::values;
use crate::context::Context;
use crate::exit::Outcome;
use crate::terminal::output;
use crate::terminal::progress::{Progress, stop_on_signals};

/// How the other program's files are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Via {
    /// Through a mount; only what changed between snapshots is read
    Mount,
    /// Through tar archives, which are read completely
    Tar,
}

#[derive(Debug, Args)]
pub(crate) struct Foreign {
    /// The repository, as the other program names it [default: from that program's variables]
    #[arg(value_name = "REPO")]
    pub(crate) foreign_repo: Option<OsString>,
    /// The program to run [default: the first of its name in PATH]
    #[arg(long, value_name = "PATH")]
    pub(crate) program: Option<PathBuf>,
    /// How to read the snapshots [default: mount; tar if there is no FUSE]
    #[arg(long, value_name = "WAY")]
    pub(crate) via: Option<Via>,
    /// Afterwards, read everything again and compare it with the imported snapshots
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) verify: bool,
    /// Add this tag to the snapshots; they also keep their own
    #[arg(long = "tag", value_name = "TAG", value_delimiter = ',')]
    pub(crate) tags: Vec<String>,
    /// Record this host name instead of the original ones
    #[arg(long, value_parser = values::host_name)]
    pub(crate) host: Option<String>,
    #[command(flatten)]
    pub(crate) repository: NewRepository,
    /// Compression: fast, default, best, none or a zstd level
    #[arg(long, value_name = "LEVEL", value_parser = values::level)]
    pub(crate) compression: Option<i32>,
    /// Write nothing; only show what would be imported, and how much there is to read
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Options for the other program
    #[arg(value_name = "OPTION", last = true)]
    pub(crate) options: Vec<OsString>,
}

/// A snapshot or an archive in the other repository.
#[derive(Debug, Clone)]
struct Found {
    id: String,
    /// What people call it: a short id, or an archive's name.
    name: String,
    time: Time,
    host: Option<String>,
    user: Option<String>,
    tags: Vec<String>,
    description: Option<String>,
    /// What was named when it was made.
    paths: Vec<Vec<u8>>,
    /// Where its root is below the mount.
    dir: PathBuf,
    /// Size of its files, if that is known without reading it.
    bytes: Option<u64>,
}

/// The differences between the supported programs.
trait OtherProgram {
    fn program(&self) -> &Program;
    /// Lists the snapshots.
    fn list(&self) -> Result<Vec<Found>>;
    /// Returns the command that mounts the repository and serves it until it is unmounted.
    fn mount(&self, dir: &Path) -> Command;
    /// Returns the command that writes a snapshot as a tar archive.
    fn dump(&self, found: &Found) -> Command;
    /// Returns the approximate number of distinct bytes in these snapshots. May take a while.
    fn to_read(&self, found: &[Found]) -> Option<u64>;
    /// Returns metadata of a snapshot's entries that the mount does not show.
    fn supplement(&self, found: &Found) -> Result<Supplement>;
    /// Names the metadata that is lost if the supplement cannot be read.
    fn lost_without_supplement(&self) -> &'static str;
    /// Names the metadata that its mount does not show.
    fn lost_by_mount(&self) -> Option<&'static str>;
    /// Names the metadata that its archives do not contain.
    fn lost_by_dump(&self) -> Option<&'static str>;
}

/// One run.
struct Job<'a> {
    context: &'a Context,
    args: &'a Foreign,
    repo: &'a Repository,
    other: &'a dyn OtherProgram,
    found: &'a [Found],
    stop: &'a Arc<AtomicBool>,
}

pub(super) fn run(context: &Context, args: &Foreign, name: &'static str) -> Result<Outcome> {
    let repo = args.foreign_repo.clone().filter(|repo| !repo.is_empty());
    let variables: &[&str] = match name {
        "restic" => &["RESTIC_REPOSITORY", "RESTIC_REPOSITORY_FILE"],
        _ => &["BORG_REPO"],
    };
    let is_named = variables.iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    if repo.is_none() && !is_named {
        let variables = variables.join(" or ");
        return Err(Error::Usage(format!(
            "no {name} repository given: give its location, or set {variables}"
        )));
    }
    let program = Program::find(name, args.program.as_deref(), repo, args.options.clone())?;
    let other: Box<dyn OtherProgram> = match name {
        "restic" => Box::new(restic::Restic::new(program)),
        _ => Box::new(borg::Borg(program)),
    };
    let found = other.list()?;
    let repo = args.repository.open(context, args.dry_run)?;
    context.with_open(&repo, |repo| {
        let stop = stop_on_signals()?;
        Job { context, args, repo, other: &*other, found: &found, stop: &stop }.run()
    })
}

impl Job<'_> {
    fn run(&self) -> Result<Outcome> {
        let dir = MountDir::new()?;
        let states = self.found.iter().map(|found| self.state(found, dir.path())).collect();
        let planned = states::plan(self.repo, states)?;
        if self.args.dry_run {
            return report::plan(self, &planned, &|new, bytes| sample::seconds(self, new, bytes));
        }
        let clock = Instant::now();
        let there = planned.iter().filter(|one| one.there.is_some()).count() as u64;
        let mut done = Done { there, ..Done::default() };
        let needed = planned.iter().any(|one| one.there.is_none()) || self.args.verify && !planned.is_empty();
        if needed {
            match self.mounted(&dir)? {
                Some(mounted) => self.by_mount(&mounted, &dir, planned, &mut done)?,
                None => tar::run(self, &planned, &mut done)?,
            }
        }
        done.seconds = clock.elapsed().as_secs_f64();
        report::summary(self, &done)
    }

    /// Creates a state from a snapshot. Its sources are determined when it is mounted.
    fn state(&self, found: &Found, dir: &Path) -> PastState {
        let (program, args) = (self.other.program(), self.args);
        let mut tags = found.tags.clone();
        tags.extend(args.tags.iter().filter(|tag| !found.tags.contains(tag)).cloned());
        PastState {
            sources: vec![StateSource { place: dir.join(&found.dir), stored: b"/".to_vec() }],
            time: found.time,
            host: args.host.clone().or_else(|| found.host.clone()).unwrap_or_else(|| "unknown".to_owned()),
            user: found.user.clone(),
            tags,
            description: found.description.clone().map(shortened),
            origin: Some(format!("{} {}", program.name, found.id)),
        }
    }

    /// Returns `Interrupted` after Ctrl-C, which also ends the other program; the program's end is not the
    /// cause then.
    fn interrupted(&self, err: Error) -> Error {
        if self.stop.load(Ordering::Relaxed) { Error::Interrupted } else { err }
    }

    fn level(&self) -> Option<i32> {
        self.args.compression.or(self.context.repository_settings().compression.0)
    }

    /// Returns the snapshot that a state was created from.
    fn found_of(&self, state: &PastState) -> Option<&Found> {
        let id = state.origin.as_deref()?.split_once(' ')?.1;
        self.found.iter().find(|found| found.id == id)
    }

    /// Mounts the other repository; `None` if its archives are read instead.
    fn mounted<'d>(&'d self, dir: &'d MountDir) -> Result<Option<Mounted<'d>>> {
        let json = self.context.global.json;
        let (program, lost_by_dump) = (self.other.program(), self.other.lost_by_dump());
        let without = |why: &str| {
            let lost = lost_by_dump.map(|lost| format!("; {lost}")).unwrap_or_default();
            output::warn(
                json,
                &format!("{why}: reading whole tar archives of {} instead{lost}", program.name),
            );
        };
        match (self.args.via, mounted::impossible()) {
            (Some(Via::Tar), _) => {
                lost_by_dump.into_iter().for_each(|lost| output::warn(json, lost));
                return Ok(None);
            }
            (None, Some(why)) => {
                without(&why);
                return Ok(None);
            }
            _ => {}
        }
        self.other.lost_by_mount().into_iter().for_each(|lost| output::warn(json, lost));
        match Mounted::start(program, self.other.mount(dir.path()), dir, self.stop) {
            Ok(mounted) => Ok(Some(mounted)),
            Err(err) if self.args.via.is_none() && !self.stop.load(Ordering::Relaxed) => {
                without(&err.chain());
                Ok(None)
            }
            Err(err) => Err(self.interrupted(err)),
        }
    }

    fn by_mount(
        &self,
        mounted: &Mounted<'_>,
        dir: &MountDir,
        mut planned: Vec<Planned>,
        done: &mut Done,
    ) -> Result<()> {
        let global = &self.context.global;
        for one in planned.iter_mut().filter(|one| one.there.is_none() || self.args.verify) {
            if let Some(found) = self.found_of(&one.state) {
                one.state.sources = sources::choose(&dir.path().join(&found.dir), &found.paths);
            }
        }
        let options = states::Options {
            comparison: Comparison::Originals,
            level: self.level(),
            count_ahead: Progress::is_watched(global),
            check: Some(mounted.check()),
            ..states::Options::default()
        };
        let progress = Progress::start(global, "import", true);
        let total = planned.iter().filter(|one| one.there.is_none()).count();
        let mut each = Told {
            job: self,
            progress: &progress,
            check: mounted.check(),
            number: 0,
            total,
            clock: Instant::now(),
        };
        let result = states::run(
            self.repo,
            &planned,
            &options,
            &Control::new(&progress).with_cancel(self.stop),
            &mut each,
        );
        drop(progress);
        let summary = result.map_err(|err| self.interrupted(err))?;
        done.take(&summary);
        if self.args.verify {
            verify::by_mount(self, dir.path(), &planned, done)?;
            mounted.check().ask()?;
        }
        Ok(())
    }
}

/// Truncates a comment to the maximum length of a description.
fn shortened(mut text: String) -> String {
    while text.len() > MAX_DESCRIPTION {
        text.pop();
    }
    text
}

/// Says which snapshots were made.
struct Told<'a> {
    job: &'a Job<'a>,
    progress: &'a Progress,
    check: Check,
    number: usize,
    total: usize,
    clock: Instant,
}

impl Each for Told<'_> {
    fn before(&mut self, _: &PastState) -> Result<()> {
        self.check.ask()
    }

    fn supplement(&mut self, state: &PastState) -> Result<Option<Supplement>> {
        let Some(found) = self.job.found_of(state) else { return Ok(None) };
        match self.job.other.supplement(found) {
            Ok(supplement) => Ok(Some(supplement)),
            Err(Error::Interrupted) => Err(Error::Interrupted),
            Err(err) => {
                let lost = self.job.other.lost_without_supplement();
                let text = format!("{}: {}: the snapshot will lack {lost}", found.name, err.chain());
                self.progress.notice(Event::Warning(&text));
                Ok(Some(Supplement::default()))
            }
        }
    }

    fn after(&mut self, state: &PastState, summary: &backup::Report) -> Result<()> {
        self.number += 1;
        let made = Made {
            id: summary.snapshot,
            counts: &summary.counts,
            number: self.number,
            total: self.total,
            elapsed: self.clock.elapsed(),
        };
        report::made(self.job, self.progress, state, &made)
    }
}

//! `snap drill`: restores a sample and compares it.

mod report;
mod trial;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use snap_backup::fs::private_dir::PrivateDir;
use snap_backup::ops::drill::{Chosen, Drill, Options, Sample};
use snap_backup::ops::restore;
use snap_backup::progress::{Event, Observer};
use snap_backup::repo::repository::Repository;
use snap_backup::run_log::RunLog;
use snap_backup::{Control, Error, Problem, Result};

use super::shared::sets;
use crate::args::keep::Filters;
use crate::args::values;
use crate::commands::shared::hooks::Job;
use crate::context::Context;
use crate::exit::{self, Outcome};
use crate::terminal::output::{self, count, size};
use crate::terminal::progress::{Progress, stop_on_signals};

use report::{Report, note, print, report_wrong, tell_wrong};
use trial::{Trial, try_out};

#[derive(Debug, Args)]
pub(crate) struct DrillArgs {
    /// Snapshots to test [default: the newest of each host and its sources, and one of the recent ones]
    #[arg(value_name = "SNAPSHOT", conflicts_with = "Filters")]
    pub(crate) snapshots: Vec<String>,
    /// Test snapshots of this set of the configuration; can be repeated
    #[arg(long, value_name = "NAME", conflicts_with_all = ["snapshots", "Filters"])]
    pub(crate) set: Vec<String>,
    /// Maximum number of files in the sample, over all snapshots
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) files: u64,
    /// Maximum size of the sample, over all snapshots; larger files are never part of it
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = sample)]
    pub(crate) bytes: u64,
    /// Stop after this time [default: 10m; with --run: never]
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub(crate) time: Option<Duration>,
    /// How many snapshots of each host and its sources count as recent
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) recent: usize,
    /// Restore to a new directory in this one, which is removed afterwards [default: in the system's
    /// temporary directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) scratch: Option<PathBuf>,
    /// Restore whole snapshots (by default the newest of each host and its sources), and run this shell
    /// command in each
    #[arg(long, value_name = "COMMAND")]
    pub(crate) run: Option<String>,
    /// How long the command may take [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub(crate) run_timeout: Option<Duration>,
    /// With --run: restore only what matches
    #[arg(long, value_name = "PATTERN")]
    pub(crate) include: Vec<OsString>,
    #[command(flatten)]
    pub(crate) filters: Filters,
}

/// Time after which a drill of a sample stops.
const TIME: Duration = Duration::from_secs(600);

/// Parses the maximum number of bytes to restore.
fn sample(text: &str) -> std::result::Result<u64, String> {
    match values::size(text)? {
        0 => Err("a sample of 0 bytes tests nothing: give a size".to_owned()),
        bytes => Ok(bytes),
    }
}

pub(crate) fn run(context: &Context, args: &DrillArgs) -> Result<Outcome> {
    let sets = sets::chosen(context, &args.set, false)?;
    if sets.is_empty() {
        return all(context, args);
    }
    let job = Job { verb: "drill", kind: None, dry_run: false, gate: None };
    sets::each(context, &sets, job, |context| all(context, args))
}

/// Runs a drill on the named snapshots or a set.
fn all(context: &Context, args: &DrillArgs) -> Result<Outcome> {
    context.begin("drill", false, |_| {});
    context.recorder.write_start();
    let trial = Trial::of(context, args)?;
    let options = Options {
        selectors: args.snapshots.clone(),
        selection: sets::selection(context, &args.filters)?,
        recent: if trial.is_some() { 1 } else { args.recent },
        all_snapshots: trial.is_some(),
        files: args.files,
        bytes: args.bytes,
        cursor: cursor(context),
    };
    let report = context.with(|repo| run_drill(context, repo, args, (&options, trial.as_ref())))?;
    note(context, &report);
    print(context, &report)?;
    if trial.is_some() && report.timed_out {
        return Err(Error::Refused("the command did not end within --time: give more time".to_owned()));
    }
    if trial.is_none() && report.compared.files == 0 && !report.damage && report.problems == 0 {
        nothing(&report, args)?;
    }
    let failed = report.tried.iter().any(|tried| tried.trouble.is_some());
    let command = if failed { Outcome::Failed(exit::DRILL) } else { Outcome::Done };
    Ok(command.worse(match (report.damage, report.problems) {
        (true, _) => Outcome::Damage,
        (false, 0) => Outcome::Done,
        (false, _) => Outcome::Problems,
    }))
}

/// Returns an error if nothing was restored, because such a drill proves nothing.
fn nothing(report: &Report, args: &DrillArgs) -> Result<()> {
    if report.timed_out {
        return Err(Error::Refused(format!(
            "no file was tested within {} s: give more --time",
            args.time.unwrap_or(TIME).as_secs()
        )));
    }
    if report.too_large > 0 {
        let number = count(report.too_large, "file is", "files are");
        return Err(Error::Refused(format!(
            "no file was tested: {number} larger than --bytes, which is {}",
            size(args.bytes)
        )));
    }
    Ok(())
}

/// Returns where the last drill of this repository ended.
fn cursor(context: &Context) -> u64 {
    let known = || {
        let location = context.storage().ok()?.location();
        let runs = RunLog::new(context.global.state()?).read().ok()?.runs;
        runs.iter()
            .rev()
            .filter(|run| run.verb == "drill" && run.repository == location)
            .find_map(|run| run.cursor)
    };
    known().unwrap_or_default()
}

fn run_drill(
    context: &Context,
    repo: &Repository,
    args: &DrillArgs,
    (options, trial): (&Options, Option<&Trial>),
) -> Result<Report> {
    let stop = stop_on_signals()?;
    let late = match args.time.or_else(|| trial.is_none().then_some(TIME)) {
        Some(time) => alarm(time, &stop)?,
        None => Arc::default(),
    };
    let progress = Progress::start(&context.global, "drill", true);
    let control = Control::new(&progress).with_cancel(&stop);
    let drill = Drill::begin(repo, &control)?;
    let mut report = Report { cursor: options.cursor, ..Report::default() };
    let parent = args.scratch.clone().unwrap_or_else(std::env::temp_dir);
    context.guard().check(&parent)?;
    let scratch = PrivateDir::new(&parent)?;
    let result = drill.choose(options, &control).and_then(|chosen| {
        choose_told(context, &mut report, &chosen);
        let files = chosen.samples.iter().map(|sample| sample.files.len() as u64).sum();
        progress.notice(Event::Expect { files, bytes: chosen.samples.iter().map(Sample::bytes).sum() });
        for (number, sample) in chosen.samples.iter().enumerate() {
            let target = scratch.path().join(number.to_string());
            restore_one(context, repo, &drill, (sample, trial), (target, &control), &mut report)?;
        }
        report.cursor = chosen.cursor;
        Ok(())
    });
    drop(control);
    drop(progress);
    let (removed, ended) = (scratch.remove(), drill.end());
    match result {
        Err(Error::Interrupted) if late.load(Ordering::Relaxed) => report.timed_out = true,
        other => other?,
    }
    removed.and(ended)?;
    Ok(report)
}

/// Stops the work after `time`. The returned flag is set if that was the reason.
fn alarm(time: Duration, stop: &Arc<AtomicBool>) -> Result<Arc<AtomicBool>> {
    let late = Arc::new(AtomicBool::new(false));
    let (stop, rung) = (Arc::clone(stop), Arc::clone(&late));
    // The thread ends with the process.
    snap_backup::util::threads::detached("alarm", move || {
        std::thread::sleep(time);
        if !stop.load(Ordering::Relaxed) {
            rung.store(true, Ordering::Relaxed);
            stop.store(true, Ordering::Relaxed);
        }
    })?;
    Ok(late)
}

fn choose_told(context: &Context, report: &mut Report, chosen: &Chosen) {
    report.too_large = chosen.too_large;
    for (snapshot, why) in &chosen.damaged {
        report_wrong(context, report, &format!("snapshot {snapshot}: {why}"), true);
    }
}

fn restore_one(
    context: &Context,
    repo: &Repository,
    drill: &Drill,
    (sample, trial): (&Sample, Option<&Trial>),
    (target, control): (PathBuf, &Control<'_>),
    report: &mut Report,
) -> Result<()> {
    std::fs::create_dir(&target).map_err(Error::io("create the directory", &target))?;
    let options = restore::Options {
        selector: sample.snapshot.id.hex(),
        target: target.clone(),
        only: trial.is_none().then(|| sample.paths()),
        include: trial.map(|trial| trial.include.clone()).unwrap_or_default(),
        // Of a sample, the comparison below reads every file back.
        verify: trial.is_some(),
        ..restore::Options::default()
    };
    let short = sample.snapshot.id.short();
    let restored = restore::run(repo, &options, control)?;
    for pattern in &restored.unmatched {
        report_wrong(context, report, &format!("{short}: no entry matches '{pattern}'"), false);
    }
    // With patterns, only a part of the sample was restored.
    let is_there = |path: &[u8]| target.join(OsStr::from_bytes(path)).symlink_metadata().is_ok();
    let sample = &match trial {
        Some(trial) if !trial.include.is_empty() => {
            let files = sample.files.iter().filter(|(path, _)| is_there(path)).cloned().collect();
            Sample { snapshot: sample.snapshot.clone(), files }
        }
        _ => Sample { snapshot: sample.snapshot.clone(), files: sample.files.clone() },
    };
    let compared = drill.compare(sample, &target, control)?;
    report.snapshots += 1;
    report.compared.files += compared.files;
    report.compared.bytes += compared.bytes;
    report.compared.live += compared.live;
    let whys = restored.problems.iter().chain(&compared.wrong);
    let first = restored.problems.len();
    for (number, Problem { path, message, .. }) in whys.enumerate() {
        // A file that could not be restored also fails the comparison; it is reported once.
        let told = number >= first && restored.problems.iter().any(|known| known.path == *path);
        if !told {
            let damage = number >= first || restored.damage;
            report_wrong(context, report, &format!("{short}:{}: {message}", output::path(path)), damage);
        }
    }
    trial.map_or(Ok(()), |trial| {
        let tried = try_out(context, &sample.snapshot, trial, (&target, control.cancel()))?;
        tried.failure(&sample.snapshot).iter().for_each(|what| tell_wrong(context, what));
        report.tried.push(tried);
        Ok(())
    })
}

//! Finds directories that are states of the same sources, as created by rsync, rsnapshot, file system
//! snapshots and mounted backups, and the time of each.

mod date_in_name;
mod layout;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::commands::import::dated::date_in_name::NoTime;
use crate::commands::import::dated::layout::{Candidate, Layout};
use snap_backup::model::entry::Time;
use snap_backup::sys::inode;
use snap_backup::{Error, Result};

/// Where the time of a state comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimeFrom {
    /// The date in the directory's name.
    Name,
    /// The directory's mtime.
    Mtime,
    /// The directory's birth time.
    Birth,
}

/// Which directories to examine, and how to determine their times.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    /// The directories.
    pub(crate) dirs: Vec<PathBuf>,
    /// Each of `dirs` is the parent of states.
    pub(crate) children: bool,
    /// Use only this subdirectory of each state.
    pub(crate) subdir: Option<PathBuf>,
    /// The time of the only state.
    pub(crate) time: Option<Time>,
    /// strptime pattern of the names.
    pub(crate) pattern: Option<String>,
    /// Where times come from; `None` means names if they contain dates, otherwise mtimes.
    pub(crate) from: Option<TimeFrom>,
}

/// A directory that is a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DatedDir {
    /// The directory, without symbolic links in its path.
    pub(crate) dir: PathBuf,
    /// Time of the state.
    pub(crate) time: Time,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The states, oldest first.
    pub(crate) states: Vec<DatedDir>,
    /// The directory that they are states of, if the layout defines it.
    pub(crate) source: Option<PathBuf>,
    /// Whether their ctimes are those of the source, because they are file system snapshots.
    pub(crate) keeps_ctimes: bool,
    /// Where the times come from, if the caller did not choose and it is not obvious.
    pub(crate) note: Option<&'static str>,
    /// States without the requested subdirectory.
    pub(crate) without: Vec<PathBuf>,
}

/// Finds the states in directories and their times.
///
/// # Errors
/// A path is not a directory, it is unclear which directories are states, or their times are unknown.
pub(crate) fn find(asked: &Asked) -> Result<Found> {
    let subdir = asked.subdir.as_deref().map(check_subdir).transpose()?;
    let mut candidates = Vec::new();
    for dir in &asked.dirs {
        candidates.extend(candidates_in(dir, asked)?);
    }
    let mut seen = BTreeSet::new();
    candidates.retain(|one| seen.insert(one.dir.clone()));
    let mut found = Found {
        keeps_ctimes: candidates.iter().all(|one| one.layout.keeps_ctimes()),
        source: common_source(&candidates, subdir),
        ..Found::default()
    };
    let (times, note) = times(&candidates, asked)?;
    found.note = note;
    for (candidate, time) in candidates.into_iter().zip(times) {
        let dir = match subdir {
            Some(below) => candidate.dir.join(below),
            None => candidate.dir,
        };
        if subdir.is_some() && !dir.is_dir() {
            found.without.push(dir)
        } else {
            found.states.push(DatedDir { dir, time })
        }
    }
    if let (true, Some(first)) = (found.states.is_empty(), found.without.first()) {
        return Err(Error::Usage(format!(
            "there is no directory {}, and none of that name in the other states",
            first.display()
        )));
    }
    found.states.sort_by_key(|state| state.time);
    Ok(found)
}

fn check_subdir(subdir: &Path) -> Result<&Path> {
    let is_below = subdir.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if is_below && !subdir.as_os_str().is_empty() {
        Ok(subdir)
    } else {
        Err(Error::Usage(format!(
            "--subdir {}: give a relative path without .., from the directory of a state to the part to \
             import",
            subdir.display()
        )))
    }
}

/// Returns the states in a directory, or the directory itself if it is one.
fn candidates_in(given: &Path, asked: &Asked) -> Result<Vec<Candidate>> {
    let dir = fs::canonicalize(given).map_err(Error::io("find", given))?;
    if !dir.is_dir() {
        return Err(Error::Usage(format!(
            "{} is not a directory: give the directory of each state, or with --children the directory that \
             contains them",
            given.display()
        )));
    }
    if asked.children {
        let children = layout::directories(&dir)?;
        if children.is_empty() {
            return Err(Error::Usage(format!(
                "{} contains no directories (hidden ones are ignored)",
                given.display()
            )));
        }
        return Ok(children.iter().map(|child| Candidate::of(child)).collect());
    }
    if let Some(states) = layout::states_in(&dir)? {
        return Ok(states.iter().map(|state| Candidate::of(state)).collect());
    }
    let is_told = asked.time.is_some() || asked.pattern.is_some() || asked.from.is_some();
    let one = Candidate::of(&dir);
    if !is_told && one.layout == Layout::Plain && date_of(&one) == Err(NoTime::None) {
        refuse_parent(given, &dir)?;
    }
    Ok(vec![one])
}

/// Refuses a directory that may be both a state and a parent of states.
fn refuse_parent(given: &Path, dir: &Path) -> Result<()> {
    let children = layout::directories(dir)?;
    let dated: Vec<&PathBuf> =
        children.iter().filter(|child| date_of(&Candidate::of(child)).is_ok()).collect();
    match dated.as_slice() {
        [first, _, ..] => Err(Error::Usage(format!(
            "{} contains directories with dates in their names ({}, ...): if each of them is a state, add \
             --children; if it is itself one state, give its time with --time or --time-from mtime",
            given.display(),
            name_of(first)
        ))),
        _ => Ok(()),
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn date_of(candidate: &Candidate) -> Result<Timestamp, NoTime> {
    date_in_name::find(&name_of(&candidate.dated), &TimeZone::system())
}

/// Returns the time of each state, and a note on where the times come from.
fn times(candidates: &[Candidate], asked: &Asked) -> Result<(Vec<Time>, Option<&'static str>)> {
    if let Some(time) = asked.time {
        return match candidates {
            [_] => Ok((vec![time], None)),
            many => {
                Err(Error::Usage(format!("--time gives the time of one state, but there are {}", many.len())))
            }
        };
    }
    if let Some(pattern) = &asked.pattern {
        let times = candidates.iter().map(|one| by_pattern(one, pattern)).collect::<Result<_>>()?;
        return Ok((times, None));
    }
    match asked.from {
        Some(TimeFrom::Name) => Ok((from_names(candidates)?, None)),
        Some(TimeFrom::Mtime) => Ok((from_mtimes(candidates)?, None)),
        Some(TimeFrom::Birth) => Ok((from_births(candidates)?, None)),
        None => best_times(candidates),
    }
}

/// Returns the times that the layout defines; for other directories those in names, otherwise mtimes.
fn best_times(candidates: &[Candidate]) -> Result<(Vec<Time>, Option<&'static str>)> {
    if candidates.iter().all(|one| one.layout == Layout::Snapper) {
        let times = candidates.iter().map(|one| match layout::snapper_time(&one.dated) {
            Some(at) => Ok(time(at)),
            None => Err(Error::Usage(format!(
                "{} has no date in its name: with --time-from mtime, the mtime of each numbered directory \
                 is its time",
                one.dated.join("info.xml").display()
            ))),
        });
        return Ok((times.collect::<Result<_>>()?, None));
    }
    let (dated, undated): (Vec<_>, Vec<_>) =
        candidates.iter().partition(|one| date_of(one) != Err(NoTime::None));
    match (dated.first(), undated.first()) {
        (Some(dated), Some(undated)) => Err(Error::Usage(format!(
            "{} has a date in its name, but {} has none: give only directories that are states, or the \
             source of all times (--time-pattern, --time-from mtime)",
            dated.dated.display(),
            undated.dated.display()
        ))),
        (_, None) => Ok((from_names(candidates)?, None)),
        (None, Some(first)) => {
            refuse_part(first)?;
            let is_plain = candidates.iter().any(|one| one.layout != Layout::Numbered);
            let note = "the names have no dates, so the time of each state is the mtime of its directory \
                        (rsync -a sets it to that of the source; --time-from birth uses the birth time)";
            Ok((from_mtimes(candidates)?, is_plain.then_some(note)))
        }
    }
}

/// Refuses a directory inside a state: its own name and times are not those of the state.
fn refuse_part(candidate: &Candidate) -> Result<()> {
    let Some(above) = candidate.dated.parent() else { return Ok(()) };
    let above = Candidate::of(above);
    if above.layout != Layout::Numbered && date_of(&above).is_err() {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "{} is a part of {} and has the same time: give the latter, and the part with --subdir {} (or the \
         source of the times with --time-from)",
        candidate.dated.display(),
        above.dated.display(),
        name_of(&candidate.dated)
    )))
}

fn from_names(candidates: &[Candidate]) -> Result<Vec<Time>> {
    let of = |one: &Candidate| {
        let why = match date_of(one) {
            Ok(at) => return Ok(time(at)),
            Err(NoTime::None) => "there is no date in its name",
            Err(NoTime::Several) => "there are several dates in its name",
            Err(NoTime::Unclear) => "the text after the date in its name is not a time",
        };
        Err(Error::Usage(format!(
            "{}: {why}: give the format of the names (--time-pattern '%Y-%m-%d'), or --time-from mtime",
            one.dated.display()
        )))
    };
    candidates.iter().map(of).collect()
}

fn by_pattern(candidate: &Candidate, pattern: &str) -> Result<Time> {
    let name = name_of(&candidate.dated);
    date_in_name::by_pattern(&name, pattern, &TimeZone::system()).map(time).map_err(|err| {
        Error::Usage(format!("the name {name} does not match --time-pattern '{pattern}': {err}"))
    })
}

fn from_mtimes(candidates: &[Candidate]) -> Result<Vec<Time>> {
    let mtime = |one: &Candidate| {
        let found = inode::follow(&one.dated).map_err(Error::io("examine", &one.dated))?;
        Ok((one.dated.clone(), found.mtime))
    };
    let dated: Vec<(PathBuf, Time)> = candidates.iter().map(mtime).collect::<Result<_>>()?;
    layout::check_order(&dated)?;
    Ok(dated.into_iter().map(|(_, time)| time).collect())
}

fn from_births(candidates: &[Candidate]) -> Result<Vec<Time>> {
    let born = |one: &Candidate| {
        let found = inode::follow(&one.dated).map_err(Error::io("examine", &one.dated))?;
        let why = || Error::Usage(format!("the file system of {} has no birth times", one.dated.display()));
        found.born.ok_or_else(why)
    };
    candidates.iter().map(born).collect()
}

/// Returns the source of all states, if their layouts agree on it.
fn common_source(candidates: &[Candidate], subdir: Option<&Path>) -> Option<PathBuf> {
    let first = candidates.first()?.source()?;
    let all = candidates.iter().all(|one| one.source() == Some(first));
    all.then(|| subdir.map_or_else(|| first.to_path_buf(), |below| first.join(below)))
}

fn time(at: Timestamp) -> Time {
    let nanos = at.as_nanosecond();
    let (sec, nanos) = (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
    inode::time(i64::try_from(sec).unwrap_or(0), u64::try_from(nanos).unwrap_or(0))
}

//! `find`: finds paths by name, time, size, type or content in many snapshots at once. An entry that did not
//! change between them is reported once, and each distinct tree is read once.

mod content;

use std::ffi::OsString;
use std::path::PathBuf;

use crate::error::{Error, Problem, Result};
use crate::fs::filter::PathSearch;
use crate::model::entry::{Entry, Kind, Time, flags};
use crate::model::entry_diff;
use crate::ops::find::content::ContentQuery;
use crate::progress::{Control, Event, Observer};
use crate::repo::repository::Repository;
use crate::repo::snapshots::Snapshot;
use crate::repo::snapshots::filter::SnapshotQuery;
use crate::repo::walk::multi_walk::{self, EntryVersion, Visitor};
use crate::repo::walk::snapshot_set::SnapshotSet;
use crate::util::bitset::BitSet;

/// Type of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryType {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

impl EntryType {
    /// Returns the type of an entry.
    pub fn of(entry: &Entry) -> Self {
        match entry.kind {
            Kind::File { .. } => Self::File,
            Kind::Dir { .. } => Self::Dir,
            Kind::Symlink { .. } => Self::Symlink,
            Kind::Fifo => Self::Fifo,
            Kind::Socket => Self::Socket,
            Kind::CharDevice { .. } => Self::CharDevice,
            Kind::BlockDevice { .. } => Self::BlockDevice,
        }
    }
}

/// What to look for. All given criteria must hold; without any, everything matches.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Snapshots to search.
    pub choice: SnapshotQuery,
    /// Globs or regular expressions, of which one must match.
    pub patterns: Vec<OsString>,
    /// Whether patterns are regular expressions.
    pub regex: bool,
    /// Whether patterns ignore case.
    pub ignore_case: bool,
    /// Modified at or after this time.
    pub newer: Option<Time>,
    /// Modified before this time.
    pub older: Option<Time>,
    /// Files of more bytes than this.
    pub larger: Option<u64>,
    /// Files of fewer bytes than this.
    pub smaller: Option<u64>,
    /// Types of which one must match; empty: all.
    pub types: Vec<EntryType>,
    /// Prefix of the id of a chunk that a file or directory needs.
    pub chunk: Option<String>,
    /// A file on disk with the same bytes.
    pub content: Option<PathBuf>,
}

/// A path, and one version of it.
#[derive(Debug)]
pub struct Match<'a> {
    /// The stored path.
    pub path: &'a [u8],
    /// Its entry in the newest of the snapshots.
    pub entry: &'a Entry,
    /// Indexes of the snapshots that have this version.
    pub among: &'a BitSet,
    /// All snapshots that were searched, oldest first.
    pub snapshots: &'a [Snapshot],
}

/// Result of a search.
#[derive(Debug)]
#[non_exhaustive]
pub struct Report {
    /// Number of snapshots.
    pub snapshots: u64,
    /// Number of matches reported.
    pub matches: u64,
    /// Patterns that match no path, regardless of the other criteria.
    pub unmatched: Vec<String>,
    /// Paths that could not be read because of damage, and why.
    pub problems: Vec<Problem>,
}

/// Calls `each` for every match, in order of paths. Snapshots with the same version are reported together.
///
/// # Errors
/// When a selector names nothing, a pattern is invalid, the file to compare with cannot be read, the storage
/// fails, or the run was interrupted. Damage is listed in the summary.
pub fn run(
    repo: &Repository,
    options: &Options,
    each: &mut dyn FnMut(&Match<'_>) -> Result<()>,
    control: &Control<'_>,
) -> Result<Report> {
    let (observer, stop) = (control.observer(), control.cancel());
    let names = if options.regex {
        PathSearch::regexes(&options.patterns, options.ignore_case)?
    } else {
        PathSearch::globs(&options.patterns, options.ignore_case)?
    };
    let mut past = SnapshotSet::open_query(repo, observer, &options.choice)?;
    let (trees, mut bounds) = (past.roots(), past.bounds(stop));
    let wanted = ContentQuery::new(repo, &past, options)?;
    let snapshots = &past.snapshots;
    let (matches, unmatched, problems) = {
        let problems = Vec::new();
        let mut finder = Finder { options, names, wanted, snapshots, each, observer, matches: 0, problems };
        multi_walk::walk(&mut past.reader, b"", trees, &mut finder, &mut bounds)?;
        (finder.matches, finder.names.unmatched(), std::mem::take(&mut finder.problems))
    };
    let snapshots = past.snapshots.len() as u64;
    past.close()?;
    Ok(Report { snapshots, matches, unmatched, problems })
}

struct Finder<'a> {
    options: &'a Options,
    names: PathSearch,
    wanted: ContentQuery,
    snapshots: &'a [Snapshot],
    each: &'a mut dyn FnMut(&Match<'_>) -> Result<()>,
    observer: &'a dyn Observer,
    matches: u64,
    problems: Vec<Problem>,
}

impl Visitor for Finder<'_> {
    fn path(&mut self, path: &[u8], versions: &[EntryVersion]) -> Result<bool> {
        self.observer.notice(Event::Working { path });
        if self.names.match_path(path) {
            let mut groups: Vec<(&Entry, BitSet)> = Vec::new();
            for EntryVersion { entry, among } in versions {
                if !self.fits(entry) || !self.has_content(path, entry)? {
                    continue;
                }
                match groups.iter_mut().rev().find(|(known, _)| is_same(known, entry)) {
                    Some((newest, set)) => {
                        if among.last() > set.last() {
                            *newest = entry;
                        }
                        set.add(among);
                    }
                    None => groups.push((entry, (**among).clone())),
                }
            }
            for (entry, among) in &groups {
                self.matches += 1;
                (self.each)(&Match { path, entry, among, snapshots: self.snapshots })?;
            }
        }
        Ok(true)
    }

    fn lost(&mut self, dir: &[u8], _: &BitSet, err: Error) -> Result<()> {
        self.problem(dir, &err);
        Ok(())
    }
}

impl Finder<'_> {
    fn problem(&mut self, path: &[u8], err: &Error) {
        let problem = Problem::of(path, err);
        self.observer.notice(Event::Problem(&problem));
        self.problems.push(problem);
    }

    /// Returns whether the metadata of an entry meets the criteria.
    fn fits(&self, entry: &Entry) -> bool {
        let options = self.options;
        // A directory that only leads to a source has no time of its own.
        let timeless = entry.meta.flags & flags::ANCESTOR_ONLY != 0;
        let time = |fits: bool, asked: Option<Time>| asked.is_none() || fits && !timeless;
        let size = |fits: bool, asked: Option<u64>| asked.is_none() || fits && entry.is_file();
        (options.types.is_empty() || options.types.contains(&EntryType::of(entry)))
            && time(options.newer.is_some_and(|limit| entry.meta.mtime >= limit), options.newer)
            && time(options.older.is_some_and(|limit| entry.meta.mtime < limit), options.older)
            && size(options.larger.is_some_and(|limit| entry.size() > limit), options.larger)
            && size(options.smaller.is_some_and(|limit| entry.size() < limit), options.smaller)
    }

    /// Returns whether an entry has the content. An entry that cannot be read is reported as a problem and
    /// does not match.
    fn has_content(&mut self, path: &[u8], entry: &Entry) -> Result<bool> {
        match self.wanted.is_in(entry) {
            Err(err) if err.is_damage() => {
                self.problem(path, &err);
                Ok(false)
            }
            other => other,
        }
    }
}

/// Returns whether a user would see no difference. Entries of directories are compared on their own.
fn is_same(a: &Entry, b: &Entry) -> bool {
    entry_diff::same_type(a, b)
        && entry_diff::same_content(a, b)
        && entry_diff::metadata(&a.meta, &b.meta).is_empty()
}

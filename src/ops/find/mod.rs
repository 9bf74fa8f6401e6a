//! `find`: paths by name, time, size, kind or content, over many snapshots at once. What did not change between them is
//! found once, and each distinct tree is read once.

mod content;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use crate::error::{Error, Result};
use crate::fs::filter::PathSearch;
use crate::model::entry::{Entry, Kind, Time, flags};
use crate::model::entry_diff;
use crate::ops::find::content::ContentQuery;
use crate::progress::{Event, Observer};
use crate::repo::repository::Repository;
use crate::repo::snapshots::Snapshot;
use crate::repo::snapshots::filter::SnapshotQuery;
use crate::repo::walk::multi_walk;
use crate::repo::walk::multi_walk::{EntryVersion, Visitor};
use crate::repo::walk::snapshot_set::SnapshotSet;
use crate::util::bitset::BitSet;

/// What kind of thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
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

impl Type {
    /// That of an entry.
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

/// What to look for. All that is given must be so; nothing given finds everything.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// In which snapshots.
    pub choice: SnapshotQuery,
    /// Globs, or regular expressions; any is enough.
    pub patterns: Vec<OsString>,
    /// Patterns are regular expressions.
    pub regex: bool,
    /// Patterns ignore case.
    pub ignore_case: bool,
    /// Changed at or after this.
    pub newer: Option<Time>,
    /// Changed before this.
    pub older: Option<Time>,
    /// Files of more bytes.
    pub larger: Option<u64>,
    /// Files of fewer bytes.
    pub smaller: Option<u64>,
    /// Any of these; none given: all.
    pub types: Vec<Type>,
    /// Files and directories that need a chunk whose id begins so.
    pub chunk: Option<String>,
    /// Files with the bytes of this one on disk.
    pub content: Option<PathBuf>,
}

/// A path, and one thing that it is.
#[derive(Debug)]
pub struct Match<'a> {
    /// As stored.
    pub path: &'a [u8],
    /// What it is in the newest of the snapshots.
    pub entry: &'a Entry,
    /// Numbers of the snapshots that have it so.
    pub among: &'a BitSet,
    /// All that were looked through, oldest first.
    pub snapshots: &'a [Snapshot],
}

/// What was looked through.
#[derive(Debug)]
pub struct Summary {
    /// How many snapshots.
    pub snapshots: u64,
    /// How many matches were told of.
    pub matches: u64,
    /// Patterns that no path matches, whatever else was asked for.
    pub unmatched: Vec<String>,
    /// What could not be read because of damage, and why.
    pub problems: Vec<(Vec<u8>, String)>,
}

/// Calls `each` for every path that is what is looked for, in order; once for all snapshots in which it is the same.
///
/// # Errors
/// When a selector names nothing, a pattern is none, the file to compare with cannot be read, the store fails, or the
/// run was interrupted. What is damaged is listed in the summary.
pub fn run(
    repo: &Repository,
    options: &Options,
    each: &mut dyn FnMut(&Match<'_>) -> Result<()>,
    observer: &dyn Observer,
    stop: &AtomicBool,
) -> Result<Summary> {
    let names = match options.regex {
        true => PathSearch::regexes(&options.patterns, options.ignore_case)?,
        false => PathSearch::globs(&options.patterns, options.ignore_case)?,
    };
    let mut past = SnapshotSet::of(repo, observer, &options.choice)?;
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
    Ok(Summary { snapshots, matches, unmatched, problems })
}

struct Finder<'a> {
    options: &'a Options,
    names: PathSearch,
    wanted: ContentQuery,
    snapshots: &'a [Snapshot],
    each: &'a mut dyn FnMut(&Match<'_>) -> Result<()>,
    observer: &'a dyn Observer,
    matches: u64,
    problems: Vec<(Vec<u8>, String)>,
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
        let why = err.chain();
        self.observer.notice(Event::Problem { path, why: &why });
        self.problems.push((path.to_vec(), why));
    }

    /// What an entry says by itself.
    fn fits(&self, entry: &Entry) -> bool {
        let options = self.options;
        // The way to a source has no time of its own.
        let timeless = entry.meta.flags & flags::PASSAGE != 0;
        let time = |fits: bool, asked: Option<Time>| asked.is_none() || fits && !timeless;
        let size = |fits: bool, asked: Option<u64>| asked.is_none() || fits && entry.is_file();
        (options.types.is_empty() || options.types.contains(&Type::of(entry)))
            && time(options.newer.is_some_and(|limit| entry.meta.mtime >= limit), options.newer)
            && time(options.older.is_some_and(|limit| entry.meta.mtime < limit), options.older)
            && size(options.larger.is_some_and(|limit| entry.size() > limit), options.larger)
            && size(options.smaller.is_some_and(|limit| entry.size() < limit), options.smaller)
    }

    /// What is stored of it. An entry of which that cannot be read is a problem, and no match.
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

/// Whether a person would see no difference. What is in a directory is its entries' business.
fn is_same(a: &Entry, b: &Entry) -> bool {
    entry_diff::same_type(a, b)
        && entry_diff::same_content(a, b)
        && entry_diff::metadata(&a.meta, &b.meta).is_empty()
}

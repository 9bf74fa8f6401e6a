//! Accesses the repository for `snap browse` in a separate thread.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use parking_lot::Mutex;
use snap_backup::model::entry::{Entry, Kind};
use snap_backup::model::id::{ChunkId, SnapshotId};
use snap_backup::ops::browse::Browser;
use snap_backup::ops::{diff, find, history, restore};
use snap_backup::progress::Event;
use snap_backup::repo::repository::Repository;
use snap_backup::repo::snapshots::Snapshot;
use snap_backup::repo::snapshots::filter::SnapshotQuery;
use snap_backup::{Control, Error, Problem, Result};

use super::list::List;
use super::screen::{Diff, Dir, Found, Line, Text, Versions};
use crate::terminal::{output, wording};

/// How long an unused session stays open. A longer time would delay garbage collections.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Number of a directory's entries that are loaded at once.
const PAGE_ENTRIES: usize = 5_000;
/// Maximum number of results. A search that finds more reports how many.
const MAX_RESULTS: usize = 10_000;
/// Size of the part of a file that is shown.
const MAX_TEXT_BYTES: u64 = 1 << 20;

/// A request to the worker.
#[derive(Debug)]
pub(super) enum Task {
    Snapshots,
    Open { snapshot: SnapshotId, path: Vec<u8> },
    More { tree: ChunkId, from: Vec<u8> },
    View { snapshot: SnapshotId, path: Vec<u8> },
    Versions { path: Vec<u8> },
    Find { pattern: String, snapshot: Option<SnapshotId> },
    Diff { before: SnapshotId, after: SnapshotId },
    Restore { snapshot: SnapshotId, paths: Vec<Vec<u8>>, target: PathBuf },
}

/// The worker's answer to a task.
#[derive(Debug)]
pub(super) enum Answer {
    Snapshots(Vec<Snapshot>),
    Dir(Box<Dir>),
    More { entries: Vec<Entry>, next: Option<Vec<u8>> },
    Text(Text),
    Versions(Versions),
    Found { title: String, list: Vec<Found> },
    Diff(Diff),
    Restored(String),
    Failed(String),
}

/// Handles tasks until the channel closes.
pub(super) fn serve(
    repo: &Repository,
    tasks: &Receiver<Task>,
    answers: &Sender<Answer>,
    cancel: &Arc<AtomicBool>,
) {
    let mut worker = Worker { repo, browser: None, cancel };
    loop {
        let task = match tasks.recv_timeout(IDLE_TIMEOUT) {
            Ok(task) => task,
            Err(RecvTimeoutError::Timeout) => {
                worker.close();
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        };
        let answer = worker.run(task).unwrap_or_else(|error| {
            Answer::Failed(if matches!(error, Error::Interrupted) {
                "stopped".to_owned()
            } else {
                wording::chain(&error)
            })
        });
        if answers.send(answer).is_err() {
            break;
        }
    }
    worker.close();
}

struct Worker<'a> {
    repo: &'a Repository,
    browser: Option<Browser>,
    cancel: &'a Arc<AtomicBool>,
}

impl Worker<'_> {
    fn control(&self) -> Control<'static> {
        Control::default().with_cancel(self.cancel)
    }

    fn run(&mut self, task: Task) -> Result<Answer> {
        match task {
            // Lists again, because a backup may have finished in the meantime.
            Task::Snapshots => {
                self.close();
                let mut snapshots = self.browser()?.snapshots().to_vec();
                snapshots.reverse();
                Ok(Answer::Snapshots(snapshots))
            }
            Task::Open { snapshot, path } => self.open(snapshot, path),
            Task::More { tree, from } => {
                let page = self.browser()?.page(tree, &from, PAGE_ENTRIES)?;
                Ok(Answer::More { entries: page.entries, next: page.next })
            }
            Task::View { snapshot, path } => self.view(snapshot, &path),
            Task::Versions { path } => self.versions(path),
            Task::Find { pattern, snapshot } => self.find(&pattern, snapshot),
            Task::Diff { before, after } => self.diff(before, after),
            Task::Restore { snapshot, paths, target } => self.restore(snapshot, &paths, target),
        }
    }

    /// Closes the session, if one is open. If that fails, it becomes stale like that of a killed process.
    fn close(&mut self) {
        if let Some(browser) = self.browser.take() {
            drop(browser.close());
        }
    }

    fn browser(&mut self) -> Result<&Browser> {
        let browser = match self.browser.take() {
            Some(browser) => browser,
            None => Browser::open(self.repo, &Control::default())?,
        };
        Ok(self.browser.insert(browser))
    }

    fn entry(&mut self, id: SnapshotId, path: &[u8]) -> Result<(Snapshot, Entry)> {
        let missing = |why: &str| Error::NoSnapshot { selector: id.short().to_string(), why: why.to_owned() };
        let browser = self.browser()?;
        let snapshot =
            browser.snapshot(&id).ok_or_else(|| missing("it was forgotten in the meantime"))?.clone();
        let entry = browser.entry(&snapshot, path)?;
        Ok((snapshot, entry.ok_or_else(|| missing(&format!("it does not contain {}", output::path(path))))?))
    }

    fn open(&mut self, id: SnapshotId, path: Vec<u8>) -> Result<Answer> {
        let (snapshot, entry) = self.entry(id, &path)?;
        let Kind::Dir { tree } = entry.kind else { return self.view(id, &path) };
        let page = self.browser()?.page(tree, b"", PAGE_ENTRIES)?;
        Ok(Answer::Dir(Box::new(Dir {
            snapshot,
            path,
            tree,
            list: List::new(page.entries),
            next: page.next,
        })))
    }

    fn view(&mut self, id: SnapshotId, path: &[u8]) -> Result<Answer> {
        let (_, entry) = self.entry(id, path)?;
        let title = format!("{}:{}", id.short(), output::path(path));
        let Kind::File { size, content } = &entry.kind else {
            let text = match &entry.kind {
                Kind::Symlink { target } => format!("a link to {}", output::path(target)),
                _ => "not a regular file".to_owned(),
            };
            return Ok(Answer::Text(Text { title, list: List::new(vec![text]), is_cut: false }));
        };
        let end = (*size).min(MAX_TEXT_BYTES);
        let bytes = self.browser()?.read(*size, content, 0..end)?;
        Ok(Answer::Text(Text { title, list: List::new(lines(&bytes)), is_cut: end < *size }))
    }

    fn versions(&self, path: Vec<u8>) -> Result<Answer> {
        let options = history::Options { choice: SnapshotQuery::default(), path };
        let report = history::run(self.repo, &options, &self.control())?;
        let list = report.versions.iter().rev().filter_map(|version| {
            let snapshot = version.among.last().and_then(|at| report.snapshots.get(at))?.clone();
            let (path, entry) = (report.path.clone(), version.entry.clone());
            Some(Found { snapshot, path, entry, count: version.among.count() })
        });
        Ok(Answer::Versions(Versions { list: List::new(list.collect()), path: report.path.clone() }))
    }

    fn find(&self, pattern: &str, snapshot: Option<SnapshotId>) -> Result<Answer> {
        let selectors = snapshot.map(|id| id.hex()).into_iter().collect();
        // A pattern without wildcards matches anywhere in a name, as in a search box.
        let glob =
            if pattern.contains(['*', '?', '[']) { pattern.to_owned() } else { format!("*{pattern}*") };
        let options = find::Options {
            choice: SnapshotQuery { selectors, ..SnapshotQuery::default() },
            patterns: vec![glob.into()],
            ignore_case: true,
            ..find::Options::default()
        };
        let mut list = Vec::new();
        let mut left_out = 0_u64;
        let mut each = |found: &find::Match<'_>| {
            let newest = found.among.last().and_then(|at| found.snapshots.get(at));
            match newest {
                Some(snapshot) if list.len() < MAX_RESULTS => list.push(Found {
                    snapshot: snapshot.clone(),
                    path: found.path.to_vec(),
                    entry: found.entry.clone(),
                    count: found.among.count(),
                }),
                _ => left_out += 1,
            }
            Ok(())
        };
        find::run(self.repo, &options, &mut each, &self.control())?;
        let place = snapshot.map_or_else(|| "all snapshots".to_owned(), |id| id.short().to_string());
        let mut title = format!("{} in {place}", output::printable(pattern));
        if left_out > 0 {
            title += &format!(" (the first {MAX_RESULTS}; {left_out} more)");
        }
        Ok(Answer::Found { title, list })
    }

    fn diff(&self, before: SnapshotId, after: SnapshotId) -> Result<Answer> {
        let options = diff::Options {
            before: before.hex().into_bytes(),
            after: PathBuf::from(after.hex()),
            ..diff::Options::default()
        };
        let (mut list, mut is_cut) = (Vec::new(), false);
        let mut each = |found: &diff::Difference<'_>| {
            if list.len() < MAX_RESULTS {
                list.push(Line { change: found.change, path: found.path.to_vec(), size: found.entry.size() });
            } else {
                is_cut = true;
            }
            Ok(())
        };
        diff::run(self.repo, &options, &mut each, &self.control())?;
        Ok(Answer::Diff(Diff { before, after, list: List::new(list), is_cut }))
    }

    fn restore(&self, snapshot: SnapshotId, paths: &[Vec<u8>], target: PathBuf) -> Result<Answer> {
        let options = restore::Options {
            selector: snapshot.hex(),
            include: paths.iter().map(|path| pattern(path)).collect(),
            target: target.clone(),
            // Users of a browser do not expect existing files to be replaced.
            overwrite: restore::Overwrite::Never,
            ..restore::Options::default()
        };
        let problem = Mutex::new(None);
        let observer = |event: Event<'_>| {
            if let Event::Problem(Problem { path, message, .. }) = event {
                let text = || format!("{}: {}", output::path(path), wording::translate(message));
                problem.lock().get_or_insert_with(text);
            }
        };
        let summary = restore::run(self.repo, &options, &Control::new(&observer).with_cancel(self.cancel))?;
        let mut text = format!(
            "restored {} and {} to {}",
            output::count(summary.created, "file", "files"),
            output::count(summary.dirs, "directory", "directories"),
            output::path(&target.into_os_string().into_vec()),
        );
        if summary.kept > 0 {
            text += &format!("; {} there already and kept", output::count(summary.kept, "was", "were"));
        }
        if !summary.problems.is_empty() {
            let first = problem.into_inner().unwrap_or_default();
            text += &format!("; {} NOT restored: {first}", summary.problems.len());
        }
        Ok(Answer::Restored(text))
    }
}

/// Returns the pattern that matches exactly this stored path and everything below it.
fn pattern(path: &[u8]) -> OsString {
    let mut pattern = vec![b'/'];
    for byte in path {
        if b"*?[]{}\\!".contains(byte) {
            pattern.push(b'\\');
        }
        pattern.push(*byte);
    }
    OsString::from_vec(pattern)
}

/// Converts bytes to lines that a terminal can show. Binary data is replaced by a message.
fn lines(bytes: &[u8]) -> Vec<String> {
    if bytes.contains(&0) {
        return vec!["a binary file".to_owned()];
    }
    let text = String::from_utf8_lossy(bytes);
    text.lines().map(|line| output::printable(&line.replace('\t', "    "))).collect()
}

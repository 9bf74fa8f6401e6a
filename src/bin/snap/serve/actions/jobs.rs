//! Jobs started from the browser: their progress and results. A job continues when the browser disconnects.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, MutexGuard};

use snap_backup::Problem;
use snap_backup::model::entry::Time;
use snap_backup::progress::{Event, Observer};

use crate::terminal::wording;

/// Maximum number of jobs that are kept.
const MOST: usize = 50;
/// Maximum number of warnings that a job keeps.
const WARNINGS: usize = 100;

/// All jobs since the server was started.
#[derive(Default)]
pub(in crate::serve) struct Jobs {
    all: Mutex<Vec<Arc<Job>>>,
    next: AtomicU64,
    /// Set when the server stops, so that jobs end early.
    pub(in crate::serve) stop: Arc<AtomicBool>,
}

/// One job.
pub(in crate::serve) struct Job {
    pub(in crate::serve) id: u64,
    /// Title of the job.
    pub(in crate::serve) title: String,
    pub(in crate::serve) started: Time,
    done: (AtomicU64, AtomicU64),
    expected: (AtomicU64, AtomicU64),
    warnings: Mutex<Vec<String>>,
    end: OnceLock<End>,
}

/// How a job ended.
pub(in crate::serve) struct End {
    pub(in crate::serve) at: Time,
    pub(in crate::serve) is_good: bool,
    /// Lines that describe what it did, or why it failed.
    pub(in crate::serve) lines: Vec<String>,
}

impl Jobs {
    /// Adds a job, unless one is running: jobs run one at a time.
    pub(in crate::serve) fn begin(&self, title: String) -> Option<RunningJob> {
        let mut all = self.list();
        if all.iter().any(|job| job.end().is_none()) {
            return None;
        }
        let job = Arc::new(Job {
            id: self.next.fetch_add(1, Ordering::Relaxed) + 1,
            title,
            started: Time::now(),
            done: Default::default(),
            expected: Default::default(),
            warnings: Mutex::default(),
            end: OnceLock::new(),
        });
        all.push(Arc::clone(&job));
        if all.len() > MOST {
            all.remove(0);
        }
        Some(RunningJob(job))
    }

    /// Returns the job of this number.
    pub(in crate::serve) fn job(&self, id: u64) -> Option<Arc<Job>> {
        self.list().iter().find(|job| job.id == id).cloned()
    }

    /// Returns all jobs, newest first.
    pub(in crate::serve) fn all(&self) -> Vec<Arc<Job>> {
        self.list().iter().rev().cloned().collect()
    }

    fn list(&self) -> MutexGuard<'_, Vec<Arc<Job>>> {
        self.all.lock()
    }
}

/// A running job. Dropping this ends the job even if its thread panicked; otherwise no other job could start.
pub(in crate::serve) struct RunningJob(Arc<Job>);

impl Deref for RunningJob {
    type Target = Job;

    fn deref(&self) -> &Job {
        &self.0
    }
}

impl Drop for RunningJob {
    fn drop(&mut self) {
        self.ended(false, vec!["It stopped without a result: see the messages of the server.".to_owned()]);
    }
}

impl Job {
    /// Returns the files and bytes that are done, and those that are expected (0 if unknown).
    pub(in crate::serve) fn progress(&self) -> [u64; 4] {
        [&self.done.0, &self.done.1, &self.expected.0, &self.expected.1]
            .map(|one| one.load(Ordering::Relaxed))
    }

    pub(in crate::serve) fn warnings(&self) -> Vec<String> {
        self.warnings.lock().clone()
    }

    pub(in crate::serve) fn end(&self) -> Option<&End> {
        self.end.get()
    }

    /// Records the end of the job.
    pub(in crate::serve) fn ended(&self, is_good: bool, lines: Vec<String>) {
        // Only the first end of a job is recorded.
        let _ = self.end.set(End { at: Time::now(), is_good, lines });
    }

    fn warn(&self, text: String) {
        let mut warnings = self.warnings.lock();
        if warnings.len() < WARNINGS {
            warnings.push(wording::translate(&text).into_owned());
        }
    }
}

impl Observer for Job {
    fn notice(&self, event: Event<'_>) {
        match event {
            Event::Expect { files, bytes } | Event::Found { files, bytes, .. } => {
                self.expected.0.store(files, Ordering::Relaxed);
                self.expected.1.store(bytes, Ordering::Relaxed);
            }
            Event::Done { files, bytes } => {
                self.done.0.fetch_add(files, Ordering::Relaxed);
                self.done.1.fetch_add(bytes, Ordering::Relaxed);
            }
            Event::Problem(Problem { path, message, .. }) => {
                self.warn(format!("{}: {message}", crate::terminal::output::path(path)));
            }
            Event::Warning(text) => self.warn(text.to_owned()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_job_runs_at_a_time_and_the_last_fifty_are_remembered() {
        let jobs = Jobs::default();
        let first = jobs.begin("a".to_owned()).unwrap();
        assert!(jobs.begin("b".to_owned()).is_none());
        first.notice(Event::Done { files: 1, bytes: 5 });
        assert_eq!(first.progress(), [1, 5, 0, 0]);
        drop(first);
        assert!(jobs.all()[0].end().is_some_and(|end| !end.is_good));
        let first = jobs.begin("again".to_owned()).unwrap();
        first.ended(true, Vec::new());
        for _ in 0..MOST {
            jobs.begin("c".to_owned()).unwrap().ended(false, Vec::new());
        }
        assert!(jobs.job(1).is_none() && jobs.job(51).is_some());
        assert_eq!(jobs.all().len(), MOST);
    }
}

//! Background work that reads whole snapshots, while pages show its progress. Results are cached.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use snap_backup::Result;
use snap_backup::model::entry::Time;
use snap_backup::ops::{du, stats};
use snap_backup::progress::{Control, Event, Observer};
use snap_backup::repo::repository::Repository;
use tokio::task::spawn_blocking;

use crate::advice;

/// Maximum number of cached results.
const MOST: usize = 8;
/// How long a page waits for the result before it shows the progress.
const SOON: Duration = Duration::from_millis(120);
/// Interval at which a waiting page checks.
const TICK: Duration = Duration::from_millis(5);

/// The result of background work.
#[derive(Debug)]
pub(super) enum Found {
    Stats(Box<stats::Report>),
    Usage(Box<du::Report>),
}

/// Work that a page has requested.
#[derive(Debug)]
pub(super) struct Work {
    /// Identifies the work: the path of its page.
    key: String,
    /// Identifies the list of snapshots that the work is about.
    pub(super) basis: u64,
    pub(super) started: Time,
    done: AtomicU64,
    expected: AtomicU64,
    end: OnceLock<std::result::Result<Found, String>>,
}

impl Work {
    /// Returns the steps done and expected (0 if unknown).
    pub(super) fn progress(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.expected.load(Ordering::Relaxed))
    }

    /// Returns the result, or why the work failed; `None` while it is running.
    pub(super) fn end(&self) -> Option<std::result::Result<&Found, &str>> {
        self.end.get().map(|end| end.as_ref().map_err(String::as_str))
    }
}

impl Observer for Work {
    fn notice(&self, event: Event<'_>) {
        match event {
            Event::Expect { files, .. } => self.expected.store(files, Ordering::Relaxed),
            Event::Done { files, .. } => _ = self.done.fetch_add(files, Ordering::Relaxed),
            Event::Working { .. } => _ = self.done.fetch_add(1, Ordering::Relaxed),
            _ => {}
        }
    }
}

/// Records an error if the work panics, so that pages do not wait for it forever.
struct Ending(Arc<Work>);

impl Drop for Ending {
    fn drop(&mut self) {
        // Does not replace a result.
        let _ = self.0.end.set(Err("it was aborted".to_owned()));
    }
}

/// Runs background work, one at a time.
#[derive(Debug, Default)]
pub(super) struct Background {
    all: Mutex<Vec<Arc<Work>>>,
    /// Set when the server stops, so that work ends early.
    pub(super) stop: Arc<AtomicBool>,
}

impl Background {
    /// Returns the work with this key. Starts it if there is none, or if it has ended and `again` is set.
    /// Waits briefly for its end. Returns `None` while other work is running.
    pub(super) fn ask(
        &self,
        (key, basis, again): (&str, u64, bool),
        repo: &Arc<Repository>,
        work: impl FnOnce(&Repository, &Control<'_>) -> Result<Found> + Send + 'static,
    ) -> Option<Arc<Work>> {
        let found = self.find_or_start((key, basis, again), repo, work)?;
        let begun = Instant::now();
        while found.end().is_none() && begun.elapsed() < SOON {
            std::thread::sleep(TICK);
        }
        Some(found)
    }

    fn find_or_start(
        &self,
        (key, basis, again): (&str, u64, bool),
        repo: &Arc<Repository>,
        work: impl FnOnce(&Repository, &Control<'_>) -> Result<Found> + Send + 'static,
    ) -> Option<Arc<Work>> {
        let mut all = self.list();
        let known = all.iter().position(|one| one.key == key);
        if let Some(known) = known.and_then(|at| all.get(at))
            && (known.end().is_none() || !again)
        {
            return Some(Arc::clone(known));
        }
        if all.iter().any(|one| one.end().is_none()) {
            return None;
        }
        if let Some(at) = known {
            all.remove(at);
        }
        let begun = Arc::new(Work {
            key: key.to_owned(),
            basis,
            started: Time::now(),
            done: AtomicU64::new(0),
            expected: AtomicU64::new(0),
            end: OnceLock::new(),
        });
        all.push(Arc::clone(&begun));
        if all.len() > MOST {
            all.remove(0);
        }
        self.start(&begun, repo, work);
        Some(begun)
    }

    fn start(
        &self,
        begun: &Arc<Work>,
        repo: &Arc<Repository>,
        work: impl FnOnce(&Repository, &Control<'_>) -> Result<Found> + Send + 'static,
    ) {
        let (ending, repo, stop) = (Ending(Arc::clone(begun)), Arc::clone(repo), Arc::clone(&self.stop));
        spawn_blocking(move || {
            let found = work(&repo, &Control::new(&*ending.0).with_cancel(&stop));
            // Released before the end is visible, because the server closes the repository when it is idle.
            drop(repo);
            // Set only once.
            let _ = ending.0.end.set(found.map_err(|error| advice::message_with_hint(&error)));
        });
    }

    /// Returns whether the work with this key has ended.
    pub(super) fn is_done(&self, key: &str) -> bool {
        self.list().iter().any(|one| one.key == key && one.end().is_some())
    }

    fn list(&self) -> MutexGuard<'_, Vec<Arc<Work>>> {
        self.all.lock()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use snap_backup::Error;
    use snap_backup::repo::options::InitOptions;
    use snap_backup::storage::memory::MemoryStorage;

    use super::*;

    fn nothing() -> Found {
        Found::Stats(Box::default())
    }

    #[test]
    fn work_is_done_once_one_at_a_time_and_pages_do_not_wait_for_it() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _inside = runtime.enter();
        let repo = Repository::init(Arc::new(MemoryStorage::default()), &InitOptions::default());
        let (repo, background) = (Arc::new(repo.unwrap()), Background::default());
        let (go, gate) = channel::<()>();
        let slow = background.ask(("slow", 1, false), &repo, move |_, control| {
            control.observer().notice(Event::Expect { files: 3, bytes: 0 });
            control.observer().notice(Event::Done { files: 1, bytes: 0 });
            gate.recv().map_err(|_| Error::Stopped)?;
            Ok(nothing())
        });
        let slow = slow.unwrap();
        assert!(slow.end().is_none() && !background.is_done("slow"));
        assert_eq!(slow.progress(), (1, 3));
        // Neither the same work again nor other work is started while it runs.
        let same = background.ask(("slow", 2, true), &repo, |_, _| unreachable!()).unwrap();
        assert!(Arc::ptr_eq(&slow, &same));
        assert!(background.ask(("other", 1, false), &repo, |_, _| unreachable!()).is_none());
        go.send(()).unwrap();
        while slow.end().is_none() {
            std::thread::sleep(TICK);
        }
        let kept = background.ask(("slow", 2, false), &repo, |_, _| unreachable!()).unwrap();
        assert!(Arc::ptr_eq(&slow, &kept) && kept.basis == 1);
        let again = background.ask(("slow", 2, true), &repo, |_, _| Err(Error::Interrupted)).unwrap();
        assert!(!Arc::ptr_eq(&slow, &again) && again.basis == 2);
        while again.end().is_none() {
            std::thread::sleep(TICK);
        }
        assert!(matches!(again.end(), Some(Err(_))));
    }

    #[test]
    fn background_work_that_panics_ends() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _inside = runtime.enter();
        let repo = Repository::init(Arc::new(MemoryStorage::default()), &InitOptions::default());
        let (repo, background) = (Arc::new(repo.unwrap()), Background::default());
        let work = background.ask(("x", 1, false), &repo, |_, _| panic!("on purpose")).unwrap();
        while work.end().is_none() {
            std::thread::sleep(TICK);
        }
        assert!(work.end().unwrap().is_err());
    }
}

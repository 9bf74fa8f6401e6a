//! Starting threads. If the system refuses one, that is an error: a plain `spawn` would panic, and a thread
//! waiting for the missing one would wait forever.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Builder, JoinHandle, Scope, ScopedJoinHandle};

use parking_lot::RwLock;

use crate::error::{Error, Result};

/// Maximum number of workers of a pool; 0 means the number of processors.
static LIMIT: AtomicUsize = AtomicUsize::new(0);

/// Limits the workers of pools that are started from now on; 0 removes the limit. Memory usage depends on
/// their number.
pub fn limit(workers: usize) {
    LIMIT.store(workers, Ordering::Relaxed);
}

/// Returns how many workers a pool has that computes: the limit, or one for each processor.
pub fn workers() -> usize {
    match LIMIT.load(Ordering::Relaxed) {
        0 => std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
        limit => limit,
    }
}

/// Returns how many workers a pool has that mostly waits: as many as wanted, or the limit.
pub fn at_most(wanted: usize) -> usize {
    match LIMIT.load(Ordering::Relaxed) {
        0 => wanted,
        limit => wanted.min(limit),
    }
}

/// Starts a thread that ends before its scope does.
///
/// # Errors
/// When the system refuses a thread. `work` is then dropped with its ends of channels, so threads that were
/// started before end if they wait for nothing else.
pub fn start<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>> {
    Builder::new()
        .name(name.to_owned())
        .spawn_scoped(scope, work)
        .map_err(|source| Error::NoThread { source })
}

/// Starts a detached thread.
///
/// # Errors
/// As [`start`].
pub fn detached<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).spawn(work).map_err(|source| Error::NoThread { source })
}

/// Starts threads that share the same work: as many as wanted, or fewer if the system refuses more.
///
/// # Errors
/// When some are wanted and none could be started.
pub fn pool<'scope, T: Send + 'scope, W: FnOnce() -> T + Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    wanted: usize,
    mut work: impl FnMut() -> W,
) -> Result<Vec<ScopedJoinHandle<'scope, T>>> {
    let mut started = Vec::new();
    for _ in 0..wanted {
        match start(scope, name, work()) {
            Ok(thread) => started.push(thread),
            Err(err) if started.is_empty() => return Err(err),
            Err(_) => break,
        }
    }
    Ok(started)
}

/// Checks whether so many threads can run at once, by starting them. `stack` is in bytes.
///
/// # Errors
/// When one of them cannot be started.
pub fn can_start(wanted: usize, stack: usize) -> std::io::Result<()> {
    let gate = RwLock::new(());
    let closed = gate.write();
    std::thread::scope(|scope| {
        for _ in 0..wanted {
            Builder::new().stack_size(stack).spawn_scoped(scope, || drop(gate.read()))?;
        }
        drop(closed);
        Ok(())
    })
}

/// Work that runs in a thread or, if none could be started, has already run in the caller's.
#[derive(Debug)]
pub enum Beside<'scope, T> {
    /// Running in a thread.
    Thread(ScopedJoinHandle<'scope, T>),
    /// Finished.
    Done(T),
}

impl<'scope, T: Send + 'scope> Beside<'scope, T> {
    /// Starts the work; without a thread, returns when it is finished.
    pub fn begin(
        scope: &'scope Scope<'scope, '_>,
        name: &str,
        work: impl Fn() -> T + Copy + Send + 'scope,
    ) -> Self {
        start(scope, name, work).map_or_else(|_| Self::Done(work()), Self::Thread)
    }

    /// Waits for the result; `None` if the work panicked.
    pub fn join(self) -> Option<T> {
        match self {
            Self::Thread(thread) => thread.join().ok(),
            Self::Done(done) => Some(done),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_pool_is_none_and_others_are_some() {
        std::thread::scope(|scope| {
            assert!(pool(scope, "none", 0, || || ()).is_ok_and(|threads| threads.is_empty()));
            let threads = pool(scope, "some", 3, || || 7).into_iter().flatten();
            assert_eq!(threads.filter_map(|thread| thread.join().ok()).collect::<Vec<_>>(), [7, 7, 7]);
            assert_eq!(Beside::begin(scope, "one", || 7).join(), Some(7));
            assert_eq!(Beside::Done(7).join(), Some(7));
        });
    }

    /// A thread name with a NUL is rejected; a system that refuses threads is tested in tests/cli/limits.rs.
    #[test]
    fn a_thread_that_cannot_start_is_an_error() {
        let refused = Error::NoThread { source: std::io::Error::from_raw_os_error(11) };
        assert!(refused.chain().starts_with("cannot start a thread: Resource temporarily unavailable"));
    }
}

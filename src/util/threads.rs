//! Threads. Where the system gives none, that is an error in words: a plain `spawn` would panic, and whoever waits for
//! the thread that is not there would wait for ever.

use std::sync::RwLock;
use std::thread::{Builder, JoinHandle, Scope, ScopedJoinHandle};

use crate::error::{Error, Result};

/// Starts a thread that ends before its scope does.
///
/// # Errors
/// When the system gives none. `work` is dropped then, and with it its ends of channels: threads that were started
/// before end if they wait for nothing else.
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

/// Starts a thread that nobody has to wait for.
///
/// # Errors
/// As [`start`].
pub fn detached<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).spawn(work).map_err(|source| Error::NoThread { source })
}

/// Starts threads that take turns at the same work: as many as are wanted, or fewer where the system gives no more.
///
/// # Errors
/// When some are wanted and there is none.
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

/// Whether so many threads can run at once: they are started, and end when all are there. `stack` is in bytes.
///
/// # Errors
/// When one of them cannot start.
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

/// Work that is done beside other work or, where there is no thread for it, was done before that.
#[derive(Debug)]
pub enum Beside<'scope, T> {
    /// On its way.
    Thread(ScopedJoinHandle<'scope, T>),
    /// Done.
    Done(T),
}

impl<'scope, T: Send + 'scope> Beside<'scope, T> {
    /// Begins; without a thread, this returns when it is done.
    pub fn begin(
        scope: &'scope Scope<'scope, '_>,
        name: &str,
        work: impl Fn() -> T + Copy + Send + 'scope,
    ) -> Self {
        start(scope, name, work).map_or_else(|_| Self::Done(work()), Self::Thread)
    }

    /// What came of it; `None` where it panicked.
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
    fn a_pool_of_none_is_none_and_of_some_is_some() {
        std::thread::scope(|scope| {
            assert!(pool(scope, "none", 0, || || ()).is_ok_and(|threads| threads.is_empty()));
            let threads = pool(scope, "some", 3, || || 7).into_iter().flatten();
            assert_eq!(threads.filter_map(|thread| thread.join().ok()).collect::<Vec<_>>(), [7, 7, 7]);
            assert_eq!(Beside::begin(scope, "one", || 7).join(), Some(7));
            assert_eq!(Beside::Done(7).join(), Some(7));
        });
    }

    /// A name with a NUL cannot be had; a system without threads is in tests/cli/limits.rs.
    #[test]
    fn a_thread_that_cannot_start_is_an_error_with_advice() {
        let refused = Error::NoThread { source: std::io::Error::from_raw_os_error(11) };
        assert!(refused.chain().starts_with("cannot start a thread: Resource temporarily unavailable"));
        assert!(refused.hint().is_some_and(|hint| hint.contains("ulimit -u")));
    }
}

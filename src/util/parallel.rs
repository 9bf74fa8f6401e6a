//! Runs one function over many items on several threads.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::error::{self, Error, Result};
use crate::util::threads;

/// Items that several threads take one at a time, in order.
#[derive(Debug)]
pub(crate) struct Queue<'a, T> {
    items: &'a [T],
    next: AtomicUsize,
}

impl<'a, T> Queue<'a, T> {
    /// Creates a queue of these items.
    pub(crate) fn new(items: &'a [T]) -> Self {
        Self { items, next: AtomicUsize::new(0) }
    }

    /// Drops the items that are not taken yet.
    fn close(&self) {
        self.next.store(self.items.len(), Ordering::Relaxed);
    }
}

impl<'a, T> Iterator for &Queue<'a, T> {
    /// An item, and its position.
    type Item = (usize, &'a T);

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.next.fetch_add(1, Ordering::Relaxed);
        Some((at, self.items.get(at)?))
    }
}

/// Runs `work` on at most this many threads, which take items from one queue until none is left. No thread
/// takes another item after `work` has returned an error.
///
/// # Errors
/// When no thread can be started, or one of them fails or panics. Of several errors, the one that
/// [`error::together`] selects.
pub(crate) fn share_out<T: Sync, R: Send>(
    name: &str,
    threads: usize,
    items: &[T],
    work: impl Fn(&Queue<'_, T>) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let queue = Queue::new(items);
    let run = || work(&queue).inspect_err(|_| queue.close());
    std::thread::scope(|scope| {
        let started = threads::pool(scope, name, threads.min(items.len()), || run)?;
        let mut results = Vec::new();
        let ended = started.into_iter().map(|thread| {
            let result = thread.join().unwrap_or(Err(Error::Stopped))?;
            results.push(result);
            Ok(())
        });
        error::together(ended)?;
        Ok(results)
    })
}

/// Applies `work` to all items with at most this many threads, to hide the latency of remote storage.
/// Returns the results in order.
pub(crate) fn map<T: Sync, R: Send>(
    items: &[T],
    threads: usize,
    work: impl Fn(&T) -> Result<R> + Sync,
) -> Vec<Result<R>> {
    let slots: Vec<Mutex<Option<Result<R>>>> = items.iter().map(|_| Mutex::default()).collect();
    let queue = Queue::new(items);
    let take_items = || {
        for (at, item) in &queue {
            let result = work(item);
            if let Some(slot) = slots.get(at) {
                *slot.lock() = Some(result);
            }
        }
    };
    let threads = threads::at_most(threads);
    std::thread::scope(|scope| {
        for _ in 1..threads.min(items.len()).max(1) {
            // If a thread cannot be started, continue with fewer.
            if std::thread::Builder::new().spawn_scoped(scope, take_items).is_err() {
                break;
            }
        }
        take_items();
    });
    let results = slots.into_iter().map(|slot| slot.into_inner());
    results.map(|result| result.unwrap_or(Err(Error::Stopped))).collect()
}

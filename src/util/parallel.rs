//! Runs one function over many items in parallel, to hide the latency of remote storage.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::util::threads;

/// Applies `work` to all items with at most this many threads, and returns the results in order.
pub(crate) fn map<T: Sync, R: Send>(
    items: &[T],
    threads: usize,
    work: impl Fn(&T) -> Result<R> + Sync,
) -> Vec<Result<R>> {
    let slots: Vec<Mutex<Option<Result<R>>>> = items.iter().map(|_| Mutex::default()).collect();
    let next = AtomicUsize::new(0);
    let some = || {
        while let Some((item, slot)) = {
            let at = next.fetch_add(1, Ordering::Relaxed);
            items.get(at).zip(slots.get(at))
        } {
            let result = work(item);
            *slot.lock() = Some(result);
        }
    };
    let threads = threads::at_most(threads);
    std::thread::scope(|scope| {
        for _ in 1..threads.min(items.len()).max(1) {
            // If a thread cannot be started, continue with fewer.
            if std::thread::Builder::new().spawn_scoped(scope, some).is_err() {
                break;
            }
        }
        some();
    });
    let results = slots.into_iter().map(|slot| slot.into_inner());
    results.map(|result| result.unwrap_or(Err(Error::Stopped))).collect()
}

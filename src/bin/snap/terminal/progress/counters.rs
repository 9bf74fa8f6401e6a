//! Atomic counters that events update, and the share of the work that they represent.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use serde_json::json;

/// Progress so far.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) files: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) expected_files: AtomicU64,
    pub(super) expected_bytes: AtomicU64,
    /// Bytes of the previous run: an estimate until a scan has ended.
    pub(super) guessed_bytes: AtomicU64,
    /// Size of the current item in bytes, and the bytes that were done before it.
    pub(super) part: AtomicU64,
    pub(super) before_part: AtomicU64,
    /// Bytes read of an archive, and its length.
    pub(super) input: AtomicU64,
    pub(super) expected_input: AtomicU64,
    /// Whether a scan is still running, so that totals may grow.
    pub(super) at_least: AtomicBool,
    pub(super) current: Mutex<Vec<u8>>,
    /// The current stage.
    pub(super) stage: Mutex<Stage>,
}

/// A stage of the work, with its own totals.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stage {
    /// Name; empty if the verb's name suffices.
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    pub(super) number: u64,
}

impl Default for Stage {
    fn default() -> Self {
        Self { name: "", unit: "files", number: 0 }
    }
}

/// The share of the work that is done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Share {
    /// From 0 to 1.
    pub(super) done: f64,
    /// Whether the total is that of the previous run.
    pub(super) is_guess: bool,
}

pub(super) fn get(number: &AtomicU64) -> u64 {
    number.load(Ordering::Relaxed)
}

impl Counters {
    pub(super) fn expect(&self, files: u64, bytes: u64, complete: bool) {
        self.expected_files.store(files, Ordering::Relaxed);
        self.expected_bytes.store(bytes, Ordering::Relaxed);
        self.at_least.store(!complete, Ordering::Relaxed);
    }

    pub(super) fn add(&self, files: u64, bytes: u64) {
        self.files.fetch_add(files, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if files > 0 {
            self.part.store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn begin_part(&self, bytes: u64) {
        self.before_part.store(get(&self.bytes), Ordering::Relaxed);
        self.part.store(bytes, Ordering::Relaxed);
    }

    /// Returns the share of the current item that is done, from 0 to 1.
    fn part_done(&self) -> f64 {
        let (all, done) = (get(&self.part), get(&self.bytes).saturating_sub(get(&self.before_part)));
        if all == 0 { 0.0 } else { (done as f64 / all as f64).min(1.0) }
    }

    /// Begins a stage: resets all counters.
    pub(super) fn begin(&self, name: &'static str, unit: &'static str) {
        let mut stage = self.stage.lock();
        *stage = Stage { name, unit, number: stage.number + 1 };
        let numbers =
            [&self.files, &self.bytes, &self.guessed_bytes, &self.input, &self.expected_input, &self.part];
        for number in numbers {
            number.store(0, Ordering::Relaxed);
        }
        self.expect(0, 0, true);
    }

    pub(super) fn stage(&self) -> Stage {
        *self.stage.lock()
    }

    /// Returns the expected total of bytes, and whether it is that of the previous run. While a scan is
    /// running, the previous run's total is better than what was found so far, unless more was found.
    pub(super) fn all_bytes(&self) -> (u64, bool) {
        let (found, guessed) = (get(&self.expected_bytes), get(&self.guessed_bytes));
        let is_guess = self.at_least.load(Ordering::Relaxed) && guessed > found;
        (if is_guess { guessed } else { found }, is_guess)
    }

    /// Returns the share that is done: of the input if there is one, otherwise of the bytes, otherwise of the
    /// files.
    pub(super) fn share(&self) -> Option<Share> {
        let (all_bytes, is_guess) = self.all_bytes();
        if self.at_least.load(Ordering::Relaxed) && !is_guess {
            return None;
        }
        let by_input = (get(&self.input), get(&self.expected_input));
        let by_bytes = (get(&self.bytes), all_bytes);
        let by_files = (get(&self.files), get(&self.expected_files));
        let (done, all) = match [by_input, by_bytes].into_iter().find(|(_, all)| *all > 0) {
            Some((done, all)) => (done as f64, all),
            None => (by_files.0 as f64 + self.part_done(), by_files.1),
        };
        (all > 0).then(|| Share { done: (done / all as f64).min(1.0), is_guess })
    }
}

/// Returns the status object for programs. It contains no share while the total is not final.
pub(super) fn status_object(verb: &str, counters: &Counters, seconds: f64) -> serde_json::Value {
    let share = counters.share().filter(|share| !share.is_guess).map(|share| share.done);
    let (files_name, bytes_name) =
        if verb == "restore" { ("files_restored", "bytes_restored") } else { ("files_done", "bytes_done") };
    let mut value = json!({
        "message_type": "status",
        "seconds_elapsed": seconds as u64,
        "percent_done": share.unwrap_or(0.0),
        "total_files": get(&counters.expected_files),
        "total_bytes": get(&counters.expected_bytes),
        "totals_are_final": !counters.at_least.load(Ordering::Relaxed),
        files_name: get(&counters.files),
        bytes_name: get(&counters.bytes),
    });
    if let Some(map) = value.as_object_mut() {
        let current = counters.current.lock();
        if let Some(share) = share.filter(|share| *share > 0.0) {
            map.insert("seconds_remaining".to_owned(), ((seconds / share - seconds).ceil() as u64).into());
        }
        if !current.is_empty() {
            map.insert("current_files".to_owned(), json!([String::from_utf8_lossy(&current)]));
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::{Counters, Share, status_object};

    fn counters(done: (u64, u64), expected: (u64, u64), complete: bool) -> Counters {
        let counters = Counters::default();
        counters.add(done.0, done.1);
        counters.expect(expected.0, expected.1, complete);
        counters
    }

    #[test]
    fn growing_total_has_no_percentage() {
        let counted = counters((5, 512), (10, 2048), false);
        let status = status_object("backup", &counted, 2.0);
        assert_eq!((&status["total_files"], &status["total_bytes"]), (&10.into(), &2048.into()));
        assert_eq!((&status["percent_done"], &status["totals_are_final"]), (&0.0.into(), &false.into()));
        assert!(status.get("seconds_remaining").is_none(), "{status}");
    }

    #[test]
    fn known_total_gives_a_percentage_and_an_end() {
        let status = status_object("backup", &counters((5, 512), (10, 2048), true), 2.0);
        assert_eq!((&status["percent_done"], &status["seconds_remaining"]), (&0.25.into(), &6.into()));
    }

    #[test]
    fn progress_counts_empty_files_and_unexpected_bytes() {
        assert_eq!(status_object("backup", &counters((1, 0), (4, 0), true), 1.0)["percent_done"], 0.25);
        assert_eq!(status_object("backup", &counters((4, 999), (4, 10), true), 1.0)["percent_done"], 1.0);
        assert_eq!(status_object("backup", &Counters::default(), 1.0)["percent_done"], 0.0);
    }

    #[test]
    fn last_total_is_used_until_the_scan_exceeds_it_or_ends() {
        let counted = counters((5, 512), (10, 600), false);
        counted.guessed_bytes.store(2048, Ordering::Relaxed);
        assert_eq!(counted.share(), Some(Share { done: 0.25, is_guess: true }));
        assert_eq!(status_object("backup", &counted, 1.0)["percent_done"], 0.0, "no program hears a guess");
        counted.expect(10, 4096, false);
        assert_eq!(counted.share(), None);
        counted.expect(10, 1024, true);
        assert_eq!(counted.share(), Some(Share { done: 0.5, is_guess: false }));
    }

    #[test]
    fn an_archive_is_measured_by_what_was_read_of_it() {
        let counted = counters((5, 9000), (0, 0), true);
        counted.expected_input.store(100, Ordering::Relaxed);
        counted.input.store(25, Ordering::Relaxed);
        assert_eq!(counted.share(), Some(Share { done: 0.25, is_guess: false }));
    }

    #[test]
    fn progress_without_bytes_counts_the_part_that_is_begun() {
        let counted = counters((1, 700), (4, 0), true);
        assert_eq!(counted.share().map(|share| share.done), Some(0.25));
        counted.begin_part(200);
        counted.add(0, 100);
        assert_eq!(counted.share().map(|share| share.done), Some(0.375));
        counted.add(0, 500);
        assert_eq!(counted.share().map(|share| share.done), Some(0.5), "it may be more than was said");
        counted.add(1, 0);
        assert_eq!(counted.share().map(|share| share.done), Some(0.5));
    }

    #[test]
    fn stage_begins_at_zero() {
        let counted = counters((5, 512), (10, 2048), true);
        counted.begin("reading packs", "packs");
        assert_eq!((counted.share(), counted.stage().unit), (None, "packs"));
    }
}

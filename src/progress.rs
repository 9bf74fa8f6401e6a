//! Events that a caller can observe during an operation. They only drive a display; exact numbers are in
//! the summaries that operations return.

/// Something that happened during an operation.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The total amount of work is known.
    Expect {
        /// Files to do.
        files: u64,
        /// Bytes to do.
        bytes: u64,
    },
    /// A new stage begins: counts and totals restart at zero.
    Stage {
        /// What is being done, for instance "reading packs".
        name: &'static str,
        /// The unit that is counted beside bytes, for instance "packs".
        unit: &'static str,
    },
    /// The amount of work of the previous run. A scan will report the actual amount.
    Estimate {
        /// Files to do.
        files: u64,
        /// Bytes to do.
        bytes: u64,
    },
    /// Of the items that were expected without a size, the one that just began has this size.
    Part {
        /// Bytes.
        bytes: u64,
    },
    /// The length of the input that is processed. It measures the work better than the output does.
    ExpectInput {
        /// Bytes to read.
        bytes: u64,
    },
    /// Bytes of the input that were read since the last event.
    Input {
        /// Bytes read.
        bytes: u64,
    },
    /// What a running scan has found so far.
    Found {
        /// Files to do.
        files: u64,
        /// Bytes to do.
        bytes: u64,
        /// Whether the scan has ended.
        complete: bool,
    },
    /// Work done since the last event.
    Done {
        /// Files done.
        files: u64,
        /// Bytes done.
        bytes: u64,
    },
    /// Work on a file began.
    Working {
        /// Stored path of the file.
        path: &'a [u8],
    },
    /// An entry was handled; `-v` prints it.
    Item {
        /// `new`, `changed`, `corrupt`, `unchanged`, `removed`, `restored`, `skipped`.
        action: &'static str,
        /// Stored path of the entry.
        path: &'a [u8],
        /// Size in bytes.
        size: u64,
    },
    /// An entry could not be handled; the operation continues.
    Problem {
        /// Path of the entry.
        path: &'a [u8],
        /// The reason.
        why: &'a str,
    },
    /// A warning for the user; the operation continues.
    Warning(&'a str),
    /// Information for the user.
    Note(&'a str),
}

/// Receives events. It has one method, so that a new kind of event needs no change in observers.
pub trait Observer: Sync {
    /// Receives one event. Called from any thread; must return quickly.
    fn notice(&self, event: Event<'_>);
}

impl Observer for () {
    fn notice(&self, _: Event<'_>) {}
}

impl<F: Fn(Event<'_>) + Sync> Observer for F {
    fn notice(&self, event: Event<'_>) {
        self(event);
    }
}

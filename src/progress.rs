//! All that a caller may watch while work goes on. Numbers of record are in summaries; these only draw.

/// Something that happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// There is this much to do.
    Expect {
        /// Files to do.
        files: u64,
        /// Bytes to do.
        bytes: u64,
    },
    /// A stage of the work begins: what is counted and expected starts anew.
    Stage {
        /// What is being done, as "reading packs".
        name: &'static str,
        /// What is counted beside bytes, as "packs".
        unit: &'static str,
    },
    /// It was this much last time. A scan will tell what it is now.
    Estimate {
        /// Files to do.
        files: u64,
        /// Bytes to do.
        bytes: u64,
    },
    /// The one that is begun, of those that are expected without bytes, has so many.
    Part {
        /// Bytes.
        bytes: u64,
    },
    /// The input that the work follows is this long: it measures the work better than what comes out of it.
    ExpectInput {
        /// Bytes to read.
        bytes: u64,
    },
    /// Read of the input since the last event.
    Input {
        /// Bytes.
        bytes: u64,
    },
    /// A scan that goes on has found this much so far; `complete` when it is at its end.
    Found {
        /// Files to do.
        files: u64,
        /// Bytes to do.
        bytes: u64,
        /// Whether there is no more.
        complete: bool,
    },
    /// Done since the last event.
    Done {
        /// Files.
        files: u64,
        /// Bytes.
        bytes: u64,
    },
    /// Work on this file began.
    Working {
        /// Stored path.
        path: &'a [u8],
    },
    /// An entry was handled; `-v` prints it.
    Item {
        /// `new`, `changed`, `unchanged`, `removed`, `restored`, `skipped`.
        action: &'static str,
        /// Stored path.
        path: &'a [u8],
        /// Bytes.
        size: u64,
    },
    /// An entry could not be handled; work goes on.
    Problem {
        /// What.
        path: &'a [u8],
        /// Why.
        why: &'a str,
    },
    /// Something a person should read; work goes on.
    Warning(&'a str),
    /// Something a person may like to read.
    Note(&'a str),
}

/// Watches. One method: a new event breaks nobody.
pub trait Observer: Sync {
    /// Called from any thread; must be quick.
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

//! Observing and cancelling an operation. Events only drive a display; exact numbers are in the reports that
//! operations return.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::error::{Error, Problem, Result};
use crate::model::entry::Time;

/// Who receives the events of an operation, and how it is cancelled.
///
/// By default nobody receives them, and nothing cancels it. Cheap to clone. One control can serve several
/// operations at once.
///
/// An observer is borrowed, because most live on the stack of their caller. An operation that outlives its
/// caller, such as a mount, takes a `Control<'static>`: [`Self::shared`] makes one that owns its observer.
///
/// ```
/// use snap_backup::{Control, Event};
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicBool, Ordering};
///
/// let cancel = Arc::new(AtomicBool::new(false));
/// let observer = |event: Event<'_>| println!("{event:?}");
/// let control = Control::new(&observer).with_cancel(&cancel);
/// cancel.store(true, Ordering::Relaxed); // In another thread, or in a signal handler.
/// assert!(control.check().is_err());
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Control<'a> {
    receiver: Receiver<'a>,
    cancel: Arc<AtomicBool>,
    clock: Option<fn() -> Time>,
}

#[derive(Clone, Default)]
enum Receiver<'a> {
    #[default]
    Nobody,
    Borrowed(&'a dyn Observer),
    Shared(Arc<dyn Observer + Send>),
}

impl<'a> Control<'a> {
    /// Sends events to `observer`. Nothing cancels the operation.
    pub fn new(observer: &'a dyn Observer) -> Self {
        Self { receiver: Receiver::Borrowed(observer), ..Self::default() }
    }

    /// Like [`Self::new`], but owns its observer.
    pub fn shared(observer: impl Observer + Send + 'static) -> Self {
        Self { receiver: Receiver::Shared(Arc::new(observer)), ..Self::default() }
    }

    /// Sets the flag that cancels the operation. When it becomes true, the operation ends soon: with
    /// [`Error::Interrupted`], or with a report if a part of the work is useful. A signal handler may set it.
    #[must_use]
    pub fn with_cancel(mut self, cancel: &Arc<AtomicBool>) -> Self {
        self.cancel = Arc::clone(cancel);
        self
    }

    /// Sets the clock by which a backup dates its snapshot, instead of the system's. For tests, which need
    /// not wait then: a file counts as unchanged only if its times are two seconds older than the parent.
    #[doc(hidden)]
    #[must_use]
    pub fn with_clock(mut self, clock: fn() -> Time) -> Self {
        self.clock = Some(clock);
        self
    }

    pub(crate) fn clock(&self) -> fn() -> Time {
        self.clock.unwrap_or(Time::now)
    }

    /// Returns whether there is a receiver of events.
    pub(crate) fn is_observed(&self) -> bool {
        !matches!(self.receiver, Receiver::Nobody)
    }

    /// Returns the receiver of events.
    pub fn observer(&self) -> &dyn Observer {
        match &self.receiver {
            Receiver::Nobody => &(),
            Receiver::Borrowed(observer) => *observer,
            Receiver::Shared(observer) => &**observer,
        }
    }

    pub(crate) fn warn(&self, text: impl AsRef<str>) {
        self.observer().notice(Event::Warning(text.as_ref()));
    }

    pub(crate) fn note(&self, text: impl AsRef<str>) {
        self.observer().notice(Event::Note(text.as_ref()));
    }

    /// Returns the flag that cancels the operation.
    pub fn cancel(&self) -> &Arc<AtomicBool> {
        &self.cancel
    }

    /// Returns whether the operation is cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    /// Fails if the operation is cancelled.
    ///
    /// # Errors
    /// [`Error::Interrupted`].
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::Interrupted) } else { Ok(()) }
    }
}

impl std::fmt::Debug for Control<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("is_cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}

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
        /// Description of the stage, for instance "reading packs".
        name: &'static str,
        /// Unit that is counted in addition to bytes, for instance "packs".
        unit: &'static str,
    },
    /// The amount of work of the previous run. A scan will report the actual amount.
    Estimate {
        /// Files to do.
        files: u64,
        /// Bytes to do.
        bytes: u64,
    },
    /// Size of the current item, if it was expected without a size.
    Part {
        /// Bytes.
        bytes: u64,
    },
    /// Length of the input. It measures the work better than the output does.
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
        /// What was done with it.
        action: Action,
        /// Stored path of the entry.
        path: &'a [u8],
        /// Size in bytes.
        size: u64,
    },
    /// An entry could not be handled; the operation continues.
    Problem(&'a Problem),
    /// A warning for the user; the operation continues.
    Warning(&'a str),
    /// Information for the user.
    Note(&'a str),
}

/// What was done with an entry, or would be in a dry run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// A backup saved it, and it is not in the parent.
    New,
    /// A backup saved it, and the parent has another version.
    Changed,
    /// A backup found different bytes with the same size and times: bit rot.
    Corrupt,
    /// It equals that of the parent or, in a restore, of the target.
    Unchanged,
    /// It is in the parent of a backup, but no longer exists.
    Removed,
    /// A restore created it.
    Created,
    /// A restore changed an existing entry.
    Updated,
    /// A restore kept the existing entry.
    Kept,
    /// A restore deleted it, because it is not in the snapshot.
    Deleted,
    /// It was written to an archive.
    Exported,
    /// It was imported from an archive.
    Imported,
}

impl Action {
    /// Returns the lower-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Changed => "changed",
            Self::Corrupt => "corrupt",
            Self::Unchanged => "unchanged",
            Self::Removed => "removed",
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Kept => "kept",
            Self::Deleted => "deleted",
            Self::Exported => "exported",
            Self::Imported => "imported",
        }
    }
}

/// Receives events. It has one method, so that a new kind of event needs no change in observers.
pub trait Observer: Sync {
    /// Receives one event. Called from any thread; must return quickly.
    fn notice(&self, event: Event<'_>);
}

impl Observer for () {
    fn notice(&self, _: Event<'_>) {}
}

/// Keeps warnings and notes for a later observer, each text once.
#[derive(Debug, Default)]
pub struct MessageBuffer(Mutex<Messages>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Severity {
    Warning,
    Note,
}

/// Messages in the order of their first occurrence.
#[derive(Debug, Default)]
struct Messages {
    order: Vec<(Severity, String)>,
    known: BTreeSet<(Severity, String)>,
}

impl MessageBuffer {
    /// Creates an empty buffer.
    pub const fn new() -> Self {
        Self(Mutex::new(Messages { order: Vec::new(), known: BTreeSet::new() }))
    }

    /// Removes the warnings, and returns them in the order of their first occurrence.
    pub fn take_warnings(&self) -> Vec<String> {
        self.take(Severity::Warning)
    }

    /// Removes the notes, and returns them in the order of their first occurrence.
    pub fn take_notes(&self) -> Vec<String> {
        self.take(Severity::Note)
    }

    fn take(&self, severity: Severity) -> Vec<String> {
        let mut messages = self.0.lock();
        messages.known.retain(|message| message.0 != severity);
        messages.order.extract_if(.., |message| message.0 == severity).map(|(_, text)| text).collect()
    }

    /// Sends everything to an observer, and empties the buffer.
    pub fn pass_on(&self, observer: &dyn Observer) {
        let messages = std::mem::take(&mut *self.0.lock());
        for (severity, text) in &messages.order {
            observer.notice(match severity {
                Severity::Warning => Event::Warning(text),
                Severity::Note => Event::Note(text),
            });
        }
    }
}

impl Observer for MessageBuffer {
    fn notice(&self, event: Event<'_>) {
        let message = match event {
            Event::Warning(text) => (Severity::Warning, text.to_owned()),
            Event::Note(text) => (Severity::Note, text.to_owned()),
            _ => return,
        };
        let mut messages = self.0.lock();
        if messages.known.insert(message.clone()) {
            messages.order.push(message);
        }
    }
}

impl<F: Fn(Event<'_>) + Sync> Observer for F {
    fn notice(&self, event: Event<'_>) {
        self(event);
    }
}

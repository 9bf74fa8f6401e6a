//! Errors of the library. Messages name operations and options of the library: `` `Repository::check` ``.

mod kind;
mod problem;

use std::io;
use std::ops::Range;
use std::path::Path;

use crate::model::decode_error::DecodeError;
use crate::model::id::SnapshotId;

pub use crate::error::kind::ErrorKind;
pub use crate::error::problem::Problem;

/// `Result` with this crate's error type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error: which operation on which object failed, and why. The cause is available through `source()`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call or I/O operation failed.
    #[error("cannot {doing} {what}")]
    Io {
        /// A verb: "read", "publish".
        doing: &'static str,
        /// A path or an object.
        what: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// An object that should exist does not.
    #[error("{what} is missing")]
    Missing {
        /// Path of the object within the repository.
        what: String,
    },
    /// An object's bytes are not what was written.
    #[error("{what} is damaged")]
    Damaged {
        /// Path of the object within the repository, or a chunk.
        what: String,
        /// Which check failed.
        source: DecodeError,
    },
    /// No repository exists at the location.
    #[error("there is no repository at {location}")]
    NoRepository {
        /// The location that was examined.
        location: String,
    },
    /// A repository cannot be created, because one exists already.
    #[error(
        "cannot create a repository at {location}: one exists already; `Repository::snapshots` lists its \
         snapshots"
    )]
    RepositoryExists {
        /// Where it was to be created.
        location: String,
    },
    /// A repository cannot be created for another reason.
    #[error("cannot create a repository at {location}: {why}")]
    CannotInit {
        /// Where it was to be created.
        location: String,
        /// The reason.
        why: String,
    },
    /// No key slot opens with the password.
    #[error("wrong password for the repository at {location}{}", not_tried(*.untried))]
    WrongPassword {
        /// Location of the repository.
        location: String,
        /// Number of key slots that were not tried, because they need too much memory or time, or are too
        /// many.
        untried: usize,
    },
    /// The password is that of a key slot that is no longer valid.
    #[error(
        "the password belongs to key slot {slot}, which config/{generation} of the repository at {location} \
         no longer lists: the slot was removed or its password changed"
    )]
    KeyRemoved {
        /// Location of the repository.
        location: String,
        /// Short id of the slot.
        slot: String,
        /// The generation of the configuration that does not list it.
        generation: u32,
    },
    /// The repository is encrypted and no password was given.
    #[error("the repository at {location} is encrypted and no password was given")]
    NoPassword {
        /// Location of the repository.
        location: String,
    },
    /// The file or command that should supply the password failed.
    #[error("cannot get the password from {source_name}: {why}")]
    PasswordSource {
        /// The file or command.
        source_name: String,
        /// The reason.
        why: String,
    },
    /// An archive cannot be parsed, or cannot be imported safely.
    #[error("cannot import {what}")]
    Archive {
        /// The member of the archive.
        what: String,
        /// Which check failed.
        source: DecodeError,
    },
    /// An object was written by a newer program.
    #[error("{what} has format {found}; this program knows formats up to {known}")]
    NewerFormat {
        /// The object.
        what: String,
        /// The version of the object.
        found: u16,
        /// The newest version that this program knows.
        known: u16,
    },
    /// An object of a known format holds something that only a newer program understands.
    #[error("{what} needs a newer snap")]
    NeedsNewer {
        /// The object.
        what: String,
        /// The feature that this program does not know.
        source: DecodeError,
    },
    /// The data or request was rejected because it must not be trusted.
    #[error("refused: {0}")]
    Refused(String),
    /// The arguments are invalid or contradict each other.
    #[error("{0}")]
    Usage(String),
    /// There was nothing to back up, or the input was incomplete. No snapshot was made.
    #[error("nothing was backed up: {0}")]
    NothingRead(String),
    /// A selector matches no snapshot, or more than one.
    #[error("no snapshot for '{selector}': {why}")]
    NoSnapshot {
        /// The selector as given.
        selector: String,
        /// Why it selects nothing.
        why: String,
    },
    /// A named thing was not found.
    #[error("{what}")]
    NotFound {
        /// The message: what was not found, and where.
        what: String,
        /// A hint for finding it.
        help: String,
    },
    /// The second repository of the operation does not exist.
    #[error("there is no repository at {location}")]
    NoOtherRepository {
        /// The location that was examined.
        location: String,
    },
    /// The snapshots to forget are protected, or there is no usable retention rule.
    #[error("nothing was forgotten: {0}")]
    Retention(String),
    /// The repository has as many bytes as it may have.
    #[error("the repository has reached its quota of {quota} bytes")]
    Quota {
        /// The maximum size of its packs.
        quota: u64,
    },
    /// The repository differs from what this machine last saw at the location.
    #[error("the repository at {location} differs from what this machine last saw: {what}")]
    Diverged {
        /// Location of the repository.
        location: String,
        /// How it differs.
        what: String,
    },
    /// The system refused to create a thread.
    #[error("cannot start a thread")]
    NoThread {
        /// The error of the operating system.
        source: io::Error,
    },
    /// The user or a signal asked the operation to stop.
    #[error("interrupted")]
    Interrupted,
    /// The time limit was reached before anything could be kept.
    #[error("the time limit was reached in the middle of a stream: nothing was saved")]
    TimeUp,
    /// Another thread of this run failed first.
    #[error("stopped after another error")]
    Stopped,
    /// An internal invariant is violated. The program stops before it reads or writes anything wrong because
    /// of that.
    #[error("this is a bug in snap; violated invariant: {what}")]
    Bug {
        /// The invariant.
        what: &'static str,
    },
}

/// Returns a subslice whose bounds the caller has verified. `rule` says why this cannot fail. If it fails
/// all the same, the run ends: an empty slice instead would look like the end of a file.
///
/// # Errors
/// [`Error::Bug`].
pub fn part<'a, T>(slice: &'a [T], range: Range<usize>, rule: &'static str) -> Result<&'a [T]> {
    slice.get(range).ok_or(Error::Bug { what: rule })
}

/// Like [`part`], but mutable.
///
/// # Errors
/// [`Error::Bug`].
pub fn part_mut<'a, T>(slice: &'a mut [T], range: Range<usize>, rule: &'static str) -> Result<&'a mut [T]> {
    slice.get_mut(range).ok_or(Error::Bug { what: rule })
}

/// Combines the results of several threads: `Ok` if all succeeded, otherwise the first error that is not
/// `Stopped` (which only means that another thread failed first).
///
/// # Errors
/// The first error that is not `Stopped`, or `Stopped` if there is no other.
pub fn together(ends: impl IntoIterator<Item = Result<()>>) -> Result<()> {
    let mut combined = Ok(());
    for end in ends {
        if end.is_err() && matches!(combined, Ok(()) | Err(Error::Stopped)) {
            combined = end;
        }
    }
    combined
}

/// Combines the results of a producer and its consumer. If the consumer fails, the producer only notices that
/// nobody receives, and returns `Stopped`.
///
/// # Errors
/// The producer's error, or the consumer's if the producer has none or was only `Stopped`.
pub fn fed<T, W>(producer: Result<T>, consumer: Result<W>) -> Result<(T, W)> {
    match (producer, consumer) {
        (Ok(_) | Err(Error::Stopped), Err(err)) | (Err(err), _) => Err(err),
        (Ok(produced), Ok(consumed)) => Ok((produced, consumed)),
    }
}

fn not_tried(slots: usize) -> String {
    match slots {
        0 => String::new(),
        1 => " (1 key slot was not tried, because it needs too much memory or time)".to_owned(),
        _ => format!(
            " ({slots} key slots were not tried, because they are too many or need too much memory or time)"
        ),
    }
}

impl Error {
    /// For `map_err`: adds the operation and its object to an I/O error.
    pub fn io(doing: &'static str, what: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, what: what.as_ref().display().to_string(), source }
    }

    /// For `map_err` on a decoder: adds the object that was decoded. An object that only a newer program can
    /// decode is not damage.
    pub fn damaged(what: impl Into<String>) -> impl FnOnce(DecodeError) -> Self {
        move |source| {
            if source.is_newer() {
                Self::NeedsNewer { what: what.into(), source }
            } else {
                Self::Damaged { what: what.into(), source }
            }
        }
    }

    /// Returns the error for an object that is damaged, with a constant reason.
    pub fn because(what: impl Into<String>, why: &'static str) -> Self {
        Self::Damaged { what: what.into(), source: DecodeError::because(why) }
    }

    /// For `map_err` on an encoder: an object could not be encoded. No stored object is damaged.
    pub fn making(what: impl Into<String>) -> impl FnOnce(DecodeError) -> Self {
        move |why| Self::Io { doing: "make", what: what.into(), source: io::Error::other(why) }
    }

    /// Returns the message with all its causes, in one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(inner) = cause {
            text = format!("{text}: {}", without_number(&inner.to_string()));
            cause = inner.source();
        }
        text
    }

    /// Returns a copy of an I/O error that [`Self::is_full`], so that a caller that only borrows the error
    /// can end the whole run with it.
    pub fn if_full(&self) -> Option<Self> {
        match self {
            Self::Io { doing, what, source } if self.is_full() => {
                let source =
                    source.raw_os_error().map_or_else(|| source.kind().into(), io::Error::from_raw_os_error);
                Some(Self::Io { doing, what: what.clone(), source })
            }
            _ => None,
        }
    }

    /// Returns the error for a path that does not exist in an existing snapshot.
    pub fn no_path(snapshot: &SnapshotId, path: &[u8]) -> Self {
        let (snapshot, path) = (snapshot.short(), String::from_utf8_lossy(path));
        let name = path.rsplit('/').next().unwrap_or_default();
        Self::NotFound {
            what: format!("snapshot {snapshot} has no '{path}'"),
            help: format!(
                "`Repository::list_dir({snapshot})` lists its entries, `Repository::find('{name}')` \
                 searches all snapshots; paths are those given to the backup: the source src/a is stored as \
                 src/a, not as home/me/src/a"
            ),
        }
    }

    /// Returns the error for filters that select no snapshot.
    pub fn none_selected(why: String) -> Self {
        Self::NotFound { what: why, help: "`Repository::snapshots` lists all".to_owned() }
    }
}

/// Message about a server whose certificate no trusted authority signed.
pub(crate) const UNTRUSTED: &str = "its certificate is not trusted";

/// Removes the " (os error N)" that the standard library appends to system errors.
fn without_number(message: &str) -> &str {
    match message.rsplit_once(" (os error ") {
        Some((words, number)) if number.ends_with(')') => words,
        _ => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_beyond_the_end_is_a_bug_and_never_empty() {
        assert_eq!(part(&[1, 2, 3], 1..3, "a rule").ok(), Some([2, 3].as_slice()));
        for range in [2..4, 4..5, Range { start: 2, end: 1 }] {
            let said = part(&[1, 2, 3], range.clone(), "a rule").map_err(|err| err.chain());
            assert_eq!(said, Err("this is a bug in snap; violated invariant: a rule".to_owned()));
            assert!(part_mut(&mut [1, 2, 3], range, "a rule").is_err());
        }
    }

    #[test]
    fn wrong_password_counts_the_slots_that_were_not_tried() {
        for (untried, end) in
            [(0, "/r"), (1, "/r (1 key slot was not tried,"), (2, "/r (2 key slots were not tried,")]
        {
            let said = format!("wrong password for the repository at /r{}", not_tried(untried));
            assert!(said.contains(end), "{said}");
        }
    }

    #[test]
    fn first_error_with_a_cause_is_reported() {
        let why = |text: &str| Err(Error::Refused(text.to_owned()));
        let told = |ends: Vec<Result<()>>| together(ends).map_err(|err| err.chain());
        assert_eq!(told(vec![]), Ok(()));
        assert_eq!(told(vec![Ok(()), Ok(())]), Ok(()));
        assert_eq!(
            told(vec![Ok(()), why("one"), Err(Error::Stopped), why("two")]),
            Err(Error::Refused("one".to_owned()).chain())
        );
        assert_eq!(
            told(vec![Err(Error::Stopped), Ok(()), why("one")]),
            Err(Error::Refused("one".to_owned()).chain())
        );
        assert_eq!(told(vec![Err(Error::Stopped), Ok(())]), Err(Error::Stopped.chain()));
    }
}

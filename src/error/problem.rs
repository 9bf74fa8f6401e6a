//! Problems with single entries, which an operation reports before it continues.

use std::fmt;

use crate::error::{Error, ErrorKind};

/// An entry that an operation could not handle, or not completely. The operation continued.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Problem {
    /// Path of the entry: as stored, or on this machine if it is not stored.
    pub path: Vec<u8>,
    /// The kind of the error, by which callers decide what to do.
    pub kind: ErrorKind,
    /// The reason, for people.
    pub message: String,
}

impl Problem {
    /// Describes a problem that is not an [`Error`].
    pub fn new(path: impl Into<Vec<u8>>, kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { path: path.into(), kind, message: message.into() }
    }

    /// Describes an error, with its causes.
    pub fn of(path: impl Into<Vec<u8>>, err: &Error) -> Self {
        Self::new(path, err.kind(), err.chain())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", String::from_utf8_lossy(&self.path), self.message)
    }
}

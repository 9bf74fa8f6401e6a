//! The error of a parser. The parser does not know whose bytes it parses; its caller adds that.

use std::borrow::Cow;

/// Why bytes or text could not be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct DecodeError {
    text: Cow<'static, str>,
    newer: bool,
}

impl DecodeError {
    /// Creates an error with a constant reason.
    pub const fn because(why: &'static str) -> Self {
        Self { text: Cow::Borrowed(why), newer: false }
    }

    /// Creates an error with a reason that contains a value.
    pub fn with(why: String) -> Self {
        Self { text: Cow::Owned(why), newer: false }
    }

    /// Creates the error for something that only a newer program can understand, as opposed to damage.
    pub fn newer(why: impl Into<Cow<'static, str>>) -> Self {
        Self { text: why.into(), newer: true }
    }

    /// Returns whether a newer program may be able to parse it.
    pub fn is_newer(&self) -> bool {
        self.newer
    }
}

//! The error of a parser. The parser does not know whose bytes it parses; its caller adds that.

/// Why bytes or text could not be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(pub std::borrow::Cow<'static, str>);

impl DecodeError {
    /// Creates an error with a constant reason.
    pub const fn because(why: &'static str) -> Self {
        Self(std::borrow::Cow::Borrowed(why))
    }

    /// Creates an error with a reason that contains a value.
    pub fn with(why: String) -> Self {
        Self(std::borrow::Cow::Owned(why))
    }
}

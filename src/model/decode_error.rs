//! What a parser says when bytes or text are not what they should be; only the caller knows whose they were.

/// Bytes or text that do not parse, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(pub std::borrow::Cow<'static, str>);

impl DecodeError {
    /// A reason known when the program was written.
    pub const fn because(why: &'static str) -> Self {
        Self(std::borrow::Cow::Borrowed(why))
    }

    /// A reason that names a value.
    pub fn with(why: String) -> Self {
        Self(std::borrow::Cow::Owned(why))
    }
}

//! The proof that an audit record was written.

/// Proof that an act is on record. Only `repo::audit` creates it; functions that forget snapshots require it.
#[derive(Debug)]
pub struct Noted(());

impl Noted {
    /// Creates the proof. Only for the function that has written the record.
    pub(in crate::repo) const fn written() -> Self {
        Self(())
    }
}

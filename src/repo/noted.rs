//! The proof that an audit record was written.

/// Proof that an act is on record. Only `repo::audit` makes one, and whoever forgets snapshots has to show
/// it.
#[derive(Debug)]
pub struct Noted(());

impl Noted {
    /// Makes the proof. Only for whoever has written the record.
    pub(in crate::repo) const fn written() -> Self {
        Self(())
    }
}

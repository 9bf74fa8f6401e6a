//! The session of a writer (W1), and whether new data may refer to what an earlier snapshot needs (W2).

use std::collections::HashSet;

use crate::error::Result;
use crate::model::id::SnapshotId;
use crate::model::records::SessionKind;
use crate::repo::repository::Repository;
use crate::repo::sessions::session::{RepoState, Session};
use crate::storage::ObjectKind;

/// What new data may refer to of what earlier snapshots need (W2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParentTrust {
    /// All of it, without looking it up.
    Whole,
    /// What the index of this session has: it has to be looked up chunk by chunk.
    PerChunk,
    /// Nothing: one of the snapshots is not listed any more.
    Gone,
}

/// Opens the session of a writer, and returns the repository state that it relies on.
///
/// # Errors
/// When the session could not be made durable or the repository could not be read.
pub fn open(repo: &Repository) -> Result<(Session, RepoState)> {
    Session::open(repo, SessionKind::Writer)
}

/// Returns what a session may refer to of what all of these snapshots need. The state is that of the session,
/// which exists already: a snapshot that is listed now is listed by every later gc run, or was forgotten
/// since.
///
/// # Errors
/// When the snapshots cannot be listed.
pub fn trust(repo: &Repository, state: &RepoState, snapshots: &[SnapshotId]) -> Result<ParentTrust> {
    let listed = repo.storage().list(ObjectKind::Snapshots)?;
    let names: HashSet<&str> = listed.iter().map(|found| found.name.as_str()).collect();
    Ok(if !snapshots.iter().all(|id| names.contains(id.hex().as_str())) {
        ParentTrust::Gone
    } else if may_trust(state, snapshots) {
        ParentTrust::Whole
    } else {
        ParentTrust::PerChunk
    })
}

/// Returns whether [`trust`] may be [`ParentTrust::Whole`]. Lists nothing.
pub fn may_trust(state: &RepoState, snapshots: &[SnapshotId]) -> bool {
    snapshots.iter().all(|id| state.protects(id))
}

//! Committing a snapshot whose chunks are durable.

pub mod reachability;
pub mod write_session;

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::model::id::SnapshotId;
use crate::model::manifest::Manifest;
use crate::repo::index::Index;
use crate::repo::repository::Repository;
use crate::repo::sessions::session::Session;
use crate::repo::snapshots;

/// Commits a snapshot (W3). A fence means that a gc run considered this session dead: then everything that
/// the snapshot needs is looked up again under a new session, which commits it.
///
/// # Errors
/// When it could not be made durable, or what it needs is gone.
pub fn commit(repo: &Repository, session: Session, manifest: &Manifest) -> Result<SnapshotId> {
    if snapshots::commit_under(repo, &session, manifest)? {
        let id = session.id;
        session.close()?;
        return Ok(id);
    }
    let (next, repo_state) = write_session::open(repo)?;
    let index = Arc::new(Index::load(repo, repo_state)?);
    if !reachability::is_complete(repo, &index, &manifest.root)? {
        return Err(Error::Refused(
            "another process considered this run dead and deleted what it had stored: run it again".into(),
        ));
    }
    drop(session);
    commit(repo, next, manifest)
}

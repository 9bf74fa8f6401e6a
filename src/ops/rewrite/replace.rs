//! Replaces snapshots by their rewritten versions, one after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};
use crate::model::id::{ChunkId, SnapshotId};
use crate::model::manifest::Manifest;
use crate::model::records::AuditAct;
use crate::model::tripwire::AlarmState;
use crate::ops::rewrite::removed_totals::RemovedTotals;
use crate::ops::rewrite::trees::RewrittenTrees;
use crate::ops::rewrite::{Change, Rewritten, new_manifest};
use crate::progress::{Event, Observer};
use crate::repo::audit::Noted;
use crate::repo::commit::reachability;
use crate::repo::commit::write_session::{self, ParentTrust};
use crate::repo::index::Index;
use crate::repo::repository::Repository;
use crate::repo::sessions::session::Session;
use crate::repo::snapshots::{Snapshot, trash};
use crate::repo::{audit, snapshots};

/// Maximum number of sessions opened for one snapshot, each because the previous one was considered dead.
const ATTEMPTS: usize = 3;

/// Replaces snapshots by versions with other metadata or rebuilt trees.
pub(super) struct Replacing<'a> {
    pub(super) repo: &'a Repository,
    pub(super) change: &'a Change,
    pub(super) rebuilt: RewrittenTrees,
    /// Rewritten snapshots that existed before. If one equals the replacement, a killed run has left it
    /// without forgetting the original.
    pub(super) earlier: Vec<Snapshot>,
    pub(super) dry_run: bool,
}

/// Returns the snapshots that are rewritten versions of others.
pub(super) fn earlier_rewrites(all: &[Snapshot]) -> Vec<Snapshot> {
    all.iter().filter(|one| one.manifest.original().is_some()).cloned().collect()
}

impl Replacing<'_> {
    /// Replaces snapshots, each given with its number in the walk. Returns those that changed, and the number
    /// of unchanged ones.
    pub(super) fn run(
        mut self,
        snapshots: Vec<(usize, Snapshot)>,
        observer: &dyn Observer,
        stop: &AtomicBool,
    ) -> Result<(Vec<Rewritten>, u64)> {
        observer.notice(Event::Stage { name: "writing snapshots", unit: "snapshots" });
        observer.notice(Event::Expect { files: snapshots.len() as u64, bytes: 0 });
        let (mut changed, mut unchanged) = (Vec::new(), 0);
        for (number, old) in snapshots {
            let dropped = self.rebuilt.dropped.get(number).copied().unwrap_or_default();
            let root = self.rebuilt.roots.get(number).copied().flatten().unwrap_or(old.manifest.root);
            let manifest = new_manifest(&old, self.change, root, &dropped)?;
            if manifest == old.manifest {
                unchanged += 1;
                observer.notice(Event::Done { files: 1, bytes: 0 });
            } else {
                changed.push((number, old, manifest, dropped));
            }
        }
        let rewritten = self.replace_all(changed, observer, stop)?;
        if let Some(session) = self.rebuilt.session {
            session.close()?;
        }
        Ok((rewritten, unchanged))
    }

    fn replace_all(
        &mut self,
        changed: Vec<(usize, Snapshot, Manifest, RemovedTotals)>,
        observer: &dyn Observer,
        stop: &AtomicBool,
    ) -> Result<Vec<Rewritten>> {
        let ids: Vec<SnapshotId> = changed.iter().map(|(_, old, ..)| old.id).collect();
        let record = || audit::note_snapshots(self.repo, audit_act(self.change), &ids);
        let noted = (!self.dry_run).then(record).transpose()?;
        let mut rewritten = Vec::new();
        for (number, old, manifest, dropped) in changed {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            let new = match &noted {
                None => None,
                Some(noted) => self.replace(number, &old, manifest, noted)?,
            };
            rewritten.push(Rewritten { old, new, dropped });
            observer.notice(Event::Done { files: 1, bytes: 0 });
        }
        Ok(rewritten)
    }

    /// Commits the new snapshot, then forgets the old one. Returns `None` if another process forgot or
    /// rewrote the old one in the meantime; its result is kept.
    fn replace(
        &mut self,
        number: usize,
        old: &Snapshot,
        manifest: Manifest,
        noted: &Noted,
    ) -> Result<Option<SnapshotId>> {
        let repo = self.repo;
        let needs = self.rebuilt.pieces.iter().filter(|(_, among)| among.has(number));
        let written: Vec<ChunkId> = needs.flat_map(|(ids, _)| ids).copied().collect();
        for _ in 0..ATTEMPTS {
            // W1, W2: everything that the new manifest refers to exists for this session and will be kept.
            let (session, repo_state) = write_session::open(repo)?;
            let is_complete = match write_session::trust(repo, &repo_state, &[old.id])? {
                ParentTrust::Gone => {
                    session.close()?;
                    return Ok(None);
                }
                ParentTrust::Whole if written.is_empty() => true,
                ParentTrust::Whole => reachability::all_usable(&Index::load(repo, repo_state)?, &written)?,
                ParentTrust::PerChunk => {
                    let index = Arc::new(Index::load(repo, repo_state)?);
                    reachability::is_complete(repo, &index, &manifest.root)?
                }
            };
            if !is_complete {
                let why = "data that it needs is damaged or being deleted by a garbage collection";
                return Err(Error::Refused(format!("snapshot {} was not changed: {why}", old.id.short())));
            }
            if !snapshots::commit_under(repo, &session, &manifest)? {
                // W3: there is a fence. Nothing was forgotten; try again under another name.
                continue;
            }
            let new = session.id;
            match trash::forget(repo, &session, &old.id, noted) {
                Err(err) if err.is_missing() => {
                    trash::forget_all(repo, &session, &[new], noted)?;
                    session.close()?;
                    return Ok(None);
                }
                other => other?,
            }
            self.forget_duplicates(&session, &manifest, noted)?;
            session.close()?;
            self.earlier.push(Snapshot { id: new, manifest });
            return Ok(Some(new));
        }
        Err(Error::Refused("other processes repeatedly considered this run dead: run it again".into()))
    }

    /// Forgets rewritten versions that equal the new one. Only the run that forgot the original does this,
    /// after its own version exists, so that one version always remains.
    fn forget_duplicates(&mut self, session: &Session, manifest: &Manifest, noted: &Noted) -> Result<()> {
        let equal = self.earlier.extract_if(.., |found| found.manifest == *manifest);
        let equal: Vec<SnapshotId> = equal.map(|found| found.id).collect();
        if equal.is_empty() {
            return Ok(());
        }
        trash::forget_all(self.repo, session, &equal, noted).map(drop)
    }
}

/// Returns the kind of audit record for a change.
fn audit_act(change: &Change) -> AuditAct {
    match change.alarm {
        Some(AlarmState::Accepted) => AuditAct::AlarmAccept,
        Some(AlarmState::Cleared) => AuditAct::AlarmClear,
        Some(AlarmState::Open) | None => AuditAct::Rewrite,
    }
}

//! `sync`: mirrors a repository to another storage, object by object. The mirror is a complete repository
//! with the same passwords.
//!
//! Objects are immutable, so one of the same name and length need not be copied again, and an interrupted run
//! can be continued. The bytes of small objects are compared as well (`small_objects`). An object in the
//! destination that differs is moved to quarantine and copied again. Manifests are copied last, so that every
//! snapshot in the destination can be restored from there.
//!
//! Snapshots keep their names in the destination, so they are not committed under the name of the session
//! that copies them (W3). Instead the session checks before and after it copies manifests whether it was
//! considered dead, since only then may gc in the destination have deleted packs that they need. In that case
//! everything is compared again in a new session.

mod small_objects;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::codec::crypto::hash;
use crate::error::{Error, Result};
use crate::model::config::Config;
use crate::model::id::{PackId, SnapshotId};
use crate::model::records::AuditAct;
use crate::progress::{Control, Event, Observer};
use crate::repo::commit::write_session;
use crate::repo::pack::header_bundles::Maintenance;
use crate::repo::pack::{self, header_bundles, packs};
use crate::repo::read::read_session::ReadSession;
use crate::repo::repository::Repository;
use crate::repo::sessions::damage;
use crate::repo::sessions::session::{RepoState, Session};
use crate::repo::snapshots::trash;
use crate::repo::{audit, config, snapshots};
use crate::storage::{CreateOutcome, Listed, ObjectKind, Storage};
use crate::util::parallel;

/// Maximum number of packs that are copied concurrently. Each is held in memory.
const MAX_PARALLEL: usize = 3;
/// Maximum number of sessions, each opened because the previous one was considered dead.
const MAX_SESSIONS: usize = 3;

/// Options of a sync.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Also forget snapshots and remove passwords in the destination that the source no longer has.
    pub delete: bool,
    /// Only report.
    pub dry_run: bool,
}

/// Result of a sync.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// Whether the destination repository was created.
    pub made: bool,
    /// Packs copied.
    pub packs: u64,
    /// Bytes of the copied packs.
    pub bytes: u64,
    /// Packs that were damaged in the destination, moved to quarantine and copied again. Also counted in
    /// `packs`.
    pub healed: u64,
    /// Snapshots that the destination did not have before.
    pub snapshots: u64,
    /// Snapshots that were forgotten in the destination.
    pub forgotten: u64,
    /// Passwords that were removed from the destination.
    pub keys_removed: u64,
    /// Packs that are damaged in the source and were not copied.
    pub damaged: Vec<(PackId, Error)>,
    /// Other objects that were damaged in the destination, moved to quarantine and copied again.
    pub objects_healed: u64,
    /// Other objects that are damaged in the source and were not copied: which, and why.
    pub objects_damaged: Vec<(String, Error)>,
}

impl Report {
    /// Returns whether nothing was skipped because it is damaged in the source.
    pub fn is_whole(&self) -> bool {
        self.damaged.is_empty() && self.objects_damaged.is_empty()
    }
}

/// Makes the repository at `to` equal to this one.
///
/// # Errors
/// When `to` contains a different repository, a storage fails, the sync has to wait for a gc run in the
/// destination, or the run was interrupted.
pub fn run(
    from: &Repository,
    to: &Arc<dyn Storage>,
    options: &Options,
    control: &Control<'_>,
) -> Result<Report> {
    let (observer, stop) = (control.observer(), control.cancel());
    if !options.dry_run {
        // The copy is opened with the same key.
        from.may_write()?;
    }
    // R1: no gc deletes objects of the source before the session ends.
    let session = ReadSession::open(from, observer)?;
    let mut run = Run { from, options, observer, stop, report: Report::default() };
    if !Repository::exists(to.as_ref())? {
        run.report.made = true;
        if !options.dry_run {
            run.copy_keys(to.as_ref())?;
            // Only the configuration makes the destination a repository, so it is copied after the keys.
            run.copy_configurations(to.as_ref())?;
            to.keep_reserve();
        }
    } else if !options.dry_run {
        run.restore_configurations(to.as_ref())?;
    }
    if run.report.made && options.dry_run {
        run.compare(None)?;
    } else {
        run.update(&from.elsewhere(Arc::clone(to))?)?;
    }
    session.close()?;
    Ok(run.report)
}

struct Run<'a> {
    from: &'a Repository,
    options: &'a Options,
    observer: &'a dyn Observer,
    stop: &'a AtomicBool,
    report: Report,
}

/// Packs and manifests that the destination lacks.
struct MissingObjects {
    packs: Vec<(PackId, u64)>,
    /// Manifests, and the objects that the destination has under their names.
    snapshots: Vec<(Listed, Option<ExistingObject>)>,
}

/// An object in the destination that has the name of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ExistingObject {
    /// A fence: gc in the destination considered the session dead while it was active in the source. The
    /// session has committed in the source, so the fence is no longer needed.
    Fence,
    /// Different bytes.
    Other,
}

impl Run<'_> {
    /// Copies missing objects to an existing repository.
    fn update(&mut self, to: &Repository) -> Result<()> {
        to.may_write()?;
        if self.options.dry_run {
            let repo_state = RepoState::read(to.storage(), to.suite(), |_| Ok(()))?;
            return self.compare(Some((to, &repo_state))).map(|_| ());
        }
        self.copy_keys(to.storage())?;
        self.copy_configurations(to.storage())?;
        self.merge_slots(to.storage())?;
        for _ in 0..MAX_SESSIONS {
            let (session, repo_state) = write_session::open(to)?;
            let missing = self.compare(Some((to, &repo_state)))?;
            self.copy_packs(to, &repo_state, &missing.packs)?;
            self.copy_parity(to)?;
            if is_fenced(to, &session)? {
                continue;
            }
            self.copy_audit_records(to)?;
            self.copy_manifests(to, &missing.snapshots)?;
            if is_fenced(to, &session)? {
                continue;
            }
            if self.options.delete {
                self.delete(to, &session)?;
            }
            header_bundles::maintain(to, Maintenance { add: true, remove: self.options.delete }, self.stop)?;
            return session.close();
        }
        Err(Error::Refused("other processes repeatedly considered this run dead: run it again".into()))
    }

    /// Compares both repositories. Lists manifests before packs, since the packs of a manifest exist before
    /// the manifest does.
    fn compare(&mut self, to: Option<(&Repository, &RepoState)>) -> Result<MissingObjects> {
        let snapshots = self.missing_manifests(to.map(|(to, _)| to.storage()))?;
        let in_destination: HashMap<PackId, u64> =
            to.map(|(_, repo_state)| repo_state.packs.iter().copied().collect()).unwrap_or_default();
        let damaged = |id: &PackId| to.is_some_and(|(_, repo_state)| repo_state.damaged.contains(id));
        let mut packs = RepoState::packs(self.from.storage())?;
        if let Some((to, repo_state)) = to
            && packs.iter().any(|(id, _)| repo_state.condemned.contains(id))
        {
            return Err(Error::Refused(format!(
                "an unfinished garbage collection at {} is to delete packs that are needed again: run \
                 `Repository::gc` there first",
                to.location()
            )));
        }
        packs.retain(|(id, len)| in_destination.get(id) != Some(len) || damaged(id));
        let bytes = packs.iter().map(|(_, len)| len).sum();
        self.observer.notice(Event::Stage { name: "", unit: "packs" });
        self.observer.notice(Event::Expect { files: packs.len() as u64, bytes });
        if self.options.dry_run {
            self.report.packs = packs.len() as u64;
            self.report.bytes = bytes;
            self.report.snapshots = snapshots.len() as u64;
        }
        Ok(MissingObjects { packs, snapshots })
    }

    fn copy_packs(
        &mut self,
        to: &Repository,
        repo_state: &RepoState,
        missing: &[(PackId, u64)],
    ) -> Result<()> {
        let in_destination: HashSet<&PackId> = repo_state.packs.iter().map(|(id, _)| id).collect();
        let report = Mutex::new(std::mem::take(&mut self.report));
        let this = &*self;
        let result = parallel::share_out("copy", MAX_PARALLEL, missing, |queue| {
            for (_, (id, len)) in queue {
                if this.stop.load(Ordering::Relaxed) {
                    return Err(Error::Interrupted);
                }
                let copied = this.copy_pack(to, id, *len, in_destination.contains(id));
                let mut report = report.lock();
                match copied {
                    Ok(healed) => {
                        report.packs += 1;
                        report.bytes += len;
                        report.healed += u64::from(healed);
                    }
                    Err(err @ Error::Damaged { .. }) => report.damaged.push((*id, err)),
                    // gc in the source has moved its needed chunks since the listing.
                    Err(err) if err.is_missing() => {}
                    Err(err) => return Err(err),
                }
                this.observer.notice(Event::Done { files: 1, bytes: *len });
            }
            Ok(())
        });
        self.report = report.into_inner();
        result.map(|_| ())
    }

    /// Copies a pack. If one with the same name `exists`, it is damaged and replaced; returns `exists`.
    fn copy_pack(&self, to: &Repository, id: &PackId, len: u64, exists: bool) -> Result<bool> {
        let name = id.hex();
        let bytes = self.from.storage().read(ObjectKind::Packs, &name, len)?;
        if hash::sha256(&bytes) != *id.as_bytes() {
            return Err(pack::not_its_name(id));
        }
        if exists {
            packs::quarantine(to.storage(), id)?;
        }
        if to.storage().create(ObjectKind::Packs, &name, &[&bytes])? == CreateOutcome::Exists {
            return Err(Error::Refused(format!(
                "another process has just written pack {} at {}: run it again",
                id.short(),
                to.location()
            )));
        }
        if exists {
            damage::remove(to, &name)?;
        }
        Ok(exists)
    }

    /// Removes key slots that the source no longer has from the destination, and then forgets such snapshots.
    fn delete(&mut self, to: &Repository, session: &Session) -> Result<()> {
        let in_source: HashSet<String> =
            self.from.storage().list(ObjectKind::Keys)?.into_iter().map(|found| found.name).collect();
        let mut extra = to.storage().list(ObjectKind::Keys)?;
        extra.retain(|found| !in_source.contains(&found.name));
        if !extra.is_empty() {
            let names: Vec<&str> = extra.iter().map(|found| found.name.as_str()).collect();
            audit::note(to, AuditAct::KeyRemove, &names.join(" "))?;
        }
        if to.config().is_encrypted() {
            let remove_slots =
                |config: &mut Config| Ok(config.keep_slots(|id| in_source.contains(&id.hex())));
            config::change_slots(to.storage(), to.keyring(), to.keyring(), &remove_slots)
                .map(|written| to.wrote_config(&written))?;
        }
        for found in &extra {
            to.storage().remove(ObjectKind::Keys, &found.name)?;
            to.cache().note(&ObjectKind::Keys.path(&found.name), false);
            self.report.keys_removed += 1;
        }
        to.storage().sync(ObjectKind::Keys)?;
        let in_source: HashSet<SnapshotId> =
            snapshots::list(self.from)?.into_iter().map(|snapshot| snapshot.id).collect();
        let in_destination = snapshots::list(to)?;
        if in_source.is_empty() && !in_destination.is_empty() {
            return Err(Error::Retention(format!(
                "there are no snapshots at {}, so {} at {} would be forgotten",
                self.from.location(),
                in_destination.len(),
                to.location()
            )));
        }
        let to_forget: Vec<SnapshotId> =
            in_destination.iter().map(|snapshot| snapshot.id).filter(|id| !in_source.contains(id)).collect();
        // Those of `already_gone` were forgotten by other processes.
        let recorded = audit::note_snapshots(to, AuditAct::Forget, &to_forget)?;
        let already_gone = trash::forget_all(to, session, &to_forget, &recorded)?;
        self.report.forgotten += to_forget.len().saturating_sub(already_gone.len()) as u64;
        Ok(())
    }
}

/// Returns whether gc considered the session dead.
fn is_fenced(repo: &Repository, session: &Session) -> Result<bool> {
    let listed = repo.storage().list(ObjectKind::Snapshots)?;
    Ok(listed.iter().any(|found| found.name == session.id.hex()))
}

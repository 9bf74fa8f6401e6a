//! `sync`: mirrors a repository to another storage, object by object. Both have the same passwords, and
//! either may be lost.
//!
//! Objects are immutable, so one of the same name and length need not be copied again, and an interrupted run
//! resumes. The bytes of small objects are compared as well (`small`). An object in the destination that
//! differs is moved to quarantine and copied again. Manifests are copied last, so every snapshot in the
//! destination can be restored from there.
//!
//! Snapshots keep their names in the destination, so they are not committed under the name of the copying
//! session (W3). Instead the session checks before and after copying manifests whether it was considered
//! dead. Only then could gc in the destination have deleted what they need, and everything is compared again
//! in a new session.

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

/// Packs copied concurrently; each is in memory.
const AT_ONCE: usize = 3;
/// Maximum number of sessions, each opened because the previous one was considered dead.
const ATTEMPTS: usize = 3;

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
    // R1: objects of the source are not deleted until all are read.
    let session = ReadSession::open(from, observer)?;
    let mut run = Run { from, options, observer, stop, report: Report::default() };
    if !Repository::exists(to.as_ref())? {
        run.report.made = true;
        if !options.dry_run {
            run.keys(to.as_ref())?;
            // The configuration makes the destination a repository.
            run.configurations(to.as_ref())?;
            to.keep_reserve();
        }
    } else if !options.dry_run {
        run.restore_configurations(to.as_ref())?;
    }
    if run.report.made && options.dry_run {
        run.compare(None)?;
    } else {
        run.bring_to(&from.elsewhere(Arc::clone(to))?)?;
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

/// Objects that the destination lacks.
struct MissingObjects {
    packs: Vec<(PackId, u64)>,
    /// Manifests, and what the destination has under their names.
    snapshots: Vec<(Listed, Option<InPlace>)>,
}

/// An object in the destination that has the name of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InPlace {
    /// A fence: gc in the destination considered the session dead while it was active in the source. The
    /// session has committed in the source, so the fence is no longer needed.
    Fence,
    /// Different bytes.
    Other,
}

impl Run<'_> {
    fn bring_to(&mut self, to: &Repository) -> Result<()> {
        to.may_write()?;
        if self.options.dry_run {
            let repo_state = RepoState::read(to.storage(), to.suite(), |_| Ok(()))?;
            return self.compare(Some((to, &repo_state))).map(|_| ());
        }
        self.keys(to.storage())?;
        self.configurations(to.storage())?;
        self.slot_list(to.storage())?;
        for _ in 0..ATTEMPTS {
            let (session, repo_state) = write_session::open(to)?;
            let lack = self.compare(Some((to, &repo_state)))?;
            self.packs(to, &repo_state, &lack.packs)?;
            self.sidecars(to)?;
            if is_fenced(to, &session)? {
                continue;
            }
            self.audit_records(to)?;
            self.manifests(to, &lack.snapshots)?;
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

    /// Compares both repositories. Lists manifests before packs: what a manifest needs is durable before the
    /// manifest exists.
    fn compare(&mut self, to: Option<(&Repository, &RepoState)>) -> Result<MissingObjects> {
        let snapshots = self.lacking_manifests(to.map(|(to, _)| to.storage()))?;
        let there: HashMap<PackId, u64> =
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
        packs.retain(|(id, len)| there.get(id) != Some(len) || damaged(id));
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

    /// Copies packs, several concurrently.
    fn packs(&mut self, to: &Repository, repo_state: &RepoState, lacking: &[(PackId, u64)]) -> Result<()> {
        let there: HashSet<&PackId> = repo_state.packs.iter().map(|(id, _)| id).collect();
        let report = Mutex::new(std::mem::take(&mut self.report));
        let this = &*self;
        let done = parallel::share_out("copy", AT_ONCE, lacking, |queue| {
            for (_, (id, len)) in queue {
                if this.stop.load(Ordering::Relaxed) {
                    return Err(Error::Interrupted);
                }
                let copied = this.pack(to, id, *len, there.contains(id));
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
        done.map(|_| ())
    }

    /// Copies a pack, replacing a damaged one of the same name. Returns whether there was one.
    fn pack(&self, to: &Repository, id: &PackId, len: u64, stands: bool) -> Result<bool> {
        let name = id.hex();
        let bytes = self.from.storage().read(ObjectKind::Packs, &name, len)?;
        if hash::sha256(&bytes) != *id.as_bytes() {
            return Err(pack::not_its_name(id));
        }
        if stands {
            packs::set_aside(to.storage(), id)?;
        }
        if to.storage().create(ObjectKind::Packs, &name, &[&bytes])? == CreateOutcome::Exists {
            return Err(Error::Refused(format!(
                "another process has just written pack {} at {}: run it again",
                id.short(),
                to.location()
            )));
        }
        if stands {
            damage::end(to, &name)?;
        }
        Ok(stands)
    }

    /// Removes objects from the destination that the source no longer has, key slots first. Snapshots go to
    /// the trash.
    fn delete(&mut self, to: &Repository, session: &Session) -> Result<()> {
        let here: HashSet<String> =
            self.from.storage().list(ObjectKind::Keys)?.into_iter().map(|found| found.name).collect();
        let mut extra = to.storage().list(ObjectKind::Keys)?;
        extra.retain(|found| !here.contains(&found.name));
        if !extra.is_empty() {
            let names: Vec<&str> = extra.iter().map(|found| found.name.as_str()).collect();
            audit::note(to, AuditAct::KeyRemove, &names.join(" "))?;
        }
        if to.config().is_encrypted() {
            let gone = |config: &mut Config| Ok(config.keep_slots(|id| here.contains(&id.hex())));
            config::change_slots(to.storage(), to.keyring(), to.keyring(), &gone)
                .map(|written| to.wrote_config(&written))?;
        }
        for found in &extra {
            to.storage().remove(ObjectKind::Keys, &found.name)?;
            to.cache().note(&ObjectKind::Keys.path(&found.name), false);
            self.report.keys_removed += 1;
        }
        to.storage().sync(ObjectKind::Keys)?;
        let here: HashSet<SnapshotId> = snapshots::list(self.from)?.into_iter().map(|one| one.id).collect();
        let there = snapshots::list(to)?;
        if here.is_empty() && !there.is_empty() {
            return Err(Error::Retention(format!(
                "there are no snapshots at {}, so {} at {} would be forgotten",
                self.from.location(),
                there.len(),
                to.location()
            )));
        }
        let gone: Vec<SnapshotId> = there.iter().map(|one| one.id).filter(|id| !here.contains(id)).collect();
        // Another process has forgotten the missing ones in the meantime.
        let noted = audit::note_snapshots(to, AuditAct::Forget, &gone)?;
        let missing = trash::forget_all(to, session, &gone, &noted)?;
        self.report.forgotten += gone.len().saturating_sub(missing.len()) as u64;
        Ok(())
    }
}

/// Returns whether gc considered the session dead.
fn is_fenced(repo: &Repository, session: &Session) -> Result<bool> {
    let listed = repo.storage().list(ObjectKind::Snapshots)?;
    Ok(listed.iter().any(|found| found.name == session.id.hex()))
}

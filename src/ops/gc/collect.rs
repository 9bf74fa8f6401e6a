//! One garbage collection: sweep unfinished runs, mark, move, condemn, sweep (rules C1 to C5).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde_bytes::ByteBuf;

use crate::codec::crypto::hash::ChunkType;
use crate::error::{Error, Result};
use crate::model::entry::Time;
use crate::model::id::{KeyId, PackId, SnapshotId};
use crate::model::records::{AuditAct, GcRecord, SessionKind};
use crate::ops::gc::deltas::Search;
use crate::ops::gc::mark::Marker;
use crate::ops::gc::plan::{PackAction, Plan};
use crate::ops::gc::repack::Repacker;
use crate::ops::gc::sweep::SweepOutcome;
use crate::ops::gc::{Options, Report, damage, missing, parity, plan, repack, sweep};
use crate::progress::{Event, Observer};
use crate::repo::audit;
use crate::repo::gc::roots::Roots;
use crate::repo::gc::{peers, roots};
use crate::repo::index::Index;
use crate::repo::pack::header_bundles::{self, Maintenance};
use crate::repo::repository::Repository;
use crate::repo::sessions::gc_record::{self, GcRun};
use crate::repo::sessions::session::{RepoState, Session};
use crate::repo::sessions::trash_entries::TrashEntry;
use crate::repo::snapshots::{Snapshot, trash};
use crate::storage::names;

/// Maximum number of marks in one run. A mark is discarded if another collector was faster, or damage was
/// found.
const MAX_ATTEMPTS: usize = 8;

/// A run of gc.
pub(super) struct Collector<'a> {
    pub(super) repo: &'a Repository,
    pub(super) options: &'a Options,
    observer: &'a dyn Observer,
    stop: &'a AtomicBool,
    /// `None` in a dry run.
    pub(super) session: Option<Session>,
    pub(super) report: Report,
    /// The disk is full, so that nothing may be moved.
    disk_full: bool,
    /// The missing object that made the last attempt fail.
    missing_error: Option<Error>,
    /// Purged snapshots that this run has written an audit record for.
    audited: BTreeSet<SnapshotId>,
}

/// The result of an attempt.
enum Attempt {
    /// The run is complete, or has to wait for other sessions.
    Done,
    /// Something has changed: list and mark again.
    Again,
}

/// The result of marking: what is needed, and the plan for the packs.
pub(super) struct Marked {
    pub(super) index: Arc<Index>,
    pub(super) roots: Roots,
    pub(super) purged: Vec<TrashEntry>,
    pub(super) plan: Plan,
    /// The highest number of a gc run before this one.
    pub(super) gc_seen: u64,
}

impl Marked {
    /// Returns how many snapshots can no longer be brought back. Purging the trash entry of a snapshot that
    /// still exists loses nothing.
    pub(super) fn lost_for_good(&self) -> u64 {
        let purged: HashSet<_> = self.purged.iter().map(|entry| (entry.id, entry.by)).collect();
        let kept = self.roots.trash.iter().filter(|entry| !purged.contains(&(entry.id, entry.by)));
        let kept: HashSet<SnapshotId> = kept.map(|entry| entry.id).collect();
        let gone =
            purged.iter().map(|(id, _)| id).filter(|id| !self.roots.is_listed(id) && !kept.contains(*id));
        gone.collect::<HashSet<_>>().len() as u64
    }
}

impl<'a> Collector<'a> {
    /// Runs a garbage collection. Moves nothing if the disk is full.
    ///
    /// # Errors
    /// As [`crate::ops::gc::run`].
    pub(super) fn run(
        repo: &'a Repository,
        options: &'a Options,
        observer: &'a dyn Observer,
        stop: &'a AtomicBool,
        disk_full: bool,
    ) -> Result<Report> {
        let report = Report { no_room: disk_full, ..Report::default() };
        let mut collector = Self {
            repo,
            options,
            observer,
            stop,
            session: None,
            report,
            disk_full,
            missing_error: None,
            audited: BTreeSet::new(),
        };
        if options.dry_run {
            collector.report_dry_run()?;
            names::strays(repo.storage())?.into_iter().for_each(|text| repo.control().warn(text));
            return Ok(collector.report);
        }
        // C1: a collector is a session.
        let session = Session::open(repo, SessionKind::Collector)?.0;
        let outdated = outdated_partials(&roots::load(repo)?);
        let audited = audit::note_snapshots(repo, AuditAct::Forget, &outdated)?;
        trash::forget_all(repo, &session, &outdated, &audited)?;
        let mut attempts = 0;
        let session = collector.session.insert(session).id;
        while let Attempt::Again = collector.attempt(session)? {
            attempts += 1;
            if attempts >= MAX_ATTEMPTS {
                return Err(collector.missing_error.unwrap_or_else(|| {
                    let why = "other garbage collections keep running at the same time: run \
                               `Repository::gc` later";
                    Error::Refused(why.into())
                }));
            }
        }
        collector.end()
    }

    /// Removes records and temporary files that are no longer needed, and ends the session.
    fn end(self) -> Result<Report> {
        if self.session.is_some() && !self.disk_full {
            let now = self.storage_time()?;
            self.remove_old_fences(now)?;
            audit::remove_old(self.repo, now)?;
        }
        let Self { repo, session, mut report, disk_full, stop, .. } = self;
        if let Some(session) = session {
            parity::maintain(repo, session.id, disk_full, &mut report, stop)?;
            header_bundles::maintain(repo, Maintenance { add: !disk_full, remove: true }, stop)?;
            let highest = gc_record::highest(repo.storage())?;
            let others = peers::others(repo, Some(&session.id), true)?;
            peers::remove_dead(repo, &others, session.id, highest)?;
            peers::remove_objects_without_record(repo)?;
            session.close()?;
        }
        names::strays(repo.storage())?.into_iter().for_each(|text| repo.control().warn(text));
        repo.storage().remove_stale_temp_files()?;
        repo.storage().keep_reserve();
        Ok(report)
    }

    /// Reports the total size of packs before the run. Only the first call has an effect.
    pub(super) fn record_size_before(&mut self, repo_state: &RepoState) {
        if self.report.before == 0 {
            self.report.before = repo_state.packs.iter().map(|(_, len)| len).sum();
        }
    }

    /// Writes audit records of the purged snapshots: each snapshot once, even if there are several attempts.
    fn note_purge(&mut self, marked: &Marked) -> Result<()> {
        let purged = marked.purged.iter().map(|entry| entry.id);
        let new: BTreeSet<SnapshotId> =
            purged.filter(|id| !marked.roots.is_listed(id) && !self.audited.contains(id)).collect();
        let ids: Vec<SnapshotId> = new.iter().copied().collect();
        audit::note_snapshots(self.repo, AuditAct::Purge, &ids)?;
        self.audited.extend(new);
        Ok(())
    }

    /// Acknowledges a gc run. Until then, other collectors wait for sessions that started before their runs.
    fn acknowledge_gc(&self, gc: u64) -> Result<()> {
        self.session.as_ref().map_or(Ok(()), |session| session.acknowledge_gc(gc))
    }

    /// Makes one attempt, by rules C1 to C5.
    fn attempt(&mut self, own: SnapshotId) -> Result<Attempt> {
        let repo = self.repo;
        let mut repo_state = RepoState::read(repo.storage(), repo.suite(), |_| Ok(()))?;
        self.record_size_before(&repo_state);
        // Allowed, since all marks made from earlier listings have been discarded.
        self.acknowledge_gc(repo_state.gc_seen)?;
        // C1: an unfinished run is swept first; while it cannot be swept, no new one is published.
        if let Some(gc_run) = repo_state.unfinished.take()
            && let Attempt::Done = self.sweep(own, &gc_run, &repo_state)?
        {
            return Ok(Attempt::Done);
        }
        repo_state = RepoState::read(repo.storage(), repo.suite(), |_| Ok(()))?;
        if repo_state.unfinished.is_some() {
            return Ok(Attempt::Again);
        }
        let listed = repo_state.packs.clone();
        let result = match self.mark(repo_state, Some(&own)) {
            Ok(Some(marked)) => self.condemn(own, &marked),
            Ok(None) => Ok(Attempt::Again),
            Err(err) => Err(err),
        };
        match result {
            // A process that considered this session dead may have deleted packs that it was reading.
            Err(err) if err.is_missing() && RepoState::packs(repo.storage())? != listed => {
                self.missing_error = Some(err);
                Ok(Attempt::Again)
            }
            other => other,
        }
    }

    /// Sweeps an unfinished gc run. Returns `Done` if it has to wait for other sessions.
    fn sweep(&mut self, own: SnapshotId, gc_run: &GcRun, repo_state: &RepoState) -> Result<Attempt> {
        match sweep::sweep(self.repo, own, gc_run)? {
            SweepOutcome::Done(deleted) => {
                self.report.add(&deleted);
                Ok(Attempt::Again)
            }
            // Another process has finished it.
            SweepOutcome::AlreadyEnded => Ok(Attempt::Again),
            SweepOutcome::Waiting(for_whom) => {
                self.report.waiting_for = for_whom;
                self.report.later = sizes(repo_state, &gc_run.record.condemned);
                Ok(Attempt::Done)
            }
        }
    }

    /// Marks everything that roots need, and plans what happens to each pack (C2). Returns `None` if a trash
    /// entry disappeared meanwhile. `own` is `None` in a dry run.
    pub(super) fn mark(
        &mut self,
        mut repo_state: RepoState,
        own: Option<&SnapshotId>,
    ) -> Result<Option<Marked>> {
        let repo = self.repo;
        let gc_seen = repo_state.gc_seen;
        self.record_size_before(&repo_state);
        // C1: packs have been listed; next are sessions, then roots.
        let others = peers::others(repo, own, own.is_some())?;
        let mut live_sessions: HashSet<SnapshotId> =
            others.iter().filter(|other| !other.dead).map(|other| other.id).collect();
        let roots = roots::load(repo)?;
        // C1: a root created since the first listing has packs that were created since. This run reads them,
        // but never deletes them.
        let listed_again = RepoState::packs(repo.storage())?;
        let first: HashSet<PackId> =
            std::mem::replace(&mut repo_state.packs, listed_again).iter().map(|(id, _)| *id).collect();
        let index = Arc::new(Index::load(repo, repo_state)?);
        missing::refuse_unexplained(repo, &index, &first, (&roots, &others))?;
        let new_packs = index.packs().iter().filter(|pack| !first.contains(&pack.id));
        live_sessions.extend(new_packs.map(|pack| pack.session));
        for (pack, why) in &index.unreadable {
            repo.control().warn(format!("{}: pack {} is not changed", why.chain(), pack.short()));
        }
        let leaving = if own.is_none() { self.leaving(&roots) } else { HashSet::new() };
        let (purged, kept_entries) = self.split_trash(&roots.trash)?;
        let mut marker = Marker::new(repo, &index)?;
        self.observer.notice(Event::Stage { name: "following snapshots", unit: "snapshots" });
        self.observer.notice(Event::Expect { files: roots.snapshots.len() as u64, bytes: 0 });
        for snapshot in roots.snapshots.values().filter(|snapshot| !leaving.contains(&snapshot.id)) {
            marker
                .mark_root(&snapshot.manifest.root)
                .map_err(|err| with_snapshot_name("snapshot", &snapshot.id, err))?;
            self.observer.notice(Event::Done { files: 1, bytes: 0 });
        }
        let plain_of_snapshots = marker.plain_bytes;
        let mut forgotten = Vec::new();
        for entry in &kept_entries {
            match trash::read(repo, entry) {
                Err(err) if err.is_missing() => return Ok(None),
                other => forgotten.push((entry.id, other?.manifest.root)),
            }
        }
        let purges_at_once = self.options.empty_trash || repo.config().undelete_window == 0;
        if !purges_at_once {
            let kept = leaving.iter().filter_map(|id| roots.snapshots.get(id));
            forgotten.extend(kept.map(|snapshot| (snapshot.id, snapshot.manifest.root)));
        }
        for (id, root) in &forgotten {
            marker.mark_root(root).map_err(|err| with_snapshot_name("forgotten snapshot", id, err))?;
        }
        self.report.purged = if purges_at_once { leaving.len() as u64 } else { 0 };
        // A snapshot that was brought back may still have an entry in the trash.
        let gone =
            forgotten.iter().map(|(id, _)| id).filter(|id| !roots.is_listed(id) || leaving.contains(id));
        self.report.in_trash = gone.collect::<HashSet<_>>().len() as u64;
        self.report.trash_plain = marker.plain_bytes - plain_of_snapshots;
        self.report.lost = marker.lost.len() as u64;
        self.report.data_stays = marker.misses_data();
        let mut plan = self.plan(&index, &mut marker, &live_sessions)?;
        if self.options.delta && !self.disk_full {
            let (snapshots, observer, stop) = (&roots.snapshots, self.observer, self.stop);
            let search =
                Search { repo, index: &index, snapshots, live_sessions: &live_sessions, observer, stop };
            self.report.similar = search.add_to_plan(&mut plan, &marker)?;
        }
        self.report.unused = plan.unused;
        Ok(Some(Marked { index, roots, purged, plan, gc_seen }))
    }

    /// Returns the snapshots that a real run would find forgotten: those that are about to be, and outdated
    /// partial ones, which it forgets itself.
    fn leaving(&self, roots: &Roots) -> HashSet<SnapshotId> {
        let forgotten = self.options.forgotten.iter().copied().filter(|id| roots.is_listed(id));
        outdated_partials(roots).into_iter().chain(forgotten).collect()
    }

    fn plan(&self, index: &Index, marker: &mut Marker, live_sessions: &HashSet<SnapshotId>) -> Result<Plan> {
        let config = self.repo.config();
        let target =
            |kind| u64::from(if kind == ChunkType::Data { config.data_pack } else { config.tree_pack });
        let max_repack = if self.disk_full { Some(0) } else { self.options.max_repack };
        let options = Options { max_repack, ..self.options.clone() };
        plan::plan(index, marker, live_sessions, target, (&options, self.repo.suite().epoch))
    }

    /// Moves the needed chunks, publishes the gc record, and sweeps.
    fn condemn(&mut self, own: SnapshotId, marked: &Marked) -> Result<Attempt> {
        let (repo, plan, index) = (self.repo, &marked.plan, &marked.index);
        let stays = |at: &crate::repo::index::BlockAt| {
            plan.packs.get(at.pack as usize).is_some_and(|usage| usage.action != PackAction::Move)
        };
        let to_verify: Vec<_> = plan.preferred.iter().filter(|at| stays(at)).copied().collect();
        let damaged = repack::verify(repo, index, &to_verify, self.stop)?;
        if !damaged.is_empty() {
            damage::record_damaged_packs(repo, own, index, &damaged)?;
            return Ok(Attempt::Again);
        }
        let moving = plan.packs_of(index, PackAction::Move);
        if !moving.is_empty() && !self.repack(own, marked, &moving)? {
            return Ok(Attempt::Again);
        }
        // Packs in which nothing is needed come first, so that a sweep deletes them first.
        let mut condemned = plan.packs_of(index, PackAction::Delete);
        condemned.extend(moving);
        if self.report.lost == 0 {
            damage::remove_resolved(repo, index.repo_state())?;
        }
        if condemned.is_empty() && marked.purged.is_empty() {
            return Ok(Attempt::Done);
        }
        let gc_run = GcRun { number: marked.gc_seen + 1, record: record(own, condemned, marked) };
        self.note_purge(marked)?;
        // C3: exactly the next number, or start over.
        if !gc_record::publish(repo.storage(), repo.suite(), gc_run.number, &gc_run.record)? {
            return Ok(Attempt::Again);
        }
        self.acknowledge_gc(gc_run.number)?;
        match sweep::sweep(repo, own, &gc_run)? {
            SweepOutcome::Done(deleted) => self.report.add(&deleted),
            SweepOutcome::AlreadyEnded => return Ok(Attempt::Again),
            SweepOutcome::Waiting(for_whom) => {
                self.report.waiting_for = for_whom;
                self.report.later = sizes(index.repo_state(), &gc_run.record.condemned);
            }
        }
        self.report.purged = marked.lost_for_good();
        Ok(Attempt::Done)
    }

    /// Moves the needed blocks out of packs that are to be deleted. Returns false if one of the packs is
    /// damaged.
    fn repack(&mut self, own: SnapshotId, marked: &Marked, moving: &[PackId]) -> Result<bool> {
        let (repo, plan, index) = (self.repo, &marked.plan, &marked.index);
        let bytes = plan.bytes_of(index, PackAction::Move);
        self.observer.notice(Event::Stage { name: "rewriting packs", unit: "packs" });
        self.observer.notice(Event::Expect { files: moving.len() as u64, bytes });
        let repacker = Repacker { repo, index, plan, session: own, observer: self.observer, stop: self.stop };
        let repacked = repacker.run()?;
        if !repacked.damaged.is_empty() {
            damage::record_damaged_packs(repo, own, index, &repacked.damaged)?;
            return Ok(false);
        }
        self.report.packs_moved = moving.len() as u64;
        self.report.bytes_written = repacked.written.bytes;
        Ok(true)
    }
}

/// Returns the partial snapshots of interrupted backups for which the same set has a newer complete snapshot.
/// Pinned ones stay.
fn outdated_partials(roots: &Roots) -> Vec<SnapshotId> {
    let mut newest: HashMap<_, Time> = HashMap::new();
    for snapshot in roots.snapshots.values().filter(|snapshot| !snapshot.manifest.partial) {
        let newest = newest.entry(set_of(snapshot)).or_insert(snapshot.manifest.started);
        *newest = snapshot.manifest.started.max(*newest);
    }
    let partials = roots
        .snapshots
        .values()
        .filter(|snapshot| snapshot.manifest.partial && !snapshot.manifest.is_pinned());
    let outdated = partials.filter(|snapshot| {
        newest.get(&set_of(snapshot)).is_some_and(|newest| *newest > snapshot.manifest.started)
    });
    outdated.map(|snapshot| snapshot.id).collect()
}

/// Returns what identifies the set that a snapshot belongs to: host, sources, and write key.
fn set_of(snapshot: &Snapshot) -> (&str, &[ByteBuf], Option<KeyId>) {
    (&snapshot.manifest.host, &snapshot.manifest.sources, snapshot.manifest.writer())
}

/// Returns the record of a gc run: its roots are all that it marked from.
fn record(by: SnapshotId, condemned: Vec<PackId>, marked: &Marked) -> GcRecord {
    let purged: HashSet<(SnapshotId, SnapshotId)> =
        marked.purged.iter().map(|entry| (entry.id, entry.by)).collect();
    let kept = marked.roots.trash.iter().filter(|entry| !purged.contains(&(entry.id, entry.by)));
    let mut roots: Vec<SnapshotId> =
        marked.roots.snapshots.keys().copied().chain(kept.map(|entry| entry.id)).collect();
    roots.sort_unstable();
    roots.dedup();
    let purged = marked.purged.iter().map(|entry| (entry.id, entry.by)).collect();
    GcRecord { by, at: Time::now(), condemned, roots, purged }
}

/// Returns how many of these packs are listed, and their total bytes.
pub(super) fn sizes(repo_state: &RepoState, packs: &[PackId]) -> (u64, u64) {
    let packs: HashSet<&PackId> = packs.iter().collect();
    let listed = repo_state.packs.iter().filter(|(id, _)| packs.contains(id));
    listed.fold((0, 0), |(count, bytes), (_, len)| (count + 1, bytes + len))
}

/// Adds the snapshot to the error of a tree that cannot be read. Such an error ends the run, since it is
/// unknown what the snapshot needs.
fn with_snapshot_name(kind: &str, id: &SnapshotId, err: Error) -> Error {
    match err {
        Error::Missing { what } => Error::Missing { what: format!("{what} of {kind} {}", id.short()) },
        Error::Damaged { what, source } => {
            Error::Damaged { what: format!("{what} of {kind} {}", id.short()), source }
        }
        other => other,
    }
}

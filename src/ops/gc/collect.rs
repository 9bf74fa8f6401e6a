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

/// How often a mark is discarded, because of another collector or of damage, before this run gives up.
const ATTEMPTS: usize = 8;

/// A run of gc.
pub(super) struct Collector<'a> {
    pub(super) repo: &'a Repository,
    pub(super) options: &'a Options,
    observer: &'a dyn Observer,
    stop: &'a AtomicBool,
    /// `None` in a dry run.
    pub(super) session: Option<Session>,
    pub(super) report: Report,
    /// The disk is full: nothing may be moved.
    full: bool,
    /// The missing object that made the last attempt fail.
    missed: Option<Error>,
    /// Purged snapshots that an audit record of this run names.
    noted: BTreeSet<SnapshotId>,
}

/// The result of one attempt.
enum Attempt {
    Done,
    /// Another collector was faster, or damage was found: mark again.
    Again,
}

/// The result of marking.
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
    /// Runs a garbage collection. Moves nothing if the disk is `full`.
    ///
    /// # Errors
    /// As [`crate::ops::gc::run`].
    pub(super) fn run(
        repo: &'a Repository,
        options: &'a Options,
        observer: &'a dyn Observer,
        stop: &'a AtomicBool,
        full: bool,
    ) -> Result<Report> {
        let report = Report { no_room: full, ..Report::default() };
        let mut collector = Self {
            repo,
            options,
            observer,
            stop,
            session: None,
            report,
            full,
            missed: None,
            noted: BTreeSet::new(),
        };
        if options.dry_run {
            collector.foresee()?;
            names::strays(repo.storage())?.into_iter().for_each(|text| repo.control().warn(text));
            return Ok(collector.report);
        }
        // C1: a collector is a session.
        let session = Session::open(repo, SessionKind::Collector)?.0;
        let outdated = outdated_of(&roots::load(repo)?);
        let noted = audit::note_snapshots(repo, AuditAct::Forget, &outdated)?;
        trash::forget_all(repo, &session, &outdated, &noted)?;
        let mut attempts = 0;
        let session = collector.session.insert(session).id;
        while let Attempt::Again = collector.attempt(session)? {
            attempts += 1;
            if attempts >= ATTEMPTS {
                return Err(collector.missed.unwrap_or_else(|| {
                    let why = "other garbage collections keep running at the same time: run \
                               `Repository::gc` later";
                    Error::Refused(why.into())
                }));
            }
        }
        collector.end()
    }

    fn end(self) -> Result<Report> {
        if self.session.is_some() && !self.full {
            let now = self.now_there()?;
            self.remove_old_fences(now)?;
            audit::remove_old(self.repo, now)?;
        }
        let Self { repo, session, mut report, full, stop, .. } = self;
        if let Some(session) = session {
            parity::maintain(repo, session.id, full, &mut report, stop)?;
            header_bundles::maintain(repo, Maintenance { add: !full, remove: true }, stop)?;
            let highest = gc_record::highest(repo.storage())?;
            let others = peers::others(repo, Some(&session.id), true)?;
            peers::remove_dead(repo, &others, session.id, highest)?;
            peers::remove_stale_temp_files(repo)?;
            session.close()?;
        }
        names::strays(repo.storage())?.into_iter().for_each(|text| repo.control().warn(text));
        repo.storage().remove_stale_temp_files()?;
        repo.storage().keep_reserve();
        Ok(report)
    }

    /// Records the total size of packs once, before anything is swept.
    pub(super) fn weigh(&mut self, repo_state: &RepoState) {
        if self.report.before == 0 {
            self.report.before = repo_state.packs.iter().map(|(_, len)| len).sum();
        }
    }

    /// Writes audit records of the purged snapshots: each snapshot once, even if there are several attempts.
    fn note_purge(&mut self, marked: &Marked) -> Result<()> {
        let purged = marked.purged.iter().map(|entry| entry.id);
        let new: BTreeSet<SnapshotId> =
            purged.filter(|id| !marked.roots.is_listed(id) && !self.noted.contains(id)).collect();
        let ids: Vec<SnapshotId> = new.iter().copied().collect();
        audit::note_snapshots(self.repo, AuditAct::Purge, &ids)?;
        self.noted.extend(new);
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
        self.weigh(&repo_state);
        // Marks made from earlier listings have been discarded.
        self.acknowledge_gc(repo_state.gc_seen)?;
        // C1: unfinished runs are swept first; while one cannot be swept, no new one is published.
        for gc_run in std::mem::take(&mut repo_state.unfinished) {
            if let Attempt::Done = self.sweep(own, &gc_run, &repo_state)? {
                return Ok(Attempt::Done);
            }
        }
        repo_state = RepoState::read(repo.storage(), repo.suite(), |_| Ok(()))?;
        if !repo_state.unfinished.is_empty() {
            return Ok(Attempt::Again);
        }
        let listed = repo_state.packs.clone();
        let result = match self.mark(repo_state, Some(&own)) {
            Ok(Some(marked)) => self.condemn(own, &marked),
            Ok(None) => Ok(Attempt::Again),
            Err(err) => Err(err),
        };
        match result {
            // A process that considered this run dead may have deleted what it was reading.
            Err(err) if err.is_missing() && RepoState::packs(repo.storage())? != listed => {
                self.missed = Some(err);
                Ok(Attempt::Again)
            }
            other => other,
        }
    }

    /// Sweeps one gc run. Returns `Done` if this process can only wait.
    fn sweep(&mut self, own: SnapshotId, gc_run: &GcRun, repo_state: &RepoState) -> Result<Attempt> {
        match sweep::sweep(self.repo, own, gc_run)? {
            SweepOutcome::Done(deleted) => {
                self.report.add(&deleted);
                Ok(Attempt::Again)
            }
            // Another process has finished it.
            SweepOutcome::Over => Ok(Attempt::Again),
            SweepOutcome::Waiting(for_whom) => {
                self.report.waiting_for = for_whom;
                self.report.later = sizes(repo_state, &gc_run.record.condemned);
                Ok(Attempt::Done)
            }
        }
    }

    /// Determines what is needed and what happens to each pack (C2). Returns `None` if an object vanished
    /// meanwhile.
    pub(super) fn mark(
        &mut self,
        mut repo_state: RepoState,
        own: Option<&SnapshotId>,
    ) -> Result<Option<Marked>> {
        let repo = self.repo;
        let gc_seen = repo_state.gc_seen;
        self.weigh(&repo_state);
        // C1: packs are listed; next are sessions, then roots.
        let others = peers::others(repo, own, own.is_some())?;
        let mut live: HashSet<SnapshotId> =
            others.iter().filter(|other| !other.dead).map(|other| other.id).collect();
        let roots = roots::load(repo)?;
        // A root added since has packs added since: they are read, but never deleted by this run.
        let later = RepoState::packs(repo.storage())?;
        let first: HashSet<PackId> =
            std::mem::replace(&mut repo_state.packs, later).iter().map(|(id, _)| *id).collect();
        let index = Arc::new(Index::load(repo, repo_state)?);
        missing::refuse(repo, &index, &first, (&roots, &others))?;
        let came = index.packs().iter().filter(|pack| !first.contains(&pack.id));
        live.extend(came.map(|pack| pack.session));
        for (pack, why) in &index.unreadable {
            repo.control().warn(format!("{}: pack {} is not changed", why.chain(), pack.short()));
        }
        // A dry run has not removed the outdated partial snapshots.
        let partials = if own.is_none() { outdated_of(&roots) } else { Vec::new() };
        let (purged, waiting) = self.divide(&roots.trash)?;
        let mut marker = Marker::new(repo, &index)?;
        self.observer.notice(Event::Stage { name: "following snapshots", unit: "snapshots" });
        self.observer.notice(Event::Expect { files: roots.standing.len() as u64, bytes: 0 });
        for snapshot in roots.standing.values().filter(|snapshot| !partials.contains(&snapshot.id)) {
            marker.root(&snapshot.manifest.root).map_err(|err| unwalkable("snapshot", &snapshot.id, err))?;
            self.observer.notice(Event::Done { files: 1, bytes: 0 });
        }
        let standing = marker.plain;
        let mut forgotten = Vec::new();
        for entry in &waiting {
            match trash::read(repo, entry) {
                Err(err) if err.is_missing() => return Ok(None),
                other => forgotten.push((entry.id, other?.manifest.root)),
            }
        }
        if !self.options.empty_trash {
            let kept = partials.iter().filter_map(|id| roots.standing.get(id));
            forgotten.extend(kept.map(|snapshot| (snapshot.id, snapshot.manifest.root)));
        }
        for (id, root) in &forgotten {
            marker.root(root).map_err(|err| unwalkable("forgotten snapshot", id, err))?;
        }
        self.report.purged = if self.options.empty_trash { partials.len() as u64 } else { 0 };
        // A snapshot that was brought back is not in the trash, though its entry still exists.
        let gone =
            forgotten.iter().map(|(id, _)| id).filter(|id| !roots.is_listed(id) || partials.contains(id));
        self.report.in_trash = gone.collect::<HashSet<_>>().len() as u64;
        self.report.trash_plain = marker.plain - standing;
        self.report.lost = marker.lost.len() as u64;
        self.report.data_stays = marker.misses_data();
        let mut plan = self.plan(&index, &mut marker, &live)?;
        if self.options.delta && !self.full {
            let (standing, observer, stop) = (&roots.standing, self.observer, self.stop);
            let search = Search { repo, index: &index, standing, live: &live, observer, stop };
            self.report.similar = search.extend(&mut plan, &marker)?;
        }
        self.report.unused = plan.unused;
        Ok(Some(Marked { index, roots, purged, plan, gc_seen }))
    }

    fn plan(&self, index: &Index, marker: &mut Marker, live: &HashSet<SnapshotId>) -> Result<Plan> {
        let config = self.repo.config();
        let target =
            |kind| u64::from(if kind == ChunkType::Data { config.data_pack } else { config.tree_pack });
        let max_repack = if self.full { Some(0) } else { self.options.max_repack };
        let options = Options { max_repack, ..self.options.clone() };
        plan::plan(index, marker, live, target, (&options, self.repo.suite().epoch))
    }

    /// Moves what is needed, publishes the gc record and sweeps.
    fn condemn(&mut self, own: SnapshotId, marked: &Marked) -> Result<Attempt> {
        let (repo, plan, index) = (self.repo, &marked.plan, &marked.index);
        let stays = |at: &crate::repo::index::BlockAt| {
            plan.packs.get(at.pack as usize).is_some_and(|account| account.fate != PackAction::Move)
        };
        let chosen: Vec<_> = plan.chosen.iter().filter(|at| stays(at)).copied().collect();
        let damaged = repack::verify(repo, index, &chosen, self.stop)?;
        if !damaged.is_empty() {
            damage::write_down(repo, own, index, &damaged)?;
            return Ok(Attempt::Again);
        }
        let moving = plan.packs_of(index, PackAction::Move);
        if !moving.is_empty() && !self.relocate(own, marked, &moving)? {
            return Ok(Attempt::Again);
        }
        // Entirely dead packs first: they free space soonest.
        let mut condemned = plan.packs_of(index, PackAction::Drop);
        condemned.extend(moving);
        if self.report.lost == 0 {
            damage::end(repo, index.repo_state())?;
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
            SweepOutcome::Over => return Ok(Attempt::Again),
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
    fn relocate(&mut self, own: SnapshotId, marked: &Marked, moving: &[PackId]) -> Result<bool> {
        let (repo, plan, index) = (self.repo, &marked.plan, &marked.index);
        let bytes = plan.bytes_of(index, PackAction::Move);
        self.observer.notice(Event::Stage { name: "rewriting packs", unit: "packs" });
        self.observer.notice(Event::Expect { files: moving.len() as u64, bytes });
        let repacker = Repacker { repo, index, plan, session: own, observer: self.observer, stop: self.stop };
        let moved = repacker.run()?;
        if !moved.damaged.is_empty() {
            damage::write_down(repo, own, index, &moved.damaged)?;
            return Ok(false);
        }
        self.report.packs_moved = moving.len() as u64;
        self.report.bytes_written = moved.written.bytes;
        Ok(true)
    }
}

/// Returns the partial snapshots that a newer complete one of the same set replaces. They only speed up the
/// next run.
fn outdated_of(roots: &Roots) -> Vec<SnapshotId> {
    let mut newest: HashMap<_, Time> = HashMap::new();
    for one in roots.standing.values().filter(|one| !one.manifest.partial) {
        let newest = newest.entry(set_of(one)).or_insert(one.manifest.started);
        *newest = one.manifest.started.max(*newest);
    }
    let partials = roots.standing.values().filter(|one| one.manifest.partial && !one.manifest.is_pinned());
    let outdated =
        partials.filter(|one| newest.get(&set_of(one)).is_some_and(|newest| *newest > one.manifest.started));
    outdated.map(|one| one.id).collect()
}

/// Returns the key that identifies a set of snapshots.
fn set_of(one: &Snapshot) -> (&str, &[ByteBuf], Option<KeyId>) {
    (&one.manifest.host, &one.manifest.sources, one.manifest.writer())
}

fn record(by: SnapshotId, condemned: Vec<PackId>, marked: &Marked) -> GcRecord {
    let purged: HashSet<(SnapshotId, SnapshotId)> =
        marked.purged.iter().map(|entry| (entry.id, entry.by)).collect();
    let kept = marked.roots.trash.iter().filter(|entry| !purged.contains(&(entry.id, entry.by)));
    let mut roots: Vec<SnapshotId> =
        marked.roots.standing.keys().copied().chain(kept.map(|entry| entry.id)).collect();
    roots.sort_unstable();
    roots.dedup();
    let purged = marked.purged.iter().map(|entry| (entry.id, entry.by)).collect();
    GcRecord { by, at: Time::now(), condemned, roots, purged }
}

/// Returns how many of these packs are listed, and their total bytes.
pub(super) fn sizes(repo_state: &RepoState, packs: &[PackId]) -> (u64, u64) {
    let packs: HashSet<&PackId> = packs.iter().collect();
    let found = repo_state.packs.iter().filter(|(id, _)| packs.contains(id));
    found.fold((0, 0), |(count, bytes), (_, len)| (count + 1, bytes + len))
}

/// Adds which snapshot's tree cannot be read. That ends the run, as it is unknown what the snapshot needs.
fn unwalkable(kind: &str, id: &SnapshotId, err: Error) -> Error {
    match err {
        Error::Missing { what } => Error::Missing { what: format!("{what} of {kind} {}", id.short()) },
        Error::Damaged { what, source } => {
            Error::Damaged { what: format!("{what} of {kind} {}", id.short()), source }
        }
        other => other,
    }
}

//! `sync`: a second copy of a repository elsewhere, object for object. Whoever has the password of one has that of the
//! other, and either may be lost.
//!
//! Objects never change, so whatever is there under its name and as long as here need not be copied again, and a run that is
//! cut short goes on where it was. Manifests come last: what stands there can be restored from there.
//!
//! Snapshots there keep their names, so they are not committed under the name of the session that brings them (W3). In its
//! place the session looks whether it was taken for dead before it brings manifests and after: only then might a collector
//! there have swept what they need, and all is compared once more under a new session.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use crate::codec::envelope;
use crate::codec::hash;
use crate::error::Error;
use crate::error::Result;
use crate::error::together;
use crate::model::id::PackId;
use crate::model::id::SnapshotId;
use crate::model::record::SessionKind;
use crate::observe::Event;
use crate::observe::Observer;
use crate::store::damage;
use crate::store::packs;
use crate::store::parity;
use crate::store::repository::Repository;
use crate::store::segments;
use crate::store::segments::May;
use crate::store::session::Session;
use crate::store::session::Sight;
use crate::store::snapshots;
use crate::store::storage::Area;
use crate::store::storage::Created;
use crate::store::storage::Listed;
use crate::store::storage::Storage;
use crate::store::trash;

/// Packs on their way at once; each is in memory.
const AT_ONCE: usize = 3;
/// Sessions, each because the one before was taken for dead.
const ATTEMPTS: usize = 3;

/// What to do.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Also forget there what is not here any more, and take away passwords that are not here any more.
    pub delete: bool,
    /// Write nothing.
    pub dry_run: bool,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Report {
    /// There was none yet.
    pub made: bool,
    /// Packs copied.
    pub packs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packs that stood there damaged, were moved aside and copied again; counted in `packs` as well.
    pub healed: u64,
    /// Snapshots that are there now and were not.
    pub snapshots: u64,
    /// Snapshots that were forgotten there.
    pub forgotten: u64,
    /// Passwords that were taken away there.
    pub keys_removed: u64,
    /// Packs that are damaged here and were not copied.
    pub damaged: Vec<(PackId, Error)>,
}

/// Makes the repository at `to` hold what this one holds.
///
/// # Errors
/// When there is another one, a store fails, a collection there waits for an end, or the run was interrupted.
pub fn run(
    from: &Repository,
    to: &Arc<dyn Storage>,
    options: &Options,
    observer: &dyn Observer,
    stop: &AtomicBool,
) -> Result<Report> {
    // R1: what stands here stays until all is read.
    let reading = Session::stand_by(from, observer)?;
    let mut run = Run { from, options, observer, stop, report: Report::default() };
    if !Repository::exists(to.as_ref())? {
        run.report.made = true;
        if !options.dry_run {
            run.small(to.as_ref(), Area::Keys)?;
            // With it, it exists.
            run.small(to.as_ref(), Area::Config)?;
        }
    }
    if run.report.made && options.dry_run {
        run.compare(None)?;
    } else {
        run.bring_to(&from.elsewhere(Arc::clone(to))?)?;
    }
    if let Some(session) = reading {
        session.close()?;
    }
    Ok(run.report)
}

struct Run<'a> {
    from: &'a Repository,
    options: &'a Options,
    observer: &'a dyn Observer,
    stop: &'a AtomicBool,
    report: Report,
}

/// What is lacking there.
struct Lack {
    packs: Vec<(PackId, u64)>,
    snapshots: Vec<Listed>,
}

impl Run<'_> {
    fn bring_to(&mut self, to: &Repository) -> Result<()> {
        to.may_write()?;
        if self.options.dry_run {
            let sight = Sight::look(to.storage(), to.ring(), |_| Ok(()))?;
            return self.compare(Some((to, &sight))).map(|_| ());
        }
        for area in [Area::Keys, Area::Config] {
            self.small(to.storage(), area)?;
        }
        for _ in 0..ATTEMPTS {
            let (session, sight) = Session::open(to, SessionKind::Writer)?;
            let lack = self.compare(Some((to, &sight)))?;
            self.packs(to, &sight, &lack.packs)?;
            self.sidecars(to)?;
            if is_fenced(to, &session)? {
                continue;
            }
            self.manifests(to, &lack.snapshots)?;
            if is_fenced(to, &session)? {
                continue;
            }
            if self.options.delete {
                self.delete(to, &session)?;
            }
            segments::tend(to, May { add: true, remove: self.options.delete }, self.stop)?;
            return session.close();
        }
        Err(Error::Refused("other processes took this run for dead again and again: run it again".into()))
    }

    /// Objects of an area that are small and few. Where both have one of a name, it stays.
    fn small(&self, to: &dyn Storage, area: Area) -> Result<()> {
        let there: HashSet<String> = to.list(area)?.into_iter().map(|found| found.name).collect();
        for found in self.from.storage().list(area)? {
            if !there.contains(&found.name) {
                let bytes = self.from.storage().read(area, &found.name, envelope::MAX_OBJECT)?;
                to.create(area, &found.name, &[&bytes])?;
            }
        }
        Ok(())
    }

    /// Manifests are listed before packs: what a manifest needs is durable before it is there.
    fn compare(&mut self, to: Option<(&Repository, &Sight)>) -> Result<Lack> {
        let manifests = self.from.storage().list(Area::Snapshots)?;
        let (standing, there) = match to {
            None => Default::default(),
            Some((to, sight)) => {
                let names: HashSet<String> =
                    to.storage().list(Area::Snapshots)?.into_iter().map(|found| found.name).collect();
                let packs: HashMap<PackId, u64> = sight.packs.iter().copied().collect();
                (names, packs)
            }
        };
        let damaged = |id: &PackId| to.is_some_and(|(_, sight)| sight.damaged.contains(id));
        let mut packs = Sight::packs(self.from.storage())?;
        if let Some((to, sight)) = to
            && packs.iter().any(|(id, _)| sight.condemned.contains(id))
        {
            return Err(Error::Refused(format!(
                "a collection at {} has yet to delete packs that are needed again: run `snap gc` there first",
                to.location()
            )));
        }
        packs.retain(|(id, len)| there.get(id) != Some(len) || damaged(id));
        let snapshots: Vec<Listed> =
            manifests.into_iter().filter(|found| !standing.contains(&found.name)).collect();
        let bytes = packs.iter().map(|(_, len)| len).sum();
        self.observer.notice(Event::Expect { files: packs.len() as u64, bytes });
        if self.options.dry_run {
            self.report.packs = packs.len() as u64;
            self.report.bytes = bytes;
            self.report.snapshots = snapshots.len() as u64;
        }
        Ok(Lack { packs, snapshots })
    }

    /// Copies packs, several at once.
    fn packs(&mut self, to: &Repository, sight: &Sight, lacking: &[(PackId, u64)]) -> Result<()> {
        let there: HashSet<&PackId> = sight.packs.iter().map(|(id, _)| id).collect();
        let (next, over) = (AtomicUsize::new(0), AtomicBool::new(false));
        let report = Mutex::new(std::mem::take(&mut self.report));
        let this = &*self;
        let work = || -> Result<()> {
            while let Some((id, len)) = lacking.get(next.fetch_add(1, Ordering::Relaxed)) {
                if this.stop.load(Ordering::Relaxed) {
                    return Err(Error::Interrupted);
                }
                if over.load(Ordering::Relaxed) {
                    return Err(Error::Stopped);
                }
                let copied = this.pack(to, id, *len, there.contains(id));
                let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
                match copied {
                    Ok(healed) => {
                        report.packs += 1;
                        report.bytes += len;
                        report.healed += u64::from(healed);
                    }
                    Err(err @ Error::Damaged { .. }) => report.damaged.push((*id, err)),
                    // A collector here moved what was needed of it since it was listed.
                    Err(err) if err.is_missing() => {}
                    Err(err) => {
                        over.store(true, Ordering::Relaxed);
                        return Err(err);
                    }
                }
                this.observer.notice(Event::Done { files: 1, bytes: *len });
            }
            Ok(())
        };
        let done: Vec<Result<()>> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
            workers.into_iter().map(|worker| worker.join().unwrap_or(Err(Error::Stopped))).collect()
        });
        self.report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
        together(done)
    }

    /// Copies a pack; what stands there in its place is damaged. Whether something did.
    fn pack(&self, to: &Repository, id: &PackId, len: u64, stands: bool) -> Result<bool> {
        let name = id.hex();
        let bytes = self.from.storage().read(Area::Packs, &name, len)?;
        if hash::sha256(&bytes) != *id.as_bytes() {
            return Err(packs::not_its_name(id));
        }
        if stands {
            packs::set_aside(to.storage(), id)?;
        }
        if to.storage().create(Area::Packs, &name, &[&bytes])? == Created::Exists {
            return Err(Error::Refused(format!(
                "somebody else wrote pack {} at {} just now: run it again",
                id.short(),
                to.location()
            )));
        }
        if stands {
            damage::end(to, &name)?;
        }
        Ok(stands)
    }

    /// Parity of packs that are there; a collection there removes what has lost its pack.
    fn sidecars(&self, to: &Repository) -> Result<()> {
        let sidecars = parity::list(self.from.storage())?;
        if sidecars.is_empty() {
            return Ok(());
        }
        let there: HashSet<PackId> = parity::list(to.storage())?.into_iter().map(|(id, _)| id).collect();
        let packs: HashSet<PackId> = Sight::packs(to.storage())?.into_iter().map(|(id, _)| id).collect();
        for (id, len) in sidecars.iter().filter(|(id, _)| packs.contains(id) && !there.contains(id)) {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            match self.from.storage().read(Area::Parity, &id.hex(), *len) {
                Ok(bytes) => to.storage().create(Area::Parity, &id.hex(), &[&bytes]).map(drop)?,
                // What cannot be read here is written anew, here and there, by who looks after it.
                Err(err) if err.is_damage() => {}
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }

    fn manifests(&mut self, to: &Repository, lacking: &[Listed]) -> Result<()> {
        for found in lacking {
            let read = self.from.storage().read(Area::Snapshots, &found.name, envelope::MAX_OBJECT);
            let bytes = match read {
                Ok(bytes) if bytes.starts_with(&envelope::FENCE) => continue,
                // Forgotten meanwhile.
                Err(err) if err.is_missing() => continue,
                read => read?,
            };
            if to.storage().create(Area::Snapshots, &found.name, &[&bytes])? == Created::New {
                to.cache().note(&Area::Snapshots.path(&found.name), true);
                self.report.snapshots += 1;
            }
        }
        Ok(())
    }

    /// What is gone here goes there, the passwords first; snapshots can be brought back until they are purged.
    fn delete(&mut self, to: &Repository, session: &Session) -> Result<()> {
        let here: HashSet<String> =
            self.from.storage().list(Area::Keys)?.into_iter().map(|found| found.name).collect();
        for found in to.storage().list(Area::Keys)?.iter().filter(|found| !here.contains(&found.name)) {
            to.storage().remove(Area::Keys, &found.name)?;
            to.cache().note(&Area::Keys.path(&found.name), false);
            self.report.keys_removed += 1;
        }
        to.storage().sync(Area::Keys)?;
        let here: HashSet<SnapshotId> = snapshots::list(self.from)?.into_iter().map(|one| one.id).collect();
        let there = snapshots::list(to)?;
        if here.is_empty() && !there.is_empty() {
            return Err(Error::Retention(format!(
                "there is no snapshot at {}, and {} at {} would be forgotten",
                self.from.location(),
                there.len(),
                to.location()
            )));
        }
        for gone in there.iter().filter(|one| !here.contains(&one.id)) {
            trash::forget(to, session, &gone.id)?;
            self.report.forgotten += 1;
        }
        Ok(())
    }
}

/// Whether a collector took the session for dead.
fn is_fenced(repo: &Repository, session: &Session) -> Result<bool> {
    let listed = repo.storage().list(Area::Snapshots)?;
    Ok(listed.iter().any(|found| found.name == session.id.hex()))
}

//! `repair parity`: writes every missing or damaged parity file, and removes those without a pack.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::codec::pack::parity::Layout;
use crate::error::{Error, Result};
use crate::model::id::PackId;
use crate::model::records::Damaged;
use crate::progress::{Control, Event, Observer};
use crate::repo::commit::write_session;
use crate::repo::pack::parity;
use crate::repo::repository::Repository;
use crate::repo::sessions::damage;
use crate::repo::sessions::session::{RepoState, Session};
use crate::storage::ObjectKind;

/// What was done, or would be in a dry run.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// The configured share of parity in percent; 0: none.
    pub share: u8,
    /// Packs without parity for which it was written.
    pub written: u64,
    /// Packs whose parity file was damaged or had another share, and was rewritten.
    pub renewed: u64,
    /// Bytes written; 0 in a dry run.
    pub bytes: u64,
    /// Number of intact parity files.
    pub whole: u64,
    /// Parity files removed because their packs are gone.
    pub removed: u64,
    /// Faults of parity files.
    pub wrong: Vec<String>,
    /// Damaged packs. No parity is written for them, and an existing parity file is kept.
    pub damaged: Vec<String>,
}

/// Repairs parity files. In a dry run only reports, and does not verify the packs.
///
/// # Errors
/// When the storage fails or the run was interrupted. Files written until then are valid.
pub fn run(repo: &Repository, dry_run: bool, control: &Control<'_>) -> Result<Report> {
    let (observer, stop) = (control.observer(), control.cancel());
    // A writer session: the packs that it reads are not deleted meanwhile.
    if !dry_run {
        repo.may_write()?;
    }
    let session = if dry_run { None } else { Some(write_session::open(repo)?.0) };
    let share = repo.config().parity();
    let mut run = Run { repo, session: session.as_ref(), report: Report { share, ..Report::default() } };
    run.repair_parity(observer, stop)?;
    let report = run.report;
    session.map_or(Ok(()), Session::close)?;
    Ok(report)
}

struct Run<'a> {
    repo: &'a Repository,
    /// `None` in a dry run.
    session: Option<&'a Session>,
    report: Report,
}

impl Run<'_> {
    fn repair_parity(&mut self, observer: &dyn Observer, stop: &AtomicBool) -> Result<()> {
        let (storage, suite) = (self.repo.storage(), self.repo.suite());
        // Parity files are listed before packs: each is written after its pack.
        let sidecars: HashMap<PackId, u64> = parity::list(storage)?.into_iter().collect();
        let repo_state = RepoState::read(storage, suite, |_| Ok(()))?;
        let packs: HashMap<PackId, u64> = repo_state.packs.iter().copied().collect();
        for id in sidecars.keys().filter(|id| !packs.contains_key(*id)) {
            self.remove(id)?;
        }
        if self.report.removed > 0 && self.session.is_some() {
            storage.sync(ObjectKind::Parity)?;
        }
        let bytes = repo_state.packs.iter().map(|(_, len)| len).sum();
        observer.notice(Event::Stage { name: "parity", unit: "packs" });
        observer.notice(Event::Expect { files: repo_state.packs.len() as u64, bytes });
        for (id, len) in repo_state.packs.iter().filter(|(id, _)| !repo_state.condemned.contains(id)) {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            self.repair_pack(id, *len, sidecars.get(id).copied())?;
            observer.notice(Event::Done { files: 1, bytes: *len });
        }
        Ok(())
    }

    fn remove(&mut self, id: &PackId) -> Result<()> {
        if self.session.is_some() && !parity::remove(self.repo.storage(), id)? {
            self.repo
                .control()
                .warn(format!("the parity of pack {} needs a newer snap, and is kept", id.short()));
            return Ok(());
        }
        self.report.removed += 1;
        Ok(())
    }

    fn repair_pack(&mut self, id: &PackId, len: u64, sidecar: Option<u64>) -> Result<()> {
        let wanted = Layout::new(*id, len, self.report.share);
        if let Some(sidecar) = sidecar {
            match parity::verify(self.repo.storage(), (id, len), sidecar) {
                // If no parity is configured, a file of any share will do.
                Ok(found) if wanted.is_none_or(|wanted| wanted == found) => {
                    self.report.whole += 1;
                    return Ok(());
                }
                Ok(_) => {}
                // Removed since it was listed.
                Err(err) if err.is_missing() => {}
                Err(err) if err.is_damage() => self.report.wrong.push(err.chain()),
                Err(err) => return Err(err),
            }
        }
        if wanted.is_none() {
            return Ok(());
        }
        let written = match self.session {
            Some(_) => parity::write_again(self.repo.storage(), *id, len, self.report.share),
            None => Ok(0),
        };
        match written {
            Ok(bytes) => {
                self.report.bytes += bytes;
                *(if sidecar.is_some() { &mut self.report.renewed } else { &mut self.report.written }) += 1;
            }
            Err(err) if err.is_missing() => {}
            Err(err) if err.is_damage() => self.record_damaged(id, &err)?,
            Err(err) => return Err(err),
        }
        Ok(())
    }

    fn record_damaged(&mut self, id: &PackId, why: &Error) -> Result<()> {
        self.report.damaged.push(why.chain());
        if let Some(session) = self.session {
            damage::record(self.repo, session.id, Damaged::Pack(*id), why.chain())?;
        }
        Ok(())
    }
}

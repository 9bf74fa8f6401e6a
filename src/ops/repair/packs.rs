//! `repair packs`: writes what can be read of damaged packs to new packs, and moves the originals to
//! quarantine.
//!
//! This is safe concurrently with other sessions. Before a damaged pack leaves `packs/`, the new packs are
//! durable and their writer's session exists. Every readable chunk is written, even if another copy exists,
//! because a gc run that began before the damage was known may keep only this copy. So a reader that misses
//! the old pack finds the new one in a new listing, and gc does not touch the new one while its session
//! exists.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::model::decode_error::DecodeError;
use crate::model::id::PackId;
use crate::model::records::{AuditAct, Damaged};
use crate::ops::repair::salvage::{Salvage, Salvager};
use crate::progress::{Control, Event, Observer};
use crate::repo::audit;
use crate::repo::commit::write_session;
use crate::repo::index::Index;
use crate::repo::pack::{self, packs, parity};
use crate::repo::read::read_session::ReadSession;
use crate::repo::repository::Repository;
use crate::repo::sessions::damage;
use crate::repo::sessions::session::{RepoState, Session};
use crate::repo::write::chunk_writer::{ChunkWriter, CompressionPolicy};
use crate::storage::{CreateOutcome, ObjectKind};

/// Maximum number of damaged packs that an audit record names.
const MAX_NAMED_PACKS: usize = 20;

/// Which packs to repair, and whether to write.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Prefixes of pack ids. If empty, all packs known to be damaged.
    pub ids: Vec<String>,
    /// Change nothing, only report.
    pub dry_run: bool,
}

/// What happened to one pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PackFate {
    /// It is intact: its damage record was removed.
    Whole,
    /// Its readable part was written to new packs, and it was moved to quarantine.
    Salvaged {
        /// Chunks saved.
        saved: u64,
        /// Plain bytes of the saved chunks.
        bytes: u64,
        /// Chunks lost.
        lost: u64,
        /// Chunks kept in deltas whose bases cannot be read. They become readable once a backup stores the
        /// bases again.
        waiting: u64,
        /// Some of it was rebuilt from its parity.
        mended: bool,
        /// Neither of its tables can be read, so its content is unknown.
        unknown: bool,
        /// Name of the original in quarantine.
        aside: String,
    },
    /// A gc run has condemned it.
    Condemned,
    /// Another process removed it meanwhile: either a concurrent repair, which saved its readable part, or
    /// gc, because nothing in it was needed.
    Gone,
}

/// Result of repairing packs.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// Each pack that was examined, and what happened to it.
    pub packs: Vec<(PackId, PackFate)>,
    /// Bytes of the new packs.
    pub bytes_written: u64,
    /// Damage records whose packs no longer exist.
    pub gone: u64,
}

impl Report {
    /// Returns whether some chunks are lost, or cannot be read at present.
    pub fn has_lost(&self) -> bool {
        let lost = |fate: &PackFate| matches!(fate, PackFate::Salvaged { lost, waiting, unknown, .. } if lost + waiting > 0 || *unknown);
        self.packs.iter().any(|(_, fate)| lost(fate))
    }
}

/// Repairs packs.
///
/// # Errors
/// When the storage fails, a prefix matches no pack, or the run was interrupted. The originals then stay in
/// place.
pub fn run(repo: &Repository, options: &Options, control: &Control<'_>) -> Result<Report> {
    let (observer, stop) = (control.observer(), control.cancel());
    if options.dry_run {
        let session = ReadSession::open(repo, observer)?;
        let repo_state = session.read_state()?;
        let mut run = Run { repo, observer, stop, session: None, report: Report::default() };
        run.repair_packs(&repo_state, &options.ids)?;
        let report = run.report;
        session.close()?;
        return Ok(report);
    }
    repo.may_write()?;
    // W1: this session is a writer.
    let (session, repo_state) = write_session::open(repo)?;
    let mut run = Run { repo, observer, stop, session: Some(&session), report: Report::default() };
    run.repair_packs(&repo_state, &options.ids)?;
    let report = run.report;
    session.close()?;
    Ok(report)
}

struct Run<'a> {
    repo: &'a Repository,
    observer: &'a dyn Observer,
    stop: &'a AtomicBool,
    /// `None` in a dry run.
    session: Option<&'a Session>,
    report: Report,
}

impl Run<'_> {
    fn repair_packs(&mut self, repo_state: &RepoState, ids: &[String]) -> Result<()> {
        let listed = |id: &PackId| repo_state.packs.iter().any(|(found, _)| found == id);
        self.report.gone = repo_state.damaged.iter().filter(|id| !listed(id)).count() as u64;
        let chosen =
            if ids.is_empty() { find_damaged(self.repo, repo_state)? } else { by_prefixes(repo_state, ids)? };
        let bytes = chosen.iter().map(|(_, len)| len).sum();
        self.observer.notice(Event::Stage { name: "reading packs", unit: "packs" });
        self.observer.notice(Event::Expect { files: chosen.len() as u64, bytes });
        let mut damaged = Vec::new();
        for (id, len) in chosen {
            self.check_stop()?;
            if repo_state.condemned.contains(&id) {
                self.report.packs.push((id, PackFate::Condemned));
                continue;
            }
            match self.verify(&id, len) {
                Ok(()) => {
                    if self.session.is_some() {
                        damage::remove(self.repo, &id.hex())?;
                    }
                    self.observer.notice(Event::Done { files: 1, bytes: len });
                    self.report.packs.push((id, PackFate::Whole));
                }
                Err(err) if err.is_missing() => self.report.packs.push((id, PackFate::Gone)),
                Err(err) if err.is_damage() => damaged.push((id, len, err)),
                Err(err) => return Err(err),
            }
        }
        if damaged.is_empty() { Ok(()) } else { self.replace_packs(&damaged) }
    }

    /// Verifies that a pack hashes to its name and can be read.
    fn verify(&self, id: &PackId, len: u64) -> Result<()> {
        let bad = |why| Error::Damaged {
            what: ObjectKind::Packs.path(&id.hex()),
            source: DecodeError::because(why),
        };
        if packs::hash(self.repo.storage(), id, len)? != *id.as_bytes() {
            return Err(pack::not_its_name(id));
        }
        let salvage = Salvager::new(self.repo)?.salvage(id, len, &mut None)?;
        if salvage.is_whole() { Ok(()) } else { Err(bad("a part of it cannot be read")) }
    }

    fn check_stop(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }

    fn replace_packs(&mut self, damaged: &[(PackId, u64, Error)]) -> Result<()> {
        if self.session.is_some() {
            let ids: Vec<String> = damaged.iter().take(MAX_NAMED_PACKS).map(|(id, ..)| id.short()).collect();
            let detail = format!("{} damaged packs: {}", damaged.len(), ids.join(" "));
            audit::note(self.repo, AuditAct::Repair, &detail)?;
        }
        // From here on, writers do not refer to the damaged packs.
        let recorded = self.record_damage(damaged)?;
        let stored = AtomicU64::new(0);
        let (salvaged, written) = std::thread::scope(|scope| {
            // With an empty index every chunk is written.
            let nothing = Arc::new(Index::default());
            let policy = CompressionPolicy { level: self.repo.config().level, harder: 0 };
            let mut chunk_writer = self
                .session
                .map(|session| ChunkWriter::start(scope, self.repo, session.id, nothing, policy, &stored))
                .transpose()?;
            let salvaged = self.salvage_all(damaged, &mut chunk_writer);
            match chunk_writer {
                Some(chunk_writer) => {
                    chunk_writer.finish(salvaged).map(|(salvaged, written)| (salvaged, written.bytes))
                }
                None => salvaged.map(|salvaged| (salvaged, 0)),
            }
        })?;
        self.report.bytes_written = written;
        for (((id, ..), salvage), recorded) in damaged.iter().zip(&salvaged).zip(recorded) {
            let Some(salvage) = salvage else {
                // The process that moved it had removed its damage record; only this run created it again.
                if recorded == CreateOutcome::New {
                    damage::remove(self.repo, &id.hex())?;
                }
                self.report.packs.push((*id, PackFate::Gone));
                continue;
            };
            // The saved chunks are durable by now.
            self.repo.refuse_rotated()?;
            let aside =
                if self.session.is_some() { packs::quarantine(self.repo.storage(), id)? } else { id.hex() };
            if self.session.is_some() && salvage.is_whole() {
                damage::remove(self.repo, &id.hex())?;
                parity::remove(self.repo.storage(), id)?;
            } else if self.session.is_some() {
                keep_parity(self.repo, id, &aside)?;
            }
            let fate = PackFate::Salvaged {
                saved: salvage.saved,
                bytes: salvage.saved_bytes,
                lost: salvage.lost.len() as u64,
                waiting: salvage.waiting,
                mended: salvage.mended,
                unknown: salvage.unknown,
                aside: ObjectKind::Quarantine.path(&aside),
            };
            self.report.packs.push((*id, fate));
        }
        Ok(())
    }

    /// Records which packs are damaged. Returns for each whether the record is new. Does nothing in a dry
    /// run.
    fn record_damage(&self, damaged: &[(PackId, u64, Error)]) -> Result<Vec<CreateOutcome>> {
        let each = damaged.iter().map(|(id, _, why)| match self.session {
            Some(session) => damage::record(self.repo, session.id, Damaged::Pack(*id), why.chain()),
            None => Ok(CreateOutcome::Exists),
        });
        each.collect()
    }

    /// Reads what can be read of each pack. `None` stands for a pack that vanished meanwhile.
    fn salvage_all(
        &self,
        damaged: &[(PackId, u64, Error)],
        chunk_writer: &mut Option<ChunkWriter<'_>>,
    ) -> Result<Vec<Option<Salvage>>> {
        let mut salvager = Salvager::new(self.repo)?;
        let each = damaged.iter().map(|(id, len, _)| {
            self.check_stop()?;
            let salvage = match salvager.salvage(id, *len, chunk_writer) {
                // Chunks already passed to the writer are duplicates, which the next gc run removes.
                Err(err) if err.is_missing() => None,
                other => Some(other?),
            };
            self.observer.notice(Event::Done { files: 1, bytes: *len });
            Ok(salvage)
        });
        each.collect()
    }
}

/// Moves a pack's parity file to quarantine with it, as it may help to recover more of the pack later.
fn keep_parity(repo: &Repository, id: &PackId, aside: &str) -> Result<()> {
    if parity::is_newer(repo.storage(), id)? {
        return Ok(());
    }
    let (from, to) = (id.hex(), format!("{aside}.parity"));
    match repo.storage().move_to((ObjectKind::Parity, &from), (ObjectKind::Quarantine, &to)) {
        Err(err) if !err.is_missing() => Err(err),
        _ => Ok(()),
    }
}

/// Returns packs that a damage record names, and those whose tables cannot be read, or only with parity.
fn find_damaged(repo: &Repository, repo_state: &RepoState) -> Result<Vec<(PackId, u64)>> {
    let index = Index::load(repo, repo_state.clone())?;
    let mut known: BTreeSet<PackId> = index.unreadable.iter().map(|(id, _)| *id).collect();
    known.extend(&index.healed);
    known.extend(&repo_state.damaged);
    Ok(repo_state.packs.iter().filter(|(id, _)| known.contains(id)).copied().collect())
}

fn by_prefixes(repo_state: &RepoState, ids: &[String]) -> Result<Vec<(PackId, u64)>> {
    let mut chosen = BTreeSet::new();
    for id in ids {
        let start = id.to_ascii_lowercase();
        let mut found = repo_state.packs.iter().filter(|(pack, _)| pack.hex().starts_with(&start));
        match (found.next(), found.next()) {
            (Some(only), None) => chosen.insert(*only),
            (Some(_), Some(_)) => return Err(Error::Usage(format!("more than one pack begins with {id}"))),
            _ => return Err(Error::Usage(format!("no pack begins with {id}"))),
        };
    }
    Ok(chosen.into_iter().collect())
}

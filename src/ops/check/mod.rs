//! `check`: verifies that everything a snapshot needs exists and is intact.
//!
//! `small_objects` reads the small objects, `packs` the packs to the requested depth, `walk` walks every
//! snapshot and lists the entries that damage affects. `parity` checks parity files. `scrub` is a check of
//! its own that needs no key.

mod finding;
mod lineage;
mod packs;
mod parity;
pub mod scrub;
mod small_objects;
mod walk;

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::AtomicBool;

use crate::codec::crypto::cipher;
use crate::error::{Error, Result};
use crate::model::id::{PackId, SnapshotId};
use crate::model::records::Damaged;
use crate::progress::{Control, Event, Observer};
use crate::repo::index::Index;
use crate::repo::pack::header_bundles::{self, BundleVerifier};
use crate::repo::read::read_session::ReadSession;
use crate::repo::repository::Repository;
use crate::repo::sessions::damage;
use crate::repo::sessions::session::RepoState;
use crate::repo::snapshots;
use crate::storage::names;

pub use crate::ops::check::finding::{Finding, Remark, Subject};

/// Maximum number of findings that are reported one by one, and of damage records written.
const MAX_FINDINGS: usize = 1000;

/// Which packs to read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Subset {
    /// One of `of` parts. Together the parts are all packs.
    Part {
        /// Number of the part, from 1.
        index: u64,
        /// Number of parts.
        of: u64,
    },
    /// A random selection of this percentage of the packs.
    Percent(f64),
    /// Random packs of about this many bytes in total.
    Bytes(u64),
}

/// How thoroughly to check.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Read and verify every byte of every pack.
    pub read_data: bool,
    /// Restricts reading to these packs.
    pub subset: Option<Subset>,
    /// Read both tables of every pack, even if the local index cache has them.
    pub tables: bool,
}

/// Result of a check.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// Snapshots whose trees were walked.
    pub snapshots: u64,
    /// Packs listed.
    pub packs: u64,
    /// Chunks in the packs, including duplicates.
    pub chunks: u64,
    /// Bytes of packs that were read in full.
    pub bytes_read: u64,
    /// The first thousand errors, and all that concern the repository as a whole.
    pub errors: Vec<Finding>,
    /// Number of further errors.
    pub more: u64,
    /// Number of faulty objects by kind.
    pub subjects: BTreeMap<Subject, u64>,
    /// Affected snapshots, and how many of their entries are damaged.
    pub affected: Vec<(SnapshotId, u64)>,
    /// Paths of the first of these entries.
    pub paths: Vec<(SnapshotId, Vec<u8>)>,
    /// Facts that are not errors but need attention.
    pub warnings: Vec<Remark>,
}

struct Checker<'a> {
    repo: &'a Repository,
    observer: &'a dyn Observer,
    stop: &'a AtomicBool,
    report: Report,
    /// Damage to record, and why.
    damage: Vec<(Damaged, String)>,
    /// What `damage` contains.
    recorded: HashSet<Damaged>,
    /// Packs whose chunks count as lost.
    bad: HashSet<PackId>,
}

/// State of the findings at one time, to which they can be rolled back.
struct Mark {
    errors: usize,
    more: u64,
    damage: usize,
    subjects: BTreeMap<Subject, u64>,
    paths: usize,
}

/// Checks a repository.
///
/// # Errors
/// When the storage fails or the run was interrupted. Faults of the repository are in the report.
pub fn run(repo: &Repository, options: &Options, control: &Control<'_>) -> Result<Report> {
    let (observer, stop) = (control.observer(), control.cancel());
    let session = ReadSession::open(repo, repo.control().observer())?;
    let mut checker = Checker {
        repo,
        observer,
        stop,
        report: Report::default(),
        damage: Vec::new(),
        recorded: HashSet::new(),
        bad: HashSet::new(),
    };
    checker.check_small_objects()?;
    // Snapshots are listed before packs: then all packs they need are listed, even with concurrent commits.
    let listing = snapshots::list_all(repo)?;
    let index = session.fixed_index()?;
    checker.report.packs = index.repo_state().packs.len() as u64;
    checker.report.chunks = index.chunks();
    for (pack, why) in &index.unreadable {
        checker.pack_error(*pack, why);
    }
    checker.mended(&index);
    let intact = checker.check_packs(&index, options)?;
    checker.check_parity(&index, options)?;
    checker.report_recorded_packs(&index, &intact)?;
    checker.check_lineages(&listing)?;
    checker.walk_snapshots(&session, &index, &listing.snapshots)?;
    checker.write_damage_records(session.session().map_or_else(cipher::new_id, Ok)?);
    checker.report.warnings.extend(names::strays(repo.storage())?.map(Remark::ForeignFiles));
    repo.diverged().into_iter().for_each(|message| checker.error(Finding::Diverged { message }));
    session.close()?;
    Ok(checker.report)
}

impl Checker<'_> {
    fn error(&mut self, finding: Finding) {
        if self.report.errors.contains(&finding) {
            return;
        }
        let subject = finding.subject();
        // One pack can have several errors but is counted once.
        if subject != Subject::Pack {
            *self.report.subjects.entry(subject).or_default() += 1;
        }
        if subject == Subject::Repository || self.report.errors.len() < MAX_FINDINGS {
            self.report.errors.push(finding)
        } else {
            self.report.more += 1
        }
    }

    /// Returns the current state of the findings.
    fn mark(&self) -> Mark {
        Mark {
            errors: self.report.errors.len(),
            more: self.report.more,
            damage: self.damage.len(),
            subjects: self.report.subjects.clone(),
            paths: self.report.paths.len(),
        }
    }

    /// Discards all findings made since `mark`.
    fn roll_back(&mut self, mark: &Mark) {
        self.report.errors.truncate(mark.errors);
        self.report.more = mark.more;
        self.report.subjects.clone_from(&mark.subjects);
        self.report.paths.truncate(mark.paths);
        let discarded = self.damage.split_off(mark.damage.min(self.damage.len()));
        discarded.iter().for_each(|(what, _)| _ = self.recorded.remove(what));
    }

    fn add_damage(&mut self, what: Damaged, why: String) {
        if self.recorded.len() < MAX_FINDINGS && self.recorded.insert(what) {
            self.damage.push((what, why));
        }
    }

    /// Counts a pack as damaged.
    fn count_bad(&mut self, pack: PackId) {
        if self.bad.insert(pack) {
            *self.report.subjects.entry(Subject::Pack).or_default() += 1;
        }
    }

    fn pack_error(&mut self, pack: PackId, err: &Error) {
        self.count_bad(pack);
        self.add_damage(Damaged::Pack(pack), err.chain());
        self.error(Finding::of_pack(pack, err));
    }

    /// Reads packs to the requested depth. Faults become findings. Returns the packs that are intact.
    fn check_packs(&mut self, index: &Index, options: &Options) -> Result<HashSet<PackId>> {
        let read = options.read_data || options.subset.is_some();
        if !read && !options.tables {
            return self.segments().map(|()| HashSet::new());
        }
        let claims = BundleVerifier::of(self.repo)?;
        let depth = if read { packs::Depth::All } else { packs::Depth::Tables };
        let chosen = packs::choose(&index.repo_state().packs, options.subset)?;
        let bytes = chosen.iter().map(|(_, len)| len).sum();
        self.observer.notice(Event::Stage {
            name: if read { "reading packs" } else { "reading tables" },
            unit: "packs",
        });
        self.observer.notice(Event::Expect { files: chosen.len() as u64, bytes });
        let mut intact: HashSet<PackId> = chosen.iter().map(|(id, _)| *id).collect();
        let found = packs::verify_all(self.repo, index, &chosen, (depth, &claims), self.observer, self.stop)?;
        for (id, err) in found {
            intact.remove(&id);
            if err.is_missing() && !is_listed(self.repo, &id)? {
                self.report.warnings.push(Remark::MovedPack { pack: id });
                continue;
            }
            self.pack_error(id, &err);
        }
        claims.wrong().into_values().for_each(|message| self.error(Finding::DamagedSegment { message }));
        if !read {
            return Ok(HashSet::new());
        }
        self.report.bytes_read += bytes;
        Ok(intact)
    }

    /// Checks whether header bundles can be read. Their content is compared with packs where those are read.
    fn segments(&mut self) -> Result<()> {
        for (name, segment) in header_bundles::open_all(self.repo)? {
            if let Err(err) = segment {
                self.error(Finding::DamagedSegment { message: header_bundles::describe(&name, &err) });
            }
        }
        Ok(())
    }

    /// Reports packs that were recorded as damaged before and still exist, unless they were just read in full
    /// and are intact.
    fn report_recorded_packs(&mut self, index: &Index, intact: &HashSet<PackId>) -> Result<()> {
        for (name, record) in damage::list(self.repo.storage(), self.repo.suite())? {
            let Some(pack) = damage::pack_of(&name, record.as_ref()) else { continue };
            let listed = index.repo_state().packs.iter().any(|(id, _)| *id == pack);
            if !listed || self.bad.contains(&pack) {
                continue;
            }
            if intact.contains(&pack) {
                self.report.warnings.push(Remark::WholePack { pack });
                continue;
            }
            self.count_bad(pack);
            let message = record.map_or_else(|| "its record cannot be read".to_owned(), |record| record.why);
            self.error(Finding::RecordedPack { pack, message });
        }
        Ok(())
    }

    /// Writes damage records, so that the next backup stores again what its source still has. Best effort:
    /// the repository may be read-only.
    fn write_damage_records(&self, by: SnapshotId) {
        if self.repo.may_write().is_err() {
            return;
        }
        for (what, why) in &self.damage {
            let _ = damage::record(self.repo, by, *what, why.clone());
        }
    }
}

fn is_listed(repo: &Repository, id: &PackId) -> Result<bool> {
    Ok(RepoState::packs(repo.storage())?.iter().any(|(listed, _)| listed == id))
}

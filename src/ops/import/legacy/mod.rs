//! Imports the legacy backup script's directory: one snapshot for each backup of its chain, with its time and
//! kind.
//!
//! A full holds the whole state. An incremental holds what changed since the previous backup, a differential
//! what changed since the last full. Deletions are not recorded: a deleted file stays until the next full.

pub(crate) mod metadata;
pub(crate) mod names;
pub(crate) mod resume;

use std::fs::File;
use std::path::PathBuf;

use serde_bytes::ByteBuf;

use crate::error::{Error, ErrorKind, Problem, Result};
use crate::model::decode_error::DecodeError;
use crate::model::id::SnapshotId;
use crate::model::manifest::SnapshotKind;
use crate::ops::import::ImportJob;
use crate::ops::import::archive::Record;
use crate::ops::import::half_of_memory;
use crate::ops::import::legacy::metadata::ChainLink;
use crate::ops::import::legacy::names::Source;
use crate::ops::import::members::PathMap;
use crate::ops::import::tree::{Names, Tree};
use crate::progress::{Control, Event};
use crate::repo::repository::Repository;
use crate::repo::snapshots::{self, Snapshot};
use crate::util::host;

/// What to import, and how.
#[derive(Debug, Clone, Default)]
pub struct LegacyOptions {
    /// The script's directory.
    pub dir: PathBuf,
    /// The sources given to the script, relative to its working directory. If empty, member names alone
    /// decide which belong together.
    pub sources: Vec<PathBuf>,
    /// Tags of the snapshots.
    pub tags: Vec<String>,
    /// Host name to record instead of this machine's.
    pub host: Option<String>,
    /// Compression level to use instead of the repository's.
    pub level: Option<i32>,
    /// Maximum bytes of memory for names and metadata of one state, instead of half of the machine's memory.
    pub memory: Option<u64>,
    /// Read everything, write nothing.
    pub dry_run: bool,
}

/// Result of importing a chain.
#[derive(Debug, Default)]
pub struct LegacySummary {
    /// Backups that became snapshots, or would in a dry run.
    pub imported: u64,
    /// Ids of the new snapshots, oldest first.
    pub made: Vec<SnapshotId>,
    /// Backups of the chain that had been imported before.
    pub skipped: u64,
    /// What could not be imported, or only in part, and why.
    pub problems: Vec<Problem>,
}

/// State of the sources after a backup of the chain.
#[derive(Debug, Clone, Default)]
struct State {
    /// Its snapshot; `None` before the first full, and in a dry run.
    snapshot: Option<SnapshotId>,
    tree: PriorImport,
    /// An archive between the full and this state is missing.
    gap: bool,
}

#[derive(Debug, Clone)]
enum PriorImport {
    /// In memory.
    Tree(Tree),
    /// In a snapshot that an earlier import made.
    Stored(Box<Snapshot>),
}

impl Default for PriorImport {
    fn default() -> Self {
        Self::Tree(Tree::default())
    }
}

struct Import<'a> {
    job: ImportJob<'a>,
    options: &'a LegacyOptions,
    host: String,
    /// Sources to record in the snapshots.
    recorded: Vec<ByteBuf>,
    sources: Vec<Source>,
    snapshots: Vec<Snapshot>,
    summary: LegacySummary,
    /// State after the last full, and after the last backup of any kind; `None` if unknown.
    full: Option<State>,
    last: Option<State>,
}

/// Tag of a snapshot in whose chain an archive before it is missing.
const GAP: &str = "gap";

/// Imports the chain of a directory. Skips backups that were imported before.
///
/// # Errors
/// When there is no readable `metadata.json`, the repository fails or the run was interrupted. Missing or
/// damaged archives are listed in the summary.
pub fn run(repo: &Repository, options: &LegacyOptions, control: &Control<'_>) -> Result<LegacySummary> {
    let (observer, stop) = (control.observer(), control.cancel());
    if !options.dry_run {
        repo.may_write()?;
    }
    let chain = metadata::read(&options.dir)?;
    let (recorded, sources) = names::sources(&options.sources, &options.dir)?;
    let memory = options.memory.unwrap_or_else(half_of_memory);
    let mut import = Import {
        job: ImportJob { repo, observer, stop, memory, dry_run: options.dry_run },
        options,
        host: options.host.clone().unwrap_or_else(host::host_name),
        recorded,
        sources,
        snapshots: snapshots::list(repo)?,
        summary: LegacySummary::default(),
        full: None,
        last: None,
    };
    for unclear in chain.unclear {
        import.report_problem(&unclear, "an entry of backupChain has no type or time");
    }
    // Archives that were imported before are not read.
    let new = chain.links.iter().filter(|link| import.find_imported(link).is_none());
    let size = |link: &ChainLink| {
        link.archive.as_ref().and_then(|path| path.metadata().ok()).map_or(0, |meta| meta.len())
    };
    observer.notice(Event::ExpectInput { bytes: new.map(size).sum() });
    for link in &chain.links {
        import.import_link(link)?;
    }
    Ok(import.summary)
}

impl Import<'_> {
    fn report_problem(&mut self, what: &str, why: &str) {
        let problem = Problem::new(what, ErrorKind::BadInput, why);
        self.job.observer.notice(Event::Problem(&problem));
        self.summary.problems.push(problem);
    }

    /// Returns the snapshot that an earlier import made of a backup.
    fn find_imported(&self, link: &ChainLink) -> Option<&Snapshot> {
        self.snapshots.iter().find(|found| {
            let manifest = &found.manifest;
            manifest.same_set(&self.host, &self.recorded)
                && manifest.started == link.time
                && manifest.kind == link.kind
        })
    }

    fn import_link(&mut self, link: &ChainLink) -> Result<()> {
        if let Some(found) = self.find_imported(link).cloned() {
            self.summary.skipped += 1;
            let text = format!("{} exists already, as snapshot {}", link.name, found.id.short());
            self.job.observer.notice(Event::Note(&text));
            let gap = found.manifest.tags.iter().any(|tag| tag == GAP);
            let state = State { snapshot: Some(found.id), tree: PriorImport::Stored(Box::new(found)), gap };
            self.record_state(link.kind, Some(state));
            return Ok(());
        }
        self.load_prior(link.kind)?;
        let base = match link.kind {
            SnapshotKind::Full => Some(State::default()),
            SnapshotKind::Incremental => self.last.clone(),
            SnapshotKind::Differential => self.full.clone(),
        };
        let Some(base) = base else {
            self.report_problem(&link.name, "the full backup that it is based on could not be imported");
            return Ok(());
        };
        let state = match self.import_archive(link, base) {
            Ok(state) => Some(state),
            Err(err @ Error::Archive { .. }) => {
                self.report_problem(&link.name, &err.chain());
                None
            }
            Err(err) => return Err(err),
        };
        self.record_state(link.kind, state);
        Ok(())
    }

    /// Updates the states that the following backups build on.
    fn record_state(&mut self, kind: SnapshotKind, state: Option<State>) {
        match (kind, state) {
            (SnapshotKind::Full, state) => {
                self.full.clone_from(&state);
                self.last = state;
            }
            (_, Some(state)) => self.last = Some(state),
            // Every state that builds on this one lacks its content.
            (_, None) => {
                if let Some(last) = &mut self.last {
                    last.gap = true;
                }
            }
        }
    }

    /// Reads an archive on top of the state that it builds on.
    fn import_archive(&mut self, link: &ChainLink, base: State) -> Result<State> {
        let bad =
            |why: String| Error::Archive { what: "the archive".to_owned(), source: DecodeError::with(why) };
        let path = link.archive.as_ref().ok_or_else(|| bad("it is missing".to_owned()))?;
        let file = File::open(path).map_err(|err| bad(err.to_string()))?;
        let mut tags = self.options.tags.clone();
        if base.gap {
            tags.push(GAP.to_owned());
            let text = format!(
                "{}: an archive before it in the chain is missing, so it may lack changes",
                link.name
            );
            self.job.observer.notice(Event::Warning(&text));
        }
        let is_full = link.kind == SnapshotKind::Full;
        let full = self.full.as_ref().filter(|_| !is_full);
        let record = Record {
            kind: link.kind,
            parent: base.snapshot,
            based_on: full.and_then(|full| full.snapshot),
            started: link.time,
            host: self.host.clone(),
            user: None,
            sources: self.recorded.clone(),
            tags,
            description: None,
            origin: None,
            level: self.options.level,
        };
        let roots = match &full {
            Some(State { tree: PriorImport::Tree(tree), .. }) if self.sources.is_empty() => tree.roots(),
            _ => Vec::new(),
        };
        let PriorImport::Tree(tree) = base.tree else {
            return Err(bad("the archive that it is based on was not read".to_owned()));
        };
        let map = |names: Names| names::map_member(names, is_full, &roots, &self.sources);
        let paths = PathMap { map: &map, skips_parent_dirs: !is_full };
        let (imported, tree) = self.job.import_archive(Box::new(file), tree, paths, &record)?;
        for mut problem in imported.problems {
            problem.path.splice(..0, [link.name.as_bytes(), b": "].concat());
            self.summary.problems.push(problem);
        }
        self.summary.imported += 1;
        self.summary.made.extend(imported.snapshot);
        Ok(State { snapshot: imported.snapshot, tree: PriorImport::Tree(tree), gap: base.gap })
    }

    /// Loads from the repository the state that a backup of this kind builds on.
    fn load_prior(&mut self, kind: SnapshotKind) -> Result<()> {
        if kind == SnapshotKind::Full {
            return Ok(());
        }
        for state in [&mut self.full, &mut self.last].into_iter().flatten() {
            if let PriorImport::Stored(snapshot) = &state.tree {
                state.tree = PriorImport::Tree(resume::load(self.job.repo, snapshot, self.job.observer)?);
            }
        }
        Ok(())
    }
}

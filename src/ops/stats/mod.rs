//! `stats`: sizes before and after deduplication, per snapshot, and unused space. Exact: every distinct tree
//! is read once and every chunk is counted once.

mod between;
mod freed;
mod sets;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::error::{Error, Result};
use crate::model::id::SnapshotId;
pub use crate::ops::stats::between::{Between, Chunks, between};
pub use crate::ops::stats::freed::{Foresight, Freed, freed};
pub use crate::ops::stats::sets::SetLine;
use crate::progress::{Control, Event, Observer};
use crate::repo::index::Index;
use crate::repo::pack::parity;
use crate::repo::read::read_session::ReadSession;
use crate::repo::repository::Repository;
use crate::repo::snapshots::filter::SnapshotQuery;
use crate::repo::snapshots::{Snapshot, trash};
use crate::repo::walk::ref_graph::{self, ChunkTotals, Owner, RefGraph};
use crate::repo::write::pack_writer::Deltas;

/// What to measure.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Snapshots to list.
    pub choice: SnapshotQuery,
    /// Also sum up by sets of snapshots.
    pub sets: bool,
}

/// Numbers of one snapshot.
#[derive(Debug, Clone)]
pub struct SnapshotStats {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// What no older snapshot of the repository needs.
    pub added: ChunkTotals,
    /// What no other snapshot of the repository needs: forgetting this one alone frees it.
    pub unique: ChunkTotals,
}

/// Totals of all packs, exact to the byte: `needed + trash + unused + frame` equals `bytes`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Packs {
    /// Number of packs.
    pub packs: u64,
    /// Bytes of all packs.
    pub bytes: u64,
    /// Stored bytes that existing snapshots need.
    pub needed: u64,
    /// Stored bytes that only forgotten snapshots need.
    pub trash: u64,
    /// Stored bytes that no snapshot needs, including duplicate copies.
    pub unused: u64,
    /// Bytes of tables and framing.
    pub frame: u64,
    /// Bytes of parity files. Not included in the other numbers.
    pub parity: u64,
}

/// Sizes by snapshot, and totals.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Report {
    /// The chosen snapshots, oldest first.
    pub lines: Vec<SnapshotStats>,
    /// All sets of snapshots, if that was asked for, in order of their first snapshots.
    pub sets: Vec<SetLine>,
    /// Files in the chosen snapshots, counted once per snapshot.
    pub files: u64,
    /// Bytes of these files: what restoring all of them writes.
    pub raw: u64,
    /// What the chosen snapshots need, each chunk counted once.
    pub needed: ChunkTotals,
    /// Packs of the whole repository.
    pub packs: Packs,
    /// Delta blocks of the whole repository.
    pub deltas: Deltas,
    /// Chunks that are kept only because they are bases of deltas.
    pub bases: ChunkTotals,
    /// Needed chunks that no pack holds.
    pub missing: u64,
    /// Stored bytes of all blocks; `plain`: their plain bytes.
    blocks: u64,
    plain: u64,
}

/// Measures the chosen snapshots and the repository. The observer sees how many snapshots have been read.
///
/// # Errors
/// When a selector names nothing, a tree cannot be read, the storage fails or the run was interrupted.
pub fn run(repo: &Repository, options: &Options, control: &Control<'_>) -> Result<Report> {
    let (observer, stop) = (control.observer(), control.cancel());
    let mut seen = LoadedRepository::load(repo, observer, stop)?;
    let chosen = options.choice.places(repo, &seen.all)?;
    let forgotten = forgotten(repo, &seen.all, &mut seen.graph)?;
    let wanted: Vec<u32> = chosen.iter().filter_map(|at| seen.roots.get(*at).copied()).collect();
    let needs = OwnerMaps {
        all: seen.graph.owners(&seen.roots)?,
        apart: seen.graph.owners_apart(&seen.roots)?.0,
        chosen: seen.graph.owners(&wanted)?,
        trash: seen.graph.owners(&forgotten)?,
    };
    let mut report = count(&seen, &chosen, &needs)?;
    if options.sets {
        report.sets = sets::lines(&seen)?;
    }
    report.packs.parity = parity::list(repo.storage())?.iter().map(|(_, len)| len).sum();
    seen.close()?;
    Ok(report)
}

/// A repository at one moment, with what every existing snapshot needs.
struct LoadedRepository<'a> {
    session: Arc<ReadSession>,
    index: Arc<Index>,
    /// All snapshots, oldest first.
    all: Vec<Snapshot>,
    /// Roots of these snapshots.
    roots: Vec<u32>,
    graph: RefGraph<'a>,
}

impl<'a> LoadedRepository<'a> {
    fn load(repo: &Repository, observer: &dyn Observer, stop: &'a AtomicBool) -> Result<Self> {
        let session = Arc::new(ReadSession::open(repo, repo.control().observer())?);
        let all = session.snapshots()?;
        let index = session.fixed_index()?;
        for (pack, why) in &index.unreadable {
            repo.control().warn(format!("{}: pack {} is not counted", why.chain(), pack.short()));
        }
        let mut graph = RefGraph::new(repo, &index, stop)?;
        let mut roots = Vec::with_capacity(all.len());
        observer.notice(Event::Expect { files: all.len() as u64, bytes: 0 });
        for snapshot in &all {
            let root = graph.add_root(&snapshot.manifest.root);
            roots.push(root.map_err(|err| in_snapshot(&snapshot.id, err))?);
            observer.notice(Event::Done { files: 1, bytes: 0 });
        }
        Ok(Self { session, index, all, roots, graph })
    }

    fn close(self) -> Result<()> {
        self.session.end()
    }
}

fn owner(of: &[Owner], row: u32) -> Owner {
    of.get(row as usize).copied().unwrap_or(Owner::Nobody)
}

/// Adds to an error which snapshot's tree cannot be read.
fn in_snapshot(id: &SnapshotId, err: Error) -> Error {
    match err {
        Error::Missing { what } => Error::Missing { what: format!("{what} of snapshot {}", id.short()) },
        Error::Damaged { what, source } => {
            Error::Damaged { what: format!("{what} of snapshot {}", id.short()), source }
        }
        other => other,
    }
}

/// Returns the roots of snapshots that are only in the trash. Unreadable ones are skipped.
fn forgotten(repo: &Repository, all: &[Snapshot], graph: &mut RefGraph<'_>) -> Result<Vec<u32>> {
    let mut seen: BTreeSet<SnapshotId> = all.iter().map(|snapshot| snapshot.id).collect();
    let mut roots = Vec::new();
    for entry in trash::list(repo)? {
        if !seen.insert(entry.id) {
            continue;
        }
        let root = trash::read(repo, &entry).and_then(|snapshot| graph.add_root(&snapshot.manifest.root));
        match root {
            Ok(root) => roots.push(root),
            Err(err) if err.is_damage() => {
                repo.control().warn(format!(
                    "{}: data that only the forgotten snapshot {} needs is counted as unused",
                    err.chain(),
                    entry.id.short()
                ));
            }
            Err(err) => return Err(err),
        }
    }
    Ok(roots)
}

impl Report {
    /// Returns about how many bytes deltas save, assuming the compression ratio of all other blocks.
    pub fn saved(&self) -> u64 {
        let Deltas { plain, stored, .. } = self.deltas;
        let others = self.plain.saturating_sub(plain).max(1);
        let whole = u128::from(plain) * u128::from(self.blocks.saturating_sub(stored)) / u128::from(others);
        u64::try_from(whole).unwrap_or(u64::MAX).saturating_sub(stored)
    }
}

/// Which snapshots need each index entry.
struct OwnerMaps {
    /// Of all existing snapshots, oldest first.
    all: Vec<Owner>,
    /// The same without entries that are needed only as bases.
    apart: Vec<Owner>,
    /// Of the chosen snapshots.
    chosen: Vec<Owner>,
    /// Of snapshots in the trash.
    trash: Vec<Owner>,
}

fn count(seen: &LoadedRepository<'_>, chosen: &[usize], needs: &OwnerMaps) -> Result<Report> {
    let LoadedRepository { index, all, .. } = seen;
    let mut report = Report { missing: seen.graph.missing(), ..Report::default() };
    let (mut added, mut unique) =
        (vec![ChunkTotals::default(); all.len()], vec![ChunkTotals::default(); all.len()]);
    let credit = |amounts: &mut [ChunkTotals], number: u32, share: ChunkTotals| {
        if let Some(amount) = amounts.get_mut(number as usize) {
            amount.add(share);
        }
    };
    ref_graph::each_block(index, &mut |block| {
        report.blocks += block.stored;
        report.plain += block.plain;
        report.deltas.count(block.codec, block.plain, block.stored);
    })?;
    ref_graph::each_copy(index, &mut |row, share| {
        if owner(&needs.all, row) != Owner::Nobody && owner(&needs.apart, row) == Owner::Nobody {
            report.bases.add(share);
        }
        match owner(&needs.all, row) {
            Owner::Only(number) => {
                credit(&mut added, number, share);
                credit(&mut unique, number, share);
                report.packs.needed += share.stored;
            }
            Owner::First(number) => {
                credit(&mut added, number, share);
                report.packs.needed += share.stored;
            }
            Owner::Nobody if owner(&needs.trash, row) != Owner::Nobody => report.packs.trash += share.stored,
            Owner::Nobody => report.packs.unused += share.stored,
        }
        if owner(&needs.chosen, row) != Owner::Nobody {
            report.needed.add(share);
        }
    })?;
    for (_, len) in &index.repo_state().packs {
        report.packs.packs += 1;
        report.packs.bytes += len;
    }
    report.packs.frame = report.packs.bytes.saturating_sub(report.blocks);
    for at in chosen {
        let (Some(snapshot), Some(added), Some(unique)) = (all.get(*at), added.get(*at), unique.get(*at))
        else {
            continue;
        };
        let counts = &snapshot.manifest.counts;
        // Saturating: these numbers are from a manifest, which may hold anything.
        for files in [counts.files_new, counts.files_changed, counts.files_unchanged] {
            report.files = report.files.saturating_add(files);
        }
        report.raw = report.raw.saturating_add(counts.bytes_total);
        report.lines.push(SnapshotStats { snapshot: snapshot.clone(), added: *added, unique: *unique });
    }
    Ok(report)
}

//! `repair index`: rebuilds the local index cache from the packs' own tables.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};
use crate::model::id::PackId;
use crate::progress::{Control, Event, Observer};
use crate::repo::index::Index;
use crate::repo::pack::header_bundles::BundleVerifier;
use crate::repo::pack::{header_bundles, packs};
use crate::repo::read::read_session::ReadSession;
use crate::repo::repository::Repository;
use crate::repo::sessions::session::RepoState;

/// Result of rebuilding the index cache.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// Packs listed.
    pub packs: u64,
    /// Chunks in the packs, including duplicates.
    pub chunks: u64,
    /// Packs of which neither table can be read, and why.
    pub unreadable: Vec<String>,
    /// Packs for which the local index cache differs from their tables.
    pub wrong: u64,
    /// Header bundles (segments) that are damaged or contradict their packs.
    pub segments: Vec<WrongSegment>,
}

/// A header bundle (segment) that is damaged or contradicts its packs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongSegment {
    /// What is wrong; includes the object's name.
    pub why: String,
    /// Whether it was removed. False in a dry run, and if removing is not permitted.
    pub removed: bool,
}

/// Rebuilds the index cache. In a dry run only compares it with the packs.
///
/// # Errors
/// When the storage fails, another process uses the index cache, or the run was interrupted.
pub fn run(repo: &Repository, dry_run: bool, control: &Control<'_>) -> Result<Report> {
    let (observer, stop) = (control.observer(), control.cancel());
    let session = ReadSession::open(repo, observer)?;
    let repo_state = session.read_state()?;
    let report =
        if dry_run { compare(repo, &repo_state, observer, stop)? } else { rebuild(repo, repo_state)? };
    session.close()?;
    Ok(report)
}

fn rebuild(repo: &Repository, repo_state: RepoState) -> Result<Report> {
    repo.reset_index_cache()?;
    let index = Index::load_from_packs(repo, repo_state)?;
    // gc may have deleted packs since they were listed: they are not lost.
    let still = still_listed(repo, !index.unreadable.is_empty())?;
    let unreadable = index.unreadable.iter().filter(|(pack, _)| still.contains(pack));
    let unreadable: Vec<String> = unreadable.map(|(_, err)| err.chain()).collect();
    let claims = BundleVerifier::of(repo)?;
    for (number, pack) in (0..).zip(index.packs()) {
        match index.table(number) {
            Ok(kept) => claims.compare(&pack.id, pack.len, &kept.table)?,
            Err(err) if err.is_damage() => {}
            Err(err) => return Err(err),
        }
    }
    let wrong = claims.wrong().into_iter();
    let segments =
        wrong.map(|(name, why)| WrongSegment { why, removed: header_bundles::remove(repo, &name) }).collect();
    Ok(Report { packs: index.packs().len() as u64, chunks: index.chunks(), unreadable, wrong: 0, segments })
}

/// Returns the packs that are listed now. Lists them only if `wanted`.
fn still_listed(repo: &Repository, wanted: bool) -> Result<HashSet<PackId>> {
    let packs = if wanted { RepoState::packs(repo.storage())? } else { Vec::new() };
    Ok(packs.into_iter().map(|(id, _)| id).collect())
}

fn compare(
    repo: &Repository,
    repo_state: &RepoState,
    observer: &dyn Observer,
    stop: &AtomicBool,
) -> Result<Report> {
    let mut report = Report { packs: repo_state.packs.len() as u64, ..Report::default() };
    let claims = BundleVerifier::of(repo)?;
    observer.notice(Event::Stage { name: "reading tables", unit: "packs" });
    observer.notice(Event::Expect { files: report.packs, bytes: 0 });
    for (id, len) in &repo_state.packs {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        observer.notice(Event::Done { files: 1, bytes: 0 });
        let table = match packs::read_table(repo.storage(), repo.suite(), id, *len) {
            Ok(table) => table,
            // Moved or deleted by gc since it was listed.
            Err(err) if err.is_missing() => continue,
            Err(err) if err.is_damage() => {
                if still_listed(repo, true)?.contains(id) {
                    report.unreadable.push(err.chain());
                }
                continue;
            }
            Err(err) => return Err(err),
        };
        report.chunks += table.blocks.iter().map(|block| block.chunks.len() as u64).sum::<u64>();
        claims.compare(id, *len, &table)?;
        let kept = repo.index_cache().and_then(|index_cache| index_cache.table_of(id));
        report.wrong += u64::from(kept.is_some_and(|kept| kept != (*len, table)));
    }
    let wrong = claims.wrong().into_values();
    report.segments = wrong.map(|why| WrongSegment { why, removed: false }).collect();
    Ok(report)
}

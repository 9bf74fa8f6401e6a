//! `repair snapshots`: replaces a snapshot that lost data by what is left of it, and moves the original to
//! the trash.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use serde_bytes::ByteBuf;

use crate::error::{Error, Result};
use crate::model::id::{ChunkId, PackId, SnapshotId};
use crate::model::manifest::Manifest;
use crate::model::records::AuditAct;
pub use crate::ops::repair::rewrite::LostEntries;
use crate::ops::repair::rewrite::Rewriter;
use crate::progress::{Control, Event, Observer};
use crate::repo::audit::Noted;
use crate::repo::commit::write_session;
use crate::repo::index::Index;
use crate::repo::read::read_session::ReadSession;
use crate::repo::repository::Repository;
use crate::repo::sessions::session::{RepoState, Session};
use crate::repo::snapshots::{Snapshot, trash};
use crate::repo::write::chunk_writer::{ChunkWriter, CompressionPolicy};
use crate::repo::{audit, snapshots};

/// Tag in a manifest's `extra`: the id of the snapshot of which this one is the remainder.
const REPAIRED: u16 = 32;

/// Which snapshots to repair, and whether to write.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Prefixes of snapshot ids. If empty, all snapshots.
    pub ids: Vec<String>,
    /// Change nothing, only report.
    pub dry_run: bool,
}

/// What happened to a snapshot that is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotFate {
    /// It was replaced by this one; `None` in a dry run.
    Replaced(Option<SnapshotId>),
    /// Its manifest was damaged and was restored from this machine's cache.
    Recovered,
    /// No entry of it is left.
    Empty,
    /// It is intact again, because a backup has stored the missing data. It is kept.
    Healed,
    /// Another process has forgotten it in the meantime. It remains forgotten.
    Forgotten,
    /// Its manifest cannot be read, and this machine's cache does not have it.
    Unreadable(String),
}

/// A snapshot that is damaged.
#[derive(Debug)]
pub struct Item {
    /// Its id, or the name of an unreadable manifest.
    pub id: String,
    /// What happened to it.
    pub fate: SnapshotFate,
    /// What it lost.
    pub losses: LostEntries,
}

/// Result of repairing snapshots.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// Snapshots examined.
    pub examined: u64,
    /// Those that are damaged.
    pub items: Vec<Item>,
}

/// A snapshot to examine, and whether its manifest comes from this machine's cache.
type Candidate = (Snapshot, bool);

/// Repairs snapshots.
///
/// # Errors
/// When the storage fails, a prefix matches no snapshot, or the run was interrupted.
pub fn run(repo: &Repository, options: &Options, control: &Control<'_>) -> Result<Report> {
    let (observer, stop) = (control.observer(), control.cancel());
    if !options.dry_run {
        repo.may_write()?;
    }
    let mut report = Report::default();
    let session = ReadSession::open(repo, observer)?;
    let candidates = candidates(repo, &options.ids, &mut report)?;
    report.examined = (candidates.len() + report.items.len()) as u64;
    let damaged = find_damaged((repo, observer), &session.fixed_index()?, &candidates, stop)?;
    session.close()?;
    let incomplete = damaged.iter().filter(|(_, losses)| losses.entries > 0).count() as u64;
    observer.notice(Event::Stage { name: "writing what is left", unit: "snapshots" });
    observer.notice(Event::Expect { files: incomplete, bytes: 0 });
    for (at, losses) in damaged {
        let Some((snapshot, kept)) = candidates.get(at) else { continue };
        let lost = losses.entries > 0;
        if *kept {
            if !options.dry_run {
                recover_manifest(repo, &snapshot.id)?;
            }
            let (id, fate) = (snapshot.id.hex(), SnapshotFate::Recovered);
            report.items.push(Item { id, fate, losses: LostEntries::default() });
        }
        if lost {
            let (fate, losses) = if options.dry_run {
                (SnapshotFate::Replaced(None), losses)
            } else {
                replace((repo, observer), snapshot, stop)?
            };
            observer.notice(Event::Done { files: 1, bytes: 0 });
            report.items.push(Item { id: snapshot.id.hex(), fate, losses });
        }
    }
    Ok(report)
}

/// Returns the snapshots to examine. An unreadable manifest is taken from this machine's cache, if it has it.
fn candidates(repo: &Repository, ids: &[String], report: &mut Report) -> Result<Vec<Candidate>> {
    let listing = snapshots::list_all(repo)?;
    let all = listing.snapshots.iter().map(|snapshot| snapshot.id.hex());
    let names: Vec<String> = all.chain(listing.unreadable.iter().map(|(name, _)| name.clone())).collect();
    for id in ids {
        let lower = id.to_ascii_lowercase();
        let found: Vec<&String> = names.iter().filter(|name| name.starts_with(&lower)).collect();
        let why = match found.as_slice() {
            [_] => continue,
            [] => "no id begins with it".to_owned(),
            several => snapshots::ambiguous(several.iter().map(|name| (*name).clone())),
        };
        return Err(Error::NoSnapshot { selector: id.clone(), why });
    }
    let wanted =
        |name: &str| ids.is_empty() || ids.iter().any(|id| name.starts_with(&id.to_ascii_lowercase()));
    let mut chosen = Vec::new();
    for snapshot in listing.snapshots.into_iter().filter(|snapshot| wanted(&snapshot.id.hex())) {
        // A cached manifest must not hide that the repository's own is damaged.
        let kept = match snapshots::verify(repo, &snapshot.id.hex()) {
            Ok(()) => false,
            Err(err) if err.is_missing() => continue,
            Err(err) if err.is_damage() => true,
            Err(err) => return Err(err),
        };
        chosen.push((snapshot, kept));
    }
    for (name, err) in listing.unreadable.into_iter().filter(|(name, _)| wanted(name)) {
        let kept = SnapshotId::parse(&name).ok().and_then(|id| snapshots::cached(repo, &id));
        if let Some(snapshot) = kept {
            chosen.push((snapshot, true));
            continue;
        }
        let fate = SnapshotFate::Unreadable(err.chain());
        report.items.push(Item { id: name, fate, losses: LostEntries::default() });
    }
    Ok(chosen)
}

/// Returns which of the snapshots need to be replaced, and what they lost.
fn find_damaged(
    (repo, observer): (&Repository, &dyn Observer),
    index: &Arc<Index>,
    candidates: &[Candidate],
    stop: &AtomicBool,
) -> Result<Vec<(usize, LostEntries)>> {
    let mut rewriter = Rewriter::new((repo, observer), index, stop)?;
    let mut damaged = Vec::new();
    observer.notice(Event::Stage { name: "following snapshots", unit: "snapshots" });
    observer.notice(Event::Expect { files: candidates.len() as u64, bytes: 0 });
    for (at, (snapshot, kept)) in candidates.iter().enumerate() {
        observer.notice(Event::Part { bytes: snapshot.manifest.counts.bytes_total });
        let (_, losses) = rewriter.snapshot(&snapshot.manifest)?;
        observer.notice(Event::Done { files: 1, bytes: 0 });
        if losses.entries > 0 || *kept {
            damaged.push((at, losses));
        }
    }
    Ok(damaged)
}

/// Replaces a damaged manifest by this machine's cached copy.
fn recover_manifest(repo: &Repository, id: &SnapshotId) -> Result<()> {
    let Some(bytes) = repo.cache().object(&id.hex()) else { return Ok(()) };
    let (session, _) = write_session::open(repo)?;
    let noted = audit::note_return(repo, AuditAct::Repair, id, session.id)?;
    trash::replace_damaged(repo, &session, id, &bytes, &noted)?;
    session.close()
}

/// Commits what is left of a snapshot, then forgets the original.
fn replace(
    (repo, observer): (&Repository, &dyn Observer),
    original: &Snapshot,
    stop: &AtomicBool,
) -> Result<(SnapshotFate, LostEntries)> {
    observer.notice(Event::Part { bytes: original.manifest.counts.bytes_total });
    // W1: the new snapshot is named after this session.
    let (session, repo_state) = write_session::open(repo)?;
    let packs = repo_state.packs.clone();
    let index = Arc::new(Index::load(repo, repo_state)?);
    let stored = AtomicU64::new(0);
    let (root, losses) = std::thread::scope(|scope| {
        let mut rewriter = Rewriter::new((repo, observer), &index, stop)?;
        let policy = CompressionPolicy { level: repo.config().level, harder: 0 };
        rewriter.chunk_writer =
            Some(ChunkWriter::start(scope, repo, session.id, Arc::clone(&index), policy, &stored)?);
        let rewritten = rewriter.snapshot(&original.manifest);
        match rewriter.chunk_writer.take() {
            Some(chunk_writer) => chunk_writer.finish(rewritten).map(|(rewritten, _)| rewritten),
            None => rewritten,
        }
    })?;
    let now: HashSet<PackId> = RepoState::packs(repo.storage())?.into_iter().map(|(id, _)| id).collect();
    if losses.entries > 0 && packs.iter().any(|(id, _)| !now.contains(id)) {
        let why = "another process moved packs in the meantime: run the repair again";
        return Err(Error::Refused(why.into()));
    }
    // A backup may have stored the missing chunks again since they were looked for.
    if losses.entries == 0 {
        session.close()?;
        return Ok((SnapshotFate::Healed, losses));
    }
    let Some(root) = root else {
        session.close()?;
        return Ok((SnapshotFate::Empty, losses));
    };
    let id = match earlier_replacement(repo, &original.id, root)? {
        Some(id) => id,
        None => {
            commit(repo, &session, &build_manifest(original, root, &losses))?;
            session.id
        }
    };
    let noted = audit::note_snapshots(repo, AuditAct::Repair, &[original.id])?;
    let fate = match trash::forget(repo, &session, &original.id, &noted) {
        // Forgetting takes precedence: the repaired snapshot must not remain either.
        Err(err) if err.is_missing() => {
            forget_own(repo, &session, &id, &noted)?;
            SnapshotFate::Forgotten
        }
        other => other.map(|()| SnapshotFate::Replaced(Some(id)))?,
    };
    session.close()?;
    Ok((fate, losses))
}

fn forget_own(repo: &Repository, session: &Session, id: &SnapshotId, noted: &Noted) -> Result<()> {
    match trash::forget(repo, session, id, noted) {
        Err(err) if err.is_missing() => Ok(()),
        other => other,
    }
}

/// Returns the replacement made by an earlier run that was interrupted before it forgot the original.
fn earlier_replacement(
    repo: &Repository,
    original: &SnapshotId,
    root: ChunkId,
) -> Result<Option<SnapshotId>> {
    let tag = (REPAIRED, ByteBuf::from(original.as_bytes().to_vec()));
    let all = snapshots::list_all(repo)?.snapshots;
    let mut found =
        all.iter().filter(|found| found.manifest.root == root && found.manifest.extra.contains(&tag));
    Ok(found.next().map(|found| found.id))
}

fn build_manifest(original: &Snapshot, root: ChunkId, losses: &LostEntries) -> Manifest {
    let mut manifest = Manifest { root, ..original.manifest.clone() };
    manifest.counts.errors = manifest.counts.errors.saturating_add(losses.entries);
    manifest.program = concat!("snap ", env!("CARGO_PKG_VERSION")).to_owned();
    manifest.set_tag(REPAIRED, Some(original.id.as_bytes().to_vec()));
    manifest
}

fn commit(repo: &Repository, session: &Session, manifest: &Manifest) -> Result<()> {
    if snapshots::commit_under(repo, session, manifest)? {
        return Ok(());
    }
    // W3: there is a fence. Nothing was forgotten, so nothing is lost by giving up.
    Err(Error::Refused("another process considered this run dead: run it again".into()))
}

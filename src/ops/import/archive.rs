//! Reads one archive on top of a tree, and commits the result.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_bytes::ByteBuf;

use crate::error::{Error, Problem, Result};
use crate::model::entry::Time;
use crate::model::id::{ChunkId, SnapshotId};
use crate::model::manifest::{Counts, Manifest, SnapshotKind};
use crate::ops::import::ImportJob;
use crate::ops::import::decompress;
use crate::ops::import::members::{MemberReader, PathMap};
use crate::ops::import::tree::Tree;
use crate::repo::commit::reachability;
use crate::repo::commit::write_session::{self, ParentTrust};
use crate::repo::index::Index;
use crate::repo::sessions::session::RepoState;
use crate::repo::write::chunk_sink::ChunkSink;
use crate::repo::write::chunk_writer::{ChunkWriter, CompressionPolicy};
use crate::repo::write::put_chunk::UNKNOWN_OWNER;
use crate::repo::{commit, snapshots};
use crate::util::host;

/// Fields of the manifest that do not come from the archive.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) kind: SnapshotKind,
    pub(super) parent: Option<SnapshotId>,
    pub(super) based_on: Option<SnapshotId>,
    pub(super) started: Time,
    pub(super) host: String,
    /// `None`: this process's user.
    pub(super) user: Option<String>,
    pub(super) sources: Vec<ByteBuf>,
    pub(super) tags: Vec<String>,
    pub(super) description: Option<String>,
    pub(super) origin: Option<String>,
    pub(super) level: Option<i32>,
}

/// Result of importing one archive.
pub(super) struct ImportedArchive {
    /// `None` in a dry run.
    pub(super) snapshot: Option<SnapshotId>,
    pub(super) root: ChunkId,
    pub(super) counts: Counts,
    pub(super) problems: Vec<Problem>,
}

/// An archive's content, stored but not committed.
struct Stored {
    root: ChunkId,
    counts: Counts,
    problems: Vec<Problem>,
    tree: Tree,
}

impl ImportJob<'_> {
    /// Reads an archive on top of the tree of the record's parent, and commits.
    pub(super) fn import_archive(
        &self,
        archive: Box<dyn Read + Send>,
        base: Tree,
        paths: PathMap<'_>,
        record: &Record,
    ) -> Result<(ImportedArchive, Tree)> {
        let repo = self.repo;
        let (session, repo_state) = if self.dry_run {
            (None, RepoState::read(repo.storage(), repo.suite(), |_| Ok(()))?)
        } else {
            write_session::open(repo).map(|(session, repo_state)| (Some(session), repo_state))?
        };
        let index = Arc::new(Index::load(repo, repo_state)?);
        for (pack, why) in &index.unreadable {
            repo.control().warn(format!("{why}: pack {} is not used", pack.short()));
        }
        if let (Some(parent), Some(_)) = (&record.parent, &session) {
            self.verify_parent(parent, &index)?;
        }
        let session_id = session.as_ref().map(|session| session.id);
        let Stored { root, counts, problems, tree } =
            self.store(archive, base, paths, session_id, &index, record.level)?;
        let mut snapshot = None;
        if let Some(session) = session {
            snapshot = Some(commit::commit(repo, session, &build_manifest(record, root, counts)?)?);
        }
        Ok((ImportedArchive { snapshot, root, counts, problems }, tree))
    }

    /// Verifies that the parent may be reused (W2): the tree in memory refers to chunks that were found in
    /// earlier sessions.
    fn verify_parent(&self, parent: &SnapshotId, index: &Arc<Index>) -> Result<()> {
        let gone = || {
            Error::Refused(format!(
                "snapshot {}, on which the next one is based, was removed in the meantime: run it again",
                parent.short()
            ))
        };
        let is_complete = match write_session::trust(self.repo, index.repo_state(), &[*parent])? {
            ParentTrust::Whole => true,
            ParentTrust::PerChunk => {
                let parent = snapshots::load(self.repo, &parent.hex())?.ok_or_else(gone)?;
                reachability::is_complete(self.repo, index, &parent.manifest.root)?
            }
            ParentTrust::Gone => false,
        };
        if is_complete { Ok(()) } else { Err(gone()) }
    }

    /// Stores the content of an archive, and the tree. Directories of all owners share blocks.
    fn store(
        &self,
        archive: Box<dyn Read + Send>,
        base: Tree,
        paths: PathMap<'_>,
        session: Option<SnapshotId>,
        index: &Arc<Index>,
        level: Option<i32>,
    ) -> Result<Stored> {
        let repo = self.repo;
        let input = decompress::start(archive, self.stop, self.observer)?;
        let stored = AtomicU64::new(0);
        let policy = CompressionPolicy { level: level.unwrap_or(repo.config().level), harder: 0 };
        let mut result = std::thread::scope(|scope| {
            let out = match session {
                Some(session) => {
                    let index = Arc::clone(index);
                    ChunkSink::Writer(ChunkWriter::start(scope, repo, session, index, policy, &stored)?)
                }
                None => ChunkSink::counting(index),
            };
            let mut members = MemberReader::new(*self, out, base);
            let result = members.read_all(input, paths).and_then(|()| {
                let MemberReader { tree, out, .. } = &mut members;
                tree.store(repo.hasher(), &mut |bytes| {
                    out.chunks().put_tree(UNKNOWN_OWNER, repo.hasher(), bytes, &[])
                })
            });
            let MemberReader { tree, out, problems, read, .. } = members;
            let ((root, counts), written) = out.finish(result)?;
            let counts = Counts {
                bytes_read: read,
                bytes_added: written.added,
                errors: problems.len() as u64,
                ..counts
            };
            Ok::<_, Error>(Stored { root, counts, problems, tree })
        })?;
        result.counts.bytes_stored = stored.load(Ordering::Relaxed);
        Ok(result)
    }
}

fn build_manifest(record: &Record, root: ChunkId, counts: Counts) -> Result<Manifest> {
    let mut manifest = Manifest {
        kind: record.kind,
        parent: record.parent,
        based_on: record.based_on,
        started: record.started,
        ended: Time::now().max(record.started),
        host: record.host.clone(),
        user: record.user.clone().unwrap_or_else(host::user_name),
        sources: record.sources.clone(),
        tags: record.tags.clone(),
        root,
        counts,
        partial: false,
        program: concat!("snap ", env!("CARGO_PKG_VERSION")).to_owned(),
        extra: Vec::new(),
    };
    // An archive records neither that it is complete nor who could access its root.
    manifest.set_root(true, false);
    manifest.set_description(record.description.as_deref()).map_err(|why| Error::Usage(why.to_string()))?;
    manifest.set_origin(record.origin.as_deref());
    Ok(manifest)
}

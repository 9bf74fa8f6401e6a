//! Selected snapshots, opened together for reading.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::error::{Error, Result};
use crate::fs::filter::components;
use crate::model::id::ChunkId;
use crate::progress::Observer;
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::read::read_session::ReadSession;
use crate::repo::repository::Repository;
use crate::repo::snapshots::Snapshot;
use crate::repo::snapshots::filter::SnapshotQuery;
use crate::repo::walk::dir_reader::WalkLimits;
use crate::repo::walk::multi_walk::{Bounds, Tree};
use crate::util::bitset::BitSet;

/// Snapshots, and a session that reads them.
#[derive(Debug)]
pub struct SnapshotSet {
    /// Oldest first; bit sets of snapshots use positions in this list.
    pub snapshots: Vec<Snapshot>,
    /// Reads their trees.
    pub reader: ChunkReader,
    session: Arc<ReadSession>,
}

impl SnapshotSet {
    /// Opens a session, and the snapshots that `choose` selects from all by position, oldest first.
    ///
    /// # Errors
    /// When a selector matches nothing, or the repository cannot be read.
    pub fn open(
        repo: &Repository,
        observer: &dyn Observer,
        choose: impl FnOnce(&[Snapshot]) -> Result<Vec<usize>>,
    ) -> Result<Self> {
        // R1: the session exists before the listing.
        let session = Arc::new(ReadSession::open(repo, observer)?);
        let all = session.snapshots()?;
        let chosen: BitSet = choose(&all)?.into_iter().collect();
        let snapshots: Vec<Snapshot> =
            (0..).zip(all).filter(|(at, _)| chosen.has(*at)).map(|(_, snapshot)| snapshot).collect();
        let ids: Vec<_> = snapshots.iter().map(|snapshot| snapshot.id).collect();
        session.set_snapshots(&ids)?;
        let reader = ChunkReader::following(&session)?;
        Ok(Self { snapshots, reader, session })
    }

    /// Opens the snapshots of a query.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_query(repo: &Repository, observer: &dyn Observer, choice: &SnapshotQuery) -> Result<Self> {
        Self::open(repo, observer, |all| choice.places(repo, all))
    }

    /// Creates another reader of the same session.
    ///
    /// # Errors
    /// When none can be created.
    pub fn new_reader(&self) -> Result<ChunkReader> {
        ChunkReader::following(&self.session)
    }

    /// Returns the session that reads them.
    pub fn session(&self) -> &Arc<ReadSession> {
        &self.session
    }

    /// Returns their root trees.
    pub fn roots(&self) -> Vec<Tree> {
        roots(&self.snapshots)
    }

    /// Returns the limits of a walk through all of them.
    pub fn bounds<'a>(&self, stop: &'a AtomicBool) -> Bounds<'a> {
        Bounds { budget: WalkLimits::of_all(self.snapshots.iter().map(|one| &one.manifest.counts)), stop }
    }

    /// Returns for each snapshot the set of those with the same host and sources.
    pub fn group_by_source(&self) -> Vec<Arc<BitSet>> {
        let mut sets: HashMap<_, BitSet> = HashMap::new();
        let key =
            |snapshot: &'_ Snapshot| (snapshot.manifest.host.clone(), snapshot.manifest.sources.clone());
        for (number, snapshot) in self.snapshots.iter().enumerate() {
            sets.entry(key(snapshot)).or_default().insert(number);
        }
        let sets: HashMap<_, _> = sets.into_iter().map(|(key, set)| (key, Arc::new(set))).collect();
        self.snapshots.iter().filter_map(|snapshot| sets.get(&key(snapshot)).cloned()).collect()
    }

    /// Closes the session. If one of [`Self::new_reader`] is left, it stays open until that is dropped.
    ///
    /// # Errors
    /// When it is still visible.
    pub fn close(self) -> Result<()> {
        drop(self.reader);
        Arc::into_inner(self.session).map_or(Ok(()), ReadSession::close)
    }
}

/// Returns the root trees of snapshots, numbered from 0 in this order.
pub fn roots(snapshots: &[Snapshot]) -> Vec<Tree> {
    let mut places: HashMap<ChunkId, usize> = HashMap::new();
    let mut sets: Vec<(ChunkId, BitSet)> = Vec::new();
    for (number, snapshot) in snapshots.iter().enumerate() {
        let root = snapshot.manifest.root;
        let at = *places.entry(root).or_insert(sets.len());
        if at == sets.len() {
            sets.push((root, BitSet::default()));
        }
        if let Some((_, set)) = sets.get_mut(at) {
            set.insert(number);
        }
    }
    sets.into_iter().map(|(id, set)| Tree { id, among: Arc::new(set) }).collect()
}

/// Normalizes a stored path as typed by a user: removes leading, trailing and double slashes, and `.` parts.
///
/// # Errors
/// When it contains `..`.
pub fn stored_path(given: &[u8]) -> Result<Vec<u8>> {
    let parts: Vec<&[u8]> = components(given).collect();
    if parts.contains(&b"..".as_slice()) {
        let given = String::from_utf8_lossy(given);
        return Err(Error::Usage(format!("{given}: paths in snapshots do not contain '..'")));
    }
    Ok(parts.join(&b'/'))
}

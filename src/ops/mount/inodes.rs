//! Inode numbers, and what they refer to. Numbers are derived from names with the repository's key, so they
//! are the same in every mount. Only inodes that the kernel knows of are kept, until it forgets them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::codec::crypto::hash::ChunkHasher;
use crate::codec::tree::dir::link_group;
use crate::model::entry::Entry;
use crate::model::id::{ChunkId, SnapshotId};
use crate::ops::mount::virtual_dirs::Virtual;
use crate::repo::snapshots::Snapshot;

/// Inode number of the root of the mount.
pub const TOP: u64 = 1;
/// Lower numbers are reserved.
const FIRST: u64 = 1 << 10;

/// Derives inode numbers.
#[derive(Debug)]
pub(super) struct Numbers(ChunkHasher);

impl Numbers {
    pub(super) fn new(hasher: &ChunkHasher) -> Self {
        Self(hasher.clone())
    }

    fn number(&self, what: &[u8], parts: &[&[u8]]) -> u64 {
        self.0.tag(what, &parts.concat()).max(FIRST)
    }

    /// Returns a virtual entry's number. A link's target is part of it: with another target it is another
    /// inode, as the kernel caches targets.
    pub(super) fn of_virtual(&self, parent: u64, name: &str, what: &Virtual) -> u64 {
        let target = match what {
            Virtual::Link(target) => target.as_bytes(),
            _ => b"",
        };
        self.number(b"inode above", &[&parent.to_le_bytes(), name.as_bytes(), b"/", target])
    }

    pub(super) fn of_root(&self, snapshot: &SnapshotId) -> u64 {
        self.number(b"inode root", &[snapshot.as_bytes()])
    }

    /// Returns an entry's number. Hard links of a file have the same.
    pub(super) fn of_entry(&self, snapshot: &SnapshotId, parent: u64, entry: &Entry) -> u64 {
        if let Some(group) = link_group(entry).filter(|_| !entry.is_dir()) {
            return self.number(b"inode linked", &[snapshot.as_bytes(), group.as_bytes()]);
        }
        self.number(b"inode", &[&parent.to_le_bytes(), &entry.name])
    }
}

/// A directory that the kernel knows of.
#[derive(Debug, Clone)]
pub(super) struct Dir {
    /// The snapshot that it is in.
    pub(super) snapshot: Arc<Snapshot>,
    /// Id of its tree.
    pub(super) tree: ChunkId,
    /// Its inode number.
    pub(super) ino: u64,
    /// Its parent's inode number.
    pub(super) parent: u64,
}

/// What an inode number refers to.
#[derive(Debug, Clone)]
pub(super) enum Known {
    Virtual(Arc<Virtual>),
    /// The root of a snapshot.
    Root(Arc<Snapshot>),
    /// An entry, by its position in the directory.
    Entry(Dir, u64),
}

#[derive(Debug)]
enum Node {
    Root {
        snapshot: Arc<Snapshot>,
        name: Box<[u8]>,
        lookups: u64,
    },
    Dir {
        dir: Dir,
        name: Box<[u8]>,
        at: u64,
        lookups: u64,
    },
    /// A file with several hard links: its directory may be forgotten first.
    Linked {
        dir: Dir,
        at: u64,
        lookups: u64,
    },
}

/// A file with one name. Kept small, as there may be many.
#[derive(Debug)]
struct File {
    parent: u64,
    at: u32,
    lookups: u32,
}

/// All inodes that the kernel knows of.
#[derive(Debug, Default)]
pub(super) struct Inodes {
    /// Virtual directories and links. There are few, and they are never forgotten.
    virtuals: HashMap<u64, Arc<Virtual>>,
    nodes: HashMap<u64, Node>,
    files: HashMap<u64, File>,
}

impl Inodes {
    pub(super) fn new() -> Self {
        let virtuals = HashMap::from([(TOP, Arc::new(Virtual::Top))]);
        Self { virtuals, ..Self::default() }
    }

    pub(super) fn add_virtual(&mut self, ino: u64, what: &Virtual) {
        self.virtuals.insert(ino, Arc::new(what.clone()));
    }

    pub(super) fn add_root(&mut self, ino: u64, snapshot: &Arc<Snapshot>, name: &str) {
        let new = || Node::Root { snapshot: Arc::clone(snapshot), name: name.as_bytes().into(), lookups: 0 };
        *self.nodes.entry(ino).or_insert_with(new).lookups() += 1;
    }

    /// Counts one more lookup of an entry. Returns false if the number belongs to another inode. Such a
    /// collision is very unlikely; one of the two entries cannot be shown then.
    pub(super) fn add_entry(&mut self, ino: u64, dir: &Dir, place: u64, entry: &Entry) -> bool {
        let linked = entry.meta.link != 0 && !entry.is_dir();
        if let (false, false, Ok(at)) = (entry.is_dir(), linked, u32::try_from(place)) {
            let file = self.files.entry(ino).or_insert(File { parent: dir.ino, at, lookups: 0 });
            if file.parent != dir.ino || file.at != at || file.lookups == u32::MAX {
                return false;
            }
            file.lookups += 1;
            return true;
        }
        let new = || match &entry.kind {
            crate::model::entry::Kind::Dir { tree } => Node::Dir {
                dir: Dir { snapshot: Arc::clone(&dir.snapshot), tree: *tree, ino, parent: dir.ino },
                name: entry.name.as_slice().into(),
                at: place,
                lookups: 0,
            },
            _ => Node::Linked { dir: dir.clone(), at: place, lookups: 0 },
        };
        let node = self.nodes.entry(ino).or_insert_with(new);
        let same = match (&*node, &entry.kind) {
            (Node::Dir { dir: known, at, .. }, crate::model::entry::Kind::Dir { tree }) => {
                known.tree == *tree && known.parent == dir.ino && *at == place
            }
            (Node::Linked { dir: known, .. }, _) => known.snapshot.id == dir.snapshot.id && linked,
            _ => false,
        };
        if same {
            *node.lookups() += 1;
        }
        same
    }

    /// Subtracts lookups that the kernel has forgotten.
    pub(super) fn forget(&mut self, ino: u64, times: u64) {
        if let Some(file) = self.files.get_mut(&ino) {
            file.lookups = file.lookups.saturating_sub(u32::try_from(times).unwrap_or(u32::MAX));
            if file.lookups == 0 {
                self.files.remove(&ino);
            }
        } else if let Some(node) = self.nodes.get_mut(&ino) {
            let lookups = node.lookups();
            *lookups = lookups.saturating_sub(times);
            if *lookups == 0 {
                self.nodes.remove(&ino);
            }
        }
        // Releases the memory of a large tree when it is forgotten.
        if self.files.capacity() > 1 << 16 && self.files.len() < self.files.capacity() / 8 {
            self.files.shrink_to(self.files.len() * 2);
        }
    }

    pub(super) fn known(&self, ino: u64) -> Option<Known> {
        if let Some(file) = self.files.get(&ino) {
            return Some(Known::Entry(self.dir(file.parent)?, u64::from(file.at)));
        }
        match self.nodes.get(&ino) {
            Some(Node::Root { snapshot, .. }) => Some(Known::Root(Arc::clone(snapshot))),
            Some(Node::Dir { dir, at, .. }) => Some(Known::Entry(self.dir(dir.parent)?, *at)),
            Some(Node::Linked { dir, at, .. }) => Some(Known::Entry(dir.clone(), *at)),
            None => self.virtuals.get(&ino).cloned().map(Known::Virtual),
        }
    }

    /// Returns a directory of a snapshot.
    pub(super) fn dir(&self, ino: u64) -> Option<Dir> {
        match self.nodes.get(&ino)? {
            // The parent of a snapshot's root is not used.
            Node::Root { snapshot, .. } => {
                let tree = snapshot.manifest.root;
                Some(Dir { snapshot: Arc::clone(snapshot), tree, ino, parent: TOP })
            }
            Node::Dir { dir, .. } => Some(dir.clone()),
            Node::Linked { .. } => None,
        }
    }

    /// Returns a directory's path, beginning with the snapshot's name. Only for messages.
    pub(super) fn path(&self, mut ino: u64) -> Vec<u8> {
        let mut names: Vec<&[u8]> = Vec::new();
        while let Some(node) = self.nodes.get(&ino) {
            match node {
                Node::Root { name, .. } => {
                    names.push(name);
                    break;
                }
                Node::Dir { dir, name, .. } => {
                    names.push(name);
                    ino = dir.parent;
                }
                Node::Linked { .. } => break,
            }
        }
        names.reverse();
        names.join(&b'/')
    }

    /// Returns the directories of all known files with one name.
    pub(super) fn parents(&self) -> HashSet<u64> {
        self.files.values().map(|file| file.parent).collect()
    }

    /// Returns whether an inode is a file with one name.
    pub(super) fn is_file(&self, ino: u64) -> bool {
        self.files.contains_key(&ino)
    }

    /// Returns the number of inodes, without virtual ones.
    pub(super) fn count(&self) -> usize {
        self.files.len() + self.nodes.len()
    }
}

impl Node {
    fn lookups(&mut self) -> &mut u64 {
        match self {
            Self::Root { lookups, .. } | Self::Dir { lookups, .. } | Self::Linked { lookups, .. } => lookups,
        }
    }
}

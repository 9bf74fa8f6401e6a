//! A tree that is built in any order, as an archive's members are not sorted. Metadata is kept in memory,
//! content is stored as it is read.

use std::collections::btree_map::Iter;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::codec::crypto::hash::ChunkHasher;
use crate::codec::tree::dir::DirBuilder;
use crate::error::Result;
use crate::model::decode_error::DecodeError;
use crate::model::entry::{Content, ContentPart, Entry, Kind, Meta, Xattr, XattrValue, flags};
use crate::model::id::ChunkId;
use crate::model::manifest::Counts;

/// The components of a path, from the root down.
pub(super) type Names = Vec<Vec<u8>>;

/// One entry without its name. A directory's tree id is not known until the tree is complete.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) meta: Meta,
    /// Number of its hard link group; 0: none.
    group: u64,
    /// Number of the archive it came from: see [`Tree::begin_archive`].
    round: u32,
    below: BTreeMap<Box<[u8]>, Arc<Node>>,
}

impl Node {
    pub(super) fn new(kind: Kind, meta: Meta) -> Self {
        Self { kind, meta, group: 0, round: 0, below: BTreeMap::new() }
    }

    /// Makes a directory that no member describes.
    pub(super) fn ancestor() -> Self {
        Self::new(no_tree(), Meta { mode: 0o755, flags: flags::ANCESTOR_ONLY, ..Meta::default() })
    }

    /// Makes it one of the hard links of a group.
    pub(super) fn in_group(mut self, group: u64) -> Self {
        self.group = group;
        self
    }

    /// Adds an entry to a directory that is not shared.
    pub(super) fn add(&mut self, name: Vec<u8>, node: Self) {
        self.below.insert(name.into(), Arc::new(node));
    }

    fn is_dir(&self) -> bool {
        matches!(self.kind, Kind::Dir { .. })
    }

    /// Returns the bytes of memory that it takes under this name, excluding entries below it.
    fn weight(&self, name: &[u8]) -> u64 {
        let content = |content: &Content| match content {
            Content::Parts(parts) => parts.capacity() * size_of::<ContentPart>(),
            Content::List(_) => 0,
        };
        let own = match &self.kind {
            Kind::File { content: parts, .. } => content(parts),
            Kind::Symlink { target } => target.len(),
            _ => 0,
        };
        let xattr = |xattr: &Xattr| {
            let value = match &xattr.value {
                XattrValue::Inline(bytes) => bytes.len(),
                XattrValue::Content { content: parts, .. } => content(parts),
            };
            size_of::<Xattr>() + xattr.name.len() + value
        };
        // Estimated overhead of the allocator and the map.
        let overhead = 96 + name.len();
        (size_of::<Self>() + overhead + own + self.meta.xattrs.iter().map(xattr).sum::<usize>()) as u64
    }
}

impl Drop for Node {
    /// Not recursive: thousands of nested directories would overflow the stack.
    fn drop(&mut self) {
        let mut todo: Vec<Arc<Node>> = std::mem::take(&mut self.below).into_values().collect();
        while let Some(node) = todo.pop() {
            if let Some(mut node) = Arc::into_inner(node) {
                todo.extend(std::mem::take(&mut node.below).into_values());
            }
        }
    }
}

/// A tree. Cheap to clone: common parts are shared.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    root: Arc<Node>,
    groups: u64,
    round: u32,
    /// Bytes of memory, approximately.
    pub(super) weight: u64,
}

impl Default for Tree {
    fn default() -> Self {
        Self { root: Arc::new(Node::ancestor()), groups: 0, round: 0, weight: 0 }
    }
}

impl Tree {
    /// Makes a tree from a root whose hard link groups are numbered up to `groups`.
    pub(super) fn of(root: Node, groups: u64) -> Self {
        let weight = weight_below(&root);
        Self { root: Arc::new(root), groups, round: 0, weight }
    }

    /// Starts the next archive: entries inserted from now on belong to it.
    pub(super) fn begin_archive(&mut self) {
        self.round += 1;
    }

    /// Adds an entry. A later one replaces an earlier one, and missing parent directories are created.
    /// Returns true if it replaced a directory that was not empty.
    pub(super) fn insert(&mut self, names: &Names, mut node: Node) -> Result<bool, DecodeError> {
        let nameless = DecodeError::because("an entry has no name");
        let (name, above) = names.split_last().ok_or(nameless)?;
        node.round = self.round;
        let dir = self.make_dir(above)?;
        let mut freed = 0;
        let mut lost = false;
        if let Some(old) = dir.below.get_mut(name.as_slice()) {
            freed = old.weight(name);
            if old.is_dir() && node.is_dir() {
                node.below = std::mem::take(&mut Arc::make_mut(old).below);
            } else if old.is_dir() {
                freed += weight_below(old);
                lost = !old.below.is_empty();
            }
        }
        let taken = node.weight(name);
        dir.below.insert(name.as_slice().into(), Arc::new(node));
        self.weight = (self.weight + taken).saturating_sub(freed);
        Ok(lost)
    }

    /// Adds a hard link to an entry. Returns true as [`Self::insert`] does.
    pub(super) fn link(&mut self, names: &Names, to: &Names) -> Result<bool, DecodeError> {
        let bad = |what: &str| DecodeError::with(format!("it is a hard link to {}, {what}", to_text(to)));
        match self.get(to) {
            None => return Err(bad("which does not exist")),
            Some(target) if target.is_dir() => return Err(bad("which is a directory")),
            Some(_) if names == to => return Ok(false),
            Some(_) => {}
        }
        let next = self.groups + 1;
        let (name, above) = to.split_last().ok_or_else(|| bad("which is not a file"))?;
        let target = self.make_dir(above)?.below.get_mut(name.as_slice());
        let target = target.map(Arc::make_mut).ok_or_else(|| bad("which does not exist"))?;
        let is_new_group = target.group == 0;
        if is_new_group {
            target.group = next;
        }
        let node = target.clone();
        self.groups += u64::from(is_new_group);
        self.insert(names, node)
    }

    /// Returns the top-level names.
    pub(super) fn roots(&self) -> Vec<Vec<u8>> {
        self.root.below.keys().map(|name| name.to_vec()).collect()
    }

    fn get(&self, names: &Names) -> Option<&Node> {
        names.iter().try_fold(&*self.root, |dir, name| dir.below.get(name.as_slice()).map(|node| &**node))
    }

    /// Returns the directory of these names, and creates it if it is missing. Another entry in its place is
    /// an error, unless it came from an earlier archive: then it is replaced by a directory.
    fn make_dir(&mut self, names: &[Vec<u8>]) -> Result<&mut Node, DecodeError> {
        let Self { root, round, weight, .. } = self;
        let mut dir = Arc::make_mut(root);
        for (depth, name) in names.iter().enumerate() {
            let must_create = match dir.below.get(name.as_slice()) {
                Some(node) if node.is_dir() => false,
                Some(node) if node.round == *round => {
                    let way = names.get(..=depth).unwrap_or(names);
                    return Err(DecodeError::with(format!(
                        "it is below {}, which is not a directory",
                        to_text(way)
                    )));
                }
                _ => true,
            };
            if must_create {
                let mut ancestor = Node::ancestor();
                ancestor.round = *round;
                *weight += ancestor.weight(name);
                dir.below.insert(name.as_slice().into(), Arc::new(ancestor));
            }
            let next = dir.below.get_mut(name.as_slice());
            dir = next.map(Arc::make_mut).ok_or(DecodeError::because("a directory is missing"))?;
        }
        Ok(dir)
    }

    /// Stores the directories bottom-up. Returns the root, and the number of entries.
    pub(super) fn store(
        &self,
        hasher: &ChunkHasher,
        put: &mut dyn FnMut(&[u8]) -> Result<ChunkId>,
    ) -> Result<(ChunkId, Counts)> {
        let links = self.link_ids(hasher);
        let mut counts = Counts::default();
        let mut open = vec![(None, DirBuilder::default())];
        for step in Walk::new(&self.root) {
            let (name, node) = match step {
                Step::Leave => {
                    end_dir(&mut open, hasher, put)?;
                    continue;
                }
                Step::Node(name, node) => (name, node),
            };
            let mut meta = node.meta.clone();
            meta.link = links.get(&node.group).copied().unwrap_or(0);
            let entry = Entry { name: name.to_vec(), kind: node.kind.clone(), meta };
            match entry.kind {
                Kind::Dir { .. } => {
                    counts.dirs += 1;
                    open.push((Some(entry), DirBuilder::default()));
                    continue;
                }
                Kind::File { size, .. } => {
                    let is_new = node.round == self.round;
                    counts.files_new += u64::from(is_new);
                    counts.files_unchanged += u64::from(!is_new);
                    counts.bytes_total = counts.bytes_total.saturating_add(size);
                }
                _ => counts.others += 1,
            }
            if let Some((_, builder)) = open.last_mut() {
                builder.push(&entry, hasher, put)?;
            }
        }
        let root = open.pop().map(|(_, builder)| builder).unwrap_or_default();
        Ok((root.finish(put)?, counts))
    }

    /// Returns the stored id of each hard link group, derived from its first path as in a backup. A group
    /// of one name has none.
    fn link_ids(&self, hasher: &ChunkHasher) -> HashMap<u64, u128> {
        let mut found: HashMap<u64, (u128, u64)> = HashMap::new();
        let mut path = Vec::new();
        let mut ends = Vec::new();
        for step in Walk::new(&self.root).take_while(|_| self.groups > 0) {
            let Step::Node(name, node) = step else {
                path.truncate(ends.pop().unwrap_or(0));
                continue;
            };
            let end = path.len();
            if end > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            if node.group != 0 {
                found.entry(node.group).or_insert_with(|| (hasher.long_tag(b"link", &path).max(1), 0)).1 += 1;
            }
            if node.is_dir() { ends.push(end) } else { path.truncate(end) }
        }
        found.into_iter().filter(|(_, (_, names))| *names > 1).map(|(group, (tag, _))| (group, tag)).collect()
    }
}

/// Ends the innermost directory and adds it to its parent.
fn end_dir(
    open: &mut Vec<(Option<Entry>, DirBuilder)>,
    hasher: &ChunkHasher,
    put: &mut dyn FnMut(&[u8]) -> Result<ChunkId>,
) -> Result<()> {
    let Some((entry, builder)) = open.pop() else { return Ok(()) };
    let tree = builder.finish(put)?;
    if let (Some(mut entry), Some((_, above))) = (entry, open.last_mut()) {
        entry.kind = Kind::Dir { tree };
        above.push(&entry, hasher, put)?;
    }
    Ok(())
}

/// Walks all entries in order of names. A directory comes before its entries.
struct Walk<'a>(Vec<Iter<'a, Box<[u8]>, Arc<Node>>>);

enum Step<'a> {
    Node(&'a [u8], &'a Node),
    /// The innermost directory ends.
    Leave,
}

impl<'a> Walk<'a> {
    fn new(root: &'a Node) -> Self {
        Self(vec![root.below.iter()])
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Step<'a>;

    fn next(&mut self) -> Option<Step<'a>> {
        let Some((name, node)) = self.0.last_mut()?.next() else {
            self.0.pop();
            return (!self.0.is_empty()).then_some(Step::Leave);
        };
        if node.is_dir() {
            self.0.push(node.below.iter());
        }
        Some(Step::Node(name, node))
    }
}

fn weight_below(node: &Node) -> u64 {
    let weights = Walk::new(node).map(|step| match step {
        Step::Node(name, node) => node.weight(name),
        Step::Leave => 0,
    });
    weights.sum()
}

/// Returns a directory whose tree is not known yet.
pub(super) fn no_tree() -> Kind {
    Kind::Dir { tree: ChunkId::new([0; 32]) }
}

fn to_text(names: &[Vec<u8>]) -> String {
    String::from_utf8_lossy(&names.join(&b'/')).into_owned()
}

//! `du`: shows which directories hold the bytes: restored size, stored size, and growth. All chosen snapshots
//! are walked together and each distinct tree is read once. Each chunk counts once, in the directory where
//! the walk meets it first.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::codec::crypto::hash::ChunkType;
use crate::codec::tree::dir::{LinkGroup, link_group};
use crate::error::{Error, Result};
use crate::model::entry::{Content, ContentPart, Entry};
use crate::model::id::ChunkId;
use crate::progress::{Control, Event, Observer};
use crate::repo::index::{BlockAt, Index};
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::repository::Repository;
use crate::repo::snapshots::filter::SnapshotQuery;
use crate::repo::snapshots::{self, Snapshot};
use crate::repo::walk::file_parts;
use crate::repo::walk::multi_walk::{EntryVersion, Visitor};
use crate::repo::walk::snapshot_set::SnapshotSet;
use crate::repo::walk::{dir_reader, multi_walk, ref_graph, snapshot_set};
use crate::util::bitset::BitSet;

/// What to measure.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Snapshots to measure: `SNAPSHOT[:path]`, all with the same path. If there are no selectors, all
    /// snapshots that the filter admits.
    pub choice: SnapshotQuery,
    /// Stored path to start from, if no selector has one.
    pub below: Vec<u8>,
    /// Growth is what this snapshot does not need. Without it: what the oldest chosen one of each host and
    /// sources does not need.
    pub since: Option<String>,
    /// Levels of directories that are listed separately below the start.
    pub depth: usize,
    /// Also determine what no other snapshot needs. Reads the trees of all snapshots.
    pub unique: bool,
}

/// Totals of a directory and everything below it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DirTotals {
    /// Files in the newest chosen snapshot of each host and sources. A file with several hard links counts
    /// once.
    pub files: u64,
    /// Bytes of these files.
    pub size: u64,
    /// Bytes of files in the snapshots from which growth counts.
    pub size_before: u64,
    /// Stored bytes that the chosen snapshots need here, for files and directories. Chunks that several
    /// directories need count in the first.
    pub stored: u64,
    /// Those of `stored` that the snapshots from which growth counts do not need.
    pub grown: u64,
    /// Those of `stored` that no other snapshot needs.
    pub unique: u64,
}

/// One directory of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirUsage {
    /// Stored path; empty for a whole snapshot.
    pub path: Vec<u8>,
    /// Its totals.
    pub sums: DirTotals,
}

/// Stored and restored sizes by directory.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Report {
    /// Number of chosen snapshots.
    pub snapshots: usize,
    /// Snapshots from which growth counts. `None` if only one was chosen and no other was given.
    pub since: Option<Vec<Snapshot>>,
    /// The start and all listed directories below it, sorted by path.
    pub lines: Vec<DirUsage>,
    /// Needed chunks that no pack holds.
    pub missing: u64,
}

/// The roles of the snapshots that are walked.
struct SnapshotRoles {
    chosen: BitSet,
    /// Those whose file sizes are counted.
    newest: BitSet,
    since: BitSet,
    others: BitSet,
}

/// Measures directories.
///
/// # Errors
/// When a selector names nothing, no snapshot holds the path, a tree is damaged, the storage fails, or the
/// run was interrupted.
pub fn run(repo: &Repository, options: &Options, control: &Control<'_>) -> Result<Report> {
    let (observer, stop) = (control.observer(), control.cancel());
    let (mut chosen, mut since, mut start) = (HashSet::new(), None, Vec::new());
    let mut past = SnapshotSet::open(repo, observer, |all| {
        let (choice, path) = choose(repo, all, options)?;
        start = path;
        if let Some(selector) = &options.since {
            since = Some(snapshots::resolve(repo, all, selector)?.0.id);
        }
        let places = choice.places(repo, all)?;
        chosen.extend(places.iter().filter_map(|at| all.get(*at)).map(|one| one.id));
        let wanted = |(_, one): &(usize, &Snapshot)| {
            options.unique || chosen.contains(&one.id) || since == Some(one.id)
        };
        Ok(all.iter().enumerate().filter(wanted).map(|(at, _)| at).collect())
    })?;
    let numbers = |wanted: &dyn Fn(&Snapshot) -> bool| -> BitSet {
        past.snapshots.iter().enumerate().filter(|(_, one)| wanted(one)).map(|(at, _)| at).collect()
    };
    let mut roles = SnapshotRoles {
        chosen: numbers(&|one| chosen.contains(&one.id)),
        newest: BitSet::default(),
        since: numbers(&|one| since == Some(one.id)),
        others: numbers(&|one| options.unique && !chosen.contains(&one.id)),
    };
    for set in past.group_by_source() {
        let ours: Vec<usize> = set.iter().filter(|at| roles.chosen.has(*at)).collect();
        let (first, last) = (ours.first().copied(), ours.last().copied());
        last.into_iter().for_each(|at| _ = roles.newest.insert(at));
        if since.is_none() {
            first.filter(|_| first != last).into_iter().for_each(|at| _ = roles.since.insert(at));
        }
    }
    let report = count(&mut past, &roles, &start, options.depth, observer, stop)?;
    let grows = !roles.since.is_empty();
    let bases = past.snapshots.iter().enumerate().filter(|(at, _)| roles.since.has(*at));
    let since = grows.then(|| bases.map(|(_, one)| one.clone()).collect());
    past.close()?;
    Ok(Report { since, snapshots: chosen.len(), ..report })
}

/// Returns whole snapshots, and the one path that all selectors share.
fn choose(repo: &Repository, all: &[Snapshot], options: &Options) -> Result<(SnapshotQuery, Vec<u8>)> {
    let mut start = snapshot_set::stored_path(&options.below)?;
    let mut choice = options.choice.clone();
    for (number, selector) in choice.selectors.iter_mut().enumerate() {
        let (snapshot, path) = snapshots::resolve(repo, all, &*selector)?;
        let path = snapshot_set::stored_path(&path.unwrap_or_default())?;
        let path = if path.is_empty() { snapshot_set::stored_path(&options.below)? } else { path };
        if number > 0 && path != start {
            return Err(Error::Usage(format!("{selector}: only one directory can be given")));
        }
        start = path;
        *selector = snapshot.id.hex();
    }
    Ok((choice, start))
}

fn count(
    past: &mut SnapshotSet,
    roles: &SnapshotRoles,
    start: &[u8],
    depth: usize,
    observer: &dyn Observer,
    stop: &AtomicBool,
) -> Result<Report> {
    let mut bounds = past.bounds(stop);
    let mut trees = past.roots();
    // To know whether snapshots need a chunk at all, the rest of the snapshots must be walked as well.
    let all = !roles.since.is_empty() || !roles.others.is_empty();
    let base = if all { b"" } else { start };
    let mut first = Vec::new();
    if !start.is_empty() {
        let mut lost = |_: &[u8], err| Err(err);
        let mut way = past.bounds(stop);
        first = multi_walk::look_up(&mut past.reader, trees.clone(), start, &mut lost, &mut way)?;
        if !all {
            trees = multi_walk::trees_of(&first);
        }
        if !first.iter().any(|version| version.among.meets(&roles.chosen)) {
            let path = String::from_utf8_lossy(start);
            return Err(Error::NotFound {
                what: format!("none of the selected snapshots has '{path}'"),
                help: "`Repository::list_dir(SNAPSHOT)` lists the entries of a snapshot, \
                       `Repository::find(NAME)` searches all snapshots"
                    .to_owned(),
            });
        }
    }
    let index = Arc::clone(past.reader.index());
    let mut counter = Counter {
        roles,
        observer,
        reader: past.new_reader()?,
        start,
        depth,
        nodes: vec![DirUsage { path: start.to_vec(), sums: DirTotals::default() }],
        places: HashMap::from([(start.to_vec(), 0)]),
        rows: Rows {
            index: Arc::clone(&index),
            rows: Vec::new(),
            made: Vec::new(),
            bases: HashMap::new(),
            missing: HashSet::new(),
        },
        links: HashSet::new(),
    };
    if !all {
        counter.entries(Some(0), &first)?;
    }
    multi_walk::walk(&mut past.reader, base, trees, &mut counter, &mut bounds)?;
    counter.finish()
}

/// Collects what the walk finds.
struct Counter<'a> {
    roles: &'a SnapshotRoles,
    observer: &'a dyn Observer,
    reader: ChunkReader,
    start: &'a [u8],
    depth: usize,
    nodes: Vec<DirUsage>,
    /// Number of each listed directory in `nodes`.
    places: HashMap<Vec<u8>, u32>,
    rows: Rows,
    /// Hard link groups that were counted, with their snapshot.
    links: HashSet<(usize, LinkGroup)>,
}

/// What is known about each index entry.
struct Rows {
    index: Arc<Index>,
    rows: Vec<Row>,
    /// As `rows`, for bases of deltas. A base counts for its deltas if no snapshot needs its own content.
    made: Vec<Row>,
    /// Index entries of the bases of each delta block.
    bases: HashMap<BlockAt, Vec<usize>>,
    missing: HashSet<ChunkId>,
}

/// Which snapshots need a chunk: the directory it counts for plus one (0: no chosen snapshot needs it), and
/// flags.
#[derive(Clone, Copy, Default)]
struct Row(u32);

const SINCE: u32 = 1 << 31;
const OTHERS: u32 = 1 << 30;
const NODE: u32 = OTHERS - 1;

impl Rows {
    fn need(
        &mut self,
        kind: ChunkType,
        id: &ChunkId,
        node: Option<u32>,
        roles: &SnapshotRoles,
        among: &BitSet,
    ) -> Result<()> {
        let Some(copy) = self.index.copies(kind, id)?.into_iter().next() else {
            self.missing.insert(*id);
            return Ok(());
        };
        mark(&mut self.rows, copy.number, node, roles, among);
        if copy.delta {
            for base in self.bases_of(kind, copy.location.block)? {
                mark(&mut self.made, base, node, roles, among);
            }
        }
        Ok(())
    }

    fn bases_of(&mut self, kind: ChunkType, at: BlockAt) -> Result<Vec<usize>> {
        if let Some(rows) = self.bases.get(&at) {
            return Ok(rows.clone());
        }
        let mut rows = Vec::new();
        for base in self.index.bases(at)? {
            rows.extend(self.index.base_copies(kind, &base)?.first().map(|copy| copy.number));
        }
        self.bases.insert(at, rows.clone());
        Ok(rows)
    }

    /// Returns which snapshots need an index entry, for its own content or as a base.
    fn of(&self, row: usize) -> u32 {
        let known = |rows: &[Row]| rows.get(row).map_or(0, |Row(row)| *row);
        let (own, made) = (known(&self.rows), known(&self.made));
        let node = if own & NODE == 0 { made & NODE } else { own & NODE };
        node | (own | made) & (SINCE | OTHERS)
    }
}

fn mark(rows: &mut Vec<Row>, at: usize, node: Option<u32>, roles: &SnapshotRoles, among: &BitSet) {
    if at >= rows.len() {
        rows.resize(at + 1, Row::default());
    }
    let Some(Row(row)) = rows.get_mut(at) else { return };
    if let Some(node) = node
        && *row & NODE == 0
        && among.meets(&roles.chosen)
    {
        *row |= (node + 1) & NODE;
    }
    if among.meets(&roles.since) {
        *row |= SINCE;
    }
    if among.meets(&roles.others) {
        *row |= OTHERS;
    }
}

impl Visitor for Counter<'_> {
    fn path(&mut self, path: &[u8], versions: &[EntryVersion]) -> Result<bool> {
        self.observer.notice(Event::Working { path });
        let node = if path == self.start { Some(0) } else { self.node_of(above(path)) };
        let is_dir =
            |version: &EntryVersion| version.entry.is_dir() && version.among.meets(&self.roles.chosen);
        let below =
            parts(path).checked_sub(parts(self.start)).filter(|below| (1..=self.depth).contains(below));
        if node.is_some() && below.is_some() && versions.iter().any(is_dir) {
            let number = u32::try_from(self.nodes.len()).ok().filter(|number| *number < NODE - 1);
            let number = number.ok_or_else(|| Error::Refused("there are too many directories".into()))?;
            self.nodes.push(DirUsage { path: path.to_vec(), sums: DirTotals::default() });
            self.places.insert(path.to_vec(), number);
        }
        self.entries(node, versions)?;
        Ok(true)
    }

    fn piece(&mut self, dir: &[u8], id: &ChunkId, among: &BitSet) -> Result<()> {
        let node = self.node_of(dir);
        self.rows.need(ChunkType::Tree, id, node, self.roles, among)
    }
}

impl Counter<'_> {
    /// Returns the innermost listed directory that is or contains this one; `None` outside of the start.
    fn node_of(&self, dir: &[u8]) -> Option<u32> {
        let mut dir = dir;
        loop {
            if let Some(node) = self.places.get(dir) {
                return Some(*node);
            }
            if dir.is_empty() {
                return None;
            }
            dir = above(dir);
        }
    }

    fn entries(&mut self, node: Option<u32>, versions: &[EntryVersion]) -> Result<()> {
        for EntryVersion { entry, among } in versions {
            if let Some(node) = node {
                self.sizes(node, entry, among);
            }
            for (size, content) in entry.contents() {
                self.content(node, size, content, among)?;
            }
        }
        Ok(())
    }

    /// Adds the size of a file once for each snapshot whose sizes are counted.
    fn sizes(&mut self, node: u32, entry: &Entry, among: &BitSet) {
        if !entry.is_file() {
            return;
        }
        let (mut now, mut before) = (among.common(&self.roles.newest), among.common(&self.roles.since));
        if let Some(link) = link_group(entry) {
            let links = &mut self.links;
            let mut new = |of: &BitSet, mark: usize| {
                let both = among.iter().filter(|number| of.has(*number));
                both.filter(|number| links.insert((number * 2 + mark, link))).count() as u64
            };
            (now, before) = (new(&self.roles.newest, 0), new(&self.roles.since, 1));
        }
        if let Some(DirUsage { sums, .. }) = self.nodes.get_mut(node as usize) {
            sums.files = sums.files.saturating_add(now);
            sums.size = sums.size.saturating_add(entry.size().saturating_mul(now));
            sums.size_before = sums.size_before.saturating_add(entry.size().saturating_mul(before));
        }
    }

    fn content(&mut self, node: Option<u32>, size: u64, content: &Content, among: &BitSet) -> Result<()> {
        let (rows, roles) = (&mut self.rows, self.roles);
        for id in dir_reader::list_pieces(&mut self.reader, content)? {
            rows.need(ChunkType::Tree, &id, node, roles, among)?;
        }
        file_parts::each_part(&mut self.reader, size, content, &mut |part| match part {
            ContentPart::Chunk { id, .. } => rows.need(ChunkType::Data, &id, node, roles, among),
            ContentPart::Hole { .. } => Ok(()),
        })
    }

    /// Attributes the stored bytes to directories, and adds each directory's totals to those above it.
    fn finish(mut self) -> Result<Report> {
        let (rows, nodes) = (&self.rows, &mut self.nodes);
        ref_graph::each_copy(&rows.index, &mut |row, share| {
            let row = rows.of(row as usize);
            let Some(node) = (row & NODE).checked_sub(1) else { return };
            let Some(DirUsage { sums, .. }) = nodes.get_mut(node as usize) else { return };
            sums.stored += share.stored;
            if row & SINCE == 0 {
                sums.grown += share.stored;
            }
            if row & OTHERS == 0 {
                sums.unique += share.stored;
            }
        })?;
        // A directory comes before those in it.
        for at in (1..self.nodes.len()).rev() {
            let Some(DirUsage { path, sums }) = self.nodes.get(at).cloned() else { continue };
            if let Some(line) = self.node_of(above(&path)).and_then(|node| self.nodes.get_mut(node as usize))
            {
                line.sums.add(&sums);
            }
        }
        let lines = self.nodes;
        Ok(Report { snapshots: 0, since: None, lines, missing: self.rows.missing.len() as u64 })
    }
}

impl DirTotals {
    fn add(&mut self, other: &Self) {
        self.files = self.files.saturating_add(other.files);
        self.size = self.size.saturating_add(other.size);
        self.size_before = self.size_before.saturating_add(other.size_before);
        self.stored += other.stored;
        self.grown += other.grown;
        self.unique += other.unique;
    }
}

/// Returns the parent directory of a path.
fn above(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').map_or(&[], |at| path.split_at(at).0)
}

fn parts(path: &[u8]) -> usize {
    if path.is_empty() { 0 } else { path.iter().filter(|byte| **byte == b'/').count() + 1 }
}

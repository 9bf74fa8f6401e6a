//! Counts the files and bytes of a part of a snapshot, for progress displays.
//! Runs concurrently with the work.

use std::collections::HashSet;
use std::sync::atomic::AtomicBool;

use crate::codec::tree::dir::{LinkGroup, link_group};
use crate::model::entry::{Entry, Kind};
use crate::model::id::ChunkId;
use crate::progress::{Event, Observer};
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::walk::dir_reader::WalkLimits;
use crate::repo::walk::tree_walk::TreeWalk;

/// Entries between two progress events.
const ENTRIES_PER_EVENT: u64 = 1024;

#[derive(Debug, Default)]
struct Counted {
    files: u64,
    bytes: u64,
    /// Hard links whose bytes have been counted.
    links: HashSet<LinkGroup>,
}

impl Counted {
    fn add(&mut self, entry: &Entry) {
        self.files += u64::from(entry.is_file());
        if link_group(entry).is_none_or(|group| self.links.insert(group)) {
            self.bytes = self.bytes.saturating_add(entry.size());
        }
    }

    fn report(&self, observer: &dyn Observer, complete: bool) {
        observer.notice(Event::Found { files: self.files, bytes: self.bytes, complete });
    }
}

/// Reports the amount of work below a tree, until all is counted or the work is over. A read error only ends
/// the count; the work itself will report it.
pub fn report(
    reader: &mut ChunkReader,
    (root, limits): (ChunkId, WalkLimits),
    is_selected: &dyn Fn(&[u8], bool) -> bool,
    observer: &dyn Observer,
    stop: &AtomicBool,
) {
    let mut walk = TreeWalk::new(root, limits, ()).until(stop);
    let (mut counted, mut entries) = (Counted::default(), 0_u64);
    while let Ok(next) = walk.next_entry(reader) {
        let Some(entry) = next else { return counted.report(observer, true) };
        entries += 1;
        if entries % ENTRIES_PER_EVENT == 0 {
            counted.report(observer, false);
        }
        match entry.kind {
            Kind::Dir { tree } if walk.enter(tree, ()).is_err() => return,
            Kind::Dir { .. } => {}
            _ if is_selected(walk.path(), false) => counted.add(&entry),
            _ => {}
        }
    }
}

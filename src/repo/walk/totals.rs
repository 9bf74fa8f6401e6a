//! Counts the files and bytes of a part of a snapshot, for progress displays.
//! Runs concurrently with the work.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::codec::tree::dir::{LinkGroup, link_group};
use crate::error::Result;
use crate::model::entry::{Entry, Kind};
use crate::model::id::ChunkId;
use crate::progress::{Event, Observer};
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::walk::dir_reader::{DirReader, MAX_NESTING, WalkLimits};

/// Entries between two progress events.
const OFTEN: u64 = 1024;

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

    fn tell(&self, observer: &dyn Observer, complete: bool) {
        observer.notice(Event::Found { files: self.files, bytes: self.bytes, complete });
    }
}

/// Reports the amount of work below a tree, until all is counted or the work is over. A read error only ends
/// the count; the work itself will report it.
pub fn below(
    reader: &mut ChunkReader,
    (root, mut budget): (ChunkId, WalkLimits),
    takes: &dyn Fn(&[u8], bool) -> bool,
    observer: &dyn Observer,
    over: &AtomicBool,
) {
    let mut counted = Counted::default();
    if let Ok(true) = walk(reader, (root, &mut budget), takes, &mut counted, &mut |counted, entries| {
        if entries % OFTEN == 0 {
            counted.tell(observer, false);
        }
        !over.load(Ordering::Relaxed)
    }) {
        counted.tell(observer, true);
    }
}

/// Returns whether all of it could be walked.
fn walk(
    reader: &mut ChunkReader,
    (root, budget): (ChunkId, &mut WalkLimits),
    takes: &dyn Fn(&[u8], bool) -> bool,
    counted: &mut Counted,
    goes_on: &mut dyn FnMut(&Counted, u64) -> bool,
) -> Result<bool> {
    let mut open = vec![(Vec::new(), DirReader::new(root))];
    let mut entries = 0;
    while let Some((base, dir)) = open.last_mut() {
        let Some(entry) = dir.next(reader)? else {
            open.pop();
            continue;
        };
        let path =
            if base.is_empty() { entry.name.clone() } else { [base, b"/".as_slice(), &entry.name].concat() };
        budget.take(&path, &entry)?;
        entries += 1;
        if !goes_on(counted, entries) {
            return Ok(false);
        }
        match entry.kind {
            Kind::Dir { .. } if open.len() >= MAX_NESTING => return Ok(false),
            Kind::Dir { tree } => open.push((path, DirReader::new(tree))),
            _ if takes(&path, false) => counted.add(&entry),
            _ => {}
        }
    }
    Ok(true)
}

//! Chooses the snapshots and files of a drill.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::codec::crypto::{cipher, hash};
use crate::error::{Error, Result};
use crate::model::entry::Entry;
use crate::ops::drill::{Chosen, Options, Sample};
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::read::read_session::ReadSession;
use crate::repo::snapshots::{self, Snapshot};
use crate::repo::walk::files;

pub(super) fn choose(reading: &Arc<ReadSession>, options: &Options, stop: &AtomicBool) -> Result<Chosen> {
    let snapshots = snapshots_of(reading, options)?;
    let ids: Vec<_> = snapshots.iter().map(|snapshot| snapshot.id).collect();
    reading.set_snapshots(&ids)?;
    let mut reader = ChunkReader::following(reading)?;
    let parts = (snapshots.len() as u64).max(1);
    let number = usize::try_from((options.files / parts).max(1)).unwrap_or(usize::MAX);
    let mut chosen = Chosen { cursor: options.cursor, ..Chosen::default() };
    // Minimum distance on the ring by which every snapshot has advanced.
    let mut arc: Option<u64> = None;
    for snapshot in snapshots {
        let mut sample = RotatingSample::new(options, number);
        match files::for_each_file(&mut reader, &snapshot, stop, &mut |path, entry| sample.offer(path, entry))
        {
            Ok(()) => {}
            Err(err) if err.is_damage() => {
                chosen.damaged.push((snapshot.id.short(), err.chain()));
                continue;
            }
            Err(err) => return Err(err),
        }
        chosen.too_large += sample.too_large;
        let (files, end) = sample.take(options.bytes / parts);
        // A snapshot of which all files were taken has completed its ring.
        if let Some(end) = end {
            arc = Some(arc.map_or(end, |arc| arc.min(end)));
        }
        if !files.is_empty() || options.all_snapshots {
            chosen.samples.push(Sample { snapshot, files });
        }
    }
    chosen.cursor = options.cursor.wrapping_add(arc.map_or(0, |arc| arc.wrapping_add(1)));
    Ok(chosen)
}

/// Returns the named snapshots; otherwise the newest of each set, and a random one of the recent ones.
fn snapshots_of(reading: &ReadSession, options: &Options) -> Result<Vec<Snapshot>> {
    let all = reading.snapshots()?;
    if !options.selectors.is_empty() {
        let find = |selector| Ok(snapshots::resolve(reading.repo(), &all, selector)?.0);
        let named = options.selectors.iter().map(find);
        let mut named = named.collect::<Result<Vec<Snapshot>>>()?;
        named.sort_by_key(|snapshot| snapshot.id);
        named.dedup_by_key(|snapshot| snapshot.id);
        return Ok(named);
    }
    let mut sets: HashMap<_, Vec<Snapshot>> = HashMap::new();
    let mut order = Vec::new();
    if let Some(why) = options.selection.unmatched(&all) {
        return Err(Error::none_selected(why));
    }
    for snapshot in all.into_iter().rev() {
        if snapshot.manifest.partial || !options.selection.admits(&snapshot.manifest) {
            continue;
        }
        let key = (snapshot.manifest.host.clone(), snapshot.manifest.sources.clone());
        let set = sets.entry(key.clone()).or_insert_with(|| {
            order.push(key);
            Vec::new()
        });
        if set.len() < options.recent.max(1) {
            set.push(snapshot);
        }
    }
    let mut taken = Vec::new();
    for key in order {
        let mut set = sets.remove(&key).unwrap_or_default();
        if set.len() > 1 {
            let older = set.len() - 1;
            taken.push(set.swap_remove(1 + random()? as usize % older));
        }
        taken.extend(set.into_iter().next());
    }
    if taken.is_empty() {
        let why = "there is no complete snapshot to test".to_owned();
        return Err(Error::NoSnapshot { selector: "any".to_owned(), why });
    }
    Ok(taken)
}

fn random() -> Result<u32> {
    let mut bytes = [0; 4];
    cipher::random(&mut bytes).map_err(Error::damaged("a lot"))?;
    Ok(u32::from_le_bytes(bytes))
}

/// The next files after the cursor. Keeps only as many as the limits allow.
struct RotatingSample {
    cursor: u64,
    number: usize,
    largest: u64,
    /// Files by their distance from the cursor.
    next: BTreeMap<(u64, Vec<u8>), Entry>,
    too_large: u64,
    /// Whether some files were not kept.
    left_out: bool,
}

impl RotatingSample {
    fn new(options: &Options, number: usize) -> Self {
        Self {
            cursor: options.cursor,
            number,
            largest: options.bytes,
            next: BTreeMap::new(),
            too_large: 0,
            left_out: false,
        }
    }

    fn offer(&mut self, path: &[u8], entry: &Entry) {
        if entry.size() > self.largest {
            self.too_large += 1;
            return;
        }
        let way = place(path).wrapping_sub(self.cursor);
        if self.next.len() >= self.number {
            self.left_out = true;
            if self.next.last_key_value().is_some_and(|((farthest, _), _)| way >= *farthest) {
                return;
            }
            self.next.pop_last();
        }
        self.next.insert((way, path.to_vec()), entry.clone());
    }

    /// Returns the files that fit, at least one, and the distance of the last; `None` as distance if these
    /// are all.
    fn take(self, room: u64) -> (Vec<(Vec<u8>, Entry)>, Option<u64>) {
        let (mut files, mut bytes, mut end) = (Vec::new(), 0u64, None);
        let mut left_out = self.left_out;
        for ((way, path), entry) in self.next {
            bytes = bytes.saturating_add(entry.size());
            if bytes > room && !files.is_empty() {
                left_out = true;
                break;
            }
            end = Some(way);
            files.push((path, entry));
        }
        (files, end.filter(|_| left_out))
    }
}

/// Returns the position of a path on the ring.
fn place(path: &[u8]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = hash::sha256(path);
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::entry::{Content, Kind, Meta};

    fn file(size: u64) -> Entry {
        let kind = Kind::File { size, content: Content::Parts(Vec::new()) };
        Entry { name: b"x".to_vec(), kind, meta: Meta::default() }
    }

    /// Returns the paths of one drill, the next cursor, and the number of files that are too large.
    fn drill(sizes: &[u64], number: usize, room: u64, cursor: u64) -> (Vec<Vec<u8>>, u64, u64) {
        let options = Options {
            selectors: Vec::new(),
            selection: crate::repo::snapshots::filter::SnapshotFilter::default(),
            recent: 1,
            all_snapshots: false,
            files: 0,
            bytes: 100,
            cursor,
        };
        let mut sample = RotatingSample::new(&options, number);
        for (at, size) in sizes.iter().enumerate() {
            sample.offer(format!("file {at}").as_bytes(), &file(*size));
        }
        let too_large = sample.too_large;
        let (files, end) = sample.take(room);
        let next = cursor.wrapping_add(end.map_or(0, |end| end.wrapping_add(1)));
        (files.into_iter().map(|(path, _)| path).collect(), next, too_large)
    }

    #[test]
    fn every_file_has_its_turn_once_in_a_round() {
        let sizes: Vec<u64> = (0..100).map(|at| at % 60).collect();
        let (mut seen, mut cursor) = (Vec::new(), 12_345);
        while seen.len() < 100 {
            let (files, next, _) = drill(&sizes, 7, 90, cursor);
            assert!(!files.is_empty() && files.len() <= 7);
            seen.extend(files);
            cursor = next;
        }
        let mut once = seen[..100].to_vec();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), 100);
    }

    #[test]
    fn oversized_files_are_counted_and_small_sets_taken_whole() {
        let (files, next, too_large) = drill(&[1, 2, 101], 7, 90, 5);
        assert_eq!((files.len(), next, too_large), (2, 5, 1));
        // A single file may take the whole limit.
        assert_eq!(drill(&[100, 100], 7, 10, 5).0.len(), 1);
    }
}

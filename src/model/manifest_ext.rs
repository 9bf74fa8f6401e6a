//! Fields that were added to format 1 later: values in a manifest's `extra`, each with a tag.
//!
//! An odd tag must be understood. Tag 1 (pinned) is odd because a program that does not know it would
//! forget snapshots that must never be forgotten. An even tag may be ignored. (Tag 2 occurs without a
//! meaning in the first golden files and stays unused.)

use crate::model::decode_error::DecodeError;
use crate::model::entry::Time;
use crate::model::id::{ChunkId, KeyId, SnapshotId};
use crate::model::manifest::Manifest;
use crate::model::signs::Signs;
use crate::model::tags;
use crate::model::tripwire::AlarmState;

/// Pinned: no rule forgets the snapshot. No bytes.
const PINNED: u16 = 1;
/// An alarm: a byte for its state, followed by the sentence in UTF-8. A program that does not know this tag
/// could forget the protected snapshots.
const ALARM: u16 = 3;
/// A description by a person: UTF-8.
const DESCRIPTION: u16 = 4;
/// When the snapshot expires regardless of rules: i64 seconds, u32 nanoseconds.
const EXPIRES: u16 = 6;
/// The snapshot that this one was before its first rewrite.
const ORIGINAL: u16 = 8;
/// The snapshot in another repository that this one is a copy of, and its root tree at the time of the
/// copy.
const COPIED: u16 = 10;
/// Properties of the root: one byte of the bits below.
const ROOT: u16 = 16;
/// Numbers of the run that [`Counts`](crate::model::manifest::Counts) lacks: those of [`MoreCounts`], each a
/// u64.
const MORE_COUNTS: u16 = 18;
/// Statistics of the run: [`Signs`].
const SIGNS: u16 = 20;
/// The origin of an imported snapshot: UTF-8.
const ORIGIN: u16 = 22;
/// Bit rot that the run found: how many files (u64), and one byte: 1 if the alarm has other reasons, too.
const ROT: u16 = 24;
/// The position of the snapshot in the history of its set: [`Lineage`].
const LINEAGE: u16 = 26;
/// The operating system on which the snapshot was made: UTF-8.
const SYSTEM: u16 = 28;
/// The key slot of the write key that made the snapshot: 32 bytes.
const WRITER: u16 = 30;
/// The root is not a source; it only leads to sources.
const ANCESTOR_ONLY: u8 = 1;
/// All directories above the sources that are not in the snapshot are searchable by all users.
const OPEN_ABOVE: u8 = 2;

/// Numbers of one backup run in addition to [`Counts`](crate::model::manifest::Counts), which is frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MoreCounts {
    /// Directories not in the parent.
    pub dirs_new: u64,
    /// Directories that differ from the parent's, or contain something that does.
    pub dirs_changed: u64,
    /// Directories that equal the parent's, with everything below them.
    pub dirs_unchanged: u64,
    /// New chunks of files.
    pub data_chunks: u64,
    /// New chunks of directories and of part lists.
    pub tree_chunks: u64,
}

impl MoreCounts {
    fn to_bytes(self) -> Vec<u8> {
        let Self { dirs_new, dirs_changed, dirs_unchanged, data_chunks, tree_chunks } = self;
        let all = [dirs_new, dirs_changed, dirs_unchanged, data_chunks, tree_chunks];
        all.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (numbers, rest) = bytes.as_chunks::<8>();
        let [dirs_new, dirs_changed, dirs_unchanged, data_chunks, tree_chunks] =
            <[[u8; 8]; 5]>::try_from(numbers).ok()?.map(u64::from_le_bytes);
        let counts = Self { dirs_new, dirs_changed, dirs_unchanged, data_chunks, tree_chunks };
        rest.is_empty().then_some(counts)
    }
}

/// The position of a snapshot in the history of its set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lineage {
    /// Generation of the configuration that the run worked with.
    pub generation: u32,
    /// One more than the highest number in the set before.
    pub number: u64,
    /// The snapshot with that highest number; `None` for the first.
    pub previous: Option<SnapshotId>,
    /// The head of the chain: a MAC over the previous snapshot's head and id.
    pub chain: [u8; 32],
}

impl Lineage {
    fn to_bytes(self) -> Vec<u8> {
        let previous = self.previous.map_or([0; 16], |id| *id.as_bytes());
        [&self.generation.to_le_bytes()[..], &self.number.to_le_bytes(), &previous, &self.chain].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (generation, rest) = bytes.split_first_chunk::<4>()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let (previous, chain) = rest.split_first_chunk::<16>()?;
        Some(Self {
            generation: u32::from_le_bytes(*generation),
            number: u64::from_le_bytes(*number),
            previous: (*previous != [0; 16]).then(|| SnapshotId::new(*previous)),
            chain: chain.try_into().ok()?,
        })
    }
}

/// Bit rot that a backup found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rot {
    /// Number of files.
    pub files: u64,
    /// Whether it is the only reason for the alarm.
    pub is_only_reason: bool,
}

/// Maximum length of an alarm's sentence in bytes.
const MAX_ALARM: usize = 2048;
/// Maximum length of a description in bytes.
pub const MAX_DESCRIPTION: usize = 4096;

impl Manifest {
    /// Returns whether the snapshot is pinned, so that no rule forgets it.
    pub fn is_pinned(&self) -> bool {
        self.tag(PINNED).is_some()
    }

    /// Returns the key slot of the write key that made the snapshot; `None` means a full key. Snapshots of
    /// different keys belong to different sets, even if host and sources are equal.
    pub fn writer(&self) -> Option<KeyId> {
        self.tag(WRITER).and_then(|bytes| bytes.try_into().ok()).map(KeyId::new)
    }

    /// Sets the key slot of the write key that made the snapshot; `None` means a full key.
    pub fn set_writer(&mut self, slot: Option<KeyId>) {
        self.set_tag(WRITER, slot.map(|slot| slot.as_bytes().to_vec()));
    }

    /// Returns whether both are of the same host, sources and write key.
    pub fn is_of_set(&self, other: &Self) -> bool {
        self.same_set(&other.host, &other.sources) && self.writer() == other.writer()
    }

    /// Pins or unpins the snapshot.
    pub fn set_pinned(&mut self, pinned: bool) {
        self.set_tag(PINNED, pinned.then(Vec::new));
    }

    /// Returns the description.
    pub fn description(&self) -> Option<&str> {
        self.tag(DESCRIPTION).and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// Replaces the description; `None` or an empty text removes it.
    ///
    /// # Errors
    /// The text is longer than 4096 bytes.
    pub fn set_description(&mut self, text: Option<&str>) -> Result<(), DecodeError> {
        if text.is_some_and(|text| text.len() > MAX_DESCRIPTION) {
            return Err(DecodeError::with(format!("a description of more than {MAX_DESCRIPTION} bytes")));
        }
        let text = text.filter(|text| !text.is_empty());
        self.set_tag(DESCRIPTION, text.map(|text| text.as_bytes().to_vec()));
        Ok(())
    }

    /// Returns when the snapshot expires, regardless of rules.
    pub fn expires(&self) -> Option<Time> {
        let (sec, nanos) = self.tag(EXPIRES)?.split_first_chunk::<8>()?;
        let nanos = u32::from_le_bytes(nanos.try_into().ok()?);
        (nanos < 1_000_000_000).then_some(Time { sec: i64::from_le_bytes(*sec), nanos })
    }

    /// Sets when the snapshot expires; `None` means never.
    pub fn set_expires(&mut self, at: Option<Time>) {
        let bytes = |at: Time| [&at.sec.to_le_bytes()[..], &at.nanos.to_le_bytes()].concat();
        self.set_tag(EXPIRES, at.map(bytes));
    }

    /// Returns the snapshot that this one was before its first rewrite.
    pub fn original(&self) -> Option<SnapshotId> {
        self.tag(ORIGINAL).and_then(|bytes| bytes.try_into().ok()).map(SnapshotId::new)
    }

    /// Records that this is a rewrite of `id`. If `id` was itself a rewrite, the first original stays
    /// recorded.
    pub fn set_original(&mut self, id: SnapshotId) {
        if self.original().is_none() {
            self.set_tag(ORIGINAL, Some(id.as_bytes().to_vec()));
        }
    }

    /// Returns the snapshot of another repository that this one was copied from, and the root tree that it
    /// had after the copy: it may have been rewritten since.
    pub fn copied(&self) -> Option<(SnapshotId, ChunkId)> {
        let (id, root) = self.tag(COPIED)?.split_first_chunk::<16>()?;
        Some((SnapshotId::new(*id), ChunkId::new(root.try_into().ok()?)))
    }

    /// Records that this is a copy of `from`, with the current root tree.
    pub fn set_copied(&mut self, from: SnapshotId) {
        let bytes = [from.as_bytes().as_slice(), self.root.as_bytes()].concat();
        self.set_tag(COPIED, Some(bytes));
        // The lineage belongs to the history of another repository.
        self.set_lineage(None);
    }

    /// Returns whether the root of the tree only leads to sources, so that only the sources below it belong
    /// to the snapshot.
    pub fn is_root_ancestor_only(&self) -> bool {
        self.root_bits() & ANCESTOR_ONLY != 0
    }

    /// Returns whether all directories above the sources that are not in the snapshot are searchable by
    /// everybody. If this was not recorded, the answer is no.
    pub fn is_open_above(&self) -> bool {
        self.root_bits() & OPEN_ABOVE != 0
    }

    /// Records the properties of the root.
    pub fn set_root(&mut self, ancestor_only: bool, open_above: bool) {
        let bits = (u8::from(ancestor_only) * ANCESTOR_ONLY) | (u8::from(open_above) * OPEN_ABOVE);
        self.set_tag(ROOT, (bits != 0).then(|| vec![bits]));
    }

    /// Returns the permanent identifier of the snapshot's origin, such as `restic` and an id.
    pub fn origin(&self) -> Option<&str> {
        self.tag(ORIGIN).and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// Records what the snapshot was imported from.
    pub fn set_origin(&mut self, origin: Option<&str>) {
        self.set_tag(ORIGIN, origin.map(|origin| origin.as_bytes().to_vec()));
    }

    /// Returns the operating system on which the snapshot was made, such as `linux`, if recorded.
    pub fn system(&self) -> Option<&str> {
        self.tag(SYSTEM).and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// Records the operating system that this program runs on.
    pub fn set_system(&mut self) {
        self.set_tag(SYSTEM, Some(std::env::consts::OS.as_bytes().to_vec()));
    }

    /// Returns more numbers of the run, if they were recorded.
    pub fn more_counts(&self) -> Option<MoreCounts> {
        self.tag(MORE_COUNTS).and_then(MoreCounts::from_bytes)
    }

    /// Records more numbers of the run.
    pub fn set_more_counts(&mut self, counts: MoreCounts) {
        self.set_tag(MORE_COUNTS, Some(counts.to_bytes()));
    }

    fn root_bits(&self) -> u8 {
        self.tag(ROOT).and_then(|bytes| bytes.first().copied()).unwrap_or(0)
    }

    /// Returns the statistics of the run; `None` if it made none.
    pub fn signs(&self) -> Option<Signs> {
        self.tag(SIGNS).and_then(Signs::from_bytes)
    }

    /// Records the statistics of the run.
    pub fn set_signs(&mut self, signs: Option<&Signs>) {
        self.set_tag(SIGNS, signs.map(Signs::to_bytes));
    }

    /// Returns the position of the snapshot in the history of its set, if recorded.
    pub fn lineage(&self) -> Option<Lineage> {
        self.tag(LINEAGE).and_then(Lineage::from_bytes)
    }

    /// Records the position of the snapshot in the history of its set.
    pub fn set_lineage(&mut self, lineage: Option<Lineage>) {
        self.set_tag(LINEAGE, lineage.map(Lineage::to_bytes));
    }

    /// Returns the bit rot that the run found, if any.
    pub fn rot(&self) -> Option<Rot> {
        let (files, rest) = self.tag(ROT)?.split_first_chunk::<8>()?;
        let files = u64::from_le_bytes(*files);
        match rest {
            [0] => Some(Rot { files, is_only_reason: true }),
            [1] => Some(Rot { files, is_only_reason: false }),
            _ => None,
        }
    }

    /// Records the bit rot that the run found.
    pub fn set_rot(&mut self, rot: Option<Rot>) {
        let bytes = |rot: Rot| {
            let others = u8::from(!rot.is_only_reason);
            [rot.files.to_le_bytes().as_slice(), &[others]].concat()
        };
        self.set_tag(ROT, rot.map(bytes));
    }

    /// Returns the state of the run's alarm, and its reason.
    pub fn alarm(&self) -> Option<(AlarmState, &str)> {
        let (state, why) = self.tag(ALARM)?.split_first()?;
        Some((state_of(*state)?, std::str::from_utf8(why).ok()?))
    }

    /// Returns whether the snapshot raised an alarm that is not settled.
    pub fn is_alarming(&self) -> bool {
        matches!(self.alarm(), Some((AlarmState::Open, _)))
    }

    /// Records an alarm; a longer reason is truncated.
    pub fn set_alarm(&mut self, why: &str) {
        let end = (0..=MAX_ALARM.min(why.len())).rev().find(|at| why.is_char_boundary(*at)).unwrap_or(0);
        let why = why.get(..end).unwrap_or_default();
        self.set_tag(ALARM, Some([&[OPEN], why.as_bytes()].concat()));
    }

    /// Settles the alarm. Does nothing if there is none.
    pub fn settle_alarm(&mut self, state: AlarmState) {
        let why = self.alarm().map(|(_, why)| why.to_owned());
        let state = match state {
            AlarmState::Open => OPEN,
            AlarmState::Accepted => ACCEPTED,
            AlarmState::Cleared => CLEARED,
        };
        if let Some(why) = why {
            self.set_tag(ALARM, Some([&[state], why.as_bytes()].concat()));
        }
    }

    /// Checks that this program knows every tag that must be understood, and that none is repeated.
    ///
    /// # Errors
    /// Tags are not in order; or, as an error that [is newer](DecodeError::is_newer), one is not understood.
    pub fn check_tags(&self) -> Result<(), DecodeError> {
        tags::check_order(&self.extra)?;
        let unknown = self.extra.iter().find(|(tag, bytes)| match *tag {
            PINNED => !bytes.is_empty(),
            ALARM => self.alarm().is_none(),
            tag => tag % 2 == 1,
        });
        match unknown {
            None => Ok(()),
            Some((tag, _)) => Err(DecodeError::newer(format!("it has the unknown tag {tag}"))),
        }
    }

    fn tag(&self, wanted: u16) -> Option<&[u8]> {
        tags::get(&self.extra, wanted)
    }

    /// Inserts, replaces or removes a tag.
    pub fn set_tag(&mut self, tag: u16, bytes: Option<Vec<u8>>) {
        tags::set(&mut self.extra, tag, bytes);
    }
}

const OPEN: u8 = 1;
const ACCEPTED: u8 = 2;
const CLEARED: u8 = 3;

fn state_of(byte: u8) -> Option<AlarmState> {
    match byte {
        OPEN => Some(AlarmState::Open),
        ACCEPTED => Some(AlarmState::Accepted),
        CLEARED => Some(AlarmState::Cleared),
        _ => None,
    }
}

//! What format 1 learned about snapshots after its first day: rows of a manifest's `extra`, each with a tag.
//!
//! An odd tag must be understood: 1, because who does not know it would forget what is never to be forgotten. An even one
//! may be ignored. (Tag 2 stands in the first golden files without a meaning and gets none.)

use serde_bytes::ByteBuf;

use crate::model::decode_error::DecodeError;
use crate::model::entry::Time;
use crate::model::id::{ChunkId, SnapshotId};
use crate::model::manifest::Manifest;

/// Never forgotten by a rule; no bytes.
const PINNED: u16 = 1;
/// What a person says of it: UTF-8.
const DESCRIPTION: u16 = 4;
/// When it may go, whatever rules say: i64 seconds, u32 nanoseconds.
const EXPIRES: u16 = 6;
/// The snapshot that it was before it was rewritten for the first time.
const ORIGINAL: u16 = 8;
/// The snapshot of another repository that it is a copy of, and its root tree when it was copied.
const COPIED: u16 = 10;
/// What its root is, as one byte of the bits below.
const ROOT: u16 = 16;
/// The root is no source: it only leads to sources.
const ONLY_LEADS: u8 = 1;
/// Every directory above the sources that the snapshot does not hold lets everybody pass.
const OPEN_ABOVE: u8 = 2;

/// Most bytes of a description.
pub const MAX_DESCRIPTION: usize = 4096;

impl Manifest {
    /// Whether rules never forget it.
    pub fn is_pinned(&self) -> bool {
        self.note(PINNED).is_some()
    }

    /// Pins it, or unpins it.
    pub fn set_pinned(&mut self, pinned: bool) {
        self.set_note(PINNED, pinned.then(Vec::new));
    }

    /// What a person says of it.
    pub fn description(&self) -> Option<&str> {
        self.note(DESCRIPTION).and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// Says something else of it; `None` or an empty text: nothing.
    ///
    /// # Errors
    /// When that is longer than [`MAX_DESCRIPTION`].
    pub fn set_description(&mut self, text: Option<&str>) -> Result<(), DecodeError> {
        if text.is_some_and(|text| text.len() > MAX_DESCRIPTION) {
            return Err(DecodeError::with(format!("a description of more than {MAX_DESCRIPTION} bytes")));
        }
        let text = text.filter(|text| !text.is_empty());
        self.set_note(DESCRIPTION, text.map(|text| text.as_bytes().to_vec()));
        Ok(())
    }

    /// When it may go, whatever rules say.
    pub fn expires(&self) -> Option<Time> {
        let (sec, nanos) = self.note(EXPIRES)?.split_first_chunk::<8>()?;
        let nanos = u32::from_le_bytes(nanos.try_into().ok()?);
        (nanos < 1_000_000_000).then_some(Time { sec: i64::from_le_bytes(*sec), nanos })
    }

    /// Lets it go at another time, or stay.
    pub fn set_expires(&mut self, at: Option<Time>) {
        let bytes = |at: Time| [&at.sec.to_le_bytes()[..], &at.nanos.to_le_bytes()].concat();
        self.set_note(EXPIRES, at.map(bytes));
    }

    /// What it was before it was rewritten for the first time.
    pub fn original(&self) -> Option<SnapshotId> {
        self.note(ORIGINAL).and_then(|bytes| bytes.try_into().ok()).map(SnapshotId::new)
    }

    /// It is what another one was. Where that has been rewritten itself, the first counts.
    pub fn set_original(&mut self, id: SnapshotId) {
        if self.original().is_none() {
            self.set_note(ORIGINAL, Some(id.as_bytes().to_vec()));
        }
    }

    /// The snapshot of another repository that it was copied from, and the root tree that it got then: it may have been
    /// rewritten since.
    pub fn copied(&self) -> Option<(SnapshotId, ChunkId)> {
        let (id, root) = self.note(COPIED)?.split_first_chunk::<16>()?;
        Some((SnapshotId::new(*id), ChunkId::new(root.try_into().ok()?)))
    }

    /// It is a copy, as it stands.
    pub fn set_copied(&mut self, from: SnapshotId) {
        let bytes = [from.as_bytes().as_slice(), self.root.as_bytes()].concat();
        self.set_note(COPIED, Some(bytes));
    }

    /// Whether the root of its tree only leads to sources, so that nothing in it is the snapshot's but these.
    pub fn root_only_leads(&self) -> bool {
        self.root_bits() & ONLY_LEADS != 0
    }

    /// Whether everybody could reach the sources as far as directories are concerned that the snapshot does not hold.
    /// Where nobody noted it, they could not.
    pub fn is_open_above(&self) -> bool {
        self.root_bits() & OPEN_ABOVE != 0
    }

    /// Notes what its root is.
    pub fn set_root(&mut self, only_leads: bool, open_above: bool) {
        let bits = (u8::from(only_leads) * ONLY_LEADS) | (u8::from(open_above) * OPEN_ABOVE);
        self.set_note(ROOT, (bits != 0).then(|| vec![bits]));
    }

    fn root_bits(&self) -> u8 {
        self.note(ROOT).and_then(|bytes| bytes.first().copied()).unwrap_or(0)
    }

    /// Whether all that must be understood is.
    pub fn is_understood(&self) -> bool {
        self.extra.iter().all(|(tag, bytes)| match *tag {
            PINNED => bytes.is_empty(),
            tag => tag % 2 == 0,
        })
    }

    fn note(&self, wanted: u16) -> Option<&[u8]> {
        self.extra.iter().find(|(tag, _)| *tag == wanted).map(|(_, bytes)| bytes.as_slice())
    }

    /// Rows stay in order of their tags.
    fn set_note(&mut self, tag: u16, bytes: Option<Vec<u8>>) {
        self.extra.retain(|(known, _)| *known != tag);
        if let Some(bytes) = bytes {
            let at = self.extra.partition_point(|(known, _)| *known < tag);
            self.extra.insert(at, (tag, ByteBuf::from(bytes)));
        }
    }
}

//! What a check reports, with its data and its wording.

use std::fmt;

use crate::error::Error;
use crate::model::id::{PackId, SnapshotId};
use crate::repo::keys;
use crate::repo::lineage::Gap;

/// Hint about an intended difference.
const ACCEPT: &str = "if it is intended, `Repository::accept` accepts it";

/// The kind of object that a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A pack.
    Pack,
    /// A snapshot's manifest.
    Manifest,
    /// A key slot.
    KeySlot,
    /// A configuration.
    Config,
    /// A record of sessions, gc or damage.
    Record,
    /// A header bundle (segment): tables of several packs in one object, which only speeds up opening.
    Segment,
    /// The parity file of a pack.
    Parity,
    /// An entry of a snapshot. Not an object, and also counted in [`Report::affected`](super::Report).
    Entry,
    /// The repository as a whole.
    Repository,
}

/// Something that is wrong with a repository. A `message` says how, and names the object.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)] // The variants are documented; their fields are what their names say.
pub enum Finding {
    /// A pack is missing.
    MissingPack { pack: PackId, message: String },
    /// A pack is damaged.
    DamagedPack { pack: PackId, message: String },
    /// A pack was found damaged before, and was not read in full since.
    RecordedPack { pack: PackId, message: String },
    /// Another object is damaged, or a newer version wrote it.
    DamagedObject { subject: Subject, message: String },
    /// A valid key slot is missing, so its password opens nothing.
    MissingKeySlot { object: String },
    /// The manifest of a snapshot does not continue the history that its predecessor has.
    ForeignPredecessor { snapshot: SnapshotId, previous: SnapshotId },
    /// A header bundle is damaged.
    DamagedSegment { message: String },
    /// The parity file of a pack is damaged.
    DamagedParity { message: String },
    /// Chunks that an entry of a snapshot needs are damaged or missing.
    AffectedEntry { snapshot: SnapshotId, path: Vec<u8>, message: String },
    /// The repository is not as this machine knew it.
    Diverged { message: String },
}

impl Finding {
    pub(super) fn of_pack(pack: PackId, err: &Error) -> Self {
        let message = err.chain();
        if err.is_missing() {
            Self::MissingPack { pack, message }
        } else {
            Self::DamagedPack { pack, message }
        }
    }

    /// Returns the kind of object that it is about.
    pub fn subject(&self) -> Subject {
        match self {
            Self::MissingPack { .. } | Self::DamagedPack { .. } | Self::RecordedPack { .. } => Subject::Pack,
            Self::DamagedObject { subject, .. } => *subject,
            Self::MissingKeySlot { .. } => Subject::KeySlot,
            Self::ForeignPredecessor { .. } => Subject::Manifest,
            Self::DamagedSegment { .. } => Subject::Segment,
            Self::DamagedParity { .. } => Subject::Parity,
            Self::AffectedEntry { .. } => Subject::Entry,
            Self::Diverged { .. } => Subject::Repository,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingPack { message, .. }
            | Self::DamagedPack { message, .. }
            | Self::DamagedObject { message, .. } => f.write_str(message),
            Self::RecordedPack { pack, message } => {
                write!(f, "pack {} was found damaged earlier: {message}", pack.short())
            }
            Self::MissingKeySlot { object } => {
                write!(f, "{object} is listed but missing: its password does not work")
            }
            Self::ForeignPredecessor { snapshot, previous } => write!(
                f,
                "snapshot {}: its history does not continue that of {}, the previous snapshot of its set",
                snapshot.short(),
                previous.short()
            ),
            Self::DamagedSegment { message } => {
                write!(f, "{message}: `Repository::repair_index` removes it")
            }
            Self::DamagedParity { message } => {
                write!(f, "{message}: no file is affected; `Repository::repair_parity` rewrites it")
            }
            Self::AffectedEntry { snapshot, path, message } => {
                let path = String::from_utf8_lossy(path);
                write!(f, "snapshot {}: /{path}: {message}", snapshot.short())
            }
            Self::Diverged { message } => write!(f, "{message}; {ACCEPT}"),
        }
    }
}

/// A fact that is not damage but needs attention.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)] // The variants are documented; their fields are what their names say.
pub enum Remark {
    /// An object that existed when this machine last used the repository is gone.
    GoneObject { object: String },
    /// A file among the key slots that the configuration does not list.
    UnlistedKeySlot { name: String },
    /// A file that a session rewrites repeatedly cannot be read. Sessions treat it as absent.
    UnreadableHeartbeat { message: String },
    /// A snapshot is gone, and no audit record says who forgot it.
    MissingSnapshot(Gap),
    /// A pack was moved by another process before it was read.
    MovedPack { pack: PackId },
    /// A pack that was found damaged before is intact.
    WholePack { pack: PackId },
    /// Some packs have no parity file.
    MissingParity { packs: usize, of: usize },
    /// Files that are no objects of a repository.
    ForeignFiles(String),
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GoneObject { object } => {
                write!(f, "{object} existed when this machine last used the repository, but is gone")
            }
            Self::UnlistedKeySlot { name } => f.write_str(&keys::not_listed(name)),
            Self::UnreadableHeartbeat { message } => write!(f, "{message}; it is ignored"),
            Self::MissingSnapshot(gap) => write!(f, "{}; {ACCEPT}", gap.describe()),
            Self::MovedPack { pack } => {
                write!(f, "pack {} was moved by another process before it was checked", pack.short())
            }
            Self::WholePack { pack } => write!(
                f,
                "pack {} was found damaged earlier but is intact now: `Repository::repair_packs` removes \
                 its damage record",
                pack.short()
            ),
            Self::MissingParity { packs, of } => write!(
                f,
                "parity is missing for {packs} of {of} packs: the next `Repository::gc` writes a part of \
                 it, `Repository::repair_parity` all of it"
            ),
            Self::ForeignFiles(text) => f.write_str(text),
        }
    }
}

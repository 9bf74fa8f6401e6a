//! What happens to what is there already.

use crate::fs::target::Existing;
use crate::model::entry::Meta;

/// Which existing files a restore may change. Directories that are there are kept in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Overwrite {
    /// All, after comparing their bytes with the snapshot: what is right already is not written.
    #[default]
    Always,
    /// As `Always`, but a file of the snapshot's size and time is taken to be the snapshot's, unread.
    IfChanged,
    /// Only what is older than in the snapshot.
    IfNewer,
    /// None.
    Never,
}

impl Overwrite {
    /// Whether what is there stays, whatever the snapshot says.
    pub(super) fn keeps(self, existing: &Existing, meta: &Meta) -> bool {
        match self {
            Self::Always | Self::IfChanged => false,
            Self::IfNewer => existing.mtime() >= meta.mtime,
            Self::Never => true,
        }
    }

    /// Whether a file may be mended where it stands. An interruption leaves it with the present as its time: newer
    /// than the snapshot, so that `IfNewer` would keep it half mended.
    pub(super) fn mends_in_place(self) -> bool {
        matches!(self, Self::Always | Self::IfChanged)
    }
}

/// Whether a directory's owner may list it and go into it.
pub(super) fn lets_its_owner_in(meta: &Meta) -> bool {
    meta.mode & 0o500 == 0o500
}

/// What became of an entry, or would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// It was not there.
    Created,
    /// It was there and differed.
    Updated,
    /// It was there and is as in the snapshot.
    Unchanged,
    /// It was there and the rule says to leave it.
    Kept,
    /// It was there and is not in the snapshot.
    Deleted,
}

impl Action {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
            Self::Kept => "kept",
            Self::Deleted => "deleted",
        }
    }
}

//! Rules for entries that already exist in the target.

use crate::fs::target::Existing;
use crate::model::entry::Meta;
use crate::progress;

/// Which existing files a restore may change. Existing directories always stay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Overwrite {
    /// All files, after comparing their bytes with the snapshot. Ranges that are equal are not written.
    #[default]
    Always,
    /// As `Always`, but a file with the snapshot's size and modification time is assumed to be equal and is
    /// not read.
    IfChanged,
    /// Only files that are older than in the snapshot.
    IfNewer,
    /// No files.
    Never,
}

impl Overwrite {
    /// Returns whether the existing entry stays. `meta` is that of the snapshot's entry.
    pub(super) fn keeps(self, existing: &Existing, meta: &Meta) -> bool {
        match self {
            Self::Always | Self::IfChanged => false,
            Self::IfNewer => existing.mtime() >= meta.mtime,
            Self::Never => true,
        }
    }

    /// Returns whether a file may be updated in place. Not with `IfNewer`: an interrupted update leaves a
    /// newer mtime than the snapshot's, so that the next run would keep the partly updated file.
    pub(super) fn allows_update_in_place(self) -> bool {
        matches!(self, Self::Always | Self::IfChanged)
    }
}

/// Returns whether a directory's owner may list and enter it.
pub(super) fn owner_may_enter(meta: &Meta) -> bool {
    meta.mode & 0o500 == 0o500
}

/// What was done with an entry, or would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// It did not exist.
    Created,
    /// It existed and differed.
    Updated,
    /// It existed and equals the snapshot's.
    Unchanged,
    /// It existed and the overwrite rule protects it.
    Kept,
    /// It existed and is not in the snapshot.
    Deleted,
}

impl Action {
    pub(super) fn reported(self) -> progress::Action {
        match self {
            Self::Created => progress::Action::Created,
            Self::Updated => progress::Action::Updated,
            Self::Unchanged => progress::Action::Unchanged,
            Self::Kept => progress::Action::Kept,
            Self::Deleted => progress::Action::Deleted,
        }
    }
}

//! Writes a tree below one directory: never outside it, and never through a symbolic link.
//!
//! `root` opens directories and holds what all others need: open directories, the limit of open files,
//! temporary names. `dirs` creates directories, `file` writes files, and `special` creates links and special
//! files; all of these publish through `temp`, and `swap` keeps what was there. `existing` inspects what is
//! there, `links` follows links in place of directories that lead to a source, `remove` removes, and
//! `inode_flags` sets immutable flags last.

mod copy_range;
mod dirs;
mod existing;
mod file;
mod inode_flags;
mod links;
pub mod name_folding;
mod remove;
mod root;
mod special;
mod swap;
mod temp;

use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Problem, Result};
use crate::fs::ownership::SkippedMetadata;
use crate::fs::protected_dirs::{Guard, Protected};
use crate::fs::xattr_choice::XattrChoice;

pub use existing::{Existing, forget_cached, is_zero};
pub use file::NewFile;
pub use links::LinkTarget;
pub use remove::RemovalFilter;
pub use root::dir_handle::Dir;

use root::Shared;

/// How to write to a target.
#[derive(Debug, Clone, Default)]
pub struct TargetOptions {
    /// Use numeric owners even if their names exist on this machine.
    pub numeric_ids: bool,
    /// Try to set owners.
    pub owner: bool,
    /// Make holes instead of writing blocks of zeros.
    pub sparse: bool,
    /// Which extended attributes to set; others are left alone.
    pub xattrs: XattrChoice,
    /// Allow writing; otherwise the target is only inspected.
    pub writes: bool,
}

/// A directory that a tree is written to.
pub struct Target {
    shared: Arc<Shared>,
}

impl Target {
    /// Opens the root. If it is missing and `options` allow writing, it is created with its parents.
    ///
    /// # Errors
    /// It cannot be created or opened.
    pub fn open(root: &Path, options: TargetOptions) -> Result<Self> {
        Self::open_guarded(root, options, Guard::default())
    }

    /// Like [`Target::open`], with protected directories.
    ///
    /// # Errors
    /// As [`Target::open`], and if the root is in a protected directory.
    pub fn open_guarded(root: &Path, options: TargetOptions, guard: Guard) -> Result<Self> {
        guard.check(root)?;
        if options.writes {
            std::fs::create_dir_all(root).map_err(Error::io("create", root))?;
            guard.check(root)?;
        }
        Ok(Self { shared: Arc::new(Shared::open(root, options, guard)?) })
    }

    /// Returns the protected directory that this entry is.
    pub fn protected(&self, existing: &Existing) -> Option<&Protected> {
        self.shared.guard.find(existing.id()).filter(|_| existing.is_dir())
    }

    /// Returns and clears the attributes that the target could not store: (path, reason).
    pub fn take_notes(&self) -> Vec<Problem> {
        std::mem::take(&mut *self.shared.notes.lock())
    }

    /// Counts another hard link of a device node, which this user may not create either.
    pub fn count_skipped_device(&self) {
        self.shared.owners.count_device();
    }

    /// Returns the metadata skipped so far because of missing privileges.
    pub fn skipped_metadata(&self) -> SkippedMetadata {
        self.shared.owners.skipped()
    }
}

#[cfg(test)]
mod support {
    use std::path::Path;

    use super::{RemovalFilter, Target, TargetOptions};
    use crate::error::{Error, Result};
    use crate::fs::protected_dirs::Protected;
    use crate::model::entry::{Meta, Time};

    pub(super) struct Everything;

    impl RemovalFilter for Everything {
        fn selects(&self, _: &[u8], _: bool) -> bool {
            true
        }
        fn may_select_below(&self, _: &[u8]) -> bool {
            true
        }
        fn removed(&mut self, _: &[u8], _: u64) {}
        fn not_removed(&mut self, path: &[u8], err: Error) {
            panic!("{path:?}: {}", err.chain());
        }
        fn protected(&mut self, path: &[u8], found: &Protected) {
            panic!("{path:?}: {found:?}");
        }
        fn reason_to_keep(&self, _: &Path, _: &[Vec<u8>]) -> Option<Protected> {
            None
        }
    }

    pub(super) fn target(root: &Path) -> Target {
        Target::open(root, TargetOptions { owner: true, writes: true, ..TargetOptions::default() }).unwrap()
    }

    pub(super) fn meta(mode: u32) -> Meta {
        let (uid, gid) = (crate::sys::process::geteuid().as_raw(), crate::sys::process::getegid().as_raw());
        Meta { mode, uid, gid, mtime: Time { sec: 1_000_000_000, nanos: 5 }, ..Meta::default() }
    }

    pub(super) fn write(target: &Target, path: &[u8], bytes: &[u8]) -> Result<()> {
        let file = target.new_file(path, bytes.len() as u64)?;
        file.write_at(0, bytes)?;
        file.finish(&meta(0o640))
    }
}

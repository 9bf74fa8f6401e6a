//! Writes a tree under one directory: never outside it, and never through a symbolic link.
//!
//! `root` finds directories, `dirs` makes them, `file` writes files (as many open as `open` allows), `nodes` makes links
//! and special files; each puts a thing in its place by `temp`. `existing` looks at what is there, `links` goes through
//! links that stand where directories lead to a source, `remove` removes; `locks` comes last.

mod copy_range;
mod dirs;
mod existing;
mod fd_pool;
mod file;
pub mod fold;
mod inode_flags;
mod links;
mod remove;
mod root;
mod special;
mod temp;

use std::path::Path;
use std::sync::{Arc, PoisonError};

use crate::error::{Error, Result};
use crate::fs::ownership::SkippedMetadata;
use crate::fs::protected_dirs::{Guard, Protected};

pub use dirs::Dir;
pub use existing::{Existing, forget_cached, is_zero};
pub use file::NewFile;
pub use links::Lead;
pub use remove::RemovalFilter;

use root::Shared;

/// How to write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TargetOptions {
    /// Take owners by number even if their names exist here.
    pub numeric_ids: bool,
    /// Try to set owners.
    pub owner: bool,
    /// Leave holes where blocks of zeros would be written.
    pub sparse: bool,
    /// Leave extended attributes alone, ACLs and capabilities among them.
    pub no_xattrs: bool,
    /// Write at all; else the target is only looked at.
    pub writes: bool,
}

/// A directory that a tree is written to.
pub struct Target {
    shared: Arc<Shared>,
}

impl Target {
    /// Opens the root, which is made, with its parents, if it is missing and written to.
    ///
    /// # Errors
    /// When it cannot be made or opened.
    pub fn open(root: &Path, options: TargetOptions) -> Result<Self> {
        Self::open_guarded(root, options, Guard::default())
    }

    /// The same, where some directories must be left alone.
    ///
    /// # Errors
    /// As [`Target::open`], and when the root lies in one of them.
    pub fn open_guarded(root: &Path, options: TargetOptions, guard: Guard) -> Result<Self> {
        guard.check(root)?;
        if options.writes {
            std::fs::create_dir_all(root).map_err(Error::io("create", root))?;
            guard.check(root)?;
        }
        Ok(Self { shared: Arc::new(Shared::open(root, options, guard)?) })
    }

    /// Whether a directory must be left alone, and what it is.
    pub fn protected(&self, existing: &Existing) -> Option<&Protected> {
        self.shared.guard.find(existing.id()).filter(|_| existing.is_dir())
    }

    /// Attributes that did not fit the target, since this was last asked: (path, why).
    pub fn take_notes(&self) -> Vec<(Vec<u8>, String)> {
        std::mem::take(&mut *self.shared.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts a device's further name, which this user may not make either.
    pub fn leave_out_device(&self) {
        self.shared.owners.count_device();
    }

    /// What this user may not set, so far.
    pub fn left_out(&self) -> SkippedMetadata {
        self.shared.owners.left_out()
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
        fn takes(&self, _: &[u8], _: bool) -> bool {
            true
        }
        fn may_hold(&self, _: &[u8]) -> bool {
            true
        }
        fn gone(&mut self, _: &[u8], _: u64) {}
        fn stays(&mut self, path: &[u8], err: Error) {
            panic!("{path:?}: {}", err.chain());
        }
        fn spares(&mut self, path: &[u8], found: &Protected) {
            panic!("{path:?}: {found:?}");
        }
    }

    pub(super) fn target(root: &Path) -> Target {
        Target::open(root, TargetOptions { owner: true, writes: true, ..TargetOptions::default() }).unwrap()
    }

    pub(super) fn meta(mode: u32) -> Meta {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        Meta { mode, uid, gid, mtime: Time { sec: 1_000_000_000, nanos: 5 }, ..Meta::default() }
    }

    pub(super) fn write(target: &Target, path: &[u8], bytes: &[u8]) -> Result<()> {
        let file = target.new_file(path, bytes.len() as u64)?;
        file.write_at(0, bytes)?;
        file.finish(&meta(0o640))
    }
}

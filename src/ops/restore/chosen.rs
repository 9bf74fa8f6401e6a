//! What the user chose: attributes that are left out of all entries, and includes that matched nothing.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use crate::error::Result;
use crate::fs::filter::RestoreFilter;
use crate::model::entry::Meta;
use crate::model::id::ChunkId;
use crate::ops::restore::{Job, Options};
use crate::progress::Event;
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::walk::dir_reader;

/// Setuid and setgid.
const SETUID: u32 = 0o6000;

/// One `--include`.
pub(super) struct Include {
    pattern: OsString,
    alone: RestoreFilter,
}

impl Include {
    /// All of them.
    pub(super) fn all(options: &Options) -> Result<Vec<Self>> {
        let one = |pattern: &OsString| {
            let alone = RestoreFilter::new(std::slice::from_ref(pattern), &[])?;
            Ok(Self { pattern: pattern.clone(), alone })
        };
        options.include.iter().filter(|_| options.only.is_none()).map(one).collect()
    }
}

impl Job<'_> {
    /// Leaves out what the user does not want of an entry.
    pub(super) fn tame(&self, meta: &mut Meta) {
        if self.options.no_setuid {
            meta.mode &= !SETUID;
            meta.xattrs.retain(|xattr| xattr.name != b"security.capability");
        }
    }

    /// A path is restored.
    pub(super) fn matched(&self, path: &[u8]) {
        // Nearly always there is none left, and nobody waits.
        if !self.all_matched.load(Ordering::Relaxed) {
            let mut unmatched = self.unmatched.lock().unwrap_or_else(PoisonError::into_inner);
            unmatched.retain(|include| !include.alone.takes(path, false));
            self.all_matched.store(unmatched.is_empty(), Ordering::Relaxed);
        }
    }

    /// Tells which includes named nothing that was restored, and that nothing was.
    pub(super) fn tell_unmatched(&self, reader: &mut ChunkReader, root: ChunkId, taken: u64) -> Result<()> {
        let unmatched = std::mem::take(&mut *self.unmatched.lock().unwrap_or_else(PoisonError::into_inner));
        let told = !unmatched.is_empty();
        for Include { pattern, .. } in unmatched {
            let mut why = "nothing that is restored matches this --include".to_owned();
            let pattern = pattern.as_bytes();
            let name = pattern.strip_prefix(b"/").unwrap_or(pattern);
            let name = name.strip_suffix(b"/").unwrap_or(name);
            let is_glob = name.iter().any(|byte| b"*?[]\\".contains(byte));
            // A name that stands there as it was given, and means something else as a pattern.
            if is_glob && dir_reader::lookup(reader, root, name).is_ok_and(|found| found.is_some()) {
                why += ", though there is an entry of this name: to mean it, put a backslash before each of * ? [ ] \\";
            }
            // With `--delete` it may be meant for what only the target has.
            if self.options.delete && taken > 0 {
                let pattern = String::from_utf8_lossy(pattern);
                self.observer.notice(Event::Warning(&format!("{pattern}: {why}")));
            } else {
                self.note(pattern, why);
            }
        }
        if taken == 0 && !told && !self.options.exclude.is_empty() {
            self.note(b"--exclude", "it leaves nothing to restore".to_owned());
        }
        Ok(())
    }
}

//! The user's selection: attributes that are not restored, and includes that matched nothing.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::Ordering;

use crate::error::{ErrorKind, Problem, Result};
use crate::fs::filter::RestoreFilter;
use crate::model::entry::Meta;
use crate::model::id::ChunkId;
use crate::ops::restore::{Job, Options};
use crate::progress::Event;
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::walk::dir_reader;

/// Mode bits setuid and setgid.
const SETUID: u32 = 0o6000;

/// One `--include` pattern.
pub(super) struct Include {
    pattern: OsString,
    alone: RestoreFilter,
}

impl Include {
    /// Returns all include patterns.
    pub(super) fn parse_all(options: &Options) -> Result<Vec<Self>> {
        let one = |pattern: &OsString| {
            let alone = RestoreFilter::new(std::slice::from_ref(pattern), &[])?;
            Ok(Self { pattern: pattern.clone(), alone })
        };
        options.include.iter().filter(|_| options.only.is_none()).map(one).collect()
    }
}

impl Job<'_> {
    /// Clears the attributes of an entry that the user does not want restored, and counts those that cannot
    /// be.
    pub(super) fn drop_unwanted_metadata(&self, meta: &mut Meta) {
        self.tally.not_restorable.fetch_add(meta.not_restorable(), Ordering::Relaxed);
        if self.options.no_setuid {
            meta.mode &= !SETUID;
            meta.xattrs.retain(|xattr| xattr.name != b"security.capability");
        }
    }

    /// Notes that a path is restored, and which includes it matches.
    pub(super) fn matched(&self, path: &[u8]) {
        // Nearly always all have matched, and the lock is not taken.
        if !self.all_matched.load(Ordering::Relaxed) {
            let mut unmatched = self.unmatched.lock();
            unmatched.retain(|include| !include.alone.takes(path, false));
            self.all_matched.store(unmatched.is_empty(), Ordering::Relaxed);
        }
    }

    /// Reports includes that matched nothing that was restored, and excludes that leave nothing to restore.
    pub(super) fn tell_unmatched(&self, reader: &mut ChunkReader, root: ChunkId, taken: u64) -> Result<()> {
        let unmatched = std::mem::take(&mut *self.unmatched.lock());
        let told = !unmatched.is_empty();
        for Include { pattern, .. } in unmatched {
            let mut why = "no restored entry matches this `RestoreOptions::include`".to_owned();
            let pattern = pattern.as_bytes();
            let name = pattern.strip_prefix(b"/").unwrap_or(pattern);
            let name = name.strip_suffix(b"/").unwrap_or(name);
            let is_glob = name.iter().any(|byte| b"*?[]\\".contains(byte));
            // An entry has exactly this name, but as a pattern the name means something else.
            if is_glob && dir_reader::lookup(reader, root, name).is_ok_and(|found| found.is_some()) {
                why += ", but there is an entry with this name: to select it, put a backslash before each \
                        of * ? [ ] \\";
            }
            // With `--delete` the pattern may be meant for entries that only the target has.
            if self.options.delete && taken > 0 {
                let pattern = String::from_utf8_lossy(pattern);
                self.observer.notice(Event::Warning(&format!("{pattern}: {why}")));
            } else {
                self.tally.unmatched_includes.fetch_add(1, Ordering::Relaxed);
                self.note(Problem::new(pattern, ErrorKind::NotFound, why));
            }
        }
        if taken == 0 && !told && !self.options.exclude.is_empty() {
            let why = "it excludes everything";
            self.note(Problem::new("`RestoreOptions::exclude`", ErrorKind::NotFound, why));
        }
        Ok(())
    }
}

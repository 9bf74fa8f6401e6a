//! The user's selection: attributes that are not restored, and include patterns that matched no entry.

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

/// The mode bits setuid and setgid.
const SETUID: u32 = 0o6000;

/// An `--include` pattern.
pub(super) struct Include {
    pattern: OsString,
    filter: RestoreFilter,
}

impl Include {
    /// Returns the include patterns; none if `only` replaces them.
    pub(super) fn parse_all(options: &Options) -> Result<Vec<Self>> {
        let parse = |pattern: &OsString| {
            let filter = RestoreFilter::new(std::slice::from_ref(pattern), &[])?;
            Ok(Self { pattern: pattern.clone(), filter })
        };
        options.include.iter().filter(|_| options.only.is_none()).map(parse).collect()
    }
}

impl Job<'_> {
    /// Clears the attributes that the user does not want restored, and counts those that this system cannot
    /// restore.
    pub(super) fn drop_unwanted_metadata(&self, meta: &mut Meta) {
        self.tally.not_restorable.fetch_add(meta.not_restorable(), Ordering::Relaxed);
        if self.options.no_setuid {
            meta.mode &= !SETUID;
            meta.xattrs.retain(|xattr| xattr.name != b"security.capability");
        }
    }

    /// Marks the include patterns that match a restored path as matched.
    pub(super) fn matched(&self, path: &[u8]) {
        // All patterns usually match soon. From then on the lock is not taken.
        if !self.all_matched.load(Ordering::Relaxed) {
            let mut unmatched = self.unmatched.lock();
            unmatched.retain(|include| !include.filter.takes(path, false));
            self.all_matched.store(unmatched.is_empty(), Ordering::Relaxed);
        }
    }

    /// Reports include patterns that matched no entry, and exclude patterns that match every entry.
    /// `selected` is the number of selected entries.
    pub(super) fn report_unmatched(
        &self,
        reader: &mut ChunkReader,
        root: ChunkId,
        selected: u64,
    ) -> Result<()> {
        let unmatched = std::mem::take(&mut *self.unmatched.lock());
        let any_unmatched = !unmatched.is_empty();
        for Include { pattern, .. } in unmatched {
            let mut why = "no restored entry matches this `RestoreOptions::include`".to_owned();
            let pattern = pattern.as_bytes();
            let name = pattern.strip_prefix(b"/").unwrap_or(pattern);
            let name = name.strip_suffix(b"/").unwrap_or(name);
            let is_glob = name.iter().any(|byte| b"*?[]\\".contains(byte));
            // The user may have meant the name literally.
            if is_glob && dir_reader::lookup(reader, root, name).is_ok_and(|found| found.is_some()) {
                why += ", but there is an entry with this name: to select it, put a backslash before each \
                        of * ? [ ] \\";
            }
            // With `--delete` the pattern may be meant for entries that only the target has.
            if self.options.delete && selected > 0 {
                let pattern = String::from_utf8_lossy(pattern);
                self.observer.notice(Event::Warning(&format!("{pattern}: {why}")));
            } else {
                self.tally.unmatched_includes.fetch_add(1, Ordering::Relaxed);
                self.record_problem(Problem::new(pattern, ErrorKind::NotFound, why));
            }
        }
        if selected == 0 && !any_unmatched && !self.options.exclude.is_empty() {
            let why = "it excludes everything";
            self.record_problem(Problem::new("`RestoreOptions::exclude`", ErrorKind::NotFound, why));
        }
        Ok(())
    }
}

//! The content of a delta. It is determined before the first member is written, since the list of removed
//! paths comes first.

use std::collections::HashSet;

use crate::error::{Error, Result};
use crate::model::entry::Entry;
use crate::model::entry_diff;
use crate::ops::export::DELETED;
use crate::repo::walk::diff_walk::{self, DiffEntry, DiffLimits, TreeSource};

/// What is known about a delta before its first member is written.
#[derive(Debug, Default)]
pub(super) struct Delta {
    /// Paths that were removed or changed kind, each followed by a NUL. To be removed before the rest is
    /// extracted.
    pub(super) deleted: Vec<u8>,
    /// Number of these paths.
    pub(super) count: u64,
    /// Hard link groups of which some name changed. All names of a group are in the delta, since a link can
    /// only refer to a member of the archive.
    links: HashSet<u128>,
}

impl Delta {
    pub(super) fn find(
        before: &mut dyn TreeSource,
        after: &mut dyn TreeSource,
        mut limits: DiffLimits,
    ) -> Result<Self> {
        let mut delta = Self::default();
        diff_walk::walk(before, after, &mut |pair| {
            limits.count(&pair)?;
            if pair.path == DELETED && pair.after.is_some() {
                let name = String::from_utf8_lossy(DELETED);
                return Err(Error::Refused(format!(
                    "there is an entry {name}, but a delta archive needs this name for its list"
                )));
            }
            let retyped = pair.before.zip(pair.after).is_some_and(|(a, b)| !entry_diff::same_type(a, b));
            if pair.after.is_none() || retyped {
                delta.deleted.extend_from_slice(pair.path);
                delta.deleted.push(0);
                delta.count += 1;
            }
            if let Some(after) = pair.after
                && after.meta.link != 0
                && is_changed(pair.before, after)
            {
                delta.links.insert(after.meta.link);
            }
            Ok(pair.after.is_some_and(Entry::is_dir) && !pair.same_tree())
        })?;
        Ok(delta)
    }

    pub(super) fn includes(&self, pair: &DiffEntry<'_>, after: &Entry) -> bool {
        is_changed(pair.before, after) || self.links.contains(&after.meta.link)
    }

    /// Returns whether an entry below a directory may be in the delta.
    pub(super) fn may_include_below(&self, pair: &DiffEntry<'_>) -> bool {
        !self.links.is_empty() || !pair.same_tree()
    }
}

fn is_changed(before: Option<&Entry>, after: &Entry) -> bool {
    before.is_none_or(|before| {
        !entry_diff::same_content(before, after)
            || !entry_diff::metadata(&before.meta, &after.meta).is_empty()
            || before.meta.link != after.meta.link
    })
}

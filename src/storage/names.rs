//! Names of objects that belong to a repository. Anything else in its folders (`Thumbs.db`, a "conflicted
//! copy", the folder of another program) is foreign: it is neither read, counted nor removed, and only
//! `check` and `gc` report it.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::Result;
use crate::model::id::{ChunkId, KeyId, PackId, SnapshotId};
use crate::storage::{Capacity, CreateOutcome, Listed, LockGuard, ObjectKind, Storage};

/// Suffix of a session's end marker, written if the session could not remove its own record.
pub const END_MARKER: &str = ".end";

/// The highest number of a gc run that a name may have. Higher ones are not snap's, so incrementing never
/// overflows.
pub const LAST_GC_RUN: u64 = 1 << 48;
/// The highest generation of the configuration, for the same reason.
pub const LAST_GENERATION: u32 = 1 << 30;

/// Maximum foreign names that a message lists.
const MAX_LISTED: usize = 5;

/// Returns whether snap uses such a name for this kind of object.
pub fn is_known(area: ObjectKind, name: &str) -> bool {
    let is_id = |name: &str| SnapshotId::parse(name).is_ok();
    match area {
        ObjectKind::Config => generation(name).is_some_and(|number| number <= LAST_GENERATION),
        ObjectKind::Keys => KeyId::parse(name).is_ok(),
        ObjectKind::Packs | ObjectKind::Parity => PackId::parse(name).is_ok(),
        ObjectKind::Index | ObjectKind::Snapshots | ObjectKind::Audit => is_id(name),
        ObjectKind::Trash => name.split_once('.').is_some_and(|(id, by)| is_id(id) && is_id(by)),
        ObjectKind::Sessions => match name.split_once('.') {
            None => is_id(name),
            Some((id, end)) => is_id(id) && matches!(end, "beat" | "seen" | "end"),
        },
        ObjectKind::Gc => gc_run(name).is_some_and(|number| number <= LAST_GC_RUN),
        ObjectKind::Damage => ChunkId::parse(name).is_ok(),
        // These are never read.
        ObjectKind::Quarantine => true,
    }
}

/// Parses the number of a generation, if the name is in the form that snap writes.
pub fn generation(name: &str) -> Option<u32> {
    let number: u32 = name.parse().ok()?;
    (number > 0 && number.to_string() == name).then_some(number)
}

/// Parses the number from the name of a gc record or its finish marker, if snap writes such a name.
pub fn gc_run(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".done").unwrap_or(name);
    let number = u64::from_str_radix(digits, 16).ok()?;
    (format!("{number:016x}") == digits).then_some(number)
}

/// Lists objects of a kind, without foreign ones.
///
/// # Errors
/// As [`Storage::list`].
pub fn list(storage: &dyn Storage, area: ObjectKind) -> Result<Vec<Listed>> {
    let mut listed = storage.list(area)?;
    listed.retain(|found| is_known(area, &found.name));
    Ok(listed)
}

/// The beginning of the message about foreign files.
pub const FOREIGN: &str = "the repository contains files that are not snap's; they are ignored";

/// Returns a message about foreign files; `None` if there are none. It covers what listings have found so
/// far, and what the storage can find without extra cost.
///
/// # Errors
/// A folder cannot be listed.
pub fn strays(storage: &dyn Storage) -> Result<Option<String>> {
    let mut all = Vec::new();
    for area in ObjectKind::ALL {
        all.extend(storage.strays(area)?);
    }
    let Some(first) = all.get(..all.len().min(MAX_LISTED)).filter(|first| !first.is_empty()) else {
        return Ok(None);
    };
    let more =
        if all.len() > MAX_LISTED { format!(" and {} more", all.len() - MAX_LISTED) } else { String::new() };
    Ok(Some(format!("{FOREIGN}: {}{more}; they can be removed", first.join(", "))))
}

/// A storage that shows only snap's own objects.
pub struct OwnObjects {
    inner: Arc<dyn Storage>,
    /// Foreign names found by listings, so that reporting them needs no further listing.
    foreign: Mutex<BTreeSet<(ObjectKind, String)>>,
}

impl OwnObjects {
    /// Wraps a storage.
    pub fn of(storage: Arc<dyn Storage>) -> Arc<dyn Storage> {
        Arc::new(Self { inner: storage, foreign: Mutex::default() })
    }
}

impl fmt::Debug for OwnObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Storage for OwnObjects {
    fn list(&self, area: ObjectKind) -> Result<Vec<Listed>> {
        let listed = self.inner.list(area)?;
        let (own, other): (Vec<Listed>, _) =
            listed.into_iter().partition(|found| is_known(area, &found.name));
        if !other.is_empty() {
            self.foreign.lock().extend(other.into_iter().map(|found| (area, found.name)));
        }
        Ok(own)
    }

    fn strays(&self, area: ObjectKind) -> Result<Vec<String>> {
        let mut all: BTreeSet<String> = self.inner.strays(area)?.into_iter().collect();
        let foreign = self.foreign.lock();
        let here = foreign.iter().filter(|(of, _)| *of == area);
        all.extend(here.map(|(_, name)| format!("{}/{name}", area.folder())));
        Ok(all.into_iter().collect())
    }

    fn location(&self) -> String {
        self.inner.location()
    }

    fn local_dir(&self) -> Option<&Path> {
        self.inner.local_dir()
    }

    fn read(&self, area: ObjectKind, name: &str, limit: u64) -> Result<Vec<u8>> {
        self.inner.read(area, name, limit)
    }

    fn read_range(&self, area: ObjectKind, name: &str, offset: u64, out: &mut [u8]) -> Result<()> {
        self.inner.read_range(area, name, offset, out)
    }

    fn create(&self, area: ObjectKind, name: &str, parts: &[&[u8]]) -> Result<CreateOutcome> {
        self.inner.create(area, name, parts)
    }

    fn create_owned(&self, area: ObjectKind, name: &str, parts: Vec<Vec<u8>>) -> Result<CreateOutcome> {
        self.inner.create_owned(area, name, parts)
    }

    fn is_remote(&self) -> bool {
        self.inner.is_remote()
    }

    fn create_held(&self, area: ObjectKind, name: &str, bytes: &[u8]) -> Result<Box<dyn LockGuard>> {
        self.inner.create_held(area, name, bytes)
    }

    fn replace(&self, area: ObjectKind, name: &str, bytes: &[u8]) -> Result<()> {
        self.inner.replace(area, name, bytes)
    }

    fn is_held(&self, area: ObjectKind, name: &str) -> Result<Option<bool>> {
        self.inner.is_held(area, name)
    }

    fn weakness(&self) -> Result<Option<String>> {
        self.inner.weakness()
    }

    fn cautions(&self) -> Vec<String> {
        self.inner.cautions()
    }

    fn move_to(&self, from: (ObjectKind, &str), to: (ObjectKind, &str)) -> Result<CreateOutcome> {
        self.inner.move_to(from, to)
    }

    fn remove(&self, area: ObjectKind, name: &str) -> Result<()> {
        self.inner.remove(area, name)
    }

    fn release_reserve(&self) -> Result<()> {
        self.inner.release_reserve()
    }

    fn keep_reserve(&self) {
        self.inner.keep_reserve();
    }

    fn capacity(&self) -> Option<Capacity> {
        self.inner.capacity()
    }

    fn remove_stale_temp_files(&self) -> Result<()> {
        self.inner.remove_stale_temp_files()
    }

    fn sync(&self, area: ObjectKind) -> Result<()> {
        self.inner.sync(area)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_in_the_form_that_snap_writes_are_its_own() {
        let (short, long) = ("0123456789abcdef".repeat(2), "0123456789abcdef".repeat(4));
        for (area, name) in [
            (ObjectKind::Config, "1".to_owned()),
            (ObjectKind::Keys, long.clone()),
            (ObjectKind::Packs, long.clone()),
            (ObjectKind::Parity, long.clone()),
            (ObjectKind::Index, short.clone()),
            (ObjectKind::Snapshots, short.clone()),
            (ObjectKind::Trash, format!("{short}.{short}")),
            (ObjectKind::Sessions, short.clone()),
            (ObjectKind::Sessions, format!("{short}.beat")),
            (ObjectKind::Sessions, format!("{short}.seen")),
            (ObjectKind::Sessions, format!("{short}.end")),
            (ObjectKind::Gc, "000000000000000a".to_owned()),
            (ObjectKind::Gc, "000000000000000a.done".to_owned()),
            (ObjectKind::Damage, long.clone()),
            (ObjectKind::Audit, short.clone()),
        ] {
            assert!(is_known(area, &name), "{area:?} {name}");
            let copies = ["Thumbs.db".to_owned(), format!("{name} (1)"), format!("{name}.tmp"), name + "~"];
            for other in
                copies.iter().chain(&["0".into(), "+1".into(), "01".into(), "ffffffffffffffff".into()])
            {
                assert!(!is_known(area, other), "{area:?} {other}");
            }
        }
        assert!(!is_known(ObjectKind::Snapshots, &short.to_uppercase()), "only lower case");
        assert!(!is_known(ObjectKind::Config, "4294967295"), "a number that cannot be incremented");
    }
}

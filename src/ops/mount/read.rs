//! Reads directory listings, file content and extended attributes.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::model::entry::{Entry, Kind, Xattr, XattrValue};
use crate::ops::mount::handles::{Open, OpenFile};
use crate::ops::mount::inodes::{Dir, Known};
use crate::ops::mount::virtual_dirs::Child;
use crate::ops::mount::{FsError, FsResult, InodeAttributes, InodeType, Mount};
use crate::repo::random::dir_lookup;
use crate::repo::random::random_reader::ReadAhead;

/// Positions of a listing before the first entry: `.` and `..`.
const DOTS: u64 = 2;

/// An entry of a directory listing.
#[derive(Debug)]
pub struct ListedEntry<'a> {
    /// Its inode number.
    pub ino: u64,
    /// Its type.
    pub kind: InodeType,
    /// Its name.
    pub name: &'a [u8],
    /// Position at which the listing continues after it.
    pub next: u64,
    /// Its attributes, if requested: this then counts as a lookup by the kernel. Always `None` for `.` and
    /// `..`.
    pub attributes: Option<InodeAttributes>,
}

/// Receives the entries of a listing. Returns false if it is full and has not taken the entry.
pub type List<'a> = &'a mut dyn FnMut(&ListedEntry<'_>) -> bool;

impl Mount {
    /// Opens a directory for listing, and returns a handle.
    ///
    /// # Errors
    /// `NotDir`, `Stale`, `Io`.
    pub fn open_dir(&self, ino: u64) -> FsResult<u64> {
        self.call();
        let (dir, above) = self.directory(ino)?;
        let open = match dir {
            Some(dir) => Open::Dir(dir),
            None => {
                let shown = self.shown()?;
                let number = |name: &str, child: &Child| match child {
                    Child::Virtual(what) => self.numbers.of_virtual(ino, name, what),
                    Child::Snapshot(name) => {
                        shown.snapshots.get(name).map_or(0, |snapshot| self.numbers.of_root(&snapshot.id))
                    }
                };
                let names = above.names(&shown).into_iter();
                let children = names.filter_map(|name| {
                    let child = above.child(&name, &shown)?;
                    let ino = number(&name, &child);
                    Some((name, ino, child))
                });
                Open::Virtual { ino, children: children.collect() }
            }
        };
        Ok(self.add(open))
    }

    /// Returns whether the listing of an open directory can never change.
    pub fn lasts(&self, handle: u64) -> bool {
        self.handles.get(handle).is_some_and(|open| matches!(&*open, Open::Dir(_)))
    }

    /// Lists an open directory from a position on, with attributes if requested.
    ///
    /// # Errors
    /// `Stale`, `Io`.
    pub fn list(&self, handle: u64, from: u64, attributes: bool, list: List<'_>) -> FsResult<()> {
        self.call();
        let open = self.handles.get(handle).ok_or(FsError::Stale)?;
        let (ino, parent) = match &*open {
            Open::Dir(dir) => (dir.ino, dir.parent),
            Open::Virtual { ino, .. } => (*ino, super::TOP),
            Open::File(_) => return Err(FsError::NotDir),
        };
        for (at, name, ino) in [(0, b".".as_slice(), ino), (1, b"..", parent)] {
            let dot = ListedEntry { ino, kind: InodeType::Dir, name, next: at + 1, attributes: None };
            if at >= from && !list(&dot) {
                return Ok(());
            }
        }
        let from = from.saturating_sub(DOTS);
        match &*open {
            Open::Dir(dir) => self.list_entries(dir, from, attributes, list),
            Open::Virtual { children, .. } => self.list_virtual(ino, children, from, attributes, list),
            Open::File(_) => Err(FsError::NotDir),
        }
    }

    fn list_entries(&self, dir: &Dir, from: u64, attributes: bool, list: List<'_>) -> FsResult<()> {
        let mut fault = None;
        let read = dir_lookup::for_each_from(&self.reader, &dir.tree, from, &mut |place, entry| {
            let next = place.saturating_add(DOTS + 1);
            if !attributes {
                let ino = self.numbers.of_entry(&dir.snapshot.id, dir.ino, entry);
                let kind = InodeType::of(entry);
                return list(&ListedEntry { ino, kind, name: &entry.name, next, attributes: None });
            }
            match self.introduce_entry(dir, place, entry) {
                Err(why) => {
                    fault = Some(why);
                    false
                }
                Ok(attributes) => {
                    let (ino, kind) = (attributes.ino, attributes.kind);
                    let attributes = Some(attributes);
                    let taken = list(&ListedEntry { ino, kind, name: &entry.name, next, attributes });
                    if !taken {
                        self.forget(ino, 1);
                    }
                    taken
                }
            }
        });
        self.reported(|| self.path(dir.ino), read)?;
        fault.map_or(Ok(()), Err)
    }

    fn list_virtual(
        &self,
        parent: u64,
        children: &[(String, u64, Child)],
        from: u64,
        attributes: bool,
        list: List<'_>,
    ) -> FsResult<()> {
        let shown = self.shown()?;
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        for ((name, ino, child), next) in children.iter().zip(DOTS + 1..).skip(from) {
            let kind = match child {
                Child::Virtual(what) if what.is_link() => InodeType::Symlink,
                _ => InodeType::Dir,
            };
            let told = if attributes {
                match self.introduce(parent, name, child, &shown, true) {
                    Err(_) => continue,
                    Ok(attributes) => Some(attributes),
                }
            } else {
                None
            };
            if !list(&ListedEntry { ino: *ino, kind, name: name.as_bytes(), next, attributes: told }) {
                if attributes {
                    self.forget(*ino, 1);
                }
                break;
            }
        }
        Ok(())
    }

    /// Opens a file, and returns a handle.
    ///
    /// # Errors
    /// `IsDir`, `Stale`, `Io`.
    pub fn open_file(&self, ino: u64) -> FsResult<u64> {
        self.call();
        let known = self.known().known(ino).ok_or(FsError::Stale)?;
        let Known::Entry(dir, place) = known else { return Err(FsError::IsDir) };
        let entry = self.entry(&dir, place)?;
        match &entry.kind {
            Kind::File { size, content } => Ok(self.add(Open::File(OpenFile {
                snapshot: dir.snapshot.id,
                size: *size,
                content: content.clone(),
                read_ahead: ReadAhead::default(),
                parent: dir.ino,
                name: entry.name.clone(),
            }))),
            Kind::Dir { .. } => Err(FsError::IsDir),
            _ => Err(FsError::Invalid),
        }
    }

    fn add(&self, open: Open) -> u64 {
        if let Some(id) = open.snapshot() {
            self.watch().opened(id);
        }
        self.handles.add(open)
    }

    /// Closes a handle.
    pub fn release(&self, handle: u64) {
        if let Some(id) = self.handles.remove(handle).and_then(|open| open.snapshot()) {
            self.watch().closed(id);
        }
    }

    /// Reads bytes of an open file. Returns fewer than requested only at its end.
    ///
    /// # Errors
    /// `Stale`, `Io`.
    pub fn read(&self, handle: u64, offset: u64, len: u32) -> FsResult<Vec<u8>> {
        self.call();
        let open = self.handles.get(handle).ok_or(FsError::Stale)?;
        let Open::File(file) = &*open else { return Err(FsError::IsDir) };
        let range = offset..offset.saturating_add(u64::from(len));
        let read = self.reader.read(file.size, &file.content, range, &file.read_ahead);
        self.reported(|| self.path_of(file), read)
    }

    /// Returns the next offset at which an open file has data, or a hole if not `data`.
    ///
    /// # Errors
    /// `Beyond` if there is none, `Stale`, `Io`.
    pub fn seek(&self, handle: u64, from: u64, data: bool) -> FsResult<u64> {
        self.call();
        let open = self.handles.get(handle).ok_or(FsError::Stale)?;
        let Open::File(file) = &*open else { return Err(FsError::Invalid) };
        let found = self.reader.seek(file.size, &file.content, from, data);
        self.reported(|| self.path_of(file), found)?.ok_or(FsError::Beyond)
    }

    /// Returns the names of extended attributes.
    ///
    /// # Errors
    /// `Stale`, `Io`.
    pub fn xattr_names(&self, ino: u64) -> FsResult<Vec<Vec<u8>>> {
        let entry = self.with_xattrs(ino)?;
        let all = entry.iter().flat_map(|(entry, _)| &entry.meta.xattrs);
        Ok(all.filter(|xattr| !xattr.value.is_too_large()).map(|xattr| xattr.name.clone()).collect())
    }

    /// Returns the value of an extended attribute.
    ///
    /// # Errors
    /// `NoData` if there is none of this name, `Stale`, `Io`.
    pub fn xattr(&self, ino: u64, name: &[u8]) -> FsResult<Vec<u8>> {
        let (entry, dir) = self.with_xattrs(ino)?.ok_or(FsError::NoData)?;
        let is_it = |xattr: &&Xattr| xattr.name == name && !xattr.value.is_too_large();
        let found = entry.meta.xattrs.iter().find(is_it).ok_or(FsError::NoData)?;
        self.reported(|| self.path_in(dir.ino, &entry.name), self.value(found))
    }

    /// Returns the inode flags, with Linux's values (`FS_IOC_GETFLAGS`).
    ///
    /// # Errors
    /// `Stale`, `Io`.
    pub fn flags(&self, ino: u64) -> FsResult<u32> {
        Ok(self.with_xattrs(ino)?.map_or(0, |(entry, _)| entry.meta.attrs))
    }

    /// Returns the entry with its xattrs; `None` for virtual inodes, which have none.
    fn with_xattrs(&self, ino: u64) -> FsResult<Option<(Arc<Entry>, Dir)>> {
        self.call();
        let known = self.known().known(ino).ok_or(FsError::Stale)?;
        let Known::Entry(dir, place) = known else { return Ok(None) };
        Ok(Some((self.entry(&dir, place)?, dir)))
    }

    fn value(&self, xattr: &Xattr) -> Result<Vec<u8>> {
        match &xattr.value {
            XattrValue::Inline(bytes) => Ok(bytes.clone()),
            XattrValue::Content { size, content } => {
                let value = self.reader.read(*size, content, 0..*size, &ReadAhead::default())?;
                (value.len() as u64 == *size).then_some(value).ok_or(Error::Stopped)
            }
        }
    }

    fn path_of(&self, file: &OpenFile) -> Vec<u8> {
        self.path_in(file.parent, &file.name)
    }

    fn path_in(&self, dir: u64, name: &[u8]) -> Vec<u8> {
        [&self.path(dir), b"/".as_slice(), name].concat()
    }
}

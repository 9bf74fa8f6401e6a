//! Limits the number of open files: files can be closed and reopened between writes.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::fs::target::root::Shared;
use crate::sys::fs::{Mode, OFlags, fstat, openat};
use crate::sys::process::raise_open_files;

/// File descriptors reserved for the repository, its index cache, the workers' reads and the standard
/// streams.
const RESERVED: u64 = 40;
/// Flags for opening an existing file for writing.
pub(in crate::fs::target) const WRITE_FLAGS: OFlags = OFlags::WRONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// Maximum numbers of open files and directories.
#[derive(Debug, Clone, Copy)]
pub(in crate::fs::target) struct Limits {
    pub(in crate::fs::target) files: usize,
    pub(in crate::fs::target) dirs: usize,
}

impl Limits {
    /// Raises the soft limit of open files to the hard limit and divides it.
    pub(in crate::fs::target) fn raise() -> Self {
        let spare = usize::try_from(raise_open_files().saturating_sub(RESERVED)).unwrap_or(usize::MAX);
        Self { files: (spare / 2).clamp(4, 4096), dirs: (spare / 4).clamp(4, 64) }
    }
}

/// A file that is being written. It may be closed, and is reopened by its name.
pub(in crate::fs::target) struct Held {
    pub(in crate::fs::target) shared: Arc<Shared>,
    /// Its current name, as a path of the target.
    pub(in crate::fs::target) path: Vec<u8>,
    /// Device and inode. The reopened file must have the same; otherwise it was replaced.
    identity: (u64, u64),
    slot: Mutex<Option<Arc<File>>>,
    used: AtomicBool,
}

impl Held {
    /// Takes over an open file.
    pub(in crate::fs::target) fn new(shared: &Arc<Shared>, path: Vec<u8>, file: File) -> Result<Arc<Self>> {
        let found = fstat(&file).map_err(shared.at("read the metadata of", &path))?;
        let held = Arc::new(Self {
            shared: Arc::clone(shared),
            path,
            identity: (found.st_dev, found.st_ino),
            slot: Mutex::new(Some(Arc::new(file))),
            used: AtomicBool::new(true),
        });
        shared.pool.admit(&held);
        Ok(held)
    }

    /// Returns the file, reopened if necessary.
    pub(in crate::fs::target) fn file(self: &Arc<Self>) -> Result<Arc<File>> {
        let mut slot = self.slot.lock();
        if let Some(file) = &*slot {
            self.used.store(true, Ordering::Relaxed);
            return Ok(Arc::clone(file));
        }
        let (dir, name) = self.shared.place(&self.path)?;
        let fd = openat(&dir.fd, name, WRITE_FLAGS, Mode::empty());
        let fd = fd.map_err(self.shared.at("open", &self.path))?;
        let found = fstat(&fd).map_err(self.shared.at("read the metadata of", &self.path))?;
        if (found.st_dev, found.st_ino) != self.identity || found.st_nlink != 1 {
            let shown = self.shared.show(&self.path);
            return Err(Error::Refused(format!("{} was replaced by another process", shown.display())));
        }
        let file = Arc::new(File::from(fd));
        *slot = Some(Arc::clone(&file));
        self.shared.pool.admit(self);
        Ok(file)
    }
}

/// Open files in the order in which they were opened. Entries of finished files are dead references.
pub(in crate::fs::target) struct Pool {
    max_open: usize,
    open: Mutex<VecDeque<Weak<Held>>>,
}

impl Pool {
    pub(in crate::fs::target) fn new(max_open: usize) -> Self {
        Self { max_open, open: Mutex::default() }
    }

    /// Adds a file, and closes the least recently used ones if there are too many. The caller may hold the
    /// slot of the new file, so other slots are only tried, never waited for.
    fn admit(&self, held: &Arc<Held>) {
        let mut open = self.open.lock();
        let mut tries = 2 * open.len();
        while open.len() >= self.max_open && tries > 0 {
            tries -= 1;
            let Some(oldest) = open.pop_front() else { break };
            let Some(old) = oldest.upgrade() else { continue };
            if !close(&old) {
                open.push_back(oldest);
            }
        }
        open.push_back(Arc::downgrade(held));
    }
}

/// Closes a file, unless it was used since the last attempt or is in use now.
pub(in crate::fs::target) fn close(held: &Held) -> bool {
    let Some(mut slot) = held.slot.try_lock() else { return false };
    if held.used.swap(false, Ordering::Relaxed) {
        return false;
    }
    match &*slot {
        Some(file) if Arc::strong_count(file) > 1 => false,
        _ => {
            *slot = None;
            true
        }
    }
}

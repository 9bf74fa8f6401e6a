//! Watches a tree: files opened for writing, written, created, moved, removed, or given attributes.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

pub struct Watch(File);

impl Watch {
    /// Watches a directory and everything that is below it now.
    pub fn of(root: &Path) -> Self {
        let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        let what = WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO;
        for entry in walkdir::WalkDir::new(root) {
            let entry = entry.unwrap();
            if entry.file_type().is_dir() {
                inotify::add_watch(&fd, entry.path(), what).unwrap();
            }
        }
        Self(File::from(fd))
    }

    /// Returns whether nothing happened.
    pub fn is_calm(&mut self) -> bool {
        self.0.read(&mut [0; 4096]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }
}

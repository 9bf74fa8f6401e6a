//! Limitations of the file system below a repository, found by trying, and the permissions of new objects.

use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sys::fs::{Gid, fchown};
use crate::sys::io::Errno;

/// Permissions of new objects in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Modes {
    pub(super) dir: u32,
    pub(super) file: u32,
    /// The group that shares the repository; `None` if it is private.
    group: Option<u32>,
}

impl Modes {
    /// For the owner only.
    pub(super) const PRIVATE: Self = Self { dir: 0o700, file: 0o600, group: None };

    /// Derives the permissions from the group bits of the repository's directory. A directory with the usual
    /// mode (readable for all, writable for its owner) does not count as shared.
    fn of(root: &Metadata) -> Self {
        let mode = root.mode();
        let group = mode & 0o070;
        let is_shared = mode & 0o2000 != 0 || group & 0o020 != 0 || mode & 0o007 == 0;
        match group {
            0 => Self::PRIVATE,
            _ if !is_shared => Self::PRIVATE,
            _ => Self {
                dir: 0o700 | group | mode & 0o2000,
                file: 0o600 | group & 0o060,
                group: Some(root.gid()),
            },
        }
    }

    /// Sets group and permissions of a new object, regardless of the umask. Best effort: this user may not be
    /// allowed to.
    pub(super) fn share(self, file: &File, mode: u32) {
        let Some(group) = self.group else { return };
        if file.metadata().is_ok_and(|found| found.gid() != group) {
            let _ = fchown(file.as_fd(), None, Some(Gid::from_raw(group)));
        }
        let _ = file.set_permissions(Permissions::from_mode(mode));
    }
}

/// Limitations found so far. A storage with one of them is treated with more care, like remote storage.
#[derive(Debug, Default)]
pub(super) struct Quirks {
    modes: OnceLock<Modes>,
    /// Directories cannot be synced.
    pub(super) unsynced: Flag,
    /// Files cannot be locked.
    pub(super) unlocked: Flag,
    /// Exclusive creation is not supported.
    pub(super) overwrites: Flag,
}

/// A limitation: set when found, and reported once.
#[derive(Debug, Default)]
pub(super) struct Flag {
    raised: AtomicBool,
    reported: AtomicBool,
}

impl Flag {
    pub(super) fn raise(&self) {
        self.raised.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Relaxed)
    }

    /// Returns whether it was found and not reported yet; from now on it counts as reported.
    fn take_report(&self) -> bool {
        self.is_raised() && !self.reported.swap(true, Ordering::Relaxed)
    }
}

impl Quirks {
    /// Returns the permissions of new objects, derived from the repository's directory once it exists.
    pub(super) fn modes(&self, root: &Path) -> Modes {
        match (self.modes.get(), root.metadata()) {
            (Some(known), _) => *known,
            (None, Ok(root)) => *self.modes.get_or_init(|| Modes::of(&root)),
            (None, Err(_)) => Modes::PRIVATE,
        }
    }

    /// Describes the limitation that makes the storage unsafe for concurrent gc, if any.
    pub(super) fn weakness(&self) -> Option<&'static str> {
        self.limitations().into_iter().find(|(flag, ..)| flag.is_raised()).map(|(_, kind, _)| kind)
    }

    /// Returns the limitations that make the storage unsafe for concurrent gc, the worst first: each with the
    /// kind of file system, and what follows from it.
    fn limitations(&self) -> [(&Flag, &'static str, &'static str); 3] {
        [
            (
                &self.overwrites,
                "a file system with neither exclusive renames nor hard links",
                "`Repository::gc` deletes nothing there while other processes use it",
            ),
            (
                &self.unlocked,
                "a file system without file locks",
                "`Repository::gc` deletes nothing there while other processes use it, and waits for those that \
                 were killed",
            ),
            (
                &self.unsynced,
                "a file system that cannot sync directories",
                "a power failure may lose what was saved in the last seconds, and `Repository::gc` deletes \
                 nothing there while other processes use it",
            ),
        ]
    }

    /// Returns new warnings for the user, each once.
    pub(super) fn take_warnings(&self, root: &Path) -> Vec<String> {
        let root = root.display();
        let new = self.limitations().into_iter().filter(|(flag, ..)| flag.take_report());
        new.map(|(_, kind, consequence)| format!("{root} is on {kind}: {consequence}")).collect()
    }
}

/// Returns whether the error means that the file system lacks the operation.
pub(super) fn is_unsupported(errno: Errno) -> bool {
    matches!(errno, Errno::INVAL | Errno::NOSYS | Errno::NOTSUP)
}

/// Like [`is_unsupported`], for an error of the standard library.
pub(super) fn is_unsupported_io(error: &io::Error) -> bool {
    Errno::from_io_error(error).is_some_and(is_unsupported)
}

/// Returns whether the error means that the file system, or its server, has no locks.
pub(super) fn has_no_locks(error: &io::Error) -> bool {
    Errno::from_io_error(error).is_some_and(|errno| is_unsupported(errno) || errno == Errno::NOLCK)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn new_objects_are_shared_where_the_directory_was_made_to_be() {
        let dir = tempfile::tempdir().unwrap();
        let modes = |mode| {
            fs::set_permissions(dir.path(), Permissions::from_mode(mode)).unwrap();
            let found = Modes::of(&dir.path().metadata().unwrap());
            (found.dir, found.file)
        };
        for (mode, wanted) in [
            (0o700, (0o700, 0o600)),
            (0o755, (0o700, 0o600)),
            (0o2770, (0o2770, 0o660)),
            (0o770, (0o770, 0o660)),
            (0o775, (0o770, 0o660)),
            (0o750, (0o750, 0o640)),
            (0o2755, (0o2750, 0o640)),
        ] {
            assert_eq!(modes(mode), wanted, "{mode:o}");
        }
        fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).unwrap();
    }

    #[test]
    fn missing_feature_is_reported_once() {
        let quirks = Quirks::default();
        assert!(quirks.take_warnings(Path::new("/r")).is_empty() && quirks.weakness().is_none());
        quirks.unlocked.raise();
        quirks.unsynced.raise();
        assert_eq!(quirks.take_warnings(Path::new("/r")).len(), 2);
        quirks.unlocked.raise();
        assert!(quirks.take_warnings(Path::new("/r")).is_empty());
        assert_eq!(quirks.weakness(), Some("a file system without file locks"));
    }
}

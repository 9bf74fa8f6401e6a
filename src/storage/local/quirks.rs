//! What the file system below a repository cannot do, found by trying, and the modes that new objects get.

use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::Gid;
use rustix::io::Errno;

/// Permissions of what is made in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Modes {
    pub(super) dir: u32,
    pub(super) file: u32,
    /// Whose members share it; `None` where nobody does.
    group: Option<u32>,
}

impl Modes {
    /// Only for the owner.
    pub(super) const PRIVATE: Self = Self { dir: 0o700, file: 0o600, group: None };

    /// Those of the repository's directory, as far as they are for its group. A directory that merely has the mode that
    /// most have, readable for everybody and writable for its owner, was not made to be shared.
    fn of(root: &Metadata) -> Self {
        let mode = root.mode();
        let group = mode & 0o070;
        let is_meant = mode & 0o2000 != 0 || group & 0o020 != 0 || mode & 0o007 == 0;
        match group {
            0 => Self::PRIVATE,
            _ if !is_meant => Self::PRIVATE,
            _ => Self {
                dir: 0o700 | group | mode & 0o2000,
                file: 0o600 | group & 0o060,
                group: Some(root.gid()),
            },
        }
    }

    /// Gives what was just made to the group, whatever the umask. Who may not do that has made it for himself, as before.
    pub(super) fn share(self, made: &File, mode: u32) {
        let Some(group) = self.group else { return };
        if made.metadata().is_ok_and(|found| found.gid() != group) {
            let _ = rustix::fs::fchown(made.as_fd(), None, Some(Gid::from_raw(group)));
        }
        let _ = made.set_permissions(Permissions::from_mode(mode));
    }
}

/// What was found about a file system. A store that lacks one of these is used with more care, as one far away is.
#[derive(Debug, Default)]
pub(super) struct Quirks {
    modes: OnceLock<Modes>,
    /// Directories cannot be synced.
    pub(super) unsynced: Flag,
    /// Files cannot be locked.
    pub(super) unlocked: Flag,
    /// Names cannot be taken exclusively.
    pub(super) overwrites: Flag,
}

/// Raised once something was found, and told of once.
#[derive(Debug, Default)]
pub(super) struct Flag {
    raised: AtomicBool,
    told: AtomicBool,
}

impl Flag {
    pub(super) fn raise(&self) {
        self.raised.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Relaxed)
    }

    fn is_news(&self) -> bool {
        self.is_raised() && !self.told.swap(true, Ordering::Relaxed)
    }
}

impl Quirks {
    /// Permissions of new objects, by those of the repository's directory, once there is one.
    pub(super) fn modes(&self, root: &Path) -> Modes {
        match (self.modes.get(), root.metadata()) {
            (Some(known), _) => *known,
            (None, Ok(root)) => *self.modes.get_or_init(|| Modes::of(&root)),
            (None, Err(_)) => Modes::PRIVATE,
        }
    }

    /// What kind of store it is by what it lacks.
    pub(super) fn lacks(&self) -> Option<&'static str> {
        if self.overwrites.is_raised() {
            return Some("a file system with neither exclusive renames nor hard links");
        }
        if self.unlocked.is_raised() {
            return Some("a file system without file locks");
        }
        self.unsynced.is_raised().then_some("a file system that cannot sync directories")
    }

    /// What a person should know, once.
    pub(super) fn news(&self, root: &Path) -> Vec<String> {
        let root = root.display();
        let mut news = Vec::new();
        if self.unsynced.is_news() {
            news.push(format!(
                "the file system of {root} cannot sync directories: a power cut may take what was saved in the last seconds"
            ));
        }
        if self.unlocked.is_news() {
            news.push(format!(
                "the file system of {root} cannot lock files: a process that died is waited for by `snap gc`"
            ));
        }
        if self.overwrites.is_news() {
            news.push(format!(
                "the file system of {root} has neither exclusive renames nor hard links: `snap gc` deletes nothing there \
                 while anybody else is at work"
            ));
        }
        news
    }
}

/// Whether a file system says that it has no such operation.
pub(super) fn is_unsupported(errno: Errno) -> bool {
    matches!(errno, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)
}

/// The same of an error of the standard library.
pub(super) fn is_unsupported_io(error: &io::Error) -> bool {
    Errno::from_io_error(error).is_some_and(is_unsupported)
}

/// Whether a file system says that it has no locks, or that its server has none.
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
    fn what_is_lacking_is_told_once() {
        let quirks = Quirks::default();
        assert!(quirks.news(Path::new("/r")).is_empty() && quirks.lacks().is_none());
        quirks.unlocked.raise();
        quirks.unsynced.raise();
        assert_eq!(quirks.news(Path::new("/r")).len(), 2);
        quirks.unlocked.raise();
        assert!(quirks.news(Path::new("/r")).is_empty());
        assert_eq!(quirks.lacks(), Some("a file system without file locks"));
    }
}

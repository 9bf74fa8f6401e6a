//! File systems that take different names for one: README and readme on exFAT, FAT, NTFS, and where ext4 or a network
//! share was made so. What they take for one is found out by trying.

use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::fs::target::dirs::Dir;
use crate::fs::target::temp::Temp;
use crate::fs::target::{Target, TargetOptions};

/// Names of a directory that are tried.
const TRIED: usize = 16;

/// A name as such a file system sees it, about: without case, and without the ends that some do not store.
pub fn key(name: &[u8]) -> Vec<u8> {
    let shown = String::from_utf8_lossy(name);
    shown.trim_end_matches(['.', ' ']).to_lowercase().into_bytes()
}

/// Whether names are taken for one where a directory is, or the nearest one above that is there: as its names say or,
/// without any, as its kind of file system does. Touches nothing.
pub fn near(dir: &Path) -> bool {
    let whole = std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf());
    let mut tries = whole.ancestors().filter_map(|dir| Target::open(dir, TargetOptions::default()).ok());
    let Some(target) = tries.next() else { return false };
    let names = target.names(b"").ok().flatten().unwrap_or_default();
    target.folds(b"", &names).unwrap_or_else(|| target.is_of_a_folding_kind())
}

/// FAT, exFAT, NTFS by its old and its new driver, HFS+, and the shares of other systems.
const FOLDING: [u64; 7] = [0x4d44, 0x2011_bab0, 0x5346_544e, 0x7366_746e, 0x482b, 0xff53_4d42, 0xfe53_4d42];

impl Target {
    /// Whether names are taken for one in a directory with these names; `None` where none of them says.
    pub fn folds(&self, path: &[u8], names: &[Vec<u8>]) -> Option<bool> {
        let dir = self.shared.dir(path).ok()?;
        let told = names.iter().take(TRIED).filter_map(|name| {
            let other = turned(name)?;
            if names.binary_search(&other).is_ok() {
                return Some(false);
            }
            is_one(&dir, name, &other)
        });
        told.into_iter().next()
    }

    /// The same of the root, by a temporary file if need be.
    pub fn probe_folding(&self) -> bool {
        let names = self.names(b"").ok().flatten().unwrap_or_default();
        self.folds(b"", &names).or_else(|| self.try_names()).unwrap_or(false)
    }

    fn is_of_a_folding_kind(&self) -> bool {
        let found = self.shared.dir(b"").ok().and_then(|dir| rustix::fs::fstatfs(&dir.fd).ok());
        // The system's type for it differs from one machine to another.
        found.is_some_and(|found| FOLDING.contains(&(found.f_type as u64 & 0xffff_ffff)))
    }

    fn try_names(&self) -> Option<bool> {
        let was = self.look_at_dir(b"").ok()?;
        let dir = self.shared.dir(b"").ok()?;
        let temp = Temp::new(&self.shared, dir);
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
        rustix::fs::openat(&temp.dir.fd, temp.name.as_str(), flags, Mode::RUSR | Mode::WUSR).ok()?;
        let temp = temp.arm();
        let told =
            turned(temp.name.as_bytes()).and_then(|other| is_one(&temp.dir, temp.name.as_bytes(), &other));
        drop(temp);
        // It tells of nothing that was restored.
        let _ = self.put_back(b"", &was);
        told
    }
}

/// The name with the case of its letters turned; only names of ASCII letters are sure to be what they seem.
fn turned(name: &[u8]) -> Option<Vec<u8>> {
    let turn = |byte: &u8| {
        if byte.is_ascii_lowercase() { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() }
    };
    (name.is_ascii() && name.iter().any(u8::is_ascii_alphabetic)).then(|| name.iter().map(turn).collect())
}

/// Whether there is something by a name that none has, because there is by the other; `None` if there is not. Numbers of
/// inodes say nothing: some file systems in user space give each name one of its own.
fn is_one(dir: &Dir, name: &[u8], other: &[u8]) -> Option<bool> {
    dir.stat(name).ok()?;
    Some(dir.stat(other).is_ok())
}

//! Puts a new file in the place of another, which stays under another name. At any time the path leads to one
//! of the two.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::fs::target::existing::Existing;
use crate::fs::target::file::NewFile;
use crate::fs::target::inode_flags::unlock;
use crate::fs::target::temp::{Temp, created_meanwhile};
use crate::model::entry::Meta;
use crate::sys::fs::{AtFlags, exchange, linkat, rename_new, sync, unlinkat};
use crate::sys::io::Errno;

impl NewFile {
    /// Sets the metadata of the file and syncs it. Then it takes the place of `existing`, which gets the name
    /// `beside` in the same directory.
    ///
    /// # Errors
    /// A system call fails, this user may not set owner or mode, `existing` was replaced or written to
    /// meanwhile, or `beside` is taken. Then nothing was changed.
    pub fn replace_keeping(self, meta: &Meta, existing: &Existing, beside: &[u8]) -> Result<()> {
        let held = Arc::clone(&self.held);
        let skipped = || {
            let skipped = held.shared.owners.skipped();
            skipped.owners + skipped.modes
        };
        let before = skipped();
        self.finish_with(meta, |temp, path| {
            if skipped() > before {
                let shown = held.shared.show(path);
                let why = "this user may not set the owner and the mode that it had";
                return Err(Error::Refused(format!("{}: {why}", shown.display())));
            }
            sync(&*held.file()?).map_err(held.shared.at("sync", path))?;
            temp.swap(path, existing, beside)
        })
    }
}

impl Temp {
    fn swap(self, path: &[u8], existing: &Existing, beside: &[u8]) -> Result<()> {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let dir = Arc::clone(&self.dir);
        let swap = || exchange(&dir.fd, self.name.as_str(), name);
        let exchanged = match swap() {
            Err(Errno::PERM) if unlock(&dir.fd, name) => swap(),
            other => other,
        };
        match exchanged {
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                return self.link_and_replace(path, existing, beside);
            }
            other => other.map_err(self.shared.at("replace", path))?,
        }
        // The temporary name is now that of the file that must not be lost.
        let is_expected = dir.stat(self.name.as_bytes()).is_ok_and(|now| existing.has_same_version(&now));
        let renamed = if is_expected {
            rename_new(&dir.fd, self.name.as_str(), &dir.fd, beside)
        } else {
            Err(Errno::STALE)
        };
        if let Err(errno) = renamed {
            if swap().is_err() {
                let left = self.name.clone();
                self.leave();
                let why = format!("it was renamed to {left} in its directory, and cannot be renamed back");
                return Err(Error::Refused(why));
            }
            return Err(match errno {
                Errno::STALE => changed(&self, path),
                Errno::EXIST => created_meanwhile(&self.shared, path),
                errno => self.shared.at("rename", path)(errno),
            });
        }
        let synced = sync(&dir.fd).map_err(self.shared.at("sync the directory of", path));
        self.leave();
        synced
    }

    /// For file systems that cannot exchange two names.
    fn link_and_replace(self, path: &[u8], existing: &Existing, beside: &[u8]) -> Result<()> {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let dir = Arc::clone(&self.dir);
        let linked = linkat(&dir.fd, name, &dir.fd, beside, AtFlags::empty());
        linked.map_err(self.shared.at("create a hard link to", path))?;
        if !dir.stat(beside).is_ok_and(|now| existing.has_same_version(&now)) {
            // It is another link of the file that is there now, so nothing is lost with it.
            let _ = unlinkat(&dir.fd, beside, AtFlags::empty());
            return Err(changed(&self, path));
        }
        self.publish(path)
    }
}

fn changed(temp: &Temp, path: &[u8]) -> Error {
    Error::Refused(format!(
        "{} was replaced in the meantime: it was not changed",
        temp.shared.show(path).display()
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::fs::target::support::{meta, target};

    #[test]
    fn a_file_is_replaced_and_kept_or_neither() {
        let dir = tempfile::tempdir().unwrap();
        let (target, path) = (target(dir.path()), dir.path().join("f"));
        let names = || {
            let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<_> = names.collect();
            names.sort();
            names
        };
        let new = || {
            let file = target.new_file(b"f", 4).unwrap();
            file.write_at(0, b"good").unwrap();
            file
        };
        fs::write(&path, "bad!").unwrap();
        let existing = target.existing(b"f").unwrap().unwrap();
        fs::write(dir.path().join("taken"), "").unwrap();
        assert!(new().replace_keeping(&meta(0o600), &existing, b"taken").is_err());
        new().replace_keeping(&meta(0o600), &existing, b"f.bad").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"good");
        assert_eq!(fs::read(dir.path().join("f.bad")).unwrap(), b"bad!");

        // A file created after the check is not touched.
        fs::write(dir.path().join("g"), "newer").unwrap();
        fs::rename(dir.path().join("g"), &path).unwrap();
        assert!(new().replace_keeping(&meta(0o600), &existing, b"f.worse").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"newer");
        assert_eq!(names(), ["f", "f.bad", "taken"]);
    }
}

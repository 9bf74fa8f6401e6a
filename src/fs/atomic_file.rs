//! A file that appears under its name only when it is complete.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::sys::fs::{CWD, rename_new, sync};
use crate::sys::io::Errno;

/// A file that is written under a temporary name in the same directory. It is removed if it is dropped
/// before [`Self::publish`].
#[derive(Debug)]
pub struct AtomicFile {
    file: File,
    temp: Option<PathBuf>,
    path: PathBuf,
    replace: bool,
}

impl AtomicFile {
    /// Creates the file. If the path is an existing special file, such as a pipe or a device, it is written
    /// directly.
    ///
    /// # Errors
    /// The path exists and must not be replaced, or the file cannot be created.
    pub fn create(path: &Path, replace: bool) -> Result<Self> {
        Self::create_with(path, replace, 0o666)
    }

    /// Like [`AtomicFile::create`], but only the owner can read the file.
    ///
    /// # Errors
    /// As [`AtomicFile::create`].
    pub fn create_private(path: &Path, replace: bool) -> Result<Self> {
        Self::create_with(path, replace, 0o600)
    }

    fn create_with(path: &Path, replace: bool, mode: u32) -> Result<Self> {
        let existing = std::fs::metadata(path).ok();
        if existing.as_ref().is_some_and(|found| !found.is_file() && !found.is_dir()) {
            let file = File::options().write(true).open(path).map_err(Error::io("write to", path))?;
            return Ok(Self { file, temp: None, path: path.to_path_buf(), replace });
        }
        if existing.is_some_and(|found| found.is_dir()) {
            return Err(Error::Usage(format!("{} is a directory: give the name of a file", path.display())));
        }
        if !replace && path.symlink_metadata().is_ok() {
            return Err(taken(path));
        }
        let name = path
            .file_name()
            .ok_or_else(|| Error::Usage(format!("{} is not the name of a file", path.display())))?;
        // If the path is a symbolic link, its target is replaced, not the link.
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        let mut short = OsString::from(".");
        short.push(OsStr::new(&name.to_string_lossy().chars().take(60).collect::<String>()));
        short.push(format!(".{}.partial", std::process::id()));
        let temp = path.with_file_name(short);
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&temp)
            .map_err(Error::io("make", &temp))?;
        Ok(Self { file, temp: Some(temp), path, replace })
    }

    /// Syncs the file and renames it to its final name.
    ///
    /// # Errors
    /// A system call fails, or the name has been taken in the meantime and must not be replaced.
    pub fn publish(mut self) -> Result<()> {
        let Some(temp) = self.temp.as_ref() else { return Ok(()) };
        sync(&self.file).map_err(|err| Error::io("write", &self.path)(err.into()))?;
        if self.replace {
            std::fs::rename(temp, &self.path).map_err(Error::io("publish", &self.path))?;
        } else {
            match rename_new(CWD, temp, CWD, &self.path) {
                Ok(()) => {}
                Err(Errno::EXIST) => return Err(taken(&self.path)),
                // The file system lacks RENAME_NOREPLACE. A hard link does not replace an existing name
                // either.
                Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                    std::fs::hard_link(temp, &self.path).map_err(Error::io("publish", &self.path))?;
                    let _ = std::fs::remove_file(temp);
                }
                Err(err) => return Err(Error::io("publish", &self.path)(err.into())),
            }
        }
        self.temp = None;
        let dir = self.path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(dir).and_then(|dir| Ok(sync(&dir)?)).map_err(Error::io("sync", dir))
    }
}

fn taken(path: &Path) -> Error {
    Error::Usage(format!("{} exists already: use `AtomicFile::replace` to replace it", path.display()))
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Some(temp) = &self.temp {
            // A partial file is useless. If it cannot be removed, its name shows that it is temporary.
            let _ = std::fs::remove_file(temp);
        }
    }
}

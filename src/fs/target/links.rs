//! Symbolic links in the target where the snapshot has a source or a directory that only leads to one. Such
//! links are never replaced. A link within the target is followed: it is resolved once, and from then on its
//! target is accessed by its real path, no component of which may be a link.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::fs::target::Target;
use crate::fs::target::root::Shared;
use crate::sys::io::Errno;

/// Where a link leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lead {
    /// To a directory within the target: its real path relative to the root.
    Beneath(Vec<u8>),
    /// To a directory elsewhere.
    Outside(PathBuf),
    /// Not to a directory.
    Nowhere,
}

impl Target {
    /// Resolves the link at a path.
    ///
    /// # Errors
    /// The path is refused or a system call fails.
    pub fn lead(&self, path: &[u8]) -> Result<Lead> {
        let shared = &self.shared;
        let (_, name) = shared.place(path)?;
        let parent = path.strip_suffix(name).unwrap_or_default();
        let parent = shared.real(parent.strip_suffix(b"/").unwrap_or(parent));
        let link = shared.canonical.join(OsStr::from_bytes(&parent)).join(OsStr::from_bytes(name));
        let whole = match std::fs::canonicalize(&link) {
            Ok(whole) => whole,
            Err(err) if is_nowhere(err.kind()) || err.raw_os_error() == Some(LOOP) => {
                return Ok(Lead::Nowhere);
            }
            Err(err) => return Err(Error::io("follow", shared.show(path))(err)),
        };
        if !std::fs::metadata(&whole).map_err(Error::io("read the metadata of", &whole))?.is_dir() {
            return Ok(Lead::Nowhere);
        }
        Ok(match whole.strip_prefix(&shared.canonical) {
            Ok(real) => Lead::Beneath(real.as_os_str().as_bytes().to_vec()),
            Err(_) => Lead::Outside(whole),
        })
    }

    /// Makes the path mean the directory that `lead` found.
    pub fn follow(&self, path: &[u8], real: Vec<u8>) {
        let mut followed = self.shared.followed.write();
        followed.push((path.to_vec(), real));
    }
}

/// Errno for too many links, or a link to itself.
const LOOP: i32 = Errno::LOOP.raw_os_error();

fn is_nowhere(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory)
}

impl Shared {
    /// Returns whether the path is a link that is followed.
    pub(super) fn is_followed(&self, path: &[u8]) -> bool {
        self.followed.read().iter().any(|(link, _)| link == path)
    }

    /// Replaces followed links in the path by their real paths.
    pub(super) fn real<'p>(&self, path: &'p [u8]) -> Cow<'p, [u8]> {
        let followed = self.followed.read();
        let below =
            |link: &[u8]| path.strip_prefix(link).filter(|rest| rest.is_empty() || rest.starts_with(b"/"));
        let through = followed.iter().filter_map(|(link, real)| Some((link.len(), real, below(link)?)));
        match through.max_by_key(|(len, ..)| *len) {
            None => Cow::Borrowed(path),
            Some((_, real, rest)) if real.is_empty() => {
                Cow::Owned(rest.strip_prefix(b"/").unwrap_or(rest).to_vec())
            }
            Some((_, real, rest)) => Cow::Owned([real.as_slice(), rest].concat()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::fs::target::support::{target, write};

    #[test]
    fn link_is_followed_only_beneath_the_target() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("usr/lib/inner")).unwrap();
        symlink("usr/lib", at("lib")).unwrap();
        symlink(at("usr"), at("absolute")).unwrap();
        symlink(outside.path(), at("out")).unwrap();
        symlink("nothing", at("dangling")).unwrap();
        symlink("itself", at("itself")).unwrap();
        symlink(".", at("here")).unwrap();
        let target = target(dir.path());
        let lead = |path: &str| target.lead(path.as_bytes()).unwrap();
        assert_eq!(lead("lib"), Lead::Beneath(b"usr/lib".to_vec()));
        assert_eq!(lead("absolute"), Lead::Beneath(b"usr".to_vec()));
        assert_eq!(lead("here"), Lead::Beneath(Vec::new()));
        assert_eq!(lead("out"), Lead::Outside(fs::canonicalize(outside.path()).unwrap()));
        assert_eq!((lead("dangling"), lead("itself")), (Lead::Nowhere, Lead::Nowhere));
        assert!(target.make_dir(b"lib").is_err(), "a link to a directory was replaced");
        assert!(write(&target, b"lib/f", b"1").is_err(), "nobody said that it may be gone through");
        target.follow(b"lib", b"usr/lib".to_vec());
        target.follow(b"here", Vec::new());
        write(&target, b"lib/inner/f", b"1").unwrap();
        write(&target, b"here/g", b"2").unwrap();
        assert_eq!(fs::read(at("usr/lib/inner/f")).unwrap(), b"1");
        assert_eq!(fs::read(at("g")).unwrap(), b"2");
        target.make_dir(b"lib").unwrap();
        assert!(at("lib").is_symlink());
    }
}

//! Symbolic links in the target where the snapshot has a source or a directory above one. Such links are
//! never replaced. A link to a directory within the target is followed: it is resolved once, and from then on
//! the directory is accessed by its real path, no component of which may be a link.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::fs::target::Target;
use crate::fs::target::root::Shared;
use crate::sys::io::Errno;

/// What a symbolic link refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkTarget {
    /// A directory within the target: its real path relative to the root.
    Beneath(Vec<u8>),
    /// A directory elsewhere.
    Outside(PathBuf),
    /// Not a directory, or nothing.
    Nowhere,
}

impl Target {
    /// Resolves the link at a path.
    ///
    /// # Errors
    /// The path is refused or a system call fails.
    pub fn resolve_link(&self, path: &[u8]) -> Result<LinkTarget> {
        let shared = &self.shared;
        let (_, name) = shared.place(path)?;
        let parent = path.strip_suffix(name).unwrap_or_default();
        let parent = shared.real(parent.strip_suffix(b"/").unwrap_or(parent));
        let link = shared.canonical.join(OsStr::from_bytes(&parent)).join(OsStr::from_bytes(name));
        let whole = match std::fs::canonicalize(&link) {
            Ok(whole) => whole,
            Err(err) if is_nowhere(&err) => return Ok(LinkTarget::Nowhere),
            Err(err) => return Err(Error::io("follow", shared.show(path))(err)),
        };
        if !std::fs::metadata(&whole).map_err(Error::io("read the metadata of", &whole))?.is_dir() {
            return Ok(LinkTarget::Nowhere);
        }
        Ok(match whole.strip_prefix(&shared.canonical) {
            Ok(real) => LinkTarget::Beneath(real.as_os_str().as_bytes().to_vec()),
            Err(_) => LinkTarget::Outside(whole),
        })
    }

    /// Makes the path refer to the directory that [`Target::resolve_link`] found.
    pub fn follow(&self, path: &[u8], real: Vec<u8>) {
        let mut followed = self.shared.followed.write();
        followed.push((path.to_vec(), real));
    }
}

/// Returns whether an error means that a link is dangling, leads through a file, or refers to itself.
fn is_nowhere(err: &io::Error) -> bool {
    let errno = Errno::from_io_error(err);
    errno.is_some_and(|errno| matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
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
        let lead = |path: &str| target.resolve_link(path.as_bytes()).unwrap();
        assert_eq!(lead("lib"), LinkTarget::Beneath(b"usr/lib".to_vec()));
        assert_eq!(lead("absolute"), LinkTarget::Beneath(b"usr".to_vec()));
        assert_eq!(lead("here"), LinkTarget::Beneath(Vec::new()));
        assert_eq!(lead("out"), LinkTarget::Outside(fs::canonicalize(outside.path()).unwrap()));
        assert_eq!((lead("dangling"), lead("itself")), (LinkTarget::Nowhere, LinkTarget::Nowhere));
        assert!(target.make_dir(b"lib").is_err(), "a link to a directory was replaced");
        assert!(write(&target, b"lib/f", b"1").is_err(), "a link that is not followed was written through");
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

//! The current position of a walk: stored path and file system path of each open directory. Memory is
//! proportional to the longest path, not to its square.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The directories from the root to the current one.
#[derive(Debug, Default)]
pub struct PathStack {
    stored: Vec<u8>,
    place: Vec<u8>,
    marks: Vec<Mark>,
}

/// Lengths to restore when a directory is left.
#[derive(Debug)]
struct Mark {
    stored: usize,
    place: usize,
    /// The file system path of the parent, if that of this directory does not continue it.
    above: Option<Vec<u8>>,
}

impl PathStack {
    /// Enters a directory. `place` is its file system path if that is not the parent's followed by `name`.
    pub fn enter(&mut self, name: &[u8], place: Option<&Path>) {
        let mut mark = Mark { stored: self.stored.len(), place: self.place.len(), above: None };
        append(&mut self.stored, name);
        match place {
            None => append(&mut self.place, name),
            Some(place) => {
                let other = place.as_os_str().as_bytes().to_vec();
                mark.above = Some(std::mem::replace(&mut self.place, other));
            }
        }
        self.marks.push(mark);
    }

    /// Returns to the parent directory.
    pub fn leave(&mut self) {
        let Some(mark) = self.marks.pop() else { return };
        self.stored.truncate(mark.stored);
        match mark.above {
            Some(above) => self.place = above,
            None => self.place.truncate(mark.place),
        }
    }

    /// Returns the number of open directories.
    pub fn depth(&self) -> usize {
        self.marks.len()
    }

    /// Returns the stored path of the current directory.
    pub fn stored(&self) -> &[u8] {
        &self.stored
    }

    /// Returns the stored path of an entry of the current directory.
    pub fn stored_of(&self, name: &[u8]) -> Vec<u8> {
        let mut path = Vec::with_capacity(self.stored.len() + 1 + name.len());
        path.extend_from_slice(&self.stored);
        append(&mut path, name);
        path
    }

    /// Calls `show` with the stored path of an entry of the current directory.
    pub fn with(&mut self, name: &[u8], show: impl FnOnce(&[u8])) {
        let len = self.stored.len();
        append(&mut self.stored, name);
        show(&self.stored);
        self.stored.truncate(len);
    }

    /// Returns the file system path of the current directory.
    pub fn place(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.place))
    }

    /// Returns the name of the current directory: the last component of its file system path.
    pub fn name(&self) -> &[u8] {
        self.place.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }

    /// Returns the file system path of an entry of the current directory.
    pub fn place_of(&self, name: &[u8]) -> PathBuf {
        self.place().join(OsStr::from_bytes(name))
    }
}

fn append(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() && path.last() != Some(&b'/') && !name.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn going_back_returns_to_the_previous_directory() {
        let mut path_stack = PathStack::default();
        path_stack.enter(b"", Some(Path::new("/")));
        path_stack.enter(b"a", None);
        path_stack.enter(b"b", Some(Path::new("else/where")));
        path_stack.enter(b"c", None);
        assert_eq!((path_stack.stored(), path_stack.place()), (&b"a/b/c"[..], Path::new("else/where/c")));
        assert_eq!((path_stack.stored_of(b"d"), path_stack.depth()), (b"a/b/c/d".to_vec(), 4));
        assert_eq!(path_stack.name(), b"c");
        path_stack.with(b"e", |path| assert_eq!(path, b"a/b/c/e"));
        assert_eq!(path_stack.stored(), b"a/b/c");
        path_stack.leave();
        path_stack.leave();
        assert_eq!((path_stack.stored(), path_stack.place()), (&b"a"[..], Path::new("/a")));
        path_stack.leave();
        assert_eq!((path_stack.stored_of(b"x"), path_stack.place_of(b"x")), (b"x".to_vec(), "/x".into()));
    }
}

//! Where a walk is: the stored path and the place in the file system of each directory that it is in. What it holds
//! grows with the longest path, not with its square.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The directories that a walk is in.
#[derive(Debug, Default)]
pub struct PathStack {
    stored: Vec<u8>,
    place: Vec<u8>,
    marks: Vec<Mark>,
}

/// What to go back to.
#[derive(Debug)]
struct Mark {
    stored: usize,
    place: usize,
    /// The place above, where that of this one does not continue it.
    above: Option<Vec<u8>>,
}

impl PathStack {
    /// Goes into a directory of this name; `place` where that is not the name in the place of the one above.
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

    /// Goes back.
    pub fn leave(&mut self) {
        let Some(mark) = self.marks.pop() else { return };
        self.stored.truncate(mark.stored);
        match mark.above {
            Some(above) => self.place = above,
            None => self.place.truncate(mark.place),
        }
    }

    /// Directories inside one another.
    pub fn depth(&self) -> usize {
        self.marks.len()
    }

    /// Stored path of the innermost.
    pub fn stored(&self) -> &[u8] {
        &self.stored
    }

    /// Stored path of what has this name in the innermost.
    pub fn stored_of(&self, name: &[u8]) -> Vec<u8> {
        let mut path = Vec::with_capacity(self.stored.len() + 1 + name.len());
        path.extend_from_slice(&self.stored);
        append(&mut path, name);
        path
    }

    /// Shows the stored path of what has this name in the innermost.
    pub fn with(&mut self, name: &[u8], show: impl FnOnce(&[u8])) {
        let len = self.stored.len();
        append(&mut self.stored, name);
        show(&self.stored);
        self.stored.truncate(len);
    }

    /// Place of the innermost.
    pub fn place(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.place))
    }

    /// Name of the innermost: the end of its place.
    pub fn name(&self) -> &[u8] {
        self.place.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }

    /// Place of what has this name in the innermost.
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
    fn going_back_leads_to_where_one_was() {
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

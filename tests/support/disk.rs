//! A model of a disk that keeps any part of what was not synced. It receives the calls of a program, and then
//! returns the possible states after a power cut.
//!
//! Names are kept by folder: creating, renaming, linking or removing one is durable once the folder was
//! synced after it. Before that it may have happened or not, independently of others. Bytes are durable once
//! the file was synced. Before that each piece may be there, be zeros, be half there or be missing. Real file
//! systems keep more.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::trace::Call;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Dir,
    File(usize),
}

#[derive(Debug, Clone, Default)]
struct File {
    durable: Vec<u8>,
    /// (offset, bytes), in order.
    pending: Vec<(usize, Vec<u8>)>,
    len: usize,
}

/// Names set or removed together, in one folder.
#[derive(Debug, Clone)]
struct Change {
    folder: PathBuf,
    sets: Vec<(PathBuf, Option<Node>)>,
}

/// The fate of one operation that was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Kept,
    Lost,
    /// Of bytes: the first half, and zeros.
    Torn,
    /// Of bytes: zeros of the right length.
    Zeros,
}

/// The state after a power cut: folders, and files with their bytes.
pub type Image = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// A folder of a disk, and everything below it.
#[derive(Debug, Clone)]
pub struct Disk {
    root: PathBuf,
    names: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    pending: Vec<Change>,
    files: Vec<File>,
}

impl Disk {
    /// Reads the current state of `root`, all of it durable.
    pub fn of(root: &Path) -> Self {
        let root = root.canonicalize().unwrap_or_else(|_| root.to_path_buf());
        let (mut names, mut files) = (BTreeMap::new(), Vec::new());
        for entry in walkdir::WalkDir::new(&root).into_iter().flatten() {
            let node = if entry.file_type().is_dir() {
                Node::Dir
            } else {
                let durable = fs::read(entry.path()).unwrap();
                let len = durable.len();
                files.push(File { durable, pending: Vec::new(), len });
                Node::File(files.len() - 1)
            };
            names.insert(entry.into_path(), node);
        }
        Self { root, durable: names.clone(), names, pending: Vec::new(), files }
    }

    /// Applies a call of the program. Returns whether it concerned this disk.
    pub fn apply(&mut self, call: &Call) -> bool {
        let path = match call {
            Call::Say(_) => return false,
            Call::Create(path)
            | Call::Empty(path)
            | Call::Write(path, ..)
            | Call::Extend(path, _)
            | Call::Mkdir(path)
            | Call::Remove(path)
            | Call::Rename(_, path)
            | Call::Link(_, path)
            | Call::Sync(path) => path,
        };
        if !path.starts_with(&self.root) {
            return false;
        }
        match call {
            Call::Create(path) | Call::Empty(path) => {
                if let Some(Node::File(at)) = self.names.get(path) {
                    assert!(
                        matches!(call, Call::Create(_)) || self.files[*at].len == 0,
                        "nothing is emptied here"
                    );
                    return true;
                }
                self.files.push(File::default());
                self.change(vec![(path.clone(), Some(Node::File(self.files.len() - 1)))]);
            }
            Call::Mkdir(path) => self.change(vec![(path.clone(), Some(Node::Dir))]),
            Call::Rename(from, to) => {
                let node = self.names[from];
                self.change(vec![(from.clone(), None), (to.clone(), Some(node))]);
            }
            Call::Link(from, to) => {
                let node = self.names[from];
                self.change(vec![(to.clone(), Some(node))]);
            }
            Call::Remove(path) => self.change(vec![(path.clone(), None)]),
            Call::Write(path, at, bytes) => {
                let file = self.file(path);
                let at = at.map_or(file.len, |at| usize::try_from(at).unwrap());
                file.len = file.len.max(at + bytes.len());
                file.pending.push((at, bytes.clone()));
            }
            Call::Extend(path, len) => {
                let file = self.file(path);
                let (at, len) = (file.len, usize::try_from(*len).unwrap());
                file.len = file.len.max(len);
                file.pending.push((at, vec![0; len.saturating_sub(at)]));
            }
            Call::Sync(path) => self.sync(path),
            Call::Say(_) => {}
        }
        true
    }

    fn file(&mut self, path: &Path) -> &mut File {
        match self.names.get(path) {
            Some(Node::File(at)) => &mut self.files[*at],
            other => panic!("{} is {other:?}", path.display()),
        }
    }

    fn change(&mut self, sets: Vec<(PathBuf, Option<Node>)>) {
        let folder = sets[0].0.parent().unwrap().to_path_buf();
        assert!(sets.iter().all(|(path, _)| path.parent() == Some(&folder)), "between folders: {sets:?}");
        set(&mut self.names, &sets);
        self.pending.push(Change { folder, sets });
    }

    fn sync(&mut self, path: &Path) {
        if let Some(Node::File(_)) = self.names.get(path) {
            let file = self.file(path);
            for (at, bytes) in std::mem::take(&mut file.pending) {
                put(&mut file.durable, at, &bytes);
            }
            return;
        }
        for change in self.pending.extract_if(.., |change| change.folder == path) {
            set(&mut self.durable, &change.sets);
        }
    }

    /// Returns the number of operations that are not durable.
    pub fn unsynced(&self) -> usize {
        self.pending.len() + self.files.iter().map(|file| file.pending.len()).sum::<usize>()
    }

    /// Returns the state if each of them, by its number, has this fate. Names come first.
    pub fn after_power_cut(&self, fate: &mut dyn FnMut(usize) -> Fate) -> Image {
        let mut names = self.durable.clone();
        let mut number = 0;
        for change in &self.pending {
            if fate(number) != Fate::Lost {
                set(&mut names, &change.sets);
            }
            number += 1;
        }
        let mut contents = Vec::new();
        for file in &self.files {
            let mut bytes = file.durable.clone();
            for (at, piece) in &file.pending {
                let fate = fate(number);
                number += 1;
                let mut piece = piece.clone();
                match fate {
                    Fate::Lost => continue,
                    Fate::Kept => {}
                    Fate::Torn => {
                        let half = piece.len() / 2;
                        piece[half..].fill(0);
                    }
                    Fate::Zeros => piece.fill(0),
                }
                put(&mut bytes, *at, &piece);
            }
            contents.push(bytes);
        }
        let mut image = Image::new();
        for (path, node) in &names {
            let name = path.strip_prefix(&self.root).unwrap().to_path_buf();
            // Everything in a lost folder is lost with it.
            let reached = path == &self.root
                || path
                    .ancestors()
                    .skip(1)
                    .take_while(|above| above.starts_with(&self.root))
                    .all(|above| names.get(above) == Some(&Node::Dir));
            if reached {
                image.insert(
                    name,
                    match node {
                        Node::Dir => None,
                        Node::File(at) => Some(contents[*at].clone()),
                    },
                );
            }
        }
        image
    }
}

fn set(names: &mut BTreeMap<PathBuf, Node>, sets: &[(PathBuf, Option<Node>)]) {
    for (path, node) in sets {
        match node {
            Some(node) => names.insert(path.clone(), *node),
            None => names.remove(path),
        };
    }
}

fn put(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    if bytes.len() < at + piece.len() {
        bytes.resize(at + piece.len(), 0);
    }
    bytes[at..at + piece.len()].copy_from_slice(piece);
}

/// Writes an image into an empty folder.
pub fn lay_out(image: &Image, at: &Path) {
    for (name, bytes) in image {
        let path = at.join(name);
        match bytes {
            None => fs::create_dir_all(path).unwrap(),
            Some(bytes) => fs::write(path, bytes).unwrap(),
        }
    }
}

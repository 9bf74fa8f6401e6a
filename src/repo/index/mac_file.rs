//! Files of pieces. Each piece has a MAC over the file's id, its position and its bytes, made with a key of
//! the repository, so that a torn, corrupt or misplaced piece is detected when it is read.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::repo::index::local_cache::{LocalIndexCache, MAC_BYTES};

/// A file that is being written.
#[derive(Debug)]
pub(crate) struct MacFile<'a> {
    index_cache: &'a LocalIndexCache,
    id: u64,
    out: BufWriter<File>,
    at: u64,
}

pub(crate) fn path(index_cache: &LocalIndexCache, id: u64, ending: &str) -> PathBuf {
    folder(index_cache).join(format!("{id:016x}.{ending}"))
}

/// Returns the directory of all such files.
pub(crate) fn folder(index_cache: &LocalIndexCache) -> PathBuf {
    index_cache.dir().join("runs")
}

impl<'a> MacFile<'a> {
    pub(crate) fn create(index_cache: &'a LocalIndexCache, id: u64, ending: &str) -> io::Result<Self> {
        fs::create_dir_all(folder(index_cache))?;
        let out = BufWriter::with_capacity(1 << 17, File::create_new(path(index_cache, id, ending))?);
        Ok(Self { index_cache, id, out, at: 0 })
    }

    /// Appends a piece and returns its offset.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let at = self.at;
        self.out.write_all(bytes)?;
        self.out.write_all(&mac(self.index_cache, self.id, at, bytes))?;
        self.at += (bytes.len() + MAC_BYTES) as u64;
        Ok(at)
    }

    /// Syncs and closes the file. It must be on disk before anything refers to it.
    pub(crate) fn finish(self) -> io::Result<()> {
        self.out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_data()
    }
}

/// Returns a piece of `len` bytes if its MAC matches.
pub(crate) fn read(
    index_cache: &LocalIndexCache,
    file: &File,
    id: u64,
    at: u64,
    len: usize,
) -> Option<Vec<u8>> {
    let mut bytes = vec![0; len + MAC_BYTES];
    file.read_exact_at(&mut bytes, at).ok()?;
    let (piece, found) = bytes.split_at_checked(len)?;
    let sound = *found == mac(index_cache, id, at, piece);
    bytes.truncate(len);
    sound.then_some(bytes)
}

/// Removes a file. If that fails, a later sweep removes it.
pub(crate) fn remove(path: &Path) {
    let _ = fs::remove_file(path);
}

fn mac(index_cache: &LocalIndexCache, id: u64, at: u64, bytes: &[u8]) -> [u8; MAC_BYTES] {
    index_cache.mac(&[id.to_le_bytes(), at.to_le_bytes()].concat(), bytes)
}

/// Items of `size` bytes, stored consecutively in a file with `per` items in each piece.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Section {
    pub(crate) start: u64,
    pub(crate) items: u64,
    pub(crate) per: u64,
    pub(crate) size: u64,
}

impl Section {
    pub(crate) fn pieces(&self) -> u64 {
        self.items.div_ceil(self.per)
    }

    /// Returns offset and length of a piece.
    pub(crate) fn piece(&self, number: u64) -> (u64, usize) {
        let items = self.per.min(self.items.saturating_sub(number * self.per));
        (self.start + number * (self.per * self.size + MAC_BYTES as u64), (items * self.size) as usize)
    }

    pub(crate) fn end(&self) -> u64 {
        self.start + self.items * self.size + self.pieces() * MAC_BYTES as u64
    }

    /// Returns all pieces in order, `None` for each whose MAC does not match.
    pub(crate) fn read<'a>(
        &self,
        index_cache: &'a LocalIndexCache,
        file: &'a File,
        id: u64,
    ) -> impl Iterator<Item = Option<Vec<u8>>> + 'a {
        let section = *self;
        (0..section.pieces()).map(move |number| {
            let (at, len) = section.piece(number);
            read(index_cache, file, id, at, len)
        })
    }
}

//! Finds entries by content: by a chunk's id, or by the bytes of a file on disk.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::codec::crypto::hash::{ChunkHasher, ChunkType};
use crate::error::{Error, Result};
use crate::model::entry::{Content, ContentPart, Entry, Kind};
use crate::model::id::ChunkId;
use crate::ops::find::Options;
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::repository::Repository;
use crate::repo::walk::dir_reader;
use crate::repo::walk::file_parts;
use crate::repo::walk::plausible;
use crate::repo::walk::snapshot_set::SnapshotSet;

/// Minimum number of digits of a chunk id.
const MIN_DIGITS: usize = 4;
/// Bytes that are compared with a hole at a time.
const PIECE: u64 = 256 << 10;

/// The content to look for.
pub(super) struct ContentQuery {
    chunk: Option<String>,
    live: Option<Live>,
    reader: ChunkReader,
}

/// A file on disk. It is hashed along the chunk boundaries of each stored file, so files cut by any version
/// of snap can be compared. Hashes are cached.
struct Live {
    path: PathBuf,
    file: File,
    size: u64,
    hasher: ChunkHasher,
    named: HashMap<(u64, u32), ChunkId>,
}

impl ContentQuery {
    pub(super) fn new(repo: &Repository, past: &SnapshotSet, options: &Options) -> Result<Self> {
        let chunk = options.chunk.as_ref().map(|text| text.to_ascii_lowercase());
        let is_id = |text: &String| {
            (MIN_DIGITS..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        if let Some(text) = chunk.as_ref().filter(|text| !is_id(text)) {
            return Err(Error::Usage(format!(
                "'{text}' is not the beginning of a chunk id: give {MIN_DIGITS} to 64 hex digits"
            )));
        }
        let live = options.content.as_ref().map(|path| Live::open(repo, path.clone())).transpose()?;
        Ok(Self { chunk, live, reader: past.new_reader()? })
    }

    /// Returns whether an entry has the content.
    pub(super) fn is_in(&mut self, entry: &Entry) -> Result<bool> {
        if let Some(live) = &mut self.live {
            let Kind::File { size, content } = &entry.kind else { return Ok(false) };
            if *size != live.size || !live.is(&mut self.reader, content)? {
                return Ok(false);
            }
        }
        match self.chunk.clone() {
            Some(chunk) => self.needs(entry, &chunk),
            None => Ok(true),
        }
    }

    fn needs(&mut self, entry: &Entry, chunk: &str) -> Result<bool> {
        let begins = |id: &ChunkId| id.hex().starts_with(chunk);
        if let Kind::Dir { tree } = &entry.kind
            && begins(tree)
        {
            return Ok(true);
        }
        for (size, content) in entry.contents() {
            if dir_reader::list_pieces(&mut self.reader, content)?.iter().any(begins) {
                return Ok(true);
            }
            let mut found = false;
            file_parts::each_part(&mut self.reader, size, content, &mut |part| {
                found = found || matches!(part, ContentPart::Chunk { id, .. } if begins(&id));
                Ok(())
            })?;
            if found {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Live {
    fn open(repo: &Repository, path: PathBuf) -> Result<Self> {
        let file = File::open(&path).map_err(Error::io("read", &path))?;
        let found = file.metadata().map_err(Error::io("read", &path))?;
        if !found.is_file() {
            return Err(Error::Usage(format!(
                "{}: only the content of a regular file can be searched for",
                path.display()
            )));
        }
        let hasher = repo.hasher().clone();
        Ok(Self { path, file, size: found.len(), hasher, named: HashMap::new() })
    }

    /// Returns whether a stored file of the same size has the same bytes.
    fn is(&mut self, reader: &mut ChunkReader, content: &Content) -> Result<bool> {
        let (mut at, mut same) = (0, true);
        file_parts::each_part(reader, self.size, content, &mut |part| {
            if same {
                same = match &part {
                    ContentPart::Chunk { .. } if !plausible::has_valid_len(&part) => {
                        return Err(Error::Refused("a chunk is too large".into()));
                    }
                    ContentPart::Chunk { id, len } => self.name(at, *len)? == Some(*id),
                    ContentPart::Hole { len } => self.is_zero(at, *len)?,
                };
            }
            at += part.len();
            Ok(())
        })?;
        Ok(same)
    }

    /// Returns the chunk id of a range of the file; `None` if the file has become shorter.
    fn name(&mut self, at: u64, len: u32) -> Result<Option<ChunkId>> {
        if let Some(id) = self.named.get(&(at, len)) {
            return Ok(Some(*id));
        }
        let mut bytes = vec![0; len as usize];
        if !self.fill(at, &mut bytes)? {
            return Ok(None);
        }
        let id = self.hasher.id_of(ChunkType::Data, &bytes);
        self.named.insert((at, len), id);
        Ok(Some(id))
    }

    fn is_zero(&self, at: u64, len: u64) -> Result<bool> {
        let mut done = 0;
        while done < len {
            let mut bytes = vec![0; (len - done).min(PIECE) as usize];
            if !self.fill(at + done, &mut bytes)? || bytes.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            done += bytes.len() as u64;
        }
        Ok(true)
    }

    fn fill(&self, at: u64, bytes: &mut [u8]) -> Result<bool> {
        match self.file.read_exact_at(bytes, at) {
            Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            other => other.map(|()| true).map_err(Error::io("read", &self.path)),
        }
    }
}

//! Compares a file on disk with stored content.

use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Path;

use crate::codec::crypto::hash::{ChunkHasher, ChunkType};
use crate::error::{Error, Result};
use crate::model::entry::{Content, Part};
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::walk::dir_reader;

/// Returns whether the rest of a file, from its current position, equals the stored content. Each part is
/// hashed and compared with the stored id; stored data is not read, only the part list.
///
/// # Errors
/// When the file cannot be read, the list is missing or damaged, or `is_stopped` says so, which is
/// asked before each part and within long holes.
pub fn holds(
    hasher: &ChunkHasher,
    reader: &mut ChunkReader,
    (file, path): (&mut File, &Path),
    size: u64,
    content: &Content,
    is_stopped: &dyn Fn() -> bool,
) -> Result<bool> {
    let mut same = true;
    let mut buffer = Vec::new();
    dir_reader::each_part(reader, size, content, &mut |part| {
        if is_stopped() {
            return Err(Error::Interrupted);
        }
        if !same {
            return Ok(());
        }
        match part {
            Part::Chunk { id, len } => {
                if !dir_reader::is_bearable(&part) {
                    return Err(Error::Refused("a chunk of absurd size".into()));
                }
                buffer.resize(len as usize, 0);
                same = fill(file, &mut buffer).map_err(Error::io("read", path))?
                    && hasher.name(ChunkType::Data, &buffer) == id;
            }
            Part::Hole { len } => {
                let mut left = len;
                // A hole may be many gigabytes.
                while left > 0 && same && !is_stopped() {
                    buffer.resize(left.min(256 << 10) as usize, 0);
                    same = fill(file, &mut buffer).map_err(Error::io("read", path))?
                        && buffer.iter().all(|byte| *byte == 0);
                    left -= buffer.len() as u64;
                }
            }
        }
        Ok(())
    })?;
    if is_stopped() {
        return Err(Error::Interrupted);
    }
    Ok(same && !fill(file, &mut [0]).map_err(Error::io("read", path))?)
}

/// Fills the buffer. Returns `false` if the file ends first.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buffer) {
        Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        other => other.map(|()| true),
    }
}

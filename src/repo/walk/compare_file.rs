//! Whether a file on a disk holds what is stored.

use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Path;

use crate::codec::crypto::hash::{ChunkHasher, ChunkType};
use crate::error::{Error, Result};
use crate::model::entry::{Content, Part};
use crate::repo::read::chunk_reader::ChunkReader;
use crate::repo::walk::dir_reader;

/// Reads the file from where it stands to its end; each part is named and compared with the stored name. No stored
/// content is read for that, only the list of its parts.
///
/// # Errors
/// When the file cannot be read, or the list is missing or damaged.
pub fn holds(
    hasher: &ChunkHasher,
    reader: &mut ChunkReader,
    (file, path): (&mut File, &Path),
    size: u64,
    content: &Content,
) -> Result<bool> {
    let mut same = true;
    let mut buffer = Vec::new();
    dir_reader::each_part(reader, size, content, &mut |part| {
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
                while left > 0 && same {
                    buffer.resize(left.min(256 << 10) as usize, 0);
                    same = fill(file, &mut buffer).map_err(Error::io("read", path))?
                        && buffer.iter().all(|byte| *byte == 0);
                    left -= buffer.len() as u64;
                }
            }
        }
        Ok(())
    })?;
    Ok(same && !fill(file, &mut [0]).map_err(Error::io("read", path))?)
}

/// False when the file ends before the buffer is full.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buffer) {
        Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        other => other.map(|()| true),
    }
}

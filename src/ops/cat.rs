//! `cat`: one file's bytes.

use std::io::Write;
use std::sync::Arc;

use crate::codec::hash::ChunkType;
use crate::error::Error;
use crate::error::Result;
use crate::model::entry::Entry;
use crate::model::entry::Kind;
use crate::model::entry::Part;
use crate::store::chunks::ChunkReader;
use crate::store::index::Index;
use crate::store::repository::Repository;
use crate::store::session::Sight;
use crate::store::snapshots;
use crate::store::trees;

/// Writes the file that `SEL:path` names to `out`.
///
/// # Errors
/// When there is none, it is damaged (what was written until then is right), or `out` fails.
pub fn run(repo: &Repository, selector: &str, out: &mut dyn Write) -> Result<()> {
    let (snapshot, path) = snapshots::resolve(repo, selector)?;
    let path = path.ok_or_else(|| Error::Usage(format!("{selector} names no file: use SNAPSHOT:path")))?;
    let index = Arc::new(Index::load(repo, Sight::look(repo.storage(), repo.ring(), |_| Ok(()))?)?);
    let mut reader = ChunkReader::new(repo, Arc::clone(&index))?;
    let mut chunks = ChunkReader::new(repo, index)?;
    let shown = String::from_utf8_lossy(&path).into_owned();
    let Some(Entry { kind: Kind::File { size, content }, .. }) =
        trees::lookup(&mut reader, snapshot.manifest.root, &path)?
    else {
        return Err(Error::NoSnapshot {
            selector: selector.to_owned(),
            why: format!("it holds no file {shown}"),
        });
    };
    trees::each_part(&mut reader, size, &content, &mut |part| match part {
        Part::Chunk { id, .. } => {
            let bytes = chunks.get(ChunkType::Data, &id)?;
            out.write_all(&bytes).map_err(Error::io("write", "the output"))
        }
        Part::Hole { len } => {
            let mut zeros = std::io::Read::take(std::io::repeat(0), len);
            std::io::copy(&mut zeros, out).map(|_| ()).map_err(Error::io("write", "the output"))
        }
    })
}

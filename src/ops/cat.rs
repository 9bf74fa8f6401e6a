//! `cat`: writes the content of one file.

use std::io::Write;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::model::decode_error::DecodeError;
use crate::model::entry::{Entry, Kind};
use crate::repo::read::read_session::ReadSession;
use crate::repo::read::sequential;
use crate::repo::repository::Repository;
use crate::repo::snapshots::{self, Query};
use crate::repo::walk::dir_reader::{self, WalkLimits};
use crate::repo::walk::file_parts;

/// Writes the file that `SEL:path` names to `out`.
///
/// # Errors
/// When there is none, it is damaged (bytes written before are valid), a repair could not save all of it
/// (lost bytes read as zeros), or `out` fails.
pub fn run<'a>(repo: &Repository, query: impl Into<Query<'a>>, out: &mut dyn Write) -> Result<()> {
    let session = Arc::new(ReadSession::open(repo, repo.control().observer())?);
    let (snapshot, path) = snapshots::resolve(repo, &session.snapshots()?, query)?;
    let path = path.ok_or_else(|| {
        Error::Usage(format!(
            "no path in snapshot {} was given: `Repository::cat(SNAPSHOT:PATH)` prints a file",
            snapshot.id.short()
        ))
    })?;
    session.set_snapshots(&[snapshot.id])?;
    let mut reader = session.chunks()?;
    let found = dir_reader::lookup(&mut reader, snapshot.manifest.root, &path)?;
    if let Some(entry) = &found {
        WalkLimits::of(&snapshot.manifest.counts).count(&path, entry)?;
    }
    let Some(Entry { kind: Kind::File { size, content }, meta, .. }) = found else {
        return Err(match found {
            Some(_) => {
                let path = String::from_utf8_lossy(&path);
                Error::Usage(format!(
                    "{path} is not a regular file: `Repository::list_dir` lists directories, \
                     `Repository::restore` restores anything"
                ))
            }
            None => Error::no_path(&snapshot.id, &path),
        });
    };
    let plan = |feed: &mut sequential::Feed<'_>| {
        feed.set_path(&path)?;
        let planned = file_parts::each_part(&mut reader, size, &content, &mut |part| feed.part(&part));
        planned.map_err(|err| sequential::with_path(&path, err))
    };
    sequential::run(&session, plan, &mut |bytes| {
        out.write_all(bytes).map_err(Error::io("write", "the output"))
    })?;
    session.end()?;
    let what = || String::from_utf8_lossy(&path).into_owned();
    meta.loss().map_or(Ok(()), |why| Err(Error::Damaged { what: what(), source: DecodeError::because(why) }))
}

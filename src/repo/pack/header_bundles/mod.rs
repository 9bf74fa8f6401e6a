//! Segments: what many packs begin with, in one object, so that a machine that knows nothing yet of a far store asks for few
//! objects and not for the table of each pack.
//!
//! Nothing rests on them. What is in one was copied from its packs, of which it says the names; which packs there are is
//! for the listing to say, and where no segment has a pack, or one is damaged or gone, the pack has its table still. So
//! they may be written twice, or removed at any time. Whoever writes many packs writes segments of them (`gather`), a
//! collection sees to the rest (`maintain`), machines that lack tables take them from there (`fetch`), and whoever checks packs
//! compares what they say with that (`claims`).

mod build;
mod fetch;
mod maintain;
mod verify;

use crate::codec::crypto::sealed_object;
use crate::codec::pack::Table;
use crate::codec::pack::header_bundle::{Contents, Part};
use crate::error::{Error, Result};
use crate::model::decode_error::DecodeError;
use crate::repo::objects;
use crate::repo::repository::Repository;
use crate::storage::{Listed, ObjectKind};
use crate::util::parallel;

pub(crate) use crate::repo::pack::header_bundles::build::BundleBuilder;
pub(crate) use crate::repo::pack::header_bundles::fetch::BundleFetcher;
pub use crate::repo::pack::header_bundles::maintain::{Maintenance, maintain, remove};
pub use crate::repo::pack::header_bundles::verify::BundleVerifier;

/// Fewer packs are asked for one by one.
const FEWEST: usize = 32;
/// Bytes of fronts after which a segment is closed.
const FULL: usize = 4 << 20;
/// Most bytes of a segment that is read: a front may be long.
const MOST: u64 = 64 << 20;
/// Bytes of a segment's beginning that are read at once: as much as says what is in most of them.
const GUESS: u64 = 64 << 10;
/// Requests under way at once.
const THREADS: usize = 16;

/// A segment that is listed, and what it says that it holds.
#[derive(Debug)]
pub struct HeaderBundle {
    /// Its name.
    pub name: String,
    len: u64,
    parts: Vec<Part>,
}

/// All that are listed, each as it was found; those that went meanwhile are left out.
///
/// # Errors
/// When they cannot be listed. That one cannot be read is said in its place.
pub fn all(repo: &Repository) -> Result<Vec<(String, Result<HeaderBundle>)>> {
    let listed = repo.storage().list(ObjectKind::Index)?;
    let opened = parallel::map(&listed, THREADS, |found| open(repo, found));
    let mut all = Vec::new();
    for (found, opened) in listed.into_iter().zip(opened) {
        match opened {
            Err(err) if err.is_missing() => {}
            opened => all.push((found.name, opened)),
        }
    }
    Ok(all)
}

/// What is wrong with a segment, and with which.
pub fn why(name: &str, err: &Error) -> String {
    let text = err.chain();
    if text.contains(name) { text } else { format!("{}: {text}", ObjectKind::Index.path(name)) }
}

fn open(repo: &Repository, found: &Listed) -> Result<HeaderBundle> {
    let (storage, name, len) = (repo.storage(), &found.name, found.len);
    let short = || Error::damaged(ObjectKind::Index.path(name));
    let mut bytes = vec![0; GUESS.min(len) as usize];
    storage.read_range(ObjectKind::Index, name, 0, &mut bytes)?;
    objects::check_header(ObjectKind::Index, name, &bytes)?;
    let start = sealed_object::object_len(&bytes).filter(|start| *start <= len.min(MOST));
    let start = start.ok_or(DecodeError::because("shorter than it says")).map_err(short())?;
    if start > bytes.len() as u64 {
        bytes = vec![0; start as usize];
        storage.read_range(ObjectKind::Index, name, 0, &mut bytes)?;
    }
    bytes.truncate(start as usize);
    let contents: Contents =
        objects::open(repo.suite(), sealed_object::SEGMENT, ObjectKind::Index, name, name, bytes)?;
    let parts = contents.parts(start, len).map_err(short())?;
    Ok(HeaderBundle { name: name.clone(), len, parts })
}

impl HeaderBundle {
    /// The tables of those packs that are asked for.
    ///
    /// # Errors
    /// When it is gone, damaged or cannot be read.
    fn tables(&self, repo: &Repository, wanted: impl Fn(&Part) -> bool) -> Result<Vec<(Part, Table)>> {
        let bytes = repo.storage().read(ObjectKind::Index, &self.name, self.len.min(MOST))?;
        let tables = self.parts.iter().filter(|part| wanted(part)).map(|part| {
            let front = bytes.get(part.at as usize..).and_then(|rest| rest.get(..part.len as usize));
            let front = front.ok_or(DecodeError::because("shorter than it says"));
            front
                .and_then(|front| part.table(repo.suite(), front))
                .map(|table| (*part, table))
                .map_err(Error::damaged(ObjectKind::Index.path(&self.name)))
        });
        tables.collect()
    }
}

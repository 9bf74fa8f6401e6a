//! Header bundles: copies of many packs' fronts in one object, so that a machine without a cache fetches few
//! objects from remote storage instead of the table of each pack. The format calls them segments.
//!
//! They are optional. A bundle names the packs its data was copied from. The listing decides which packs
//! exist, and if no bundle has a pack, or the bundle is damaged or gone, the table is read from the pack. So
//! bundles may be written twice and removed at any time. A process that writes many packs also writes bundles
//! of them (`build`), gc maintains them (`maintain`), machines that lack tables fetch them (`fetch`), and
//! checks compare them with the packs (`verify`).

mod build;
mod fetch;
mod maintain;
mod verify;

use crate::codec::crypto::sealed_object;
use crate::codec::pack::Table;
use crate::codec::pack::header_bundle::{BundlePart, Contents};
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

/// Minimum number of packs: the tables of fewer packs are read one by one.
const MIN_PACKS: usize = 32;
/// Bytes of fronts after which a bundle is written.
const FULL_BYTES: usize = 4 << 20;
/// Maximum bytes of a bundle that is read: a front may be long.
const MAX_BYTES: u64 = 64 << 20;
/// Bytes of a bundle's beginning that are read at once: its own table of contents usually fits.
const FIRST_READ_BYTES: u64 = 64 << 10;
/// Concurrent requests.
const THREADS: usize = 16;

/// A listed header bundle and its table of contents.
#[derive(Debug)]
pub struct HeaderBundle {
    /// Its object name.
    pub name: String,
    len: u64,
    parts: Vec<BundlePart>,
}

/// Reads the tables of contents of all listed bundles. One that was deleted meanwhile is left out.
///
/// # Errors
/// When they cannot be listed. The error of an unreadable bundle is returned in its place.
pub fn open_all(repo: &Repository) -> Result<Vec<(String, Result<HeaderBundle>)>> {
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

/// Formats what is wrong with a bundle, with its name.
pub fn describe(name: &str, err: &Error) -> String {
    let text = err.chain();
    if text.contains(name) { text } else { format!("{}: {text}", ObjectKind::Index.path(name)) }
}

fn open(repo: &Repository, found: &Listed) -> Result<HeaderBundle> {
    let (storage, name, len) = (repo.storage(), &found.name, found.len);
    let short = || Error::damaged(ObjectKind::Index.path(name));
    let mut bytes = vec![0; FIRST_READ_BYTES.min(len) as usize];
    storage.read_range(ObjectKind::Index, name, 0, &mut bytes)?;
    objects::check_header(ObjectKind::Index, name, &bytes)?;
    let start = sealed_object::object_len(&bytes).filter(|start| *start <= len.min(MAX_BYTES));
    let start = start.ok_or(DecodeError::because("it is shorter than its header says")).map_err(short())?;
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
    /// Reads the tables of the packs that `wanted` accepts.
    ///
    /// # Errors
    /// When the bundle is gone, damaged or cannot be read.
    fn tables(
        &self,
        repo: &Repository,
        wanted: impl Fn(&BundlePart) -> bool,
    ) -> Result<Vec<(BundlePart, Table)>> {
        let bytes = repo.storage().read(ObjectKind::Index, &self.name, self.len.min(MAX_BYTES))?;
        let tables = self.parts.iter().filter(|part| wanted(part)).map(|part| {
            let front = bytes.get(part.at as usize..).and_then(|rest| rest.get(..part.len as usize));
            let front = front.ok_or(DecodeError::because("it is shorter than its header says"));
            front
                .and_then(|front| part.table(repo.suite(), front))
                .map(|table| (*part, table))
                .map_err(Error::damaged(ObjectKind::Index.path(&self.name)))
        });
        tables.collect()
    }
}

//! Typed access to the small objects of a repository.

use serde::{Deserialize, Serialize};

use crate::codec::crypto::cipher::CipherSuite;
use crate::codec::crypto::sealed_object;
use crate::codec::crypto::sealed_object::{BadHeader, Magic};
use crate::error::{Error, Result};
use crate::model::config::FORMAT;
use crate::model::decode_error::DecodeError;
use crate::storage::{CreateOutcome, ObjectKind, Storage};
use crate::util::parallel;

/// Turns a header that cannot be read into an error that names the object.
///
/// # Errors
/// When the header is malformed or newer than this program.
pub fn check_header(area: ObjectKind, name: &str, bytes: &[u8]) -> Result<Magic> {
    sealed_object::magic_of(bytes).map_err(|bad| match bad {
        BadHeader::Malformed(why) => Error::Damaged { what: area.path(name), source: why },
        BadHeader::Newer(found) => Error::NewerFormat { what: area.path(name), found, known: FORMAT },
    })
}

/// The value of an object whose bytes are at hand. `bound` is the name it was sealed under.
///
/// # Errors
/// When it is not what was written.
pub fn open<T>(
    suite: &CipherSuite,
    magic: Magic,
    area: ObjectKind,
    name: &str,
    bound: &str,
    bytes: Vec<u8>,
) -> Result<T>
where
    T: for<'a> Deserialize<'a>,
{
    check_header(area, name, &bytes)?;
    sealed_object::open(suite, magic, bound, bytes).map_err(Error::damaged(area.path(name)))
}

/// Reads an object.
///
/// # Errors
/// When it is not there or not what was written.
pub fn read<T>(
    storage: &dyn Storage,
    suite: &CipherSuite,
    magic: Magic,
    area: ObjectKind,
    name: &str,
) -> Result<T>
where
    T: for<'a> Deserialize<'a>,
{
    let bytes = storage.read(area, name, sealed_object::MAX_OBJECT)?;
    open(suite, magic, area, name, name, bytes)
}

/// The bytes of an object.
///
/// # Errors
/// When it cannot be sealed.
pub fn close<T: Serialize>(suite: &CipherSuite, magic: Magic, name: &str, value: &T) -> Result<Vec<u8>> {
    sealed_object::close(suite, magic, name, value).map_err(Error::making(name))
}

/// Creates an object unless the name is taken.
///
/// # Errors
/// When it could not be made durable.
pub fn create<T: Serialize>(
    storage: &dyn Storage,
    suite: &CipherSuite,
    magic: Magic,
    area: ObjectKind,
    name: &str,
    value: &T,
) -> Result<CreateOutcome> {
    storage.create(area, name, &[&close(suite, magic, name, value)?])
}

/// Removals that are under way at once on a store that is far.
const REMOVALS: usize = 16;

/// Removes many objects; none of a name is no error. What fails does not keep the others from going.
///
/// # Errors
/// When one of them is still there.
pub fn remove_all(storage: &dyn Storage, area: ObjectKind, names: &[String]) -> Result<()> {
    let threads = if storage.is_remote() { REMOVALS } else { 1 };
    parallel::map(names, threads, |name| storage.remove(area, name)).into_iter().collect()
}

/// For names made by this program: a name that does not parse is somebody else's file.
pub fn unknown_name(area: ObjectKind, name: &str) -> Error {
    Error::Damaged { what: area.path(name), source: DecodeError::because("a name that snap does not write") }
}

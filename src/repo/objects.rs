//! Typed access to the small objects of a repository.

use serde::{Deserialize, Serialize};

use crate::codec::crypto::sealed_object::{self, BadHeader, Magic};
use crate::codec::crypto::suite::CipherSuite;
use crate::error::{Error, Result};
use crate::model::config::FORMAT;
use crate::model::decode_error::DecodeError;
use crate::model::id::KeyId;
use crate::storage::{CreateOutcome, ObjectKind, Storage};
use crate::util::parallel;

/// Parses an object's header; the error names the object.
///
/// # Errors
/// When the header is malformed or newer than this program.
pub fn check_header(area: ObjectKind, name: &str, bytes: &[u8]) -> Result<Magic> {
    sealed_object::magic_of(bytes).map_err(|bad| match bad {
        BadHeader::Malformed(why) => Error::Damaged { what: area.path(name), source: why },
        BadHeader::Newer(found) => Error::NewerFormat { what: area.path(name), found, known: FORMAT },
    })
}

/// Decodes an object from its bytes. `bound` is the name it was sealed under.
///
/// # Errors
/// When the bytes are not authentic.
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

/// Like [`open`]; also returns the slot of the write key that made it, if one did.
///
/// # Errors
/// As [`open`].
pub fn open_by<T>(
    suite: &CipherSuite,
    magic: Magic,
    area: ObjectKind,
    (name, bound): (&str, &str),
    bytes: Vec<u8>,
) -> Result<(T, Option<KeyId>)>
where
    T: for<'a> Deserialize<'a>,
{
    check_header(area, name, &bytes)?;
    sealed_object::open_by(suite, magic, bound, bytes).map_err(Error::damaged(area.path(name)))
}

/// Reads an object.
///
/// # Errors
/// When it does not exist or is not authentic.
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

/// Encodes and seals an object.
///
/// # Errors
/// When it cannot be sealed.
pub fn seal<T: Serialize>(suite: &CipherSuite, magic: Magic, name: &str, value: &T) -> Result<Vec<u8>> {
    sealed_object::seal(suite, magic, name, value).map_err(Error::making(name))
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
    storage.create(area, name, &[&seal(suite, magic, name, value)?])
}

/// Concurrent removals on remote storage.
const MAX_PARALLEL: usize = 16;

/// Removes many objects. A name that does not exist is not an error. A failure does not keep the others from
/// being removed.
///
/// # Errors
/// When one of them could not be removed.
pub fn remove_all(storage: &dyn Storage, area: ObjectKind, names: &[String]) -> Result<()> {
    let threads = if storage.is_remote() { MAX_PARALLEL } else { 1 };
    parallel::map(names, threads, |name| storage.remove(area, name)).into_iter().collect()
}

/// Returns the error for a name that does not parse: it is not a file of this program.
pub fn unknown_name(area: ObjectKind, name: &str) -> Error {
    Error::Damaged { what: area.path(name), source: DecodeError::because("its name is not one of snap's") }
}

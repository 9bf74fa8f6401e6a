//! Typed access to the small objects of a repository.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::crypto::sealed_object::{self, BadHeader, Magic};
use crate::codec::crypto::suite::CipherSuite;
use crate::error::{Error, Result};
use crate::model::config::FORMAT;
use crate::model::id::KeyId;
use crate::storage::{CreateOutcome, ObjectKind, Storage};
use crate::util::parallel;

/// Parses an object's header; the error names the object.
///
/// # Errors
/// When the header is malformed or newer than this program.
pub fn check_header(kind: ObjectKind, name: &str, bytes: &[u8]) -> Result<Magic> {
    sealed_object::magic_of(bytes).map_err(|bad| match bad {
        BadHeader::Malformed(why) => Error::Damaged { what: kind.path(name), source: why },
        BadHeader::Newer(found) => Error::NewerFormat { what: kind.path(name), found, known: FORMAT },
    })
}

/// Decodes an object from its bytes. `bound` is the name it was sealed under.
///
/// # Errors
/// When the bytes are not authentic.
pub fn open<T: DeserializeOwned>(
    suite: &CipherSuite,
    magic: Magic,
    kind: ObjectKind,
    name: &str,
    bound: &str,
    bytes: Vec<u8>,
) -> Result<T> {
    open_by(suite, magic, kind, (name, bound), bytes).map(|(value, _)| value)
}

/// Like [`open`]; also returns the slot of the write key that made it, if one did.
///
/// # Errors
/// As [`open`].
pub fn open_by<T: DeserializeOwned>(
    suite: &CipherSuite,
    magic: Magic,
    kind: ObjectKind,
    (name, bound): (&str, &str),
    bytes: Vec<u8>,
) -> Result<(T, Option<KeyId>)> {
    check_header(kind, name, &bytes)?;
    sealed_object::open_by(suite, magic, bound, bytes).map_err(Error::damaged(kind.path(name)))
}

/// Reads an object.
///
/// # Errors
/// When it does not exist or is not authentic.
pub fn read<T: DeserializeOwned>(
    storage: &dyn Storage,
    suite: &CipherSuite,
    magic: Magic,
    kind: ObjectKind,
    name: &str,
) -> Result<T> {
    let bytes = storage.read(kind, name, sealed_object::MAX_OBJECT)?;
    open(suite, magic, kind, name, name, bytes)
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
    kind: ObjectKind,
    name: &str,
    value: &T,
) -> Result<CreateOutcome> {
    storage.create(kind, name, &[&seal(suite, magic, name, value)?])
}

/// Concurrent removals on remote storage.
const MAX_PARALLEL: usize = 16;

/// Removes many objects. A name that does not exist is not an error. A failure does not keep the others from
/// being removed.
///
/// # Errors
/// When one of them could not be removed.
pub fn remove_all(storage: &dyn Storage, kind: ObjectKind, names: &[String]) -> Result<()> {
    let threads = if storage.is_remote() { MAX_PARALLEL } else { 1 };
    parallel::map(names, threads, |name| storage.remove(kind, name)).into_iter().collect()
}

/// Returns the error for a name that does not parse: it is not a file of this program.
pub fn unknown_name(kind: ObjectKind, name: &str) -> Error {
    Error::because(kind.path(name), "its name is not one of snap's")
}

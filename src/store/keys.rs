//! Key slots: one file for each password, all wrapping the same master key.

use crate::codec::cipher::Ring;
use crate::codec::hash;
use crate::codec::hash::Key;
use crate::codec::kdf;
use crate::codec::slot;
use crate::codec::slot::SlotLabel;
use crate::error::Error;
use crate::error::Result;
use crate::model::entry::Time;
use crate::model::id::KeyId;
use crate::model::id::RepoId;
use crate::store::objects;
use crate::store::storage::Area;
use crate::store::storage::Created;
use crate::store::storage::Storage;

const MAX_SLOT: u64 = 64 << 10;

/// A slot's id and bytes, or what is wrong with it.
pub type ReadSlot = Result<(KeyId, Vec<u8>)>;

/// Writes a slot for a password.
///
/// # Errors
/// When it could not be made durable.
pub fn add(storage: &dyn Storage, ring: &Ring, master: &Key, password: &[u8], label: &str) -> Result<KeyId> {
    let label = SlotLabel {
        created: Time::now(),
        host: crate::store::session::host_name(),
        user: crate::store::session::user_name(),
        label: label.to_owned(),
    };
    let bytes = slot::close(&ring.repo, master, &ring.meta, password, kdf::DEFAULT, &label)
        .map_err(Error::damaged("a key slot, being written,"))?;
    let id = KeyId::new(hash::sha256(&bytes));
    match storage.create(Area::Keys, &id.hex(), &[&bytes])? {
        Created::New => Ok(id),
        Created::Exists => Err(Error::Refused(format!("a key slot named {id} exists already"))),
    }
}

/// All slots: (id, bytes). A slot that is not what its name says is an error in its place.
///
/// # Errors
/// When they could not be listed.
pub fn all(storage: &dyn Storage) -> Result<Vec<(String, ReadSlot)>> {
    let listed = storage.list(Area::Keys)?;
    Ok(listed.into_iter().map(|found| (found.name.clone(), read(storage, &found.name))).collect())
}

fn read(storage: &dyn Storage, name: &str) -> Result<(KeyId, Vec<u8>)> {
    let id = KeyId::parse(name).map_err(|_| objects::unknown_name(Area::Keys, name))?;
    let bytes = storage.read(Area::Keys, name, MAX_SLOT)?;
    if hash::sha256(&bytes) != *id.as_bytes() {
        let why = crate::model::malformed::Malformed::because("its bytes do not hash to its name");
        return Err(Error::Damaged { what: Area::Keys.path(name), source: why });
    }
    objects::check_header(Area::Keys, name, &bytes)?;
    Ok((id, bytes))
}

/// The master key and the slot that the password opens.
///
/// # Errors
/// `WrongPassword` when none does; what is wrong with a slot when no whole one is left.
pub fn unlock(storage: &dyn Storage, repo: &RepoId, password: &[u8]) -> Result<(KeyId, Key)> {
    let mut trouble = None;
    let mut whole = 0;
    for (name, slot) in all(storage)? {
        let opened = slot.and_then(|(id, bytes)| {
            let damaged = || Error::damaged(Area::Keys.path(&name));
            if slot::repo_of(&bytes).map_err(damaged())? != *repo {
                return Ok(None);
            }
            Ok(slot::open(&bytes, password).map_err(damaged())?.map(|key| (id, key)))
        });
        match opened {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => whole += 1,
            Err(err) => trouble = Some(err),
        }
    }
    match trouble {
        Some(err) if whole == 0 => Err(err),
        None if whole == 0 => Err(Error::Missing { what: "every key slot of the repository".into() }),
        _ => Err(Error::WrongPassword { location: storage.location() }),
    }
}

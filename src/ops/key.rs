//! `key`: manages several passwords of one repository.

use zeroize::Zeroizing;

use crate::codec::crypto::kdf::KdfParams;
use crate::codec::crypto::key_slot;
use crate::error::{Error, Result};
use crate::model::entry::Time;
use crate::model::id::KeyId;
use crate::model::records::AuditAct;
use crate::repo::keys::KeyChoice;
use crate::repo::repository::Repository;
use crate::repo::{audit, keys, snapshots};
use crate::storage::ObjectKind;

/// A key slot.
#[derive(Debug, Clone)]
pub struct Slot {
    /// Its id.
    pub id: KeyId,
    /// Whether this session opened the repository with it.
    pub current: bool,
    /// Host on which it was created.
    pub host: String,
    /// User who created it.
    pub user: String,
    /// Time of creation.
    pub created: Time,
    /// Label that the user gave it.
    pub label: String,
    /// What trying a password on it costs.
    pub costs: KdfParams,
}

/// Lists all key slots. Warns of damaged ones.
///
/// # Errors
/// When they cannot be listed.
pub fn list(repo: &Repository) -> Result<Vec<Slot>> {
    let mut slots = Vec::new();
    for (name, found) in keys::all(repo.storage())? {
        let label = found.and_then(|(id, bytes)| {
            let damaged = || Error::damaged(ObjectKind::Keys.path(&name));
            let label = key_slot::label(&bytes, &repo.suite().meta).map_err(damaged())?;
            Ok((id, label, key_slot::costs(&bytes).map_err(damaged())?))
        });
        match label {
            Ok((id, label, costs)) => slots.push(Slot {
                id,
                current: repo.slot() == Some(id),
                host: label.host,
                user: label.user,
                created: label.created,
                label: label.label,
                costs,
            }),
            Err(err) => repo.warn(format!(
                "{}: it is damaged, or somebody made it who does not have the key; `snap key remove {name}` removes it",
                err.chain()
            )),
        }
    }
    Ok(slots)
}

/// Adds a password.
///
/// # Errors
/// When the repository is not encrypted, or the slot could not be made durable.
pub fn add(repo: &Repository, password: &Zeroizing<String>, costs: KdfParams, label: &str) -> Result<KeyId> {
    refuse_useless(repo, password)?;
    audit::note(repo, AuditAct::KeyAdd, label)?;
    put(repo, password, costs, label)
}

fn refuse_useless(repo: &Repository, password: &Zeroizing<String>) -> Result<()> {
    if repo.slot().is_none() {
        return Err(Error::Usage("an unencrypted repository has no passwords".into()));
    }
    repo.may_write()?;
    if password.is_empty() {
        return Err(Error::Usage("an empty password protects nothing".into()));
    }
    Ok(())
}

fn put(repo: &Repository, password: &Zeroizing<String>, costs: KdfParams, label: &str) -> Result<KeyId> {
    let id = keys::add(repo.storage(), repo.suite(), repo.master(), password.as_bytes(), costs, label)?;
    repo.cache().note(&ObjectKind::Keys.path(&id.hex()), true);
    Ok(id)
}

/// Removes a key slot; refuses the one in use.
///
/// # Errors
/// When the prefix names none, several, or the slot in use.
pub fn remove(repo: &Repository, prefix: &str) -> Result<KeyId> {
    repo.may_write()?;
    let listed = repo.storage().list(ObjectKind::Keys)?;
    let ids: Vec<KeyId> = listed.iter().filter_map(|found| KeyId::parse(&found.name).ok()).collect();
    let lower = prefix.to_ascii_lowercase();
    let found: Vec<&KeyId> = ids.iter().filter(|id| id.hex().starts_with(&lower)).collect();
    let id = match found.as_slice() {
        [only] if !prefix.is_empty() => *only,
        [] => {
            return Err(Error::Usage(format!(
                "no key slot's id begins with '{prefix}': see `snap key list`"
            )));
        }
        several => {
            let why = snapshots::ambiguous(several.iter().map(|id| id.hex()));
            return Err(Error::Usage(format!("'{prefix}' names no key slot: {why}")));
        }
    };
    if repo.slot() == Some(*id) {
        let why = "that slot opened the repository just now; open it with another password to remove it";
        return Err(Error::Refused(why.into()));
    }
    audit::note(repo, AuditAct::KeyRemove, &id.hex())?;
    drop_slot(repo, *id)
}

/// Changes the password that opened the repository. The new slot is durable before the old one is removed.
///
/// # Errors
/// As [`add`].
pub fn change(repo: &Repository, password: &Zeroizing<String>, costs: KdfParams) -> Result<KeyId> {
    let old = repo.slot();
    let label = list(repo)?.into_iter().find(|slot| slot.current).map(|slot| slot.label).unwrap_or_default();
    refuse_useless(repo, password)?;
    audit::note(repo, AuditAct::KeyChange, &old.map(|old| old.hex()).unwrap_or_default())?;
    let new = put(repo, password, costs, &label)?;
    if let Some(old) = old {
        drop_slot(repo, old)?;
    }
    Ok(new)
}

/// Writes the key slot in use anew, with the same password at other costs. As in [`change`], the old one is removed
/// last.
///
/// # Errors
/// As [`change`]; `WrongPassword` when the password is not that of the slot in use.
pub fn rehash(repo: &Repository, password: &Zeroizing<String>, costs: KdfParams) -> Result<KeyId> {
    refuse_useless(repo, password)?;
    let only = repo.slot().map(|slot| slot.hex());
    keys::unlock(
        repo.storage(),
        &repo.config().repo,
        password.as_bytes(),
        &KeyChoice { only, ..KeyChoice::default() },
    )?;
    change(repo, password, costs)
}

fn drop_slot(repo: &Repository, id: KeyId) -> Result<KeyId> {
    repo.storage().remove(ObjectKind::Keys, &id.hex())?;
    repo.storage().sync(ObjectKind::Keys)?;
    repo.cache().note(&ObjectKind::Keys.path(&id.hex()), false);
    Ok(id)
}

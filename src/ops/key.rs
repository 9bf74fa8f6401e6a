//! `key`: manages several passwords of one repository, and the epochs of its key.

use zeroize::Zeroizing;

use crate::codec::crypto::kdf::KdfParams;
use crate::codec::crypto::key_slot;
use crate::error::{Error, Result};
use crate::model::config::{CLIENTS, Config, Role, SlotEntry};
use crate::model::entry::Time;
use crate::model::id::KeyId;
use crate::model::records::AuditAct;
use crate::repo::keys::KeyChoice;
use crate::repo::repository::Repository;
use crate::repo::{audit, config, keys, snapshots};
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
    /// Cost of trying a password on it.
    pub costs: KdfParams,
    /// Role of its key; `None` if this program does not know the role.
    pub role: Option<Role>,
}

/// Lists all valid key slots. Warns about damaged and missing ones, and about files that are not valid slots.
///
/// # Errors
/// When they cannot be listed.
pub fn list(repo: &Repository) -> Result<Vec<Slot>> {
    let found = keys::slots(repo.storage(), repo.keyring())?;
    let mut slots = Vec::new();
    for (entry, read) in found.listed {
        let name = entry.id.hex();
        let damaged = || Error::damaged(ObjectKind::Keys.path(&name));
        let label = read.and_then(|(_, bytes)| {
            let label = key_slot::label(&bytes, repo.suite()).map_err(damaged())?;
            Ok((label, key_slot::costs(&bytes).map_err(damaged())?))
        });
        match label {
            Ok((label, costs)) => slots.push(Slot {
                id: entry.id,
                current: repo.slot() == Some(entry.id),
                host: label.host,
                user: label.user,
                created: label.created,
                label: label.label,
                costs,
                role: Role::from_byte(entry.role),
            }),
            Err(err) => repo.control().warn(format!(
                "{}: its password does not work; `Repository::remove_key({name})` removes it from the list",
                err.chain()
            )),
        }
    }
    found.others.iter().for_each(|name| repo.control().warn(keys::not_listed(name)));
    Ok(slots)
}

/// Adds a password that opens the repository with a full key.
///
/// # Errors
/// As [`add_role`].
pub fn add(repo: &Repository, password: &Zeroizing<String>, costs: KdfParams, label: &str) -> Result<KeyId> {
    add_role(repo, password, costs, (Role::Full, label))
}

/// Adds a password that opens the repository with a key of a role.
///
/// # Errors
/// When the repository is not encrypted, or the slot could not be made durable.
pub fn add_role(
    repo: &Repository,
    password: &Zeroizing<String>,
    costs: KdfParams,
    (role, label): (Role, &str),
) -> Result<KeyId> {
    refuse_useless(repo, password)?;
    let detail = match role {
        Role::Full => label.to_owned(),
        _ => format!("role {} {label}", role.name()).trim_end().to_owned(),
    };
    audit::note(repo, AuditAct::KeyAdd, &detail)?;
    let entry = put(repo, password, costs, (role, label))?;
    set_slots(repo, &|config| {
        if role == Role::Write {
            config.incompat |= CLIENTS;
        }
        config.slots.push(entry.clone());
        Ok(true)
    })?;
    Ok(entry.id)
}

fn refuse_useless(repo: &Repository, password: &Zeroizing<String>) -> Result<()> {
    if repo.slot().is_none() {
        return Err(Error::Usage("the repository is not encrypted, so it has no passwords".into()));
    }
    repo.may_write()?;
    // Fails if the key was rotated in the meantime.
    repo.current_config()?;
    if password.is_empty() {
        return Err(Error::Usage("an empty password protects nothing".into()));
    }
    Ok(())
}

/// Writes the file of a slot. It is not valid before the configuration lists it.
fn put(
    repo: &Repository,
    password: &Zeroizing<String>,
    costs: KdfParams,
    of: (Role, &str),
) -> Result<SlotEntry> {
    let entry = keys::add(repo.storage(), repo.suite(), repo.keyring(), password.as_bytes(), costs, of)?;
    repo.cache().note(&ObjectKind::Keys.path(&entry.id.hex()), true);
    Ok(entry)
}

fn set_slots(repo: &Repository, set: &dyn Fn(&mut Config) -> Result<bool>) -> Result<()> {
    config::change_slots(repo.storage(), repo.keyring(), repo.keyring(), set)
        .map(|written| repo.wrote_config(&written))
}

/// Removes a key slot, or a file in `keys/` that is not listed as valid. Refuses the slot in use.
///
/// # Errors
/// When the prefix matches none, several, or the slot in use.
pub fn remove(repo: &Repository, prefix: &str) -> Result<KeyId> {
    repo.may_write()?;
    let listed = repo.storage().list(ObjectKind::Keys)?;
    let mut ids: Vec<KeyId> = listed.iter().filter_map(|found| KeyId::parse(&found.name).ok()).collect();
    let now = config::current(repo.storage(), repo.keyring())?;
    ids.extend(now.slots.iter().map(|entry| entry.id));
    ids.sort_unstable();
    ids.dedup();
    let lower = prefix.to_ascii_lowercase();
    let found: Vec<&KeyId> = ids.iter().filter(|id| id.hex().starts_with(&lower)).collect();
    let id = match found.as_slice() {
        [only] if !prefix.is_empty() => *only,
        [] => {
            return Err(Error::Usage(format!(
                "no key slot's id begins with '{prefix}': `Repository::keys` lists them"
            )));
        }
        several => {
            let why = snapshots::ambiguous(several.iter().map(|id| id.hex()));
            return Err(Error::Usage(format!("'{prefix}' does not select a key slot: {why}")));
        }
    };
    if repo.slot() == Some(*id) {
        let why = "this key slot is in use; open the repository with another password to remove it";
        return Err(Error::Refused(why.into()));
    }
    audit::note(repo, AuditAct::KeyRemove, &id.hex())?;
    set_slots(repo, &|config| {
        let is_listed = config.slots.iter().any(|entry| entry.id == *id);
        config.retire_slot(id);
        Ok(is_listed)
    })?;
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
    let entry = put(repo, password, costs, (Role::Full, &label))?;
    set_slots(repo, &|config| {
        config.slots.retain(|entry| Some(entry.id) != old);
        config.slots.push(entry.clone());
        Ok(true)
    })?;
    if let Some(old) = old {
        drop_slot(repo, old)?;
    }
    Ok(entry.id)
}

/// Result of a rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// The new epoch.
    pub epoch: u32,
    /// The new slot of the password in use.
    pub id: KeyId,
    /// Ids of the other slots, which stay valid with their passwords.
    pub others: Vec<KeyId>,
}

/// Begins a new epoch: later objects are sealed with new keys. All valid slots open these, without their
/// passwords being needed; the slot in use is rewritten with the same `password`.
///
/// # Errors
/// As [`add`]; when the password is not that of the slot in use; when the key was rotated in the meantime.
pub fn rotate(repo: &Repository, password: &Zeroizing<String>, costs: KdfParams) -> Result<Rotated> {
    refuse_useless(repo, password)?;
    refuse_other(repo, password)?;
    let label = list(repo)?.into_iter().find(|slot| slot.current).map(|slot| slot.label).unwrap_or_default();
    let next = repo.keyring().rotated().map_err(Error::making("a new key"))?;
    audit::note(repo, AuditAct::KeyRotate, &format!("epoch {}", next.epoch()))?;
    let suite = next.suite(repo.config()).map_err(Error::making("a new key"))?;
    let of = (Role::Full, label.as_str());
    let ours = keys::add(repo.storage(), &suite, &next, password.as_bytes(), costs, of)?;
    let (id, old) = (ours.id, repo.slot());
    let begin = |config: &mut Config| {
        config.slots.retain(|entry| Some(entry.id) != old);
        for entry in &mut config.slots {
            let role = Role::from_byte(entry.role).ok_or_else(|| keys::unknown_kind(&entry.id))?;
            *entry = next
                .seal_to(&config.repo, entry.id, entry.public, role)
                .map_err(Error::making("a key slot's keys"))?;
        }
        config.slots.push(ours.clone());
        repo.keyring().hand_over(&next, config).map_err(Error::making("a new key"))?;
        Ok(true)
    };
    let written = config::change_slots(repo.storage(), repo.keyring(), &next, &begin)?;
    repo.cache().note(&ObjectKind::Keys.path(&id.hex()), true);
    repo.wrote_config(&written);
    if let Some(old) = old {
        drop_slot(repo, old)?;
    }
    let others = written.iter().flat_map(|config| &config.slots).map(|entry| entry.id);
    let mut others: Vec<KeyId> = others.filter(|other| *other != id).collect();
    others.sort_unstable();
    others.dedup();
    Ok(Rotated { epoch: next.epoch(), id, others })
}

/// Rewrites the key slot in use with the same password at other costs. As in [`change`], the old one is
/// removed last.
///
/// # Errors
/// As [`change`]; `WrongPassword` when the password is not that of the slot in use.
pub fn rehash(repo: &Repository, password: &Zeroizing<String>, costs: KdfParams) -> Result<KeyId> {
    refuse_useless(repo, password)?;
    refuse_other(repo, password)?;
    change(repo, password, costs)
}

fn drop_slot(repo: &Repository, id: KeyId) -> Result<KeyId> {
    match repo.storage().remove(ObjectKind::Keys, &id.hex()) {
        Err(err) if err.is_missing() => {}
        other => other?,
    }
    repo.storage().sync(ObjectKind::Keys)?;
    repo.cache().note(&ObjectKind::Keys.path(&id.hex()), false);
    Ok(id)
}

/// Fails if the password is not that of the slot in use.
fn refuse_other(repo: &Repository, password: &Zeroizing<String>) -> Result<()> {
    let listed: Vec<KeyId> = repo.slot().into_iter().collect();
    let only = repo.slot().map(|slot| slot.hex());
    let choice = KeyChoice { only, last: None, listed };
    keys::unlock(repo.storage(), &repo.config().repo, password.as_bytes(), &choice).map(drop)
}

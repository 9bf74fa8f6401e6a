//! Key slots: one file per password. A slot is valid if the configuration lists it, with the keyring sealed
//! to it.

use std::collections::BTreeMap;
use std::io;

use crate::codec::crypto::kdf::KdfParams;
use crate::codec::crypto::key_slot::{SlotLabel, SlotSecret};
use crate::codec::crypto::keyring::Keyring;
use crate::codec::crypto::suite::CipherSuite;
use crate::codec::crypto::{envelope, hash, kdf, key_slot};
use crate::error::{Error, Result};
use crate::model::config::{Role, SlotEntry};
use crate::model::decode_error::DecodeError;
use crate::model::entry::Time;
use crate::model::id::{KeyId, RepoId};
use crate::repo::{config, objects};
use crate::storage::{CreateOutcome, ObjectKind, Storage, names};
use crate::util::host;

const MAX_SLOT_BYTES: u64 = 64 << 10;

/// A slot's id and bytes, or the error of reading it.
pub type ReadSlot = Result<(KeyId, Vec<u8>)>;

/// Writes a slot with a role for a password, with these key derivation costs. Returns its entry for the
/// configuration, which makes it valid.
///
/// # Errors
/// When it could not be made durable.
pub fn add(
    storage: &dyn Storage,
    suite: &CipherSuite,
    keyring: &Keyring,
    password: &[u8],
    costs: KdfParams,
    (role, label): (Role, &str),
) -> Result<SlotEntry> {
    let label = SlotLabel {
        created: Time::now(),
        host: host::host_name(),
        user: host::user_name(),
        label: label.to_owned(),
    };
    let failed = || failure("a new key slot".to_owned());
    let pair = envelope::new_pair().map_err(failed())?;
    let anchor = keyring.verifying_key(&suite.repo).map_err(failed())?;
    let secret = SlotSecret { private: pair.private, epoch: keyring.epoch(), anchor };
    let bytes = key_slot::seal(suite, &secret, password, costs, &label).map_err(failed())?;
    let id = KeyId::new(hash::sha256(&bytes));
    let entry = keyring.seal_to(&suite.repo, id, pair.public, role).map_err(failed())?;
    match storage.create(ObjectKind::Keys, &id.hex(), &[&bytes])? {
        CreateOutcome::New => Ok(entry),
        CreateOutcome::Exists => Err(Error::Refused(format!("a key slot named {id} exists already"))),
    }
}

/// The key slots of an encrypted repository.
#[derive(Debug)]
pub struct Slots {
    /// The slots that the configuration lists, with their files or the errors of damaged or missing ones.
    pub listed: Vec<(SlotEntry, ReadSlot)>,
    /// Names of the other files in `keys/`, which open nothing.
    pub others: Vec<String>,
}

/// Reads all slots.
///
/// # Errors
/// When the configuration could not be read, or a slot for a reason other than damage.
pub fn slots(storage: &dyn Storage, keyring: &Keyring) -> Result<Slots> {
    let mut found: BTreeMap<String, ReadSlot> = list_slots(storage)?.into_iter().collect();
    // Read after the slots: a slot is removed from the list before its file is deleted.
    let config = config::current(storage, keyring)?;
    let mut listed = Vec::new();
    for entry in config.slots {
        let name = entry.id.hex();
        // Reads the file of a slot that was added in between: it is written before the list names it.
        let slot = found.remove(&name).unwrap_or_else(|| read(storage, &name));
        match slot {
            Err(err) if !err.is_missing() && !is_bad_slot(&err) => return Err(err),
            slot => listed.push((entry, slot)),
        }
    }
    Ok(Slots { listed, others: found.into_keys().collect() })
}

fn is_bad_slot(err: &Error) -> bool {
    err.is_damage() || matches!(err, Error::NewerFormat { .. })
}

/// Reads all slots by name. The error of a damaged slot is returned in its place.
///
/// # Errors
/// When the slots could not be listed, or one could not be read for a reason other than damage.
pub fn list_slots(storage: &dyn Storage) -> Result<Vec<(String, ReadSlot)>> {
    let mut slots = Vec::new();
    for found in names::list(storage, ObjectKind::Keys)? {
        match read(storage, &found.name) {
            // Removed after the listing.
            Err(err) if err.is_missing() => {}
            Err(err) if !is_bad_slot(&err) => return Err(err),
            slot => slots.push((found.name, slot)),
        }
    }
    Ok(slots)
}

/// Returns the message about a file in `keys/` that the configuration does not list.
pub fn not_listed(name: &str) -> String {
    format!(
        "the key slot {name} is not listed as valid and is not used: it was removed and put back, or made \
         by somebody without a key; `Repository::remove_key({name})` removes it"
    )
}

/// Returns the error for a slot with a role that this program does not know.
pub(crate) fn unknown_kind(id: &KeyId) -> Error {
    let id = id.short();
    Error::Refused(format!("the key slot {id} has a role that this version does not know: use a newer snap"))
}

fn read(storage: &dyn Storage, name: &str) -> Result<(KeyId, Vec<u8>)> {
    let id = KeyId::parse(name).map_err(|_| objects::unknown_name(ObjectKind::Keys, name))?;
    let bytes = storage.read(ObjectKind::Keys, name, MAX_SLOT_BYTES)?;
    if hash::sha256(&bytes) != *id.as_bytes() {
        return Err(Error::because(ObjectKind::Keys.path(name), "its hash differs from its name"));
    }
    objects::check_header(ObjectKind::Keys, name, &bytes)?;
    Ok((id, bytes))
}

/// Maps errors of a slot; too little memory on this machine is not damage.
fn failure(what: String) -> impl FnOnce(DecodeError) -> Error {
    move |source| {
        if source == DecodeError::because(kdf::NO_MEMORY) {
            Error::Io { doing: "derive the key of", what, source: io::ErrorKind::OutOfMemory.into() }
        } else {
            Error::Damaged { what, source }
        }
    }
}

/// The slots to try a password on.
#[derive(Debug, Clone, Default)]
pub struct KeyChoice {
    /// Only the slot whose id has this prefix, whatever its cost.
    pub only: Option<String>,
    /// The slot that opened the repository last; it is tried first.
    pub last: Option<KeyId>,
    /// The slots that configurations list, in ascending order. No other file is read.
    pub listed: Vec<KeyId>,
}

impl KeyChoice {
    fn lists(&self, name: &str) -> bool {
        KeyId::parse(name).is_ok_and(|id| self.listed.binary_search(&id).is_ok())
    }
}

/// Maximum slots that are read. An attacker who may only add objects can add any number.
const MAX_READ: usize = 256;
/// Maximum slots that are tried.
const MAX_TRIED: usize = 64;
/// Maximum total cost of all tries: about ten seconds.
const MAX_TOTAL_COST: u64 = MAX_TRIED as u64 * DEFAULT_COST;
/// Maximum memory of one try, in KiB.
const MAX_MEMORY_KIB: u32 = 512 << 10;
const DEFAULT_COST: u64 = kdf::DEFAULT.cost();

/// An intact slot of this repository.
struct Candidate {
    id: KeyId,
    bytes: Vec<u8>,
    costs: KdfParams,
    modified: Option<Time>,
}

impl Candidate {
    fn open(&self, password: &[u8]) -> Result<Option<(KeyId, SlotSecret)>> {
        let opened = key_slot::open(&self.bytes, password);
        let opened = opened.map_err(failure(ObjectKind::Keys.path(&self.id.hex())))?;
        Ok(opened.map(|secret| (self.id, secret)))
    }

    /// Returns the sort key for the order of attempts: first the slots that cost no more than this program's
    /// default, oldest first, because by the storage's clock an attacker's slot cannot be older than the
    /// owner's; then the others, by cost.
    fn order(&self) -> (u64, bool, Option<Time>, KeyId) {
        (self.costs.cost().max(DEFAULT_COST), self.modified.is_none(), self.modified, self.id)
    }
}

/// Finds the slot that the password opens, and returns it with its secret. Only listed slots are read. But
/// the list is not verified before a slot is open, and a slot declares its own cost. Therefore the slot that
/// opened the repository last is tried first, then cheap ones, and the number of attempts and their total
/// cost are limited.
///
/// # Errors
/// `WrongPassword` when none opens; the error of a slot when no intact one is left.
pub fn unlock(
    storage: &dyn Storage,
    repo: &RepoId,
    password: &[u8],
    choice: &KeyChoice,
) -> Result<(KeyId, SlotSecret)> {
    if let Some(prefix) = &choice.only {
        return unlock_only(storage, repo, password, prefix, choice);
    }
    let last = match choice
        .last
        .filter(|last| choice.listed.contains(last))
        .map(|id| candidate(storage, repo, &id.hex(), None))
    {
        Some(Err(err)) if err.is_bug() => return Err(err),
        found => found.and_then(|found| found.ok().flatten()),
    };
    match last.as_ref().map_or(Ok(None), |last| last.open(password)) {
        Ok(Some(found)) => return Ok(found),
        Err(err) if err.is_out_of_memory() || err.is_bug() => return Err(err),
        // After any other error of a slot, tries the next one.
        _ => {}
    }
    let mut listed = storage.list(ObjectKind::Keys)?;
    listed
        .retain(|found| choice.lists(&found.name) && choice.last.is_none_or(|last| found.name != last.hex()));
    listed.sort_by(|a, b| {
        (a.modified.is_none(), a.modified, &a.name).cmp(&(b.modified.is_none(), b.modified, &b.name))
    });
    let mut untried = listed.len().saturating_sub(MAX_READ);
    let (mut candidates, mut last_error, mut intact) = (Vec::new(), None, usize::from(last.is_some()));
    for found in listed.into_iter().take(MAX_READ) {
        match candidate(storage, repo, &found.name, found.modified) {
            Ok(found) => {
                intact += 1;
                candidates.extend(found);
            }
            Err(err) if err.is_bug() => return Err(err),
            Err(err) => last_error = Some(err),
        }
    }
    candidates.sort_by_key(Candidate::order);
    let mut spent = 0;
    for (number, candidate) in candidates.iter().enumerate() {
        let costs = candidate.costs.cost();
        if number >= MAX_TRIED || candidate.costs.memory > MAX_MEMORY_KIB || spent + costs > MAX_TOTAL_COST {
            untried += 1;
            continue;
        }
        spent += costs;
        match candidate.open(password) {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(err) if err.is_bug() => return Err(err),
            Err(err) => {
                intact -= 1;
                last_error = Some(err);
            }
        }
    }
    match last_error {
        Some(err) if intact == 0 || err.is_out_of_memory() => Err(err),
        None if intact == 0 => Err(Error::Missing { what: "a readable key slot".into() }),
        _ => Err(Error::WrongPassword { location: storage.location(), untried }),
    }
}

/// Reads the slot at `name`; `None` if it belongs to another repository.
fn candidate(
    storage: &dyn Storage,
    repo: &RepoId,
    name: &str,
    modified: Option<Time>,
) -> Result<Option<Candidate>> {
    let (id, bytes) = read(storage, name)?;
    let damaged = || Error::damaged(ObjectKind::Keys.path(name));
    if key_slot::repo_of(&bytes).map_err(damaged())? != *repo {
        return Ok(None);
    }
    let costs = key_slot::costs(&bytes).map_err(damaged())?;
    Ok(Some(Candidate { id, bytes, costs, modified }))
}

fn unlock_only(
    storage: &dyn Storage,
    repo: &RepoId,
    password: &[u8],
    prefix: &str,
    choice: &KeyChoice,
) -> Result<(KeyId, SlotSecret)> {
    let lower = prefix.to_ascii_lowercase();
    let found = storage.list(ObjectKind::Keys)?.into_iter().map(|found| found.name);
    let (names, others): (Vec<String>, Vec<String>) =
        found.filter(|name| name.starts_with(&lower)).partition(|name| choice.lists(name));
    let name = match (names.as_slice(), others.first()) {
        ([only], _) => only,
        ([], Some(other)) => {
            let why = "is not listed as valid in the configuration: it was removed, or was never added";
            return Err(Error::Refused(format!("the key slot {other} {why}")));
        }
        ([], None) => return Err(Error::Usage(format!("no key slot's id begins with '{prefix}'"))),
        (several, _) => {
            let why = format!("it matches {} key slots", several.len());
            return Err(Error::Usage(format!("'{prefix}' does not select a key slot: {why}")));
        }
    };
    let opened = match candidate(storage, repo, name, None)? {
        Some(slot) => slot.open(password)?,
        None => return Err(Error::Refused(format!("the key slot {name} belongs to another repository"))),
    };
    opened.ok_or_else(|| Error::WrongPassword { location: storage.location(), untried: 0 })
}

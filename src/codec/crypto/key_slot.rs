//! Key slots and the configuration file: what is read before any key is known.

use serde::{Deserialize, Serialize};

use crate::codec::crypto::cipher::Cipher;
use crate::codec::crypto::hash::Key;
use crate::codec::crypto::kdf::KdfParams;
use crate::codec::crypto::{cipher, hash, kdf};
use crate::codec::wire;
use crate::model::config::{CipherKind, Config, FORMAT};
use crate::model::decode_error::DecodeError;
use crate::model::entry::Time;
use crate::model::id::RepoId;

/// Magic bytes of a key slot.
pub const SLOT: [u8; 6] = *b"SNAPKY";
/// Magic bytes of a configuration.
pub const CONFIG: [u8; 6] = *b"SNAPCF";
const SLOT_HEAD: usize = 8 + 16 + 16 + 32 + 32;
const SEALED_KEY: usize = 32 + cipher::OVERHEAD;

/// Where a slot came from, for `key list`. Frozen: format version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotLabel {
    /// When it was created.
    pub created: Time,
    /// Host name of the machine.
    pub host: String,
    /// Name of the user.
    pub user: String,
    /// Its purpose, as given by the user.
    pub label: String,
}

/// Wraps the master key under a password. `meta` seals the label, so that everybody who can open the
/// repository can read it.
///
/// # Errors
/// No random bytes or not enough memory.
pub fn close(
    repo: &RepoId,
    master: &Key,
    meta: &Cipher,
    password: &[u8],
    params: KdfParams,
    label: &SlotLabel,
) -> Result<Vec<u8>, DecodeError> {
    let mut salt = [0u8; 32];
    cipher::random(&mut salt)?;
    let derived = kdf::derive(password, &salt, params)?;
    let (kek, check) = halves(&derived);
    let mut out = Vec::with_capacity(SLOT_HEAD + SEALED_KEY + 128);
    out.extend_from_slice(&SLOT);
    out.extend_from_slice(&FORMAT.to_le_bytes());
    for number in [1, params.memory, params.passes, params.lanes] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(repo.as_bytes());
    out.extend_from_slice(&salt);
    out.extend_from_slice(&check);
    let aad = out.clone();
    Cipher::new(CipherKind::Xaes256Gcm, kek).seal(&aad, master.bytes(), &mut out)?;
    let aad = out.clone();
    meta.seal(&aad, &wire::encode(label)?, &mut out)?;
    Ok(out)
}

/// Returns the repository that a slot belongs to.
///
/// # Errors
/// The bytes are not a slot.
pub fn repo_of(slot: &[u8]) -> Result<RepoId, DecodeError> {
    let repo = slot.get(24..40).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
    if !slot.starts_with(&SLOT) {
        return Err(DecodeError::because("not a key slot"));
    }
    repo.map(RepoId::new).ok_or(DecodeError::because("too short"))
}

/// Returns the cost of trying a password on a slot, as the slot states it.
///
/// # Errors
/// The bytes are not a slot of a known kind, or the costs are out of bounds.
pub fn costs(slot: &[u8]) -> Result<KdfParams, DecodeError> {
    let number = |at: usize| {
        let bytes = slot.get(at..at + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
        bytes.map(u32::from_le_bytes).ok_or(DecodeError::because("too short"))
    };
    if !slot.starts_with(&SLOT) || number(8)? != 1 {
        return Err(DecodeError::because("not a key slot of a known kind"));
    }
    let costs = KdfParams { memory: number(12)?, passes: number(16)?, lanes: number(20)? };
    costs.check()?;
    Ok(costs)
}

/// Returns the master key, or `None` if the password is not this slot's. The check value is compared before
/// anything is opened, because AES-GCM is not key-committing.
///
/// # Errors
/// The slot is malformed.
pub fn open(slot: &[u8], password: &[u8]) -> Result<Option<Key>, DecodeError> {
    let (head, rest) = slot.split_at_checked(SLOT_HEAD).ok_or(DecodeError::because("too short"))?;
    let (sealed, _) = rest.split_at_checked(SEALED_KEY).ok_or(DecodeError::because("too short"))?;
    let params = costs(slot)?;
    let field = |at: usize| head.get(at..at + 32).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let (Some(salt), Some(check)) = (field(40), field(72)) else {
        return Err(DecodeError::because("too short"));
    };
    let derived = kdf::derive(password, &salt, params)?;
    let (kek, ours) = halves(&derived);
    if !hash::equal(&ours, &check) {
        return Ok(None);
    }
    let mut sealed = sealed.to_vec();
    let plain = Cipher::new(CipherKind::Xaes256Gcm, kek).open(head, &mut sealed)?;
    let master =
        <[u8; 32]>::try_from(&*plain).map_err(|_| DecodeError::because("a key of the wrong length"))?;
    Ok(Some(Key::new(master)))
}

/// Returns the label of a slot.
///
/// # Errors
/// The label is not what was written.
pub fn label(slot: &[u8], meta: &Cipher) -> Result<SlotLabel, DecodeError> {
    let (head, rest) =
        slot.split_at_checked(SLOT_HEAD + SEALED_KEY).ok_or(DecodeError::because("too short"))?;
    let mut sealed = rest.to_vec();
    wire::decode(meta.open(head, &mut sealed)?)
}

fn halves(derived: &[u8; 64]) -> (Key, [u8; 32]) {
    let mut kek = [0u8; 32];
    let mut check = [0u8; 32];
    for (to, from) in kek.iter_mut().chain(check.iter_mut()).zip(derived) {
        *to = *from;
    }
    (Key::new(kek), check)
}

/// Position of the format version in a configuration.
pub const CONFIG_FORMAT: std::ops::Range<usize> = 6..8;

/// Encodes a configuration. It can be read without a key, and verified with one.
///
/// # Errors
/// The configuration cannot be encoded.
pub fn close_config(config: &Config, key: &Key) -> Result<Vec<u8>, DecodeError> {
    let body = wire::encode(config)?;
    let mut out = CONFIG.to_vec();
    out.extend_from_slice(&FORMAT.to_le_bytes());
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(&body);
    let mac = hash::mac(key, &out);
    out.extend_from_slice(&mac);
    Ok(out)
}

/// Decodes a configuration without verifying it; see [`check_config`].
///
/// # Errors
/// The bytes do not parse.
pub fn open_config(bytes: &[u8]) -> Result<Config, DecodeError> {
    let (head, rest) = bytes.split_at_checked(12).ok_or(DecodeError::because("too short"))?;
    let (body, mac) = rest.split_last_chunk::<32>().ok_or(DecodeError::because("too short"))?;
    let len = head.last_chunk::<4>().map(|len| u32::from_le_bytes(*len) as usize);
    if !head.starts_with(&CONFIG) || len != Some(body.len()) || mac.is_empty() {
        return Err(DecodeError::because("not a configuration"));
    }
    wire::decode(body)
}

/// Returns whether a configuration was written with the repository's key.
pub fn check_config(bytes: &[u8], key: &Key) -> bool {
    match bytes.split_last_chunk::<32>() {
        Some((rest, mac)) => hash::equal(mac, &hash::mac(key, rest)),
        None => false,
    }
}

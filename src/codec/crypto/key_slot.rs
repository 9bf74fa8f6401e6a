//! Key slots and the configuration file: both are read before any key is known.

use serde::{Deserialize, Serialize};

use zeroize::Zeroizing;

use crate::codec::crypto::cipher::Cipher;
use crate::codec::crypto::hash::Key;
use crate::codec::crypto::kdf::KdfParams;
use crate::codec::crypto::signature::{SIGNATURE, VERIFYING};
use crate::codec::crypto::suite::CipherSuite;
use crate::codec::crypto::{cipher, envelope, hash, kdf, signature};
use crate::codec::wire;
use crate::model::config::{CipherKind, Config, FORMAT};
use crate::model::decode_error::DecodeError;
use crate::model::entry::Time;
use crate::model::id::RepoId;

/// Magic bytes of a key slot.
pub const SLOT: [u8; 6] = *b"SNAPKY";
/// Magic bytes of a configuration.
pub const CONFIG: [u8; 6] = *b"SNAPCF";
/// Offset of the epoch, the last field of a slot's header.
const SLOT_EPOCH: usize = 8 + 16 + 16 + 32 + 32;
const SLOT_HEAD: usize = SLOT_EPOCH + 4;
const SECRET: usize = envelope::KEY + VERIFYING;
const SEALED_SECRET: usize = SECRET + cipher::OVERHEAD;

/// The secret in a key slot: the private key that opens the keyring, and the key that verifies the
/// configuration from which the keyring is read.
#[derive(Debug, Clone)]
pub struct SlotSecret {
    /// X25519 private key of the slot.
    pub private: Key,
    /// The epoch in which the slot was created.
    pub epoch: u32,
    /// The Ed25519 key that verifies configurations of this epoch.
    pub anchor: [u8; VERIFYING],
}

/// Origin of a key slot, for display. Frozen: format version 1.
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

/// Seals a slot's secret under a password. The label is sealed with the repository's own key, so that every
/// user of the repository can read it.
///
/// # Errors
/// The system's random generator fails, or there is not enough memory.
pub fn seal(
    suite: &CipherSuite,
    secret: &SlotSecret,
    password: &[u8],
    params: KdfParams,
    label: &SlotLabel,
) -> Result<Vec<u8>, DecodeError> {
    let mut salt = [0u8; 32];
    cipher::random(&mut salt)?;
    let derived = kdf::derive(password, &salt, params)?;
    let (kek, check) = halves(&derived);
    let mut out = Vec::with_capacity(SLOT_HEAD + SEALED_SECRET + 128);
    out.extend_from_slice(&SLOT);
    out.extend_from_slice(&FORMAT.to_le_bytes());
    for number in [1, params.memory, params.passes, params.lanes] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(suite.repo.as_bytes());
    out.extend_from_slice(&salt);
    out.extend_from_slice(&check);
    out.extend_from_slice(&secret.epoch.to_le_bytes());
    let aad = out.clone();
    let plain = Zeroizing::new([secret.private.bytes().as_slice(), &secret.anchor].concat());
    Cipher::new(CipherKind::Xaes256Gcm, kek).seal(&aad, &plain, &mut out)?;
    let aad = out.clone();
    suite.meta_of(secret.epoch)?.seal(&aad, &wire::encode(label)?, &mut out)?;
    Ok(out)
}

/// Returns the repository that a slot belongs to.
///
/// # Errors
/// The bytes are not a slot.
pub fn repo_of(slot: &[u8]) -> Result<RepoId, DecodeError> {
    if !slot.starts_with(&SLOT) {
        return Err(DecodeError::because("it is not a key slot"));
    }
    field(slot, 24).map(RepoId::new)
}

/// Returns the bytes of a field of a slot's header.
fn field<const N: usize>(slot: &[u8], at: usize) -> Result<[u8; N], DecodeError> {
    let field = slot.get(at..).and_then(|rest| rest.first_chunk());
    field.copied().ok_or(DecodeError::because("too short"))
}

/// Returns the cost of trying a password on a slot, as declared by the slot.
///
/// # Errors
/// The bytes are not a slot of a known kind, or the costs are out of bounds.
pub fn costs(slot: &[u8]) -> Result<KdfParams, DecodeError> {
    let number = |at: usize| field(slot, at).map(u32::from_le_bytes);
    if !slot.starts_with(&SLOT) || number(8)? != 1 {
        return Err(DecodeError::because("it is a key slot of an unknown kind"));
    }
    let costs = KdfParams { memory: number(12)?, passes: number(16)?, lanes: number(20)? };
    costs.check()?;
    Ok(costs)
}

/// Returns the slot's secret, or `None` if the password is wrong for this slot. The check value is compared
/// before anything is opened, because AES-GCM is not key-committing.
///
/// # Errors
/// The slot is malformed.
pub fn open(slot: &[u8], password: &[u8]) -> Result<Option<SlotSecret>, DecodeError> {
    let (head, rest) = slot.split_at_checked(SLOT_HEAD).ok_or(DecodeError::because("too short"))?;
    let (sealed, _) = rest.split_at_checked(SEALED_SECRET).ok_or(DecodeError::because("too short"))?;
    let params = costs(slot)?;
    let derived = kdf::derive(password, &field(head, 40)?, params)?;
    let (kek, ours) = halves(&derived);
    if !hash::equal(&ours, &field::<32>(head, 72)?) {
        return Ok(None);
    }
    let mut sealed = Zeroizing::new(sealed.to_vec());
    let plain = Cipher::new(CipherKind::Xaes256Gcm, kek).open(head, &mut sealed)?;
    match (plain.first_chunk::<{ envelope::KEY }>(), plain.last_chunk::<VERIFYING>()) {
        (Some(private), Some(anchor)) if plain.len() == SECRET => {
            Ok(Some(SlotSecret { private: Key::new(*private), epoch: epoch(slot)?, anchor: *anchor }))
        }
        _ => Err(DecodeError::because("a key has the wrong length")),
    }
}

/// Returns the epoch in which a slot was created.
fn epoch(slot: &[u8]) -> Result<u32, DecodeError> {
    field(slot, SLOT_EPOCH).map(u32::from_le_bytes)
}

/// Returns the label of a slot.
///
/// # Errors
/// The label is damaged or was sealed with another key.
pub fn label(slot: &[u8], suite: &CipherSuite) -> Result<SlotLabel, DecodeError> {
    let (head, rest) =
        slot.split_at_checked(SLOT_HEAD + SEALED_SECRET).ok_or(DecodeError::because("too short"))?;
    let mut sealed = rest.to_vec();
    wire::decode(suite.meta_of(epoch(slot)?)?.open(head, &mut sealed)?)
}

/// Splits a derived key into the key that encrypts the secret, and the check value.
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

/// Encodes and signs a configuration, which can be read without a key. `seed` is the signing seed of the
/// configuration's epoch.
///
/// # Errors
/// The configuration cannot be encoded.
pub fn encode_config(config: &Config, seed: &Key) -> Result<Vec<u8>, DecodeError> {
    let body = wire::encode(config)?;
    let mut out = CONFIG.to_vec();
    out.extend_from_slice(&FORMAT.to_le_bytes());
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(&body);
    let signature = signature::sign(seed, &out)?;
    out.extend_from_slice(&signature);
    Ok(out)
}

/// Decodes a configuration without verifying it; see [`is_signed`](super::keyring::is_signed).
///
/// # Errors
/// The bytes do not parse.
pub fn decode_config(bytes: &[u8]) -> Result<Config, DecodeError> {
    let (head, rest) = bytes.split_at_checked(12).ok_or(DecodeError::because("too short"))?;
    let (body, _) = rest.split_last_chunk::<SIGNATURE>().ok_or(DecodeError::because("too short"))?;
    let len = head.last_chunk::<4>().map(|len| u32::from_le_bytes(*len) as usize);
    if !head.starts_with(&CONFIG) || len != Some(body.len()) {
        return Err(DecodeError::because("it is not a configuration"));
    }
    wire::decode(body)
}

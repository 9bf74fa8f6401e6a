//! Small objects: a plain header and a sealed postcard body, bound to repository, type and name.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::crypto::cipher::{self, OVERHEAD};
use crate::codec::crypto::hash::ChunkType;
use crate::codec::crypto::session_keys::{ENVELOPE, Envelope, Sealing};
use crate::codec::crypto::suite::CipherSuite;
use crate::codec::wire;
use crate::model::config::FORMAT;
use crate::model::decode_error::DecodeError;
use crate::model::id::KeyId;

/// Length of the header in bytes.
pub const HEADER: usize = 24;
/// Maximum length of a small object in bytes.
pub const MAX_OBJECT: u64 = 64 << 20;

/// Six magic bytes that identify the type of an object.
pub type Magic = [u8; 6];
/// A manifest, in `snapshots/` and `trash/`.
pub const MANIFEST: Magic = *b"SNAPMF";
/// A fence, in `snapshots/`.
pub const FENCE: Magic = *b"SNAPFN";
/// The record of a session, in `sessions/`.
pub const SESSION: Magic = *b"SNAPSE";
/// A heartbeat.
pub const BEAT: Magic = *b"SNAPBT";
/// The heartbeat counter that a gc run observed.
pub const SEEN: Magic = *b"SNAPSN";
/// The record of a gc run.
pub const GC: Magic = *b"SNAPGC";
/// The completion record of a gc run.
pub const GC_DONE: Magic = *b"SNAPGD";
/// The start of a header bundle (*segment* in the format), in `index/`.
pub const SEGMENT: Magic = *b"SNAPIX";
/// A damage record.
pub const DAMAGE: Magic = *b"SNAPDM";
/// An audit record, in `audit/`.
pub const AUDIT: Magic = *b"SNAPAU";

/// Offset of the key source in a header.
const KEY_SOURCE: usize = 9;
/// Key source: keys of the epoch.
pub const EPOCH_KEYS: u8 = 0;
/// Key source: keys of a write key's session, which precede the sealed body.
pub const SESSION_KEYS: u8 = 1;
/// The message for any other key source.
pub const NEWER_KEYS: &str =
    "it is encrypted with a kind of keys that this version does not know: use a newer snap";

/// Returns whether objects of a type are sealed with the shared key, which every role has. Permanent objects
/// with names of hosts, users or paths are sealed with the meta key.
fn is_shared(magic: &Magic) -> bool {
    !matches!(magic, &MANIFEST | &AUDIT)
}

/// Returns whether objects of a type are signed, because only a full key may write them: snapshots, audit
/// records, records that gc deletes by, and objects that an index is loaded from.
fn is_signed(magic: &Magic) -> bool {
    matches!(magic, &MANIFEST | &AUDIT | &GC | &GC_DONE | &SEGMENT)
}

/// Error of reading a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadHeader {
    /// The bytes are not a header.
    Malformed(DecodeError),
    /// The header has this newer format version.
    Newer(u16),
}

/// Returns the type of an object if its header is complete and its version known.
///
/// # Errors
/// `Newer` contains the version.
pub fn magic_of(bytes: &[u8]) -> Result<Magic, BadHeader> {
    let (magic, rest) = bytes.split_first_chunk::<6>().ok_or(short())?;
    let (version, _) = rest.split_first_chunk::<2>().ok_or(short())?;
    if !magic.starts_with(b"SNAP") {
        return Err(BadHeader::Malformed(DecodeError::because("it is not an object of a snap repository")));
    }
    match u16::from_le_bytes(*version) {
        FORMAT => Ok(*magic),
        0 => Err(BadHeader::Malformed(DecodeError::because("format 0"))),
        newer => Err(BadHeader::Newer(newer)),
    }
}

/// Returns the length of the object that starts with these bytes, according to its header. Other bytes may
/// follow the object.
pub fn object_len(bytes: &[u8]) -> Option<u64> {
    let body = bytes.get(12..16)?.try_into().ok()?;
    Some((HEADER + OVERHEAD) as u64 + u64::from(u32::from_le_bytes(body)))
}

fn short() -> BadHeader {
    BadHeader::Malformed(DecodeError::because("too short"))
}

/// Encodes and seals a value.
///
/// # Errors
/// The value cannot be encoded or sealed.
pub fn seal<T: Serialize>(
    suite: &CipherSuite,
    magic: Magic,
    name: &str,
    value: &T,
) -> Result<Vec<u8>, DecodeError> {
    let body = wire::encode(value)?;
    // A write key cannot sign. Its session keys identify it instead.
    let session = suite.session().filter(|_| !is_shared(&magic));
    let signed = is_signed(&magic) && session.is_none();
    let key_source = if session.is_some() { SESSION_KEYS } else { EPOCH_KEYS };
    let plain_len = body.len() + if signed { suite.signature_len() } else { 0 };
    let mut out = Vec::with_capacity(HEADER + plain_len + OVERHEAD);
    out.extend_from_slice(&magic);
    out.extend_from_slice(&FORMAT.to_le_bytes());
    out.extend_from_slice(&[cipher::cipher_byte(suite.kind), key_source, 0, 0]);
    let len = u32::try_from(plain_len).map_err(|_| DecodeError::because("the object is too large"))?;
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&suite.epoch.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    let envelope = session.map(|session| &session.envelope);
    let aad = aad(suite, (&out, envelope), name);
    out.extend_from_slice(envelope.map_or(&[], |envelope| envelope.bytes().as_slice()));
    let body = if signed { suite.signed(&aad, &body)? } else { body };
    let cipher = if is_shared(&magic) { suite.shared().clone() } else { suite.block(ChunkType::Tree)? };
    cipher.seal(&aad, &body, &mut out)?;
    Ok(out)
}

/// Opens and decodes an object.
///
/// # Errors
/// The object has another type, name or repository, or was changed.
pub fn open<T: DeserializeOwned>(
    suite: &CipherSuite,
    magic: Magic,
    name: &str,
    bytes: Vec<u8>,
) -> Result<T, DecodeError> {
    open_by(suite, magic, name, bytes).map(|(value, _)| value)
}

/// Like [`open`], and also returns the slot of the write key that made the object. `None` means a full key
/// or, for objects that every role makes, any key.
///
/// # Errors
/// As [`open`].
pub fn open_by<T: DeserializeOwned>(
    suite: &CipherSuite,
    magic: Magic,
    name: &str,
    mut bytes: Vec<u8>,
) -> Result<(T, Option<KeyId>), DecodeError> {
    let is_known = |source: u8| source == EPOCH_KEYS || source == SESSION_KEYS;
    if let Some(source) = bytes.get_mut(KEY_SOURCE).filter(|source| !is_known(**source)) {
        // If the object opens with one of the known values, the byte is damaged.
        *source = EPOCH_KEYS;
        let mut by_session = bytes.clone();
        by_session.iter_mut().skip(KEY_SOURCE).take(1).for_each(|source| *source = SESSION_KEYS);
        let opens =
            [bytes, by_session].into_iter().any(|bytes| open_by::<T>(suite, magic, name, bytes).is_ok());
        return Err(if opens {
            DecodeError::because("the field of its header that selects the keys is wrong")
        } else {
            DecodeError::newer(NEWER_KEYS)
        });
    }
    let envelope = envelope_of(&bytes, magic)?;
    if envelope.is_some() {
        bytes.drain(HEADER..HEADER + ENVELOPE);
    }
    if bytes.get(..6) != Some(&magic) {
        return Err(DecodeError::because("it is an object of another type"));
    }
    if object_len(&bytes) != Some(bytes.len() as u64) {
        return Err(DecodeError::because("its length differs from that in its header"));
    }
    let (header, sealed) = bytes.split_at_mut_checked(HEADER).ok_or(DecodeError::because("too short"))?;
    let [cipher, _, reserved @ ..] = header.get(8..HEADER).unwrap_or_default() else {
        return Err(DecodeError::because("too short"));
    };
    if *cipher != cipher::cipher_byte(suite.kind) {
        return Err(DecodeError::because("its cipher is not the repository's"));
    }
    // Two reserved bytes are followed by the length and the epoch.
    if reserved.iter().enumerate().any(|(at, byte)| !(2..10).contains(&at) && *byte != 0) {
        return Err(DecodeError::because("its reserved bytes are not zero"));
    }
    let epoch = reserved.get(6..10).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    let epoch = epoch.ok_or(DecodeError::because("too short"))?;
    let aad = aad(suite, (header, envelope.as_ref()), name);
    let sealing = Sealing { epoch, by: envelope };
    let cipher = if is_shared(&magic) { suite.shared_of(epoch)?.clone() } else { suite.meta_of(sealing)? };
    let plain = cipher.open(&aad, sealed)?;
    let signed = is_signed(&magic) && envelope.is_none();
    let body = if signed { suite.verified(epoch, &aad, plain)? } else { plain };
    Ok((wire::decode(body)?, envelope.map(|envelope| envelope.slot())))
}

/// Returns the session keys after the header. Objects that every role makes have none.
fn envelope_of(bytes: &[u8], magic: Magic) -> Result<Option<Envelope>, DecodeError> {
    if bytes.get(KEY_SOURCE) != Some(&SESSION_KEYS) {
        return Ok(None);
    }
    if is_shared(&magic) {
        return Err(DecodeError::because("it has session keys, but objects of its type never do"));
    }
    let first = bytes.get(HEADER..).and_then(|rest| rest.first_chunk::<ENVELOPE>());
    let first = first.ok_or(DecodeError::because("it is too short for session keys"))?;
    Ok(Some(Envelope::new(*first)))
}

fn aad(suite: &CipherSuite, (header, by): (&[u8], Option<&Envelope>), name: &str) -> Vec<u8> {
    let mut aad = header.to_vec();
    aad.extend_from_slice(by.map_or(&[], |envelope| envelope.bytes().as_slice()));
    aad.extend_from_slice(suite.repo.as_bytes());
    aad.extend_from_slice(name.as_bytes());
    aad
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::crypto::hash::{Key, SubKeys};
    use crate::codec::crypto::suite::EpochKeys;
    use crate::model::config::CipherKind;
    use crate::model::id::RepoId;

    /// Sealed with the keys of the repository, but signed with another key.
    #[test]
    fn objects_reserved_to_full_keys_need_their_signature() {
        let repo = RepoId::new([2; 16]);
        let keys = SubKeys::derive(&Key::new([1; 32]), &repo);
        let honest = CipherSuite::new(CipherKind::Xaes256Gcm, repo, &keys);
        let of = |seed| EpochKeys { signing: seed, ..EpochKeys::full(0, &keys).unwrap() };
        let suite = |seed| CipherSuite::of_epochs(CipherKind::Xaes256Gcm, repo, std::iter::empty(), of(seed));
        let (other, none) = (suite(Some(Key::new([9; 32]))), suite(None));
        for magic in [MANIFEST, AUDIT, GC, GC_DONE, SEGMENT] {
            let open = |suite: &CipherSuite| {
                open::<u32>(&honest, magic, "name", seal(suite, magic, "name", &7u32).unwrap())
            };
            assert_eq!(open(&honest), Ok(7));
            assert!(open(&other).unwrap_err().to_string().contains("signature"));
            assert!(seal(&none, magic, "name", &7u32).is_err());
        }
        for magic in [FENCE, SESSION, BEAT, SEEN, DAMAGE] {
            let bytes = seal(&none, magic, "name", &7u32).unwrap();
            assert_eq!(open::<u32>(&honest, magic, "name", bytes), Ok(7));
        }
    }
}

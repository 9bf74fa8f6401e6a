//! The repository configuration: what is fixed at creation, and what a new generation may change.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::model::decode_error::DecodeError;
use crate::model::entry::Time;
use crate::model::id::{KeyId, RepoId};
use crate::model::tags;

/// The version of the format that this program writes, and the newest it reads.
pub const FORMAT: u16 = 1;

/// How the bodies of objects are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CipherKind {
    /// Not encrypted; a truncated SHA-256 guards against accidents.
    None,
    /// XAES-256-GCM (C2SP).
    Xaes256Gcm,
}

/// The chunker's parameters. They are stored as numbers so that no library update can move a chunk
/// boundary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkerParams {
    /// Minimum chunk size in bytes. Only the last chunk of a file may be smaller.
    pub min: u32,
    /// Offset in the chunk, in bytes, from which `mask_l` applies instead of `mask_s`.
    pub avg: u32,
    /// Maximum chunk size in bytes.
    pub max: u32,
    /// Mask for boundaries before `avg`.
    pub mask_s: u64,
    /// Mask for boundaries from `avg` on.
    pub mask_l: u64,
}

/// One generation of the configuration. The struct is frozen: format version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Id of the repository; equal in all generations.
    pub repo: RepoId,
    /// Number of the generation; the highest one is in force.
    pub generation: u32,
    /// When the repository was created.
    pub created: Time,
    /// Feature bits that a program must know to open the repository at all.
    pub incompat: u64,
    /// Feature bits that a program must know to write to the repository.
    pub ro_compat: u64,
    /// How objects are encrypted; equal in all generations.
    pub cipher: CipherKind,
    /// The master key in plain text, for a repository without encryption.
    pub open_master: Option<[u8; 32]>,
    /// Chunker parameters; equal in all generations.
    pub chunker: ChunkerParams,
    /// A block is closed when it has this many plain bytes.
    pub block_target: u32,
    /// A data pack is closed when it has this many stored bytes.
    pub data_pack: u32,
    /// A tree pack is closed when it has this many stored bytes.
    pub tree_pack: u32,
    /// Default zstd compression level.
    pub level: i32,
    /// Seconds for which a forgotten snapshot can be restored from the trash.
    pub undelete_window: u64,
    /// Seconds without a heartbeat after which a session counts as dead.
    pub stale_after: u64,
    /// The epoch of the keys that seal what is written, and that signed this generation.
    pub epoch: u32,
    /// Signed keys of later epochs, ascending, by which keys of earlier epochs can verify them.
    pub handovers: Vec<Handover>,
    /// The key slots that are valid. A slot that is not in this list opens nothing.
    pub slots: Vec<SlotEntry>,
    /// Later additions: (tag, bytes). An odd tag must be understood, an even one may be ignored.
    pub extra: Vec<(u16, ByteBuf)>,
}

/// An epoch whose key is signed by the previous epoch. Frozen: format version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// The later epoch.
    pub epoch: u32,
    /// The epoch's Ed25519 public key, which verifies configurations.
    pub key: [u8; 32],
    /// The signature of the epoch before it.
    pub signature: ByteBuf,
}

/// A valid key slot. Frozen: format version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotEntry {
    /// The slot's id.
    pub id: KeyId,
    /// Role of the key; see [`Role`].
    pub role: u8,
    /// The slot's X25519 public key, to which the keyring is sealed.
    pub public: [u8; 32],
    /// The sealed keyring.
    pub keyring: ByteBuf,
}

/// The operations that a key allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Reads and writes everything.
    Full,
    /// Adds snapshots, and reads nothing back.
    Write,
    /// Reads everything, and writes nothing but sessions of readers.
    Read,
}

/// The byte of [`Role::Full`].
pub const FULL: u8 = 0;
/// The byte of [`Role::Write`].
pub const WRITE: u8 = 1;
/// The byte of [`Role::Read`].
pub const READ: u8 = 2;

impl Role {
    /// Returns the role's byte in the format.
    pub const fn byte(self) -> u8 {
        match self {
            Self::Full => FULL,
            Self::Write => WRITE,
            Self::Read => READ,
        }
    }

    /// Returns the role for a byte of the format.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            FULL => Some(Self::Full),
            WRITE => Some(Self::Write),
            READ => Some(Self::Read),
            _ => None,
        }
    }

    /// Returns the role's name, as users write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Write => "write",
            Self::Read => "read",
        }
    }
}

/// The bit of [`Config::incompat`] for blocks that are deltas against chunks of other packs.
pub const DELTAS: u64 = 1;
/// The bit of [`Config::incompat`] for packs and manifests of write keys.
pub const CLIENTS: u64 = 2;
/// Incompatible features that this program knows.
const KNOWN: u64 = DELTAS | CLIENTS;

/// Tag: id (16 bytes) of the repository whose chunk ids and boundaries this one shares.
const FAMILY: u16 = 1;
/// Tag: size of parity in percent, one byte.
const PARITY: u16 = 4;
/// Tag: retired write keys. For each slot (32 bytes): public key (32 bytes), last epoch (u32).
const RETIRED: u16 = 3;
const RETIRED_LEN: usize = 68;
/// Tag: maximum total size of packs in bytes, u64.
const QUOTA: u16 = 6;

impl Config {
    /// Returns whether objects are encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.cipher != CipherKind::None
    }

    /// Returns the repository whose chunk ids and boundaries this one uses: itself, unless it was created to
    /// share chunks with another.
    pub fn family(&self) -> RepoId {
        self.tag(FAMILY).and_then(|bytes| bytes.try_into().ok()).map_or(self.repo, RepoId::new)
    }

    /// Makes this repository use the chunk ids and boundaries of `family`.
    pub fn set_family(&mut self, family: RepoId) {
        self.set_tag(FAMILY, Some(family.as_bytes().to_vec()));
    }

    /// Returns the size of parity for new packs in percent of their bytes; 0 means none. An invalid value
    /// counts as 0.
    pub fn parity(&self) -> u8 {
        match self.tag(PARITY) {
            Some([share]) if *share <= 100 => *share,
            _ => 0,
        }
    }

    /// Sets the size of parity for new packs, in percent; 0 means none.
    pub fn set_parity(&mut self, share: u8) {
        self.set_tag(PARITY, (share > 0).then(|| vec![share]));
    }

    /// Returns the maximum total size of packs; `None` means unlimited.
    pub fn quota(&self) -> Option<u64> {
        self.tag(QUOTA)?.try_into().ok().map(u64::from_le_bytes)
    }

    /// Sets the maximum total size of packs; `None` means unlimited.
    pub fn set_quota(&mut self, bytes: Option<u64>) {
        self.set_tag(QUOTA, bytes.map(|bytes| bytes.to_le_bytes().to_vec()));
    }

    fn tag(&self, wanted: u16) -> Option<&[u8]> {
        tags::get(&self.extra, wanted)
    }

    /// Inserts, replaces or removes a tag.
    fn set_tag(&mut self, tag: u16, bytes: Option<Vec<u8>>) {
        tags::set(&mut self.extra, tag, bytes);
    }

    /// Keeps only some of the valid key slots. Returns whether any was dropped.
    pub fn keep_slots(&mut self, keeps: impl Fn(&KeyId) -> bool) -> bool {
        let before = self.slots.len();
        self.slots.retain(|entry| keeps(&entry.id));
        self.slots.len() != before
    }

    /// Returns the retired write keys: slot, public key, and the last epoch in which it was valid.
    pub fn retired(&self) -> Vec<(KeyId, [u8; 32], u32)> {
        let records = self.tag(RETIRED).map_or(&[][..], |bytes| bytes.as_chunks::<RETIRED_LEN>().0);
        let fields = records.iter().filter_map(|record| {
            let (slot, rest) = record.split_first_chunk::<32>()?;
            let (public, last) = rest.split_first_chunk::<32>()?;
            Some((KeyId::new(*slot), *public, u32::from_le_bytes(last.try_into().ok()?)))
        });
        fields.collect()
    }

    /// Removes a slot from the list. A write key is recorded as retired, so that what it has written until
    /// this epoch can still be opened.
    pub fn retire_slot(&mut self, id: &KeyId) {
        let gone = self.slots.iter().find(|entry| entry.id == *id && entry.role == WRITE);
        if let Some(public) = gone.map(|entry| entry.public) {
            let mut bytes = self.tag(RETIRED).unwrap_or_default().to_vec();
            bytes.extend_from_slice(id.as_bytes());
            bytes.extend_from_slice(&public);
            bytes.extend_from_slice(&self.epoch.to_le_bytes());
            self.set_tag(RETIRED, Some(bytes));
        }
        self.slots.retain(|entry| entry.id != *id);
    }

    /// Adopts the retired write keys of another generation of the same repository.
    pub fn adopt_writers(&mut self, other: &Self) {
        let mut all = self.retired();
        all.extend(other.retired().into_iter().filter(|writer| !self.retired().contains(writer)));
        let record = |(slot, public, last): &(KeyId, [u8; 32], u32)| {
            [slot.as_bytes().as_slice(), public, &last.to_le_bytes()].concat()
        };
        if !all.is_empty() {
            self.set_tag(RETIRED, Some(all.iter().flat_map(record).collect()));
        }
        self.incompat |= other.incompat & CLIENTS;
    }

    /// Returns whether there may be packs and manifests of write keys.
    pub fn has_clients(&self) -> bool {
        self.incompat & CLIENTS != 0
    }

    /// Returns whether blocks may be deltas.
    pub fn has_deltas(&self) -> bool {
        self.incompat & DELTAS != 0
    }

    /// Checks what holds for every generation, whatever features a program has: tags are in order, and a
    /// plain master key exists exactly if the repository is not encrypted.
    ///
    /// # Errors
    /// One of these does not hold.
    pub fn check(&self) -> Result<(), DecodeError> {
        if self.open_master.is_some() != (self.cipher == CipherKind::None) {
            return Err(DecodeError::because(
                "an unencrypted master key in an encrypted repository, or no master key in an unencrypted \
                 one",
            ));
        }
        tags::check_order(&self.extra)
    }

    /// Returns whether this program knows every feature and tag that must be understood.
    pub fn is_understood(&self) -> bool {
        self.incompat & !KNOWN == 0
            && self.extra.iter().all(|(tag, bytes)| match *tag {
                FAMILY => bytes.len() == 16,
                RETIRED => bytes.len() % RETIRED_LEN == 0,
                tag => tag % 2 == 0,
            })
    }
}

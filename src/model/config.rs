//! What is fixed when a repository is made, and what may change with a new generation.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::model::entry::Time;
use crate::model::id::RepoId;

/// The version of the format that this program writes, and the newest it reads.
pub const FORMAT: u16 = 1;

/// How bodies are sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CipherKind {
    /// Not encrypted; a truncated SHA-256 guards against accidents.
    None,
    /// XAES-256-GCM (C2SP).
    Xaes256Gcm,
}

/// The numbers of the chunker. Numbers, not names, so that no library update can move a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkerParams {
    /// No chunk but a file's last is smaller. Bytes.
    pub min: u32,
    /// Where the masks change. Bytes.
    pub avg: u32,
    /// No chunk is larger. Bytes.
    pub max: u32,
    /// Mask before `avg`.
    pub mask_s: u64,
    /// Mask after `avg`.
    pub mask_l: u64,
}

/// A generation of the configuration. The struct is frozen: format version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Names the repository; equal in all generations.
    pub repo: RepoId,
    /// Highest wins.
    pub generation: u32,
    /// When the repository was made.
    pub created: Time,
    /// Features without which nothing may be done.
    pub incompat: u64,
    /// Features without which nothing may be written.
    pub ro_compat: u64,
    /// Equal in all generations.
    pub cipher: CipherKind,
    /// The master key, in clear, of a repository without encryption.
    pub open_master: Option<[u8; 32]>,
    /// Equal in all generations.
    pub chunker: ChunkerParams,
    /// Plain bytes after which a block is closed.
    pub block_target: u32,
    /// Stored bytes after which a data pack is closed.
    pub data_pack: u32,
    /// Stored bytes after which a tree pack is closed.
    pub tree_pack: u32,
    /// Default compression level.
    pub level: i32,
    /// Seconds for which a forgotten snapshot can be brought back.
    pub undelete_window: u64,
    /// Seconds without a heartbeat after which a session counts as dead.
    pub stale_after: u64,
    /// Later additions: (tag, bytes). An odd tag must be understood, an even one may be ignored.
    pub extra: Vec<(u16, ByteBuf)>,
}

/// The bit of [`Config::incompat`] that says that blocks may be deltas against chunks of other packs.
pub const DELTAS: u64 = 1;
/// Features that this program knows.
const KNOWN: u64 = DELTAS;

/// The repository whose chunks have the same names: 16 bytes, its id.
const FAMILY: u16 = 1;
/// The share of parity: one byte, in percent.
const PARITY: u16 = 4;

impl Config {
    /// The repository after which chunks are named and cut: itself, unless it was made to share chunks with another.
    pub fn family(&self) -> RepoId {
        let row = self.extra.iter().find(|(tag, _)| *tag == FAMILY);
        row.and_then(|(_, bytes)| bytes.as_slice().try_into().ok()).map_or(self.repo, RepoId::new)
    }

    /// Names and cuts chunks as another repository does.
    pub fn set_family(&mut self, family: RepoId) {
        self.put(FAMILY, family.as_bytes().to_vec());
    }

    /// Share of parity for new packs, in percent of their bytes; 0: none. What is not a share counts as none.
    pub fn parity(&self) -> u8 {
        let found = self.extra.iter().find(|(tag, _)| *tag == PARITY);
        match found.map(|(_, bytes)| bytes.as_slice()) {
            Some([share]) if *share <= 100 => *share,
            _ => 0,
        }
    }

    /// Sets it.
    pub fn set_parity(&mut self, share: u8) {
        self.extra.retain(|(tag, _)| *tag != PARITY);
        if share > 0 {
            self.put(PARITY, vec![share]);
        }
    }

    /// Rows stay in order of their tags.
    fn put(&mut self, tag: u16, bytes: Vec<u8>) {
        self.extra.retain(|(known, _)| *known != tag);
        let at = self.extra.partition_point(|(known, _)| *known < tag);
        self.extra.insert(at, (tag, ByteBuf::from(bytes)));
    }

    /// Whether blocks may be deltas.
    pub fn has_deltas(&self) -> bool {
        self.incompat & DELTAS != 0
    }

    /// Whether all that must be understood is.
    pub fn is_understood(&self) -> bool {
        self.incompat & !KNOWN == 0
            && self.extra.iter().all(|(tag, bytes)| match *tag {
                FAMILY => bytes.len() == 16,
                tag => tag % 2 == 0,
            })
    }
}

//! Packets of the SSH File Transfer Protocol, version 3 (draft-ietf-secsh-filexfer-02).
//! Also the OpenSSH extensions that a repository needs (OpenSSH's PROTOCOL, section 4). Numbers are
//! big-endian; a string is its length and its bytes.

use crate::model::decode_error::DecodeError;

/// Maximum bytes of a response that is accepted: more than any server sends at once.
pub(super) const MAX_REPLY: u32 = 1 << 20;
pub(super) const VERSION: u32 = 3;

/// Open for reading.
pub(super) const READ: u32 = 0x01;
/// Open for writing, as a new file that must not exist.
pub(super) const CREATE: u32 = 0x02 | 0x08 | 0x20;

/// `SSH_FX_EOF`.
pub(super) const EOF: u32 = 1;
/// `SSH_FX_NO_SUCH_FILE`.
pub(super) const NO_SUCH_FILE: u32 = 2;
/// `SSH_FX_PERMISSION_DENIED`.
pub(super) const PERMISSION_DENIED: u32 = 3;
/// `SSH_FX_FAILURE`: any error without a status of its own, such as a full disk or a taken name.
pub(super) const FAILURE: u32 = 4;

const MODE: u32 = 0x04;
/// For the owner only.
const PRIVATE_FILE: u32 = 0o600;
const PRIVATE_FOLDER: u32 = 0o700;

#[derive(Debug, Clone)]
pub(super) enum Request<'a> {
    Open {
        path: &'a str,
        flags: u32,
    },
    Close {
        handle: &'a [u8],
    },
    Read {
        handle: &'a [u8],
        offset: u64,
        len: u32,
    },
    Write {
        handle: &'a [u8],
        offset: u64,
        bytes: &'a [u8],
    },
    HandleStat {
        handle: &'a [u8],
    },
    OpenFolder {
        path: &'a str,
    },
    ReadFolder {
        handle: &'a [u8],
    },
    Remove {
        path: &'a str,
    },
    MakeFolder {
        path: &'a str,
    },
    /// Follows symbolic links.
    Stat {
        path: &'a str,
    },
    /// Fails if the new name exists.
    Rename {
        from: &'a str,
        to: &'a str,
    },
    /// `posix-rename@openssh.com`: replaces an existing name.
    Replace {
        from: &'a str,
        to: &'a str,
    },
    /// `fsync@openssh.com`.
    Sync {
        handle: &'a [u8],
    },
    /// `statvfs@openssh.com`.
    StatVfs {
        path: &'a str,
    },
    /// `limits@openssh.com`.
    Limits,
}

impl Request<'_> {
    /// Encodes the packet with request number `id`, preceded by its length.
    pub(super) fn packet(&self, id: u32) -> Vec<u8> {
        match self {
            Self::Open { path, flags } => {
                Packet::new(3, id).text(path).number(*flags).number(MODE).number(PRIVATE_FILE)
            }
            Self::Close { handle } => Packet::new(4, id).string(handle),
            Self::Read { handle, offset, len } => {
                Packet::new(5, id).string(handle).long(*offset).number(*len)
            }
            Self::Write { handle, offset, bytes } => {
                Packet::new(6, id).string(handle).long(*offset).string(bytes)
            }
            Self::HandleStat { handle } => Packet::new(8, id).string(handle),
            Self::OpenFolder { path } => Packet::new(11, id).text(path),
            Self::ReadFolder { handle } => Packet::new(12, id).string(handle),
            Self::Remove { path } => Packet::new(13, id).text(path),
            Self::MakeFolder { path } => Packet::new(14, id).text(path).number(MODE).number(PRIVATE_FOLDER),
            Self::Stat { path } => Packet::new(17, id).text(path),
            Self::Rename { from, to } => Packet::new(18, id).text(from).text(to),
            Self::Replace { from, to } => {
                Packet::new(200, id).text("posix-rename@openssh.com").text(from).text(to)
            }
            Self::Sync { handle } => Packet::new(200, id).text("fsync@openssh.com").string(handle),
            Self::StatVfs { path } => Packet::new(200, id).text("statvfs@openssh.com").text(path),
            Self::Limits => Packet::new(200, id).text("limits@openssh.com"),
        }
        .finish()
    }
}

/// Encodes the first packet (SSH_FXP_INIT), which has no number.
pub(super) fn init_packet() -> Vec<u8> {
    Packet { bytes: vec![0, 0, 0, 0, 1] }.number(VERSION).finish()
}

struct Packet {
    bytes: Vec<u8>,
}

impl Packet {
    fn new(kind: u8, id: u32) -> Self {
        Self { bytes: vec![0, 0, 0, 0, kind] }.number(id)
    }

    fn number(mut self, value: u32) -> Self {
        self.bytes.extend_from_slice(&value.to_be_bytes());
        self
    }

    fn long(mut self, value: u64) -> Self {
        self.bytes.extend_from_slice(&value.to_be_bytes());
        self
    }

    fn string(mut self, bytes: &[u8]) -> Self {
        self = self.number(bytes.len() as u32);
        self.bytes.extend_from_slice(bytes);
        self
    }

    fn text(self, text: &str) -> Self {
        self.string(text.as_bytes())
    }

    fn finish(mut self) -> Vec<u8> {
        let len = (self.bytes.len() as u32).saturating_sub(4).to_be_bytes();
        self.bytes.splice(..4, len);
        self.bytes
    }
}

/// Entries of a folder.
pub type Names = Vec<(Vec<u8>, FileAttributes)>;

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A status.
    Status {
        /// Status code; 0 is success.
        code: u32,
        /// The server's message.
        message: String,
    },
    /// Handle of an open file or folder.
    Handle(Vec<u8>),
    /// Bytes of a file.
    Data(Vec<u8>),
    /// Entries of a folder.
    Names(Names),
    /// Attributes of a file.
    Attributes(FileAttributes),
    /// The response of an extension.
    Extended(Vec<u8>),
}

/// Attributes of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FileAttributes {
    /// Size in bytes.
    pub size: Option<u64>,
    /// Type and permissions, as in `st_mode`.
    pub mode: Option<u32>,
    /// Modification time in seconds since 1970.
    pub modified: Option<u32>,
}

impl FileAttributes {
    /// Returns whether it is a folder. If the server reports no type, the caller decides by name.
    pub(super) fn is_folder(&self) -> bool {
        self.mode.is_some_and(|mode| mode & 0o170_000 == 0o040_000)
    }

    /// Returns whether it may be an object.
    pub(super) fn is_file(&self) -> bool {
        self.mode.is_none_or(|mode| mode & 0o170_000 == 0o100_000)
    }
}

/// Decodes a packet without its length into request number and response.
///
/// # Errors
/// When it is not a known response.
pub fn reply(packet: &[u8]) -> Result<(u32, Reply), DecodeError> {
    let mut rest = Rest(packet);
    let (kind, id) = (rest.byte()?, rest.number()?);
    let reply = match kind {
        101 => {
            let code = rest.number()?;
            // Old servers omit the message.
            let message = rest.string().map(|text| String::from_utf8_lossy(text).into_owned());
            Reply::Status { code, message: message.unwrap_or_default() }
        }
        102 => Reply::Handle(rest.string()?.to_vec()),
        103 => Reply::Data(rest.string()?.to_vec()),
        104 => {
            let count = rest.number()?;
            let mut names = Vec::new();
            for _ in 0..count {
                let name = rest.string()?.to_vec();
                rest.string()?;
                names.push((name, rest.attributes()?));
            }
            Reply::Names(names)
        }
        105 => Reply::Attributes(rest.attributes()?),
        201 => Reply::Extended(rest.0.to_vec()),
        _ => return Err(DecodeError::with(format!("the response has the unknown type {kind}"))),
    };
    Ok((id, reply))
}

/// Decodes the names of the extensions from a server's SSH_FXP_VERSION packet, without its length.
///
/// # Errors
/// When it is not such a packet, or has an unsupported version.
pub fn extensions(packet: &[u8]) -> Result<Vec<String>, DecodeError> {
    let mut rest = Rest(packet);
    if rest.byte()? != 2 {
        return Err(DecodeError::because("its first packet is not that of an SFTP server"));
    }
    let version = rest.number()?;
    if version != VERSION {
        return Err(DecodeError::with(format!("it supports version {version} of SFTP, not {VERSION}")));
    }
    let mut names = Vec::new();
    while !rest.0.is_empty() {
        names.push(String::from_utf8_lossy(rest.string()?).into_owned());
        rest.string()?;
    }
    Ok(names)
}

/// Decodes the maximum bytes per read and per write from a response to [`Request::Limits`]; 0 is unlimited.
pub(super) fn limits(bytes: &[u8]) -> Result<(u64, u64), DecodeError> {
    let mut rest = Rest(bytes);
    rest.long()?;
    Ok((rest.long()?, rest.long()?))
}

/// Decodes free and total bytes from a response to [`Request::StatVfs`].
pub(super) fn capacity(bytes: &[u8]) -> Result<(u64, u64), DecodeError> {
    let mut rest = Rest(bytes);
    rest.long()?;
    let (unit, blocks, _, available) = (rest.long()?, rest.long()?, rest.long()?, rest.long()?);
    Ok((available.saturating_mul(unit), blocks.saturating_mul(unit)))
}

/// The undecoded rest of a packet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let split = self.0.split_at_checked(len);
        let (taken, rest) = split.ok_or(DecodeError::because("a response is truncated"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| DecodeError::because("a response is truncated"))
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        self.array().map(|[byte]| byte)
    }

    fn number(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    fn long(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    fn string(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.number()?;
        self.take(len as usize)
    }

    fn attributes(&mut self) -> Result<FileAttributes, DecodeError> {
        let flags = self.number()?;
        let mut found = FileAttributes::default();
        if flags & 0x01 != 0 {
            found.size = Some(self.long()?);
        }
        if flags & 0x02 != 0 {
            self.long()?;
        }
        if flags & MODE != 0 {
            found.mode = Some(self.number()?);
        }
        if flags & 0x08 != 0 {
            self.number()?;
            found.modified = Some(self.number()?);
        }
        if flags & 0x8000_0000 != 0 {
            for _ in 0..self.number()? {
                self.string()?;
                self.string()?;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn requests_follow_the_draft() {
        let read = Request::Read { handle: b"h", offset: 258, len: 7 }.packet(9);
        assert_eq!(read, b"\0\0\0\x16\x05\0\0\0\x09\0\0\0\x01h\0\0\0\0\0\0\x01\x02\0\0\0\x07");
        assert_eq!(init_packet(), b"\0\0\0\x05\x01\0\0\0\x03");
        let sync = Request::Sync { handle: b"h" }.packet(1);
        assert_eq!(sync, b"\0\0\0\x1f\xc8\0\0\0\x01\0\0\0\x11fsync@openssh.com\0\0\0\x01h");
    }

    #[test]
    fn responses_are_parsed_and_truncated_ones_refused() {
        let names = b"\x68\0\0\0\x01\0\0\0\x01\0\0\0\x01a\0\0\0\0\0\0\0\x0d\0\0\0\0\0\0\0\x05\0\0\x81\x80\0\0\0\x01\0\0\0\x02";
        let (id, found) = reply(names).unwrap();
        let wanted = FileAttributes { size: Some(5), mode: Some(0o100_600), modified: Some(2) };
        assert_eq!((id, found), (1, Reply::Names(vec![(b"a".to_vec(), wanted)])));
        for len in 0..names.len() {
            assert!(reply(&names[..len]).is_err(), "{len}");
        }
        assert!(reply(b"\x68\0\0\0\x01\xff\xff\xff\xff").is_err(), "a count of what is not there");
        assert!(extensions(b"\x02\0\0\0\x04").is_err());
        assert_eq!(extensions(b"\x02\0\0\0\x03\0\0\0\x01x\0\0\0\x011").unwrap(), ["x"]);
    }
}

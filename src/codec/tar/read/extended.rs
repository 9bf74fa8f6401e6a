//! Extended headers: collects their records until the member that they describe.

use std::collections::BTreeMap;

use crate::codec::tar::read::MAX_EXTENDED;
use crate::codec::tar::sparse::Segments;
use crate::codec::tar::{ACL_ACCESS, ACL_DEFAULT, flags, pax, sparse};
use crate::model::decode_error::DecodeError;
use crate::model::entry::{MAX_XATTR_NAMES, Time};

/// The records that apply to the next member.
#[derive(Debug, Clone, Default)]
pub(super) struct Extended {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) user: Option<Vec<u8>>,
    pub(super) group: Option<Vec<u8>>,
    pub(super) mtime: Option<Time>,
    pub(super) born: Option<Time>,
    pub(super) flags: u32,
    pub(super) major: Option<u32>,
    pub(super) minor: Option<u32>,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Total bytes of the attributes' names, and of their values.
    xattr_bytes: (usize, usize),
    pub(super) acls: Vec<(&'static [u8], String)>,
    pub(super) sparse: Option<Box<SparseWords>>,
}

/// The records of GNU tar's three formats for sparse files.
#[derive(Debug, Clone, Default)]
pub(super) struct SparseWords {
    pub(super) name: Option<Vec<u8>>,
    pub(super) real: Option<u64>,
    /// Format 1.0: the map precedes the data.
    pub(super) in_data: bool,
    pub(super) offset: Option<u64>,
    pub(super) segments: Segments,
}

impl Extended {
    /// Adds the records of an extended header.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        for (key, value) in pax::records(bytes)? {
            self.record(key, value)?;
        }
        Ok(())
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), DecodeError> {
        let text = || value.to_vec();
        let non_empty = |value: Vec<u8>| Some(value).filter(|value| !value.is_empty());
        match key {
            b"path" => self.path = non_empty(text()),
            b"linkpath" => self.link = non_empty(text()),
            b"size" => self.size = Some(decimal(value)?),
            b"uid" => self.uid = Some(decimal_u32(value)?),
            b"gid" => self.gid = Some(decimal_u32(value)?),
            b"uname" => self.user = Some(text()),
            b"gname" => self.group = Some(text()),
            b"mtime" => self.mtime = Some(pax::parse_time(value)?),
            b"LIBARCHIVE.creationtime" => self.born = Some(pax::parse_time(value)?),
            b"SCHILY.fflags" => self.flags = flags::from_text(value),
            b"SCHILY.devmajor" => self.major = Some(decimal_u32(value)?),
            b"SCHILY.devminor" => self.minor = Some(decimal_u32(value)?),
            b"SCHILY.acl.access" => self.acl(ACL_ACCESS, value)?,
            b"SCHILY.acl.default" => self.acl(ACL_DEFAULT, value)?,
            // The value ends with a NUL in the file system, but not in archives.
            b"RHT.security.selinux" => self
                .xattr(b"security.selinux", &[value.strip_suffix(b"\0").unwrap_or(value), b"\0"].concat())?,
            _ => {
                if let Some(word) = key.strip_prefix(b"GNU.sparse.") {
                    return self.sparse.get_or_insert_default().record(word, value);
                }
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattr(&pax::name_of(name), value)?;
                }
            }
        }
        Ok(())
    }

    fn xattr(&mut self, name: &[u8], value: &[u8]) -> Result<(), DecodeError> {
        let old = self.xattrs.insert(name.to_vec(), value.to_vec());
        let (names, values) = &mut self.xattr_bytes;
        match old {
            Some(old) => *values -= old.len(),
            None => *names += name.len(),
        }
        *values += value.len();
        if *names <= MAX_XATTR_NAMES && *values as u64 <= MAX_EXTENDED {
            Ok(())
        } else {
            Err(DecodeError::because("its extended attributes are too large"))
        }
    }

    fn acl(&mut self, name: &'static [u8], value: &[u8]) -> Result<(), DecodeError> {
        let text =
            String::from_utf8(value.to_vec()).map_err(|_| DecodeError::because("its ACL is not UTF-8"))?;
        self.acls.retain(|(known, _)| *known != name);
        self.acls.push((name, text));
        Ok(())
    }

    /// Adopts what a global header may set for all members: owner and time, but nothing that identifies a
    /// member.
    pub(super) fn adopt(&mut self, global: &Self) {
        let Self { uid, gid, user, group, mtime, .. } = global;
        self.uid = uid.or(self.uid);
        self.gid = gid.or(self.gid);
        self.mtime = mtime.or(self.mtime);
        for (own, other) in [(&mut self.user, user), (&mut self.group, group)] {
            if other.is_some() {
                own.clone_from(other);
            }
        }
    }
}

impl SparseWords {
    fn record(&mut self, word: &[u8], value: &[u8]) -> Result<(), DecodeError> {
        match word {
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.real = Some(decimal(value)?),
            b"major" => self.in_data = decimal(value)? == 1,
            b"offset" => self.offset = Some(decimal(value)?),
            b"numbytes" => {
                let offset =
                    self.offset.take().ok_or(DecodeError::because("its sparse map has no offsets"))?;
                sparse::push(&mut self.segments, offset, decimal(value)?)?;
            }
            b"map" => {
                let mut numbers = value.split(|byte| *byte == b',').filter(|text| !text.is_empty());
                while let Some(offset) = numbers.next() {
                    let len = numbers
                        .next()
                        .ok_or(DecodeError::because("its sparse map has an offset without a length"))?;
                    sparse::push(&mut self.segments, decimal(offset)?, decimal(len)?)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn decimal(value: &[u8]) -> Result<u64, DecodeError> {
    let text = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let number = text.and_then(|text| text.parse().ok());
    number.ok_or(DecodeError::because("an extended header has an invalid number"))
}

fn decimal_u32(value: &[u8]) -> Result<u32, DecodeError> {
    let number = decimal(value)?;
    u32::try_from(number).map_err(|_| DecodeError::because("an owner id or device number is too large"))
}

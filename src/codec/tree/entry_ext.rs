//! Fields of entries that were added to format 1 later: values in an entry's `extra`, each with a tag.
//!
//! An odd tag must be understood. Tag 1 is odd because gc must not delete the chunks that it refers to; tag 3
//! because zeros in place of lost bytes must not pass for content. An even tag may be ignored.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_bytes::{ByteBuf, Bytes};

use crate::codec::chunk::chunker::MAX_CHUNK;
use crate::codec::wire;
use crate::model::decode_error::DecodeError;
use crate::model::entry::{Content, ContentPart, Meta, Xattr, XattrValue, check_xattrs};
use crate::model::id::ChunkId;

/// Extended attributes. (Tag 2 occurs without a meaning in the first golden files and stays unused.)
const XATTRS: u16 = 1;
/// Birth time of the inode.
const BORN: u16 = 4;
/// Inode flags.
const ATTRS: u16 = 6;
/// How much of the entry was lost; see `Meta::lost`.
const LOST: u16 = 3;
/// Start of the backup that found bit rot in the file. Tags 8 to 16 are reserved.
const CORRUPT: u16 = 18;

/// The value of an extended attribute. Frozen: format version 1.
#[derive(Serialize, Deserialize)]
enum ValueV1<'a> {
    Inline {
        #[serde(borrow)]
        bytes: &'a Bytes,
    },
    Parts {
        size: u64,
        parts: Cow<'a, [ContentPart]>,
    },
    List {
        size: u64,
        list: ChunkId,
    },
}

/// An extended attribute. Frozen: format version 1.
#[derive(Serialize, Deserialize)]
struct XattrV1<'a> {
    #[serde(borrow)]
    name: &'a Bytes,
    #[serde(borrow)]
    value: ValueV1<'a>,
}

/// Returns the tagged values of an entry in the order of their tags, with those that were read and not
/// understood.
pub(crate) fn to_wire(meta: &Meta) -> Result<Vec<(u16, ByteBuf)>, DecodeError> {
    let mut rows = Vec::new();
    if !meta.xattrs.is_empty() {
        check_xattrs(&meta.xattrs)?;
        let all: Vec<XattrV1<'_>> = meta.xattrs.iter().map(xattr_to_wire).collect();
        rows.push((XATTRS, ByteBuf::from(wire::encode(&all)?)));
    }
    if let Some(born) = &meta.born {
        rows.push((BORN, ByteBuf::from(wire::encode(born)?)));
    }
    if meta.attrs != 0 {
        rows.push((ATTRS, ByteBuf::from(wire::encode(&meta.attrs)?)));
    }
    if meta.lost != 0 {
        rows.push((LOST, ByteBuf::from(wire::encode(&meta.lost)?)));
    }
    if let Some(since) = &meta.corrupt_since {
        rows.push((CORRUPT, ByteBuf::from(wire::encode(since)?)));
    }
    rows.extend(meta.extra.iter().map(|(tag, bytes)| (*tag, ByteBuf::from(bytes.clone()))));
    rows.sort_by_key(|(tag, _)| *tag);
    Ok(rows)
}

/// Decodes the tagged values of an entry into `meta`.
pub(crate) fn from_wire(rows: Vec<(u16, ByteBuf)>, meta: &mut Meta) -> Result<(), DecodeError> {
    wire::check_ascending(rows.iter().map(|(tag, _)| *tag))?;
    for (tag, bytes) in rows {
        match tag {
            XATTRS => meta.xattrs = xattrs_from_wire(&bytes)?,
            BORN => meta.born = Some(wire::decode(&bytes)?),
            ATTRS => meta.attrs = wire::decode(&bytes)?,
            LOST => meta.lost = wire::decode(&bytes)?,
            CORRUPT => meta.corrupt_since = Some(wire::decode(&bytes)?),
            tag if tag % 2 == 1 => {
                return Err(DecodeError::newer(format!("an entry has the unknown tag {tag}")));
            }
            tag => meta.extra.push((tag, bytes.into_vec())),
        }
    }
    Ok(())
}

fn xattr_to_wire(xattr: &Xattr) -> XattrV1<'_> {
    let value = match &xattr.value {
        XattrValue::Inline(bytes) => ValueV1::Inline { bytes: Bytes::new(bytes) },
        XattrValue::Content { size, content: Content::Parts(parts) } => {
            ValueV1::Parts { size: *size, parts: Cow::Borrowed(parts) }
        }
        XattrValue::Content { size, content: Content::List(list) } => {
            ValueV1::List { size: *size, list: *list }
        }
    };
    XattrV1 { name: Bytes::new(&xattr.name), value }
}

fn xattrs_from_wire(bytes: &[u8]) -> Result<Vec<Xattr>, DecodeError> {
    let rows: Vec<XattrV1<'_>> = wire::decode(bytes)?;
    let mut all = Vec::with_capacity(rows.len());
    for row in rows {
        let value = match row.value {
            ValueV1::Inline { bytes } => XattrValue::Inline(bytes.to_vec()),
            ValueV1::Parts { size, parts } => {
                check_total(&parts, size)?;
                XattrValue::Content { size, content: Content::Parts(parts.into_owned()) }
            }
            ValueV1::List { size, list } => XattrValue::Content { size, content: Content::List(list) },
        };
        all.push(Xattr { name: row.name.to_vec(), value });
    }
    check_xattrs(&all)?;
    Ok(all)
}

/// Checks the parts of a file or value: each by [`check_parts`], and that their lengths add up to `size`.
pub(crate) fn check_total(parts: &[ContentPart], size: u64) -> Result<(), DecodeError> {
    check_parts(parts)?;
    let sum = parts.iter().try_fold(0u64, |sum, part| sum.checked_add(part.len()));
    if sum == Some(size) {
        Ok(())
    } else {
        Err(DecodeError::because("the parts of a file do not add up to its size"))
    }
}

/// Checks that no part is empty, and no chunk larger than any chunker cuts: readers hold whole chunks in
/// memory.
pub(crate) fn check_parts(parts: &[ContentPart]) -> Result<(), DecodeError> {
    let is_sound = |part: &ContentPart| match part {
        ContentPart::Chunk { len, .. } => (1..=MAX_CHUNK).contains(len),
        ContentPart::Hole { len } => *len > 0,
    };
    if parts.iter().all(is_sound) {
        Ok(())
    } else {
        Err(DecodeError::because("a part of a file is empty, or a chunk is larger than 16 MiB"))
    }
}

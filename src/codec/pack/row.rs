//! A row of a pack's table. A row of a delta block has one field more, so that packs without deltas keep
//! their original encoding.

use std::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec::chunk::compress::Codec;
use crate::codec::chunk::compress::delta::MAX_PREFIX;
use crate::codec::pack::base::BaseRef;
use crate::model::decode_error::DecodeError;
use crate::model::id::ChunkId;

/// A row in its stored form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::codec) struct Row {
    pub(in crate::codec) stored: u32,
    pub(in crate::codec) plain: u32,
    pub(in crate::codec) codec: u8,
    pub(in crate::codec) chunks: Vec<(ChunkId, u32)>,
    /// Stored only for a delta.
    pub(in crate::codec) bases: Vec<BaseRef>,
}

const DELTA: u8 = Codec::Delta.byte();

impl Row {
    /// Returns the codec, if it is known and the bases are valid for it.
    pub(in crate::codec) fn check(&self) -> Result<Codec, DecodeError> {
        let codec =
            Codec::from_byte(self.codec).ok_or(DecodeError::because("the codec of a block is unknown"))?;
        if self.chunks.is_empty() || self.chunks.iter().any(|(_, len)| *len == 0) {
            return Err(DecodeError::because("a block has no chunks, or a chunk is empty"));
        }
        let prefix: u64 = self.bases.iter().map(|base| u64::from(base.len)).sum();
        if codec == Codec::Delta && (self.bases.is_empty() || prefix > u64::from(MAX_PREFIX)) {
            return Err(DecodeError::because("a delta has no bases, or its bases are too large"));
        }
        Ok(codec)
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_delta = self.codec == DELTA;
        let mut row = serializer.serialize_tuple(if is_delta { 5 } else { 4 })?;
        row.serialize_element(&self.stored)?;
        row.serialize_element(&self.plain)?;
        row.serialize_element(&self.codec)?;
        row.serialize_element(&self.chunks)?;
        if is_delta {
            row.serialize_element(&self.bases)?;
        }
        row.end()
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_tuple(5, RowVisitor)
    }
}

struct RowVisitor;

impl<'de> Visitor<'de> for RowVisitor {
    type Value = Row;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row of a table")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut fields: A) -> Result<Row, A::Error> {
        let stored = next_field(&mut fields)?;
        let plain = next_field(&mut fields)?;
        let codec = next_field(&mut fields)?;
        let chunks = next_field(&mut fields)?;
        let bases = if codec == DELTA { next_field(&mut fields)? } else { Vec::new() };
        Ok(Row { stored, plain, codec, chunks, bases })
    }
}

fn next_field<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(fields: &mut A) -> Result<T, A::Error> {
    fields.next_element()?.ok_or_else(|| A::Error::custom("a row of the table is truncated"))
}

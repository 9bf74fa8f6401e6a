//! Later additions to frozen structs: (tag, bytes), with tags in strictly ascending order. An odd tag must be
//! understood, an even one may be ignored.

use serde_bytes::ByteBuf;

use crate::model::decode_error::DecodeError;

/// The additions of one struct.
pub(super) type Tags = Vec<(u16, ByteBuf)>;

/// Returns the bytes of a tag.
pub(super) fn get(tags: &Tags, wanted: u16) -> Option<&[u8]> {
    tags.iter().find(|(tag, _)| *tag == wanted).map(|(_, bytes)| bytes.as_slice())
}

/// Inserts, replaces or removes a tag.
pub(super) fn set(tags: &mut Tags, tag: u16, bytes: Option<Vec<u8>>) {
    tags.retain(|(known, _)| *known != tag);
    if let Some(bytes) = bytes {
        let at = tags.partition_point(|(known, _)| *known < tag);
        tags.insert(at, (tag, ByteBuf::from(bytes)));
    }
}

/// Checks the order of tags.
pub(super) fn check_order(tags: &Tags) -> Result<(), DecodeError> {
    let is_sorted = tags.is_sorted_by(|(a, _), (b, _)| a < b);
    is_sorted.then_some(()).ok_or(DecodeError::because("tags are repeated or out of order"))
}

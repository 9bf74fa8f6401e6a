//! Checks stored zstd frames: exactly one, without a dictionary, and with no larger window than it can use.

use zstd::zstd_safe;

use crate::codec::chunk::compress::failed;
use crate::model::decode_error::DecodeError;

/// zstd's own lower bound for windows.
const MIN_WINDOW_LOG: u32 = 10;

/// Checks that the bytes are one frame and nothing else, before memory is allocated for it. `reach` is the
/// length of all that the frame can refer to: its plain bytes, and the prefix of a delta.
///
/// # Errors
/// They are not such a frame, or it asks for a larger window than it can use.
pub(super) fn check(compressed: &[u8], reach: usize) -> Result<(), DecodeError> {
    let window =
        window_of(compressed).ok_or(DecodeError::because("it is not a zstd frame of the expected kind"))?;
    if window > 1 << window_log(reach).min(63) {
        return Err(DecodeError::because("a zstd frame requires more memory than its content needs"));
    }
    if zstd_safe::find_frame_compressed_size(compressed).map_err(failed)? != compressed.len() {
        return Err(DecodeError::because("there are trailing bytes after a zstd frame"));
    }
    Ok(())
}

/// Returns the smallest window that covers this many bytes, as a power of two.
pub(super) fn window_log(reach: usize) -> u32 {
    reach.max(1).checked_next_power_of_two().map_or(64, usize::trailing_zeros).max(MIN_WINDOW_LOG)
}

/// Returns the bytes of the window that a frame's header requests (RFC 8878, 3.1.1.1): those of its content
/// for a single segment. `None` if it is not a frame, or one with a dictionary, which no delta uses.
fn window_of(frame: &[u8]) -> Option<u64> {
    let rest = frame.strip_prefix(&[0x28, 0xb5, 0x2f, 0xfd])?;
    let (descriptor, rest) = rest.split_first()?;
    let (is_single, has_dictionary) = (descriptor & 0x20 != 0, descriptor & 3 != 0);
    if has_dictionary || descriptor & 8 != 0 {
        return None;
    }
    if !is_single {
        let byte = u64::from(*rest.first()?);
        let base = 1u64 << (MIN_WINDOW_LOG as u64 + (byte >> 3));
        return Some(base + base / 8 * (byte & 7));
    }
    let number = |len: usize| {
        let bytes = rest.get(..len)?;
        Some(bytes.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte)))
    };
    match descriptor >> 6 {
        0 => number(1),
        1 => number(2).map(|number| number + 256),
        2 => number(4),
        _ => number(8),
    }
}

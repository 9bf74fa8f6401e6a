//! Temporary names. One contains the id of its run and a checksum of it, so that no user's file is mistaken
//! for a temporary one.

use crate::codec::crypto::hash;

const PREFIX: &str = ".snap-tmp-";

/// Returns the prefix of all temporary names of a run.
pub(super) fn prefix(run: u64) -> String {
    let run = format!("{run:016x}");
    format!("{PREFIX}{run}{}-", check(run.as_bytes()))
}

/// Returns whether a name is a temporary name of any run.
pub(in crate::fs::target) fn is_temp(name: &[u8]) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX.as_bytes()) else { return false };
    let (Some(run), Some(sum), Some(number)) = (rest.get(..16), rest.get(16..24), rest.get(24..)) else {
        return false;
    };
    let number = number.strip_prefix(b"-").unwrap_or_default();
    !number.is_empty() && number.iter().all(u8::is_ascii_digit) && sum == check(run).as_bytes()
}

fn check(run: &[u8]) -> String {
    let sum = hash::sha256(&[b"snap temporary name ".as_slice(), run].concat());
    sum.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

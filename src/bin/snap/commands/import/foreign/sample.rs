//! Estimates how long an import will take, by reading a part of one snapshot and extrapolating its rate.

use std::io::Read;
use std::time::{Duration, Instant};

use super::tar::Archive;
use super::{Found, Job};

/// Maximum number of bytes to read.
const BYTES: u64 = 32 << 20;
/// Maximum time to read for.
const TIME: Duration = Duration::from_secs(3);

/// Estimates how many seconds it takes to read this many bytes of these snapshots. Returns `None` if reading
/// the sample fails; the import will report the reason.
pub(super) fn seconds(job: &Job<'_>, new: &[Found], bytes: u64) -> Option<f64> {
    let command = job.other.dump(new.last()?);
    let clock = Instant::now();
    let mut archive = Archive::start(job.other.program(), command).ok()?;
    let mut buffer = vec![0; 256 << 10];
    let (mut read, mut start) = (0, None);
    while read < BYTES && start.is_none_or(|_| clock.elapsed() < TIME) {
        match archive.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => read += count as u64,
            Err(_) => return None,
        }
        start.get_or_insert_with(|| clock.elapsed());
    }
    // The program is started once per snapshot, for its archive or for what the mount does not show.
    let begun = start?.as_secs_f64();
    let rest = (clock.elapsed().as_secs_f64() - begun).max(f64::EPSILON);
    Some(begun * new.len() as f64 + rest * bytes as f64 / read as f64)
}

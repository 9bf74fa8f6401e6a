//! The current time from which ages of snapshots are computed.

use crate::error::Result;
use crate::model::entry::Time;
use crate::repo::repository::Repository;
use crate::repo::sessions::session::Session;

/// Seconds of a day, by which the clocks of a machine and of a storage may differ.
pub const DAY: i64 = 86_400;

/// Returns the earlier of `here`, this machine's time, and the time by the storage's clock: a clock that is
/// years ahead must not make every snapshot old. Warns if this machine's is more than a day ahead.
///
/// # Errors
/// When the storage fails.
pub fn present(repo: &Repository, session: &Session, here: Time) -> Result<Time> {
    let Some(there) = session.storage_time()? else { return Ok(here) };
    if here.sec.saturating_sub(there.sec) > DAY {
        repo.control().warn(format!(
            "this machine's clock is {} days ahead of the storage's clock: ages are computed with the \
             storage's clock",
            here.sec.saturating_sub(there.sec) / DAY
        ));
    }
    Ok(here.min(there))
}

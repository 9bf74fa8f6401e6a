//! Maintains parity files at the end of a gc run: removes those of deleted packs, and writes missing ones.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::codec::pack::parity::Layout;
use crate::error::{Error, Result};
use crate::model::id::{PackId, SnapshotId};
use crate::model::records::Damaged;
use crate::ops::gc::Report;
use crate::repo::pack::parity;
use crate::repo::repository::Repository;
use crate::repo::sessions::damage;
use crate::repo::sessions::session::RepoState;
use crate::storage::ObjectKind;

/// Maximum bytes of packs that one run reads to write missing parity, which takes some seconds. `repair
/// parity` has no limit.
const MAX_BYTES_READ: u64 = 1 << 30;

/// Removes and writes parity files. If the disk is full, it only removes.
///
/// # Errors
/// When the storage fails or the run was interrupted.
pub(super) fn maintain(
    repo: &Repository,
    own: SnapshotId,
    disk_full: bool,
    report: &mut Report,
    stop: &AtomicBool,
) -> Result<()> {
    let (storage, share) = (repo.storage(), repo.config().parity());
    // Parity files are listed before packs. Each is written after its pack, so one without a listed pack is
    // garbage.
    let sidecars = parity::list(storage)?;
    if sidecars.is_empty() && share == 0 {
        return Ok(());
    }
    let repo_state = RepoState::read(storage, repo.suite(), |_| Ok(()))?;
    let packs: HashMap<PackId, u64> = repo_state.packs.iter().copied().collect();
    // If parity is disabled, only that of damaged packs stays: a repair may need it.
    let is_garbage = |id: &PackId| !packs.contains_key(id) || share == 0 && !repo_state.damaged.contains(id);
    for (id, len) in sidecars.iter().filter(|(id, _)| is_garbage(id)) {
        if !parity::remove(storage, id)? {
            repo.control().warn(format!("the parity of pack {} needs a newer snap, and is kept", id.short()));
            continue;
        }
        report.parity_removed += 1;
        report.parity_freed += len;
    }
    if report.parity_removed > 0 {
        storage.sync(ObjectKind::Parity)?;
    }
    let with_parity: HashSet<PackId> = sidecars.iter().map(|(id, _)| *id).collect();
    let needs_parity = |(id, len): &&(PackId, u64)| {
        !with_parity.contains(id)
            && !repo_state.condemned.contains(id)
            && !repo_state.damaged.contains(id)
            && Layout::new(*id, *len, share).is_some()
    };
    let mut remaining = if disk_full { 0 } else { MAX_BYTES_READ };
    for (id, len) in repo_state.packs.iter().filter(needs_parity) {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        if *len > remaining {
            report.parity_later += 1;
            continue;
        }
        remaining -= len;
        match parity::write_again(storage, *id, *len, share) {
            Ok(bytes) => {
                report.parity_written += 1;
                report.parity_bytes += bytes;
            }
            Err(err) if err.is_missing() => {}
            Err(err) if err.is_damage() => {
                repo.control()
                    .warn(format!("{}: it gets no parity; run `Repository::repair_packs`", err.chain()));
                damage::record(repo, own, Damaged::Pack(*id), err.chain())?;
            }
            // No failure: the packs are intact, and a later run can write their parity.
            Err(err) if err.is_full() => {
                repo.control().warn(format!("{}: there is no space for parity", err.chain()));
                remaining = 0;
                report.parity_later += 1;
            }
            Err(err) => return Err(err),
        }
    }
    Ok(())
}

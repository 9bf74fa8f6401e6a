//! Maintains header bundles at the end of a gc run: bundles packs that are in none, and removes bundles of
//! deleted packs.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};
use crate::model::id::PackId;
use crate::repo::pack::header_bundles::{BundleBuilder, FEWEST, FULL, HeaderBundle, THREADS, open_all};
use crate::repo::pack::packs;
use crate::repo::repository::Repository;
use crate::repo::sessions::session::RepoState;
use crate::storage::ObjectKind;
use crate::util::parallel;

/// What maintenance may do.
#[derive(Debug, Clone, Copy)]
pub struct Maintenance {
    /// New bundles may be written: there is enough free space.
    pub add: bool,
    /// Obsolete bundles may be removed.
    pub remove: bool,
}

/// Maintains the header bundles of remote storage. They are optional: a failure is a warning, not an error.
///
/// # Errors
/// When the run was interrupted.
pub fn maintain(repo: &Repository, may: Maintenance, stop: &AtomicBool) -> Result<()> {
    match try_tend(repo, may, stop) {
        Err(err) if !matches!(err, Error::Interrupted) => {
            repo.control()
                .warn(format!("{}: nothing is lost, but header bundles are incomplete", err.chain()));
            Ok(())
        }
        ended => ended,
    }
}

fn try_tend(repo: &Repository, may: Maintenance, stop: &AtomicBool) -> Result<()> {
    if !repo.storage().is_remote() {
        return Ok(());
    }
    // Bundles are listed before packs. A bundle is written after its packs, so if none of its packs is
    // listed, they were deleted.
    let (mut segments, mut dropped) = (Vec::new(), Vec::new());
    for (name, opened) in open_all(repo)? {
        match opened {
            Ok(segment) => segments.push(segment),
            Err(err) if !err.is_damage() => {
                repo.control().warn(format!("{}: header bundle {name} is kept", err.chain()))
            }
            Err(err) => {
                let what = if may.remove { "is removed" } else { "is ignored" };
                repo.control().warn(format!("{}: header bundle {name} {what}", err.chain()));
                dropped.push(name);
            }
        }
    }
    let repo_state = RepoState::read(repo.storage(), repo.suite(), |_| Ok(()))?;
    let mut bare: HashMap<PackId, u64> = repo_state.packs.iter().copied().collect();
    bare.retain(|id, _| !repo_state.condemned.contains(id) && !repo_state.damaged.contains(id));
    let sparse = take_covered(segments, &mut bare, &mut dropped);
    if may.add && bare.len() >= FEWEST {
        write(repo, &bare, stop)?;
        dropped.extend(sparse);
    }
    if may.remove && !dropped.is_empty() {
        dropped.iter().try_for_each(|name| repo.storage().remove(ObjectKind::Index, name))?;
        repo.storage().sync(ObjectKind::Index)?;
    }
    Ok(())
}

/// Removes from `bare` the packs in bundles that stay, and adds bundles without listed packs to `dropped`.
/// Returns the bundles that are too small or too sparse, to be replaced once there are enough packs for new
/// ones.
fn take_covered(
    mut segments: Vec<HeaderBundle>,
    bare: &mut HashMap<PackId, u64>,
    dropped: &mut Vec<String>,
) -> Vec<String> {
    let alive = |segment: &HeaderBundle, packs: &HashMap<PackId, u64>| {
        segment.parts.iter().filter(|part| packs.get(&part.pack) == Some(&part.pack_len)).count()
    };
    segments.sort_by_cached_key(|segment| std::cmp::Reverse(alive(segment, bare)));
    let mut sparse = Vec::new();
    for segment in segments {
        let some = alive(&segment, bare);
        let is_small = segment.parts.len() < FEWEST && segment.len < FULL as u64;
        if some == 0 {
            dropped.push(segment.name);
        } else if is_small || some * 2 < segment.parts.len() {
            sparse.push(segment.name);
        } else {
            for part in &segment.parts {
                bare.remove(&part.pack);
            }
        }
    }
    sparse
}

/// Writes header bundles of these packs. A few packs may be left over for the next gc run.
fn write(repo: &Repository, packs: &HashMap<PackId, u64>, stop: &AtomicBool) -> Result<()> {
    let mut packs: Vec<(PackId, u64)> = packs.iter().map(|(id, len)| (*id, *len)).collect();
    packs.sort_unstable();
    let mut bundle_builder = BundleBuilder::default();
    for window in packs.chunks(THREADS) {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let fronts =
            parallel::map(window, THREADS, |(id, len)| packs::front(repo.storage(), repo.suite(), id, *len));
        for ((id, len), front) in window.iter().zip(fronts) {
            match front {
                Ok(front) => {
                    if let Some(full) = bundle_builder.add(*id, *len, front) {
                        full.write(repo)?;
                    }
                }
                // Readers of this table will ask the pack itself, and get its error.
                Err(err) if err.is_damage() || err.is_missing() => {}
                Err(err) => return Err(err),
            }
        }
    }
    bundle_builder.finish(repo)
}

/// Removes a header bundle that was found wrong. Returns whether it is gone; a failure is a warning.
pub fn remove(repo: &Repository, name: &str) -> bool {
    let removed = repo.storage().remove(ObjectKind::Index, name);
    removed.inspect_err(|err| repo.control().warn(err.chain())).is_ok()
}

//! Maintains header bundles at the end of a gc run: bundles packs that are in none, and removes bundles of
//! deleted packs.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};
use crate::model::id::PackId;
use crate::repo::pack::header_bundles::{
    BundleBuilder, FULL_BYTES, HeaderBundle, MIN_PACKS, THREADS, open_all,
};
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
    match try_maintain(repo, may, stop) {
        Err(err) if !matches!(err, Error::Interrupted) => {
            repo.control()
                .warn(format!("{}: nothing is lost, but header bundles are incomplete", err.chain()));
            Ok(())
        }
        result => result,
    }
}

fn try_maintain(repo: &Repository, may: Maintenance, stop: &AtomicBool) -> Result<()> {
    if !repo.storage().is_remote() {
        return Ok(());
    }
    // Bundles are listed before packs. A bundle is written after its packs, so if none of its packs is
    // listed, they were deleted.
    let (mut bundles, mut dropped) = (Vec::new(), Vec::new());
    for (name, opened) in open_all(repo)? {
        match opened {
            Ok(bundle) => bundles.push(bundle),
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
    let mut unbundled: HashMap<PackId, u64> = repo_state.packs.iter().copied().collect();
    unbundled.retain(|id, _| !repo_state.condemned.contains(id) && !repo_state.damaged.contains(id));
    let sparse = remove_bundled(bundles, &mut unbundled, &mut dropped);
    if may.add && unbundled.len() >= MIN_PACKS {
        write_bundles(repo, &unbundled, stop)?;
        dropped.extend(sparse);
    }
    if may.remove && !dropped.is_empty() {
        dropped.iter().try_for_each(|name| repo.storage().remove(ObjectKind::Index, name))?;
        repo.storage().sync(ObjectKind::Index)?;
    }
    Ok(())
}

/// Removes from `unbundled` the packs in bundles that stay, and adds bundles without listed packs to
/// `dropped`. Returns bundles that are too small or too sparse, to be replaced once there are enough packs
/// for new ones.
fn remove_bundled(
    mut bundles: Vec<HeaderBundle>,
    unbundled: &mut HashMap<PackId, u64>,
    dropped: &mut Vec<String>,
) -> Vec<String> {
    let count_listed = |bundle: &HeaderBundle, packs: &HashMap<PackId, u64>| {
        bundle.parts.iter().filter(|part| packs.get(&part.pack) == Some(&part.pack_len)).count()
    };
    bundles.sort_by_cached_key(|bundle| std::cmp::Reverse(count_listed(bundle, unbundled)));
    let mut sparse = Vec::new();
    for bundle in bundles {
        let listed = count_listed(&bundle, unbundled);
        let is_small = bundle.parts.len() < MIN_PACKS && bundle.len < FULL_BYTES as u64;
        if listed == 0 {
            dropped.push(bundle.name);
        } else if is_small || listed * 2 < bundle.parts.len() {
            sparse.push(bundle.name);
        } else {
            for part in &bundle.parts {
                unbundled.remove(&part.pack);
            }
        }
    }
    sparse
}

/// Writes header bundles of these packs. A few packs may be left over for the next gc run.
fn write_bundles(repo: &Repository, packs: &HashMap<PackId, u64>, stop: &AtomicBool) -> Result<()> {
    let mut packs: Vec<(PackId, u64)> = packs.iter().map(|(id, len)| (*id, *len)).collect();
    packs.sort_unstable();
    let mut builder = BundleBuilder::default();
    for window in packs.chunks(THREADS) {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let fronts =
            parallel::map(window, THREADS, |(id, len)| packs::front(repo.storage(), repo.suite(), id, *len));
        for ((id, len), front) in window.iter().zip(fronts) {
            match front {
                Ok(front) => {
                    if let Some(full) = builder.add(*id, *len, front) {
                        full.write(repo)?;
                    }
                }
                // Readers find no bundle with this table, read it from the pack, and get the error.
                Err(err) if err.is_damage() || err.is_missing() => {}
                Err(err) => return Err(err),
            }
        }
    }
    builder.finish(repo)
}

/// Removes a header bundle that was found wrong. Returns whether it is gone; a failure is a warning.
pub fn remove(repo: &Repository, name: &str) -> bool {
    let removed = repo.storage().remove(ObjectKind::Index, name);
    removed.inspect_err(|err| repo.control().warn(err.chain())).is_ok()
}

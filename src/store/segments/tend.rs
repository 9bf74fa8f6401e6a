//! What a collection does for segments in its end: packs that are in none get into one, and segments of packs that are gone
//! go as well.

use std::collections::HashMap;

use crate::error::Result;
use crate::model::id::PackId;
use crate::store::at_once;
use crate::store::packs;
use crate::store::repository::Repository;
use crate::store::segments::FEWEST;
use crate::store::segments::Gathering;
use crate::store::segments::Segment;
use crate::store::segments::THREADS;
use crate::store::segments::all;
use crate::store::session::Sight;
use crate::store::storage::Area;

/// Sees to the segments of a far store; with `add_only` none is removed.
///
/// # Errors
/// When the store fails.
pub fn tend(repo: &Repository, add_only: bool) -> Result<()> {
    if !repo.storage().is_far() {
        return Ok(());
    }
    // Segments before packs: each is written after its packs, so that one of which no pack is listed has lost them.
    let (mut segments, mut dropped) = (Vec::new(), Vec::new());
    for (name, opened) in all(repo)? {
        match opened {
            Ok(segment) => segments.push(segment),
            Err(err) => {
                repo.warn(format!("{}: segment {name} is removed", err.chain()));
                dropped.push(name);
            }
        }
    }
    let sight = Sight::look(repo.storage(), repo.ring(), |_| Ok(()))?;
    let mut bare: HashMap<PackId, u64> = sight.packs.iter().copied().collect();
    bare.retain(|id, _| !sight.condemned.contains(id) && !sight.damaged.contains(id));
    let all_packs = bare.clone();
    let alive = |segment: &Segment, packs: &HashMap<PackId, u64>| {
        segment.parts.iter().filter(|part| packs.get(&part.pack) == Some(&part.pack_len)).count()
    };
    segments.sort_by_key(|segment| std::cmp::Reverse(alive(segment, &all_packs)));
    let mut sparse = Vec::new();
    for segment in &segments {
        match alive(segment, &bare) {
            0 => dropped.push(segment.name.clone()),
            // Half of it is of no use to anybody.
            some if some * 2 < segment.parts.len() || some < FEWEST => sparse.push(segment),
            _ => {
                for part in &segment.parts {
                    bare.remove(&part.pack);
                }
            }
        }
    }
    if bare.len() >= FEWEST {
        write(repo, &bare)?;
        dropped.extend(sparse.into_iter().map(|segment| segment.name.clone()));
    }
    if !add_only && !dropped.is_empty() {
        dropped.iter().try_for_each(|name| repo.storage().remove(Area::Index, name))?;
        repo.storage().sync(Area::Index)?;
    }
    Ok(())
}

/// Segments of these packs; a few may be left over for the next time.
fn write(repo: &Repository, packs: &HashMap<PackId, u64>) -> Result<()> {
    let mut packs: Vec<(PackId, u64)> = packs.iter().map(|(id, len)| (*id, *len)).collect();
    packs.sort_unstable();
    let mut gathering = Gathering::default();
    for window in packs.chunks(THREADS) {
        let fronts =
            at_once::map(window, THREADS, |(id, len)| packs::front(repo.storage(), repo.ring(), id, *len));
        for ((id, len), front) in window.iter().zip(fronts) {
            match front {
                Ok(front) => {
                    if let Some(full) = gathering.add(*id, *len, front) {
                        full.try_write(repo)?;
                    }
                }
                // Whoever needs it asks the pack, and is told what is wrong with it.
                Err(err) if err.is_damage() || err.is_missing() => {}
                Err(err) => return Err(err),
            }
        }
    }
    if gathering.is_worth_an_object() { gathering.try_write(repo) } else { Ok(()) }
}

/// Removes segments that were found wrong; where they may not be removed, that is said.
pub fn remove<'a>(repo: &Repository, names: impl Iterator<Item = &'a String>) {
    for name in names {
        if let Err(err) = repo.storage().remove(Area::Index, name) {
            repo.warn(format!("{}: what it says is wrong, and it has to go", err.chain()));
        }
    }
}

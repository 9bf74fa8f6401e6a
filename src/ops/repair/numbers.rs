//! Names of collections and configurations with numbers so high that nobody can have counted to them. One above what a name
//! may hold is not snap's, and in nobody's way; one below it would use up the numbers, or all but a few.

use crate::codec::crypto::sealed_object;
use crate::error::{Error, Result};
use crate::model::records::SessionKind;
use crate::repo::gc::peers;
use crate::repo::gc::peers::Peer;
use crate::repo::repository::Repository;
use crate::repo::sessions::gc_record;
use crate::repo::sessions::session::Session;
use crate::storage::{ObjectKind, names};

/// Above this a collection's number is believed only if its record can be read.
const COLLECTIONS: u64 = 1 << 40;
/// Above this a generation is believed only if it can be read.
const GENERATIONS: u32 = 1 << 20;

/// Removes them; in a dry run it only says which.
pub(super) fn remove(repo: &Repository, dry_run: bool) -> Result<Vec<String>> {
    let mut gone = Vec::new();
    for (area, name) in foreign(repo)?.into_iter().chain(generations(repo)?) {
        if !dry_run {
            repo.storage().remove(area, &name)?;
            repo.storage().sync(area)?;
        }
        gone.push(area.path(&name));
    }
    let records = records(repo)?;
    if !dry_run && !records.is_empty() {
        remove_records(repo, &records)?;
    }
    gone.extend(records.iter().map(|name| ObjectKind::Gc.path(name)));
    Ok(gone)
}

/// What has the form of a number and is above what a name may hold.
fn foreign(repo: &Repository) -> Result<Vec<(ObjectKind, String)>> {
    let mut found = Vec::new();
    for area in [ObjectKind::Gc, ObjectKind::Config] {
        let begin = format!("{}/", area.folder());
        repo.storage().list(area)?;
        for path in repo.storage().strays(area)? {
            let Some(name) = path.strip_prefix(&begin) else { continue };
            if names::gc_run(name).is_some() && area == ObjectKind::Gc
                || names::generation(name).is_some() && area == ObjectKind::Config
            {
                found.push((area, name.to_owned()));
            }
        }
    }
    Ok(found)
}

fn generations(repo: &Repository) -> Result<Vec<(ObjectKind, String)>> {
    let mut found = Vec::new();
    for listed in repo.storage().list(ObjectKind::Config)? {
        let high = names::generation(&listed.name).is_some_and(|number| number > GENERATIONS);
        match if high { repo.check_config(&listed.name) } else { Ok(()) } {
            Err(Error::Damaged { .. }) => found.push((ObjectKind::Config, listed.name)),
            Err(err) if err.is_missing() => {}
            other => other?,
        }
    }
    Ok(found)
}

fn records(repo: &Repository) -> Result<Vec<String>> {
    let unreadable = gc_record::unreadable(repo.storage(), repo.suite())?;
    let names = unreadable.objects.into_iter().map(|(name, _)| name);
    Ok(names.filter(|name| names::gc_run(name).is_some_and(|number| number > COLLECTIONS)).collect())
}

/// Removes records that nobody can have written. Whoever has seen one would take every collection to come for one that it has
/// seen as well, and would not be waited for: so nobody else may be at work.
fn remove_records(repo: &Repository, records: &[String]) -> Result<()> {
    let session = Session::open_without_state(repo, SessionKind::Collector)?;
    nobody_else(repo, &session)?;
    let mut removed = Vec::new();
    for name in records {
        removed.push((name, repo.storage().read(ObjectKind::Gc, name, sealed_object::MAX_OBJECT)));
        repo.storage().remove(ObjectKind::Gc, name)?;
    }
    repo.storage().sync(ObjectKind::Gc)?;
    // Whoever came in between may have seen them: then they stay, until nobody comes.
    if let Err(err) = nobody_else(repo, &session) {
        for (name, bytes) in removed {
            // What could not be read holds its number without bytes just as well.
            repo.storage().create(ObjectKind::Gc, name, &[&bytes.unwrap_or_default()])?;
        }
        return Err(err);
    }
    session.close()
}

fn nobody_else(repo: &Repository, session: &Session) -> Result<()> {
    let others = peers::others(repo, Some(&session.id), true)?;
    let alive: Vec<&Peer> = others.iter().filter(|other| !other.dead).collect();
    if alive.is_empty() {
        // One that wakes up must not commit: it would say that it has seen everything.
        return peers::bury_dead(repo, &others, session.id, 0);
    }
    let whom: Vec<String> = alive.into_iter().map(Peer::describe).collect();
    Err(Error::Refused(format!(
        "{} may have seen a number that no collection has reached: run `snap repair gc` again when that has ended",
        whom.join(", ")
    )))
}

//! Removes gc runs and configurations whose numbers are so high that no process can have counted to them: one
//! with a number near the maximum would use up the remaining numbers. Names with a number above the maximum
//! are foreign to snap, and are removed as well. So are configurations that are unencrypted in an encrypted
//! repository, or the reverse: no process of this repository has written them.

use crate::codec::crypto::sealed_object;
use crate::error::{Error, Result};
use crate::model::records::{AuditAct, SessionKind};
use crate::repo::audit;
use crate::repo::gc::peers::{self, Peer};
use crate::repo::repository::Repository;
use crate::repo::sessions::gc_record;
use crate::repo::sessions::session::Session;
use crate::storage::{ObjectKind, names};

/// Above this, a gc run's number is accepted only if its record can be read.
const MAX_GC_RUN: u64 = 1 << 40;
/// Above this, a configuration's generation is accepted only if it can be read.
const MAX_GENERATION: u32 = 1 << 20;

/// Removes such names and returns them. In a dry run only returns them.
pub(super) fn remove(repo: &Repository, dry_run: bool) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    let impossible: Vec<(ObjectKind, String)> =
        names_above_maximum(repo)?.into_iter().chain(bad_configs(repo)?).collect();
    if !dry_run && !impossible.is_empty() {
        audit::note(repo, AuditAct::Repair, "objects with impossibly high numbers")?;
    }
    for (area, name) in impossible {
        if !dry_run {
            repo.storage().remove(area, &name)?;
            repo.storage().sync(area)?;
        }
        removed.push(area.path(&name));
    }
    let records = bad_records(repo)?;
    if !dry_run && !records.is_empty() {
        remove_records(repo, &records)?;
    }
    removed.extend(records.iter().map(|name| ObjectKind::Gc.path(name)));
    Ok(removed)
}

/// Returns names that have the form of a number above the maximum. They are foreign files, and block nothing.
fn names_above_maximum(repo: &Repository) -> Result<Vec<(ObjectKind, String)>> {
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

fn bad_configs(repo: &Repository) -> Result<Vec<(ObjectKind, String)>> {
    let mut found = Vec::new();
    for listed in repo.storage().list(ObjectKind::Config)? {
        let high = names::generation(&listed.name).is_some_and(|number| number > MAX_GENERATION);
        let suspect = high || repo.is_planted_config(&listed.name)?;
        match if suspect { repo.check_config(&listed.name) } else { Ok(()) } {
            Err(Error::Damaged { .. }) => found.push((ObjectKind::Config, listed.name)),
            Err(err) if err.is_missing() => {}
            other => other?,
        }
    }
    Ok(found)
}

fn bad_records(repo: &Repository) -> Result<Vec<String>> {
    let unreadable = gc_record::unreadable(repo.storage(), repo.suite())?;
    let names = unreadable.objects.into_iter().map(|(name, _)| name);
    Ok(names.filter(|name| names::gc_run(name).is_some_and(|number| number > MAX_GC_RUN)).collect())
}

/// Removes gc records that no process can have written. A session that has seen one would be taken to have
/// seen every later gc run as well, and sweeps would not wait for it. So no other session may be at work.
fn remove_records(repo: &Repository, records: &[String]) -> Result<()> {
    let session = Session::open_without_state(repo, SessionKind::Collector)?;
    refuse_other_sessions(repo, &session)?;
    audit::note(repo, AuditAct::Repair, "gc records with impossibly high numbers")?;
    let mut removed = Vec::new();
    for name in records {
        removed.push((name, repo.storage().read(ObjectKind::Gc, name, sealed_object::MAX_OBJECT)));
        repo.storage().remove(ObjectKind::Gc, name)?;
    }
    repo.storage().sync(ObjectKind::Gc)?;
    // Sessions that started meanwhile may have seen them: then the records are put back for a later attempt.
    if let Err(err) = refuse_other_sessions(repo, &session) {
        for (name, bytes) in removed {
            // An unreadable one is restored empty, which reserves the number as well.
            repo.storage().create(ObjectKind::Gc, name, &[&bytes.unwrap_or_default()])?;
        }
        return Err(err);
    }
    session.close()
}

fn refuse_other_sessions(repo: &Repository, session: &Session) -> Result<()> {
    let others = peers::others(repo, Some(&session.id), true)?;
    let alive: Vec<&Peer> = others.iter().filter(|other| !other.dead).collect();
    if alive.is_empty() {
        // A suspended session must not commit when it resumes: it would claim to have seen every gc run.
        return peers::remove_dead(repo, &others, session.id, 0);
    }
    let names: Vec<String> = alive.into_iter().map(Peer::describe).collect();
    Err(Error::Refused(format!(
        "{} may have seen a gc record with an impossibly high number: run `Repository::repair_gc_records` \
         again when that has ended",
        names.join(", ")
    )))
}

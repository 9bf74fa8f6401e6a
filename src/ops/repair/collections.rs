//! `repair gc`: goes on where the record of a collection cannot be read, so that nobody knows what it condemned.
//!
//! Its end is written, and nothing is deleted. Why that is safe: whatever it condemned and still lies there is whole, and
//! is in use again from then on. What it had deleted by then nobody needed: a sweep begins to delete when every session
//! that had not seen the record has ended or was fenced, what new roots needed was rescued, and what it purged is out of
//! the trash before the first pack goes. So all that must not happen is that somebody deletes packs after they are in use
//! again: whoever might still be sweeping is waited for, and whoever wants to begin waits for this session, which has seen
//! no collection. Then an empty collection takes the next number and clears away what cannot be read: numbers are never
//! used twice.

use crate::error::{Error, Result};
use crate::model::entry::Time;
use crate::model::records::{GcRecord, SessionKind};
use crate::ops::repair::numbers;
use crate::repo::gc::peers;
use crate::repo::gc::peers::Peer;
use crate::repo::repository::Repository;
use crate::repo::sessions::gc_record;
use crate::repo::sessions::gc_record::Unreadable;
use crate::repo::sessions::session::Session;

/// What was found and done.
#[derive(Debug, Default)]
pub struct Report {
    /// Why each record or end that cannot be read cannot be.
    pub unreadable: Vec<String>,
    /// The collection that was given up, or would be.
    pub given_up: Option<u64>,
    /// Names that hold a number which no collection or configuration can have reached, and that were, or would be, removed.
    pub removed: Vec<String>,
    /// Another collection is unfinished and can be read: when `gc` has ended it, what is unreadable goes as well.
    pub left_to_gc: bool,
}

/// Repairs; in a dry run it only looks.
///
/// # Errors
/// When the store fails, a record is newer than this program, or somebody may be sweeping.
pub fn run(repo: &Repository, dry_run: bool) -> Result<Report> {
    let removed = numbers::remove(repo, dry_run)?;
    let report = give_up(repo, dry_run)?;
    Ok(Report { removed, ..report })
}

fn give_up(repo: &Repository, dry_run: bool) -> Result<Report> {
    let found = look(repo)?;
    if dry_run || found.objects.is_empty() {
        return Ok(report(&found, false));
    }
    let session = Session::open_without_state(repo, SessionKind::Collector)?;
    let sweepers = peers::sweepers(repo, &session.id)?;
    if !sweepers.is_empty() {
        let whom: Vec<String> = sweepers.iter().map(Peer::describe).collect();
        return Err(Error::Refused(format!(
            "{} may be deleting what the unreadable collection condemned: run `snap repair gc` again when that has ended",
            whom.join(", ")
        )));
    }
    // Whoever was sweeping may have ended it meanwhile.
    let found = look(repo)?;
    let report = clear(repo, &session, &found)?;
    session.close()?;
    Ok(report)
}

fn look(repo: &Repository) -> Result<Unreadable> {
    gc_record::unreadable(repo.storage(), repo.suite())
}

fn report(found: &Unreadable, left_to_gc: bool) -> Report {
    let unreadable = found.objects.iter().map(|(_, err)| err.chain()).collect();
    Report { unreadable, given_up: found.open, removed: Vec::new(), left_to_gc }
}

fn clear(repo: &Repository, session: &Session, found: &Unreadable) -> Result<Report> {
    let (storage, suite) = (repo.storage(), repo.suite());
    if found.objects.is_empty() {
        return Ok(report(found, false));
    }
    if let Some(number) = found.open {
        gc_record::give_up(storage, suite, number)?;
    }
    if !gc_record::unfinished(storage, suite)?.is_empty() {
        return Ok(report(found, true));
    }
    let number = gc_record::highest(storage)? + 1;
    let nothing = GcRecord {
        by: session.id,
        at: Time::now(),
        condemned: Vec::new(),
        roots: Vec::new(),
        purged: Vec::new(),
    };
    // A number that is taken: that collection clears up when it ends.
    let ours = gc_record::publish(storage, suite, number, &nothing)?;
    if ours {
        gc_record::finish(storage, suite, number)?;
    }
    Ok(report(found, !ours))
}

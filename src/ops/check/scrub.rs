//! `check --scrub`: verifies that packs and key slots hash to their names and that parity files are intact.
//! It needs no key, so the operator of the storage can run it.
//!
//! The times of verification are kept in this machine's cache, as nothing is written to a repository without
//! its key. The least recently verified packs come first.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::codec::crypto::cipher;
use crate::error::{Error, Result};
use crate::model::entry::Time;
use crate::model::id::PackId;
use crate::model::records::Damaged;
use crate::ops::check::{Finding, Subject, parity};
use crate::progress::{Control, Event};
use crate::repo::cache::Cache;
use crate::repo::keys;
use crate::repo::pack::{self, packs, parity as sidecars};
use crate::repo::repository::Repository;
use crate::repo::sessions::damage;
use crate::repo::sessions::session::RepoState;
use crate::storage::Storage;

/// Number of packs after which verification times are saved.
const SAVE_EVERY: usize = 64;

/// When to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// After this many bytes.
    Bytes(u64),
    /// After this time.
    Time(Duration),
}

/// What to verify.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Skip packs verified within this time.
    pub max_age: Option<Duration>,
    /// Limit of this run; none: all packs.
    pub budget: Option<Budget>,
}

/// Result of a scrub.
#[derive(Debug, Default)]
pub struct Report {
    /// Packs listed.
    pub packs: u64,
    /// Packs read.
    pub read: u64,
    /// Bytes read, parity files included.
    pub bytes: u64,
    /// Packs skipped as verified within `max_age`.
    pub recent: u64,
    /// Packs left to another run because the budget was spent.
    pub later: u64,
    /// Errors found.
    pub errors: Vec<Finding>,
}

/// When each pack was last verified, in seconds since 1970 by this machine's clock.
type Verified = BTreeMap<PackId, i64>;

/// Verifies packs and key slots. If the repository is open as well, records damage in it.
///
/// # Errors
/// When the storage fails, there is no repository, or the run was interrupted. Verification times are saved
/// in any case.
pub fn run(
    storage: &dyn Storage,
    cache: Option<&Path>,
    repo: Option<&Repository>,
    options: &Options,
    control: &Control<'_>,
) -> Result<Report> {
    let (observer, stop) = (control.observer(), control.cancel());
    let cache = Cache::new(cache, None, &storage.location(), &Repository::id_at(storage)?);
    let mut report = Report::default();
    let wrong = keys::list_slots(storage)?.into_iter().filter_map(|(_, slot)| slot.err());
    let key_slot = |err: Error| Finding::DamagedObject { subject: Subject::KeySlot, message: err.chain() };
    report.errors.extend(wrong.map(key_slot));
    let sidecars: BTreeMap<PackId, u64> = sidecars::list(storage)?.into_iter().collect();
    let listed = RepoState::packs(storage)?;
    report.packs = listed.len() as u64;
    let mut verified = load_times(&cache, &listed);
    let todo = choose_packs(&listed, &verified, options, &mut report);
    observer.notice(Event::Stage { name: "", unit: "packs" });
    observer.notice(Event::Expect { files: todo.len() as u64, bytes: todo.iter().map(|pack| pack.1).sum() });
    let began = Instant::now();
    let mut result = Ok(());
    for (at, (id, len)) in todo.iter().enumerate() {
        if is_spent(options.budget, report.bytes, began) {
            report.later = (todo.len() - at) as u64;
            break;
        }
        if stop.load(Ordering::Relaxed) {
            result = Err(Error::Interrupted);
            break;
        }
        result = scrub_pack(storage, repo, (id, *len), &mut verified, &mut report);
        if let (Ok(()), Some(sidecar)) = (&result, sidecars.get(id)) {
            result = read_parity(storage, (id, *len), *sidecar, &mut report);
        }
        if result.is_err() {
            break;
        }
        observer.notice(Event::Done { files: 1, bytes: *len });
        if at % SAVE_EVERY == SAVE_EVERY - 1 {
            save_times(&cache, &verified);
        }
    }
    save_times(&cache, &verified);
    result.map(|()| report)
}

fn is_spent(budget: Option<Budget>, bytes: u64, began: Instant) -> bool {
    match budget {
        None => false,
        Some(Budget::Bytes(most)) => bytes >= most,
        Some(Budget::Time(most)) => began.elapsed() >= most,
    }
}

/// Returns the packs to verify, least recently verified first. A time in the future counts as never.
fn choose_packs(
    listed: &[(PackId, u64)],
    verified: &Verified,
    options: &Options,
    report: &mut Report,
) -> Vec<(PackId, u64)> {
    let now = Time::now().sec;
    let when = |id: &PackId| verified.get(id).copied().filter(|at| *at <= now);
    let oldest = options.max_age.map(|age| now.saturating_sub(age.as_secs().try_into().unwrap_or(i64::MAX)));
    let is_recent = |id: &PackId| oldest.zip(when(id)).is_some_and(|(oldest, at)| at > oldest);
    let mut todo: Vec<(PackId, u64)> = listed.iter().filter(|(id, _)| !is_recent(id)).copied().collect();
    report.recent = (listed.len() - todo.len()) as u64;
    todo.sort_by_key(|(id, _)| (when(id), *id));
    todo
}

fn scrub_pack(
    storage: &dyn Storage,
    repo: Option<&Repository>,
    (id, len): (&PackId, u64),
    verified: &mut Verified,
    report: &mut Report,
) -> Result<()> {
    let hashed = packs::hash(storage, id, len)
        .and_then(|hash| if hash == *id.as_bytes() { Ok(()) } else { Err(pack::not_its_name(id)) });
    match hashed {
        Ok(()) => _ = verified.insert(*id, Time::now().sec),
        // Deleted by gc since it was listed.
        Err(err) if err.is_missing() => return Ok(()),
        Err(err) if err.is_damage() => {
            // The next run verifies and reports it again.
            verified.remove(id);
            report.errors.push(Finding::of_pack(*id, &err));
            if let Some(repo) = repo.filter(|repo| repo.may_write().is_ok()) {
                // Best effort: the repository may be read-only.
                let _ = damage::record(repo, cipher::new_id()?, Damaged::Pack(*id), err.chain());
            }
        }
        Err(err) => return Err(err),
    }
    report.read += 1;
    report.bytes += len;
    Ok(())
}

/// Verifies the parity file of a pack. It can be damaged even if the pack is intact.
fn read_parity(storage: &dyn Storage, pack: (&PackId, u64), sidecar: u64, report: &mut Report) -> Result<()> {
    report.bytes += sidecar;
    let verified = sidecars::verify(storage, pack, sidecar).map(|_| ());
    report.errors.extend(parity::finding_of(verified)?);
    Ok(())
}

fn load_times(cache: &Cache, listed: &[(PackId, u64)]) -> Verified {
    let text = cache.text("verified").unwrap_or_default();
    let known = text.lines().filter_map(|line| {
        let (id, at) = line.split_once(' ')?;
        Some((PackId::parse(id).ok()?, at.parse::<i64>().ok()?))
    });
    let known: Verified = known.collect();
    listed.iter().filter_map(|(id, _)| Some((*id, *known.get(id)?))).collect()
}

fn save_times(cache: &Cache, verified: &Verified) {
    let lines = verified.iter().map(|(id, at)| format!("{} {at}\n", id.hex()));
    cache.keep_text("verified", &lines.collect::<String>());
}

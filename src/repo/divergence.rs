//! Compares a repository with what this machine knows about it ([`known`](crate::run_log::known)). It uses
//! listings that are made anyway, so it sends no additional requests unless something is missing.

use std::collections::HashSet;
use std::path::Path;

use crate::codec::crypto::sealed_object;
use crate::error::{Error, Result};
use crate::model::config::Config;
use crate::model::entry::Time;
use crate::model::id::SnapshotId;
use crate::model::manifest::Manifest;
use crate::repo::config::Candidates;
use crate::repo::repository::Repository;
use crate::repo::snapshots::Listing;
use crate::repo::{audit, config};
use crate::run_log;
use crate::run_log::known::{Known, KnownPlace, Made};
use crate::storage::{Listed, ObjectKind, Storage};

/// Fails if this location had another repository before, in particular if the current one is not encrypted.
pub(crate) fn refuse_another(known: &KnownPlace, candidates: &Candidates, location: &str) -> Result<()> {
    let encrypted = candidates.are_encrypted();
    let place = known.read();
    let config = candidates.newest_that(|config| place.contradicts(&config.repo, encrypted).is_none())?;
    refuse(known, config, encrypted, location)
}

/// Like [`refuse_another`], for a verified configuration.
pub(crate) fn refuse(known: &KnownPlace, config: &Config, encrypted: bool, location: &str) -> Result<()> {
    let place = known.read();
    // If the newest epoch is hidden from a writer, it would encrypt for revoked keys.
    let older = place.of(&config.repo).filter(|known| known.epoch > config.epoch).map(|known| {
        format!("the newest epoch of its key is {}, but this machine last saw {}", config.epoch, known.epoch)
    });
    match place.contradicts(&config.repo, encrypted).or(older) {
        None => Ok(()),
        Some(what) => Err(Error::Diverged { location: location.to_owned(), what }),
    }
}

impl Repository {
    /// Compares the configuration, and records differences.
    pub(crate) fn compare_config(&self, accept: bool) {
        let config = self.config();
        if let Some(why) = self.known().trouble() {
            self.control().warn(format!(
                "this machine's records of the repository cannot be read ({why}): they start again, and \
                 replaced or lost parts of the repository are not detected this time"
            ));
        }
        let before = self.known_here();
        if !accept && before.as_ref().is_some_and(|known| known.generation > config.generation) {
            self.record_divergence(older_config(
                before.map_or(0, |known| known.generation),
                config.generation,
            ));
        }
        // Best effort: without a writable state directory, the warning comes when a snapshot is made.
        self.know_config(config, accept);
    }

    /// Records a configuration of this repository as the newest.
    pub(crate) fn know_config(&self, config: &Config, accept: bool) {
        let _ = self.known().change(|place| {
            place.found(&config.repo, config.is_encrypted(), config.generation, accept);
            if let Some(known) = place.repositories.get_mut(&config.repo.hex()) {
                known.epoch = known.epoch.max(config.epoch);
            }
        });
    }

    fn update_known(&self, change: impl Fn(&mut run_log::known::Place)) {
        if let Err(err) = self.known().change(change) {
            self.control().warn(format!(
                "{}: replaced or lost parts of the repository may not be detected",
                err.chain()
            ));
        }
    }

    fn known_here(&self) -> Option<Known> {
        self.known().read().of(&self.config().repo).cloned()
    }

    fn record_divergence(&self, what: String) {
        if self.divergence_log().add(what.clone()) {
            let hint = "`Repository::check` examines it; if it is intended, `Repository::accept` accepts it";
            self.control().warn(format!("{}: {what}: {hint}", self.location()));
        }
    }

    /// Returns how the repository differs from what this machine knows: snapshots that it made are missing
    /// though it did not forget them, or the configuration is older.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn divergence(&self) -> Result<Vec<String>> {
        crate::repo::snapshots::list_all(self)?;
        Ok(self.divergence_log().reports())
    }

    /// Returns the differences noticed so far, without any I/O.
    pub fn diverged(&self) -> Vec<String> {
        self.divergence_log().reports()
    }

    /// Fails if the repository diverged; for operations that delete unreferenced data. While snapshots are
    /// missing, reachability cannot be trusted.
    ///
    /// # Errors
    /// `Diverged`, or when the storage fails.
    pub fn refuse_diverged(&self) -> Result<()> {
        let all = self.divergence()?;
        if all.is_empty() {
            Ok(())
        } else {
            Err(Error::Diverged { location: self.location(), what: all.join("; ") })
        }
    }

    /// Returns what this machine knows of the repository; empty if it has never used it.
    pub(crate) fn known_now(&self) -> Known {
        self.known_here().unwrap_or_default()
    }

    /// Compares a listing with what this machine knew before the listing, so that snapshots that another
    /// process makes or forgets in the meantime are not differences.
    pub(crate) fn compare(&self, before: &Known, listing: &Listing) -> Result<()> {
        let expected = before.expected(Time::now());
        let listed: HashSet<String> = listing.snapshots.iter().map(|one| one.id.hex()).collect();
        self.compare_forgotten(before, listing)?;
        let unreadable = |made: &&Made| listing.unreadable.iter().any(|(name, _)| *name == made.snapshot);
        let mut missing: Vec<&Made> =
            expected.iter().filter(|made| !listed.contains(&made.snapshot) && !unreadable(made)).collect();
        if missing.is_empty() {
            self.note_compared(&expected, &[]);
            return Ok(());
        }
        // Forgetting leaves an audit record, which a storage cannot forge. An entry in the trash is no proof,
        // because the storage can move a manifest there.
        let explained = audit::explained(self)?;
        missing.retain(|made| !SnapshotId::parse(&made.snapshot).is_ok_and(|id| explained.contains(&id)));
        // This machine may have just forgotten it, and another may have rewritten it.
        let still = self.known_now().expected(Time::now());
        missing.retain(|made| still.contains(made));
        let original = |made: &&Made| {
            listing
                .snapshots
                .iter()
                .any(|one| one.manifest.original().is_some_and(|id| id.hex() == made.snapshot))
        };
        missing.retain(|made| !original(made));
        let newest = self.known_now().newest;
        missing.retain(|made| {
            !newest.iter().any(|(set, one)| one == *made && has_successor(listing, set, made))
        });
        missing.iter().for_each(|made| self.record_divergence(describe_gone(made)));
        self.note_compared(&expected, &missing.into_iter().cloned().collect::<Vec<Made>>());
        Ok(())
    }

    /// Finds snapshots that this machine forgot and that exist again.
    fn compare_forgotten(&self, before: &Known, listing: &Listing) -> Result<()> {
        let was_forgotten = |known: &Known, id: &SnapshotId| known.forgotten.contains_key(&id.hex());
        let mut again: Vec<SnapshotId> = listing.snapshots.iter().map(|one| one.id).collect();
        again.retain(|id| was_forgotten(before, id));
        if again.is_empty() {
            return Ok(());
        }
        // This machine or another may have just brought them back.
        let (now, brought_back) = (self.known_now(), audit::brought_back(self)?);
        again.retain(|id| was_forgotten(&now, id) && !brought_back.contains(id));
        for id in again {
            self.record_divergence(format!(
                "snapshot {} was forgotten by this machine and exists again, but no undelete is recorded",
                id.short()
            ));
        }
        Ok(())
    }

    fn note_compared(&self, expected: &[Made], missing: &[Made]) {
        if expected.is_empty() {
            return;
        }
        let repo = self.config().repo.hex();
        self.update_known(|place| {
            let known = place.repositories.get_mut(&repo);
            known.into_iter().for_each(|known| known.compared(expected, missing));
        });
    }

    /// Records a snapshot made by this machine.
    pub(crate) fn note_made(&self, id: &SnapshotId, manifest: &Manifest) {
        let set = run_log::set_id(&manifest.host, &manifest.sources);
        let sources: Vec<_> =
            manifest.sources.iter().take(3).map(|path| String::from_utf8_lossy(path)).collect();
        let made = Made {
            snapshot: id.hex(),
            at: manifest.started.sec,
            nanos: manifest.started.nanos,
            expires: manifest.expires().map(|at| at.sec),
            of: format!("{} of {}", sources.join(", "), manifest.host),
        };
        let repo = self.config().repo.hex();
        self.update_known(|place| {
            place.repositories.entry(repo.clone()).or_default().made(&set, made.clone(), Time::now());
        });
    }

    /// Records that this machine removed these snapshots.
    pub(crate) fn note_removed(&self, names: &[String]) {
        let repo = self.config().repo.hex();
        let now = Time::now();
        self.update_known(|place| place.repositories.entry(repo.clone()).or_default().removed(names, now));
    }

    /// Accepts the current state of the repository as correct.
    ///
    /// # Errors
    /// When it could not be recorded.
    pub fn accept(&self) -> Result<()> {
        let (config, listing) = (self.config(), crate::repo::snapshots::list_all(self)?);
        let listed: HashSet<String> = listing.snapshots.iter().map(|one| one.id.hex()).collect();
        self.known().change(|place| {
            let known = place.repositories.entry(config.repo.hex()).or_default();
            known.generation = config.generation;
            known.epoch = config.epoch;
            known.newest.retain(|_, made| listed.contains(&made.snapshot));
            known.missing.clear();
            known.forgotten.clear();
        })
    }
}

/// Returns whether there is a newer complete snapshot of the same host and sources. Then another user may
/// have forgotten the older one by a retention rule; no rule forgets the newest of a set.
fn has_successor(listing: &Listing, set: &str, made: &Made) -> bool {
    let (now, then) = (Time::now(), Time { sec: made.at, nanos: made.nanos });
    listing.snapshots.iter().map(|snapshot| &snapshot.manifest).any(|manifest| {
        let is_newer = manifest.started > then && manifest.started <= now && !manifest.partial;
        let is_newer = is_newer && manifest.writer().is_none();
        is_newer && run_log::set_id(&manifest.host, &manifest.sources) == set
    })
}

fn describe_gone(made: &Made) -> String {
    format!("{} was made by this machine and is gone, but this machine did not forget it", made.describe())
}

fn older_config(known: u32, found: u32) -> String {
    format!("its newest intact configuration is config/{found}, but this machine last saw config/{known}")
}

/// Fails if this machine knows a repository at this location: the disk may be unmounted, so no repository is
/// created implicitly.
///
/// # Errors
/// `Diverged`.
pub fn refuse_emptied(storage: &dyn Storage, state: Option<&Path>) -> Result<()> {
    let location = storage.location();
    let place = KnownPlace::new(state, &location).read();
    let Some(id) = place.repositories.keys().next_back() else { return Ok(()) };
    let id: String = id.chars().take(8).collect();
    let what = format!(
        "this machine last found repository {id} there, but there is none now; check whether its disk is \
         mounted, or create a new repository with `Repository::init`"
    );
    Err(Error::Diverged { location, what })
}

/// Returns the differences that can be found without a key, by comparing names.
///
/// # Errors
/// When the storage fails.
pub fn of_place(storage: &dyn Storage, known: &KnownPlace) -> Result<Vec<String>> {
    let place = known.read();
    if place.repositories.is_empty() {
        return Ok(Vec::new());
    }
    let mut candidates = config::candidates(storage)?;
    candidates.drop_planted(&place);
    let encrypted = candidates.are_encrypted();
    let config = candidates.newest_that(|config| place.contradicts(&config.repo, encrypted).is_none())?;
    if let Some(what) = place.contradicts(&config.repo, encrypted) {
        return Ok(vec![what]);
    }
    let Some(known_here) = place.of(&config.repo) else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    if known_here.generation > config.generation {
        all.push(older_config(known_here.generation, config.generation));
    }
    let mut missing = known_here.expected(Time::now());
    for area in [ObjectKind::Snapshots, ObjectKind::Trash] {
        if !missing.is_empty() {
            let listed = storage.list(area)?;
            // Without a key, an entry of the trash can only be checked for being possibly a manifest.
            let counts =
                |found: &Listed| area == ObjectKind::Snapshots || found.len > sealed_object::HEADER as u64;
            let is_listed = |made: &Made| {
                listed.iter().any(|found| counts(found) && found.name.starts_with(&made.snapshot))
            };
            missing.retain(|made| !is_listed(made));
        }
    }
    let now = known.read();
    let still = now.of(&config.repo).map_or_else(Vec::new, |known| known.expected(Time::now()));
    all.extend(missing.iter().filter(|made| still.contains(made)).map(describe_gone));
    Ok(all)
}

//! What this machine knows of the repository at each location that it used: its id, whether it is encrypted,
//! its newest configuration, and the newest snapshot that this machine made of each set. By comparing with
//! this record snap detects a repository that was replaced, rolled back or lost data.
//!
//! One file per location, `known/<hash of the location>.json` in the state directory. It is not a cache,
//! because it cannot be rebuilt from the repository.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use crate::codec::crypto::hash;
use crate::error::{Error, Result};
use crate::model::entry::Time;
use crate::model::id::{RepoId, hex};
use crate::sys::fs::{FlockOperation, flock};
use crate::util::new_file;

/// Seconds after which a set that this machine no longer backs up is not expected: others may have forgotten
/// it by then.
const MAX_AGE_SECONDS: i64 = 180 * 86_400;
/// Seconds that a clock may be ahead: a snapshot with a later date was made with a wrong clock.
const MAX_SKEW: i64 = 600;
const MAX_BYTES: u64 = 16 << 20;
/// Forgotten snapshots that are remembered.
const MAX_FORGOTTEN: usize = 4096;

/// What this machine knows about a location.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Place {
    /// The location, for people who read the file.
    pub location: String,
    /// The accepted repositories at this location, by id: rotated disks have the same location.
    pub repositories: BTreeMap<String, Known>,
}

/// What this machine knows about a repository at a location. Copies elsewhere may be older.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Known {
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// Its highest generation of the configuration.
    pub generation: u32,
    /// The newest epoch of its key.
    pub epoch: u32,
    /// The newest snapshot of each set that this machine made, by [`set_id`](super::set_id).
    pub newest: BTreeMap<String, Made>,
    /// Snapshots found missing, by id, until they reappear or that is accepted.
    pub missing: BTreeMap<String, Made>,
    /// Snapshots that this machine forgot, by id, and when, in seconds since 1970. They should not come
    /// back.
    pub forgotten: BTreeMap<String, i64>,
}

/// A snapshot that this machine made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// The snapshot's id.
    pub snapshot: String,
    /// When it began, in seconds since 1970.
    pub at: i64,
    /// Nanoseconds within that second.
    #[serde(default)]
    pub nanos: u32,
    /// Its expiry in seconds since 1970: afterwards it may be missing regardless of retention rules.
    #[serde(default)]
    pub expires: Option<i64>,
    /// Its host and sources, for display.
    #[serde(default)]
    pub of: String,
}

impl Made {
    /// Returns whether it is expected to exist, unless someone forgot it.
    fn is_expected(&self, now: Time) -> bool {
        self.at.saturating_add(MAX_AGE_SECONDS) >= now.sec && self.expires.is_none_or(|at| at > now.sec)
    }

    /// Describes it by short id, time, host and sources.
    pub fn describe(&self) -> String {
        let short: String = self.snapshot.chars().take(8).collect();
        let at = jiff::Timestamp::new(self.at, 0).map(|at| at.to_string()).unwrap_or_default();
        format!("snapshot {short} of {at} ({})", self.of)
    }
}

/// The file of a location.
#[derive(Debug, Clone, Default)]
pub struct KnownPlace {
    /// `None`: this machine has no state directory.
    file: Option<PathBuf>,
    location: String,
}

impl KnownPlace {
    /// Creates the handle for a repository location in this state directory.
    pub fn new(state: Option<&Path>, location: &str) -> Self {
        let name: String = hex(&hash::sha256(location.as_bytes())).chars().take(32).collect();
        let file = state.map(|state| state.join("known").join(format!("{name}.json")));
        Self { file, location: location.to_owned() }
    }

    /// Returns the handle for the same repository at another location.
    pub fn elsewhere(&self, location: &str) -> Self {
        let state = self.file.as_ref().and_then(|file| file.parent()?.parent());
        Self::new(state, location)
    }

    /// Reads what is known; empty if it cannot be read.
    pub fn read(&self) -> Place {
        let read = |file: &PathBuf| {
            let len = fs::metadata(file).ok()?.len();
            (len <= MAX_BYTES).then(|| fs::read(file).ok()).flatten()
        };
        let bytes = self.file.as_ref().and_then(read);
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Returns whether this machine has used this repository without encryption at any location, because
    /// disks may be mounted elsewhere.
    pub fn is_known_open(&self, repo: &RepoId) -> bool {
        let listed = self.file.as_ref().and_then(|file| fs::read_dir(file.parent()?).ok());
        listed.into_iter().flatten().flatten().any(|entry| {
            let place = Self { file: Some(entry.path()), location: String::new() }.read();
            place.of(repo).is_some_and(|known| !known.encrypted)
        })
    }

    /// Returns why an existing record cannot be read. Then this machine knows nothing about the repository,
    /// and the next change replaces the record.
    pub fn trouble(&self) -> Option<String> {
        let file = self.file.as_ref()?;
        let why = match fs::read(file) {
            // Without a state directory, another message reports that nothing can be remembered.
            Err(err) if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return None;
            }
            Err(err) => err.to_string(),
            Ok(bytes) if bytes.len() as u64 > MAX_BYTES => "it is too long".to_owned(),
            Ok(bytes) => serde_json::from_slice::<Place>(&bytes).err()?.to_string(),
        };
        Some(format!("{}: {why}", file.display()))
    }

    /// Changes the record, under a lock against other processes. An unreadable file is replaced.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn change(&self, change: impl Fn(&mut Place)) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        // Usually nothing has changed.
        let before = self.read();
        let mut place = before.clone();
        change(&mut place);
        if place == before {
            return Ok(());
        }
        self.update(file, change).map_err(Error::io("write the last known state of repositories to", file))
    }

    fn update(&self, file: &Path, change: impl Fn(&mut Place)) -> io::Result<()> {
        let Some(dir) = file.parent() else { return Ok(()) };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let lock = File::options().create(true).append(true).mode(0o600).open(dir.join("lock"))?;
        flock(&lock, FlockOperation::LockExclusive)?;
        let mut place = self.read();
        change(&mut place);
        place.location.clone_from(&self.location);
        let text = serde_json::to_vec_pretty(&place)?;
        new_file::replace(file, &text)
    }

    /// Removes the record, because another repository or none will be at this location.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn clear(&self) -> Result<()> {
        self.change(|place| place.repositories.clear())
    }
}

impl Place {
    /// Returns what is known about one repository.
    pub fn of(&self, repo: &RepoId) -> Option<&Known> {
        self.repositories.get(&repo.hex())
    }

    /// Records the repository that was opened; `accept` discards earlier knowledge about it.
    pub fn found(&mut self, repo: &RepoId, encrypted: bool, generation: u32, accept: bool) {
        let known = self.repositories.entry(repo.hex()).or_default();
        if accept {
            *known = Known::default();
        }
        known.encrypted = encrypted;
        known.generation = known.generation.max(generation);
    }

    /// Returns a message if the repository contradicts the knowledge about the location.
    pub fn contradicts(&self, repo: &RepoId, encrypted: bool) -> Option<String> {
        let kind = |encrypted: bool| if encrypted { "encrypted" } else { "not encrypted" };
        match self.of(repo) {
            Some(known) if known.encrypted && !encrypted => {
                Some("it was encrypted when this machine last used it, but is no longer".to_owned())
            }
            Some(_) => None,
            None => {
                let (id, known) = self.repositories.iter().next_back()?;
                let id: String = id.chars().take(8).collect();
                let (was, is) = (kind(known.encrypted), kind(encrypted));
                Some(format!(
                    "this machine last found repository {id} there ({was}), but it is now {} ({is})",
                    repo.short()
                ))
            }
        }
    }
}

impl Known {
    /// Records a snapshot that this machine has made.
    pub fn made(&mut self, set: &str, made: Made, now: Time) {
        self.forgotten.remove(&made.snapshot);
        let is_newer = |known: &Made| made.at >= known.at || known.at > now.sec.saturating_add(MAX_SKEW);
        if self.newest.get(set).is_none_or(is_newer) {
            self.newest.insert(set.to_owned(), made);
        }
    }

    /// Records that this machine has removed these snapshots.
    pub fn removed(&mut self, names: &[String], now: Time) {
        self.forgotten.extend(names.iter().map(|name| (name.clone(), now.sec)));
        self.forgotten.retain(|_, at| at.saturating_add(MAX_AGE_SECONDS) >= now.sec);
        if self.forgotten.len() > MAX_FORGOTTEN {
            let mut times: Vec<i64> = self.forgotten.values().copied().collect();
            times.sort_unstable();
            let oldest = times.get(times.len() - MAX_FORGOTTEN).copied().unwrap_or(0);
            self.forgotten.retain(|_, at| *at >= oldest);
        }
        self.newest.retain(|_, made| !names.contains(&made.snapshot));
        names.iter().for_each(|name| _ = self.missing.remove(name));
    }

    /// Records which of the expected snapshots are missing. A newer one of the same set does not replace
    /// them.
    pub fn compared(&mut self, expected: &[Made], missing: &[Made]) {
        expected.iter().for_each(|made| _ = self.missing.remove(&made.snapshot));
        self.missing.extend(missing.iter().map(|made| (made.snapshot.clone(), made.clone())));
    }

    /// Returns the snapshots that should exist.
    pub fn expected(&self, now: Time) -> Vec<Made> {
        let newest = self.newest.values().filter(|made| !self.missing.contains_key(&made.snapshot));
        newest.chain(self.missing.values()).filter(|made| made.is_expected(now)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::SnapshotId;

    const NOW: Time = Time { sec: 1_800_000_000, nanos: 0 };

    fn made(name: u8, at: i64) -> Made {
        Made {
            snapshot: SnapshotId::new([name; 16]).hex(),
            at,
            nanos: 0,
            expires: None,
            of: "src".to_owned(),
        }
    }

    #[test]
    fn known_records_roundtrip_and_are_kept_per_location() {
        let dir = tempfile::tempdir().unwrap_or_else(|err| panic!("{err}"));
        let state = Some(dir.path());
        let repo = RepoId::new([1; 16]);
        let here = KnownPlace::new(state, "/here");
        here.change(|place| place.found(&repo, true, 3, false)).unwrap_or_else(|err| panic!("{err}"));
        let known = here.read();
        assert_eq!(known.of(&repo).map(|known| (known.encrypted, known.generation)), Some((true, 3)));
        assert_eq!(known.location, "/here");
        assert_eq!(KnownPlace::new(state, "/there").read(), Place::default());
        assert_eq!(KnownPlace::new(None, "/here").read(), Place::default());
        let there = KnownPlace::new(state, "/there");
        assert!(!there.is_known_open(&repo), "it is known as encrypted");
        let other = RepoId::new([2; 16]);
        here.change(|place| place.found(&other, false, 1, true)).unwrap_or_else(|err| panic!("{err}"));
        assert!(there.is_known_open(&other) && !there.is_known_open(&RepoId::new([3; 16])));
    }

    #[test]
    fn unreadable_record_is_reported_and_replaced() {
        let dir = tempfile::tempdir().unwrap_or_else(|err| panic!("{err}"));
        let here = KnownPlace::new(Some(dir.path()), "/here");
        assert_eq!((here.trouble(), KnownPlace::new(None, "/here").trouble()), (None, None));
        let change = |generation| {
            here.change(|place| place.found(&RepoId::new([1; 16]), true, generation, false))
                .unwrap_or_else(|err| panic!("{err}"));
        };
        change(1);
        assert_eq!(here.trouble(), None);
        let file = here.file.clone().unwrap_or_default();
        fs::write(&file, "{").unwrap_or_else(|err| panic!("{err}"));
        assert!(here.trouble().is_some_and(|why| why.contains(".json")));
        assert_eq!(here.read(), Place::default());
        change(2);
        assert_eq!(here.trouble(), None);
    }

    #[test]
    fn other_repository_or_missing_cipher_is_reported() {
        let (repo, other) = (RepoId::new([1; 16]), RepoId::new([2; 16]));
        let mut place = Place::default();
        assert_eq!(place.contradicts(&repo, false), None);
        place.found(&repo, true, 1, false);
        assert_eq!(place.contradicts(&repo, true), None);
        assert!(place.contradicts(&repo, false).is_some());
        assert!(place.contradicts(&other, true).is_some());
        // Rotated disks: once both are accepted neither is reported.
        place.found(&other, false, 1, true);
        assert_eq!((place.contradicts(&other, false), place.contradicts(&repo, true)), (None, None));
    }

    #[test]
    fn newest_snapshot_of_a_set_is_expected_until_it_may_go() {
        let mut known = Known::default();
        known.made("a", made(1, NOW.sec - 100), NOW);
        known.made("a", made(2, NOW.sec - 50), NOW);
        // An old one that was rewritten.
        known.made("a", made(3, NOW.sec - 90), NOW);
        known.made("b", made(4, NOW.sec - MAX_AGE_SECONDS - 1), NOW);
        known.made("c", Made { expires: Some(NOW.sec), ..made(5, NOW.sec - 10) }, NOW);
        assert_eq!(known.expected(NOW), [made(2, NOW.sec - 50)]);
        known.removed(&[SnapshotId::new([2; 16]).hex()], NOW);
        assert_eq!(known.expected(NOW), []);
        // A snapshot dated in the future does not stay the newest.
        known.made("a", made(6, NOW.sec + 100_000), NOW);
        known.made("a", made(7, NOW.sec), NOW);
        assert_eq!(known.expected(NOW), [made(7, NOW.sec)]);
    }
}

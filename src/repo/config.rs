//! Generations of the configuration: the newest intact one is used. A generation is intact if its signature
//! is valid, which can only be checked with a key; until then, all that can be parsed are candidates.

use crate::codec::chunk::chunker;
use crate::codec::crypto::hash::Key;
use crate::codec::crypto::key_slot;
use crate::codec::crypto::keyring::{ConfigVerdict, Keyring};
use crate::error::{Error, Result};
use crate::model::config::{CipherKind, Config, FORMAT};
use crate::model::decode_error::DecodeError;
use crate::model::id::{KeyId, RepoId};
use crate::repo::objects;
use crate::run_log::known::Place;
use crate::storage::names::LAST_GENERATION;
use crate::storage::{CreateOutcome, ObjectKind, Storage, names};

const MAX_CONFIG: u64 = 1 << 20;

/// Writes a new generation, if `set` changes anything. `keyring` verifies the current one, `next` signs the
/// new one: they differ when an epoch begins.
pub(crate) fn change(
    storage: &dyn Storage,
    keyring: &Keyring,
    next: &Keyring,
    set: &dyn Fn(&mut Config) -> Result<bool>,
) -> Result<Config> {
    loop {
        let mut config = current(storage, keyring)?;
        check_features(&config)?;
        if !set(&mut config)? {
            return Ok(config);
        }
        let seed = next.signing_seed(&config.repo, config.epoch);
        let seed = seed.ok_or(Error::Bug { what: "a configuration is signed in an epoch of its keyring" })?;
        // Number above damaged generations as well: their names are taken.
        config.generation = numbers(storage)?.last().map_or(1, |last| last.saturating_add(1));
        if config.generation > LAST_GENERATION {
            let why = "there is no free number for a configuration: config/ contains a file with the \
                       highest number";
            return Err(Error::Refused(format!("{why}; run `Repository::repair_gc_records`")));
        }
        let bytes = key_slot::encode_config(&config, &seed).map_err(Error::making("the configuration"))?;
        if storage.create(ObjectKind::Config, &config.generation.to_string(), &[&bytes])?
            == CreateOutcome::New
        {
            return Ok(config);
        }
    }
}

/// Like [`change`], for slots and epochs, and writes two generations: with only one that lists a new slot, a
/// single damaged object could lock everybody out. Returns both.
pub(crate) fn change_slots(
    storage: &dyn Storage,
    keyring: &Keyring,
    next: &Keyring,
    set: &dyn Fn(&mut Config) -> Result<bool>,
) -> Result<Vec<Config>> {
    let before = current(storage, keyring)?.generation;
    let first = change(storage, keyring, next, set)?;
    if first.generation == before {
        return Ok(Vec::new());
    }
    let again = change(storage, next, next, &|_| Ok(true))?;
    Ok(vec![first, again])
}

/// Returns the newest generation that was signed with a key of this keyring.
///
/// # Errors
/// When there is none, or a later epoch has begun.
pub(crate) fn current(storage: &dyn Storage, keyring: &Keyring) -> Result<Config> {
    let judge = |config: &Config, bytes: &[u8]| match keyring.check_trust(config, bytes) {
        ConfigVerdict::Ours => Ok(true),
        ConfigVerdict::Untrusted => Ok(false),
        ConfigVerdict::Newer => Err(Error::Refused(
            "the key of the repository was rotated while this command ran: run it again".into(),
        )),
    };
    candidates(storage)?.first_authentic(judge).map(|(_, config)| config)
}

fn numbers(storage: &dyn Storage) -> Result<Vec<u32>> {
    let mut numbers: Vec<u32> = names::list(storage, ObjectKind::Config)?
        .iter()
        .filter_map(|found| found.name.parse().ok())
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Generations that parse, newest first; at least one.
#[derive(Debug, Clone)]
pub(crate) struct Candidates {
    all: Vec<Candidate>,
    /// Problems of newer generations.
    pub(crate) trouble: Vec<String>,
}

#[derive(Debug, Clone)]
struct Candidate {
    bytes: Vec<u8>,
    config: Config,
    /// The newer format version that it claims. If its signature is valid with the known version, the version
    /// is damaged.
    newer: Option<u16>,
}

/// Returns the generations that may be intact. Unencrypted ones are verified here.
///
/// # Errors
/// `NoRepository` when there is none; when the storage fails or none can be intact.
pub(crate) fn candidates(storage: &dyn Storage) -> Result<Candidates> {
    let mut found = Candidates { all: Vec::new(), trouble: Vec::new() };
    let mut first = None;
    for number in numbers(storage)?.iter().rev() {
        match candidate(storage, *number) {
            Ok(candidate) => found.all.push(candidate),
            Err(err) if err.is_damage() => {
                if found.all.is_empty() {
                    found.trouble.push(older_is_used(&err));
                }
                first.get_or_insert(err);
            }
            Err(err) => return Err(err),
        }
    }
    match (found.all.is_empty(), first) {
        (false, _) => Ok(found),
        (true, Some(err)) => Err(err),
        (true, None) => Err(Error::NoRepository { location: storage.location() }),
    }
}

fn candidate(storage: &dyn Storage, number: u32) -> Result<Candidate> {
    let candidate = match read_config(storage, number) {
        Ok((bytes, config)) => Candidate { bytes, config, newer: None },
        Err(Error::NewerFormat { found, .. }) => read_as_known_format(storage, number, found)?,
        Err(err) => return Err(err),
    };
    let Candidate { bytes, config, newer } = &candidate;
    let keyring = config.open_master.map(|master| Keyring::single(Key::new(master)));
    // A generation with its key in the clear can be verified here, even if a flipped byte makes it claim to
    // be encrypted.
    let is_authentic = match keyring {
        Some(keyring) => keyring.check_trust(config, bytes) == ConfigVerdict::Ours,
        None => config.cipher != CipherKind::None,
    };
    match (is_authentic, newer) {
        (true, _) => Ok(candidate),
        (false, Some(found)) => Err(newer_format(number, *found)),
        (false, None) => Err(unauthentic(number)),
    }
}

/// Parses a generation that claims a newer format version as if it had the known one.
fn read_as_known_format(storage: &dyn Storage, number: u32, found: u16) -> Result<Candidate> {
    let mut bytes = storage.read(ObjectKind::Config, &number.to_string(), MAX_CONFIG)?;
    let field = bytes.get_mut(key_slot::CONFIG_FORMAT);
    field.ok_or_else(|| newer_format(number, found))?.copy_from_slice(&FORMAT.to_le_bytes());
    match key_slot::decode_config(&bytes) {
        Ok(config) if config.generation == number && config.check().is_ok() => {
            Ok(Candidate { bytes, config, newer: Some(found) })
        }
        _ => Err(newer_format(number, found)),
    }
}

fn newer_format(generation: u32, found: u16) -> Error {
    Error::NewerFormat { what: ObjectKind::Config.path(&generation.to_string()), found, known: FORMAT }
}

pub(crate) fn unauthentic(generation: u32) -> Error {
    Error::because(ObjectKind::Config.path(&generation.to_string()), "its checksum does not match")
}

fn older_is_used(err: &Error) -> String {
    format!("{}; an older generation is used, run `Repository::check`", err.chain())
}

fn describe_planted(config: &Config) -> String {
    let (is, kind) =
        if config.is_encrypted() { ("encrypted", "unencrypted") } else { ("unencrypted", "encrypted") };
    let path = ObjectKind::Config.path(&config.generation.to_string());
    format!(
        "{path} is {is} and does not belong to this {kind} repository: somebody put it there; it is \
         ignored, and `Repository::repair_gc_records` removes it"
    )
}

impl Candidates {
    /// Returns the newest generation, of the encrypted ones if the repository is encrypted.
    ///
    /// # Errors
    /// A bug.
    pub(crate) fn newest(&self) -> Result<&Config> {
        self.newest_that(|_| true)
    }

    /// Returns whether the repository is encrypted. That never changes, so if generations differ in it, some
    /// were planted. Then the oldest one decides: an attacker who can only add objects cannot have created
    /// it.
    pub(crate) fn are_encrypted(&self) -> bool {
        self.all.last().is_some_and(|oldest| oldest.config.is_encrypted())
    }

    /// Drops generations that are encrypted if the repository is not, or vice versa. If this machine knows
    /// one of them, that decides instead of the oldest. Dropped ones that are newer than all others are added
    /// to `trouble`.
    pub(crate) fn drop_planted(&mut self, place: &Place) {
        let is_known = |config: &&Config| {
            place.of(&config.repo).is_some_and(|known| known.encrypted == config.is_encrypted())
        };
        let known = self.all.iter().map(|one| &one.config).find(is_known);
        let encrypted = known.map_or_else(|| self.are_encrypted(), Config::is_encrypted);
        let fits = |one: &Candidate| one.config.is_encrypted() == encrypted;
        let planted = self.all.iter().take_while(|one| !fits(one)).map(|one| describe_planted(&one.config));
        self.trouble.extend(planted);
        self.all.retain(fits);
    }

    /// Returns the newest generation for which `fits` is true; if there is none, the newest. Only generations
    /// that are encrypted like the repository count.
    ///
    /// # Errors
    /// A bug.
    pub(crate) fn newest_that(&self, fits: impl Fn(&Config) -> bool) -> Result<&Config> {
        let encrypted = self.are_encrypted();
        let all = || self.all.iter().map(|one| &one.config).filter(|one| one.is_encrypted() == encrypted);
        let found = all().find(|config| fits(config)).or_else(|| all().next());
        found.ok_or(Error::Bug { what: "there is a configuration" })
    }

    /// Returns the ids of the key slots that generations of this repository list, each once.
    pub(crate) fn slots_of(&self, repo: &RepoId) -> Vec<KeyId> {
        let configs = self.all.iter().map(|one| &one.config).filter(|config| config.repo == *repo);
        let mut ids: Vec<KeyId> =
            configs.flat_map(|config| config.slots.iter().map(|slot| slot.id)).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Returns the newest generation that `judge` finds authentic. Problems of newer ones are added to
    /// `trouble`. If there is none, returns the error of the newest.
    ///
    /// # Errors
    /// When none is authentic, or none can be judged.
    pub(crate) fn first_authentic(
        &mut self,
        mut judge: impl FnMut(&Config, &[u8]) -> Result<bool>,
    ) -> Result<(Vec<u8>, Config)> {
        let mut first = None;
        for Candidate { bytes, config, newer } in std::mem::take(&mut self.all) {
            let fitting = judge(&config, &bytes)
                .and_then(|fits| if fits { Ok(()) } else { Err(unauthentic(config.generation)) });
            match (fitting, newer) {
                (Ok(()), None) => return Ok((bytes, config)),
                (Ok(()), Some(found)) => {
                    let generation = config.generation;
                    self.trouble.push(format!(
                        "config/{generation} is damaged: its header has format {found}, but the rest is \
                         intact; run `Repository::check`"
                    ));
                    return Ok((bytes, config));
                }
                // A generation that a newer program wrote is not skipped.
                (Err(Error::Damaged { .. }), Some(found)) => {
                    return Err(newer_format(config.generation, found));
                }
                (Err(err), _) => self.skip_damaged(&config, err, &mut first)?,
            }
        }
        Err(first.unwrap_or(Error::Bug { what: "there is a configuration" }))
    }

    fn skip_damaged(&mut self, config: &Config, err: Error, first: &mut Option<Error>) -> Result<()> {
        match err {
            // Nothing in a damaged generation can be trusted, not even a different key.
            Error::Damaged { .. }
            | Error::Missing { .. }
            | Error::WrongPassword { .. }
            | Error::NoPassword { .. } => {
                self.trouble.push(older_is_used(&unauthentic(config.generation)));
                first.get_or_insert(err);
                Ok(())
            }
            err => Err(err),
        }
    }
}

pub(crate) fn read_config(storage: &dyn Storage, number: u32) -> Result<(Vec<u8>, Config)> {
    let name = number.to_string();
    let bytes = storage.read(ObjectKind::Config, &name, MAX_CONFIG)?;
    objects::check_header(ObjectKind::Config, &name, &bytes)?;
    let config = key_slot::decode_config(&bytes)
        .and_then(|config| config.check().map(|()| config))
        .map_err(Error::damaged(ObjectKind::Config.path(&name)))?;
    if config.generation == number {
        return Ok((bytes, config));
    }
    Err(Error::because(ObjectKind::Config.path(&name), "its content belongs to another generation"))
}

pub(crate) fn check_features(config: &Config) -> Result<()> {
    let name = || ObjectKind::Config.path(&config.generation.to_string());
    if !config.is_understood() {
        let why = DecodeError::newer("the repository uses a feature that this version does not support");
        return Err(Error::damaged(name())(why));
    }
    chunker::check(&config.chunker).map_err(Error::damaged(name()))
}

//! Opens a repository: finds the current configuration, and the keyring that a password opens.
//!
//! A password opens a key slot. The slot's secret verifies a configuration, which contains the keyring sealed
//! to the slot. So nothing in a configuration is trusted before the slot's secret has verified it.

use std::path::Path;

use crate::codec::crypto::hash::Key;
use crate::codec::crypto::key_slot::SlotSecret;
use crate::codec::crypto::keyring::{self, ConfigVerdict, Keyring, OpenedKeyring};
use crate::error::{Error, Result};
use crate::model::config::Config;
use crate::model::id::{KeyId, RepoId};
use crate::repo::cache::Cache;
use crate::repo::config::Candidates;
use crate::repo::keys::{self, KeyChoice};
use crate::storage::{ObjectKind, Storage};

/// File in the cache with the id of the key slot that opened the repository last.
const LAST_SLOT: &str = "slot";

/// Credentials and directories for opening a repository.
pub(crate) struct Access<'a> {
    pub(crate) password: Option<&'a str>,
    /// Directories of the cache and of what this machine knows about the repository.
    pub(crate) dirs: (Option<&'a Path>, Option<&'a Path>),
    /// Only the slot whose id has this prefix.
    pub(crate) only: Option<String>,
}

/// The current configuration, its keys, and the slot that contained them.
pub(crate) struct Unlocked {
    pub(crate) config: Config,
    pub(crate) keyring: Keyring,
    pub(crate) slot: Option<KeyId>,
}

/// Opens the newest authentic configuration.
///
/// # Errors
/// When the password opens no slot, or one that the configuration no longer lists.
pub(crate) fn unlock(
    candidates: &mut Candidates,
    storage: &dyn Storage,
    access: &Access<'_>,
) -> Result<Unlocked> {
    let all = candidates.clone();
    let mut unlocker = Unlocker { storage, access, all: &all, opened: Vec::new(), wrong: Vec::new() };
    let mut keys = None;
    let (_, config) = candidates.first_authentic(|config, bytes| {
        keys = unlocker.keys(config, bytes)?;
        Ok(keys.is_some())
    })?;
    let (keyring, slot) = keys.ok_or(Error::Bug { what: "an authentic configuration has keys" })?;
    Ok(Unlocked { config, keyring, slot })
}

/// A slot that the password has opened.
struct OpenSlot {
    repo: RepoId,
    id: KeyId,
    secret: SlotSecret,
}

struct Unlocker<'a> {
    storage: &'a dyn Storage,
    access: &'a Access<'a>,
    all: &'a Candidates,
    opened: Vec<OpenSlot>,
    /// Repository ids for which the password was wrong. Key derivation is slow, so it is done once for each
    /// id that configurations name.
    wrong: Vec<RepoId>,
}

impl Unlocker<'_> {
    /// Returns the keys of a configuration; `None` if it is not authentic.
    fn keys(&mut self, config: &Config, bytes: &[u8]) -> Result<Option<(Keyring, Option<KeyId>)>> {
        if let Some(open) = config.open_master.filter(|_| !config.is_encrypted()) {
            return Ok(Some((Keyring::single(Key::new(open)), None)));
        }
        if !self.opened.iter().any(|slot| slot.repo == config.repo) {
            self.find(config, self.all.slots_of(&config.repo))?;
        }
        let mut ours = self.opened.iter().filter(|slot| slot.repo == config.repo);
        if !ours.any(|slot| keyring::is_signed(config, bytes, slot.secret.epoch, &slot.secret.anchor)) {
            return Ok(None);
        }
        if let Some(keys) = self.keyring(config, bytes)? {
            return Ok(Some(keys));
        }
        // The open slot is no longer valid. The same password may open another slot.
        match self.find(config, config.slots.iter().map(|slot| slot.id).collect()) {
            Ok(()) => {}
            Err(Error::WrongPassword { .. } | Error::Missing { .. }) => return Err(self.removed(config)),
            Err(err) => return Err(err),
        }
        self.keyring(config, bytes)?.map_or_else(|| Err(self.removed(config)), |keys| Ok(Some(keys)))
    }

    /// Opens one of these slots with the password.
    fn find(&mut self, config: &Config, mut listed: Vec<KeyId>) -> Result<()> {
        let location = self.storage.location();
        let Some(password) = self.access.password else { return Err(Error::NoPassword { location }) };
        listed.sort_unstable();
        listed.retain(|id| !self.opened.iter().any(|slot| slot.id == *id));
        if self.wrong.contains(&config.repo) {
            return Err(Error::WrongPassword { location, untried: 0 });
        }
        let (cache, state) = self.access.dirs;
        let cache = Cache::new(cache, state, &location, &config.repo);
        let last = cache.text(LAST_SLOT).and_then(|id| KeyId::parse(id.trim()).ok());
        let choice = KeyChoice { only: self.access.only.clone(), last, listed };
        let found = keys::unlock(self.storage, &config.repo, password.as_bytes(), &choice);
        let (id, secret) = found.inspect_err(|_| self.wrong.push(config.repo))?;
        if last != Some(id) {
            cache.keep_text(LAST_SLOT, &id.hex());
        }
        self.opened.push(OpenSlot { repo: config.repo, id, secret });
        Ok(())
    }

    /// Opens the keyring of an authentic configuration; `None` if it does not list the open slot.
    fn keyring(&self, config: &Config, bytes: &[u8]) -> Result<Option<(Keyring, Option<KeyId>)>> {
        let ours = |id: &KeyId| self.opened.iter().find(|slot| slot.repo == config.repo && slot.id == *id);
        let found = config.slots.iter().find_map(|entry| ours(&entry.id).map(|slot| (entry, slot)));
        let Some((entry, slot)) = found else { return Ok(None) };
        let damaged = || Error::damaged(ObjectKind::Config.path(&config.generation.to_string()));
        match Keyring::open(&config.repo, entry, &slot.secret).map_err(damaged())? {
            OpenedKeyring::Known(keyring) if keyring.check_trust(config, bytes) == ConfigVerdict::Ours => {
                Ok(Some((*keyring, Some(slot.id))))
            }
            OpenedKeyring::Known(_) => Ok(None),
            OpenedKeyring::UnknownRole(_) => Err(keys::unknown_kind(&slot.id)),
        }
    }

    fn removed(&self, config: &Config) -> Error {
        let slot = self.opened.iter().find(|slot| slot.repo == config.repo);
        Error::KeyRemoved {
            location: self.storage.location(),
            slot: slot.map(|slot| slot.id.short()).unwrap_or_default(),
            generation: config.generation,
        }
    }
}

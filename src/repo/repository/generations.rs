//! Generations of the configuration: verifies them, and writes new ones with other settings.

use crate::codec::crypto::key_slot;
use crate::codec::crypto::keyring::{self, ConfigVerdict};
use crate::codec::crypto::session_keys::WriteSlot;
use crate::codec::pack::parity::MAX_SHARE;
use crate::error::{Error, Result};
use crate::model::config::{Config, DELTAS, Role};
use crate::model::decode_error::DecodeError;
use crate::repo::config::read_config;
use crate::repo::repository::Repository;
use crate::repo::{config, objects};
use crate::storage::ObjectKind;

impl Repository {
    /// Verifies a generation of the configuration, and that it belongs to this repository.
    ///
    /// # Errors
    /// The error says what is wrong with it.
    #[doc(hidden)]
    pub fn check_config(&self, name: &str) -> Result<()> {
        let number = name.parse().map_err(|_| objects::unknown_name(ObjectKind::Config, name))?;
        let (bytes, config) = read_config(self.storage(), number)?;
        let is_ours = config.repo == self.config.repo;
        match self.keyring.check_trust(&config, &bytes) {
            ConfigVerdict::Ours if is_ours => return Ok(()),
            // It is valid in a later epoch, and must not be removed as damaged.
            ConfigVerdict::Newer if is_ours => return self.refuse_rotated(),
            _ => {}
        }
        Err(config::unauthentic(number))
    }

    /// Returns whether a generation of the configuration was planted: it is not encrypted although the
    /// repository is, or vice versa.
    ///
    /// # Errors
    /// When the storage fails.
    #[doc(hidden)]
    pub fn is_planted_config(&self, name: &str) -> Result<bool> {
        let number = name.parse().map_err(|_| objects::unknown_name(ObjectKind::Config, name))?;
        match read_config(self.storage(), number) {
            Ok((_, config)) => Ok(config.is_encrypted() != self.config.is_encrypted()),
            Err(err) if err.is_missing() || err.is_damage() || err.is_newer() => Ok(false),
            Err(err) => Err(err),
        }
    }

    /// Verifies bytes as a generation of this repository's configuration.
    ///
    /// # Errors
    /// `Damaged` says what is wrong with them.
    #[doc(hidden)]
    pub fn is_its_config(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let damaged = || Error::damaged(ObjectKind::Config.path(name));
        objects::check_header(ObjectKind::Config, name, bytes)?;
        let config = key_slot::decode_config(bytes).map_err(damaged())?;
        let its = config.repo == self.config.repo
            && config.generation.to_string() == name
            && self.keyring.check_trust(&config, bytes) == ConfigVerdict::Ours;
        its.then_some(()).ok_or(DecodeError::because("its checksum does not match")).map_err(damaged())
    }

    /// Sets the share of parity, in percent, for future packs, by a new generation of the configuration.
    ///
    /// # Errors
    /// When the share is out of range, this program may not write here, or it could not be made durable.
    pub fn set_parity(&mut self, share: u8) -> Result<()> {
        self.may_write()?;
        if share > MAX_SHARE {
            return Err(Error::Usage(format!("parity is a share of 0 to {MAX_SHARE} percent")));
        }
        self.change_config(&|config| config.set_parity(share))?;
        self.compare_config(false);
        Ok(())
    }

    /// Sets the maximum total size of packs in bytes, by a new generation of the configuration.
    ///
    /// # Errors
    /// When this program may not write here, or it could not be made durable.
    pub fn set_quota(&mut self, bytes: Option<u64>) -> Result<()> {
        self.may_write()?;
        self.change_config(&|config| config.set_quota(bytes))?;
        self.compare_config(false);
        Ok(())
    }

    /// Allows delta blocks from now on.
    /// Writes a new generation of the configuration, which older versions of this program refuse.
    ///
    /// # Errors
    /// When this program may not write here, or it could not be made durable.
    pub fn allow_deltas(&mut self) -> Result<()> {
        self.may_write()?;
        self.change_config(&|config| config.incompat |= DELTAS)
    }

    /// Writes a new generation of the configuration, unless it would equal the current one. Running processes
    /// keep using the generation they have read.
    fn change_config(&mut self, set: &dyn Fn(&mut Config)) -> Result<()> {
        self.config = config::change(self.storage(), &self.keyring, &self.keyring, &|config| {
            let before = config.clone();
            set(config);
            Ok(*config != before)
        })?;
        self.cache.note(&ObjectKind::Config.path(&self.config.generation.to_string()), true);
        Ok(())
    }

    /// Returns whether blocks may be deltas. Another process may have allowed that in a newer configuration.
    ///
    /// # Errors
    /// When the newer configuration cannot be read.
    pub(crate) fn allows_deltas(&self) -> Result<bool> {
        Ok(self.config.has_deltas() || self.current_config()?.has_deltas())
    }

    /// Returns the current configuration, which other processes may have changed since the repository was
    /// opened.
    ///
    /// # Errors
    /// When the storage fails, or the key was rotated since.
    #[doc(hidden)]
    pub fn current_config(&self) -> Result<Config> {
        config::current(self.storage(), &self.keyring)
    }

    /// Fails if the key was rotated after the repository was opened. New objects would be sealed for revoked
    /// keys, and objects of others would be unreadable here without being damaged.
    ///
    /// # Errors
    /// `Refused`, or when the storage fails.
    pub(crate) fn refuse_rotated(&self) -> Result<()> {
        if !self.config.is_encrypted() {
            return Ok(());
        }
        let now = keyring::writers_of(&self.current_config()?);
        let knows = |writer: &WriteSlot| self.suite.writers().iter().any(|known| known.slot == writer.slot);
        if self.role() != Role::Write && !now.iter().all(knows) {
            let why = "a write key was added while this command ran: run it again";
            return Err(Error::Refused(why.into()));
        }
        Ok(())
    }

    /// Records generations of the configuration that this machine has just written.
    pub(crate) fn wrote_config(&self, written: &[Config]) {
        for config in written {
            self.cache.note(&ObjectKind::Config.path(&config.generation.to_string()), true);
            self.know_config(config, false);
        }
    }
}

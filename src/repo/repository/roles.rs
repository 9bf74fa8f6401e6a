//! What the key in use may do.

use crate::error::{Error, Result};
use crate::model::config::Role;
use crate::model::id::KeyId;
use crate::repo::repository::Repository;

impl Repository {
    /// Returns the role of the key in use.
    pub fn role(&self) -> Role {
        self.keyring.role()
    }

    /// Checks that this program and key may write here.
    ///
    /// # Errors
    /// When the key is one that only reads, or the repository uses a feature that only programs knowing it
    /// may write with.
    #[doc(hidden)]
    pub fn may_write(&self) -> Result<()> {
        let slot = self.slot.map(|slot| slot.short()).unwrap_or_default();
        match self.role() {
            Role::Full => self.knows_to_write(),
            Role::Read => Err(Error::Refused(format!(
                "the key in use (slot {slot}) has the role read: it can restore, list and check, but not \
                 write to the repository; use a full key for this"
            ))),
            Role::Write => Err(Error::Refused(format!(
                "the key in use (slot {slot}) has the role write: it can only make backups; use a full key \
                 for this"
            ))),
        }
    }

    /// Checks that the key in use may add snapshots.
    ///
    /// # Errors
    /// As [`Self::may_write`].
    #[doc(hidden)]
    pub fn may_add(&self) -> Result<()> {
        if self.role() == Role::Write { self.knows_to_write() } else { self.may_write() }
    }

    /// Checks that the key in use can open objects that others wrote.
    ///
    /// # Errors
    /// When it only writes.
    #[doc(hidden)]
    pub fn may_read(&self) -> Result<()> {
        if self.role() != Role::Write {
            return Ok(());
        }
        let slot = self.slot.map(|slot| slot.short()).unwrap_or_default();
        Err(Error::Refused(format!(
            "the key in use (slot {slot}) has the role write: it can make backups but cannot read \
             snapshots, not even its own; use a full key or a read key for this"
        )))
    }

    /// Returns the slot of the write key in use; `None` for other roles.
    #[doc(hidden)]
    pub fn writer(&self) -> Option<KeyId> {
        self.slot.filter(|_| self.role() == Role::Write)
    }

    fn knows_to_write(&self) -> Result<()> {
        if self.config.ro_compat == 0 {
            return Ok(());
        }
        Err(Error::Refused(
            "the repository uses a feature with which this version can read but not write: use a newer snap"
                .into(),
        ))
    }
}
